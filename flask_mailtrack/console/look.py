"""What the address of a page asks for: the period, whose opens and clicks, and the filters.

A value that is not understood narrows nothing, and the page says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from flask_mailtrack.errors import ReportError
from flask_mailtrack.reporting.selection import AUDIENCES, Selection

PERIODS = {"7d": 7, "28d": 28, "90d": 90, "1y": 365}
"""The periods that are offered, in days; the last day is today."""
ACTIVITIES = (
    *("opened", "clicked", "unsubscribed", "delivered", "bounced", "complained", "rejected"),
    *("nothing", "machines", "unmeasured"),
)
FILTERS = ("tag", "untagged", "list", "sender", "subject", "status", "activity")
"""``untagged`` is mail without a tag: an empty field of a form says nothing."""
_LONGEST = 500
_FIELDS = {"tag": "tag", "list": "list_id", "sender": "sender_domain", "subject": "subject", "status": "status"}


@dataclass(frozen=True, slots=True)
class Look:
    """What somebody wants to see.

    :param since: the first day.
    :param until: the last day, which is included.
    :param period: the name of the period; empty: the days were written.
    :param ignored: what was not understood, as ``name=value``.
    """

    zone: tzinfo
    tz: str
    since: date
    until: date
    period: str = "28d"
    who: str = "people"
    filters: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def sent(self) -> Selection:
        """The mail that was sent in the period, and what became of it until now."""
        return self._selection("sent")

    @property
    def happened(self) -> Selection:
        """What happened in the period, with whatever mail."""
        return self._selection("happened")

    @property
    def always(self) -> Selection:
        """The same mail, without a period."""
        return self.sent.narrowed(since=None, until=None)

    @property
    def days(self) -> int:
        """How many days the period has."""
        return (self.until - self.since).days + 1

    def query(self, **changes: str | None) -> dict[str, str]:
        """Return what stands behind the question mark of the same look, but for some changes.

        What is usual is left out, so that one look has one address.
        """
        said = {"period": self.period} if self.period else {"from": str(self.since), "to": str(self.until)}
        said |= {"who": self.who} | dict(self.filters)
        if changes.keys() & {"period", "from", "to"}:
            for name in ("period", "from", "to"):
                said.pop(name, None)
        merged = {**said, **changes}
        usual = {"period": "28d", "who": "people"}
        return {name: value for name, value in merged.items() if value and usual.get(name) != value}

    def chips(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield each filter in force: its name, its value, and the look without it."""
        for name, value in self.filters.items():
            yield name, "no tag" if name == "untagged" else value, self.query(**{name: None})

    def _selection(self, basis: str) -> Selection:
        narrowed: dict[str, Any] = {_FIELDS[name]: value for name, value in self.filters.items() if name in _FIELDS}
        if "untagged" in self.filters:
            narrowed["tag"] = ""
        after = self.until + timedelta(days=1)
        return Selection(since=self.since, until=after, basis=basis, audience=self.who, tz=self.tz, **narrowed)


def look_of(args: Mapping[str, str], zone: tzinfo, tz: str, now: datetime) -> Look:
    """Return what a page is asked for.

    :param args: what stands behind the question mark; the last of several values counts for nothing.
    :param zone: in which days begin.
    """
    ignored: list[str] = []
    today = now.astimezone(zone).date()
    period, since, until = _period(args, today, ignored)
    who = args.get("who", "people")
    if who not in AUDIENCES:
        ignored.append(_told("who", who))
        who = "people"
    filters = {}
    for name in FILTERS:
        if value := args.get(name, "").strip() if name != "tag" else args.get(name, ""):
            if _fits(name, value, tz):
                filters[name] = value
            else:
                ignored.append(_told(name, value))
    return Look(zone, tz, since, until, period, who, filters, tuple(ignored))


def _period(args: Mapping[str, str], today: date, ignored: list[str]) -> tuple[str, date, date]:
    written = {name: args.get(name, "") for name in ("from", "to")}
    if any(written.values()):
        try:
            until = date.fromisoformat(written["to"]) if written["to"] else today
            since = date.fromisoformat(written["from"]) if written["from"] else until - timedelta(days=27)
            if date(1990, 1, 1) <= since <= until <= date(2999, 12, 31):
                return "", since, until
        except (ValueError, OverflowError):
            pass
        ignored += [_told(name, value) for name, value in written.items() if value]
    period = args.get("period", "28d")
    if period not in PERIODS:
        ignored.append(_told("period", period))
        period = "28d"
    return period, today - timedelta(days=PERIODS[period] - 1), today


def _fits(name: str, value: str, tz: str) -> bool:
    if len(value) > _LONGEST:
        return False
    if name == "activity":
        return value in ACTIVITIES
    if name not in _FIELDS:
        return True
    asked: dict[str, Any] = {_FIELDS[name]: value}
    try:
        Selection(tz=tz, **asked)
    except ReportError:
        return False
    return True


def _told(name: str, value: str) -> str:
    return f"{name}={value[:40]}"
