"""What our own host names answer about themselves, from memory; nothing is recorded.

A phone's system asks a host for two files that let it open an app from a tracked link: a link marked with
``data-mailtrack-app`` leaves under ``/a/…`` instead of ``/c/…``, and the files say that this path belongs to the
app. The check of a tracking domain asks whether the name reaches this app. A web server asks whom it may serve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

from flask import Blueprint, Response, request
from werkzeug.wsgi import get_host

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of

from . import answer
from .answer import Reply, kept

NAME = "mailtrack_deep_links"


class DeepLinks:
    """The files that are configured, on tracking hosts only.

    On any other host the same paths may be the app's own, so they are not routes of ours.

    :param known: says whether a host is a tracking domain; may ask the database now and then.
    """

    def __init__(self, settings: Settings, known: Callable[[str], bool]) -> None:
        self._hosts = frozenset(map(host_of, settings.base_urls()))
        self._known = known
        self.bodies: dict[str, bytes] = settings.app_files

    def answer(self, environ: Mapping[str, Any]) -> Reply | None:
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


ASK = "ask"


class OwnHosts:
    """Answers both.

    :param proof: says what only this app can say; see :meth:`.Signer.host_proof`.
    :param known: says whether a name is one of ours; must not wait for anything.
    :param secret: lets a web server on another machine ask; empty: only one on this machine may.
    """

    def __init__(self, proof: Callable[[str, str], str | None], known: Callable[[str], bool], secret: str) -> None:
        self._proof = proof
        self._known = known
        self._secret = secret

    def answer(self, environ: Mapping[str, Any], path: str) -> Reply:
        """Return the proof, or 200 for a name that is ours, else 404."""
        asked = path.strip("/")
        if asked.lower() == ASK:
            return self._allowed(environ)
        said = self._proof(host_of(f"http://{environ.get('HTTP_HOST', '')}"), asked.lower())
        return answer.text(f"{said}\n", 200) if said else answer.text("There is nothing here.\n", 404)

    def _allowed(self, environ: Mapping[str, Any]) -> Reply:
        given = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=10)
        secret, names = given.get("secret", [""])[0], given.get("domain", [])
        may_ask = compare_digest(secret.encode(), self._secret.encode()) if self._secret else _is_near(environ)
        good = may_ask and len(names) == 1 and self._known(names[0].lower().rstrip("."))
        return answer.text("Yes.\n", 200) if good else answer.text("No.\n", 404)


def _is_near(environ: Mapping[str, Any]) -> bool:
    """Say whether a request is of this machine, and not passed on for somebody else."""
    try:
        near = ip_address(environ.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    return near and "HTTP_X_FORWARDED_FOR" not in environ and "HTTP_FORWARDED" not in environ
