"""The figures of mails: counts, and rates with their denominators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from sqlalchemy import ColumnElement, Table, case, func, or_, select

from flask_mailtrack.events import EventType, Status, Verdict
from flask_mailtrack.figures import OUT
from flask_mailtrack.lists import folded
from flask_mailtrack.modes import Mode
from flask_mailtrack.storage.tables.database import Database


class Rated:
    """Something that has happened to ``unique`` of ``of`` messages."""

    __slots__ = ()
    unique: int
    of: int

    @property
    def rate(self) -> float | None:
        """``unique / of``, from 0 to 1; ``None`` if ``of`` is 0."""
        return self.unique / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Tally(Rated):
    """The number of actions of one kind, by people."""

    total: int
    """All actions, also in aggregate mode."""
    unique: int
    """Copies with at least one action. Copies in aggregate mode do not count, as they are not told apart."""
    of: int
    """Copies that could have had an action and are told apart: the denominator of :attr:`rate`."""
    aggregate: int = 0
    """The part of ``total`` from aggregate mode. The number of people behind it is unknown."""
    aggregate_of: int = 0
    """Copies in aggregate mode that could have had an action."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of one selection of messages. Opens by machines are in ``machine`` only."""

    sent: int
    failed: int
    unknown: int
    suppressed: int
    opened: Tally
    clicked: Tally
    unsubscribed: Tally
    machine: int
    """Opens and clicks by prefetchers, scanners, bots, and proxies without a reader."""
    unidentified: int = 0
    """Opens and clicks of unknown visitors. They are neither in the tallies nor in ``machine``."""


def stats(
    database: Database,
    *,
    tag: str | None = None,
    list_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Stats:
    """Return the figures of the messages that match all given conditions, from the state on the rows of messages.

    The reports ask this where older messages are not in the sums yet.

    :param tag: of the message.
    :param list_id: of the message.
    :param since: created at or after this moment; naive times are UTC.
    :param until: created before this moment.
    """
    table = database.message
    conditions: list[ColumnElement[bool]] = []
    if tag is not None:
        conditions.append(table.c.tag == tag)
    if list_id is not None:
        conditions.append(table.c.list_id == folded(list_id))
    if since is not None:
        conditions.append(table.c.created_at >= since)
    if until is not None:
        conditions.append(table.c.created_at < until)
    names = [column.name for column in _columns(table)]
    row = dict(zip(names, database.rows(select(*_columns(table)).where(*conditions))[0], strict=True))
    found = {name: int(value or 0) for name, value in row.items()}
    event = database.event
    visits = event.c.type.in_([EventType.OPENED, EventType.CLICKED]) & (event.c.verdict == Verdict.UNKNOWN)
    mine = event.c.message_id.in_(select(table.c.id).where(*conditions))
    ((unidentified,),) = database.rows(select(func.count().label("n")).select_from(event).where(visits, mine))
    return Stats(
        sent=found["sent"],
        failed=found["failed"],
        unknown=found["unknown"],
        suppressed=found["suppressed"],
        opened=Tally(
            found["open_total"], found["open_unique"], found["open_of"], found["open_sum"], found["open_sum_of"]
        ),
        clicked=Tally(
            found["click_total"], found["click_unique"], found["click_of"], found["click_sum"], found["click_sum_of"]
        ),
        unsubscribed=Tally(found["gone"], found["gone"], found["out"]),
        machine=found["machine"],
        unidentified=int(unidentified),
    )


def inactive(database: Database, since: date) -> list[str]:
    """Return the people who got mail in deliverability mode before a day and have not been seen since.

    :param since: a day in UTC. A person who was seen on this day is not inactive.
    """
    table = database.message
    measured = table.c.status.in_(OUT) & (table.c.tracks_opens | table.c.tracks_clicks) & (table.c.recipient != "")
    query = (
        select(table.c.recipient)
        .where(table.c.mode == Mode.DELIVERABILITY.value, measured)
        .group_by(table.c.recipient)
        .having(func.min(table.c.created_at) < datetime.combine(since, time(), UTC))
        .having(or_(func.max(table.c.seen_on).is_(None), func.max(table.c.seen_on) < since))
        .order_by(table.c.recipient)
    )
    return [str(recipient) for (recipient,) in database.rows(query)]


def _columns(table: Table) -> list[Any]:
    def count(condition: ColumnElement[bool], name: str) -> Any:
        return func.sum(case((condition, 1), else_=0)).label(name)

    out = table.c.status.in_(OUT)
    individual = or_(table.c.mode.is_(None), table.c.mode == Mode.INDIVIDUAL.value)
    aggregate = table.c.mode == Mode.AGGREGATE.value
    return [
        *(count(table.c.status == status, status.value) for status in Status if status != Status.SENDING),
        count(out, "out"),
        count(out & table.c.tracks_opens & individual, "open_of"),
        count(out & table.c.tracks_clicks & individual, "click_of"),
        count(out & table.c.tracks_opens & aggregate, "open_sum_of"),
        count(out & table.c.tracks_clicks & aggregate, "click_sum_of"),
        count(table.c.opened_at.is_not(None) & individual, "open_unique"),
        count(table.c.clicked_at.is_not(None) & individual, "click_unique"),
        func.sum(case((aggregate, table.c.open_count), else_=0)).label("open_sum"),
        func.sum(case((aggregate, table.c.click_count), else_=0)).label("click_sum"),
        count(table.c.unsubscribed_at.is_not(None), "gone"),
        func.sum(table.c.open_count).label("open_total"),
        func.sum(table.c.click_count).label("click_total"),
        func.sum(table.c.machine_count).label("machine"),
    ]
