"""The front door: our paths are answered before the host sees a request.

A host's hooks, session, routing and error handlers serve the host's readers. Any of them may send a
reader elsewhere, or fail, and then a click is lost. So the door stands where :meth:`flask.Flask.wsgi_app`
asks the app for its request context: inside every middleware, whenever it was added, so that what a
ProxyFix says holds; and before all else. What Flask gets for our paths is an answer that is ready.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.sansio.utils import host_is_trusted

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of
from flask_mailtrack.events import DOMAIN_PATH, NOTICE
from flask_mailtrack.storage.tables.domains import DomainsInUse

from . import answer
from .hits import Recorder
from .own_hosts import DeepLinks, OwnHosts, create_deep_links
from .pages import Pages
from .views import Views, create_blueprint, exempt_from_csrf

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

_HOSTS = "flask_mailtrack.hosts"
_STATIC = "static"
_FOLDER = Path(__file__).parents[1] / _STATIC

_ready: ContextVar[Any] = ContextVar("flask_mailtrack.answer", default=None)


class Answered:
    """What Flask takes for a request context: there is nothing in it but the answer."""

    __slots__ = ("_answer",)

    def __init__(self, given: Any) -> None:
        self._answer = given

    def push(self) -> None:
        """Let the next dispatch have the answer."""
        _ready.set(self._answer)

    def __enter__(self) -> Answered:
        self.push()
        return self

    def __exit__(self, *_: object) -> None:
        self.pop()

    def pop(self, error: BaseException | None = None) -> None:
        """Take it back."""
        _ready.set(None)


class Door:
    """Stands in front of *app*; see :meth:`hang`.

    :param may_be_ours: says whether a link may stand on a host that the configuration does not name; must not wait.
    """

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        views: Views,
        deep_links: DeepLinks,
        may_be_ours: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._request_context: Callable[..., Any] = app.request_context
        self._test_request_context: Callable[..., Any] = app.test_request_context
        self._full_dispatch_request: Callable[..., Any] = app.full_dispatch_request
        self._views = views
        self._deep_links = deep_links
        self._may_be_ours = may_be_ours
        self._own_hosts = frozenset(map(host_of, settings.base_urls()))
        self._files = {path.name: answer.file(path) for path in _FOLDER.iterdir() if path.is_file()}
        prefixes = "|".join(prefix.strip("/").replace("/", "/+") for prefix in settings.url_prefix.every)
        segments = "|".join((*views.by_path, _STATIC))
        # Gateways upper-case a whole path, and double its slashes.
        self._ours = re.compile(rf"/+(?:{prefixes})/+({segments})(?:/(.*))?", re.ASCII | re.IGNORECASE | re.DOTALL)

    def hang(self) -> None:
        """Put the door in: on the app object alone, so that other apps of the process have none."""
        # setattr, as a method is replaced.
        for own in (self.request_context, self.test_request_context, self.full_dispatch_request):
            setattr(self._app, own.__name__, own)

    def request_context(self, environ: dict[str, Any]) -> Any:
        """Return the answer to one of our paths, else what the host makes of a request."""
        path = environ.get("PATH_INFO", "")
        found = self._ours.fullmatch(path)
        if (found is None and path not in self._deep_links.bodies) or _HOSTS in environ:
            return self._request_context(environ)
        # A host that has just been made must prove at once that it leads here, and proves nothing of any other.
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
        # The test client and the debugger would keep a context that was never pushed.
        environ.pop("werkzeug.debug.preserve_context", None)
        return Answered(given)

    def test_request_context(self, *args: Any, **options: Any) -> Any:
        """Return a real request context for any path, as a test or a template wants it."""
        overrides = options.pop("environ_overrides", None) or {}
        return self._test_request_context(*args, environ_overrides={**overrides, _HOSTS: True}, **options)

    def full_dispatch_request(self, *context: Any) -> Any:
        """Return the answer that is ready, else the host's."""
        if (given := _ready.get()) is None:
            return self._full_dispatch_request(*context)
        _ready.set(None)
        return given

    def _answer(self, environ: dict[str, Any], segment: str, rest: str) -> Any:
        """Return a WSGI application that answers."""
        if (notice := environ.get(NOTICE)) is not None:
            notice.append(self._app)
        if segment == _STATIC:
            # Pages ask for it, and must look like something behind a login wall, too.
            return self._files.get(rest.strip("/").lower()) or answer.text("There is no such file.\n", 404)
        view, methods = self._views.by_path[segment]
        if (method := environ["REQUEST_METHOD"]) in methods and method != "OPTIONS":
            return view(environ, rest)
        allow = ("Allow", ", ".join(methods))
        return answer.text("", 200, allow) if method == "OPTIONS" else answer.text("Not so.\n", 405, allow)

    def _trusted(self, environ: Mapping[str, Any]) -> bool:
        """Say whether Flask would answer for this host; for those of our links it always should."""
        if (trusted := self._app.config.get("TRUSTED_HOSTS")) is None:
            return True
        host = environ.get("HTTP_HOST", "")
        name = host_of(f"http://{host}")
        return name in self._own_hosts or host_is_trusted(host, trusted) or self._may_be_ours(name)


def serve(
    app: Flask, settings: Settings, recorder: Recorder, pages: Pages, hosts: OwnHosts, in_use: DomainsInUse
) -> None:
    """Let *app* answer readers: by the front door, or else by its own routes."""
    views, deep_links = Views(recorder, pages, hosts), DeepLinks(settings, in_use.known)
    # With the door, too: for url_for, and flask routes.
    blueprint = create_blueprint(settings, views)
    app.register_blueprint(blueprint)
    if settings.front_door:
        Door(app, settings, views, deep_links, in_use.may_be_ours).hang()
    else:
        app.register_blueprint(create_deep_links(deep_links))
        exempt_from_csrf(app, blueprint)
