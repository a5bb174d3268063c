"""How a period is cut: into hours, days, weeks from Monday, or months of some time zone.

Time zones differ from UTC by whole quarter hours, so a bucket is made of slots, which are quarter hours of UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from flask_mailtrack.errors import ReportError
from flask_mailtrack.figures import SLOT_SECONDS, SLOTS_A_DAY
from flask_mailtrack.phrases import Numeral, Phrase

STEPS = ("hour", "day", "week", "month")
MOST = 10_000
"""Buckets that one series may have."""
_MOST_NUMBERED = 60
"""Months that are told apart in the database."""
_EPOCH = date(1970, 1, 1).toordinal()
_THURSDAY = 3
"""Days from a Monday until 1970-01-01."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Pieces(NamedTuple):
    """Numbers for hours, days, weeks or months, by which sums are added up in the database."""

    width: int
    """Slots of a piece."""
    shifts: list[tuple[int, int]]
    """How many slots are added before a slot is divided, each with the slot before which it is so; in order."""
    begins: list[int]
    """The first slots of months, each but the first the end of the one before; empty: slots are divided."""
    behind: int
    """Slots of a day in UTC that may be in the day before of the zone."""
    ahead: int
    """Slots of a day in UTC that may be in the day after it."""


@dataclass(frozen=True)
class Buckets:
    """The buckets of one step in one time zone.

    :param step: one of :data:`STEPS`.
    :raises ReportError: another one.
    """

    step: str
    zone: tzinfo

    def __post_init__(self) -> None:
        if self.step not in STEPS:
            raise ReportError(f"by is {self.step!r}. Write one of: {', '.join(STEPS)}.")

    def start(self, moment: datetime) -> datetime:
        """Return the first moment of the bucket in which *moment* is, in the time zone."""
        local = moment.astimezone(self.zone)
        if self.step == "hour":  # by the clock of UTC: where clocks are set back there are two of one name
            if not (local.minute or local.second or local.microsecond):
                return local
            past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            return (moment.astimezone(UTC) - past).astimezone(self.zone)
        return self._first_moment(self._first_day(local.date()))

    def after(self, start: datetime) -> datetime:
        """Return the first moment behind the bucket that begins at *start*."""
        if self.step == "hour":
            return self.start(start.astimezone(UTC) + timedelta(hours=1))
        # A month and four days from the first of a month are in the next one.
        day = start.date() + timedelta(days={"day": 1, "week": 7, "month": 31}[self.step])
        return self._first_moment(self._first_day(day))

    def between(self, first: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the beginnings and ends of all buckets that have a moment from *first* on and before *until*.

        :raises ReportError: there are too many.
        """
        try:
            start = self.start(first)
            for _ in range(MOST):
                if start.astimezone(UTC) >= until:
                    return
                end = self.after(start)
                yield start, end
                start = end
        except OverflowError:
            text = Phrase("since or until is at the end of all dates. Choose a shorter period.")
            raise ReportError(text) from None
        text = Phrase(
            "by is %(step)s, which cuts the period into more than %(most)s pieces. Choose a shorter period, or a "
            "coarser step.",
            step=repr(self.step),
            most=Numeral(f"{MOST:,}"),
        )
        raise ReportError(text)

    def of_slot(self, slot: int) -> datetime:
        """Return the beginning of the bucket in which a slot is."""
        return self.start(moment_of_slot(slot))

    def pieces(self, first: int, last: int) -> Pieces:
        """Return how sums of slots, from *first* to *last*, are added up before they are put into buckets."""
        found: list[tuple[int, int]] = []
        shift = self._shift(first)
        for day in range(first, last, SLOTS_A_DAY):
            then = min(day + SLOTS_A_DAY, last)
            if (after := self._shift(then)) != shift:
                found.append((self._change(day, then), shift))
                shift = after
        shifts = [*found, (last + 1, shift)]
        behind, ahead = max(0, *(-each for _, each in shifts)), max(0, *(each for _, each in shifts))
        if self.step == "hour":
            return self._hours(shifts, last)
        if self.step == "month" and len(begins := self._months(first, last)) <= _MOST_NUMBERED:
            return Pieces(SLOTS_A_DAY, shifts, begins, behind, ahead)
        if self.step == "week":
            shifts = [(until, each + _THURSDAY * SLOTS_A_DAY) for until, each in shifts]
            return Pieces(7 * SLOTS_A_DAY, shifts, [], behind, ahead)
        return Pieces(SLOTS_A_DAY, shifts, [], behind, ahead)

    def of_piece(self, number: int, pieces: Pieces) -> datetime:
        """Return the beginning of the bucket that a numbered piece belongs to."""
        if self.step == "hour":
            return self.of_slot(number * pieces.width - pieces.shifts[0][1])
        if pieces.begins:
            return self.of_slot(pieces.begins[number])
        days = number * 7 - _THURSDAY if self.step == "week" else number
        return self._first_moment(self._first_day(date.fromordinal(_EPOCH + days)))

    @staticmethod
    def _hours(shifts: list[tuple[int, int]], last: int) -> Pieces:
        # In nearly every zone clocks are changed by whole hours; where they are not, slots stay slots.
        parts = {ahead % 4 for _, ahead in shifts}
        if len(parts) == 1:
            return Pieces(4, [(last + 1, parts.pop())], [], 0, 0)
        return Pieces(1, [(last + 1, 0)], [], 0, 0)

    def _months(self, first: int, last: int) -> list[int]:
        """Return the first slots of months, or of some more than are numbered, the first of them *first*."""
        found, start = [first], moment_of_slot(first).astimezone(self.zone)
        while len(found) <= _MOST_NUMBERED and (begin := slot_from(self.after(self.start(start)))) <= last:
            found.append(begin)
            start = moment_of_slot(begin).astimezone(self.zone)
        return found

    def _shift(self, slot: int) -> int:
        ahead = moment_of_slot(slot).astimezone(self.zone).utcoffset() or timedelta()
        return int(ahead.total_seconds()) // SLOT_SECONDS

    def _change(self, low: int, high: int) -> int:
        """Return the first slot, behind *low*, in which the zone is not as it is in *low*."""
        before = self._shift(low)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._shift(middle) == before else (low, middle)
        return high

    def _first_day(self, day: date) -> date:
        if self.step == "week":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.step == "month" else day

    def _first_moment(self, day: date) -> datetime:
        # Through UTC: a midnight that the clocks leave out is told by the hour that there is.
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC).astimezone(self.zone)


def moment_of_slot(slot: int) -> datetime:
    """Return the first moment of a slot."""
    return datetime.fromtimestamp(slot * SLOT_SECONDS, UTC)


def slot_from(moment: datetime) -> int:
    """Return the first slot that begins at or after *moment*."""
    return -((_BEGINNING - moment) // timedelta(seconds=SLOT_SECONDS))
