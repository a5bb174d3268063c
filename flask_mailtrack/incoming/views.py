"""The blueprint and its answers: pixel, redirect, unsubscribe and preferences.

These routes are public and need no login, cookie, session or database. They set no cookie, whatever the host
does, and cannot be cached. The :mod:`.door` answers them before the host sees the request. Without the door, Flask
reaches the same :class:`Views` by the routes of the blueprint. Bad links are counted, and the log has at most one
line a minute about them.

Two questions are about host names: the check of a tracking domain asks whether the name reaches this app, and a web
server asks which hosts it may serve. They are answered from memory, and nothing is recorded.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, quote_plus

from flask import Blueprint, Flask, Response, request
from werkzeug import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.routing import BaseConverter
from werkzeug.wsgi import ClosingIterator

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of, location
from flask_mailtrack.errors import SpoolError, TokenError
from flask_mailtrack.events import APP_PATH, DOMAIN_PATH, PATHS, Kind
from flask_mailtrack.privacy import bare_ip
from flask_mailtrack.services import SERVICE_PATH
from flask_mailtrack.storage.tables.domains import DomainsInUse
from flask_mailtrack.tokens import Signer, Token

from . import answer, online
from .answer import Reply
from .calls import Calls
from .choices import Wish, shown_on, wished
from .hits import HEADERS_READ, Recorder, Visitor
from .online import Online
from .pages import NAME, PackageBlueprint, Pages

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

SECONDS = 60


class Refusals:
    """Counts refused links. Anybody can ask for any number of links, so not each refusal gets a line in the log.

    The first refusal is logged at once. The others are logged as a number, together with the next refusal after
    a minute or more. At level DEBUG each refusal has a line.

    :param clock: seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._quiet_until = float("-inf")

    def add(self, error: TokenError) -> None:
        """Count one more, and log it if it is time."""
        log.debug("link refused: %s", error)
        with self._lock:
            self._count += 1
            now = self._clock()
            if now < self._quiet_until:
                return
            count, self._count, self._quiet_until = self._count, 0, now + SECONDS
        log.info("refused links: %d since the last such line, and the last one is a %s", count, error)


View = Callable[[Mapping[str, Any], str], Reply]

MAX_BODY = 8 * 1024
READ, WRITE = ("GET", "HEAD", "OPTIONS"), ("GET", "HEAD", "OPTIONS", "POST")
_PIXEL = answer.content(
    base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="), 200, "image/gif"
)
_NOTHING = answer.nothing()
_SHOWN = 4 * 33
_NOT_OURS = ("set-cookie", "vary")
_CHANGING = ("Content-Type", "Content-Length")
_HEADERS = tuple((name, f"HTTP_{name.upper().replace('-', '_')}") for name in HEADERS_READ)


class Rest(BaseConverter):
    """The rest of a path. Flask's own ``path`` ends at a line break, and gateways put line breaks into links."""

    regex = "(?s:.*)"
    part_isolating = False


class PlainResponse(Response):
    """An answer that passes the host's handlers, without cookies, and with the headers that protect the reader.

    Flask renews a permanent session after all handlers have run, so the cookie is removed when the headers are
    written. Headers that a host's ``after_request`` sets for all its pages are corrected at the same place.
    ``Location`` is written as given, because Werkzeug would encode more than a browser.
    """

    def __init__(self, given: Reply) -> None:
        super().__init__(given.body, given.status, list(given.headers))
        self._promised = tuple(header for header in given.headers if header[0] not in _CHANGING)

    def get_wsgi_response(self, environ: Any) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """Return the body, status and headers that leave."""
        body, status, headers = super().get_wsgi_response(environ)
        replaced = _replaced(tuple(name for name, _ in self._promised))
        kept = [header for header in headers if header[0].lower() not in replaced]
        return body, status, [*kept, *self._promised]

    def get_app_iter(self, environ: Any) -> Iterable[bytes]:
        """Return the body: at least one chunk, as in :class:`.Reply`."""
        empty = environ["REQUEST_METHOD"] == "HEAD" or self.status_code == 204
        return ClosingIterator([b""], self.close) if empty else super().get_app_iter(environ)


@cache
def _replaced(promised: tuple[str, ...]) -> frozenset[str]:
    """Return the lower-case names of the headers that are removed before the *promised* headers are written."""
    return frozenset((*_NOT_OURS, *map(str.lower, promised)))


def create_blueprint(settings: Settings, views: Views) -> Blueprint:
    """Return the public routes of one app, under the newest prefix and the older ones."""
    blueprint = PackageBlueprint(
        NAME,
        "flask_mailtrack",
        url_prefix=settings.url_prefix,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    blueprint.record(lambda setup: setup.app.url_map.converters.update({NAME: Rest}))
    public: dict[str, Callable[..., Response]] = {}
    for path, (view, methods) in views.by_path.items():
        name = view.__name__
        serve = public.setdefault(name, _public(view))
        # Flask's redirect to a "cleaner" path would drop the body of a POST, and would trust the Host header.
        exact: dict[str, Any] = {"methods": methods, "strict_slashes": False, "merge_slashes": False}
        for rule in (f"/{path}/<{NAME}:path>", f"/{path}"):
            blueprint.add_url_rule(rule, name, serve, **exact)
            for prefix in settings.url_prefix.older:
                _also(blueprint, f"{prefix}{rule}", name, serve, **exact)
    for prefix in settings.url_prefix.older:
        _also(blueprint, f"{prefix}/static/<path:filename>", "static", blueprint.send_static_file)
    return blueprint


def _also(blueprint: Blueprint, rule: str, name: str, view: Callable[..., Response], **options: Any) -> None:
    """Let an older address lead to an endpoint, too. ``url_for`` still gives the first address."""
    blueprint.record(lambda setup: setup.app.add_url_rule(rule, f"{NAME}.{name}", view, **options))


def _public(view: View) -> Callable[..., Response]:
    """Return *view* for Flask, exempt from Flask-Talisman, whose redirect to https would lose the body of a POST."""

    @wraps(view)
    def public(path: str = "") -> Response:
        return PlainResponse(view(request.environ, path))

    vars(public)["talisman_view_options"] = {"force_https": False}
    return public


def exempt_from_csrf(app: Flask, blueprint: Blueprint) -> None:
    """Exempt the blueprint from Flask-WTF, in either order of set-up: the token of the link is the authority.

    A one-click POST comes from a mail provider, without a cookie or a form token (RFC 8058, section 3.1).
    """

    def exempt() -> None:
        csrf = app.extensions.get("csrf")
        if csrf is not None:
            csrf.exempt(blueprint)

    def exempt_late() -> None:  # if CSRFProtect was set up later, its check runs after this function
        if "csrf" in app.extensions and request.blueprint == blueprint.name:
            exempt()

    exempt()
    app.before_request(exempt_late)


ASK = "ask"


class OwnHosts:
    """Answers the two questions about host names.

    :param signer: gives the answer that only this app can give; see :meth:`.Signer.host_proof`.
    :param in_use: the tracking domains.
    :param secret: lets a web server on another machine ask; empty: only a server on this machine may ask.
    """

    def __init__(self, signer: Signer, in_use: DomainsInUse, secret: str) -> None:
        self._signer = signer
        self._in_use = in_use
        self._secret = secret

    def answer(self, environ: Mapping[str, Any], path: str) -> Reply:
        """Return the proof, or 200 for a name of a tracking host, else 404."""
        asked = path.strip("/")
        if asked.lower() == ASK:
            return self._allowed(environ)
        said = self._signer.host_proof(host_of(f"http://{environ.get('HTTP_HOST', '')}"), asked.lower())
        return answer.text(f"{said}\n", 200) if said else answer.text("There is nothing here.\n", 404)

    def _allowed(self, environ: Mapping[str, Any]) -> Reply:
        given = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=10)
        secret, names = given.get("secret", [""])[0], given.get("domain", [])
        may_ask = compare_digest(secret.encode(), self._secret.encode()) if self._secret else _is_near(environ)
        good = may_ask and len(names) == 1 and self._in_use.known(names[0].lower().rstrip("."))
        return answer.text("Yes.\n", 200) if good else answer.text("No.\n", 404)


def _is_near(environ: Mapping[str, Any]) -> bool:
    """Say whether a request comes from this machine itself, and was not forwarded for somebody else."""
    try:
        near = ip_address(environ.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    return near and "HTTP_X_FORWARDED_FOR" not in environ and "HTTP_FORWARDED" not in environ


class Views:
    """The answers, by the purpose of a link.

    :param recorder: records the hits of readers.
    :param pages: renders the pages.
    :param hosts: answers the questions about host names.
    :param online: shows mails in a browser.
    :param calls: answers services.
    """

    def __init__(self, recorder: Recorder, pages: Pages, hosts: OwnHosts, online: Online, calls: Calls) -> None:
        self._calls = calls
        self._hosts = hosts
        self._online = online
        self._refusals = Refusals()
        self._recorder = recorder
        self._pages = pages
        # The form names each list twice, as shown and as ticked, and also its standing refusals.
        self._max_body = MAX_BODY + sum(2 * len(quote_plus(name)) + 16 + _SHOWN for name in pages.lists)
        self.by_path: Mapping[str, tuple[View, tuple[str, ...]]] = {
            PATHS[Kind.OPEN]: (self.open, READ),
            PATHS[Kind.CLICK]: (self.click, READ),
            APP_PATH: (self.click, READ),
            PATHS[Kind.HONEYPOT]: (self.honeypot, READ),
            PATHS[Kind.UNSUBSCRIBE]: (self.unsubscribe, WRITE),
            PATHS[Kind.PREFERENCES]: (self.preferences, WRITE),
            PATHS[Kind.ONLINE]: (self.online, READ),
            DOMAIN_PATH: (self.domain, READ),
            SERVICE_PATH: (self.service, WRITE),
        }
        """View and methods, by the path segment behind the prefix."""

    def domain(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The proof that a host name reaches this app, and the answer to a web server that wants a certificate."""
        return self._hosts.answer(environ, path)

    def service(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The address at which a service tells what became of a mail."""
        return self._calls.answer(environ, path)

    def open(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The pixel. The answer is always the same 200, so that it does not show whether a token is good."""
        if environ["REQUEST_METHOD"] != "HEAD":
            try:
                self._recorder.opened(path, _visitor(environ))
            except TokenError as error:
                self._refusals.add(error)
            except Exception:
                log.exception("an open was not recorded")
        return _PIXEL

    def click(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The redirect."""
        try:
            url = self._recorder.clicked(path, _visitor(environ), counts=environ["REQUEST_METHOD"] != "HEAD")
        except TokenError as error:
            return self._bad_link("click", environ, error)
        except Exception:
            log.exception("a damaged link cannot be looked up")
            return answer.later()
        return answer.redirect(location(url))

    def honeypot(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The hidden link, which no person sees. A visitor who follows it stays on the present page."""
        try:
            self._recorder.trapped(path, _visitor(environ))
        except TokenError as error:
            self._refusals.add(error)
        except Exception:
            log.exception("a hit on the honeypot was not recorded")
        return _NOTHING

    def online(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The mail in a browser. Nothing is recorded. Without the database, or the body, the page says so."""
        away = False
        try:
            if (written := self._online.page(self._recorder.token(Kind.ONLINE, path))) is not None:
                return answer.apart(written, *online.HEADERS)
        except TokenError as error:
            return self._bad_link("online", environ, error)
        except Exception:
            log.warning("a mail cannot be shown now", exc_info=True)
            away = True

        def shown() -> Reply:
            words = self._pages.speech(environ)
            return answer.page(self._pages.plain("online.html", words, away=away), 503 if away else 404, words.tag)

        return self._pages.inside("online", environ, shown)

    def unsubscribe(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The unsubscribe page. GET shows the page, and only POST unsubscribes, at once."""
        return self._page(Kind.UNSUBSCRIBE, environ, path, "unsubscribe.html")

    def preferences(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The preferences page: lists and measuring; with ``?statement`` the statement about kept data."""
        told = environ["REQUEST_METHOD"] != "POST" and "statement" in parse_qs(environ.get("QUERY_STRING", ""), True)
        return self._page(Kind.PREFERENCES, environ, path, "statement.html" if told else "preferences.html")

    def _page(self, kind: Kind, environ: Mapping[str, Any], path: str, template: str) -> Reply:
        try:
            token = self._recorder.token(kind, path)
        except TokenError as error:
            return self._bad_link(kind.value, environ, error)
        wish = Wish()
        if environ["REQUEST_METHOD"] == "POST":
            asked = Request(dict(environ))
            asked.max_content_length = self._max_body
            try:
                wish = self._named(token, wished(kind, asked.form, self._pages.offered(token)), shown_on(asked.form))
            except RequestEntityTooLarge:
                return answer.text("Too much.\n", 413)
        if wish.by_machine:  # a mail client wants no page, so no template of the host is rendered
            kept = self._chosen(token, wish, environ, "")
            return answer.text("You are unsubscribed.\n", 200) if kept else answer.later()
        return self._pages.inside(kind.value, environ, lambda: self._shown(template, environ, token, wish))

    def _named(self, token: Token, wish: Wish, shown: list[str] | None) -> Wish:
        """Return *wish* limited to the refusals that its page showed.

        A page of the host may not name the refusals that it showed. Then the refusals that stand now are lifted;
        a refusal that comes later stays.
        """
        if not wish.lifting:
            return wish
        if shown is None:
            stands = self._pages.look_up(token)
            shown = stands.shown.split() if stands else []
        return wish.naming(shown)

    def _shown(self, template: str, environ: Mapping[str, Any], token: Token, wish: Wish) -> Reply:
        words = self._pages.speech(environ)
        if wish.choices and not self._chosen(token, wish, environ, self._pages.wording(template, words)):
            return answer.later()
        shown = self._pages.about(template, words, token, wish, self._recorder.preferences(token))
        return answer.page(shown, 200, words.tag)

    def _chosen(self, token: Token, wish: Wish, environ: Mapping[str, Any], wording: str) -> bool:
        """Record a wish, and say whether it is on disk. If not, the person must not be told that it was heard."""
        try:
            self._recorder.choose(token, wish.choices, _visitor(environ), wording)
        except SpoolError:
            log.exception("an opt-out could not be written")
            return False
        return True

    def _bad_link(self, view: str, environ: Mapping[str, Any], error: TokenError) -> Reply:
        self._refusals.add(error)
        off = error.reason == "blocked"

        def shown() -> Reply:
            words = self._pages.speech(environ)
            return answer.page(self._pages.plain("bad_link.html", words, off=off), 410 if off else 404, words.tag)

        return self._pages.inside(view, environ, shown)


def _visitor(environ: Mapping[str, Any]) -> Visitor:
    read = {name: environ[key] for name, key in _HEADERS if key in environ}
    return Visitor(bare_ip(environ.get("REMOTE_ADDR")), environ.get("HTTP_USER_AGENT", ""), read)
