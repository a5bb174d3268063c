"""A period in as few pieces as there can be: whole days, quarter hours at its ends, and what is left of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from flask_mailtrack.figures import SLOTS_A_DAY, slot_of

from .buckets import moment_of_slot, slot_from
from .rows import Period
from .selection import Selection

Range = tuple[int | None, int | None]


@dataclass(frozen=True)
class Spans:
    """A period, as the sums have it.

    :param days: from one slot to another, of whole days in UTC.
    :param quarters: the same, of quarter hours.
    :param ends: what is left.
    """

    days: list[Range]
    quarters: list[Range]
    ends: list[Period]

    def each(self) -> Iterator[tuple[str, int | None, int | None]]:
        """Yield what to ask for: the span of sums, and from where to where."""
        for span, ranges in (("day", self.days), ("quarter", self.quarters)):
            for first, last in ranges:
                yield span, first, last

    def in_quarters(self) -> Spans:
        """Return the same period without whole days."""
        ranges = sorted([*self.days, *self.quarters])  # one begins where the other ends
        return Spans([], [(ranges[0][0], ranges[-1][1])] if ranges else [], self.ends)


def cut(selection: Selection) -> Spans:
    """Return the period in as few pieces as there can be."""
    start, end = selection.start, selection.end
    first = None if start is None else slot_from(start)
    last = None if end is None else slot_of(end)
    if first is not None and last is not None and first > last:  # within one quarter hour
        return Spans([], [], [(start, end)])
    ends = _ends(start, end, first, last)
    morning = None if first is None else -(-first // SLOTS_A_DAY) * SLOTS_A_DAY
    evening = None if last is None else last // SLOTS_A_DAY * SLOTS_A_DAY
    if morning is not None and evening is not None and morning > evening:
        return Spans([], [(first, last)], ends)
    before = [(first, morning)] if first != morning else []
    after = [(evening, last)] if evening != last else []
    days = [] if morning is not None and morning == evening else [(morning, evening)]
    return Spans(days, [*before, *after], ends)


def share_spans(selection: Selection, kind: str) -> Spans:
    """Return the period in which events of a type are shared out."""
    spans = cut(selection)
    return _without_quarters(spans) if selection.happened and kind != "sent" else spans


def _without_quarters(spans: Spans) -> Spans:
    """Return the same period where there are sums of days only: the rows answer its ends."""
    ends: list[Period] = [
        (None if first is None else moment_of_slot(first), None if last is None else moment_of_slot(last))
        for first, last in spans.quarters
    ]
    return Spans(spans.days, [], [*spans.ends, *ends])


def _ends(start: datetime | None, end: datetime | None, first: int | None, last: int | None) -> list[Period]:
    found: list[Period] = []
    if start is not None and first is not None and start != moment_of_slot(first):
        found.append((start, moment_of_slot(first)))
    if end is not None and last is not None and end != moment_of_slot(last):
        found.append((moment_of_slot(last), end))
    return found
