"""Where pages are rendered: a request context without the host's session, cookies and hooks.

Templates, translations and context processors of the host work in it as in any other.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any, NoReturn, TypeVar

from flask import Flask
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSession
from werkzeug.sansio.utils import host_is_trusted

from flask_mailtrack.destination import host_of

log = logging.getLogger("flask_mailtrack.hit")

T = TypeVar("T")


class NoSession(SecureCookieSession):
    """A session that holds nothing, and takes nothing."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("the pages of flask_mailtrack have no session to write to")

    __setitem__ = __delitem__ = clear = pop = popitem = update = setdefault = __ior__ = _refuse


class PageContext(RequestContext):
    """A request context that knows where the request leads, whatever the host's routing makes of it."""

    def __init__(self, app: Flask, environ: dict[str, Any], endpoint: str) -> None:
        super().__init__(app, environ, session=NoSession())
        self._endpoint = endpoint

    def match_request(self) -> None:
        """Give the request its endpoint."""
        self.request.url_rule, self.request.view_args = next(self.app.url_map.iter_rules(self._endpoint)), {}


def apart(app: Flask, endpoint: str, environ: Mapping[str, Any], build: Callable[[], T]) -> T:
    """Call *build* in a request context of its own, which sees neither cookies nor the body."""
    # What is pushed in a copy need not be popped, so none of the host's functions is asked at the end.
    return copy_context().run(_apart, app, endpoint, environ, build)


def _apart(app: Flask, endpoint: str, environ: Mapping[str, Any], build: Callable[[], T]) -> T:
    # The body has been read, and to read on may wait for ever.
    seen: dict[str, Any] = {**environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
    seen.pop("HTTP_COOKIE", None)
    home = app.subdomain_matching and app.config.get("SERVER_NAME")
    if home and not host_of(f"http://{seen.get('HTTP_HOST', '')}").endswith(host_of(f"http://{home}")):
        seen["HTTP_HOST"] = home  # Flask knows no other, and warns each time
    trusted = app.config.get("TRUSTED_HOSTS")
    if trusted and not host_is_trusted(seen.get("HTTP_HOST", ""), trusted):
        seen["HTTP_HOST"] = trusted[0].lstrip(".")  # a tracking host is ours, and none to Flask: url_for would fail
    try:
        app.app_context().push()
        PageContext(app, seen, endpoint).push()
    except Exception:
        log.exception("a page is made without a request context of the app")
    try:
        return build()
    finally:
        _give_back(app)


def _give_back(app: Flask) -> None:
    """Return what context processors took, such as a connection to the database: only these hooks know of it."""
    try:
        app.do_teardown_appcontext(None)
    except Exception:  # the page is made
        log.exception("the end of the app context fails")
