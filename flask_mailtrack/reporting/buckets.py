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

STEPS = ("hour", "day", "week", "month")
MOST = 10_000
"""Buckets that one series may have."""
_EPOCH = date(1970, 1, 1).toordinal()
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Pieces(NamedTuple):
    """Numbers for hours or days, by which sums are added up in the database."""

    width: int
    """Slots of a piece."""
    shifts: list[tuple[int, int]]
    """By how many slots the zone is ahead of UTC, each with the slot before which it is so; in order."""


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
            raise ReportError("since or until is at the end of all dates. Choose a shorter period.") from None
        cure = "Choose a shorter period, or a coarser step."
        raise ReportError(f"by is {self.step!r}, which cuts the period into more than {MOST:,} pieces. {cure}")

    def of_slot(self, slot: int) -> datetime:
        """Return the beginning of the bucket in which a slot is."""
        return self.start(moment_of_slot(slot))

    def are_one(self, slot: int, other: int) -> bool:
        """Say whether two slots are in one bucket of days, weeks or months."""
        days = (moment_of_slot(each).astimezone(self.zone).date() for each in (slot, other))
        return len(set(map(self._first_day, days))) == 1

    def pieces(self, first: int, last: int) -> Pieces:
        """Return how sums of slots, from *first* to *last*, are added up before they are put into buckets."""
        width = 4 if self.step == "hour" else SLOTS_A_DAY
        found: list[tuple[int, int]] = []
        shift = self._shift(first)
        for day in range(first, last, SLOTS_A_DAY):
            then = min(day + SLOTS_A_DAY, last)
            if (after := self._shift(then)) != shift:
                found.append((self._change(day, then), shift))
                shift = after
        shifts = [*found, (last + 1, shift)]
        if self.step == "hour":
            # In nearly every zone clocks are changed by whole hours; where they are not, slots stay slots.
            parts = {ahead % width for _, ahead in shifts}
            shifts = [(last + 1, parts.pop() if len(parts) == 1 else 0)]
            width = 1 if parts else width
        return Pieces(width, shifts)

    def of_piece(self, number: int, pieces: Pieces) -> datetime:
        """Return the beginning of the bucket that a numbered piece belongs to."""
        if self.step == "hour":
            return self.of_slot(number * pieces.width - pieces.shifts[0][1])
        return self._first_moment(self._first_day(date.fromordinal(_EPOCH + number)))

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
