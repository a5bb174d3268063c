"""Answers to readers: complete WSGI answers."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HEADERS = (
    ("Cache-Control", "no-store, private"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Robots-Tag", "noindex"),
    ("X-Content-Type-Options", "nosniff"),
)
"""The headers of every answer."""
_PAGE_HEADERS = (
    ("Vary", "Accept-Language"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
)
_LINES = {status.value: f"{status.value} {status.phrase.upper()}" for status in HTTPStatus}
_REDIRECT = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "0"), *HEADERS)


class Reply(NamedTuple):
    """A WSGI application that always gives the same answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the answer. It always has a chunk, even an empty one, because hypercorn sends no headers without one."""
        start_response(_LINES[self.status], list(self.headers))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else self.body]


def content(body: bytes, status: int, mimetype: str, *more: tuple[str, str]) -> Reply:
    """Return an answer with a body.

    :param more: headers.
    """
    return Reply(
        status,
        (("Content-Type", mimetype), ("Content-Length", str(len(body))), *HEADERS, *more),
        body,
    )


def text(line: str, status: int, *more: tuple[str, str]) -> Reply:
    """Return a line of text, for a machine."""
    return content(line.encode(), status, "text/plain; charset=utf-8", *more)


def page(html: str, status: int, language: str) -> Reply:
    """Return a page. Nobody may frame it, and it loads nothing from elsewhere."""
    return content(html.encode(), status, "text/html; charset=utf-8", *_PAGE_HEADERS, ("Content-Language", language))


def apart(html: str, *headers: tuple[str, str]) -> Reply:
    """Return HTML of somebody else's, under *headers* that say what it may do."""
    return content(html.encode("utf-8", "replace"), 200, "text/html; charset=utf-8", *headers)


def file(path: Path) -> Reply:
    """Return a small file that clients may keep for an hour."""
    mimetype = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return kept(path.read_bytes(), f"{mimetype}; charset=utf-8" if mimetype.startswith("text/") else mimetype)


def kept(body: bytes, mimetype: str) -> Reply:
    """Return an answer that is the same for everybody and that clients may keep for an hour."""
    length = ("Content-Length", str(len(body)))
    return Reply(200, (("Content-Type", mimetype), length, ("Cache-Control", "public, max-age=3600")), body)


def nothing() -> Reply:
    """Return the answer that leaves a reader on the present page."""
    return Reply(204, HEADERS)


def redirect(location: str) -> Reply:
    """Return a redirect to *location*, which is sent as it is. Werkzeug would encode more than a browser."""
    return Reply(302, (*_REDIRECT, ("Location", location)))


def later() -> Reply:
    """Return the answer for the time in which a service is away."""
    return text("Please try again in a minute.\n", 503, ("Retry-After", "60"))
