"""Forgetting one person: what named them is gone, what is counted stays counted.

Rows of messages and events stay, without address, subject, metadata, IP address, user agent and
comment. Opt-outs stay under the keyed hash of the address, so that the person stays unsubscribed,
and old links go on working: a token carries that hash, and a redirect needs no row at all.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, bindparam, func, or_, select, update

from flask_mailtrack.storage.database import Database
from flask_mailtrack.storage.disk import search
from flask_mailtrack.storage.disk.spool import Spool
from flask_mailtrack.storage.optouts import REF
from flask_mailtrack.storage.sink.stream import Stream

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows were about somebody who is forgotten now."""

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
    """Forget somebody.

    :param spools: drained already; what was quarantined is searched.
    :param recipient: normalised.
    :param refs: their references under each signing key, newest first.
    :param stream: likewise.
    """
    done, spellings = Erased(), _spellings(recipient)
    with database.transaction() as connection:
        done += Erased(links=_links(database, connection, spellings))
    forgotten: list[str] = [recipient, *refs]
    while True:
        with database.transaction() as connection:
            column = database.message.c.id
            query = select(column).where(database.message.c.recipient == recipient).limit(_CHUNK)
            ids = list(connection.execute(query).scalars())
            if not ids:
                # In the last transaction, so that a crash before it leaves something to find.
                done += Erased(optouts=_optouts(database, connection, recipient, refs))
                break
            done += Erased(len(ids), _messages(database, connection, ids, spellings))
            forgotten += map(str, ids)
    return done + Erased(quarantined=search.forget(spools, forgotten, stream))


def _messages(database: Database, connection: Connection, ids: list[uuid.UUID], spellings: Sequence[str]) -> int:
    """Take the person out of some messages and their events."""
    message, event = database.message, database.event
    database.lock(connection, ids)  # no drain may add an event behind our back
    nobody: dict[str, Any] = {
        "recipient": "",
        "subject": "",
        "message_id": "",
        "meta": {},
        "error": "",
        "seen_on": None,
    }
    connection.execute(update(message).where(message.c.id.in_(ids)).values(nobody))
    nothing = {"ip": "", "user_agent": "", "comment": ""}
    events = connection.execute(update(event).where(event.c.message_id.in_(ids)).values(nothing)).rowcount
    rows = connection.execute(select(event.c.id, event.c.url).where(event.c.message_id.in_(ids), event.c.url != ""))
    bare = [{"key": key, "new": new} for key, url in rows if (new := _bare(url, spellings)) != url]
    if bare:
        change = update(event).where(event.c.id == bindparam("key")).values(url=bindparam("new"))
        connection.execute(change, bare)
    return int(events)


def _optouts(database: Database, connection: Connection, recipient: str, refs: Sequence[str]) -> int:
    """Keep what stands, under the hash of the address alone."""
    table = database.optout
    names = [recipient, *(REF + ref for ref in refs)]
    rows = connection.execute(select(table).where(table.c.recipient.in_(names))).mappings().all()
    kept = [dict(r) | {"recipient": REF + refs[0], "ref": refs[0], "comment": "", "message_id": None} for r in rows]
    strongest = {(r["list_id"], r["kind"]): r for r in sorted(kept, key=lambda r: r["created_at"], reverse=True)}
    connection.execute(table.delete().where(table.c.recipient.in_(names)))
    database.add(connection, table, list(strongest.values()))
    return sum(row["recipient"] == recipient for row in rows)


def _links(database: Database, connection: Connection, spellings: Sequence[str]) -> int:
    """Delete stored destinations that hold the address; the links themselves carry theirs."""
    table = database.link
    holds = or_(*(func.lower(table.c.url).contains(spelling, autoescape=True) for spelling in spellings))
    named = search.mention(spellings)
    refs = [ref for ref, url in connection.execute(select(table.c.ref, table.c.url).where(holds)) if named.search(url)]
    for start in range(0, len(refs), _CHUNK):
        connection.execute(table.delete().where(table.c.ref.in_(refs[start : start + _CHUNK])))
    return len(refs)


def _bare(url: str, spellings: Sequence[str]) -> str:
    """Return a URL without what may be about a person."""
    path = url.partition("#")[0].partition("?")[0]
    return "" if search.mention(spellings).search(path) else path


def _spellings(recipient: str) -> list[str]:
    """Return an address as it may stand in a URL, in lower case."""
    return sorted({recipient, quote(recipient, safe="").lower(), recipient.replace("@", "%40")})
