"""Mails as campaigns: each of one list, or of one tag, with one subject; and what is usual for those like it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from .answers import FEW, Totals
from .selection import Selection

if TYPE_CHECKING:
    from .reports import Reports

_BEFORE = 5
"""Mails before, of which the median is the usual value."""
_SHOWN = 3
_YEAR = timedelta(days=365)
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SeriesMail:
    """What was sent to one list, or under one tag, with one subject."""

    subject: str
    at: datetime
    """When its first copy was made."""
    last: datetime
    totals: Totals
    selection: Selection


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual for a campaign: the medians of the mails before it, each rate from 0 to 1."""

    count: int
    """Mails that were looked at, at most five; 0: it is the first of its kind."""
    opened: float | None
    clicked: float | None
    unsubscribed: float | None
    newest: tuple[SeriesMail, ...]
    """The newest three of them, the newest first."""


def series_of(reports: Reports, about: Selection, since: datetime) -> dict[tuple[str, str], list[SeriesMail]]:
    """Return the mails since a year before *since*, in order of time, by their list; without one, by their tag."""
    wide = about.narrowed(since=max(since, _FIRST + _YEAR) - _YEAR, basis="sent", audience="people")
    series: defaultdict[tuple[str, str], list[SeriesMail]] = defaultdict(list)
    for (tag, list_id, subject), totals in reports.mails(wide):
        if subject is None or totals.first_at is None or totals.last_at is None:
            continue  # too many subjects to be told apart: no mail in the sense of a campaign
        mine = Selection(tag=tag, list_id=list_id, subject=subject, tz=about.tz, within=about.within)
        mailing = SeriesMail(subject, totals.first_at, totals.last_at, totals, mine)
        series[("list", list_id) if list_id else ("tag", tag)].append(mailing)
    for mails in series.values():
        mails.sort(key=lambda mail: mail.at)
    return series


def comparable(mails: Sequence[SeriesMail]) -> Sequence[SeriesMail]:
    """Return the mails, of those before one, that say what is usual: the last five that are large enough."""
    return [each for each in mails if each.totals.out >= FEW][-_BEFORE:]


def usual_rate(mails: Sequence[SeriesMail], name: str) -> float | None:
    """Return the median of a rate.

    :param name: ``opened``, ``clicked`` or ``unsubscribed``.
    """
    known = [rate for each in mails if (rate := getattr(each.totals, name).rate) is not None]
    return median(known) if known else None


def usual_of(reports: Reports, about: Selection) -> Usual:
    """Return what is usual for the mail of a selection."""
    about = about.narrowed(basis="sent", audience="people")
    mine = [
        (about_, totals.first_at)
        for about_, totals in reports.mails(about)
        if about_[2] is not None and totals.first_at
    ]
    if not mine:
        return Usual(0, None, None, None, ())
    (tag, list_id, _), first = min(mine, key=lambda each: each[1])
    one_of_it = {about_ for about_, _ in mine}
    # A list is looked at under all tags, as the mail before may have had another one; a tag without a list is its own.
    like = Selection(
        **({"list_id": list_id} if list_id else {"tag": tag, "list_id": ""}),
        until=first,
        tz=about.tz,
        within=about.within,
    )
    mails = series_of(reports, like, first).get(("list", list_id) if list_id else ("tag", tag), [])
    before = comparable([each for each in mails if _words(each.selection) not in one_of_it])
    opened, clicked, gone = (usual_rate(before, name) for name in ("opened", "clicked", "unsubscribed"))
    return Usual(len(before), opened, clicked, gone, tuple(before[::-1][:_SHOWN]))


def _words(about: Selection) -> tuple[str | None, ...]:
    return about.tag, about.list_id, about.subject
