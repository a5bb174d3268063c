"""What people have written who left a list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, or_, select, true

from flask_mailtrack.events import EventType, first_id
from flask_mailtrack.storage.tables.database import Database

from .answers import Comment
from .buckets import moment_of_slot
from .rows import NEAR, RowFigures, between
from .selection import Selection
from .sums import SumFigures

MOST = 100
_SLOTS = 40
_LOOKS = 25


def comments_of(database: Database, rows: RowFigures, about: Selection, sums: SumFigures | None) -> tuple[Comment, ...]:
    """Return what people have written, the newest first.

    :param sums: say in which quarter hours people left, so that only these are read; ``None``: all events are.
    """
    found: list[Comment] = []
    for when in _places(database, about, sums):
        for text, reason, at, list_id, tag, key in database.rows(_query(database, rows, about, when)):
            found.append(Comment(text, reason, at, list_id, tag, str(key)))
        if len(found) >= MOST:
            break
    return tuple(found[:MOST])


def _places(database: Database, about: Selection, sums: SumFigures | None) -> Iterator[ColumnElement[bool]]:
    """Yield where to look, the newest place first."""
    if sums is None:
        yield true()
        return
    event = database.event.c
    slots = sums.slots_of_unsubscribes(about, _SLOTS * _LOOKS)
    for first in range(0, len(slots), _SLOTS):
        parts = []
        for slot in slots[first : first + _SLOTS]:
            start, end = moment_of_slot(slot), moment_of_slot(slot + 1)
            ids = between(event.id, first_id(start - NEAR), first_id(end + NEAR))
            parts.append(ids & between(event.occurred_at, start, end))
        yield or_(*parts)


def _query(database: Database, rows: RowFigures, about: Selection, when: ColumnElement[bool]) -> Any:
    event, message = database.event, database.message
    moment = event.c.occurred_at if about.happened else message.c.created_at
    told = (event.c.comment, event.c.reason, event.c.occurred_at, message.c.list_id, message.c.tag, event.c.message_id)
    query = select(*told).select_from(event.join(message, event.c.message_id == message.c.id))
    mine = (*rows.conditions(about), between(moment, about.start, about.end), when)
    written = query.where(event.c.type == EventType.UNSUBSCRIBED, event.c.comment != "", *mine)
    return written.order_by(event.c.occurred_at.desc(), event.c.id.desc()).limit(MOST)
