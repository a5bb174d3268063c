"""What has just happened: the newest events of all mail, for a page that shows it live."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import messages_inside

from .messages import check_size
from .timeline import by_whom, sentence_of

_LOOKED_AT = 20_000
"""Events among which those of one tenant are looked for: among all, a quiet tenant's would not be found in time."""
_READ = ("id", "occurred_at", "type", "message_id", "url", "list_id", "reason", "client", "os", "link_name")


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One thing that has just happened."""

    id: uuid.UUID
    at: datetime
    type: str
    by: str
    """``people``, ``machine`` or ``unknown``."""
    message_id: uuid.UUID
    tag: str
    subject: str
    text: str
    """What happened, and who did it, as a sentence."""
    url: str


def latest_of(database: Database, within: Scope | None, size: int) -> tuple[NewEvent, ...]:
    """Return the newest events; see :meth:`.Reports.latest`."""
    check_size(size)
    event, message = database.event, database.message
    names = (*_READ, "verdict", "provider")
    joined = event.join(message, message.c.id == event.c.message_id)
    query = select(*(event.c[name] for name in names), message.c.tag, message.c.subject)
    newest = select(event.c.id.label("id")).order_by(event.c.id.desc()).limit(_LOOKED_AT).subquery("newest")
    if within is not None:
        joined = joined.join(newest, newest.c.id == event.c.id)
    mine = query.select_from(joined).where(*messages_inside(message, within)).order_by(event.c.id.desc()).limit(size)
    told: tuple[str, ...] = (*names, "tag", "subject")
    rows: list[dict[str, Any]] = [dict(zip(told, row, strict=True)) for row in database.rows(mine)]
    return tuple(
        NewEvent(
            id=row["id"],
            at=row["occurred_at"],
            by=by_whom(row),
            text=sentence_of(row),
            **{name: row[name] for name in ("type", "message_id", "tag", "subject", "url")},
        )
        for row in rows
    )
