"""What reports answer: figures, each with what it is a part of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_mailtrack.events import EventType, Status
from flask_mailtrack.figures import OUT
from flask_mailtrack.modes import Mode
from flask_mailtrack.notified import NOTIFIED

from .rows import Key, merge
from .selection import Selection
from .stats import Rated, Stats, Tally

SUFFIX = {"people": "people", "machines": "machine", "all": "all"}
_INDIVIDUAL, _AGGREGATE = Mode.INDIVIDUAL.value, Mode.AGGREGATE.value
_OF = {_INDIVIDUAL: "", _AGGREGATE: "quiet_"}
_NO_COPIES: dict[str, int] = {status.value: 0 for status in Status}
FEW = 50
"""Below this many, two rates are not compared."""


@dataclass(frozen=True, slots=True)
class Count:
    """How often something happened, and of how many messages."""

    total: int
    unique: int
    """Each message counts once, at the first time."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of a selection, opens and clicks by its audience.

    By ``happened``, mails are those that were made in the period, and there is no rate: what happens in a period is
    no part of what is sent in it, so ``of`` is 0.
    """

    tried: int
    """All copies, whatever became of them."""
    sent: int
    sending: int
    unknown: int
    failed: int
    suppressed: int
    opened: Tally
    clicked: Tally
    unsubscribed: Tally
    """``of`` counts mail of a list."""
    delivered: Tally
    """Messages that the server of the recipient accepted, as far as a service tells; ``of`` counts what has left."""
    bounced: Tally
    complained: Tally
    rejected: Tally
    opened_and_clicked: int
    """Messages that people opened and clicked."""
    machine_opened: Count
    machine_clicked: Count
    unidentified_opens: int
    """Opens of which nobody can say whose they were."""
    unidentified_clicks: int
    first_at: datetime | None
    """When the first of the mails was made."""
    last_at: datetime | None

    @property
    def out(self) -> int:
        """Copies that have left, as far as anybody knows: sent, unknown and sending."""
        return self.sent + self.unknown + self.sending


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of one tag, list, sender domain or subject."""

    name: str | None
    """``None`` for subjects that are too many to be told apart, or of which no mail is left."""
    totals: Totals


@dataclass(frozen=True, slots=True)
class Grouped:
    """The figures of each of a kind, those with the newest mail first, and of all together."""

    by: str
    lines: tuple[Line, ...]
    totals: Totals


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of one bucket; both times are in the time zone of the series."""

    start: datetime
    end: datetime
    totals: Totals


@dataclass(frozen=True, slots=True)
class Series:
    """The figures over time: every bucket, also an empty one; a message counts once, in one bucket."""

    by: str
    tz: str
    points: tuple[Point, ...]
    totals: Totals


@dataclass(frozen=True, slots=True)
class Share(Rated):
    """What one value of a dimension has of the events; empty: not known, such as what a proxy hides."""

    value: str
    total: int
    """Events of the audience."""
    unique: int
    """Messages whose first event of the audience is one of these."""
    people: int
    machines: int
    unknown: int
    of: int
    """Messages with such an event of the audience at all."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How the events of one type divide among the values of a dimension, the largest first."""

    dimension: str
    type: str
    rows: tuple[Share, ...]
    total: int
    of: int


@dataclass(frozen=True, slots=True)
class LinkLine(Rated):
    """One link of a campaign."""

    url: str
    """Empty if nobody knows any more where it led."""
    name: str
    position: int | None
    """Place among the distinct links of its mail, from 0."""
    part: str
    total: int
    unique: int
    """Messages of which the audience followed this link."""
    people: int
    machines: int
    unknown: int
    of: int
    """Messages of which the audience followed any link; shares may sum to more than 1."""


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """The links of a campaign, the most followed first."""

    tag: str
    rows: tuple[LinkLine, ...]
    of: int


@dataclass(frozen=True, slots=True)
class RuleLine:
    """What one rule has decided."""

    verdict: str
    reason: str
    """Its stable word; the longest are cut."""
    opens: int
    clicks: int
    people: int
    """Of both together, by people."""
    machines: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the rules have decided, the busiest first."""

    rows: tuple[RuleLine, ...]
    opens: int
    clicks: int


@dataclass(frozen=True, slots=True)
class DomainLine:
    """What became of mail to one large provider; empty: all other domains, which might name their owners."""

    domain: str
    sent: int
    opened: Count
    clicked: Count


@dataclass(frozen=True, slots=True)
class RecipientDomains:
    """What became of mail by the domain of its recipients, the largest first."""

    rows: tuple[DomainLine, ...]
    sent: int


@dataclass(frozen=True, slots=True)
class Comment:
    """What a person has written who left a list."""

    text: str
    reason: str
    at: datetime
    list_id: str
    tag: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why people unsubscribed."""

    rows: tuple[tuple[str, int], ...]
    """Each reason, and how often it was given; the most frequent first."""
    none: int
    """Unsubscribes without a reason."""
    total: int
    unique: int
    of: int
    """Mail of lists that has left; 0 by ``happened``."""
    comments: tuple[Comment, ...]
    """The newest first, 100 at most."""


@dataclass(frozen=True, slots=True)
class ClickToOpen:
    """How many of those who opened have clicked, by people."""

    clicked: int
    of: int

    @property
    def rate(self) -> float | None:
        """``clicked / of``, from 0 to 1; ``None`` of nothing."""
        return self.clicked / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A period, and the one of the same length just before it.

    Changes of rates are differences: 0.02 is two points more. They are ``None`` where one of the rates is of fewer
    than 50. The change of what was sent is a part of what was sent before, and ``None`` if that was fewer than 50.
    """

    now: Totals
    before: Totals
    before_since: datetime
    since: datetime
    until: datetime
    sent: float | None
    opened: float | None
    clicked: float | None
    unsubscribed: float | None


def totals_of(figures: Iterable[tuple[Key, Mapping[str, Any]]], selection: Selection) -> Totals:
    """Return figures in words."""
    all_: dict[str, Any] = {}
    quiet: dict[str, Any] = {}
    of: dict[str, int] = dict.fromkeys(("listed", "pixels", "tracked", "quiet_pixels", "quiet_tracked"), 0)
    copies = _NO_COPIES.copy()
    for (_, mode, status), values in figures:
        if all_:
            merge(all_, values)
        else:
            all_ = dict(values)
        if mode == _AGGREGATE:
            merge(quiet, values)
        if number := values.get("copies"):
            copies[status] = copies.get(status, 0) + number
        if "listed" in values and status in OUT:
            of["listed"] += values["listed"]
        if "pixels" in values or "tracked" in values:
            prefix = _OF.get(mode) if status in OUT else None
            for name in ("pixels", "tracked") if prefix is not None else ():
                of[f"{prefix}{name}"] += values.get(name, 0)
    get = all_.get
    suffix = SUFFIX[selection.audience]
    if selection.happened:
        of = dict.fromkeys(of, 0)
    out = 0 if selection.happened else sum(copies[status] for status in OUT)
    gone = Tally(get("unsubscribes", 0), get("unsubscribers", 0), of["listed"])

    def tally(noun: str, people: str, name: str) -> Tally:
        total, aggregate = _total(all_, noun, suffix), _total(quiet, noun, suffix)
        return Tally(total, get(f"{people}_{suffix}", 0), of[name], aggregate, of[f"quiet_{name}"])

    return Totals(
        tried=get("copies", 0),
        sent=copies[Status.SENT],
        sending=copies[Status.SENDING],
        unknown=copies[Status.UNKNOWN],
        failed=copies[Status.FAILED],
        suppressed=copies[Status.SUPPRESSED],
        opened=tally("opens", "openers", "pixels"),
        clicked=tally("clicks", "clickers", "tracked"),
        unsubscribed=gone,
        **{kind.value: Tally(get(kind, 0), get(kind, 0), out) for kind in NOTIFIED},
        opened_and_clicked=get("both_people", 0),
        machine_opened=Count(get("opens_machine", 0), get("openers_machine", 0)),
        machine_clicked=Count(get("clicks_machine", 0), get("clickers_machine", 0)),
        unidentified_opens=get("opens_unknown", 0),
        unidentified_clicks=get("clicks_unknown", 0),
        first_at=get("first_at"),
        last_at=get("last_at"),
    )


def totals_by_group(figures: Mapping[Key, Mapping[str, Any]], selection: Selection) -> dict[Any, Totals]:
    """Return figures in words, of each group."""
    return {group: totals_of(rows, selection) for group, rows in by_group(figures).items()}


def by_group(figures: Mapping[Key, Mapping[str, Any]]) -> dict[Any, list[tuple[Key, Mapping[str, Any]]]]:
    """Return the figures of each group."""
    each: dict[Any, list[tuple[Key, Mapping[str, Any]]]] = {}
    for key, values in figures.items():
        each.setdefault(key.group, []).append((key, values))
    return each


def grouped(by: str, figures: Mapping[Key, Mapping[str, Any]], selection: Selection) -> Grouped:
    """Return figures in words, of each group and of all; those with the newest mail first."""
    lines = [Line(name, totals) for name, totals in totals_by_group(figures, selection).items()]
    lines.sort(key=lambda line: (_newest_first(line.totals.last_at), line.name is None, line.name or ""))
    return Grouped(by, tuple(lines), totals_of(figures.items(), selection))


def short(totals: Totals) -> Stats:
    """Return the short form of figures by people: there, an unsubscribe is of all mail that has left."""
    gone = totals.unsubscribed.unique
    return Stats(
        sent=totals.sent,
        failed=totals.failed,
        unknown=totals.unknown,
        suppressed=totals.suppressed,
        opened=totals.opened,
        clicked=totals.clicked,
        unsubscribed=Tally(gone, gone, totals.out),
        machine=totals.machine_opened.total + totals.machine_clicked.total,
        unidentified=totals.unidentified_opens + totals.unidentified_clicks,
    )


def change(now: Tally, before: Tally) -> float | None:
    """Return by how much a rate is higher, if both are rates of enough."""
    if now.rate is None or before.rate is None or min(now.of, before.of) < FEW:
        return None
    return now.rate - before.rate


def comparison(this: Totals, last: Totals, before: datetime, since: datetime, until: datetime) -> Comparison:
    """Return how one set of figures differs from another."""
    grown = (this.out - last.out) / last.out if last.out >= FEW else None
    names = ("opened", "clicked", "unsubscribed")
    return Comparison(
        this, last, before, since, until, grown, *(change(getattr(this, name), getattr(last, name)) for name in names)
    )


def _newest_first(moment: datetime | None) -> float:
    return -moment.timestamp() if moment else 0.0


def _total(figures: Mapping[str, Any], noun: str, suffix: str) -> int:
    if suffix == "all":
        return sum(int(figures.get(f"{noun}_{who}", 0)) for who in ("people", "machine", "unknown"))
    return int(figures.get(f"{noun}_{suffix}", 0))


TYPES = (EventType.OPENED.value, EventType.CLICKED.value)
"""The events of which there are shares."""
