"""The first page: what became of the mail of a period, and whether anything is wrong."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.errors import ReportError
from flask_mailtrack.reporting.answers import Point, Totals
from flask_mailtrack.reporting.definitions import DEFINITIONS
from flask_mailtrack.reporting.exports import table_of

from .charts import MOST_STEPS, Column, mirror
from .desk import Desk
from .route import Route
from .wording import number

STEPS = ("hour", "day", "week", "month")
_MOST_CONCERNS = 6
_SORTS = {
    "name": lambda line: line.name or "",
    "sent": lambda line: line.totals.out,
    "opened": lambda line: line.totals.opened.rate or 0,
    "clicked": lambda line: line.totals.clicked.rate or 0,
    "unsubscribed": lambda line: line.totals.unsubscribed.rate or 0,
    "last": lambda line: line.totals.last_at.timestamp() if line.totals.last_at else 0,
}


def overview(desk: Desk) -> ResponseReturnValue:
    """Show the four figures, their course, what needs attention, and the campaigns."""
    look = desk.look
    campaigns = sorted_lines(desk)
    if desk.wants_csv:
        header, rows = table_of(campaigns)
        return desk.csv("campaigns", header, rows)
    step, columns = course(desk)
    compared = desk.reports.compare(look.sent)
    return desk.page(
        "overview.html",
        compared=compared,
        totals=compared.now,
        chart=mirror(columns),
        step=step,
        steps=STEPS,
        concerns=desk.reports.attention()[:_MOST_CONCERNS],
        campaigns=campaigns,
        sort=request.args.get("sort", "-last"),
        defined=DEFINITIONS,
    )


def sorted_lines(desk: Desk) -> tuple[Any, ...]:
    """Return the campaigns of the period in the order that is asked for."""
    wish = request.args.get("sort", "-last")
    key = _SORTS.get(wish.removeprefix("-"), _SORTS["last"])
    lines = [line for line in desk.reports.campaigns(desk.look.sent).lines if line.totals.tried]
    return tuple(sorted(lines, key=key, reverse=wish.startswith("-")))


def course(desk: Desk) -> tuple[str, list[Column]]:
    """Return what happened over the period, in steps that a chart can show."""
    wish = request.args.get("step", "")
    step = wish if wish in STEPS else "day" if desk.look.days <= MOST_STEPS else "week"
    steps = STEPS[STEPS.index(step) :]
    points: tuple[Point, ...] = ()  # of a thousand years, no step is coarse enough
    for step in steps:
        try:
            points = desk.reports.series(desk.look.happened.narrowed(audience="people"), by=step).points
        except ReportError:  # more steps than anybody asks for
            continue
        if len(points) <= MOST_STEPS:
            break
    return step, [_column(point, step, desk.zone) for point in points[-MOST_STEPS:]]


def _column(point: Point, step: str, zone: tzinfo) -> Column:
    start = point.start.astimezone(zone)
    figures: Totals = point.totals
    machines = figures.machine_opened.total + figures.machine_clicked.total
    name = f"{start:%H:%M}, {start.day} {start:%b}" if step == "hour" else f"{start.day} {start:%b}"
    title = (
        f"{name}: {number(figures.opened.total)} opens and {number(figures.clicked.total)} clicks by people, "
        f"{number(machines)} by machines"
    )
    label = name if _carries_label(start, step) else ""
    return Column(label, title, figures.opened.total, figures.clicked.total, machines, figures.tried > 0)


def _carries_label(start: datetime, step: str) -> bool:
    if step == "hour":
        return start.hour == 0
    if step == "day":
        return start.weekday() == 0
    return start.day <= 7 if step == "week" else start.month % 3 == 1


ROUTES = (Route("/", "overview", "view", overview),)
