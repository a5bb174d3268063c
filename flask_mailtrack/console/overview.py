"""The first page: what became of the mail of a period, and whether anything is wrong."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.languages import Words
from flask_mailtrack.reporting.answers import Point, Totals, comparison
from flask_mailtrack.reporting.attention import Concern
from flask_mailtrack.reporting.campaigns import campaign_table
from flask_mailtrack.reporting.definitions import DEFINITIONS
from flask_mailtrack.reporting.selection import Selection
from flask_mailtrack.wording import number, short_day, short_month

from .campaigns import listed, named, table_file
from .charts import MOST_STEPS, Column, mirror
from .concerns import concerns_of
from .desk import Desk
from .route import Route

STEPS = ("hour", "day", "week", "month")
_SHORTEST_STEP = {"hour": 24, "day": 1, "week": 1 / 7, "month": 1 / 31}
"""How many of a step a day has."""
_MOST_CONCERNS = 6
_MOST_CAMPAIGNS = 10
_MANY_DAYS = 35
_MANY_WEEKS = 17
_MANY_MONTHS = 24
_MANY_HOURS = 48


def overview(desk: Desk) -> ResponseReturnValue:
    """Show the four figures, their course, what needs attention, and the campaigns."""
    look = desk.look
    table = campaign_table(desk.reports, look.sent)
    if desk.wants_csv:
        return table_file(desk, table)
    totals, about = table.grouped.totals, look.sent
    since, until = about.start or desk.now, about.end or desk.now
    before = desk.reports.totals(about.narrowed(since=since - (until - since), until=since))
    step, columns = course(desk, look.happened.narrowed(audience="people"), request.args.get("step", ""))
    campaigns = listed(desk, table, _MOST_CAMPAIGNS)
    return desk.page(
        "overview.html",
        compared=comparison(totals, before, since - (until - since), since, until),
        totals=totals,
        chart=mirror(columns),
        step=step,
        steps=STEPS,
        concerns=[(each, behind(desk, each)) for each in concerns_of(desk)[:_MOST_CONCERNS]],
        senders=table.senders,
        listed=campaigns,
        defined=DEFINITIONS,
    )


def behind(desk: Desk, concern: Concern) -> tuple[str, str]:
    """Return where somebody finds out more of a concern, and how the link reads."""
    if concern.kind in ("domain", "certificate"):
        return desk.url("domain", host=concern.about), "See what to do"
    if concern.selection is None:
        return desk.url("health"), "Health"
    tag, list_id = concern.selection.tag, concern.selection.list_id
    if not desk.linkable(tag or ""):
        return desk.to("campaigns", keep=False), "Campaigns"
    mine: dict[str, Any] = named(tag or "")
    if concern.kind == "unsubscribes":
        return desk.to("unsubscribes", **mine), "Read the reasons"
    if concern.kind == "failed":
        return desk.to("messages", **mine, status="failed", list=list_id or None), "See the messages"
    return desk.to("campaign", keep=False, tag=tag), "See the campaign"


def course(desk: Desk, about: Selection, wish: str, most: int = MOST_STEPS) -> tuple[str, list[Column]]:
    """Return what happened over a period, in steps that a chart can show.

    :param wish: the step that is asked for; there may be too many of it.
    """
    days = ((about.end or desk.now) - (about.start or desk.now)) / timedelta(days=1)
    wished = wish if wish in STEPS else "hour" if days <= 1 else "day" if days <= MOST_STEPS else "week"
    fitting = (step for step in STEPS[STEPS.index(wished) :] if days * _SHORTEST_STEP[step] <= most)
    step = next(fitting, "month")
    if step == "month":  # more than can be told apart: the latest
        since = (about.end or desk.now) - timedelta(days=30 * most)
        about = about.narrowed(since=max(since, about.start or since))
    points = desk.reports.series(about, by=step).points[-most:]
    return step, [_column(desk, point, step, len(points)) for point in points]


def _column(desk: Desk, point: Point, step: str, count: int) -> Column:
    start, t = point.start.astimezone(desk.zone), desk.t
    figures: Totals = point.totals
    machines = figures.machine_opened.total + figures.machine_clicked.total
    day, month = short_day(start, t), short_month(start, t)
    whole = t("%(month)s %(year)s", month=month, year=start.year)
    name = {"hour": f"{day}, {start:%H:%M}", "month": whole}.get(step, day)
    opens, clicks = figures.opened.total, figures.clicked.total
    title = t(
        "%(name)s. Opens: %(opens)s. Clicks: %(clicks)s. By machines: %(machines)s.",
        name=name,
        opens=number(opens, t),
        clicks=number(clicks, t),
        machines=number(machines, t),
    )
    return Column(_label(start, step, count, t), title, opens, clicks, machines, figures.tried > 0, name)


def _label(start: datetime, step: str, count: int, t: Words) -> str:
    """Return what stands below a step: so much that it can be read on a phone."""
    day, month = short_day(start, t), short_month(start, t)
    if step == "hour":
        few = count <= _MANY_HOURS
        return day if start.hour == 0 else f"{start:%H:%M}" if few and start.hour % 6 == 0 else ""
    if step == "day":
        return day if (start.weekday() == 0 if count <= _MANY_DAYS else start.day == 1) else ""
    if step == "week":
        return day if start.day <= 7 and (count <= _MANY_WEEKS or start.month % 3 == 1) else ""
    if count > _MANY_MONTHS:
        return f"{start.year}" if start.month == 1 and (count <= 60 or start.year % 2 == 0) else ""
    return (f"{start.year}" if start.month == 1 else month) if start.month % 3 == 1 else ""


ROUTES = (Route("/", "overview", "view", overview),)
