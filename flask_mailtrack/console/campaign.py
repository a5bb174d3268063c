"""One campaign: how it does, its links on the mail itself, and with what it was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Response, abort, request
from flask.typing import ResponseReturnValue

from flask_mailtrack.reporting.answers import Share, Shares, comparison, totals_of
from flask_mailtrack.reporting.campaigns import Campaign, campaign_of, with_earlier
from flask_mailtrack.reporting.definitions import DEFINITIONS
from flask_mailtrack.reporting.exports import table_of
from flask_mailtrack.reporting.growth import HOURS
from flask_mailtrack.reporting.selection import Selection
from flask_mailtrack.seal import framed
from flask_mailtrack.wording import drawn_without_addresses

from .campaigns import named
from .charts import growth, mirror
from .desk import Desk
from .overview import course
from .route import Route

_COMPARED = 3
_MOST_MAILS = 20
_EARLY = timedelta(hours=2)
_STALLED = timedelta(minutes=15)
"""Mail of which nothing was heard for so long is not being sent any more: a process has ended."""
_REFRESH = "5"
"""Seconds."""
_LASTING = timedelta(days=90)
_READ_OUT = 3
"""Hours between two lines of the table below the curve."""
_MOST_BARS = 8
_DIMENSIONS = (("client", "Clients"), ("os", "Systems"), ("device", "Devices"), ("country", "Countries"))


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart of shares.

    :param hidden: nobody can say what it stands for.
    """

    name: str
    number: int
    rate: float
    hidden: bool = False


class CampaignDesk:
    """What the pages of one campaign have in common.

    :param who: whose opens and clicks; empty: those that are asked for.
    """

    def __init__(self, desk: Desk, who: str = "") -> None:
        self.desk = desk
        self.tag: str = request.args.get("tag", "")
        self.narrowed: bool = bool({"period", "from", "to"}.intersection(request.args))
        look = desk.look
        self.about: Selection = (look.sent if self.narrowed else look.always).narrowed(
            tag=self.tag, subject=None, audience=who or look.who
        )

    @property
    def own(self) -> dict[str, str]:
        """What the addresses of the campaign's pages say."""
        look = self.desk.look
        days = {"from": str(look.since), "to": str(look.until)} if self.narrowed else {}
        return look.query(untagged=None, period=None, subject=None) | days | {"tag": self.tag}

    def rows(self, campaign: Campaign) -> dict[str, str]:
        """Return the filter of all messages of the campaign."""
        totals, look, zone = campaign.totals, self.desk.look, self.desk.zone
        first, last = look.since, look.until
        if not self.narrowed and totals.first_at and totals.last_at:
            first, last = (each.astimezone(zone).date() for each in (totals.first_at, totals.last_at))
        filters = {name: look.filters[name] for name in ("list", "sender") if name in look.filters}
        return filters | named(self.tag) | {"from": str(first), "to": str(last)}

    def campaign(self) -> Campaign:
        """Return the campaign.

        :raises NotFound: nothing was sent of it.
        """
        found = campaign_of(self.desk.reports, self.about)
        if not found.totals.tried:
            self.desk.missing("No mail of this campaign was sent in this period, or its figures are gone.")
        return found

    def page(self, template: str, campaign: Campaign, **values: Any) -> Response:
        """Return a page of the campaign."""
        rows = self.rows(campaign)
        messages = self.desk.to("messages", keep=False, **rows)
        given: dict[str, Any] = {
            "campaign": campaign,
            "own": self.own,
            "rows": rows,
            "messages": messages,
            "narrowed": self.narrowed,
        }
        return self.desk.page(template, defined=DEFINITIONS, **given, **values)


def campaign(desk: Desk) -> ResponseReturnValue:
    """Show how a campaign does, compared to those before it."""
    mine = CampaignDesk(desk, who="people")
    found = with_earlier(desk.reports, mine.campaign(), mine.about)
    totals, compared = found.totals, found.earlier[:_COMPARED]
    if desk.wants_csv:
        header, lines = table_of((*found.mails, *compared))
        return desk.csv("campaign", header, lines)
    before = found.earlier[0] if found.earlier else None
    started = totals.first_at or desk.now
    last = totals.last_at or started
    sending = totals.sending > 0 and desk.now - last < _STALLED
    chart: dict[str, Any] = {}
    if found.lasting:
        since = max(started, last - _LASTING) if not mine.narrowed else mine.about.start
        happened = mine.about.narrowed(basis="happened", since=_midnight(desk, since or started), until=desk.now)
        chart["mirror"] = mirror(course(desk, happened, "day")[1])
    elif found.curve:
        chart["growth"] = growth(found.curve, found.usual, steps=HOURS)
        chart["readings"] = _readings(found)
    answer = mine.page(
        "campaign.html",
        found,
        totals=totals,
        before=before,
        compared=comparison(totals, before.totals if before else totals_of([], mine.about), started, started, desk.now),
        others=compared,
        mails=found.mails[:_MOST_MAILS],
        sending=sending,
        early=desk.now - started < _EARLY,
        half=_half(found.usual),
        **chart,
    )
    if sending:
        answer.headers["Refresh"] = _REFRESH
    return answer


def links(desk: Desk) -> ResponseReturnValue:
    """Show how often each link of a campaign was followed."""
    mine = CampaignDesk(desk)
    found = mine.campaign()
    figures = desk.reports.links(mine.tag, mine.about)
    if desk.wants_csv:
        header, lines = table_of(figures)
        return desk.csv("links", header, lines)
    count = "clicks" if request.args.get("count") == "clicks" else "people"
    numbered = list(enumerate(figures.rows, 1))
    if count == "clicks":
        numbered.sort(key=lambda each: (-each[1].total, each[0]))
    total = sum(row.total for row in figures.rows)
    bodies = desk.reports.bodies(mine.tag)
    shown = next((body for body in bodies if str(body.id) == request.args.get("body")), None)
    return mine.page(
        "campaign_links.html",
        found,
        links=numbered,
        of=figures.of,
        total=total,
        count=count,
        bodies=bodies[:_MOST_MAILS],
        body=shown or max(bodies, key=lambda body: body.messages, default=None),
        width=request.args.get("w"),
    )


def click_map(desk: Desk) -> ResponseReturnValue:
    """Show the mail itself with a badge at each link: a frame of the page of links, and a stranger's HTML."""
    mine = CampaignDesk(desk)
    found = desk.reports.click_map(mine.tag, mine.about, body_id=request.args.get("body") or None)
    if found is None:
        desk.missing("No copy of this mail is kept, so the clicks cannot be shown on it.")
    html = found.html if desk.may("addresses") else drawn_without_addresses(found.html)
    if html is None:
        abort(404)
    return framed(html, dict(found.headers))


def clients(desk: Desk) -> ResponseReturnValue:
    """Show with what the mail of a campaign was read, and where."""
    mine = CampaignDesk(desk)
    found = mine.campaign()
    dimensions, titles = zip(*_DIMENSIONS, strict=True)
    shares = list(zip(titles, desk.reports.several_shares(mine.about, dimensions), strict=True))
    if desk.wants_csv:
        header, lines = table_of(tuple(row for _, each in shares for row in each.rows))
        names = [each.dimension for _, each in shares for _ in each.rows]
        return desk.csv("clients", ("dimension", *header), [(a, *b) for a, b in zip(names, lines, strict=True)])
    charts = [(title, each.dimension, bars(each)) for title, each in shares]
    return mine.page(
        "campaign_clients.html",
        found,
        compositions=charts,
        of=shares[0][1].of,
        domains=desk.reports.domains(mine.about),
    )


def bars(shares: Shares) -> list[Bar]:
    """Return the largest shares, all others together, and what nobody can say, which is never left out."""
    known = [row for row in shares.rows if row.value]
    hidden = [row for row in shares.rows if not row.value]
    found = [Bar(row.value, row.unique, row.rate or 0) for row in known[:_MOST_BARS]]
    if others := known[_MOST_BARS:]:
        found.append(_together("Other", others))
    found += [_together("Hidden by a proxy, or not known", hidden, True)] if hidden else []
    return sorted(found, key=lambda bar: (bar.name == "Other", -bar.number))


def _together(name: str, rows: list[Share], hidden: bool = False) -> Bar:
    return Bar(name, sum(row.unique for row in rows), sum(row.rate or 0 for row in rows), hidden)


def _readings(found: Campaign) -> list[tuple[int, float, float | None]]:
    """Return the hour, the share and the usual share, some hours apart."""
    usual = found.usual
    return [
        (hour, found.curve[hour], usual[hour] if hour < len(usual) else None)
        for hour in range(_READ_OUT, len(found.curve), _READ_OUT)
    ]


def _half(usual: tuple[float, ...]) -> int | None:
    """Return after how many hours half of the opens have usually come."""
    return next((hour for hour, share in enumerate(usual) if share and share >= usual[-1] / 2), None)


def _midnight(desk: Desk, moment: Any) -> Any:
    return moment.astimezone(desk.zone).replace(hour=0, minute=0, second=0, microsecond=0)


ROUTES = (
    Route("/campaign", "campaign", "view", campaign),
    Route("/campaign/links", "campaign_links", "view", links),
    Route("/campaign/map", "campaign_map", "view", click_map),
    Route("/campaign/clients", "campaign_clients", "view", clients),
)
