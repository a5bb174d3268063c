"""The pages for readers: templates, language and content.

The pages are rendered in a request context without the host's session, cookies and hooks. Templates, translations
and context processors of the host work in that context as in any other.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from flask import Blueprint, Flask
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSession
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PrefixLoader
from werkzeug.sansio.utils import host_is_trusted

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of
from flask_mailtrack.events import EVERYTHING, PATHS, REASONS, Kind, Standing
from flask_mailtrack.languages import Words, reader_words
from flask_mailtrack.lists import folded
from flask_mailtrack.modes import Mode
from flask_mailtrack.privacy import mask
from flask_mailtrack.storage.tables.optouts import OptOuts
from flask_mailtrack.templating import as_written, rendered
from flask_mailtrack.tokens import Token

from .choices import OWN, Wish, after, doubtful
from .hits import is_narrow

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

T = TypeVar("T")


class _NoSession(SecureCookieSession):
    """An empty session that refuses to be written."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("the pages of flask_mailtrack have no session to write to")

    __setitem__ = __delitem__ = clear = pop = popitem = update = setdefault = __ior__ = _refuse


class PageContext(RequestContext):
    """A request context with a given endpoint. The host's routing is not asked."""

    def __init__(self, app: Flask, environ: dict[str, Any], endpoint: str) -> None:
        super().__init__(app, environ, session=_NoSession())
        self._endpoint = endpoint

    def match_request(self) -> None:
        """Give the request its endpoint."""
        self.request.url_rule, self.request.view_args = next(self.app.url_map.iter_rules(self._endpoint)), {}


def apart(app: Flask, endpoint: str, environ: Mapping[str, Any], build: Callable[[], T]) -> T:
    """Call *build* in a request context of its own, without cookies and without the body."""
    # A context in a copied contextvars context need not be popped, so none of the host's teardown functions runs.
    return copy_context().run(_apart, app, endpoint, environ, build)


def _apart(app: Flask, endpoint: str, environ: Mapping[str, Any], build: Callable[[], T]) -> T:
    # The body has been read. To read on might wait for ever.
    seen: dict[str, Any] = {**environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
    seen.pop("HTTP_COOKIE", None)
    home = app.subdomain_matching and app.config.get("SERVER_NAME")
    if home and not host_of(f"http://{seen.get('HTTP_HOST', '')}").endswith(host_of(f"http://{home}")):
        seen["HTTP_HOST"] = home  # Flask would warn of any other host each time
    trusted = app.config.get("TRUSTED_HOSTS")
    if trusted and not host_is_trusted(seen.get("HTTP_HOST", ""), trusted):
        seen["HTTP_HOST"] = trusted[0].lstrip(".")  # Flask does not trust a tracking host, and url_for would fail
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
    """Release resources of context processors, such as a connection to the database. Only these hooks know of them."""
    try:
        app.do_teardown_appcontext(None)
    except Exception:  # the page is complete already
        log.exception("the end of the app context fails")


_IP = {
    "truncate": "Only the first part, which many people share.",
    "full": "The full address.",
    "hash": "Only as a code that changes every day.",
    "none": "Not kept.",
}
_USER_AGENT = {
    "full": "Its name, version and system, as it states them.",
    "family": "Only its name.",
    "none": "Not kept.",
}

_BY_WHAT_THEY_TELL = (Mode.INDIVIDUAL, Mode.DELIVERABILITY, Mode.AGGREGATE)


@dataclass(frozen=True, slots=True)
class Statement:
    """The parts of a statement that depend on settings and person. The texts are for the catalogues."""

    opens: bool
    """Whether opens of this person's mails are recorded."""
    clicks: bool
    mode: str
    """The mode of both. Of several modes in the configuration, the one that keeps most is named."""
    ip: str
    user_agent: str
    bodies: bool
    """Whether the text of mails is kept."""
    days: Mapping[str, float]
    """The days for which ``events`` and ``messages`` are kept; a missing one has no fixed period."""


def statement(settings: Settings, standing: Standing) -> Statement:
    """Return the statement about the data that is kept of a person."""
    modes = {settings.mode, *(domain.get("mode", settings.mode) for domain in settings.sender_domains.values())}
    return Statement(
        opens=settings.opens and standing.measured,
        clicks=settings.clicks and standing.measured,
        mode=next(mode for mode in _BY_WHAT_THEY_TELL if mode in modes),
        ip=_IP[settings.ip],
        user_agent=_USER_AGENT[settings.user_agent],
        bodies=settings.keep_bodies,
        days=getattr(settings, "keep_days", {}),
    )


NAME = "mailtrack"


class PackageBlueprint(Blueprint):
    """A blueprint whose templates have a second name, ``flask_mailtrack/…``. No app overrides this name.

    So an app's ``mailtrack/unsubscribe.html`` can extend ``flask_mailtrack/unsubscribe.html`` and change one
    block. With the first name alone, the template would extend itself.
    """

    @cached_property
    def jinja_loader(self) -> BaseLoader:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The loader of the templates."""
        folder = Path(self.root_path, str(self.template_folder))
        return ChoiceLoader(
            [FileSystemLoader(folder), PrefixLoader({"flask_mailtrack": FileSystemLoader(folder / NAME)})]
        )


class Pages:
    """Renders the pages of *app*.

    :param optouts: looks up the recipient behind a token and the recipient's opt-outs; may raise.
    """

    def __init__(self, app: Flask, settings: Settings, optouts: OptOuts) -> None:
        self._app = app
        self._settings = settings
        self._optouts = optouts
        self._root = f"{urlsplit(settings.base_url).path}{settings.url_prefix}"
        # The other names have a special meaning in a choice.
        lists = {folded(name): about for name, about in settings.lists.items()}
        self.lists: dict[str, dict[str, str]] = {
            name: about for name, about in lists.items() if name not in (OWN, EVERYTHING)
        }

    def inside(self, view: str, environ: Mapping[str, Any], build: Callable[[], T]) -> T:
        """Call *build*, which renders for a *view*, in a context for the templates of the app.

        Behind the front door this is a context of its own. Without the door it is the context of the host's request.
        """
        return apart(self._app, f"{NAME}.{view}", environ, build) if self._settings.front_door else build()

    def about(self, template: str, speech: Words, token: Token, wish: Wish, preferences: str) -> str:
        """Return a page about one person.

        :param wish: the request that the page answers.
        :param preferences: the token of the person's preferences.
        """
        found = self.look_up(token)
        known = found is not None
        standing = found or Standing(sure=False)
        noted = doubtful(standing, wish.choices)
        standing = after(standing, wish.choices)
        about = self.lists.get(standing.list_id, {})
        return self.plain(
            template,
            speech,
            state=wish.state,
            noted=noted,
            shown=standing.shown,
            strange=wish.strange,
            standing=standing,
            known=known,
            address=mask(standing.recipient) if standing.recipient else "",
            list_title=about.get("title", standing.list_id),
            list_description=about.get("description", ""),
            lists=self._offered(standing, is_narrow(token)),
            reasons=REASONS,
            preferences=f"{self._root}/{PATHS[Kind.PREFERENCES]}/{preferences}",
            statement=statement(self._settings, standing),
        )

    def look_up(self, token: Token) -> Standing | None:
        """Return the standing of the person behind a link, as far as the link may show it; ``None``: not known now."""
        try:
            found = self._optouts.standing(token.message_id, token.ref, token.list_id)
        except Exception:
            log.warning("a page is shown without the recipient", exc_info=True)
            return None
        return found.narrowed() if is_narrow(token) else found

    def plain(self, template: str, speech: Words, **values: Any) -> str:
        """Return a page. If the host's template or a context processor fails, return the package's own page."""
        values |= {"stylesheet": f"{self._root}/static/mailtrack.css", "t": speech}
        try:
            return rendered(f"{NAME}/{template}", **values)
        except Exception:  # also an abort() in them, which is meant for the app's own pages
            log.exception("the page mailtrack/%s of the app fails: showing the one of the package", template)
            environment = as_written(self._app.jinja_env, self._app.blueprints[NAME].jinja_loader)
            return environment.get_template(f"{NAME}/{template}").render(**values)

    def wording(self, template: str, speech: Words) -> str:
        """Return the short name of the text of a page, for the record of a choice on the page."""
        environment = self._app.jinja_env
        try:
            names = (f"{NAME}/{template}", f"flask_mailtrack/{template}")
            loader = environment.loader
            return speech.fingerprint([loader.get_source(environment, name)[0] for name in names] if loader else [])
        except Exception:  # the host's template cannot be read, so the package's own page was shown
            log.exception("the wording of mailtrack/%s is not known", template)
            return speech.language

    def speech(self, environ: Mapping[str, Any]) -> Words:
        """Return the language of the reader: by Flask-Babel if the host uses it, else by the browser."""
        return reader_words("babel" in self._app.extensions, environ.get("HTTP_ACCEPT_LANGUAGE", ""))

    def offered(self, token: Token) -> list[str]:
        """Return the lists, besides its own, that a link may change."""
        return [] if is_narrow(token) else list(self.lists)

    def _offered(self, standing: Standing, narrow: bool) -> list[Mapping[str, Any]]:
        """Return the lists that the person may choose: the described lists, and the list of the message."""
        offered: list[Mapping[str, Any]] = [
            {"value": name, "title": about["title"], "description": about.get("description", ""), "name": name}
            for name, about in self.lists.items()
            if not narrow or name == standing.list_id
        ]
        if standing.list_id and standing.list_id not in self.lists:
            offered.insert(0, {"value": OWN, "title": standing.list_id, "description": "", "name": standing.list_id})
        return offered
