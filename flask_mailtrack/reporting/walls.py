"""The walls between the network and the routes: the host's own hooks, asked one by one.

Flask calls ``before_request`` functions in the order of registration. The first function that answers keeps the others,
and the route, from being called. No extension can be before all of them, so each wall is named here with its cure.
"""

from __future__ import annotations

import inspect
import itertools
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from flask_mailtrack.phrases import NOTHING, Phrase

_LET_PASS = Phrase("let it pass where %(code)s", code='request.blueprint == "mailtrack"')


def wall(app: Flask, path: str, base_url: str, **request: Any) -> Phrase:
    """Return, in words, the host's function that answers a request before the route, and the cure.

    The host's ``before_request`` functions are called, as the request itself would call them.

    :param path: below the root of *base_url*.
    :param request: more of the request, as for :meth:`flask.Flask.test_request_context`.
    :return: empty if no function answers.
    """
    for function in app.before_request_funcs.get(None, ()):
        # Each function gets a request of its own, which no other function has changed.
        with app.test_request_context(path, base_url=base_url, **request):
            try:
                answer = app.ensure_sync(function)()
            except HTTPException as error:
                answer = error.get_response()
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                return Phrase(
                    "%(name)s fails with %(error)s; %(cure)s", name=_named(function), error=what, cure=_LET_PASS
                )
            if answer is not None:
                # The response of an HTTPException is Werkzeug's class, and not Flask's.
                response = app.make_response(answer)
                kind, cure = _kind(function, response, path), _cure(response, path)
                return Phrase("%(kind)s: %(name)s answers; %(cure)s", kind=kind, name=_named(function), cure=cure)
    return NOTHING


def blame(error: BaseException) -> str:
    """Return the host's teardown function that raised *error*; empty if none did.

    Such a failure comes after the answer was made, but the reader still gets no answer.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    for (outer, _), (inner, line) in itertools.pairwise(frames):
        if outer.f_code.co_name.startswith("do_teardown"):
            code = inner.f_code
            return f" in the teardown function {code.co_name} ({code.co_filename}:{line}), after the answer was made"
    return ""


def _kind(function: Callable[..., Any], response: Response, path: str) -> Phrase:
    module = getattr(inspect.unwrap(function), "__module__", None) or type(function).__module__
    if "csrf" in f"{module}.{_name(function)}".lower():
        return Phrase("CSRF protection")
    if _to_https(response, path):
        return Phrase("a redirect to https")
    if response.status_code in (401, 403) or 300 <= response.status_code < 400:
        return Phrase("a login wall")
    known = {503: Phrase("maintenance"), 429: Phrase("a rate limit")}
    return known.get(response.status_code) or Phrase("status %(status)s", status=str(response.status_code))


def _cure(response: Response, path: str) -> Phrase:
    if _to_https(response, path):
        return Phrase(
            "a redirect loses the body of a POST: %(cure)s, and tell Flask of https by Werkzeug's ProxyFix",
            cure=_LET_PASS,
        )
    if response.status_code == 503:
        return Phrase("%(cure)s, as people may leave a list at any time", cure=_LET_PASS)
    return _LET_PASS


def _to_https(response: Response, path: str) -> bool:
    target = urlsplit(response.headers.get("Location", ""))
    return target.scheme == "https" and target.path.endswith(path)


def _named(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{_name(function)}"


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
