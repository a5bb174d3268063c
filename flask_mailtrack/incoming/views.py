"""The blueprint, and what it answers: pixel, redirect, unsubscribe and preferences.

These routes are public and need nothing: no login, cookie, session or database. They set no cookie,
whatever the host does, and cannot be cached. The :mod:`.door` answers them before the host sees the
request; where it is left out, Flask comes to the same :class:`Views` by the routes of the blueprint.
Bad links are counted, and the log says of them no more than a line in a minute. What our own host names answer
about themselves is from memory, and nothing of it is recorded: the check of a tracking domain asks whether the name
reaches this app, and a web server asks whom it may serve.
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
from flask_mailtrack.tokens import Token

from . import answer
from .answer import Reply
from .choices import Wish, shown_on, wished
from .hits import HEADERS_READ, Recorder, Visitor
from .pages import NAME, PackageBlueprint, Pages

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

SECONDS = 60


class Refusals:
    """Counts refused links. Anybody can ask for as many as they like, so not each one gets a line.

    The first is logged at once, the others as a number with the next one that comes a minute later or
    more. At level DEBUG each has a line.

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
    """All that is left of a path. Flask's own ``path`` ends at a line break, which gateways put into links."""

    regex = "(?s:.*)"
    part_isolating = False


class PlainResponse(Response):
    """An answer that goes through the host's hands, without cookies, and with the headers that protect its reader.

    A permanent session is renewed after all handlers have run, so the cookie is taken out where the
    headers are written; there, too, what a host's ``after_request`` says of all its pages is put
    right. ``Location`` is written as given: Werkzeug would encode more than a browser.
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
        """Return what is sent: at least one chunk, as :class:`.Answer` does."""
        empty = environ["REQUEST_METHOD"] == "HEAD" or self.status_code == 204
        return ClosingIterator([b""], self.close) if empty else super().get_app_iter(environ)


@cache
def _replaced(promised: tuple[str, ...]) -> frozenset[str]:
    """Return the names, in lower case, of the headers that are taken out before those *promised* are written."""
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
        # A redirect to a "cleaner" path would drop the body of a POST, and names the Host header.
        exact: dict[str, Any] = {"methods": methods, "strict_slashes": False, "merge_slashes": False}
        for rule in (f"/{path}/<{NAME}:path>", f"/{path}"):
            blueprint.add_url_rule(rule, name, serve, **exact)
            for prefix in settings.url_prefix.older:
                _also(blueprint, f"{prefix}{rule}", name, serve, **exact)
    for prefix in settings.url_prefix.older:
        _also(blueprint, f"{prefix}/static/<path:filename>", "static", blueprint.send_static_file)
    return blueprint


def _also(blueprint: Blueprint, rule: str, name: str, view: Callable[..., Response], **options: Any) -> None:
    """Let an older address lead to an endpoint; ``url_for`` goes on with the first."""
    blueprint.record(lambda setup: setup.app.add_url_rule(rule, f"{NAME}.{name}", view, **options))


def _public(view: View) -> Callable[..., Response]:
    """Return *view* for Flask, with a note for Flask-Talisman, whose redirect to https would lose a POST's body."""

    @wraps(view)
    def public(path: str = "") -> Response:
        return PlainResponse(view(request.environ, path))

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


class Views:
    """What is answered, by what a link is for.

    :param recorder: keeps what readers do.
    :param pages: what readers see.
    :param hosts: answers for our host names.
    """

    def __init__(self, recorder: Recorder, pages: Pages, hosts: OwnHosts) -> None:
        self._hosts = hosts
        self._refusals = Refusals()
        self._recorder = recorder
        self._pages = pages
        # The form names each list twice, as shown and as ticked, and the refusals that stand of it.
        self._max_body = MAX_BODY + sum(2 * len(quote_plus(name)) + 16 + _SHOWN for name in pages.lists)
        self.by_path: Mapping[str, tuple[View, tuple[str, ...]]] = {
            PATHS[Kind.OPEN]: (self.open, READ),
            PATHS[Kind.CLICK]: (self.click, READ),
            APP_PATH: (self.click, READ),
            PATHS[Kind.HONEYPOT]: (self.honeypot, READ),
            PATHS[Kind.UNSUBSCRIBE]: (self.unsubscribe, WRITE),
            PATHS[Kind.PREFERENCES]: (self.preferences, WRITE),
            DOMAIN_PATH: (self.domain, READ),
        }
        """View and methods, by the segment behind the prefix."""

    def domain(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The proof that a host name reaches this app, and the answer to a web server that wants a certificate."""
        return self._hosts.answer(environ, path)

    def open(self, environ: Mapping[str, Any], path: str) -> Reply:
        """The pixel: always the same 200, so that it tells nobody whether a token is good."""
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
        """The link that no person sees: whoever follows it all the same stays where they are."""
        try:
            self._recorder.trapped(path, _visitor(environ))
        except TokenError as error:
            self._refusals.add(error)
        except Exception:
            log.exception("a hit on the honeypot was not recorded")
        return _NOTHING

    def unsubscribe(self, environ: Mapping[str, Any], path: str) -> Reply:
        """GET asks, POST acts at once; nothing else does."""
        return self._page(Kind.UNSUBSCRIBE, environ, path, "unsubscribe.html")

    def preferences(self, environ: Mapping[str, Any], path: str) -> Reply:
        """What a person gets, and whether it is measured; with ``?statement``, what is kept of them."""
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
        if wish.by_machine:  # no page, so nothing of the host's
            kept = self._chosen(token, wish, environ, "")
            return answer.text("You are unsubscribed.\n", 200) if kept else answer.later()
        return self._pages.inside(kind.value, environ, lambda: self._shown(template, environ, token, wish))

    def _named(self, token: Token, wish: Wish, shown: list[str] | None) -> Wish:
        """Return *wish* with the refusals that it takes back: those which its page showed.

        A page of the host's own may not say what it showed. Then it is what stands now: a refusal that comes
        later stays all the same.
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
        """Write a wish down, and say whether it is on disk: else nobody may be told that it was heard."""
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
