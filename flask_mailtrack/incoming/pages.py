"""The pages that readers see: their templates, their language and what they tell.

They are rendered in a request context without the host's session, cookies and hooks. Templates, translations
and context processors of the host work in that context as in any other.

The language is the standard library's gettext, with catalogues inside the package. The sources are
``locale/<language>/LC_MESSAGES/mailtrack.po``. What is written there reaches the reader once it is compiled:
``pybabel compile -d flask_mailtrack/locale -D mailtrack``.
"""

from __future__ import annotations

import gettext
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from flask import Blueprint, Flask, render_template
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSession
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PrefixLoader
from markupsafe import Markup
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header
from werkzeug.sansio.utils import host_is_trusted

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of
from flask_mailtrack.events import EVERYTHING, PATHS, Kind, Standing
from flask_mailtrack.lists import folded
from flask_mailtrack.modes import Mode
from flask_mailtrack.privacy import mask
from flask_mailtrack.storage.tables.optouts import OptOuts
from flask_mailtrack.tokens import Token

from .choices import OWN, REASONS, Wish, after, doubtful
from .hits import is_narrow

FOLDER = Path(__file__).parents[1] / "locale"
LANGUAGES = {
    "en": "en",
    "ar": "ar",
    "de": "de",
    "es": "es",
    "fr": "fr",
    "ja": "ja",
    "pt": "pt",
    "zh": "zh-Hans",
}
"""Each language that the pages speak, with its tag (BCP 47). English is what the templates say."""
_RIGHT_TO_LEFT = {"ar"}


@dataclass(frozen=True, slots=True)
class Words:
    """One language of the pages; called with an English text, it returns that text's translation."""

    language: str
    catalogue: gettext.NullTranslations = field(repr=False)
    content: bytes = field(default=b"", repr=False)
    """The compiled catalogue."""

    @property
    def tag(self) -> str:
        """What ``lang`` and ``Content-Language`` say."""
        return LANGUAGES[self.language]

    @property
    def direction(self) -> str:
        """Which way it is written: ``ltr`` or ``rtl``."""
        return "rtl" if self.language in _RIGHT_TO_LEFT else "ltr"

    def __call__(self, text: str, **values: Any) -> Markup:
        """Return the translation of *text*, or *text*, with *values* escaped into its ``%(name)s``."""
        translated = _translated(self.catalogue, text)
        return translated % values if values else translated

    def fingerprint(self, sources: Sequence[str]) -> str:
        """Return a short name for what these words make of *sources*: language and hash, ``de.8f3a01bc``."""
        digest = blake2b(self.content, digest_size=4)
        for source in sources:
            digest.update(source.encode())
        return f"{self.language}.{digest.hexdigest()}"


@lru_cache(1_024)
def _translated(catalogue: gettext.NullTranslations, text: str) -> Markup:
    return Markup(catalogue.gettext(text))  # noqa: S704 - the catalogues are ours


def spoken(tag: str) -> str | None:
    """Return which of :data:`LANGUAGES` a tag such as ``pt-BR`` or ``pt_BR`` asks for, if any."""
    language = tag.replace("_", "-").partition("-")[0].lower()
    return language if language in LANGUAGES else None


@cache
def words(language: str) -> Words:
    """Return the words of one of :data:`LANGUAGES`; of any other, English."""
    if language not in LANGUAGES or language == "en":
        return Words("en", gettext.NullTranslations())
    path = FOLDER / language / "LC_MESSAGES" / "mailtrack.mo"
    with path.open("rb") as file:
        return Words(language, gettext.GNUTranslations(file), path.read_bytes())


@lru_cache(1_024)
def accepted(header: str) -> str:
    """Return which of :data:`LANGUAGES` an ``Accept-Language`` header asks for, else English.

    Werkzeug's own best match takes English for ``de-AT, en;q=0.9``.
    """
    tags = parse_accept_header(header, LanguageAccept)
    return next(filter(None, (spoken(tag) for tag, quality in tags if quality > 0)), "en")


log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

T = TypeVar("T")


class _NoSession(SecureCookieSession):
    """A session that holds nothing, and takes nothing."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("the pages of flask_mailtrack have no session to write to")

    __setitem__ = __delitem__ = clear = pop = popitem = update = setdefault = __ior__ = _refuse


class PageContext(RequestContext):
    """A request context that knows where the request leads, whatever the host's routing makes of it."""

    def __init__(self, app: Flask, environ: dict[str, Any], endpoint: str) -> None:
        super().__init__(app, environ, session=_NoSession())
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


_IP = {
    "truncate": "Only the first part, which many people share.",
    "full": "In full.",
    "hash": "Only as a code that changes every day.",
    "none": "Not kept.",
}
_USER_AGENT = {
    "full": "What your program says about itself.",
    "family": "Only its name.",
    "none": "Not kept.",
}

_BY_WHAT_THEY_TELL = (Mode.INDIVIDUAL, Mode.DELIVERABILITY, Mode.AGGREGATE)


@dataclass(frozen=True, slots=True)
class Statement:
    """The parts of a statement that depend on settings and person; the texts are for the catalogues."""

    opens: bool
    """Whether opens of this person's mails are recorded."""
    clicks: bool
    mode: str
    """What is kept of both: that of the configuration which tells most, whatever domain it is for."""
    ip: str
    user_agent: str
    days: Mapping[str, float]
    """How long ``events`` and ``messages`` are kept; what is missing has no fixed period."""


def statement(settings: Settings, standing: Standing) -> Statement:
    """Return what is kept of a person."""
    modes = {settings.mode, *(domain.get("mode", settings.mode) for domain in settings.sender_domains.values())}
    return Statement(
        opens=settings.opens and standing.measured,
        clicks=settings.clicks and standing.measured,
        mode=next(mode for mode in _BY_WHAT_THEY_TELL if mode in modes),
        ip=_IP[settings.ip],
        user_agent=_USER_AGENT[settings.user_agent],
        days=getattr(settings, "keep_days", {}),
    )


try:
    from flask_babel import get_locale
except ImportError:  # the host has no need of it
    get_locale = None


NAME = "mailtrack"
LONGEST_HEADER = 512
"""Characters of Accept-Language that are read, as what is remembered must not grow with what a client sends."""


class PackageBlueprint(Blueprint):
    """A blueprint whose templates have a second name, ``flask_mailtrack/…``, that no app overrides.

    An app's ``mailtrack/unsubscribe.html`` can so extend ``flask_mailtrack/unsubscribe.html`` and change
    one block; under the first name alone it would extend itself.
    """

    @cached_property
    def jinja_loader(self) -> BaseLoader:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Where the templates are."""
        folder = Path(self.root_path, str(self.template_folder))
        return ChoiceLoader(
            [FileSystemLoader(folder), PrefixLoader({"flask_mailtrack": FileSystemLoader(folder / NAME)})]
        )


class Pages:
    """Renders the pages of *app*.

    :param optouts: look up who is behind a token, and what has been refused; may raise.
    """

    def __init__(self, app: Flask, settings: Settings, optouts: OptOuts) -> None:
        self._app = app
        self._settings = settings
        self._optouts = optouts
        self._root = f"{urlsplit(settings.base_url).path}{settings.url_prefix}"
        # The other names have a meaning of their own in a choice.
        lists = {folded(name): about for name, about in settings.lists.items()}
        self.lists: dict[str, dict[str, str]] = {
            name: about for name, about in lists.items() if name not in (OWN, EVERYTHING)
        }

    def inside(self, view: str, environ: Mapping[str, Any], build: Callable[[], T]) -> T:
        """Call *build*, which renders for a *view*, where the templates of the app find what they need.

        Behind the front door that is a context of their own; without it, the one of the host's request.
        """
        return apart(self._app, f"{NAME}.{view}", environ, build) if self._settings.front_door else build()

    def about(self, template: str, speech: Words, token: Token, wish: Wish, preferences: str) -> str:
        """Return a page about one person.

        :param wish: what has just been asked for, if anything.
        :param preferences: the token of their preferences.
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
        """Return what stands of the person behind a link, as far as this link may show it; ``None``: not known now."""
        try:
            found = self._optouts.standing(token.message_id, token.ref, token.list_id)
        except Exception:
            log.warning("a page is shown without the recipient", exc_info=True)
            return None
        return found.narrowed() if is_narrow(token) else found

    def plain(self, template: str, speech: Words, **values: Any) -> str:
        """Return a page; if the host's version or one of its context processors fails, ours."""
        values |= {"stylesheet": f"{self._root}/static/mailtrack.css", "t": speech}
        try:
            return render_template(f"{NAME}/{template}", **values)
        except Exception:  # also an abort() there: it is about the app's own pages
            log.exception("the page mailtrack/%s of the app fails: showing the one of the package", template)
            environment = self._app.jinja_env.overlay(loader=self._app.blueprints[NAME].jinja_loader)
            return environment.get_template(f"{NAME}/{template}").render(**values)

    def wording(self, template: str, speech: Words) -> str:
        """Return the short name of what a page says, for the record of a choice that is made on it."""
        environment = self._app.jinja_env
        try:
            names = (f"{NAME}/{template}", f"flask_mailtrack/{template}")
            loader = environment.loader
            return speech.fingerprint([loader.get_source(environment, name)[0] for name in names] if loader else [])
        except Exception:  # a page that cannot be read was not shown either: ours was
            log.exception("the wording of mailtrack/%s is not known", template)
            return speech.language

    def speech(self, environ: Mapping[str, Any]) -> Words:
        """Return the language of the reader: what Flask-Babel says where the host has it, else the browser."""
        if get_locale is not None and "babel" in self._app.extensions:
            try:
                chosen = spoken(str(get_locale() or ""))
            except Exception:
                log.exception("Flask-Babel does not know the reader's language")
            else:
                if chosen:
                    return words(chosen)
        return words(accepted(environ.get("HTTP_ACCEPT_LANGUAGE", "")[:LONGEST_HEADER]))

    def offered(self, token: Token) -> list[str]:
        """Return the lists, besides its own, about which a link may choose."""
        return [] if is_narrow(token) else list(self.lists)

    def _offered(self, standing: Standing, narrow: bool) -> list[Mapping[str, Any]]:
        """Return the lists that the person may choose: those that are described, and the one of the message."""
        offered: list[Mapping[str, Any]] = [
            {"value": name, "title": about["title"], "description": about.get("description", ""), "name": name}
            for name, about in self.lists.items()
            if not narrow or name == standing.list_id
        ]
        if standing.list_id and standing.list_id not in self.lists:
            offered.insert(0, {"value": OWN, "title": standing.list_id, "description": "", "name": standing.list_id})
        return offered
