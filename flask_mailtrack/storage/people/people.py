"""The host's actions on one person: suppress, look up, hand over, forget.

To forget a person removes all personal data, and keeps the counts. Rows of messages and events stay, without address,
subject, metadata, IP address, user agent and comment, and without names and destinations of links with the address.
A kept body goes if nobody else has got it.
Opt-outs stay under the keyed hash of the address, so that the person stays unsubscribed. Old links go on working: a
token carries that hash, and a redirect needs no row at all.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from sqlalchemy import ColumnElement, Connection, Table, bindparam, func, or_, select, update

from flask_mailtrack.destination import is_carried
from flask_mailtrack.events import OptOutKind, Suppression, first_id, new_id, now
from flask_mailtrack.lists import folded
from flask_mailtrack.privacy import clean, normalise
from flask_mailtrack.storage.drain import recovery
from flask_mailtrack.storage.drain.drain import Drain
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import batched, to_json
from flask_mailtrack.storage.redis import Stream
from flask_mailtrack.storage.tables import body_shelf, register
from flask_mailtrack.storage.tables.database import Database, chunked
from flask_mailtrack.storage.tables.optouts import MARKED, OptOuts, held
from flask_mailtrack.storage.tables.references import References
from flask_mailtrack.storage.tables.refused import REF, bare
from flask_mailtrack.storage.tables.unwanted import PERSONAL
from flask_mailtrack.tokens import Signer

_CHUNK = 1_000


def about(database: Database, recipient: str, refs: Sequence[str]) -> dict[str, Any]:
    """Return the rows about a person, ready for JSON, with times in ISO 8601.

    :param recipient: normalised.
    :param refs: their references under each signing key.
    """
    optout, event = database.optout, database.event
    messages = _rows(database, database.message, [database.message.c.recipient == recipient])
    ids = [message["id"] for message in messages] + register.gone_messages(database, refs, database.rows)
    events = [row for some in batched(ids, _CHUNK) for row in _rows(database, event, [event.c.message_id.in_(some)])]
    whose = optout.c.recipient.in_([recipient, *(REF + ref for ref in refs)])
    return {
        "address": recipient,
        "exported_at": now().isoformat(),
        "messages": [_plain(row) for row in messages],
        "events": [_plain(row) for row in events],
        "optouts": [_plain(row) for row in _rows(database, optout, [whose])],
        "audit": audit_trail(database, refs),
        "bodies": body_shelf.of_messages(database, [message["id"] for message in messages]),
    }


def audit_trail(database: Database, refs: Sequence[str]) -> list[dict[str, Any]]:
    """Return the audit rows of a person, oldest first."""
    table = database.audit
    rows = _rows(database, table, [or_(*(table.c.ref == ref for ref in refs)), table.c.change != MARKED])
    return [_plain(row) for row in sorted(rows, key=lambda row: row["occurred_at"])]


def _rows(database: Database, table: Table, conditions: Iterable[ColumnElement[bool]]) -> list[dict[str, Any]]:
    columns = list(table.columns)
    query = select(*columns).where(*conditions).order_by(*table.primary_key.columns)
    return [dict(zip((c.name for c in columns), row, strict=True)) for row in database.rows(query)]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)


class People:
    """Acts on people by their address.

    :param signer: makes the references of an address under each signing key.
    :param journals: the journal of events, and the journal of choices.
    :param optouts: knows the standing opt-outs.
    :param stream: the Redis stream for the rows of many machines.
    :param references: the long links that this process and this machine remember.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        journals: Sequence[Journal],
        drain: Drain,
        optouts: OptOuts,
        stream: Stream | None = None,
        references: References | None = None,
    ) -> None:
        self.database = database
        self._refs = signer.recipient_refs
        self._journals = journals
        self._drain = drain
        self._optouts = optouts
        self._stream = stream
        self._references = references

    def change(self, address: str, *, out: bool, list_id: str, kind: OptOutKind, reason: str, method: str) -> None:
        """Record a refusal, or the end of refusals. The record is on disk when this returns.

        The record goes through the spool, as all choices do, because the caller may be in a transaction for which our
        own would have to wait. Only refusals that stand at this moment are lifted, by their ids. A refusal that comes
        meanwhile stays, whatever the clocks of the machines say.

        :raises ValueError: *address* is not an address, or a value cannot be stored.
        :raises OptOutsUnavailable: refusals should be lifted, but cannot be read.
        :raises SpoolError: the record could not be written.
        """
        change = self.suppression(address, out=out, list_id=list_id, kind=kind, reason=reason, method=method)
        if not out:
            lifts = self._optouts.named(change.recipient, change.list_id, kind)
            if not lifts:  # nothing changes, so nothing is recorded
                return
            change = change._replace(lifts=lifts)
        self._journals[-1].append(to_json(change), sync=True)
        self._journals[-1].wake()

    def suppression(self, address: str, *, method: str, **about: Any) -> Suppression:
        """Return the record of a change.

        :raises ValueError: *address* is not an address, or a value cannot be stored.
        """
        recipient = normalise(address)
        if problem := unmailable(recipient):
            raise ValueError(f"{address!r} {problem}")
        list_id, reason = about.pop("list_id", ""), about.pop("reason", "")
        list_id, given = folded(list_id), list_id
        if len(list_id) > 255 or not given.isprintable():
            raise ValueError(f"list {given!r} is longer than 255 characters, or not printable")
        if given and not list_id:
            raise ValueError(f"list {given!r} is blank: leave it out, if all lists are meant")
        if not method or len(method) > 16:
            raise ValueError(f"method {method!r} is empty, or longer than 16 characters")
        return Suppression(
            id=new_id(),
            recipient=recipient,
            occurred_at=now(),
            refs=tuple(self._refs(recipient)),
            list_id=list_id,
            reason=clean(reason, 32),
            method=method,
            source=about.pop("source", method),
            **about,
        )

    def export(self, address: str) -> dict[str, Any]:
        """Return all rows about a person, also those still in the spool, ready for JSON.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        recipient = normalise(address)
        return about(self.database, recipient, self._refs(recipient))

    def audit(self, address: str) -> list[dict[str, Any]]:
        """Return the changes of a person's opt-outs, oldest first, ready for JSON.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        return audit_trail(self.database, self._refs(normalise(address)))

    def erase(self, address: str) -> Erased:
        """Forget a person in the spool, in Redis, in the quarantine, and in the database. The call can be repeated.

        :raises StreamError: Redis cannot be asked.
        :raises SQLAlchemyError: the database cannot do it now; the next call does the rest.
        """
        self._drain.settle()
        recipient = normalise(address)
        spools = [spool for journal in self._journals for spool in journal.spools]
        if self._references is not None:
            self._references.forget(named(recipient))
        return erase(self.database, spools, recipient, self._refs(recipient), self._stream)


def unmailable(recipient: str) -> str:
    """Return the fault of a normalised address; empty if it is good."""
    local, at, domain = recipient.rpartition("@")
    if not at or not local or not domain or local == "*":
        return "is not an address"
    if len(recipient) > 320 or not recipient.isprintable() or any(c.isspace() for c in recipient):
        return "is too long, or has spaces or control characters"
    return ""


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


def erase(
    database: Database, spools: Sequence[Spool], recipient: str, refs: Sequence[str], stream: Stream | None = None
) -> Erased:
    """Forget a person.

    :param spools: the spools, which are drained already; their quarantine is searched.
    :param recipient: normalised.
    :param refs: their references under each signing key, newest first.
    :param stream: the Redis stream, which is searched likewise.
    """
    done, spellings = Erased(), _spellings(recipient)
    left = partial(bare, recipient=recipient, ref=refs[0])
    with database.transaction() as connection:
        done += Erased(links=_links(database, connection, spellings))
    forgotten: list[str] = [recipient, *refs]
    while True:
        with database.transaction() as connection:
            column = database.message.c.id
            query = select(column).where(database.message.c.recipient == recipient).limit(_AT_ONCE)
            ids = list(connection.execute(query).scalars())
            if not ids:
                # In the last transaction, so that the next call finds the person again after a crash.
                done += Erased(optouts=_optouts(database, connection, recipient, refs))
                gone = register.gone_messages(database, refs, lambda asked: connection.execute(asked).all())
                personal = or_(*(database.event.c[name] != "" for name in PERSONAL))
                done += Erased(events=_events(database, connection, gone, spellings, personal))
                break
            forgotten += map(str, [*ids, *body_shelf.forget(database, connection, ids)])
            done += Erased(len(ids), _messages(database, connection, ids, spellings))
    return done + Erased(quarantined=recovery.forget(spools, forgotten, left, stream))


def named(recipient: str) -> re.Pattern[str]:
    """Return a pattern for an address in a URL."""
    return recovery.mention(_spellings(recipient))


def _messages(database: Database, connection: Connection, ids: list[uuid.UUID], spellings: Sequence[str]) -> int:
    """Remove the person from some messages and their events."""
    message = database.message
    database.lock(connection, ids)  # no drain may add an event meanwhile
    _errors(database, connection, ids, spellings)
    nobody: dict[str, Any] = {
        "recipient": "",
        "subject": "",
        "header_message_id": "",
        "details": {},
        "error": "",
        "seen_on": None,
    }
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


def _optouts(database: Database, connection: Connection, recipient: str, refs: Sequence[str]) -> int:
    """Keep the standing opt-outs, under the hash of the address only."""
    table = database.optout
    names = [recipient, *(REF + ref for ref in refs)]
    rows = connection.execute(select(table).where(table.c.recipient.in_(names))).all()
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:  # several rows may become one, which stands until all their refusals are lifted
        bare = {"recipient": REF + refs[0], "ref": refs[0], "comment": "", "message_id": None}
        key = (row.list_id, row.kind)
        first = kept.get(key)
        older = first is not None and first["created_at"] <= row.created_at
        refusals = {**(first["refusals"] if first else {}), **held(row)}
        kept[key] = (first if first is not None and older else dict(row._mapping) | bare) | {"refusals": refusals}
    connection.execute(table.delete().where(table.c.recipient.in_(names)))
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
