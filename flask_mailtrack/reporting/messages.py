"""Messages one by one: a list in pages, all mail of one person, and what happened to one message.

A page begins where the one before has ended, so the thousandth is read as fast as the first. Each list is read along an
index: by tag or list, by address, by the cohorts that have a subject, or by the ids, which are in order of time.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, false, func, or_, select, union_all

from flask_mailtrack.audience import by_people
from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import Status, first_id
from flask_mailtrack.notified import NOTIFIED
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.privacy import normalise
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import messages_inside, optouts_inside

from .rows import RowFigures, between, has_text
from .selection import Selection, text_of
from .sums import SumFigures
from .timeline import MessageLine, Timeline, timeline_of

ORDERS = ("newest", "oldest")
_AROUND = timedelta(days=1)
"""A message has its id, which says the time, from when it was prepared."""
_BRANCHES = 100
"""Cohorts that are read one by one, each in order, in one query; more than that are read together."""
_FIRST_TURN = 4
"""Cohorts that are read first; then twice as many, until a page is full. More of them would be read for nothing."""


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages in order."""

    rows: tuple[MessageLine, ...]
    next: str
    """What the next page is asked with; empty: there is none."""


@dataclass(frozen=True, slots=True)
class StandingRefusal:
    """An opt-out that stands against mail to somebody, or against measuring them."""

    list_id: str
    kind: str
    method: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of somebody, as far as it has been drained."""

    address: str
    messages: int
    """All copies to them, whatever became of these."""
    out: int
    opened: int
    """Messages that they opened."""
    clicked: int
    unsubscribed: int
    last_seen: datetime | None
    """Their latest open or click."""
    standing: tuple[StandingRefusal, ...]
    page: MessagePage


class Messages:
    """Reads the messages of one database.

    :param rows: says which messages are selected.
    :param sums: says in which cohorts to look.
    """

    def __init__(self, database: Database, rows: RowFigures, sums: SumFigures) -> None:
        self._database = database
        self._table = database.message
        self._rows = rows
        self._sums = sums

    def page(self, about: Selection, *, search: str, activity: str, order: str, page: str, size: int) -> MessagePage:
        """Return some messages; see :meth:`Reports.messages`."""
        if order not in ORDERS:
            raise ReportError(f"order is {order!r}. Write one of: {', '.join(ORDERS)}.")
        check_size(size)
        conditions, cohorts, entered = self._chosen(about, search, activity)
        walk = _Way(self._table, order, _read(page), size)
        # Without cohorts, ids may be of when somebody has brought the rows.
        around = about if entered else Selection(within=about.within)
        if cohorts is None or len(cohorts) <= _FIRST_TURN:
            by_index = _by_index(about, search)
            return self._shown(self._read(walk.query(conditions, around, by_index, cohorts)), walk)
        return self._shown(self._in_turns(walk, conditions, around, cohorts), walk)

    def count(self, about: Selection, search: str, activity: str, most: int) -> int:
        """Return how many messages there are, or *most*."""
        conditions, cohorts, entered = self._chosen(about, search, activity)
        column = self._table.c
        if cohorts is not None:
            conditions.append(column.cohort_id.in_(cohorts))
        elif entered and not _by_index(about, search):
            conditions += _near(column, about)
        some = select(column.id).where(*conditions).limit(most)
        return int(self._database.rows(select(func.count()).select_from(some.subquery()))[0][0])

    def person(self, address: str, within: Scope | None, *, page: str = "", size: int = 50) -> Person:
        """Return what is known of somebody."""
        recipient = normalise(text_of("address", address))
        message, event, optout = self._table, self._database.event, self._database.optout
        whose = message.c.recipient == recipient if recipient else false()
        mine = and_(whose, *messages_inside(message, within))
        out = message.c.status.in_([Status.SENT, Status.UNKNOWN, Status.SENDING])
        marks = (message.c.opened_at, message.c.clicked_at, message.c.unsubscribed_at)
        query = select(func.count(), func.count(case((out, 1))), *(func.count(mark) for mark in marks)).where(mine)
        ((number, left, opened, clicked, gone),) = self._database.rows(query)
        joined = select(func.max(event.c.occurred_at)).select_from(
            message.join(event, event.c.message_id == message.c.id)
        )
        ((seen,),) = self._database.rows(
            joined.where(mine, by_people(event), event.c.type.in_(["opened", "clicked"]), message.c.shared.is_(False))
        )
        stands = select(*(optout.c[n] for n in ("list_id", "kind", "method", "reason", "created_at")))
        stands = stands.where(optout.c.recipient == recipient, *optouts_inside(self._database, within))
        rows = self._database.rows(stands.order_by(optout.c.created_at))
        standing = tuple(StandingRefusal(*row) for row in rows)
        about = Selection(within=within)
        shown = self.page(about, search=recipient, activity="", order="newest", page=page, size=size)
        return Person(
            recipient, number, left, opened, clicked, gone, seen, standing, shown if "@" in recipient else _NONE
        )

    def known(self, ids: Collection[uuid.UUID], within: Scope | None) -> dict[uuid.UUID, MessageLine]:
        """Return messages by their ids. One that is not there is left out."""
        columns = [self._table.c[name] for name in MessageLine.__dataclass_fields__]
        query = select(*columns).where(self._table.c.id.in_(ids), *messages_inside(self._table, within))
        return {row[0]: MessageLine(*row) for row in (self._database.rows(query) if ids else [])}

    def timeline(self, message_id: uuid.UUID | str, within: Scope | None) -> Timeline:
        """Return what happened to one message."""
        try:
            key = message_id if isinstance(message_id, uuid.UUID) else uuid.UUID(message_id)
        except (ValueError, AttributeError, TypeError):
            raise ReportError(f"message_id is {message_id!r}. Write the id of a message.") from None
        return timeline_of(self._database, key, within)

    def _chosen(
        self, about: Selection, search: str, activity: str
    ) -> tuple[list[ColumnElement[bool]], list[uuid.UUID] | None, bool]:
        """Return the conditions for messages, the cohorts that alone have such, and whether all are in cohorts."""
        if about.happened:
            raise ReportError("basis is 'happened', but messages are listed by when they were sent. Leave basis out.")
        text_of("search", search)
        conditions = [*self._rows.conditions(about), *self._active(activity), self._table.c.status != Status.COUNTER]
        conditions.append(between(self._table.c.created_at, about.start, about.end))
        cohorts: list[uuid.UUID] | None = None
        entered = self._sums.usable()
        if search and "@" in search:
            conditions.append(self._table.c.recipient == normalise(search))
        elif search:
            conditions.append(has_text(self._table.c.subject, search))
        if not _by_index(about, search) and (search or _names_cohorts(about)):
            cohorts = self._sums.cohorts_with(about, search) if entered else None
        return conditions, cohorts, entered

    def _in_turns(
        self, walk: _Way, conditions: Sequence[ColumnElement[bool]], about: Selection, cohorts: Sequence[uuid.UUID]
    ) -> list[MessageLine]:
        """Return the messages of a page and one more, of many cohorts: a page is of those that come first."""
        found_ends = self._database.rows(walk.ends(self._database.cohort, cohorts, about))
        ends = sorted(found_ends, key=lambda end: end[1])
        if walk.newest:
            ends.reverse()
        found: list[MessageLine] = []
        turn = _FIRST_TURN
        while ends and not (len(found) > walk.size and walk.is_behind(ends[0][1], found[walk.size].created_at)):
            # Where few of many cohorts have what is looked for, all that are left are read together.
            some, ends = (ends[:turn], ends[turn:]) if turn <= _BRANCHES else (ends, [])
            turn *= 2
            found += self._read(walk.query(conditions, about, False, [key for key, _ in some]))
            found.sort(key=lambda line: (line.created_at, line.id), reverse=walk.newest)
        return found[: walk.size + 1]

    def _read(self, query: Any) -> list[MessageLine]:
        return [MessageLine(*row) for row in self._database.rows(query)]

    @staticmethod
    def _shown(rows: list[MessageLine], walk: _Way) -> MessagePage:
        more = len(rows) > walk.size
        rows = rows[: walk.size]
        return MessagePage(tuple(rows), f"{rows[-1].created_at.isoformat()}_{rows[-1].id.hex}" if more else "")

    def _active(self, activity: str) -> list[ColumnElement[bool]]:
        column = self._table.c
        nobody = and_(column.opened_at.is_(None), column.clicked_at.is_(None), column.unsubscribed_at.is_(None))
        measured = or_(column.tracks_opens, column.tracks_clicks)
        known: dict[str, list[ColumnElement[bool]]] = {
            "": [],
            "opened": [column.opened_at.is_not(None)],
            "clicked": [column.clicked_at.is_not(None)],
            "unsubscribed": [column.unsubscribed_at.is_not(None)],
            **{kind.value: [column[f"{kind}_at"].is_not(None)] for kind in NOTIFIED},
            "nothing": [nobody, column.machine_count == 0, measured],
            "machines": [nobody, column.machine_count > 0],
            "unmeasured": [~measured],
        }
        if activity not in known:
            raise ReportError(f"activity is {activity!r}. Write one of: {', '.join(filter(None, known))}.")
        return known[activity]


class _Way:
    """The way along an index, from where the page before has ended."""

    def __init__(self, table: Any, order: str, after: tuple[datetime, uuid.UUID] | None, size: int) -> None:
        self._table = table
        self.newest = order == "newest"
        self._after = after
        self.size = size

    def query(
        self,
        conditions: Sequence[ColumnElement[bool]],
        about: Selection,
        by_index: bool,
        cohorts: list[uuid.UUID] | None,
    ) -> Any:
        """Return the query for one page, and one row more.

        :param by_index: the conditions lead along an index that goes on with the time.
        :param cohorts: that alone have such messages; ``None``: any.
        """
        column = self._table.c
        if by_index:
            return self._in_order(select(*self._columns()).where(*conditions), column)
        if cohorts is not None and len(cohorts) <= _BRANCHES:
            each = [
                self._in_order(select(*self._columns()).where(*conditions, column.cohort_id == key), column)
                for key in cohorts
            ]
            if not each:
                return select(*self._columns()).where(false())
            found = union_all(*(select(*branch.subquery().c) for branch in each)).subquery()
            return self._in_order(select(*(found.c[name.name] for name in self._columns())), found.c)
        if cohorts is not None:
            return self._in_order(select(*self._columns()).where(*conditions, column.cohort_id.in_(cohorts)), column)
        near = _near(column, about)
        ids = [] if self._after is None else [column.id < self._after[1] if self.newest else column.id > self._after[1]]
        query = select(*self._columns()).where(*conditions, *near, *ids)
        return query.order_by(column.id.desc() if self.newest else column.id).limit(self.size + 1)

    def ends(self, cohort: Any, keys: Sequence[uuid.UUID], about: Selection) -> Any:
        """Return the query for the first moment on the way, of each cohort that has mail in the period."""
        column, farthest = self._table.c, func.max if self.newest else func.min
        mine = [column.cohort_id == cohort.c.id, between(column.created_at, about.start, about.end)]
        if self._after is not None:
            moment = self._after[0]
            mine.append(column.created_at <= moment if self.newest else column.created_at >= moment)
        first = select(farthest(column.created_at)).where(*mine).scalar_subquery()
        told = select(cohort.c.id, first.label("first")).where(cohort.c.id.in_(keys)).subquery()
        return select(told.c.id, told.c.first).where(told.c.first.is_not(None))

    def is_behind(self, moment: datetime, other: datetime) -> bool:
        """Say whether one is on the way behind the other."""
        return moment < other if self.newest else moment > other

    def _columns(self) -> list[Any]:
        return [self._table.c[name] for name in MessageLine.__dataclass_fields__]

    def _in_order(self, query: Any, column: Any) -> Any:
        if self._after is not None:
            moment, key = self._after
            if self.newest:
                query = query.where(column.created_at <= moment, or_(column.created_at < moment, column.id < key))
            else:
                query = query.where(column.created_at >= moment, or_(column.created_at > moment, column.id > key))
        columns = (column.created_at, column.id)
        return query.order_by(*(each.desc() if self.newest else each for each in columns)).limit(self.size + 1)


_NONE = MessagePage((), "")


def _near(column: Any, about: Selection) -> list[ColumnElement[bool]]:
    """Return the conditions for ids of about the period, which a time alone would not lead to."""
    return [
        *([column.id >= first_id(about.start - _AROUND)] if about.start else []),
        *([column.id < first_id(about.end + _AROUND)] if about.end else []),
    ]


def _by_index(about: Selection, search: str) -> bool:
    """Say whether the conditions lead along an index that goes on with the time."""
    return bool(about.tag or about.list_id or "@" in search)


def _names_cohorts(about: Selection) -> bool:
    said = (about.tag, about.list_id, about.sender_domain, about.subject)
    return any(value is not None for value in said) or about.within not in (None, Scope())


def check_size(size: int) -> None:
    """Refuse a number of rows that is none.

    :raises ReportError: it is not from 1 to 1,000.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 1_000:
        raise ReportError(f"size is {size!r}. Write a whole number from 1 to 1000.")


def _read(page: str) -> tuple[datetime, uuid.UUID] | None:
    """Return the place at which a page begins."""
    if page == "":
        return None
    try:
        moment, _, key = page.rpartition("_")
        return datetime.fromisoformat(moment).astimezone(UTC), uuid.UUID(key)
    except (ValueError, AttributeError, OverflowError):
        text = Phrase("page is %(value)s. Write `next` of the page before, or leave it out.", value=repr(page))
        raise ReportError(text) from None
