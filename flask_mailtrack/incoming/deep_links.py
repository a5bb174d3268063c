"""What lets a phone open an app from a tracked link: the two files that its system asks a host for.

A link that an author marks with ``data-mailtrack-app`` leaves under ``/a/…`` instead of ``/c/…``. The
files say that this path belongs to the app; the system then opens it with the link, and the app asks
our redirect where it leads. All other links stay in the browser.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, request

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of

NAME = "mailtrack_deep_links"


def create_deep_links(settings: Settings) -> Blueprint:
    """Return the routes of the files that are configured; without any, a blueprint without routes.

    They answer on tracking hosts only: on the app's own host the same files may be the app's own.
    """
    blueprint = Blueprint(NAME, "flask_mailtrack")
    hosts = frozenset(map(host_of, settings.base_urls()))
    files = {
        # Apple wants the file without an ending, as JSON, and without a redirect.
        "apple-app-site-association": settings.apple_app_site_association,
        "assetlinks.json": settings.assetlinks,
    }
    for name, content in files.items():
        if content:
            blueprint.add_url_rule(f"/.well-known/{name}", name.partition(".")[0], _file(content, hosts))
    return blueprint


def _file(content: Any, hosts: frozenset[str]) -> Callable[[], Response]:
    body = json.dumps(content)

    def view() -> Response:
        if host_of(f"http://{request.host}") not in hosts:
            abort(404)
        response = Response(body, mimetype="application/json")
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response

    return view
