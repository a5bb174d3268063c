"""What has just happened: the newest events of all mail, for a page that shows it live."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select

from flask_mailtrack.events import first_id, now
from flask_mailtrack.figures import slot_of
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import cohorts_inside, messages_inside

from .buckets import moment_of_slot
from .messages import check_size
from .rows import NEAR, between
from .timeline import by_whom, sentence_of

_LOOKED_AT = 2_000
"""Newest events of all, among which those of one tenant are looked for first."""
_SLOTS = 4
"""Quarter hours of a tenant's own that are looked into after that."""
_READ = ("id", "occurred_at", "type", "message_id", "url", "list_id", "reason", "client", "os", "link_name", "comment")


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
    text: Phrase
    """What happened, and who did it, as a sentence."""
    url: str


def latest_of(database: Database, within: Scope | None, size: int) -> tuple[NewEvent, ...]:
    """Return the newest events; see :meth:`.Reports.latest`."""
    check_size(size)
    event, message = database.event, database.message
    newest = select(event.c.id.label("id")).order_by(event.c.id.desc()).limit(_LOOKED_AT).subquery("newest")
    if within is None:
        return tuple(_read(database, [], size))
    inside = messages_inside(message, within)
    found = list(_read(database, [*inside, event.c.id.in_(select(newest.c.id))], size))
    for slot in _slots(database, within) if len(found) < size else ():
        start, end = moment_of_slot(slot), moment_of_slot(slot + 1)
        then = between(event.c.id, first_id(start - NEAR), first_id(end + NEAR))
        found += _read(database, [*inside, then], size)
    ordered = sorted({each.id: each for each in found}.values(), key=lambda each: each.id.int, reverse=True)
    return tuple(ordered[:size])


def _slots(database: Database, within: Scope) -> list[int]:
    """Return the last quarter hours of this day in which something happened to mail inside, the newest first."""
    cohort, figure = database.cohort, database.figure
    recent = figure.c.slot >= slot_of(now() - timedelta(days=1))
    mine = (cohort.c.scope == "mail", *cohorts_inside(cohort, within), figure.c.basis == "happened")
    joined = cohort.join(figure, figure.c.cohort_id == cohort.c.id)
    query = select(figure.c.slot).distinct().select_from(joined).where(*mine, figure.c.span == "quarter", recent)
    return [row[0] for row in database.rows(query.order_by(figure.c.slot.desc()).limit(_SLOTS))]


def _read(database: Database, mine: Sequence[ColumnElement[bool]], size: int) -> Iterator[NewEvent]:
    event, message = database.event, database.message
    names = (*_READ, "verdict", "provider")
    told: tuple[str, ...] = (*names, "tag", "subject")
    joined = event.join(message, message.c.id == event.c.message_id)
    query = select(*(event.c[name] for name in names), message.c.tag, message.c.subject).select_from(joined)
    for values in database.rows(query.where(*mine).order_by(event.c.id.desc()).limit(size)):
        row: dict[str, Any] = dict(zip(told, values, strict=True))
        yield NewEvent(
            id=row["id"],
            at=row["occurred_at"],
            by=by_whom(row),
            text=sentence_of(row),
            **{name: row[name] for name in ("type", "message_id", "tag", "subject", "url")},
        )
