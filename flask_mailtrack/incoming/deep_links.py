"""What lets a phone open an app from a tracked link: the two files that its system asks a host for.

A link that an author marks with ``data-mailtrack-app`` leaves under ``/a/…`` instead of ``/c/…``. The
files say that this path belongs to the app; the system then opens it with the link, and the app asks
our redirect where it leads. All other links stay in the browser.
"""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of

NAME = "mailtrack_deep_links"


def create_deep_links(settings: Settings) -> Blueprint:
    """Return a blueprint that serves the files that are configured, on tracking hosts only.

    On any other host the same paths may be the app's own, so they are not routes of ours.
    """
    blueprint = Blueprint(NAME, "flask_mailtrack")
    hosts = frozenset(map(host_of, settings.base_urls()))
    files = {
        # Apple wants the file without an ending, as JSON, and without a redirect.
        "/.well-known/apple-app-site-association": settings.apple_app_site_association,
        "/.well-known/assetlinks.json": settings.assetlinks,
    }
    bodies = {path: json.dumps(content) for path, content in files.items() if content}

    def serve() -> Response | None:
        if request.path not in bodies or host_of(f"http://{request.host}") not in hosts:
            return None
        response = Response(bodies[request.path], mimetype="application/json")
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response

    if bodies:
        blueprint.before_app_request(serve)
    return blueprint
