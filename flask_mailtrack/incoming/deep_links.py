"""What lets a phone open an app from a tracked link: the two files that its system asks a host for.

A link that an author marks with ``data-mailtrack-app`` leaves under ``/a/…`` instead of ``/c/…``. The
files say that this path belongs to the app; the system then opens it with the link, and the app asks
our redirect where it leads. All other links stay in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    :param known: says whether a host is a tracking domain; may ask the database now and then.
    """

    def __init__(self, settings: Settings, known: Callable[[str], bool]) -> None:
        self._hosts = frozenset(map(host_of, settings.base_urls()))
        self._known = known
        self.bodies = settings.app_files

    def answer(self, environ: Mapping[str, Any]) -> Answer | None:
        """Return the file that is asked for, if this is a tracking host."""
        body = self.bodies.get(environ.get("PATH_INFO", ""))
        if body is None:
            return None
        host = host_of(f"http://{get_host(dict(environ))}")
        if host not in self._hosts and not self._known(host):
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
