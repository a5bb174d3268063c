"""The blueprint: pixel, redirect, unsubscribe and preferences.

These routes are public and need nothing: no login, cookie, session or database. They set no cookie,
whatever the host does, and cannot be cached.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.routing import BaseConverter

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import location
from flask_mailtrack.errors import SpoolError, TokenError
from flask_mailtrack.events import APP_PATH, PATHS, Kind, Standing
from flask_mailtrack.tokens import Token

from .choices import Wish, wished
from .hits import HEADERS_READ, Recorder, Visitor
from .pages import NAME, PackageBlueprint, Pages, speech
from .refusals import Refusals
from .translations import Words

log = logging.getLogger("flask_mailtrack.hit")

MAX_BODY = 8 * 1024
GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
_HEADERS = {
    "Cache-Control": "no-store, private",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_HEADERS = _HEADERS | {
    "Vary": "Accept-Language",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}


_REDIRECT_HEADERS = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "0"))
_NOT_OURS = ("set-cookie", "vary")
_READ = tuple((name, f"HTTP_{name.upper().replace('-', '_')}") for name in HEADERS_READ)


class Rest(BaseConverter):
    """All that is left of a path. Flask's own ``path`` ends at a line break, which gateways put into links."""

    regex = "(?s:.*)"
    part_isolating = False


class PlainResponse(Response):
    """A response without cookies, and with the headers that protect its reader.

    A permanent session is renewed after all handlers have run, so the cookie is taken out where the
    headers are written; there, too, what a host's ``after_request`` says of all its pages is put
    right. ``Location`` is written as given: Werkzeug would encode more than a browser.
    """

    promised: Mapping[str, str] = MappingProxyType({})

    def get_wsgi_response(self, environ: Any) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """Return the body, status and headers that leave."""
        if self.status_code == 302:  # all that Werkzeug does to the headers of a redirect is to encode its Location
            body, status, headers = self.get_app_iter(environ), self.status, list(self.headers)
        else:
            body, status, headers = super().get_wsgi_response(environ)
        replaced = _replaced(tuple(self.promised))
        kept = [header for header in headers if header[0].lower() not in replaced]
        return body, status, [*kept, *self.promised.items()]


@cache
def _replaced(promised: tuple[str, ...]) -> frozenset[str]:
    """Return the names, in lower case, of the headers that are taken out before those *promised* are written."""
    return frozenset((*_NOT_OURS, *map(str.lower, promised)))


def create_blueprint(settings: Settings, recorder: Recorder, standing: Callable[[Token], Standing]) -> Blueprint:
    """Return the public routes of one app.

    :param standing: looks a token's recipient up in the database; may raise.
    """
    blueprint = PackageBlueprint(
        NAME,
        "flask_mailtrack",
        url_prefix=settings.url_prefix,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    blueprint.record(lambda setup: setup.app.url_map.converters.update({NAME: Rest}))
    views = Views(settings, recorder, standing)
    public: dict[str, Callable[..., Response]] = {}
    read, write = ["GET"], ["GET", "POST"]
    for path, view, methods in (
        (PATHS[Kind.OPEN], views.open, read),
        (PATHS[Kind.CLICK], views.click, read),
        (APP_PATH, views.click, read),
        (PATHS[Kind.HONEYPOT], views.honeypot, read),
        (PATHS[Kind.UNSUBSCRIBE], views.unsubscribe, write),
        (PATHS[Kind.PREFERENCES], views.preferences, write),
    ):
        name = view.__name__
        for rule in (f"/{path}/<{NAME}:path>", f"/{path}"):
            # A redirect to a "cleaner" path would drop the body of a POST, and names the Host header.
            blueprint.add_url_rule(
                rule,
                name,
                public.setdefault(name, _public(view)),
                methods=methods,
                strict_slashes=False,
                merge_slashes=False,
            )
    return blueprint


def _public(view: Callable[[str], Response]) -> Callable[..., Response]:
    """Return *view* with a note for Flask-Talisman: its redirect from http to https would lose a POST's body."""

    @wraps(view)
    def public(path: str = "") -> Response:
        return view(path)

    vars(public)["talisman_view_options"] = {"force_https": False}
    return public


def exempt_from_csrf(app: Flask, blueprint: Blueprint) -> None:
    """Tell Flask-WTF that the token is the authority here, in either order of set-up.

    A one-click POST comes from a mail provider, without cookie or form token (RFC 8058, section 3.1).
    """

    def exempt() -> None:
        csrf = app.extensions.get("csrf")
        if csrf is not None:
            csrf.exempt(blueprint)

    def exempt_late() -> None:  # CSRFProtect was set up after us, so its check runs after this
        if "csrf" in app.extensions and request.blueprint == blueprint.name:
            exempt()

    exempt()
    app.before_request(exempt_late)


class Views:
    """The view functions, with what they need."""

    def __init__(self, settings: Settings, recorder: Recorder, standing: Callable[[Token], Standing]) -> None:
        self._refusals = Refusals()
        self._recorder = recorder
        self._pages = Pages(settings, standing)
        # The form names each list twice: as shown, and as ticked.
        self._max_body = MAX_BODY + sum(2 * len(quote_plus(name)) + 16 for name in self._pages.lists)

    def open(self, path: str = "") -> Response:
        """The pixel: always the same 200, so that it tells nobody whether a token is good."""
        if request.method != "HEAD":
            try:
                self._recorder.opened(path, _visitor(request.environ))
            except TokenError as error:
                self._refusals.add(error)
            except Exception:
                log.exception("an open was not recorded")
        return _answer(GIF, 200, "image/gif")

    def click(self, path: str = "") -> Response:
        """The redirect."""
        try:
            environ = request.environ
            url = self._recorder.clicked(path, _visitor(environ), counts=environ["REQUEST_METHOD"] != "HEAD")
        except TokenError as error:
            return self._bad_link(error)
        except Exception:
            log.exception("a damaged link cannot be looked up")
            return _later()
        response = PlainResponse(None, 302, [*_REDIRECT_HEADERS, ("Location", location(url))])
        response.promised = _HEADERS
        return response

    def honeypot(self, path: str = "") -> Response:
        """The link that no person sees: whoever follows it all the same stays where they are."""
        try:
            self._recorder.trapped(path, _visitor(request.environ))
        except TokenError as error:
            self._refusals.add(error)
        except Exception:
            log.exception("a hit on the honeypot was not recorded")
        return _answer(b"", 204, "text/plain")

    def unsubscribe(self, path: str = "") -> Response:
        """GET asks, POST acts at once; nothing else does."""
        return self._page(Kind.UNSUBSCRIBE, path, "unsubscribe.html")

    def preferences(self, path: str = "") -> Response:
        """What a person gets, and whether it is measured; with ``?statement``, what is kept of them."""
        told = request.method != "POST" and "statement" in request.args
        return self._page(Kind.PREFERENCES, path, "statement.html" if told else "preferences.html")

    def _page(self, kind: Kind, path: str, template: str) -> Response:
        try:
            token = self._recorder.token(kind, path)
        except TokenError as error:
            return self._bad_link(error)
        words = speech()
        wish = Wish()
        if request.method == "POST":
            request.max_content_length = self._max_body
            try:
                wish = wished(kind, request.form, self._pages.lists)
                if wish.choices:
                    wording = "" if wish.by_machine else self._pages.wording(template, words)
                    self._recorder.choose(token, wish.choices, _visitor(request.environ), wording)
            except RequestEntityTooLarge:
                return _answer(b"Too much.\n", 413, "text/plain")
            except SpoolError:
                log.exception("an opt-out could not be written")
                return _later()
            if wish.by_machine:
                return _answer(b"You are unsubscribed.\n", 200, "text/plain")
        return _html(200, self._pages.about(template, words, token, wish, self._recorder.preferences(token)), words)

    def _bad_link(self, error: TokenError) -> Response:
        self._refusals.add(error)
        words = speech()
        off = error.reason == "blocked"
        return _html(410 if off else 404, self._pages.plain("bad_link.html", words, off=off), words)


def _visitor(environ: Mapping[str, Any]) -> Visitor:
    read = {name: environ[key] for name, key in _READ if key in environ}
    return Visitor(environ.get("REMOTE_ADDR"), environ.get("HTTP_USER_AGENT", ""), read)


def _answer(body: bytes, status: int, mimetype: str, headers: Mapping[str, str] = _HEADERS) -> Response:
    response = PlainResponse(body, status, mimetype=mimetype)
    response.promised = headers
    return response


def _html(status: int, page: str, words: Words) -> Response:
    return _answer(page.encode(), status, "text/html", _PAGE_HEADERS | {"Content-Language": words.tag})


def _later() -> Response:
    response = _answer(b"Please try again in a minute.\n", 503, "text/plain")
    response.headers["Retry-After"] = "60"
    return response
