"""Mails as campaigns: each of one list, or of one tag, with one subject; and what is usual for those like it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from flask_mailtrack.figures import OUT

from .answers import FEW, Totals, by_group, totals_of
from .rows import Key
from .selection import Selection

if TYPE_CHECKING:
    from .reports import Reports

_GROUPS = ("tag", "list_id", "subject")
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


@dataclass(frozen=True, slots=True)
class _Mail:
    """The figures of a mail, not yet in words: a year has more mails than anybody is told of."""

    words: tuple[str, str, str]
    """Tag, list and subject."""
    at: datetime
    rows: Sequence[tuple[Key, Mapping[str, Any]]]

    @property
    def large(self) -> bool:
        """Whether it says what is usual."""
        out = sum(int(values.get("copies", 0)) for key, values in self.rows if key.status in OUT)
        return out >= FEW

    def told(self, about: Selection) -> SeriesMail:
        """Return it in words."""
        tag, list_id, subject = self.words
        mine = Selection(tag=tag, list_id=list_id, subject=subject, tz=about.tz, within=about.within)
        totals = totals_of(self.rows, mine)
        return SeriesMail(subject, self.at, totals.last_at or self.at, totals, mine)


def series_of(reports: Reports, about: Selection, since: datetime) -> dict[tuple[str, str], list[SeriesMail]]:
    """Return the mails from *since* on, in order of time, by their list; without one, by their tag.

    They follow those before them that say what is usual.
    """
    found = {}
    for series, mails in _series(reports, about, since).items():
        place = next((place for place, mail in enumerate(mails) if mail.at >= since), None)
        if place is not None:
            before = [mail for mail in mails[:place] if mail.large][-_BEFORE:]
            found[series] = [mail.told(about) for mail in (*before, *mails[place:])]
    return found


def _series(reports: Reports, about: Selection, since: datetime) -> dict[tuple[str, str], list[_Mail]]:
    """Return all mails since a year before *since*, in order of time, by their list; without one, by their tag."""
    wide = about.narrowed(since=max(since, _FIRST + _YEAR) - _YEAR, basis="sent", audience="people")
    series: defaultdict[tuple[str, str], list[_Mail]] = defaultdict(list)
    # In an order of their own, as a database gives them in any.
    for tag, list_id, subject, rows in sorted(
        ((*group, rows) for group, rows in by_group(reports.figures(wide, _GROUPS)).items()), key=lambda mail: mail[:2]
    ):
        moments = [values["first_at"] for _, values in rows if values.get("first_at")]
        if subject is None or not moments:
            continue  # too many subjects to be told apart: no mail in the sense of a campaign
        mail = _Mail((tag, list_id, subject), min(moments), rows)
        series[("list", list_id) if list_id else ("tag", tag)].append(mail)
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
        (key.group, values["first_at"])
        for key, values in reports.figures(about, _GROUPS).items()
        if key.group[2] is not None and values.get("first_at")
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
    mails = _series(reports, like, first).get(("list", list_id) if list_id else ("tag", tag), [])
    others = [each for each in mails if each.large and each.words not in one_of_it]
    before = [each.told(about) for each in others[-_BEFORE:]]
    opened, clicked, gone = (usual_rate(before, name) for name in ("opened", "clicked", "unsubscribed"))
    return Usual(len(before), opened, clicked, gone, tuple(before[::-1][:_SHOWN]))
