"""What lets a phone open an app from a tracked link: the two files that its system asks a host for.

A link that an author marks with ``data-mailtrack-app`` leaves under ``/a/…`` instead of ``/c/…``. The
files say that this path belongs to the app; the system then opens it with the link, and the app asks
our redirect where it leads. All other links stay in the browser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.wsgi import get_host

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of

from .answer import Answer, kept

NAME = "mailtrack_deep_links"


class DeepLinks:
    """The files that are configured, on tracking hosts only.

    On any other host the same paths may be the app's own, so they are not routes of ours.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = frozenset(map(host_of, settings.base_urls()))
        files = {
            # Apple wants the file without an ending, as JSON, and without a redirect.
            "/.well-known/apple-app-site-association": settings.apple_app_site_association,
            "/.well-known/assetlinks.json": settings.assetlinks,
        }
        self.bodies = {path: json.dumps(content).encode() for path, content in files.items() if content}

    def answer(self, environ: Mapping[str, Any]) -> Answer | None:
        """Return the file that is asked for, if this is a tracking host."""
        body = self.bodies.get(environ.get("PATH_INFO", ""))
        if body is None or host_of(f"http://{get_host(dict(environ))}") not in self._hosts:
            return None
        return kept(body, "application/json")


def create_deep_links(deep_links: DeepLinks) -> Blueprint:
    """Return a blueprint that serves them where there is no front door."""
    blueprint = Blueprint(NAME, "flask_mailtrack")

    def serve() -> Response | None:
        given = deep_links.answer(request.environ)
        return Response(given.body, given.status, list(given.headers)) if given else None

    if deep_links.bodies:
        blueprint.before_app_request(serve)
    return blueprint
