"""The findings of ``flask mailtrack check --live``, which only a look from outside can make.

The app cannot see a cache, a proxy or a redirect in front of it. So the public address is asked over the network, as a
mail client and a mail provider would ask it. Only commands say these findings, and they speak English.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import MAX_CARRIED
from flask_mailtrack.events import PATHS, Kind, new_id
from flask_mailtrack.phrases import foreign
from flask_mailtrack.tokens import Signer

from .remedies import Finding

_SECONDS = 10
_BODY = b"List-Unsubscribe=One-Click"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class OutsideReply:
    """A reply from the network."""

    status: int
    headers: Mapping[str, str]
    """The headers, by lower-case name."""


def live_findings(settings: Settings) -> Iterator[Finding]:
    """Ask each public address for a pixel, twice, and for an unsubscribe, with tokens that belong to nobody.

    Nothing is recorded. Each network request takes at most ten seconds.
    """
    for base_url in settings.base_urls() if settings.enabled else ():
        routes = f"{base_url}{settings.url_prefix}"
        try:
            yield _pixel(routes)
            yield _one_click(routes)
            yield _longest(settings, routes)
        except (OSError, HTTPException) as error:
            yield Finding("C60", "error", foreign(f"{base_url} does not answer: {type(error).__name__}: {error}"))


def _pixel(routes: str) -> Finding:
    url = f"{routes}/{PATHS[Kind.OPEN]}/check.gif"
    _ask("GET", url)
    answer = _ask("GET", url)  # the second request shows whether a cache kept the first answer
    what = answer.headers.get("content-type", "")
    if answer.status != 200 or what != "image/gif":
        return Finding(
            "C60", "error", foreign(f"{url} answers {answer.status} {what}: something stands before the app")
        )
    if "no-store" not in answer.headers.get("cache-control", "") or answer.headers.get("age", "0") != "0":
        return Finding(
            "C60", "error", foreign(f"{url} is kept by a cache on the way, so opens are lost: exempt it there")
        )
    if "set-cookie" in answer.headers:
        return Finding("C60", "error", foreign(f"{url} sets a cookie on its way to the reader"))
    return Finding("C60", "ok", foreign(f"{routes} answers from outside, and nothing on the way keeps the pixel"))


def _one_click(routes: str) -> Finding:
    url = f"{routes}/{PATHS[Kind.UNSUBSCRIBE]}/check"
    answer = _ask("POST", url, _BODY, _FORM)
    if 300 <= answer.status < 400:
        return Finding(
            "C61", "error", foreign(f"{url} redirects, which loses a one-click POST (RFC 8058, section 3.1)")
        )
    if answer.status != 404:
        text = f"a one-click POST to {url} is answered {answer.status} before its token is read"
        return Finding("C61", "error", foreign(text))
    return Finding("C61", "ok", foreign("a one-click POST comes through from outside"))


def _longest(settings: Settings, routes: str) -> Finding:
    """Follow the longest possible link by HEAD, which is not recorded."""
    signer = Signer(settings.secret_keys, settings.app_id)
    target = f"{settings.base_url}/".ljust(MAX_CARRIED, "a")
    url = f"{routes}/{PATHS[Kind.CLICK]}/{signer.message(new_id()).click(signer.stamp(0, target))}"
    answer = _ask("HEAD", url)
    if (answer.status, answer.headers.get("location")) != (302, target):
        cure = "let paths of 1,000 characters pass; for uWSGI: buffer-size = 8192"
        return Finding("C62", "error", foreign(f"a link of {len(url)} characters is answered {answer.status}: {cure}"))
    return Finding("C62", "ok", foreign(f"the longest link, of {len(url)} characters, leads where it should"))


def _ask(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> OutsideReply:
    # http.client, because urllib would follow the redirect that this check looks for.
    parts = urlsplit(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.netloc, timeout=_SECONDS)
    try:
        connection.request(method, parts.path, body, dict(headers or {}))
        response = connection.getresponse()
        response.read()
        return OutsideReply(response.status, {name.lower(): value for name, value in response.getheaders()})
    finally:
        connection.close()
