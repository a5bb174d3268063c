"""Who left a list, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.reporting.definitions import DEFINITIONS
from flask_mailtrack.reporting.exports import every
from flask_mailtrack.reporting.mailings import SeriesMail, comparable, series_of, usual_rate
from flask_mailtrack.reporting.selection import Selection

from .desk import Desk
from .preferences import WAYS, WHY
from .route import Route

_MOST_MAILS = 12
_MUCH = 3
"""Times the usual rate: from there on, a mail is marked."""
_HEADER = ("address", "list_id", "reason", "comment", "method", "tag", "at", "message_id")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class LeavingLine:
    """A mail by which people left.

    :param times: how many times the usual rate; ``None``: nothing before it says what is usual.
    """

    mailing: SeriesMail
    times: float | None

    @property
    def much(self) -> bool:
        """Whether far more left than usual."""
        return self.times is not None and self.times >= _MUCH


@dataclass(frozen=True, slots=True)
class ReasonBar:
    """One reason, and how many gave it.

    :param code: the stored word; empty: none was given.
    """

    code: str
    text: str
    number: int
    share: float


def unsubscribes(desk: Desk) -> ResponseReturnValue:
    """Show the reasons, the mails by which people left, and who left."""
    about, reason = desk.look.happened, request.args.get("reason", "")[:32]
    if desk.wants_csv:
        return desk.csv("unsubscribes", _HEADER, _rows(desk, about, reason))
    given = desk.reports.departure_reasons(about)
    page = request.args.get("page", "")
    return desk.page(
        "unsubscribes.html",
        total=sum(given.values()),
        bars=_bars(given),
        mails=_mails(desk),
        found=desk.reports.departures(about, reason=reason, page=page),
        reason=reason,
        page=page,
        reasons=WHY,
        ways=WAYS,
        longest=_LONGEST,
        defined=DEFINITIONS,
    )


def _bars(given: Mapping[str, int]) -> list[ReasonBar]:
    total = sum(given.values()) or 1
    bars = [
        ReasonBar(code, WHY.get(code, code) if code else "No reason given", number, number / total)
        for code, number in given.items()
    ]
    return sorted(bars, key=lambda bar: (-bar.number, bar.text))


def _mails(desk: Desk) -> list[LeavingLine]:
    """Return the mails of the period by which people left, the newest first."""
    about = desk.look.sent
    start = about.start
    if start is None:
        return []
    found = []
    for mails in series_of(desk.reports, about, start).values():
        for place, mail in enumerate(mails):
            if mail.at >= start and mail.totals.unsubscribed.unique:
                usual = usual_rate(comparable(mails[:place]), "unsubscribed")
                rate = mail.totals.unsubscribed.rate
                found.append(LeavingLine(mail, rate / usual if usual and rate is not None else None))
    return sorted(found, key=lambda line: line.mailing.at, reverse=True)[:_MOST_MAILS]


def _rows(desk: Desk, about: Selection, reason: str) -> Iterator[Sequence[Any]]:
    for row in every(partial(desk.reports.departures, about, reason=reason)):
        comment = row.comment if desk.may("addresses") else ""
        address = desk.plain_address(row.address) if row.address else ""
        yield address, row.list_id, row.reason, comment, row.method, desk.text(row.tag), row.at, row.message_id


ROUTES = (Route("/unsubscribes", "unsubscribes", "view", unsubscribes),)
