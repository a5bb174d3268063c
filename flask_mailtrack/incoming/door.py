"""The front door: the paths of this package are answered before the host sees a request.

A host's hooks, session, routing and error handlers serve the host's own readers. Each of them may send a
reader elsewhere, or fail, and then a click is lost. So the door stands where :meth:`flask.Flask.wsgi_app`
asks the app for its request context. This place is inside every middleware, no matter when it was added, so
ProxyFix applies; and it is before everything else. For these paths Flask gets an answer that is ready.

The door has two more duties. First, it serves two files by which a phone opens an app from a tracked link. A link
with ``data-mailtrack-app`` stands under ``/a/…`` instead of ``/c/…``, and the files say that this path belongs to
the app. Second, it finds placeholders in the host's own pages, where nobody replaces them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.sansio.utils import host_is_trusted
from werkzeug.wsgi import get_host

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.events import DOMAIN_PATH, NOTICE
from flask_mailtrack.storage.tables.domains import DomainsInUse

from . import answer
from .answer import Reply, kept
from .calls import Calls
from .hits import Recorder
from .online import Online
from .pages import Pages
from .views import OwnHosts, Views, create_blueprint, exempt_from_csrf

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

_HOSTS = "flask_mailtrack.hosts"
_STATIC = "static"
_FOLDER = Path(__file__).parents[1] / _STATIC

_ready: ContextVar[Any] = ContextVar("flask_mailtrack.answer", default=None)


_DEEP_LINKS = "mailtrack_deep_links"


class DeepLinks:
    """Serves the configured files, on tracking hosts only.

    On other hosts the same paths may belong to the app, so they are not routes of this package.

    :param in_use: the tracking domains; may ask the database now and then.
    """

    def __init__(self, settings: Settings, in_use: DomainsInUse) -> None:
        self._hosts = frozenset(map(host_of, settings.base_urls()))
        self._in_use = in_use
        self.bodies: dict[str, bytes] = settings.app_files

    def answer(self, environ: Mapping[str, Any]) -> Reply | None:
        """Return the requested file, if the request is for a tracking host."""
        body = self.bodies.get(environ.get("PATH_INFO", ""))
        if body is None:
            return None
        host = host_of(f"http://{get_host(dict(environ))}")
        if host not in self._hosts and not self._in_use.known(host):
            return None
        return kept(body, "application/json")


def create_deep_links(deep_links: DeepLinks) -> Blueprint:
    """Return a blueprint that serves the files if there is no front door."""
    blueprint = Blueprint(_DEEP_LINKS, "flask_mailtrack")

    def serve() -> Response | None:
        given = deep_links.answer(request.environ)
        return Response(given.body, given.status, list(given.headers)) if given else None

    if deep_links.bodies:
        blueprint.before_app_request(serve)
    return blueprint


class Answered:
    """Stands for a request context, and holds nothing but the answer."""

    __slots__ = ("_answer",)

    def __init__(self, given: Any) -> None:
        self._answer = given

    def push(self) -> None:
        """Give the answer to the next dispatch."""
        _ready.set(self._answer)

    def __enter__(self) -> Answered:
        self.push()
        return self

    def __exit__(self, *_: object) -> None:
        self.pop()

    def pop(self, error: BaseException | None = None) -> None:
        """Take the answer back."""
        _ready.set(None)


class Door:
    """Stands in front of *app*; see :meth:`hang`.

    :param in_use: the tracking domains; a host that the configuration does not name may have links.
    """

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        views: Views,
        deep_links: DeepLinks,
        in_use: DomainsInUse,
    ) -> None:
        self._app = app
        self._request_context: Callable[..., Any] = app.request_context
        self._test_request_context: Callable[..., Any] = app.test_request_context
        self._full_dispatch_request: Callable[..., Any] = app.full_dispatch_request
        self._views = views
        self._deep_links = deep_links
        self._in_use = in_use
        self._own_hosts = frozenset(map(host_of, settings.base_urls()))
        self._files = {path.name: answer.file(path) for path in _FOLDER.iterdir() if path.is_file()}
        prefixes = "|".join(prefix.strip("/").replace("/", "/+") for prefix in settings.url_prefix.every)
        segments = "|".join((*views.by_path, _STATIC))
        # Some gateways upper-case a whole path, and double its slashes.
        self._ours = re.compile(rf"/+(?:{prefixes})/+({segments})(?:/(.*))?", re.ASCII | re.IGNORECASE | re.DOTALL)

    def hang(self) -> None:
        """Put the door into the app object, and not into its class: other apps of the process have no door."""
        # setattr, because mypy allows no assignment to a method.
        for own in (self.request_context, self.test_request_context, self.full_dispatch_request):
            setattr(self._app, own.__name__, own)

    def request_context(self, environ: dict[str, Any]) -> Any:
        """Return the answer if the path is one of this package, else the host's request context."""
        path = environ.get("PATH_INFO", "")
        found = self._ours.fullmatch(path)
        if (found is None and path not in self._deep_links.bodies) or _HOSTS in environ:
            return self._request_context(environ)
        # A new tracking domain must prove at once that it leads here. The proof says nothing of other hosts.
        proving = found is not None and found[1].lower() == DOMAIN_PATH
        if not proving and not self._trusted(environ):
            return self._request_context(environ)
        try:
            given = (
                self._answer(environ, found[1].lower(), found[2] or "") if found else self._deep_links.answer(environ)
            )
        except Exception:
            log.exception("a reader could not be answered")
            given = answer.later()
        if given is None:
            return self._request_context(environ)
        # The test client and the debugger would keep this context, which was never pushed.
        environ.pop("werkzeug.debug.preserve_context", None)
        return Answered(given)

    def test_request_context(self, *args: Any, **options: Any) -> Any:
        """Return a real request context for any path, for a test or a template."""
        overrides = options.pop("environ_overrides", None) or {}
        return self._test_request_context(*args, environ_overrides={**overrides, _HOSTS: True}, **options)

    def full_dispatch_request(self, *context: Any) -> Any:
        """Return the ready answer, else the host's."""
        if (given := _ready.get()) is None:
            return self._full_dispatch_request(*context)
        _ready.set(None)
        return given

    def _answer(self, environ: dict[str, Any], segment: str, rest: str) -> Any:
        """Return a WSGI application that answers."""
        if (notice := environ.get(NOTICE)) is not None:
            notice.append(self._app)
        if segment == _STATIC:
            # The pages need these files, also when the app is behind a login wall.
            return self._files.get(rest.strip("/").lower()) or answer.text("There is no such file.\n", 404)
        view, methods = self._views.by_path[segment]
        if (method := environ["REQUEST_METHOD"]) in methods and method != "OPTIONS":
            return view(environ, rest)
        allow = ("Allow", ", ".join(methods))
        return answer.text("", 200, allow) if method == "OPTIONS" else answer.text("Not so.\n", 405, allow)

    def _trusted(self, environ: Mapping[str, Any]) -> bool:
        """Say whether Flask would answer for this host. Hosts of tracked links are always answered."""
        if (trusted := self._app.config.get("TRUSTED_HOSTS")) is None:
            return True
        host = environ.get("HTTP_HOST", "")
        name = host_of(f"http://{host}")
        return name in self._own_hosts or host_is_trusted(host, trusted) or self._in_use.may_be_ours(name)


def serve(
    app: Flask,
    settings: Settings,
    recorder: Recorder,
    pages: Pages,
    hosts: OwnHosts,
    online: Online,
    in_use: DomainsInUse,
    calls: Calls,
) -> None:
    """Let *app* answer readers: by the front door, or else by the routes of the blueprint."""
    views, deep_links = Views(recorder, pages, hosts, online, calls), DeepLinks(settings, in_use)
    # The routes are there with the door, too, for url_for and flask routes.
    blueprint = create_blueprint(settings, views)
    app.register_blueprint(blueprint)
    if settings.front_door:
        Door(app, settings, views, deep_links, in_use).hang()
    else:
        app.register_blueprint(create_deep_links(deep_links))
        exempt_from_csrf(app, blueprint)


_TEXT = ("text/", "application/json", "application/javascript", "application/xml", "application/xhtml+xml")
_PROBLEM = "holds a placeholder, which is filled in only in a mail."
_CURE = "In a page, call mailtrack.unsubscribe_url(address, list_id) or mailtrack.preferences_url(address)."


def watch_for_leftovers(app: Flask, holds: Callable[[bytes], bool]) -> None:
    """Look for placeholders in the answers of *app*. They raise under ``debug`` and ``TESTING``, else they are logged.

    A streamed response is not read, and neither is a file.

    :param holds: says whether a page has a placeholder in it.
    """

    def look(response: Response) -> Response:
        if _is_read(response) and holds(response.get_data()):
            page = f"the page of {request.endpoint or request.path!r}"
            if current_app.debug or current_app.testing:
                raise ConfigError("E170", page, _PROBLEM, _CURE)
            log.error("[E170] %s: %s %s", page, _PROBLEM, _CURE)
        return response

    # Flask calls the function last that was registered first. So it sees the response after all other changes.
    app.after_request(look)


def _is_read(response: Response) -> bool:
    plain = response.is_sequence and not response.direct_passthrough and not response.content_encoding
    return plain and (response.mimetype or "").startswith(_TEXT)
