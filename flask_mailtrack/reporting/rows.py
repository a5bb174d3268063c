"""The figures as messages and events tell them: the definition, which the sums must agree with.

Everything is counted where it is, so this is right for every question, and slow for large ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)

from flask_mailtrack.events import Status, first_id
from flask_mailtrack.figures import (
    ALL,
    COPIES,
    COUNTED,
    OUT,
    PEOPLE,
    SHARES,
    TOTALS,
    UNIQUES,
    UNKNOWN,
)
from flask_mailtrack.modes import Mode
from flask_mailtrack.storage.tables.census import rule_in, slot_in, who_in
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import from_domain, messages_inside

from .buckets import Buckets
from .selection import Selection

DIMENSIONS = ("client", "os", "device", "country", "rule", "domain", "link", "reason")
NEAR = timedelta(minutes=10)
"""An event gets its id when it happens; no two clocks are asked for that, and no request lasts as long."""

_MOMENTS = frozenset({"first_at", "last_at"})
Period = tuple[datetime | None, datetime | None]


class Key(NamedTuple):
    """What a row of figures is about."""

    group: Any
    """Value of the group, or the beginning of a bucket; empty if there is one group only."""
    mode: str
    status: str


Table = dict[Key, dict[str, Any]]
"""Figures, by the names of the columns of ``mailtrack_figure``."""
Values = dict[Any, dict[str, int]]
"""Shares, by the names of the columns of ``mailtrack_breakdown``, of each value of a dimension."""


@dataclass(frozen=True)
class Part:
    """A part of a question that rows are to answer, where the sums answer the rest.

    :param periods: in place of the selection's own.
    :param only: further conditions on messages.
    :param near: look for events by their ids, too, which say when they happened.
    """

    periods: Sequence[Period]
    only: Sequence[ColumnElement[bool]] = field(default=())
    near: bool = False


class RowFigures:
    """Counts messages and events of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kind = database.engine.dialect.name

    def figures(
        self,
        selection: Selection,
        groups: Sequence[str] = (),
        buckets: Buckets | None = None,
        part: Part | None = None,
    ) -> Table:
        """Return the figures of a selection.

        :param groups: some of ``tag``, ``list_id``, ``sender_domain`` and ``subject``: figures of each; none: of all
            together.
        :param buckets: figures of each bucket of time, in place of groups.
        :param part: a part of the question only.
        """
        found: Table = defaultdict(dict)
        part = part or Part([(selection.start, selection.end)])
        ask = _Question(self, selection, groups, buckets, part)
        for row in self._database.rows(ask.copies()):
            *key, copies, pixels, tracked, listed, first, last = row
            numbers = dict(zip(COPIES, (copies, pixels, tracked, listed), strict=True))
            ask.add(found, key, numbers | {"first_at": first, "last_at": last})
        for *key, kind, who, number in self._database.rows(ask.totals()):
            if name := TOTALS.get((kind, who)):
                ask.add(found, key, {name: number})
        for *key, name, number in self._database.rows(ask.firsts()):
            ask.add(found, key, {name: number})
        return dict(found)

    def shares(self, selection: Selection, dimension: str, kind: str, part: Part | None = None) -> Values:
        """Return how events of one type divide among the values of a dimension.

        :param dimension: one of :data:`DIMENSIONS`.
        :param kind: ``opened``, ``clicked``, or of reasons ``unsubscribed``; ``sent``: messages by their domain.
        """
        part = part or Part([(selection.start, selection.end)])
        ask = _Question(self, selection, (), None, part)
        if kind == "sent":
            return {value: {PEOPLE: int(number)} for value, number in self._database.rows(ask.sent_by_domain())}
        found: Values = defaultdict(lambda: dict.fromkeys(SHARES, 0))
        for row in self._database.rows(ask.shares(dimension, kind)):
            *value, who, number, unique, unique_all = row
            about = tuple(value) if dimension == "link" else value[0]
            counts = found[about]
            counts[PEOPLE if dimension == "reason" else who] += int(number)
            if dimension != "reason":
                counts["unique_all"] += int(unique_all or 0)
                if who != UNKNOWN:
                    counts[f"unique_{who}"] += int(unique or 0)
        return dict(found)

    def conditions(self, selection: Selection) -> list[ColumnElement[bool]]:
        """Return which messages are selected, apart from the period."""
        column = self._database.message.c
        found: list[ColumnElement[bool]] = [
            column[name] == getattr(selection, name)
            for name in ("tag", "list_id", "subject", "status")
            if getattr(selection, name) is not None
        ]
        if selection.sender_domain is not None:
            found.append(from_domain(column.sender, selection.sender_domain))
        return found + messages_inside(self._database.message, selection.within)

    def slot(self, moment: Any) -> ColumnElement[int]:
        """Return the number of the quarter hour of a moment, as SQL."""
        return slot_in(self._kind, moment)

    @property
    def database(self) -> Database:
        """Whose rows are counted."""
        return self._database


class _Question:
    """The queries behind one question."""

    def __init__(
        self, rows: RowFigures, selection: Selection, groups: Sequence[str], buckets: Buckets | None, part: Part
    ) -> None:
        self._rows = rows
        self._message, self._event = rows.database.message, rows.database.event
        self._cohort = rows.database.cohort
        self._happened = selection.happened
        self._groups, self._buckets, self._part = groups, buckets, part
        self._mine = [*rows.conditions(selection), *part.only]

    def add(self, table: Table, key: Sequence[Any], values: dict[str, Any]) -> None:
        """Add a row that a query has given."""
        *group, mode, status = key
        merge(table[Key(self._told(group), mode or Mode.INDIVIDUAL.value, status)], values)

    def _told(self, group: list[Any]) -> Any:
        if self._buckets is not None:
            return self._buckets.of_slot(int(group[0]))
        named = zip(self._groups, group, strict=True)
        return as_key(each.rpartition("@")[2].lower() if name == "sender_domain" else each for name, each in named)

    def copies(self) -> Any:
        """Ask for the messages themselves: by the time at which they were made, whatever the basis."""
        column = self._message.c
        numbers = [literal(1), *(case((yes, 1), else_=0) for yes in (column.tracks_opens, column.tracks_clicks))]
        numbers.append(case((column.list_id != "", 1), else_=0))
        query = select(*self._keys(column.created_at), *map(func.sum, numbers))
        query = query.add_columns(func.min(column.created_at), func.max(column.created_at))
        mine = (*self._mine, self._within(column.created_at), column.status != Status.COUNTER)
        return self._of(query).where(*mine).group_by(*self._by)

    def totals(self) -> Any:
        """Ask for the events, by type and by whom they were."""
        when = self._event.c.occurred_at if self._happened else self._message.c.created_at
        kind, who = self._event.c.type, self._who().label("who")
        query = select(*self._keys(when), kind, who, func.count().label("number"))
        mine = (*self._mine, self._event.c.type.in_(COUNTED), self._within(when), self._near(self._event.c.id))
        return self._of(query, self._event).where(*mine).group_by(*self._by, kind, "who")

    def firsts(self) -> Any:
        """Ask for the messages of which something is known, each at the first time."""
        event, message = self._event.c, self._message.c
        who, moments = self._who(), {}
        for (kind, audience), name in UNIQUES.items():
            guilty = event.type == kind if audience == ALL else and_(event.type == kind, who == audience)
            moments[name] = func.min(case((guilty, event.occurred_at)))
        query = select(event.message_id, *(moment.label(name) for name, moment in moments.items()))
        mine = [*self._mine, event.type.in_(COUNTED), message.status != Status.COUNTER]
        mine.append(self._touched() if self._happened else self._within(message.created_at))
        first = self._of(query, self._event, grouped=False).where(*mine).group_by(event.message_id).cte("first")
        opened, clicked = first.c.openers_people, first.c.clickers_people
        both = case((opened.is_not(None) & clicked.is_not(None), case((opened > clicked, opened), else_=clicked)))
        times: dict[str, Any] = {name: first.c[name] for name in moments} | {"both_people": both}
        return union_all(*(self._counted(first, name, time) for name, time in times.items()))

    def _counted(self, first: Any, name: str, time: Any) -> Any:
        when = time if self._happened else self._message.c.created_at
        query = select(*self._keys(when), literal(name).label("name"), func.count().label("number"))
        join = self._message.join(first, first.c.message_id == self._message.c.id)
        found = query.select_from(self._with_cohort(join)).where(time.is_not(None), self._within(when))
        return found.group_by(*self._by)

    def shares(self, dimension: str, kind: str) -> Any:
        """Ask for the events of a type by a dimension, and how many of them are the first of their message."""
        event, who = self._event.c, self._who()
        values = self._values(dimension)
        same = values if dimension == "link" else []
        order = (event.occurred_at, event.id)
        nth = func.row_number().over(partition_by=[event.message_id, *same, who], order_by=order)
        nth_of_all = func.row_number().over(partition_by=[event.message_id, *same], order_by=order)
        named = [value.label(f"value{place}") for place, value in enumerate(values)]
        told = [*named, who.label("who"), nth.label("nth"), nth_of_all.label("nth_of_all")]
        when = event.occurred_at if self._happened else self._message.c.created_at
        query = select(*told, when.label("at"), event.id.label("id"), self._message.c.status)
        mine = [*self._mine, event.type == kind, self._touched() if self._happened else self._within(when)]
        if dimension == "reason":
            mine.append(event.reason != "")
        seen = self._of(query, self._event, grouped=False).where(*mine).subquery("seen")
        keys = [seen.c[column.name] for column in (*named, seen.c.who)]
        single = seen.c.status != Status.COUNTER
        unique = func.sum(case((and_(seen.c.nth == 1, single), 1), else_=0))
        unique_all = func.sum(case((and_(seen.c.nth_of_all == 1, single), 1), else_=0))
        grouped = select(*keys, func.count().label("number"), unique.label("one"), unique_all.label("one_of_all"))
        return grouped.where(self._within(seen.c.at), self._near(seen.c.id)).group_by(*keys)

    def sent_by_domain(self) -> Any:
        """Ask for the messages that went out by the domain of their recipients."""
        column = self._message.c
        query = select(column.recipient_domain, func.count().label("number"))
        mine = (*self._mine, self._within(column.created_at), column.status.in_(OUT))
        return query.where(*mine).group_by(column.recipient_domain)

    def _values(self, dimension: str) -> list[Any]:
        event = self._event.c
        if dimension == "link":
            return [event.link, event.part, event.url, event.link_name]
        if dimension == "domain":
            return [self._message.c.recipient_domain]
        if dimension == "rule":
            return [rule_in(self._event)]
        return [event[dimension]]

    def _keys(self, when: Any) -> list[Any]:
        column = self._message.c
        if self._buckets is not None:
            groups: list[Any] = [self._rows.slot(when)]
        else:
            told: dict[str, Any] = {"subject": case((self._cohort.c.subject_ref == "", None), else_=column.subject)}
            told["sender_domain"] = column.sender
            groups = [told[name] if name in told else column[name] for name in self._groups]
        return [*(group.label(f"group{place}") for place, group in enumerate(groups)), column.mode, column.status]

    @property
    def _by(self) -> list[Any]:
        # By their names: what makes them has parameters, and PostgreSQL takes each of these for another one.
        number = 1 if self._buckets is not None else len(self._groups)
        return [*(f"group{place}" for place in range(number)), self._message.c.mode, self._message.c.status]

    def _of(self, query: Any, event: Any = None, grouped: bool = True) -> Any:
        join = self._message if event is None else event.join(self._message, event.c.message_id == self._message.c.id)
        return query.select_from(self._with_cohort(join) if grouped else join)

    def _with_cohort(self, join: Any) -> Any:
        if "subject" not in self._groups:
            return join
        # Mail whose subjects are too many is summed together, so it is told together here, too.
        return join.outerjoin(self._cohort, self._cohort.c.id == self._message.c.cohort_id)

    def _who(self) -> Any:
        return who_in(self._event)

    def _within(self, moment: Any) -> ColumnElement[bool]:
        """Return the condition that a moment is in one of the periods."""
        return or_(*(between(moment, start, end) for start, end in self._part.periods))

    def _near(self, identifier: Any) -> ColumnElement[bool]:
        """Return the condition that an id was made about then: ids are in order, and moments are not."""
        if not (self._happened and self._part.near):
            return true()
        ids = ((start and first_id(start - NEAR), end and first_id(end + NEAR)) for start, end in self._part.periods)
        return or_(*(between(identifier, first, last) for first, last in ids))

    def _touched(self) -> ColumnElement[bool]:
        """Return the condition that something happened to a message in the periods."""
        if all(period == (None, None) for period in self._part.periods):
            return true()
        event = self._event.alias()
        mine = (self._within(event.c.occurred_at), self._near(event.c.id), event.c.type.in_(COUNTED))
        return self._message.c.id.in_(select(event.c.message_id).where(*mine))


def has_text(column: Any, text: str) -> ColumnElement[bool]:
    """Return the condition that a text is in a column, whatever its case."""
    found = [func.lower(column).contains(text.lower(), autoescape=True)]
    if not text.isascii():  # SQLite knows the cases of A to Z alone
        spelled = {text, text.lower(), text.upper(), text.title()}
        found += [column.contains(each, autoescape=True) for each in sorted(spelled)]
    return or_(*found)


def between(column: Any, start: Any, end: Any) -> ColumnElement[bool]:
    """Return the condition that a column is not before *start* and is before *end*; ``None``: no bound."""
    bounds = [*([column >= start] if start is not None else []), *([column < end] if end is not None else [])]
    return and_(true(), *bounds)


def as_key(values: Iterable[Any]) -> Any:
    """Return what a row is about: nothing, one value, or several."""
    found = tuple(values)
    return found if len(found) > 1 else found[0] if found else ""


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Add figures to others."""
    for name, value in values.items():
        if not value:  # most are 0
            if value is not None:
                into.setdefault(name, 0)
        elif name not in _MOMENTS:
            into[name] = into.get(name, 0) + int(value)
        elif (known := into.get(name)) is None or (value < known) == (name == "first_at"):
            into[name] = value
