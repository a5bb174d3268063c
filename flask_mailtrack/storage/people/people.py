"""The host's actions on one person: suppress, look up, hand over, forget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, or_, select

from flask_mailtrack.events import OptOutKind, Suppression, new_id, now
from flask_mailtrack.lists import folded
from flask_mailtrack.privacy import clean, normalise
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.drain.drain import Drain
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.records import batched, to_json
from flask_mailtrack.storage.redis import Stream
from flask_mailtrack.storage.tables import body_shelf, outbox, register
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.optouts import MARKED, OptOuts
from flask_mailtrack.storage.tables.references import References
from flask_mailtrack.storage.tables.refused import REF
from flask_mailtrack.storage.tables.tenants import audit_inside, messages_inside, optouts_inside
from flask_mailtrack.tokens import Signer

from .erasure import Erased, Erasure, named

_CHUNK = 1_000
_LONGEST = 320


def about(database: Database, recipient: str, refs: Sequence[str], within: Scope | None = None) -> dict[str, Any]:
    """Return the rows about a person, ready for JSON, with times in ISO 8601.

    :param recipient: normalised.
    :param refs: their references under each signing key.
    :param within: only rows inside a scope.
    """
    optout, event, message = database.optout, database.event, database.message
    messages = _rows(database, message, [message.c.recipient == recipient, *messages_inside(message, within)])
    gone = [] if within else register.gone_messages(database, refs, database.rows)  # nobody can say whose they were
    ids = [row["id"] for row in messages] + gone
    events = [row for some in batched(ids, _CHUNK) for row in _rows(database, event, [event.c.message_id.in_(some)])]
    whose = optout.c.recipient.in_([recipient, *(REF + ref for ref in refs)])
    return {
        "address": recipient,
        "exported_at": now().isoformat(),
        "messages": [_plain(row) for row in messages],
        "events": [_plain(row) for row in events],
        "optouts": [_plain(row) for row in _rows(database, optout, [whose, *optouts_inside(database, within)])],
        "audit": audit_trail(database, refs, within),
        "webhooks": [] if within else outbox.of_person(database, [*map(str, ids), *refs]),
        "bodies": body_shelf.of_messages(database, [row["id"] for row in messages]),
    }


def audit_trail(database: Database, refs: Sequence[str], within: Scope | None = None) -> list[dict[str, Any]]:
    """Return the audit rows of a person, oldest first."""
    table = database.audit
    mine = (or_(*(table.c.ref == ref for ref in refs)), table.c.change != MARKED)
    rows = _rows(database, table, [*mine, *audit_inside(database, within)])
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

    def change(
        self,
        address: str,
        *,
        out: bool,
        list_id: str,
        kind: OptOutKind,
        reason: str,
        method: str,
        by: str = "",
        source: str = "",
    ) -> None:
        """Record a refusal, or the end of refusals. The record is on disk when this returns.

        The record goes through the spool, as all choices do, because the caller may be in a transaction for which our
        own would have to wait. Only refusals that stand at this moment are lifted, by their ids. A refusal that comes
        meanwhile stays, whatever the clocks of the machines say.

        :param source: what the audit says of where the change came from; default: *method*.
        :raises ValueError: *address* is not an address, or a value cannot be stored.
        :raises OptOutsUnavailable: refusals should be lifted, but cannot be read.
        :raises SpoolError: the record could not be written.
        """
        about: dict[str, Any] = {"out": out, "list_id": list_id, "kind": kind, "reason": reason, "method": method}
        if source:
            about["source"] = source
        change = self.suppression(address, by=by, **about)
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
            actor=clean(about.pop("by", ""), _LONGEST),
            **about,
        )

    def export(self, address: str, within: Scope | None = None) -> dict[str, Any]:
        """Return all rows about a person, also those still in the spool, ready for JSON.

        :param within: only rows inside a scope.
        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        recipient = normalise(address)
        return about(self.database, recipient, self._refs(recipient), within)

    def audit(self, address: str, within: Scope | None = None) -> list[dict[str, Any]]:
        """Return the changes of a person's opt-outs, oldest first, ready for JSON.

        :param within: only rows inside a scope.
        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        return audit_trail(self.database, self._refs(normalise(address)), within)

    def erase(self, address: str, within: Scope | None = None, by: str = "") -> Erased:
        """Forget a person in the spool, in Redis, in the quarantine, and in the database. The call can be repeated.

        :param within: only in rows inside a scope.
        :param by: the operator, for the audit.
        :raises StreamError: Redis cannot be asked.
        :raises SQLAlchemyError: the database cannot do it now; the next call does the rest.
        """
        self._drain.settle()
        recipient = normalise(address)
        spools = [spool for journal in self._journals for spool in journal.spools]
        if self._references is not None and within is None:
            self._references.forget(named(recipient))
        return Erasure(self.database, recipient, self._refs(recipient), within, by).run(spools, self._stream)


def unmailable(recipient: str) -> str:
    """Return the fault of a normalised address; empty if it is good."""
    local, at, domain = recipient.rpartition("@")
    if not at or not local or not domain or local == "*":
        return "is not an address"
    if len(recipient) > 320 or not recipient.isprintable() or any(c.isspace() for c in recipient):
        return "is too long, or has spaces or control characters"
    return ""
