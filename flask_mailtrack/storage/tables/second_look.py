"""Judges hits once more, by what else happened to their message: what one request alone cannot tell.

Scanners look like an ordinary browser, and may come minutes after the mail. What gives them away is what they
do: follow every link at once. Here are the rules, pure; :mod:`.batch` brings the hits and writes the verdicts.

Only what was taken for a person, or for nobody in particular, is relabelled, and once: a machine stays the
machine it was. Addresses are compared as they are kept: those of one /24 are one, and where nothing is kept of
them, the rules that compare them are silent. They are silent, too, about a copy that several people got.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from flask_mailtrack.events import EventType, Verdict
from flask_mailtrack.thresholds import Thresholds

LOOKED_AT = (EventType.CLICKED, EventType.TRAPPED)
"""The events that the rules know."""

_SWEPT_LINKS = 3
_SWEPT_PART = 0.8
_BURST_LINKS = 2
_REMEMBERED = 20
_CORRIGIBLE = {Verdict.HUMAN, Verdict.UNKNOWN}


class Visit(NamedTuple):
    """An event, as far as the rules look at it."""

    id: uuid.UUID
    type: str
    occurred_at: datetime
    link: int | None
    ip: str
    os: str
    verdict: str


class Hindsight:
    """The rules, with their thresholds.

    :param thresholds: in seconds; ``None``: no rule is applied.
    """

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self._thresholds = thresholds or Thresholds(burst=0, sweep=0, honeypot=0, shadow=0)
        used = (self._thresholds.burst, self._thresholds.sweep, self._thresholds.honeypot, self._thresholds.shadow)
        self.reach: timedelta = timedelta(seconds=max(used))
        """How far apart two events can be and still say something of each other; zero: all rules are off."""

    def judge(self, visits: Iterable[Visit], links: int | None) -> dict[uuid.UUID, str]:
        """Return why which visits were no person's, all of them scanners'.

        Takes time in proportion to the number of visits.

        :param visits: of one message, in any order.
        :param links: how many links the message has; ``None`` if that is not known.
        """
        ordered = sorted(visits, key=lambda visit: (visit.occurred_at, visit.id))
        clicks = [visit for visit in ordered if visit.type == EventType.CLICKED]
        # A browser that loads ahead does it beside its person, from the same address.
        followed = [visit for visit in clicks if visit.verdict != Verdict.PREFETCH and visit.link is not None]
        found: dict[uuid.UUID, str] = {}
        for reason, guilty in (
            ("honeypot", self._near_the_honeypot(ordered, clicks)),
            ("sweep", self._swept(followed, links)),
            ("burst", self._in_a_burst(followed)),
        ):
            for visit in guilty:
                if visit.verdict in _CORRIGIBLE:
                    found.setdefault(visit.id, reason)
        for visit in self._shadows(followed, found):
            found[visit.id] = "shadow"
        return found

    def _near_the_honeypot(self, ordered: list[Visit], clicks: list[Visit]) -> Iterator[Visit]:
        """Only a machine finds the hidden link; what was clicked just before and after it, it clicked."""
        traps = [visit.occurred_at for visit in ordered if visit.type == EventType.TRAPPED]
        reach, at = timedelta(seconds=self._thresholds.honeypot), 0
        for visit in clicks if reach and traps else []:
            while at < len(traps) and traps[at] < visit.occurred_at - reach:
                at += 1
            if at < len(traps) and traps[at] <= visit.occurred_at + reach:
                yield visit

    def _swept(self, followed: list[Visit], links: int | None) -> Iterator[Visit]:
        """Nearly every link of a message at once, from any number of addresses: a filter with many machines."""
        if not links or links < _SWEPT_LINKS:
            return iter(())
        return _together(followed, self._thresholds.sweep, max(_SWEPT_LINKS, math.ceil(links * _SWEPT_PART)))

    def _in_a_burst(self, followed: list[Visit]) -> Iterator[Visit]:
        """Two links at once from one address: nobody reads that fast."""
        by_address = defaultdict(list)
        for visit in followed:
            if visit.ip:
                by_address[visit.ip].append(visit)
        for visits in by_address.values():
            yield from _together(visits, self._thresholds.burst, _BURST_LINKS)

    def _shadows(self, followed: list[Visit], found: dict[uuid.UUID, str]) -> Iterator[Visit]:
        """The link that a person has just followed, from another address and another system.

        Filters look again at what people click (https://github.com/resend/resend-node/issues/901).
        """
        reach = timedelta(seconds=self._thresholds.shadow)
        if not reach:
            return
        people: defaultdict[int | None, deque[Visit]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        for visit in followed:
            if visit.id in found or visit.verdict not in _CORRIGIBLE or not (visit.ip and visit.os):
                continue
            before = people[visit.link]
            if any(
                person.ip != visit.ip and person.os != visit.os and visit.occurred_at - person.occurred_at <= reach
                for person in before
            ):
                yield visit
            elif visit.verdict == Verdict.HUMAN:
                before.append(visit)


def _together(visits: Sequence[Visit], seconds: float, links: int) -> Iterator[Visit]:
    """Yield the visits of every span of *seconds* in which that many different *links* were followed."""
    reach = timedelta(seconds=seconds)
    if not reach:
        return
    counts: Counter[int | None] = Counter()
    start = told = 0
    for end, visit in enumerate(visits):
        counts[visit.link] += 1
        while visit.occurred_at - visits[start].occurred_at > reach:
            gone = visits[start].link
            counts[gone] -= 1
            if not counts[gone]:
                del counts[gone]
            start += 1
        if len(counts) >= links:
            yield from visits[max(start, told) : end + 1]
            told = end + 1
