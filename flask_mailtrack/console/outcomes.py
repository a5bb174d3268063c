"""What became of a message, in the words of one cell: what people did, or why nothing can show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask_mailtrack.events import Status
from flask_mailtrack.modes import Mode
from flask_mailtrack.reporting.timeline import MessageLine

STATUSES = {
    "sent": "Sent",
    "failed": "Refused",
    "suppressed": "Held back",
    "unknown": "Unknown",
    "sending": "Sending",
}
ACTIVITIES = {
    "opened": "Opened",
    "clicked": "Clicked",
    "unsubscribed": "Unsubscribed",
    "delivered": "Delivered",
    "bounced": "Came back",
    "complained": "Called spam",
    "rejected": "Not sent on",
    "nothing": "Nothing yet",
    "machines": "Machines only",
    "unmeasured": "Not measured",
}
_TIMES = (("Opened", "Opened %(number)s×"), ("Clicked", "Clicked %(number)s×"))
_PILLS = {
    Status.FAILED: ("bad", "✕"),
    Status.SUPPRESSED: ("warn", "‖"),
    Status.UNKNOWN: ("warn", "?"),
    Status.SENDING: ("", "…"),
}


_TOLD = (("bounced", "pill bad", "↩"), ("rejected", "pill bad", "✕"), ("complained", "pill bad", "!"))


@dataclass(frozen=True, slots=True)
class Mark:
    """One badge, or one remark.

    :param style: classes of the style sheet.
    :param text: in English, with places for *values*.
    :param sign: before the text; a screen reader leaves the sign out.
    """

    style: str
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)
    sign: str = ""


def outcome(row: MessageLine, declined: Mapping[str, datetime]) -> list[Mark]:
    """Return what became of a message.

    :param declined: the people who do not want to be measured, with the time.
    """
    marks = []
    if row.status in _PILLS:
        style, sign = _PILLS[Status(row.status)]
        marks.append(Mark(f"pill {style}", STATUSES[row.status], sign=sign))
    if row.status == Status.SUPPRESSED:
        return [*marks, Mark("soft", "Had unsubscribed, or is suppressed")]
    if row.status == Status.FAILED:
        return [*marks, Mark("soft", "%(answer)s", {"answer": row.error[:80]})] if row.error else marks
    marks += [Mark(style, ACTIVITIES[name], sign=sign) for name, style, sign in _TOLD if getattr(row, f"{name}_at")]
    done = list(_done(row))
    if not done and (row.bounced_at or row.rejected_at):
        return marks
    return marks + (done or [_why_nothing(row, declined)])


def unmeasured(rows: Iterable[MessageLine]) -> Collection[str]:
    """Return the people who got a message in which nothing is measured."""
    return {row.recipient for row in rows if row.recipient and not (row.tracks_opens or row.tracks_clicks)}


def _done(row: MessageLine) -> Iterable[Mark]:
    for (once, often), number in zip(_TIMES, (row.open_count, row.click_count), strict=True):
        if number:
            yield Mark("b pill p", often if number > 1 else once, {"number": number})
    if row.unsubscribed_at is not None:
        yield Mark("pill warn", "Unsubscribed")


def _why_nothing(row: MessageLine, declined: Mapping[str, datetime]) -> Mark:
    if row.mode == Mode.AGGREGATE:
        return Mark("soft", "Kept as totals only")
    if row.mode == Mode.DELIVERABILITY:
        return Mark("soft", "Not measured: only the last day seen is kept")
    if row.tracks_opens or row.tracks_clicks:
        blind = "Nothing yet, and opens cannot show" if row.tracks_clicks else "Nothing yet, and clicks cannot show"
        return Mark("", "Nothing yet" if row.tracks_opens and row.tracks_clicks else blind)
    since = declined.get(row.recipient)
    if since is not None and since <= row.created_at:
        return Mark("soft", "Not measured: declined", sign="⊘")
    return Mark("soft", "Not measured: switched off, or text only", sign="⊘")
