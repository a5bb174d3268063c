"""What a page about campaigns shows, in as few questions as there can be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from flask_mailtrack.events import now

from .answers import FEW, Grouped, Line, Totals, totals_of
from .growth import HOURS, Sending, usual_curve
from .reports import Reports
from .rows import Table
from .selection import Selection

_BEFORE = 5
"""Mails before, which say what is usual."""
_YEAR = timedelta(days=366)
_ALL_THE_TIME = timedelta(days=3)
_FIRST = datetime(1, 1, 3, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CampaignTable:
    """The campaigns of a selection.

    :param senders: the domains that they were sent from.
    :param subjects: of each tag, whenever its mail was sent.
    """

    grouped: Grouped
    senders: tuple[str, ...]
    subjects: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign.

    :param lists: that its mail was sent to; empty: mail of no list.
    :param mails: its subjects, those with the newest mail first.
    :param earlier: the campaigns before it on the same list, the latest first; each with its figures until now.
    :param curve: the share that people had opened after each hour; empty: the campaign is sent all the time.
    :param usual: the median curve of those before it.
    """

    tag: str
    totals: Totals
    lists: tuple[str, ...]
    senders: tuple[str, ...]
    mails: tuple[Line, ...]
    earlier: tuple[Line, ...] = ()
    curve: tuple[float, ...] = ()
    usual: tuple[float, ...] = ()

    @property
    def lasting(self) -> bool:
        """Whether it was sent over more than three days, as a confirmation of orders is."""
        return is_lasting(self.totals)


def is_lasting(totals: Totals) -> bool:
    """Return whether mail was sent over more than three days."""
    return bool(totals.first_at and totals.last_at and totals.last_at - totals.first_at > _ALL_THE_TIME)


def campaign_table(reports: Reports, about: Selection, subjects: bool = True) -> CampaignTable:
    """Return the campaigns of a selection, those with the newest mail first.

    :param subjects: whether to say these.
    """
    figures = reports.figures(about, ("tag", "sender_domain"))
    lines = _lines(figures, itemgetter(0), about)
    grouped = Grouped("tag", lines, totals_of(figures.items(), about))
    told = reports.subjects_of_tags(about) if subjects else {}
    return CampaignTable(grouped, _names(figures, 1), told)


def campaign_of(reports: Reports, about: Selection) -> Campaign:
    """Return a campaign without what it is compared with.

    :param about: of a tag.
    """
    figures = reports.figures(about, ("list_id", "sender_domain", "subject"))
    mails = _lines(figures, itemgetter(2), about)
    return Campaign(about.tag or "", totals_of(figures.items(), about), _names(figures, 0), _names(figures, 1), mails)


def with_earlier(reports: Reports, campaign: Campaign, about: Selection) -> Campaign:
    """Return the campaign with those before it on its list, and with its curve."""
    start = campaign.totals.first_at
    if start is None or campaign.lasting:
        return campaign
    earlier = _earlier(reports, campaign, about, start)
    full = now() - timedelta(hours=HOURS)  # a younger mail has no curve to its end
    usual = [line for line in earlier if line.totals.opened.of >= FEW and (line.totals.first_at or full) < full][
        :_BEFORE
    ]
    tagged = [(campaign.tag, campaign.totals), *((line.name or "", line.totals) for line in usual)]
    sendings = [
        Sending(about.narrowed(tag=tag, since=None, until=None), totals.first_at or start, totals.opened.of)
        for tag, totals in tagged
    ]
    curve, *others = reports.growth(sendings)
    return Campaign(
        campaign.tag,
        campaign.totals,
        campaign.lists,
        campaign.senders,
        campaign.mails,
        earlier,
        curve,
        usual_curve([each for each in others if each]),
    )


def _earlier(reports: Reports, campaign: Campaign, about: Selection, start: datetime) -> tuple[Line, ...]:
    lists = [name for name in campaign.lists if name]
    if not campaign.tag or len(lists) != 1:
        return ()
    since = max(start, _FIRST + _YEAR).replace(hour=0, minute=0, second=0, microsecond=0) - _YEAR
    others = about.narrowed(tag=None, list_id=lists[0], since=since, until=None, audience="people")
    lines = _lines(reports.figures(others, ("tag",)), lambda group: group, others)
    return tuple(
        line
        for line in lines
        if line.name not in ("", campaign.tag)
        and line.totals.out
        and line.totals.first_at
        and line.totals.first_at < start
        and not is_lasting(line.totals)
    )


def _lines(figures: Table, name_of: Callable[[Any], str | None], about: Selection) -> tuple[Line, ...]:
    each: defaultdict[str | None, list[Any]] = defaultdict(list)
    for key, values in figures.items():
        each[name_of(key.group)].append((key, values))
    lines = [Line(name, totals_of(rows, about)) for name, rows in each.items()]
    return tuple(sorted(lines, key=_newest_first))


def _newest_first(line: Line) -> tuple[float, bool, str]:
    moment = line.totals.last_at
    return (-moment.timestamp() if moment else 0.0, line.name is None, line.name or "")


def _names(figures: Table, place: int) -> tuple[str, ...]:
    return tuple(sorted({key.group[place] for key in figures}))
