"""The timeline of a message: what happened, to whom it is owed, and how that is known, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import select

from flask_mailtrack.events import now
from flask_mailtrack.models import by_people

from .models import db, mailtrack

VERBS = {
    "opened": "Opened",
    "clicked": "Clicked",
    "unsubscribed": "Unsubscribed",
    "subscribed": "Subscribed again",
    "declined": "Asked not to be measured",
    "accepted": "Allowed measuring again",
}
METHODS = {
    "one_click": "with the mail program's own button (one-click, RFC 8058)",
    "post": "with the mail program's own button",
    "page": "on the unsubscribe page",
    "preferences": "on the preferences page",
}
MACHINES = {
    "ua_apple_mpp": "Apple Mail privacy proxy, which loads every image, read or not",
    "ua_security_scanner": "a security gateway, which opens links before people do",
    "ua_image_proxy": "an image proxy that loads when its user looks",
    "ua_gmail_prefetch": "Gmail, loading ahead",
    "ua_bare_mozilla": "a program that says nothing about itself",
    "ua_headless": "a browser without a screen",
    "ua_link_preview": "a chat program, for a preview",
    "ua_http_library": "a script",
    "ua_generic_bot": "a crawler",
    "ua_missing": "a program that does not say what it is",
    "method_head": "a link checker",
    "proxy_on_click": "an image proxy that follows links",
    "network_scanner": "from the network of a mail filter",
    "ip_apple_egress": "Apple Mail privacy proxy, by its address",
    "burst": "two links at once, faster than anybody reads",
    "sweep": "nearly all links at once",
    "shadow": "a filter that looks again at what a person clicked",
    "honeypot": "a program that follows links which nobody sees",
    "timing_instant": "sooner after sending than anybody can react",
}
SENT = {
    "sending": ("Handed to the mail server", "no answer yet"),
    "sent": ("Sent", "no mail server is set, so it stayed on this machine"),
    "failed": ("Refused", ""),
    "unknown": ("Perhaps sent", "the connection was lost after the content had gone"),
    "suppressed": ("Not sent", "the recipient has unsubscribed, so no mail left"),
}


@dataclass(frozen=True)
class Line:
    """One line of a timeline."""

    id: str
    at: datetime
    who: str
    """``person``, ``machine`` or ``us``: a shape as well as a colour."""
    verb: str
    evidence: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the sentence was read from, by name."""


def timeline(message: Any) -> list[Line]:
    """Return all that is known of a message row, oldest first."""
    event = mailtrack.models.Event
    query = select(event, by_people(event)).where(event.message_id == message.id)
    found = db.session.execute(query.order_by(event.occurred_at, event.id))
    verb, evidence = SENT[message.status]
    if message.status == "sent" and not current_app.config["MAIL_SUPPRESS_SEND"]:
        evidence = "the mail server took it"
    first = Line("sent", message.sent_at or message.created_at, "us", verb, message.error or evidence)
    return [first, *(_line(row, bool(person)) for row, person in found)]


def _line(event: Any, person: bool) -> Line:
    facts = {
        "Verdict": event.verdict,
        "Reasons": ", ".join(event.verdict_reasons),
        "Provider": event.provider,
        "Link": event.url,
        "Name of the link": event.link_name,
        "User agent": event.user_agent,
        "Address, truncated": event.ip,
        "Reason given": event.reason.replace("_", " "),
        "Comment": event.comment,
    }
    verb, who = VERBS.get(event.type, event.type), "person"
    if event.type in ("opened", "clicked"):
        who = "person" if person else "machine"
        verb += f" by a {who}" if person or event.verdict != "unknown" else ", by whom cannot be told"
    evidence = METHODS.get(event.method) or _machine(event) or _program(event)
    return Line(str(event.id), event.occurred_at, who, verb, evidence, {k: v for k, v in facts.items() if v})


def _machine(event: Any) -> str:
    known = next((MACHINES[reason] for reason in event.verdict_reasons if reason in MACHINES), "")
    if known and event.provider not in ("", "apple"):
        known = f"{known} ({event.provider.title()})"
    return known


def _program(event: Any) -> str:
    where = f"on {event.os}" if event.os else ""
    return " ".join(filter(None, (event.client, where))) or "a browser"


def percent(rate: float | None) -> str:
    """Return a rate for people; with one digit more where it would be nought."""
    if rate is None:
        return "–"
    return f"{100 * rate:.1f} %" if 0 < rate < 0.1 else f"{100 * rate:.0f} %"


def span(delta: timedelta) -> str:
    """Return a length of time, roughly: ``4 s``, ``2 h``."""
    seconds = max(delta.total_seconds(), 0)
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {name}"
    return f"{seconds:.0f} s"


def utc(moment: datetime) -> datetime:
    """Return a moment that SQLite gave without its zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def list_title(list_id: str) -> str:
    """Return what people call a list."""
    return str(current_app.config["MAILTRACK_LISTS"].get(list_id, {}).get("title", list_id))


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "list_title": list_title,
    "ago": lambda moment: f"{span(now() - utc(moment))} ago",
    "after": lambda moment, start: f"+ {span(utc(moment) - utc(start))}",
    "iso": lambda moment: utc(moment).isoformat(timespec="seconds"),
    "clock": lambda moment: f"{utc(moment):%d %b %Y, %H:%M:%S} UTC",
    "count": lambda number: f"{number:,}".replace(",", "\u202f"),
}
