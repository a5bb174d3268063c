"""How many messages of a mail people had opened so far, hour by hour since the mail began to go out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from statistics import median

from .selection import Selection
from .sums import SumFigures

HOURS = 72
"""Nearly all opens have come by then."""
_SLOTS_AN_HOUR = 4


@dataclass(frozen=True, slots=True)
class Sending:
    """A mail that began to go out at some moment.

    :param about: its messages: a tag, and a list or a subject if these tell more.
    :param out: how many of them went out with a pixel.
    """

    about: Selection
    start: datetime
    out: int


def opened_so_far(sums: SumFigures, sendings: Sequence[Sending], now: datetime) -> list[tuple[float, ...]]:
    """Return the shares of each mail's messages that people had opened after 0, 1, 2 and more hours.

    The quarter hour in which the mail began counts whole, so an hour may be longer by up to 15 minutes. Hours that
    have not passed are left out.
    """
    places = [place for place, each in enumerate(sendings) if each.out]
    found = sums.openers_by_slot([(sendings[place].about, sendings[place].start, HOURS) for place in places])
    curves: list[tuple[float, ...]] = [()] * len(sendings)
    for place, openers in zip(places, found, strict=True):
        sending = sendings[place]
        passed = min(HOURS, max(0, (now - sending.start) // timedelta(hours=1)))
        hours: defaultdict[int, int] = defaultdict(int)
        for slot, number in openers.items():
            hours[slot // _SLOTS_AN_HOUR] += number
        reached = accumulate((hours[hour] for hour in range(passed)), initial=0)
        curves[place] = tuple(number / sending.out for number in reached)
    return curves


def usual_curve(curves: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the median of curves at each hour, as far as all of them go."""
    return tuple(median(points) for points in zip(*curves, strict=False))
