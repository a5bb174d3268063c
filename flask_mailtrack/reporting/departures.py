"""Who left a list, one by one.

The audit has a row for each choice, under the id of its event. There are few choices among many events, so a page is
read along the audit.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import EventType, first_id
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.register import BY_MESSAGE

from .messages import check_size
from .rows import NEAR, between
from .selection import Selection, text_of

_FIRST, _MOST = 200, 2_000
"""Choices that are looked at together, at first and later."""


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
    event, message = database.event, database.message
    joined, mine = _departed(database, conditions, about)
    if reason:
        mine.append(event.c.reason == reason)
    told = (event.c.id, event.c.message_id, message.c.recipient, event.c.list_id, message.c.tag, event.c.occurred_at)
    query = select(*told, event.c.reason, event.c.comment, event.c.method).select_from(joined).where(*mine)
    rows: list[Departure] = []
    for ids in _choices(database, about, page and _read(page)):
        found = database.rows(query.where(event.c.id.in_(ids)).order_by(event.c.id.desc()).limit(size + 1))
        rows += [Departure(*row) for row in found]
        if len(rows) > size:
            break
    return DeparturePage(tuple(rows[:size]), rows[size - 1].id.hex if len(rows) > size else "")


def reasons_of_departures(
    database: Database, conditions: Sequence[ColumnElement[bool]], about: Selection
) -> dict[str, int]:
    """Return how many left for each reason; see :meth:`.Reports.departure_reasons`."""
    joined, mine = _departed(database, conditions, about)
    event = database.event.c
    query = select(event.reason, func.count()).select_from(joined).where(*mine).group_by(event.reason)
    found: Counter[str] = Counter()
    for ids in _choices(database, about):
        found.update({word: int(number) for word, number in database.rows(query.where(event.id.in_(ids)))})
    return dict(found)


def _departed(
    database: Database, conditions: Sequence[ColumnElement[bool]], about: Selection
) -> tuple[Any, list[ColumnElement[bool]]]:
    """Return the tables that tell who left, and which of their rows do."""
    event, message = database.event, database.message
    when = event.c.occurred_at if about.happened else message.c.created_at
    mine = [*conditions, between(when, about.start, about.end), event.c.type == EventType.UNSUBSCRIBED]
    return event.join(message, message.c.id == event.c.message_id), mine


def _choices(database: Database, about: Selection, before: uuid.UUID | str = "") -> Iterator[list[uuid.UUID]]:
    """Yield the ids of unsubscribes, the newest first, some at a time, so that each event is looked up by its id."""
    audit = database.audit.c
    # Nobody leaves by a mail before there is one. An id was made when the thing happened.
    last = about.end if about.happened else None
    near = between(audit.id, about.start and first_id(about.start - NEAR), last and first_id(last + NEAR))
    by_link = (audit.change == EventType.UNSUBSCRIBED.value, audit.source.startswith(BY_MESSAGE))
    query = select(audit.id).where(*by_link, near).order_by(audit.id.desc())
    number = _FIRST
    while True:
        rows = database.rows((query.where(audit.id < before) if before else query).limit(number))
        if rows:
            yield [row[0] for row in rows]
        if len(rows) < number:
            return
        before, number = rows[-1][0], min(number * 2, _MOST)


def _read(page: str) -> uuid.UUID:
    try:
        return uuid.UUID(page)
    except (ValueError, AttributeError, TypeError):
        text = Phrase("page is %(value)s. Write `next` of the page before, or leave it out.", value=repr(page))
        raise ReportError(text) from None
