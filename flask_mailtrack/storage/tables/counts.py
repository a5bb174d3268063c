"""The state on the message rows, counted from the events.

A message is counted anew with each batch. If it has many events already, new hits are added to its state instead, so
that one more hit costs one hit. Both ways give the same figures.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, or_, select, update

from flask_mailtrack.audience import by_a_person, by_people
from flask_mailtrack.events import EventType, Hit, Verdict, first_id, now
from flask_mailtrack.notified import NOTIFIED

from .database import Database, chunked

CROWDED = 200
"""The number of events from which new hits are added instead."""

_FIRST = {kind: f"{kind}_at" for kind in (EventType.UNSUBSCRIBED, *NOTIFIED)}
"""The column that says when such an event came first."""
_STATE = ("opened_at", "clicked_at", *_FIRST.values(), "open_count", "click_count", "machine_count")
_OF_PEOPLE = {EventType.OPENED: ("opened_at", "open_count"), EventType.CLICKED: ("clicked_at", "click_count")}


def crowded(
    database: Database, connection: Connection, ids: Iterable[uuid.UUID], old: Collection[uuid.UUID] = ()
) -> dict[uuid.UUID, dict[str, Any]]:
    """Return the states of locked messages with many events. A fixed number of events of each is read.

    :param old: messages whose events may be purged, so that these count as well.
    """
    message, event = database.message, database.event
    several = select(literal(1)).where(event.c.message_id == message.c.id).limit(1).offset(CROWDED).scalar_subquery()
    found: dict[uuid.UUID, dict[str, Any]] = {}
    for some in chunked(ids):
        query = select(message.c.id, *(message.c[name] for name in _STATE)).where(message.c.id.in_(some))
        added = or_(several.is_not(None), message.c.id.in_([key for key in some if key in old]))
        for key, *state in connection.execute(query.where(added)):
            found[key] = dict(zip(_STATE, state, strict=True))
    return found


def stored(database: Database, connection: Connection, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return the *ids* that are events already, because a replay must not be added twice."""
    key = database.event.c.id
    return {found for some in chunked(ids) for found in connection.execute(select(key).where(key.in_(some))).scalars()}


def add(
    database: Database,
    connection: Connection,
    states: dict[uuid.UUID, dict[str, Any]],
    hits: Iterable[Hit],
    corrected: Iterable[Any],
) -> None:
    """Add to the states of crowded messages.

    :param hits: the hits that are new in the table.
    :param corrected: rows of events, before their correction to a machine's.
    """
    changed: set[uuid.UUID] = set()
    for hit in hits:
        if hit.message_id in states:
            _count(states[hit.message_id], hit)
            changed.add(hit.message_id)
    for row in corrected:
        state = states.get(row.message_id)
        if state is not None and row.type == EventType.CLICKED:
            # The hit is a scanner's now. Before, it was a person's, or was not counted.
            state["machine_count"] += 1
            state["click_count"] -= by_a_person(row.verdict, row.provider)
            if state["clicked_at"] == row.occurred_at:
                state["clicked_at"] = _first_click(database, connection, row)
            changed.add(row.message_id)
    for key in sorted(changed):
        connection.execute(update(database.message).where(database.message.c.id == key).values(states[key]))


def _count(state: dict[str, Any], hit: Hit) -> None:
    first = None
    if hit.type in _OF_PEOPLE and by_a_person(hit.verdict, hit.provider):
        first, count = _OF_PEOPLE[hit.type]
        state[count] += 1
    elif hit.type in _OF_PEOPLE:
        state["machine_count"] += hit.verdict != Verdict.UNKNOWN
    else:
        first = _FIRST.get(hit.type)
    if first is not None:
        state[first] = min(state[first] or hit.occurred_at, hit.occurred_at)


def _first_click(database: Database, connection: Connection, after: Any) -> datetime | None:
    """Return the first click by a person. It is not before the former first click."""
    event = database.event
    mine = (event.c.message_id == after.message_id, event.c.type == EventType.CLICKED.value)
    later = select(event.c.occurred_at).where(*mine, event.c.occurred_at >= after.occurred_at, by_people(event))
    found: datetime | None = connection.execute(later.order_by(event.c.occurred_at).limit(1)).scalar()
    return found


_BATCH = 500


class Recount:
    """Counts the events of every message again, in short transactions with room for a drain between them.

    Messages whose events may have been purged are left alone: messages that are older than events are kept, and
    messages without any event. The state on such a message is all that is known.

    :param keep_days: days for which events are kept, counted from the mail; 0: for ever.
    :param since: only messages created at or after this moment, in UTC; ``None``: all.
    """

    def __init__(self, database: Database, keep_days: float = 0, since: datetime | None = None) -> None:
        self._database = database
        self._since = since
        self._first = first_id(now() - timedelta(days=keep_days)) if keep_days else uuid.UUID(int=0)

    def total(self) -> int:
        """Return the number of messages to count."""
        query = select(func.count().label("n")).select_from(self._database.message).where(*self._conditions())
        return int(self._database.rows(query)[0][0])

    def run(self, progress: Callable[[int], object] = lambda messages: None) -> int:
        """Recount, and return the number of counted messages.

        :param progress: told of the messages of each transaction.
        :raises SQLAlchemyError: the database cannot do it now; finished transactions stay.
        """
        done = 0
        for ids in self._batches():
            with self._database.transaction() as connection:
                # Without the lock, the lower count could overwrite that of a drain that adds an event meanwhile.
                self._database.lock(connection, ids)
                self._database.recount(connection, ids)
            done += len(ids)
            progress(len(ids))
        return done

    def _batches(self) -> Iterator[list[uuid.UUID]]:
        key = self._database.message.c.id
        query = select(key).where(*self._conditions()).order_by(key).limit(_BATCH)
        page = query
        while ids := [row[0] for row in self._database.rows(page)]:
            yield ids
            page = query.where(key > ids[-1])

    def _conditions(self) -> list[ColumnElement[bool]]:
        message = self._database.message
        recent = [message.c.created_at >= self._since] if self._since else []
        return [message.c.id >= self._first, *recent]
