"""What the host does about one person: suppress, look up, hand over, forget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, or_, select

from flask_mailtrack.events import OptOutKind, Suppression, new_id, now
from flask_mailtrack.lists import folded
from flask_mailtrack.privacy import clean, normalise
from flask_mailtrack.storage.drain.drain import Drain
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.records import batched, to_json
from flask_mailtrack.storage.redis import Stream
from flask_mailtrack.storage.tables import register
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.optouts import MARKED, OptOuts
from flask_mailtrack.storage.tables.references import References
from flask_mailtrack.storage.tables.refused import REF
from flask_mailtrack.tokens import Signer

from . import erasure
from .erasure import Erased

_CHUNK = 1_000


def about(database: Database, recipient: str, refs: Sequence[str]) -> dict[str, Any]:
    """Return the rows about somebody as JSON takes them, times in ISO 8601.

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
    }


def audit_trail(database: Database, refs: Sequence[str]) -> list[dict[str, Any]]:
    """Return the audit rows of somebody, oldest first."""
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
    :param journals: of events, and of choices.
    :param optouts: what stands against somebody.
    :param stream: where the rows of many machines meet.
    :param references: what this process and machine remember of long links.
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
        """Write down that a refusal stands, or stands no more; on disk before this returns.

        It goes the way of all choices, through the spool: the caller may be in the middle of a
        transaction that our own would have to wait for. What is lifted is what stands at this moment, by its
        ids: a refusal that comes meanwhile stays, whatever the clocks of the machines say.

        :raises ValueError: what is no address, or cannot be stored.
        :raises OptOutsUnavailable: it is to be lifted, and what stands cannot be read.
        :raises SpoolError: it could not be written.
        """
        change = self.suppression(address, out=out, list_id=list_id, kind=kind, reason=reason, method=method)
        if not out:
            lifts = self._optouts.named(change.recipient, change.list_id, kind)
            if not lifts:  # nothing changes, so there is nothing to tell
                return
            change = change._replace(lifts=lifts)
        self._journals[-1].append(to_json(change), sync=True)
        self._journals[-1].wake()

    def suppression(self, address: str, *, method: str, **about: Any) -> Suppression:
        """Return the record of a change.

        :raises ValueError: what is no address, or cannot be stored.
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
        """Return all that is kept about somebody, what is still in the spool included, fit for JSON.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        recipient = normalise(address)
        return about(self.database, recipient, self._refs(recipient))

    def audit(self, address: str) -> list[dict[str, Any]]:
        """Return the changes of somebody's opt-outs, oldest first, fit for JSON.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        return audit_trail(self.database, self._refs(normalise(address)))

    def erase(self, address: str) -> Erased:
        """Forget somebody, in the spool, Redis, what was put aside, and the database. Twice is as good as once.

        :raises StreamError: Redis cannot be asked.
        :raises SQLAlchemyError: the database could not do it now; what is left is done by the next call.
        """
        self._drain.settle()
        recipient = normalise(address)
        spools = [spool for journal in self._journals for spool in journal.spools]
        if self._references is not None:
            self._references.forget(erasure.named(recipient))
        return erasure.erase(self.database, spools, recipient, self._refs(recipient), self._stream)


def unmailable(recipient: str) -> str:
    """Say what keeps a normalised address from being one; empty if nothing does."""
    local, at, domain = recipient.rpartition("@")
    if not at or not local or not domain or local == "*":
        return "is not an address"
    if len(recipient) > 320 or not recipient.isprintable() or any(c.isspace() for c in recipient):
        return "is too long, or has spaces or control characters"
    return ""
