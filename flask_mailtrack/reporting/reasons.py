"""What people have written who left a list."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, literal_column, select

from flask_mailtrack.events import EventType
from flask_mailtrack.storage.tables.database import Database

from .answers import Comment
from .rows import RowFigures, between
from .selection import Selection

MOST = 100


def comments_of(database: Database, rows: RowFigures, about: Selection) -> tuple[Comment, ...]:
    """Return what people have written, the newest first."""
    found = database.rows(_query(database, rows, about))
    return tuple(Comment(words, reason, at, list_id, tag, str(key)) for words, reason, at, list_id, tag, key in found)


def _query(database: Database, rows: RowFigures, about: Selection) -> Any:
    event, message = database.event, database.message
    moment = event.c.occurred_at if about.happened else message.c.created_at
    told = (event.c.comment, event.c.reason, event.c.occurred_at, message.c.list_id, message.c.tag, event.c.message_id)
    # No parameters: a database uses an index of some rows only if a query says itself that it is about these.
    gone = event.c.type == literal_column(f"'{EventType.UNSUBSCRIBED.value}'", String)
    written = (gone, event.c.comment != literal_column("''", String))
    query = select(*told).select_from(event.join(message, event.c.message_id == message.c.id))
    mine = (*rows.conditions(about), between(moment, about.start, about.end))
    return query.where(*written, *mine).order_by(event.c.occurred_at.desc(), event.c.id.desc()).limit(MOST)
