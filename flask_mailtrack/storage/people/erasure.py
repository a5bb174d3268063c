"""Forgetting one person: personal data goes, counts stay.

Rows of messages and events stay, without address, subject, metadata, IP address, user agent and comment, and without
names and destinations of links with the address. A kept body goes if nobody else has got it, or if the address is in
it. Webhooks about the person go, also those that wait. Opt-outs stay under the keyed hash of the address, so that the
person stays unsubscribed. Old links go on working: a token carries that hash, and a redirect needs no row at all.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from sqlalchemy import ColumnElement, Connection, Table, bindparam, func, or_, select, update

from flask_mailtrack.destination import is_carried
from flask_mailtrack.events import first_id
from flask_mailtrack.privacy import clean
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.drain import recovery
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import batched
from flask_mailtrack.storage.redis import Stream
from flask_mailtrack.storage.tables import body_shelf, envelope, outbox, register
from flask_mailtrack.storage.tables.database import Database, chunked
from flask_mailtrack.storage.tables.optouts import held
from flask_mailtrack.storage.tables.refused import REF, bare
from flask_mailtrack.storage.tables.tenants import messages_inside, optouts_inside
from flask_mailtrack.storage.tables.unwanted import PERSONAL

_LONGEST = 320
_AT_ONCE = 500
_SEND = timedelta(hours=1)
"""The longest time between the first and the last row of one send."""


@dataclass(frozen=True, slots=True)
class Erased:
    """The numbers of rows about a person who is forgotten now."""

    messages: int = 0
    events: int = 0
    optouts: int = 0
    links: int = 0
    quarantined: int = 0

    def __add__(self, other: Erased) -> Erased:
        return Erased(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Erasure:
    """Forgets one person.

    :param recipient: normalised.
    :param refs: their references under each signing key, newest first.
    :param within: forgets them in rows inside a scope only. What belongs to no single mail stays as it is.
    :param by: the operator, for the audit.
    """

    def __init__(
        self, database: Database, recipient: str, refs: Sequence[str], within: Scope | None = None, by: str = ""
    ) -> None:
        self._database, self._recipient, self._refs, self._within = database, recipient, refs, within
        self._by = clean(by, _LONGEST)
        self._spellings = _spellings(recipient)
        self._noted = False

    def run(self, spools: Sequence[Spool], stream: Stream | None = None) -> Erased:
        """Forget the person, and return the numbers of rows about them.

        :param spools: the spools, which are drained already; their quarantine is searched.
        :param stream: the Redis stream, which is searched likewise.
        """
        database, done = self._database, Erased()
        forgotten: list[str] = [] if self._within else [self._recipient, *self._refs]
        if not self._within:
            with database.transaction() as connection:
                done += self._note(connection, Erased(links=_links(database, connection, self._spellings)))
                outbox.forget(database, connection, self._refs)
        while True:
            with database.transaction() as connection:
                ids = self._some_messages(connection)
                if not ids:
                    # In the last transaction, so that the next call finds the person again after a crash.
                    done += self._note(connection, self._rest(connection))
                    break
                forgotten += map(str, [*ids, *self._bodies(connection, ids)])
                events = _messages(database, connection, ids, self._spellings)
                outbox.forget(database, connection, list(map(str, ids)))
                done += self._note(connection, Erased(len(ids), events))
        left = partial(bare, recipient=self._recipient, ref=self._refs[0])
        return done + Erased(quarantined=recovery.forget(spools, forgotten, left, stream) if forgotten else 0)

    def _bodies(self, connection: Connection, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
        database = self._database
        inside = messages_inside(database.message, self._within)
        return body_shelf.forget(database, connection, ids, recovery.mention(self._spellings), inside)

    def _some_messages(self, connection: Connection) -> list[uuid.UUID]:
        message = self._database.message
        mine = (message.c.recipient == self._recipient, *messages_inside(message, self._within))
        return list(connection.execute(select(message.c.id).where(*mine).limit(_AT_ONCE)).scalars())

    def _rest(self, connection: Connection) -> Erased:
        """Forget the person in opt-outs, and in events whose messages are gone."""
        database = self._database
        optouts = _optouts(database, connection, self._recipient, self._refs, self._within)
        if self._within:
            return Erased(optouts=optouts)
        gone = register.gone_messages(database, self._refs, lambda asked: connection.execute(asked).all())
        outbox.forget(database, connection, list(map(str, gone)))
        personal = or_(*(database.event.c[name] != "" for name in PERSONAL))
        return Erased(optouts=optouts, events=_events(database, connection, gone, self._spellings, personal))

    def _note(self, connection: Connection, done: Erased) -> Erased:
        """Leave an audit row, once, in the transaction of the first rows that are found."""
        if done != Erased() and not self._noted:
            register.note_erasure(self._database, connection, self._recipient, self._refs, self._by)
            self._noted = True
        return done


def named(recipient: str) -> re.Pattern[str]:
    """Return a pattern for an address in a URL."""
    return recovery.mention(_spellings(recipient))


def _messages(database: Database, connection: Connection, ids: list[uuid.UUID], spellings: Sequence[str]) -> int:
    """Remove the person from some messages and their events."""
    message = database.message
    database.lock(connection, ids)  # no drain may add an event meanwhile
    _errors(database, connection, ids, spellings)
    nobody = {**envelope.NOBODY, "seen_on": None}
    connection.execute(update(message).where(message.c.id.in_(ids)).values(nobody))
    return _events(database, connection, ids, spellings)


def _events(
    database: Database,
    connection: Connection,
    ids: list[uuid.UUID],
    spellings: Sequence[str],
    counted: ColumnElement[bool] | None = None,
) -> int:
    """Remove the person from the events of some messages, and return the number of the events.

    :param counted: the condition for events with personal data; other events do not count.
    """
    event, named, found = database.event, recovery.mention(spellings), 0
    for some in chunked(ids):
        mine = event.c.message_id.in_(some)
        nobodys = update(event).where(mine if counted is None else mine & counted).values(PERSONAL)
        found += int(connection.execute(nobodys).rowcount)
        columns = (event.c.id, event.c.url, event.c.link_name)
        rows = connection.execute(select(*columns).where(mine, or_(event.c.url != "", event.c.link_name != ""))).all()
        _rename(database, connection, rows, named)
    return found


def _rename(database: Database, connection: Connection, rows: Sequence[Any], named: re.Pattern[str]) -> None:
    """Remove the address from destinations and names of links in events. A row is id, destination and name."""
    event = database.event
    bare = [(key, url, name, _bare(url, named), "" if named.search(name) else name) for key, url, name in rows]
    changes = [
        {"key": key, "to": to, "called": called} for key, url, name, to, called in bare if (url, name) != (to, called)
    ]
    if changes:
        values: dict[str, Any] = {"url": bindparam("to"), "link_name": bindparam("called")}
        connection.execute(update(event).where(event.c.id == bindparam("key")).values(values), changes)


def _errors(database: Database, connection: Connection, ids: list[uuid.UUID], spellings: Sequence[str]) -> None:
    """Remove the address from the server's answers about others who got the same copy."""
    message, named = database.message, recovery.mention(spellings)
    shared = select(message.c.batch_id, message.c.created_at).where(message.c.id.in_(ids), message.c.shared)
    if not (sends := connection.execute(shared).all()):
        return
    moments = sorted(row.created_at for row in sends)
    near = message.c.id.between(first_id(moments[0] - _SEND), first_id(moments[-1] + _SEND))
    batches = sorted({row.batch_id for row in sends})
    query = select(message.c.id, message.c.error).where(near, message.c.batch_id.in_(batches), message.c.error != "")
    rows = connection.execute(query).all()
    changes = [{"key": key, "new": named.sub("", error)} for key, error in rows if named.search(error)]
    if changes:
        change = update(message).where(message.c.id == bindparam("key")).values(error=bindparam("new"))
        connection.execute(change, changes)


def _optouts(
    database: Database, connection: Connection, recipient: str, refs: Sequence[str], within: Scope | None
) -> int:
    """Keep the standing opt-outs, under the hash of the address only."""
    table, names = database.optout, [recipient, *(REF + ref for ref in refs)]
    rows = connection.execute(select(table).where(table.c.recipient.in_(names))).all()
    inside = optouts_inside(database, within)
    keys = select(*_key(table)).where(table.c.recipient.in_(names), *inside)
    mine = set(map(tuple, connection.execute(keys)))
    # A row under the hash names nobody. It is joined by one that now does not, either.
    joined = {(list_id, kind) for name, list_id, kind in mine if name == recipient}
    rows = [
        row
        for row in rows
        if (row.recipient, row.list_id, row.kind) in mine
        or (row.recipient != recipient and (row.list_id, row.kind) in joined)
    ]
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:  # several rows may become one, which stands until all their refusals are lifted
        bare = {"recipient": REF + refs[0], "ref": refs[0], "comment": "", "message_id": None}
        key = (row.list_id, row.kind)
        first = kept.get(key)
        older = first is not None and first["created_at"] <= row.created_at
        refusals = {**(first["refusals"] if first else {}), **held(row)}
        kept[key] = (first if first is not None and older else dict(row._mapping) | bare) | {"refusals": refusals}
    for row in rows:
        own = (
            column == value for column, value in zip(_key(table), (row.recipient, row.list_id, row.kind), strict=True)
        )
        connection.execute(table.delete().where(*own))
    database.add(connection, table, list(kept.values()))
    return sum(row.recipient == recipient for row in rows)


def _links(database: Database, connection: Connection, spellings: Sequence[str]) -> int:
    """Delete stored destinations and names of links with the address. The links themselves carry their destinations.

    Somebody else may have got and followed such a link, so all events are searched.
    """
    table, event, named = database.link, database.event, recovery.mention(spellings)
    found: list[Any] = []
    for column in (table.c.url, table.c.name):
        holds = or_(*(func.lower(column).contains(spelling, autoescape=True) for spelling in spellings))
        found += connection.execute(select(table.c.ref, table.c.url, table.c.name).where(holds)).all()
    urls = {row.ref: row.url for row in found if named.search(row.url)}
    names = {row.ref: row.name for row in found if named.search(row.name)}
    shorter = [
        {"key": ref, "to": _bare(url, named) or "/".join(url.split("/", 3)[:3]) + "/"}
        for ref, url in urls.items()
        if not is_carried(url)
    ]
    if shorter:  # without its row a long link would lead nowhere, so a shorter URL stays
        change = update(table).where(table.c.ref == bindparam("key")).values(url=bindparam("to"))
        connection.execute(change, shorter)
    for some in batched([ref for ref, url in urls.items() if is_carried(url)], _AT_ONCE):
        connection.execute(table.delete().where(table.c.ref.in_(some)))
    for some in batched(names, _AT_ONCE):
        connection.execute(update(table).where(table.c.ref.in_(some)).values(name=""))
    for column, values in ((event.c.url, urls), (event.c.link_name, names)):
        for some in batched(sorted(set(values.values())), _AT_ONCE):
            rows = connection.execute(select(event.c.id, event.c.url, event.c.link_name).where(column.in_(some))).all()
            _rename(database, connection, rows, named)
    return len(urls.keys() | names.keys())


def _bare(url: str, named: re.Pattern[str]) -> str:
    """Return a URL without the parts that may be about a person."""
    path = url.partition("#")[0].partition("?")[0]
    return "" if named.search(path) else path


def _spellings(recipient: str) -> list[str]:
    """Return the spellings of an address in a URL, in lower case."""
    return sorted({recipient, quote(recipient, safe="").lower(), recipient.replace("@", "%40")})


def _key(table: Table) -> tuple[Any, Any, Any]:
    return table.c.recipient, table.c.list_id, table.c.kind
