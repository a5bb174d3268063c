"""Who left a list, one by one.

The audit has a row for each choice, under the id of its event. There are few choices among many events, so a page is
read along the audit.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import EventType, first_id
from flask_mailtrack.storage.tables.database import Database

from .messages import check_size
from .rows import NEAR, between
from .selection import Selection, text_of


@dataclass(frozen=True, slots=True)
class Departure:
    """Somebody left a list by a link."""

    id: uuid.UUID
    """Of the event."""
    message_id: uuid.UUID
    address: str
    """Empty if the person is forgotten."""
    list_id: str
    """The list that they left; empty: everything."""
    tag: str
    at: datetime
    reason: str
    """The word of the reason that they chose; empty: none."""
    comment: str
    method: str
    """``one_click`` (the button of the mail program), ``post``, ``page`` or ``preferences``."""


@dataclass(frozen=True, slots=True)
class DeparturePage:
    """Some of those who left, the newest first."""

    rows: tuple[Departure, ...]
    next: str
    """What the next page is asked with; empty: there is none."""


def departures_of(
    database: Database,
    conditions: Sequence[ColumnElement[bool]],
    about: Selection,
    *,
    reason: str,
    page: str,
    size: int,
) -> DeparturePage:
    """Return some of those who left; see :meth:`.Reports.departures`.

    :param conditions: for messages, apart from the period.
    """
    check_size(size)
    text_of("reason", reason)
    audit, event, message = database.audit, database.event, database.message
    joined, mine = _all_of(database, conditions, about)
    if reason:
        mine.append(event.c.reason == reason)
    if page:
        mine.append(audit.c.id < _read(page))
    told = (event.c.id, event.c.message_id, message.c.recipient, event.c.list_id, message.c.tag, event.c.occurred_at)
    query = select(*told, event.c.reason, event.c.comment, event.c.method).select_from(joined).where(*mine)
    rows = [Departure(*row) for row in database.rows(query.order_by(audit.c.id.desc()).limit(size + 1))]
    return DeparturePage(tuple(rows[:size]), rows[size - 1].id.hex if len(rows) > size else "")


def reasons_of_departures(
    database: Database, conditions: Sequence[ColumnElement[bool]], about: Selection
) -> dict[str, int]:
    """Return how many left for each reason; see :meth:`.Reports.departure_reasons`."""
    joined, mine = _all_of(database, conditions, about)
    reason = database.event.c.reason
    query = select(reason, func.count()).select_from(joined).where(*mine).group_by(reason)
    return {word: int(number) for word, number in database.rows(query)}


def _all_of(
    database: Database, conditions: Sequence[ColumnElement[bool]], about: Selection
) -> tuple[Any, list[ColumnElement[bool]]]:
    """Return the tables that tell who left, and which of their rows do."""
    audit, event, message = database.audit, database.event, database.message
    joined = audit.join(event, event.c.id == audit.c.id).join(message, message.c.id == event.c.message_id)
    when = event.c.occurred_at if about.happened else message.c.created_at
    mine = [*conditions, between(when, about.start, about.end), audit.c.change == EventType.UNSUBSCRIBED.value]
    mine.append(event.c.type == EventType.UNSUBSCRIBED)
    # Nobody leaves by a mail before there is one. An id was made when the thing happened.
    last = about.end if about.happened else None
    mine.append(between(audit.c.id, about.start and first_id(about.start - NEAR), last and first_id(last + NEAR)))
    return joined, mine


def _read(page: str) -> uuid.UUID:
    try:
        return uuid.UUID(page)
    except (ValueError, AttributeError, TypeError):
        raise ReportError(f"page is {page!r}. Write `next` of the page before, or leave it out.") from None
