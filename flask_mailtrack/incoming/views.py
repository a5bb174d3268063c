"""The blueprint: pixel, redirect, unsubscribe and preferences.

These routes are public and need nothing: no login, cookie, session or database. They set no cookie,
whatever the host does, and cannot be cached.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, render_template, request
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PrefixLoader
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.routing import BaseConverter

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import location
from flask_mailtrack.errors import SpoolError, TokenError
from flask_mailtrack.events import APP_PATH, PATHS, Kind, Standing
from flask_mailtrack.privacy import mask
from flask_mailtrack.tokens import Token

from .choices import ASKED, BY_MACHINE, REASONS, after, chosen
from .hits import Recorder, Visitor

log = logging.getLogger("flask_mailtrack.hit")

NAME = "mailtrack"
MAX_BODY = 8 * 1024
GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
_HEADERS = {
    "Cache-Control": "no-store, private",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}


class Rest(BaseConverter):
    """All that is left of a path. Flask's own ``path`` ends at a line break, which gateways put into links."""

    regex = "(?s:.*)"
    part_isolating = False


class PackageBlueprint(Blueprint):
    """A blueprint whose templates have a second name, ``flask_mailtrack/…``, that no app overrides.

    An app's ``mailtrack/unsubscribe.html`` can so extend ``flask_mailtrack/unsubscribe.html`` and change
    one block; under the first name alone it would extend itself.
    """

    @cached_property
    def jinja_loader(self) -> BaseLoader:
        """Where the templates are."""
        folder = Path(self.root_path, str(self.template_folder))
        return ChoiceLoader(
            [FileSystemLoader(folder), PrefixLoader({"flask_mailtrack": FileSystemLoader(folder / NAME)})]
        )


class PlainResponse(Response):
    """A response without cookies.

    A permanent session is renewed after all handlers have run, so the cookie is taken out where the
    headers are written. ``Location`` is written as given: Werkzeug would encode more than a browser.
    """

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Return the headers that leave."""
        headers = super().get_wsgi_headers(environ)
        headers.remove("Set-Cookie")
        headers.remove("Vary")
        if "Location" in self.headers:
            headers["Location"] = self.headers["Location"]
        return headers


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
    read, write = ["GET"], ["GET", "POST"]
    for path, view, methods in (
        (PATHS[Kind.OPEN], views.open, read),
        (PATHS[Kind.CLICK], views.click, read),
        (APP_PATH, views.click, read),
        (PATHS[Kind.HONEYPOT], views.honeypot, read),
        (PATHS[Kind.UNSUBSCRIBE], views.unsubscribe, write),
        (PATHS[Kind.PREFERENCES], views.preferences, write),
    ):
        for rule in (f"/{path}/<{NAME}:path>", f"/{path}"):
            # A redirect to a "cleaner" path would drop the body of a POST, and names the Host header.
            blueprint.add_url_rule(
                rule, view.__name__, view, methods=methods, strict_slashes=False, merge_slashes=False
            )
    return blueprint


def exempt_from_csrf(app: Flask, blueprint: Blueprint) -> None:
    """Tell Flask-WTF that the token is the authority here, in either order of set-up.

    A one-click POST comes from a mail provider, without cookie or form token (RFC 8058, section 3.1).
    """

    def exempt() -> None:
        csrf = app.extensions.get("csrf")
        if csrf is not None:
            csrf.exempt(blueprint)

    def exempt_late() -> None:  # CSRFProtect was set up after us, so its check runs after this
        if request.blueprint == blueprint.name:
            exempt()

    exempt()
    app.before_request(exempt_late)


class Views:
    """The view functions, with what they need."""

    def __init__(self, settings: Settings, recorder: Recorder, standing: Callable[[Token], Standing]) -> None:
        self._settings = settings
        self._recorder = recorder
        self._standing = standing
        self._stylesheet = f"{urlsplit(settings.base_url).path}{settings.url_prefix}/static/mailtrack.css"

    def open(self, path: str = "") -> Response:
        """The pixel: always the same 200, so that it tells nobody whether a token is good."""
        if request.method != "HEAD":
            try:
                self._recorder.opened(path, _visitor())
            except TokenError as error:
                log.info("pixel: %s", error)
            except Exception:
                log.exception("an open was not recorded")
        return _answer(GIF, 200, "image/gif")

    def click(self, path: str = "") -> Response:
        """The redirect."""
        try:
            url = self._recorder.clicked(path, _visitor(), counts=request.method != "HEAD")
        except TokenError as error:
            return self._bad_link(error)
        except Exception:
            log.exception("a damaged link cannot be looked up")
            return _later()
        response = _answer(b"", 302, "text/plain")
        response.headers["Location"] = location(url)
        return response

    def honeypot(self, path: str = "") -> Response:
        """The link that no person sees: whoever follows it all the same stays where they are."""
        try:
            self._recorder.trapped(path, _visitor())
        except TokenError as error:
            log.info("honeypot: %s", error)
        except Exception:
            log.exception("a hit on the honeypot was not recorded")
        return _answer(b"", 204, "text/plain")

    def unsubscribe(self, path: str = "") -> Response:
        """GET asks, POST acts at once; nothing else does."""
        return self._page(Kind.UNSUBSCRIBE, path, "unsubscribe.html")

    def preferences(self, path: str = "") -> Response:
        """What a person gets, and whether it is measured."""
        return self._page(Kind.PREFERENCES, path, "preferences.html")

    def _page(self, kind: Kind, path: str, template: str) -> Response:
        try:
            token = self._recorder.token(kind, path)
        except TokenError as error:
            return self._bad_link(error)
        if request.method != "POST":
            return self._render(template, token, ASKED)
        request.max_content_length = MAX_BODY
        try:
            choice = chosen(kind, request.form)
            if choice is not None:
                self._recorder.choose(token, choice, _visitor())
        except RequestEntityTooLarge:
            return _answer(b"Too much.\n", 413, "text/plain")
        except SpoolError:
            log.exception("an opt-out could not be written")
            return _later()
        if choice is not None and choice.method in BY_MACHINE:
            return _answer(b"You are unsubscribed.\n", 200, "text/plain")
        return self._render(template, token, request.form["action"] if choice is not None else ASKED)

    def _render(self, template: str, token: Token, state: str) -> Response:
        try:
            standing = self._standing(token)
        except Exception:
            log.warning("a page is shown without the recipient", exc_info=True)
            standing = Standing()
        about = self._settings.lists.get(standing.list_id, {})
        return self._html(
            200,
            template,
            state=state,
            standing=after(standing, state),
            address=mask(standing.recipient) if standing.recipient else "",
            list_title=about.get("title", standing.list_id),
            list_description=about.get("description", ""),
            reasons=REASONS,
        )

    def _bad_link(self, error: TokenError) -> Response:
        log.info("link refused: %s", error)
        return self._html(404, "bad_link.html")

    def _html(self, status: int, template: str, **values: Any) -> Response:
        html = _template(template, stylesheet=self._stylesheet, **values)
        response = _answer(html.encode(), status, "text/html")
        response.headers.update(_PAGE_HEADERS)
        return response


def _visitor() -> Visitor:
    return Visitor(request.remote_addr, request.headers.get("User-Agent", ""), dict(request.headers))


def _answer(body: bytes, status: int, mimetype: str) -> Response:
    response = PlainResponse(body, status, mimetype=mimetype)
    response.headers.update(_HEADERS)
    return response


def _later() -> Response:
    response = _answer(b"Please try again in a minute.\n", 503, "text/plain")
    response.headers["Retry-After"] = "60"
    return response


def _template(name: str, **values: Any) -> str:
    """Render a page; if the host's version or one of its context processors fails, render ours."""
    try:
        return render_template(f"mailtrack/{name}", **values)
    except Exception:  # also an abort() there: it is about the app's own pages
        log.exception("the page mailtrack/%s of the app fails: showing the one of the package", name)
        environment = current_app.jinja_env.overlay(loader=current_app.blueprints[NAME].jinja_loader)
        return environment.get_template(f"mailtrack/{name}").render(**values)
