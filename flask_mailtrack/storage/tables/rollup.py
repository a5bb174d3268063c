"""One batch's change of the sums, written in the transaction that writes what they sum.

The rows are locked, so nobody else counts the same messages meanwhile. The sums themselves are changed last, in the
order of their keys: two machines that drain one campaign hold each other up for one statement.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import product
from operator import add
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, func
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_mailtrack.audience import by_a_person
from flask_mailtrack.columns import key_of
from flask_mailtrack.events import EventType, Status, Verdict
from flask_mailtrack.figures import (
    ALL,
    CLASSES,
    COPIES,
    COUNTED,
    FIRST_BY,
    MACHINE,
    NOUNS,
    OUT,
    PEOPLE,
    SHARES,
    SLOTS_A_DAY,
    SUMMED,
    TOTALS,
    UNIQUES,
    UNKNOWN,
    slot_of,
)
from flask_mailtrack.storage.records import batched

from .cohorts import CohortKey
from .database import MYSQL, Database

EARLY_DAYS = 30
"""So long an event waits for its message before nobody expects that any more."""

ROWS = 10_000
"""Sums that are written by one statement."""
FIGURES = (*COPIES, *SUMMED)
_AT = {name: place for place, name in enumerate(FIGURES)}
_TOTAL = {key: _AT[name] for key, name in TOTALS.items()}
_UNIQUE = {key: _AT[name] for key, name in UNIQUES.items()}
_SHARE = {name: place for place, name in enumerate(SHARES)}
_UNIQUE_SHARE = {each: _SHARE[f"unique_{each}"] for each in FIRST_BY}


DIMENSIONS = ("client", "os", "device", "country", "rule", "domain")
_FIGURE_KEY = ("cohort_id", "basis", "span", "slot", "status")
_SHARE_KEY = ("cohort_id", "basis", "dimension", "type", "span", "slot", "value")
ENDS = ("first_at", "last_at")
_BOTH = "both"
_OPENED, _CLICKED = (EventType.OPENED.value, PEOPLE), (EventType.CLICKED.value, PEOPLE)
KEYS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    (kind, cls): ((kind, ALL), (kind, cls)) for kind in NOUNS for cls in (PEOPLE, MACHINE)
}
KEYS |= {(kind, UNKNOWN): ((kind, ALL),) for kind in NOUNS}
KEYS |= {(kind, cls): ((kind, ALL),) for kind in COUNTED if kind not in NOUNS for cls in CLASSES}


class Seen(NamedTuple):
    """An event, as far as it is summed."""

    id: uuid.UUID
    message_id: uuid.UUID
    type: str
    occurred_at: datetime
    by: str
    """people, machine or unknown."""
    about: tuple[str, str, str, str, str]
    """Client, system, device, country, and the rule of the verdict."""
    link: str
    """Of a click: place, part and reference of the link."""
    target: tuple[int | None, str, str, str]
    """Of a click: place, URL, name and part."""
    reason: str
    slot: int
    """Of the moment at which it happened."""


class Sent(NamedTuple):
    """A message, as far as it is summed."""

    cohort: uuid.UUID
    status: str
    created_at: datetime
    pixel: bool
    links: bool
    listed: bool
    domain: str


Firsts = dict[tuple[str, ...], Seen]
"""The first event of a message, by type and audience, and of clicks by link, too; also the later of both firsts."""


def who(verdict: str, provider: str) -> str:
    """Return whose an event counts as: people's, a machine's, or nobody's of whom anybody can say."""
    if by_a_person(verdict, provider):
        return PEOPLE
    return UNKNOWN if verdict == Verdict.UNKNOWN else MACHINE


_Row = tuple[Any, ...]


class _Cell:
    """The sums over the messages of one cohort, made in the same quarter hour, with the same status and domain.

    Each is by the slot or the day of what happened; ``None``: it is by the making of the messages alone.
    """

    __slots__ = ("figures", "others", "shares")

    def __init__(self) -> None:
        self.figures: defaultdict[int | None, list[int]] = defaultdict(lambda: [0] * len(FIGURES))
        self.shares: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(SHARES))
        self.others: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(SHARES))

    def event(self, seen: Seen, sign: int) -> None:
        at = seen.slot
        if (total := _TOTAL.get((seen.type, seen.by))) is not None:
            self.figures[at][total] += sign
        if seen.type not in NOUNS:
            if seen.reason:
                self.others[at, "reason", seen.type, seen.reason][0] += sign
            return
        place = _SHARE[seen.by]
        self.shares[at - at % SLOTS_A_DAY, seen.type, *seen.about][place] += sign
        if seen.link:
            self.others[at, "link", seen.type, seen.link][place] += sign

    def first(self, key: tuple[str, ...], seen: Seen, sign: int) -> None:
        at = seen.slot
        kind, audience = key[:2]
        if len(key) > 2:
            self.others[at, "link", kind, seen.link][_UNIQUE_SHARE[audience]] += sign
        elif kind == _BOTH:
            self.figures[at][_AT["both_people"]] += sign
        else:
            self.figures[at][_UNIQUE[kind, audience]] += sign
            if kind in NOUNS:
                self.shares[at - at % SLOTS_A_DAY, kind, *seen.about][_UNIQUE_SHARE[audience]] += sign


class Rollup:
    """Sums of messages and events, of which each is added or taken away."""

    def __init__(self) -> None:
        self._cells: defaultdict[tuple[uuid.UUID, int, str, str], _Cell] = defaultdict(_Cell)
        self._moments: dict[tuple[Any, ...], tuple[datetime, datetime]] = {}

    def whole(self, sent: Sent, events: Sequence[Seen], sign: int = 1) -> None:
        """Add a message with all of its events, or with -1 take it away."""
        self.message(sent, sign)
        firsts = {} if sent.status == Status.COUNTER else firsts_of(events)
        self.events(sent, events, firsts, sign)

    def message(self, sent: Sent, sign: int = 1) -> None:
        """Add a message, or with -1 take it away."""
        if sent.status == Status.COUNTER:
            return
        cell, made = self._cell(sent), sent.created_at
        row = cell.figures[None]
        for place, value in enumerate((1, sent.pixel, sent.links, sent.listed)):
            row[place] += sign * value
        key = (sent.cohort, slot_of(made), sent.status)
        first, last = self._moments.get(key, (made, made))
        self._moments[key] = min(first, made), max(last, made)
        if sent.status in OUT:
            cell.others[None, "domain", "sent", sent.domain][0] += sign

    def events(self, sent: Sent, events: Iterable[Seen], firsts: Firsts, sign: int = 1) -> None:
        """Add events of a message, and those of them that count as its first, or with -1 take them away."""
        cell = self._cell(sent)
        for seen in events:
            cell.event(seen, sign)
        for key, seen in firsts.items():
            cell.first(key, seen, sign)

    def reason(self, sent: Sent, moment: datetime, reason: str, sign: int = 1) -> None:
        """Add the reason of an unsubscribe, or with -1 take it away."""
        if reason:
            self._cell(sent).others[slot_of(moment), "reason", EventType.UNSUBSCRIBED.value, reason][0] += sign

    def _cell(self, sent: Sent) -> _Cell:
        return self._cells[sent.cohort, slot_of(sent.created_at), sent.status, sent.domain]

    def write(
        self,
        database: Database,
        connection: Connection,
        wider: Callable[[uuid.UUID], Sequence[CohortKey]],
    ) -> None:
        """Change the sums in the tables.

        :param wider: returns the other cohorts to which the messages of one belong.
        """
        scopes = {key[0]: (key[0], *(each.id for each in wider(key[0]))) for key in self._cells}
        tables = {database.figure: self._figure_rows(scopes), database.breakdown: self._share_rows(scopes)}
        for table, rows in tables.items():
            for some in batched(rows, ROWS):
                width = len(key_of(table))
                # In the order of their keys: two drainers that take locks in the same order cannot deadlock.
                ordered = sorted(some, key=lambda row: (row[0].int, *row[1:width]))
                database.insert(connection, insert_or_add, table, columns_of(database, table), ordered)

    def _figure_rows(self, scopes: Mapping[uuid.UUID, Sequence[uuid.UUID]]) -> Iterator[_Row]:
        sums: dict[tuple[Any, ...], list[int]] = {}
        moments: dict[tuple[Any, ...], tuple[datetime, datetime]] = {}
        for (cohort, made, status, _), cell in self._cells.items():
            for at, values in cell.figures.items():
                if not any(values):
                    continue
                for scope, (basis, span, first) in product(scopes[cohort], _spans(made, at)):
                    key = (scope, basis, span, first, status)
                    _add(sums, key, values)
                    if at is None:
                        near = (*moments.get(key, ()), *self._moments[cohort, made, status])
                        moments[key] = min(near), max(near)
        for key, total in sums.items():
            yield (*key, *total, *moments.get(key, (None, None)))

    def _share_rows(self, scopes: Mapping[uuid.UUID, Sequence[uuid.UUID]]) -> Iterator[_Row]:
        sums: dict[tuple[Any, ...], list[int]] = {}
        for (cohort, made, _, domain), cell in self._cells.items():
            mail, *others = scopes[cohort]
            for (at, dimension, kind, value), shares in _by_dimension(cell, domain).items():
                where = (mail,) if dimension == "link" else (mail, *others[-1:])
                for scope, (basis, span, first) in product(where, _spans_of_shares(made, at)):
                    _add(sums, (scope, basis, dimension, kind, span, first, value), shares)
        for key, total in sums.items():
            if any(total):
                yield (*key, *total)


def _by_dimension(cell: _Cell, domain: str) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = {key: shares for key, shares in cell.others.items() if any(shares)}
    for (day, kind, *about), shares in cell.shares.items():
        if any(shares):
            for dimension, value in zip(DIMENSIONS, (*about, domain), strict=True):
                _add(found, (day, dimension, kind, value), shares)
    return found


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], values: list[int]) -> None:
    there = sums.get(key)
    sums[key] = values if there is None else list(map(add, there, values))


def _spans(made: int, at: int | None) -> Iterator[tuple[str, str, int]]:
    """Yield basis, span and first slot of the sums in which something counts."""
    for basis, number in (("sent", made), ("happened", at)):
        if number is not None:
            yield basis, "quarter", number
            yield basis, "day", number - number % SLOTS_A_DAY


def _spans_of_shares(made: int, at: int | None) -> Iterator[tuple[str, str, int]]:
    return (found for found in _spans(made, at) if found[:2] != ("happened", "quarter"))


def columns_of(database: Database, table: Table) -> tuple[str, ...]:
    """Return the columns of a table of sums: the key, the sums, and maybe the first and last moment."""
    return (*_FIGURE_KEY, *FIGURES, *ENDS) if table is database.figure else (*_SHARE_KEY, *SHARES)


def link_value(place: int | None, part: str, ref: str) -> str:
    """Return the value under which a link is summed."""
    return f"{'' if place is None else place}:{part}:{ref}"


def firsts_of(events: Iterable[Seen]) -> Firsts:
    """Return the first of *events*, all of one message, by each audience."""
    found: Firsts = {}
    for seen in sorted(events, key=_when):
        for key in KEYS[seen.type, seen.by]:
            found.setdefault(key, seen)
            if seen.link:
                found.setdefault((*key, seen.link), seen)
    opened, clicked = found.get(_OPENED), found.get(_CLICKED)
    if opened and clicked:
        found[_BOTH, PEOPLE] = max(opened, clicked, key=_when)
    return found


def _when(seen: Seen) -> tuple[datetime, uuid.UUID]:
    return seen.occurred_at, seen.id


@cache
def insert_or_add(dialect: str, table: Table) -> Any:
    """Return a statement that inserts sums, and adds them to those whose keys are there."""
    adding: Any = {"postgresql": postgresql, "sqlite": sqlite}.get(dialect, mysql).insert(table)
    new = adding.inserted if dialect in MYSQL else adding.excluded
    changes = {name: table.c[name] + new[name] for name in (*FIGURES, *SHARES) if name in table.c}
    lower, higher = (func.min, func.max) if dialect == "sqlite" else (func.least, func.greatest)
    for name, wider in zip(ENDS, (lower, higher), strict=True):
        if name in table.c:
            here, there = table.c[name], new[name]
            changes[name] = wider(func.coalesce(here, there), func.coalesce(there, here))
    if dialect in MYSQL:
        return adding.on_duplicate_key_update(changes)
    return adding.on_conflict_do_update(index_elements=[table.c[name] for name in key_of(table)], set_=changes)
