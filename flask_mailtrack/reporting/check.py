"""The findings of ``flask mailtrack check`` about a set-up that started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from flask_mailtrack import networks
from flask_mailtrack.config import Settings
from flask_mailtrack.events import NOTICE, PATHS, Kind, new_id, now
from flask_mailtrack.phrases import NOTHING, Phrase, foreign
from flask_mailtrack.storage.journal.directory import UNREAD
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.service_calls import ServiceCalls
from flask_mailtrack.storage.redis import Stream
from flask_mailtrack.storage.tables.database import Database, missing_columns, missing_tables, try_to_write
from flask_mailtrack.storage.tables.host_columns import CURE as FILL
from flask_mailtrack.storage.tables.host_columns import UNFILLED, UNFILLED_WITHOUT_MAIL
from flask_mailtrack.storage.tables.outbox import WebhookOutbox
from flask_mailtrack.storage.tables.second_look import Enrichment
from flask_mailtrack.tokens import Signer

from .remedies import Finding
from .waiting_check import journal_findings, service_findings, stream_finding, webhook_finding
from .walls import blame, wall

GOOD_SECRET_BYTES = 32
_SIGNED = ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id")
STALE_DAYS = 90
_READER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Accept-Language": "en",
}


def findings(
    app: Flask,
    settings: Settings,
    database: Database,
    spools: Sequence[Journal],
    stream: Stream | None = None,
    unwatched: Callable[[], list[str]] = list,
) -> Iterator[Finding]:
    """Check links, keys, mail, spool, stream, tables and routes, one after the other.

    :param unwatched: returns the classes of connections whose mail is not tracked.
    """
    if not settings.enabled:
        text = Phrase("MAILTRACK_ENABLED is off: nothing is tracked, and no link of ours answers")
        yield Finding("C44", "warning", text)
        return
    yield from _links(settings)
    yield _guarded("C13", lambda: _mail(unwatched()))
    yield from journal_findings(spools, lasting=not app.testing)
    if stream is not None:
        yield _guarded("C25", lambda: stream_finding(stream, settings.sink_max))
    yield _guarded("C30", lambda: _tables(database))
    yield from _columns(database)
    if settings.webhooks:
        yield _guarded("C33", lambda: webhook_finding(WebhookOutbox(database, settings.webhooks.values())))
    if settings.services:
        directory = spools[0].directory
        yield from service_findings(settings, ServiceCalls(directory), directory / UNREAD)
    yield _guarded("C40", lambda: _pixel(app, settings))
    yield _guarded("C41", lambda: _one_click(app, settings))
    yield _guarded("C42", lambda: _front_door(app, settings))
    yield _guarded("C43", lambda: _click(app, settings))
    yield _guarded("C50", lambda: _networks(settings))
    if settings.geo_database:
        yield _guarded("C51", lambda: _countries(settings))


def _links(settings: Settings) -> Iterator[Finding]:
    if settings.https:
        url = f"{settings.base_url}{settings.url_prefix}"
        yield Finding("C10", "ok", Phrase("links are built on %(url)s", url=url))
    else:
        text = Phrase("%(url)s is not https: no one-click unsubscribe (RFC 8058)", url=settings.base_url)
        yield Finding("C10", "warning", text)
    if min(len(key) for key in settings.secret_keys) < GOOD_SECRET_BYTES:
        text = Phrase("a signing key has fewer than %(bytes)s bytes", bytes=GOOD_SECRET_BYTES)
        yield Finding("C11", "warning", text)
    else:
        yield Finding("C11", "ok", _keys(len(settings.secret_keys)))
    if settings.unsubscribe and settings.https:
        # RFC 8058, section 4. The signature of the mail server cannot be seen from here, so this is only a reminder.
        yield Finding("C12", "ok", Phrase("of list mail, DKIM must sign (in its h= tag): %(headers)s", headers=_SIGNED))


def _keys(number: int) -> Phrase:
    return Phrase.counted(
        number, "%(number)s signing key, new links by it", "%(number)s signing keys, new links by the first"
    )


def _mail(unwatched: list[str]) -> Finding:
    if unwatched:
        text = Phrase(
            "connect() opens a %(kinds)s, which is no Connection of Flask-Mail: its mail is not tracked, and goes to "
            "people who have left",
            kinds=unwatched,
        )
        return Finding("C13", "error", text)
    return Finding("C13", "ok", Phrase("what Flask-Mail sends is tracked"))


def _tables(database: Database) -> Finding:
    gone = database.file.vanished  # asked first, because a look for the tables would make the file again
    if missing := missing_tables(database):
        run = Phrase("run db.create_all() or a migration")
        cure = Phrase("%(gone)s; restore it, or run db.create_all()", gone=gone) if gone else run
        return Finding("C30", "error", Phrase("no table %(names)s: %(cure)s", names=missing, cure=cure))
    if missing := missing_columns(database):
        return Finding("C30", "error", Phrase("no column %(names)s: run a migration", names=missing))
    try_to_write(database)
    return Finding("C30", "ok", Phrase("the tables are there, and take rows"))


def _columns(database: Database) -> Iterator[Finding]:
    never, with_mail = database.host.unfilled()
    if never:
        text = Phrase("%(names)s: %(why)s: %(cure)s", names=never, why=UNFILLED, cure=FILL)
        yield Finding("C31", "error", text)
    if with_mail:
        text = Phrase("%(names)s: %(why)s: %(cure)s", names=with_mail, why=UNFILLED_WITHOUT_MAIL, cure=FILL)
        yield Finding("C32", "warning", text)


def _ask(app: Flask, settings: Settings, method: str, path: str, **more: Any) -> TestResponse:
    """Make a request as the program of a reader who comes from outside and has no cookie of this app."""
    # A request from outside has its own app context, and runs the teardown functions, which may fail.
    given = {"base_url": settings.base_url, "headers": _READER, **more}
    return Context().run(app.test_client(use_cookies=False).open, settings.url_prefix + path, method=method, **given)


def _pixel(app: Flask, settings: Settings) -> Finding:
    response = _ask(app, settings, "GET", f"/{PATHS[Kind.OPEN]}/check.gif")
    if response.status_code != 200 or response.mimetype != "image/gif":
        answer = str(response.status_code)
        text = Phrase("the pixel answers %(status)s: something stands before the routes", status=answer)
        return Finding("C40", "error", text)
    if "Set-Cookie" in response.headers:
        return Finding("C40", "error", Phrase("the pixel sets a cookie"))
    return Finding("C40", "ok", Phrase("the pixel answers, without a cookie"))


def _one_click(app: Flask, settings: Settings) -> Finding:
    # A foreign token must reach the check of the token. A login wall or a CSRF check would answer earlier.
    path, data = f"/{PATHS[Kind.UNSUBSCRIBE]}/check", {"List-Unsubscribe": "One-Click"}
    response = _ask(app, settings, "POST", path, data=data)
    if response.status_code != 404:
        who = NOTHING
        if not _is_asked(app, settings):
            who = wall(app, settings.url_prefix + path, settings.base_url, method="POST", data=data)
        status = str(response.status_code)
        text = Phrase("a one-click POST is answered %(status)s before its token is read", status=status)
        return Finding("C41", "error", Phrase("%(text)s by %(who)s", text=text, who=who) if who else text)
    return Finding("C41", "ok", Phrase("a one-click POST comes through"))


def _front_door(app: Flask, settings: Settings) -> Finding:
    if not settings.front_door:
        text = Phrase("MAILTRACK_FRONT_DOOR is off: the app's hooks, session and routing come first")
        return Finding("C42", "ok", text)
    if _is_asked(app, settings):
        text = Phrase("the front door answers before the app's hooks, session and routing")
        return Finding("C42", "ok", text)
    if name := _overrider(app):
        text = Phrase(
            "%(name)s.wsgi_app does not call Flask's, so the front door is shut: "
            "let it end in super().wsgi_app(environ, start_response)",
            name=name,
        )
        return Finding("C42", "error", text)
    text = Phrase("a middleware answers our paths, so the front door is shut: let them pass there")
    return Finding("C42", "error", text)


def _is_asked(app: Flask, settings: Settings) -> bool:
    """Say whether a request reaches the front door of this app. The door of another app does not count."""
    notice: list[Flask] = []
    with suppress(Exception):  # other findings report the failure
        _ask(app, settings, "HEAD", f"/{PATHS[Kind.OPEN]}/check.gif", environ_overrides={NOTICE: notice})
    return any(asked is app for asked in notice)


def _overrider(app: Flask) -> str:
    """Return the name of the class between Flask and the app's own that handles requests in its own way."""
    for kind in type(app).__mro__:
        if kind is Flask:
            break
        if "wsgi_app" in vars(kind):
            return f"{kind.__module__}.{kind.__qualname__}"
    return ""


def _click(app: Flask, settings: Settings) -> Finding:
    """Follow a link by HEAD, which is answered like a click and not recorded. The link is nobody's."""
    signer = Signer(settings.secret_keys, settings.app_id)
    target = f"{settings.base_url}/"
    link = signer.message(new_id()).click(signer.stamp(0, target))
    response = _ask(app, settings, "HEAD", f"/{PATHS[Kind.CLICK]}/{link}")
    if (response.status_code, response.headers.get("Location")) != (302, target):
        status = str(response.status_code)
        text = Phrase("a link answers %(status)s, and does not lead where it should", status=status)
        return Finding("C43", "error", text)
    return Finding("C43", "ok", Phrase("a link leads where it should"))


def _networks(settings: Settings) -> Finding:
    kind, day = networks.oldest(networks.load(settings.networks))
    age = (now().date() - day).days
    if age > STALE_DAYS:
        update = Phrase("set MAILTRACK_NETWORKS, or update the package")
        text = Phrase.counted(
            age,
            "the list of networks [%(kind)s] is %(number)s day old: %(cure)s",
            "the list of networks [%(kind)s] is %(number)s days old: %(cure)s",
            kind=kind,
            cure="flask mailtrack networks update" if settings.networks else update,
        )
        return Finding("C50", "warning", text)
    return Finding("C50", "ok", Phrase("the list of networks is of %(day)s", day=day))


def _countries(settings: Settings) -> Finding:
    if not Enrichment(geo_database=settings.geo_database).has_countries():
        text = Phrase("%(path)s is no country database: events get no country", path=settings.geo_database)
        return Finding("C51", "warning", text)
    return Finding("C51", "ok", Phrase("the country database can be read"))


def _guarded(code: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:
        return Finding(code, "error", foreign(f"{type(error).__name__}: {error}".splitlines()[0] + blame(error)))
