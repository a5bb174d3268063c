"""Where the figures of a bucket are read: sums of whole days, and of the quarter hours of days that are in two buckets.

A day in UTC is in two days of any other time zone. What happened is counted with the day, and its quarter hours on the
other side of midnight are moved: a tenth of all, as a rule. When mail was first and last made cannot be moved, so
copies are read from all quarter hours of such a day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, case, cast, literal_column, null

from flask_mailtrack.figures import SLOTS_A_DAY
from flask_mailtrack.storage.tables.database import Database

from .buckets import Pieces
from .rows import between
from .spans import Range, Spans

NOTHING = cast(null(), Integer)


@dataclass(frozen=True)
class Source:
    """What some sums are read from.

    :param keys: what they are grouped by.
    :param moved_from: the number of the piece in which they have been counted, too.
    """

    table: Any
    keys: list[Any]
    conditions: list[ColumnElement[bool]]
    moved_from: Any = NOTHING


class Sources:
    """The sources of sums of one basis.

    :param pieces: by which they are added up.
    """

    def __init__(self, database: Database, basis: str, pieces: Pieces) -> None:
        self._cohort, self._figure = database.cohort, database.figure
        self._basis, self._pieces = basis, pieces

    def of(self, spans: Spans, movable: bool) -> Iterator[Source]:
        """Yield what is read of a period.

        :param movable: numbers alone are read, which can be taken away from where they have been counted.
        """
        for span, first, last in spans.each():
            if span == "quarter" or not (self._pieces.behind or self._pieces.ahead):
                yield self._plain(span, (first, last), self._piece(self._figure.c.slot))
            else:
                yield from (self._moved if movable else self._apart)((first, last))

    def _plain(self, span: str, slots: Range, key: Any, *more: ColumnElement[bool]) -> Source:
        joined = self._cohort.join(self._figure, self._figure.c.cohort_id == self._cohort.c.id)
        return Source(joined, [key], [self._figure.c.span == span, between(self._figure.c.slot, *slots), *more])

    def _moved(self, days: Range) -> Iterator[Source]:
        """Yield whole days, and the quarter hours of these that are in another bucket."""
        behind, ahead = self._pieces.behind, self._pieces.ahead
        # West of Greenwich, it is the first hours of a day that are in another one, elsewhere the last ones.
        told_by = SLOTS_A_DAY - 1 if behind > ahead else 0
        yield self._plain("day", days, self._piece(_plus(self._figure.c.slot, told_by)))
        first = max(0, SLOTS_A_DAY - ahead) if not behind else 0
        last = min(behind, SLOTS_A_DAY) if behind and not ahead else SLOTS_A_DAY
        day = self._figure.alias("whole_day")
        own, other = self._piece(self._figure.c.slot), self._piece(_plus(day.c.slot, told_by))
        table, conditions = self._of_days(day, days, first, last)
        yield Source(table, [own], [*conditions, own != other], other)

    def _apart(self, days: Range) -> Iterator[Source]:
        """Yield the days that are in one bucket, and all quarter hours of the others."""

        def ends(slot: Any) -> tuple[Any, Any]:
            return self._piece(slot), self._piece(_plus(slot, SLOTS_A_DAY - 1))

        key, last = ends(self._figure.c.slot)
        yield self._plain("day", days, key, key == last)
        day = self._figure.alias("whole_day")
        table, conditions = self._of_days(day, days, 0, SLOTS_A_DAY)
        first, last = ends(day.c.slot)
        yield Source(table, [key], [*conditions, first != last])

    def _of_days(self, day: Any, days: Range, first: int, last: int) -> tuple[Any, list[ColumnElement[bool]]]:
        """Return the quarter hours of days, from one to another.

        The database looks some of them up for each day; in a list of all periods it would look for each quarter hour.
        """
        cohort, figure = self._cohort, self._figure
        same = and_(figure.c.cohort_id == day.c.cohort_id, figure.c.status == day.c.status)
        joined = cohort.join(day, day.c.cohort_id == cohort.c.id).join(figure, same)
        mine = [day.c.basis == self._basis, day.c.span == "day", between(day.c.slot, *days)]
        slots = between(figure.c.slot, _plus(day.c.slot, first), _plus(day.c.slot, last))
        return joined, [*mine, figure.c.span == "quarter", slots]

    def _piece(self, slot: Any) -> Any:
        """Return the number of the piece in which a slot is."""
        begins = self._pieces.begins[1:]
        if self._pieces.begins:
            numbered = [(slot < begin, _number(number)) for number, begin in enumerate(begins)]
            return case(*numbered, else_=_number(len(begins))) if begins else _number(0)
        *earlier, (_, last) = self._pieces.shifts
        shift = case(*((slot < until, shift) for until, shift in earlier), else_=last) if earlier else _number(last)
        return (slot + shift) // _number(self._pieces.width)


def _number(number: int) -> Any:
    return literal_column(str(number), Integer)  # no parameter: PostgreSQL would take the one to group by for another


def _plus(slot: Any, number: int) -> Any:
    return slot + _number(number) if number else slot
