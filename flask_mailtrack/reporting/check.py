"""The findings of ``flask mailtrack check`` about a set-up that started."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from flask_mailtrack import networks
from flask_mailtrack.config import Settings
from flask_mailtrack.events import NOTICE, PATHS, VERIFIED, Kind, new_id, now
from flask_mailtrack.storage.drain.shipping import CURE
from flask_mailtrack.storage.journal.backlog import weakness
from flask_mailtrack.storage.journal.directory import bad_files, foreign_segments, intrusion, make, strangers
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.signatures import CAUSE, Signatures
from flask_mailtrack.storage.redis import BAD, EVENTS, OPTOUTS, REFUSED, Stream
from flask_mailtrack.storage.tables.database import Database, missing_columns, missing_tables, try_to_write
from flask_mailtrack.storage.tables.domains import DomainRow, urgency
from flask_mailtrack.storage.tables.host_columns import CURE as FILL
from flask_mailtrack.storage.tables.host_columns import UNFILLED, UNFILLED_WITHOUT_MAIL
from flask_mailtrack.storage.tables.second_look import Enrichment
from flask_mailtrack.storage.tables.switches import SwitchStatus
from flask_mailtrack.tokens import Signer

from .walls import blame, wall

GOOD_SECRET_BYTES = 32
_SIGNED = ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id")
STALE_DAYS = 90
_READER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Accept-Language": "en",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a check."""

    code: str
    level: str
    """``ok``, ``warning`` or ``error``."""
    text: str


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
        yield Finding("C44", "warning", "MAILTRACK_ENABLED is off: nothing is tracked, and no link of ours answers")
        return
    yield from _links(settings)
    yield _guarded("C13", lambda: _mail(unwatched()))
    yield from _spool(app, spools)
    if stream is not None:
        yield _guarded("C25", lambda: _stream(stream, settings.sink_max))
    yield _guarded("C30", lambda: _tables(database))
    yield from _columns(database)
    yield _guarded("C40", lambda: _pixel(app, settings))
    yield _guarded("C41", lambda: _one_click(app, settings))
    yield _guarded("C42", lambda: _front_door(app, settings))
    yield _guarded("C43", lambda: _click(app, settings))
    yield _guarded("C50", lambda: _networks(settings))
    if settings.geo_database:
        yield _guarded("C51", lambda: _countries(settings))


def switch_findings(
    scopes: Mapping[str, Sequence[SwitchStatus]], trouble: str = "", *, paused: bool = False
) -> Iterator[Finding]:
    """Yield the switches in force of each scope.

    :param scopes: as :meth:`.OperatorSettings.overview` returns it.
    :param trouble: the cause for which the settings cannot be read.
    """
    if trouble:
        yield Finding("C63", "warning", trouble)
    if paused:
        yield Finding("C63", "warning", "tracking is paused: nothing is tracked, and hits are thrown away")
    for scope, switches in scopes.items():
        yield Finding("C63", "ok", f"{scope}: {'; '.join(f'{each.key} {each.text}' for each in switches)}")


def domain_findings(
    rows: Sequence[DomainRow], configured: Collection[str], trouble: str = "", *, can_check: bool = True
) -> Iterator[Finding]:
    """Yield the state of each tracking domain.

    :param configured: the hosts that the configuration names. They are used in any state.
    :param can_check: whether dnspython is installed, without which no domain can be checked.
    """
    if trouble:
        yield Finding("C64", "warning", trouble)
    if rows and not can_check:
        cure = "pip install 'flask-mailtrack[domains]'"
        yield Finding("C64", "warning", f"tracking domains are not watched, as dnspython is missing: {cure}")
    moment = now()
    for row in rows:
        yield Finding("C64", *_standing(row, configured, moment))


def _links(settings: Settings) -> Iterator[Finding]:
    if settings.https:
        yield Finding("C10", "ok", f"links are built on {settings.base_url}{settings.url_prefix}")
    else:
        yield Finding("C10", "warning", f"{settings.base_url} is not https: no one-click unsubscribe (RFC 8058)")
    if min(len(key) for key in settings.secret_keys) < GOOD_SECRET_BYTES:
        yield Finding("C11", "warning", f"a signing key has fewer than {GOOD_SECRET_BYTES} bytes")
    else:
        yield Finding("C11", "ok", f"{len(settings.secret_keys)} signing key(s), new links by the first")
    if settings.unsubscribe and settings.https:
        # RFC 8058, section 4. The signature of the mail server cannot be seen from here, so this is only a reminder.
        yield Finding("C12", "ok", f"of list mail, DKIM must sign (in its h= tag): {', '.join(_SIGNED)}")


def _mail(unwatched: list[str]) -> Finding:
    if unwatched:
        text = f"connect() opens a {', '.join(unwatched)}, which is no Connection of Flask-Mail"
        return Finding("C13", "error", f"{text}: its mail is not tracked, and goes to people who have left")
    return Finding("C13", "ok", "what Flask-Mail sends is tracked")


def _spool(app: Flask, journals: Sequence[Journal]) -> Iterator[Finding]:
    first, second, *older = (spool.directory for spool in journals[0].spools)
    try:
        make(first)
        with tempfile.TemporaryFile(dir=first) as probe:  # a real write, because permissions do not show a full disk
            probe.write(bytes(4096))
    except OSError as error:
        yield Finding("C20", "error", f"the spool {first} cannot be used: {error}")
    else:
        yield _readers(first, sum(journal.size() for journal in journals))
    if many := Signatures(first).read():
        yield Finding("C14", "warning", f"{many} links of our own form had a bad signature within an hour: {CAUSE}")
    places = [first, second, *older]
    if bad := [str(path) for place in places for path in bad_files(place)]:
        yield Finding("C21", "warning", f"records that could not be stored are kept in {', '.join(bad)}")
    if lost := [str(path) for place in places for path in bad_files(place, journals[-1].spools[0].stream)]:
        cure = "mend the table, then run flask mailtrack recover --quarantine"
        yield Finding("C26", "error", f"opt-outs that could not be stored are kept in {', '.join(lost)}: {cure}")
    # The journal of a test may be in a place that does not last.
    if not app.testing and (weak := weakness(first)):
        yield Finding("C22", "warning", f"the spool {first} is on {weak}")
    streams = {journal.spools[0].stream for journal in journals}
    if foreign := [str(place / name) for place in places for name in strangers(place, streams)]:
        yield Finding("C23", "warning", f"not ours, and left alone: {', '.join(map(repr, foreign))}")
    for place in journals[0].doubtful:
        cure = f"if they are this app's: flask mailtrack recover {place}/*.jsonl"
        yield Finding("C28", "error", f"{place} holds rows, and nothing says of which app: {cure}")
    if foreign := [str(path) for place in places for each in sorted(streams) for path in foreign_segments(place, each)]:
        cure = f"chown them to user {os.geteuid()}, as whom the app runs"
        yield Finding("C27", "error", f"of another user, and so not read: {', '.join(map(repr, foreign))}: {cure}")
    if trouble := intrusion(second):
        yield Finding("C24", "error", f"the second spool {second} {' '.join(trouble)}")


def _readers(directory: Path, size: int) -> Finding:
    if stat.S_IMODE(directory.stat().st_mode) & 0o077:
        return Finding("C20", "warning", f"the spool {directory} is open to other users: chmod 700 it")
    return Finding("C20", "ok", f"spool {directory}, {size} bytes wait")


def _stream(stream: Stream, limit: int) -> Finding:
    # Any of these names may belong to something else than a directory.
    waiting, bad, refused, _ = (stream.length(key) for key in (EVENTS, BAD, REFUSED, OPTOUTS))
    stream.try_to_write()
    refusal = stream.refusal()
    if refusal:
        return Finding("C25", "error", f"Redis at {stream.where} {refusal}: rows go straight to the database")
    if waiting > 0.8 * limit:
        return Finding("C25", "warning", f"Redis at {stream.where} holds {waiting} of {limit} entries: nobody drains?")
    if bad or refused:
        foreign = sum(not stream.is_for_us(line) for _, line in stream.bad())
        text = f"{bad} records that could not be stored are kept in {stream.name}:{BAD}"
        text += f", {foreign} of them of an app with another key or database: {CURE}" if foreign else ""
        more = f", {refused} opt-outs in {stream.name}:{REFUSED}: run recover --quarantine on each machine"
        return Finding("C25", "error" if refused or foreign else "warning", text + more if refused else text)
    return Finding("C25", "ok", f"Redis at {stream.where}, {waiting} entries wait")


def _tables(database: Database) -> Finding:
    gone = database.file.vanished  # asked first, because a look for the tables would make the file again
    if missing := missing_tables(database):
        cure = f"{gone}; restore it, or run db.create_all()" if gone else "run db.create_all() or a migration"
        return Finding("C30", "error", f"no table {', '.join(missing)}: {cure}")
    if missing := missing_columns(database):
        return Finding("C30", "error", f"no column {', '.join(missing)}: run a migration")
    try_to_write(database)
    return Finding("C30", "ok", "the tables are there, and take rows")


def _columns(database: Database) -> Iterator[Finding]:
    never, with_mail = database.host.unfilled()
    if never:
        yield Finding("C31", "error", f"{', '.join(never)}: {UNFILLED}: {FILL}")
    if with_mail:
        yield Finding("C32", "warning", f"{', '.join(with_mail)}: {UNFILLED_WITHOUT_MAIL}: {FILL}")


def _ask(app: Flask, settings: Settings, method: str, path: str, **more: Any) -> TestResponse:
    """Make a request as the program of a reader who comes from outside and has no cookie of this app."""
    # A request from outside has its own app context, and runs the teardown functions, which may fail.
    given = {"base_url": settings.base_url, "headers": _READER, **more}
    return Context().run(app.test_client(use_cookies=False).open, settings.url_prefix + path, method=method, **given)


def _pixel(app: Flask, settings: Settings) -> Finding:
    response = _ask(app, settings, "GET", f"/{PATHS[Kind.OPEN]}/check.gif")
    if response.status_code != 200 or response.mimetype != "image/gif":
        return Finding("C40", "error", f"the pixel answers {response.status_code}: something stands before the routes")
    if "Set-Cookie" in response.headers:
        return Finding("C40", "error", "the pixel sets a cookie")
    return Finding("C40", "ok", "the pixel answers, without a cookie")


def _one_click(app: Flask, settings: Settings) -> Finding:
    # A foreign token must reach the check of the token. A login wall or a CSRF check would answer earlier.
    path, data = f"/{PATHS[Kind.UNSUBSCRIBE]}/check", {"List-Unsubscribe": "One-Click"}
    response = _ask(app, settings, "POST", path, data=data)
    if response.status_code != 404:
        who = ""
        if not _is_asked(app, settings):
            who = wall(app, settings.url_prefix + path, settings.base_url, method="POST", data=data)
        text = f"a one-click POST is answered {response.status_code} before its token is read"
        return Finding("C41", "error", f"{text} by {who}" if who else text)
    return Finding("C41", "ok", "a one-click POST comes through")


def _front_door(app: Flask, settings: Settings) -> Finding:
    if not settings.front_door:
        return Finding("C42", "ok", "MAILTRACK_FRONT_DOOR is off: the app's hooks, session and routing come first")
    if _is_asked(app, settings):
        return Finding("C42", "ok", "the front door answers before the app's hooks, session and routing")
    if name := _overrider(app):
        cure = "let it end in super().wsgi_app(environ, start_response)"
        return Finding("C42", "error", f"{name}.wsgi_app does not call Flask's, so the front door is shut: {cure}")
    return Finding("C42", "error", "a middleware answers our paths, so the front door is shut: let them pass there")


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
        return Finding("C43", "error", f"a link answers {response.status_code}, and does not lead where it should")
    return Finding("C43", "ok", "a link leads where it should")


def _networks(settings: Settings) -> Finding:
    kind, day = networks.oldest(networks.load(settings.networks))
    age = (now().date() - day).days
    if age > STALE_DAYS:
        cure = (
            "flask mailtrack networks update" if settings.networks else "set MAILTRACK_NETWORKS, or update the package"
        )
        return Finding("C50", "warning", f"the list of networks [{kind}] is {age} days old: {cure}")
    return Finding("C50", "ok", f"the list of networks is of {day}")


def _countries(settings: Settings) -> Finding:
    if not Enrichment(geo_database=settings.geo_database).has_countries():
        return Finding("C51", "warning", f"{settings.geo_database} is no country database: events get no country")
    return Finding("C51", "ok", "the country database can be read")


def _standing(row: DomainRow, configured: Collection[str], moment: datetime) -> tuple[str, str]:
    status = row.status.replace("_", " ")
    if row.status == VERIFIED:
        if row.certificate_ends is None or not (urgent := urgency(row.certificate_ends, moment)):
            return "ok", f"{row.host} is verified"
        left = max(0, (row.certificate_ends - moment).days)
        cure = f"renew it {'at once' if urgent > 1 else 'soon'}"
        return "warning", f"{row.host} is verified, but its certificate ends in {left} days: {cure}"
    if row.host in configured:
        text = f"links stand on {row.host}, as the configuration says, which is {status}: {row.status_reason}"
        return "error" if row.checked_at else "ok", text
    if row.used:
        users = ", ".join([*row.sender_domains, *(["the account"] if row.account_default else [])])
        fallen = f"mail of {users} carries its links on the next wider host that works"
        return "warning", f"{row.host} is {status}, so {fallen}: {row.status_reason}"
    return "ok", f"{row.host} is {status}, and no mail uses it"


def _guarded(code: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:
        return Finding(code, "error", f"{type(error).__name__}: {error}".splitlines()[0] + blame(error))
