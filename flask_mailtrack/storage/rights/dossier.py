"""All that is kept about one person, for the person."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, or_, select

from flask_mailtrack.events import now
from flask_mailtrack.storage.database import Database
from flask_mailtrack.storage.optouts import MARKED
from flask_mailtrack.storage.refused import REF

from . import audit

_CHUNK = 1_000


def about(database: Database, recipient: str, refs: Sequence[str]) -> dict[str, Any]:
    """Return the rows about somebody as JSON takes them, times in ISO 8601.

    :param recipient: normalised.
    :param refs: their references under each signing key.
    """
    optout, event = database.optout, database.event
    messages = _rows(database, database.message, [database.message.c.recipient == recipient])
    ids = [message["id"] for message in messages] + audit.gone_messages(database, refs, database.rows)
    events = [row for some in _chunks(ids) for row in _rows(database, event, [event.c.message_id.in_(some)])]
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


def _chunks(ids: list[uuid.UUID]) -> Iterator[list[uuid.UUID]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)
