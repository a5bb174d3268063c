"""The list of campaigns, which the overview shows the newest of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.reporting.answers import Line, Totals
from flask_mailtrack.reporting.campaigns import CampaignTable, campaign_table, is_lasting
from flask_mailtrack.reporting.definitions import DEFINITIONS
from flask_mailtrack.reporting.exports import table_of

from .desk import Desk
from .route import Route

ROWS = 50
"""Of a page, at most."""
_HEAVIEST = 15_000
"""Characters of addresses in a page: a tag of emoji makes one of 3,000."""
_ADDRESSES = 4
"""Of messages, in a row."""
_USUAL_ORDER = "-last"
_ORDERS: dict[str, Callable[[Line], Any]] = {
    "name": lambda line: (line.name or "").casefold(),
    "last": lambda line: line.totals.last_at.timestamp() if line.totals.last_at else 0,
    "sent": lambda line: line.totals.out,
    "opened": lambda line: line.totals.opened.rate or 0,
    "clicked": lambda line: line.totals.clicked.rate or 0,
    "unsubscribed": lambda line: line.totals.unsubscribed.rate or 0,
    "machines": lambda line: machines_of(line.totals),
}


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One line of the table.

    :param here: the address of the page of the campaign; empty: its tag holds an address, which no link may have.
    :param messages: the address of its messages of the period, to be gone on with by ``&``; empty likewise.
    """

    name: str
    subject: str
    subjects: int
    totals: Totals
    machines: int
    lasting: bool
    here: str
    messages: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Some lines of the table.

    :param order: by what it is sorted; with a minus, the largest first.
    :param count: of all lines.
    :param next: where the next page begins; empty: there is none.
    """

    rows: tuple[CampaignRow, ...]
    order: str
    count: int
    page: int
    next: str


def campaigns(desk: Desk) -> ResponseReturnValue:
    """Show all campaigns of the period."""
    table = campaign_table(desk.reports, desk.look.sent)
    if desk.wants_csv:
        return table_file(desk, table)
    return desk.page("campaigns.html", listed=listed(desk, table, ROWS), senders=table.senders, defined=DEFINITIONS)


def listed(desk: Desk, table: CampaignTable, most: int) -> Listing:
    """Return a page of the table, in the order that is asked for."""
    order, lines = _in_order(table)
    wish = request.args.get("page", "")
    first = min(int(wish), len(lines)) if wish.isascii() and wish.isdigit() and len(wish) < 9 else 0
    rows: list[CampaignRow] = []
    weight = 0
    for line in lines[first : first + most]:
        row = _row(desk, line, table.subjects.get(line.name or "", []))
        weight += len(row.here) + _ADDRESSES * len(row.messages)
        if rows and weight > _HEAVIEST:
            break
        rows.append(row)
    after = first + len(rows)
    return Listing(tuple(rows), order, len(lines), first, str(after) if after < len(lines) else "")


def table_file(desk: Desk, table: CampaignTable) -> ResponseReturnValue:
    """Return all of the table as a file."""
    header, rows = table_of(tuple(_in_order(table)[1]))
    return desk.csv("campaigns", header, rows)


def named(tag: str) -> dict[str, str]:
    """Return the filter of the mail of a campaign."""
    return {"tag": tag} if tag else {"untagged": "1"}


def machines_of(totals: Totals) -> int:
    """Return how many opens and clicks were by machines."""
    return totals.machine_opened.total + totals.machine_clicked.total


def _in_order(table: CampaignTable) -> tuple[str, list[Line]]:
    order = request.args.get("sort", _USUAL_ORDER)
    if order.removeprefix("-") not in _ORDERS:
        order = _USUAL_ORDER
    lines = [line for line in table.grouped.lines if line.totals.tried]
    return order, sorted(lines, key=_ORDERS[order.removeprefix("-")], reverse=order.startswith("-"))


def _row(desk: Desk, line: Line, subjects: list[str]) -> CampaignRow:
    tag, totals = line.name or "", line.totals
    query = urlencode({**desk.look.query(tag=None, untagged=None), **named(tag)})
    linked = desk.linkable(tag)
    return CampaignRow(
        tag,
        min(subjects) if subjects else "",
        len(set(subjects)),
        totals,
        machines_of(totals),
        is_lasting(totals),
        f"{desk.root}campaign?{urlencode({'tag': tag})}" if linked else "",
        f"{desk.root}messages?{query}" if linked else "",
    )


ROUTES = (Route("/campaigns", "campaigns", "view", campaigns),)
