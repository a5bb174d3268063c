"""What happened to one message, and why nothing did, in sentences."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from flask_mailtrack.audience import by_a_person
from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import OWN_NETWORK, REASONS, EventType, OptOutKind, Status, Verdict, now
from flask_mailtrack.modes import Mode
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import messages_inside


@dataclass(frozen=True, slots=True)
class MessageLine:
    """A message, as lists show it."""

    id: uuid.UUID
    recipient: str
    sender: str
    subject: str
    tag: str
    list_id: str
    status: str
    error: str
    created_at: datetime
    sent_at: datetime | None
    tracks_opens: bool
    tracks_clicks: bool
    shared: bool
    mode: str | None
    opened_at: datetime | None
    clicked_at: datetime | None
    unsubscribed_at: datetime | None
    open_count: int
    click_count: int
    machine_count: int


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One thing that happened, with how it is known."""

    id: uuid.UUID
    at: datetime
    after: timedelta
    """Since the mail was made."""
    type: str
    by: str
    """``people``, ``machine`` or ``unknown``."""
    text: str
    """What happened, and who did it, as a sentence."""
    why: str
    """What the verdict rests on, as a sentence."""
    verdict: str
    reasons: tuple[str, ...]
    corrected: str
    """What the verdict was at first, as a sentence, if something later has corrected it; else empty."""
    url: str
    link_name: str
    client: str
    os: str
    device: str
    country: str
    ip: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened to one message, in order of time."""

    message: MessageLine
    events: tuple[TimelineEvent, ...]
    notes: tuple[str, ...]
    """Why something did not happen, or cannot show."""


_WHY = {
    OWN_NETWORK: "The request came from a network of your own (MAILTRACK_OWN_NETWORKS).",
    "method_head": "Only link checkers ask with HEAD.",
    "header_sec_purpose": "The browser said that it loads the page ahead of its person.",
    "header_purpose": "The browser said that it loads the page ahead of its person.",
    "header_x_purpose": "The browser said that it shows a preview.",
    "header_x_moz": "The browser said that it loads the page ahead of its person.",
    "ua_missing": "The request did not say which program it came from.",
    "ua_gmail_prefetch": "Gmail fetched the picture before anybody looked.",
    "network_scanner": "The network does nothing but filter mail.",
    "ua_security_scanner": "The program is a security filter, by its own name.",
    "proxy_on_click": "An image proxy followed a link, which it does for nobody who reads.",
    "timing_instant": "It came so soon after the mail that nobody can have read it. What comes later is judged anew.",
    "ua_image_proxy": "A mail provider fetched the picture for a person who looked at the mail.",
    "ua_apple_mpp": "Apple's privacy proxy fetches every picture, whether or not somebody reads.",
    "ua_bare_mozilla": "The program called itself Mozilla/5.0 and nothing more.",
    "ua_link_preview": "The program makes previews of links, by its own name.",
    "ua_headless": "The browser had no window.",
    "ua_cdn_masked": "A network stood between that hides which program it was.",
    "ua_http_library": "The program was a library, not a browser.",
    "ua_generic_bot": "The program called itself a robot.",
    "ua_listed_crawler": "The program is on a list of known crawlers.",
    "ua_native_http": "It was an app of which nobody can say whether a person used it.",
    "ua_unknown": "The program is not known.",
    "ip_apple_egress": "The request came from Apple's privacy proxies, which fetch every picture.",
    "ua_mail_client": "It was a mail client.",
    "ua_browser": "It was a browser, and nothing spoke against a person.",
    "verdicts_off": "Verdicts are switched off (MAILTRACK_VERDICTS).",
    "honeypot": "The hidden link of the mail was followed at nearly the same time.",
    "sweep": "Nearly all links of the mail were followed within seconds.",
    "burst": "Two links were followed within seconds, from one address, as mail filters do. Whoever is as quick is "
    "taken for one, and the next click that takes its time counts as a person's.",
    "shadow": "A person had just followed the link, from another address and system.",
}
_SIGNS = {
    "timing_window": "soon after the mail",
    "network_probable": "a network that filters mail",
    "ua_stale_browser": "an outdated browser",
    "ua_malformed_version": "a version that no browser has",
    "header_no_accept_language": "no language of the reader's",
}
_VERBS = {
    EventType.OPENED: "Opened",
    EventType.CLICKED: "Clicked",
    EventType.UNSUBSCRIBED: "Unsubscribed",
    EventType.SUBSCRIBED: "Subscribed again",
    EventType.DECLINED: "Declined measuring",
    EventType.ACCEPTED: "Accepted measuring",
    EventType.TRAPPED: "Followed the hidden link",
}
_HITS = (EventType.OPENED, EventType.CLICKED, EventType.TRAPPED)
_MACHINES = {
    Verdict.PROXY: "a privacy proxy",
    Verdict.PREFETCH: "a program that loads ahead",
    Verdict.SCANNER: "a mail filter",
    Verdict.BOT: "a robot",
}


def because(reasons: Sequence[str]) -> str:
    """Return the sentence that explains a verdict; one of an older version stands as it is."""
    first = reasons[0] if reasons else ""
    if first.startswith("weak:"):
        signs = [_SIGNS.get(sign, sign) for sign in first.removeprefix("weak:").split("+")]
        return f"Signs of a machine came together: {', '.join(signs)}."
    return _WHY.get(first, first and f"Rule {first}.")


def timeline_of(database: Database, key: uuid.UUID, within: Scope | None = None) -> Timeline:
    """Return what happened to a message.

    :raises ReportError: there is no row of it inside the scope.
    """
    inside = select(database.message.c.id).where(
        database.message.c.id == key, *messages_inside(database.message, within)
    )
    about = database.message_about(key) if database.rows(inside) else {}
    if not about:
        raise ReportError(f"There is no message {key}, or its row is purged.")
    message = MessageLine(**{name: about[name] for name in MessageLine.__dataclass_fields__})
    event = database.event
    names = [column.name for column in event.columns]
    query = select(*event.columns).where(event.c.message_id == key).order_by(event.c.occurred_at, event.c.id)
    rows = [dict(zip(names, row, strict=True)) for row in database.rows(query)]
    events = tuple(_event(row, message.created_at) for row in rows)
    return Timeline(message, events, tuple(_notes(database, message, events)))


def _event(row: dict[str, Any], since: datetime) -> TimelineEvent:
    reasons = tuple(row["verdict_reasons"] or ())
    first = row["first_verdict"] or ""
    said = (
        f"First taken for {_who(first, row['provider'])}. {because(row['first_verdict_reasons'] or ())}"
        if first
        else ""
    )
    shown = ("url", "link_name", "client", "os", "device", "country", "ip", "user_agent")
    return TimelineEvent(
        id=row["id"],
        at=row["occurred_at"],
        after=row["occurred_at"] - since,
        type=row["type"],
        by=by_whom(row),
        text=sentence_of(row),
        why=because(reasons),
        verdict=row["verdict"],
        reasons=reasons,
        corrected=said.strip(),
        **{name: row[name] for name in shown},
    )


def by_whom(row: Mapping[str, Any]) -> str:
    """Return ``people``, ``machine`` or ``unknown``.

    :param row: an event, by the names of its columns.
    """
    # A choice is always somebody's, also where a mail provider makes it for them.
    person = row["type"] not in _HITS or by_a_person(row["verdict"], row["provider"])
    return "people" if person else "unknown" if row["verdict"] == Verdict.UNKNOWN else "machine"


def sentence_of(row: Mapping[str, Any]) -> str:
    """Return what happened, and who did it, as a sentence.

    :param row: an event, by the names of its columns.
    """
    verb = _VERBS.get(row["type"], str(row["type"]).capitalize())
    if row["type"] not in _HITS:
        list_ = f" from {row['list_id']}" if row["type"] == EventType.UNSUBSCRIBED and row["list_id"] else ""
        reason = f": {REASONS.get(row['reason'], row['reason'])}" if row["reason"] else ""
        return f"{verb}{list_}{reason}."
    program = " on ".join(filter(None, (row["client"], row["os"])))
    link = f" {row['link_name'] or row['url']}" if row["type"] == EventType.CLICKED else ""
    return f"{verb}{link} by {_who(row['verdict'], row['provider'])}{f', with {program}' if program else ''}."


def _who(verdict: str, provider: str) -> str:
    if by_a_person(verdict, provider):
        return "a person"
    if verdict == Verdict.UNKNOWN:
        return "somebody, or a machine: nobody can say"
    kind = _MACHINES.get(Verdict(verdict), "a machine") if verdict in list(Verdict) else "a machine"
    return f"{kind} of {provider}" if provider else kind


_SETTLING = timedelta(minutes=15)
"""Clicks that tell of another come within a minute; by then, journals of other machines have been drained, too."""
_SOON = timedelta(minutes=10)
"""After the mail: for so long, somebody may have waited for it."""


def _may_change(events: Sequence[TimelineEvent], moment: datetime) -> bool:
    """Say whether a later click may still correct the verdict of one that is here."""
    clicks = (each for each in events if each.type == EventType.CLICKED and each.by != "machine")
    return any(moment - each.at < _SETTLING for each in clicks)


def _in_a_hurry(events: Sequence[TimelineEvent]) -> str:
    """Return the sentence about two quick clicks of one visitor soon after the mail; empty: there are none.

    A machine of this rule follows more links than two, as a rule; a newcomer who has waited for the mail does not.
    """
    quick = [each for each in events if each.type == EventType.CLICKED and each.reasons[:1] == ("burst",)]
    if len({(each.url, each.link_name) for each in quick}) != 2 or quick[-1].after > _SOON:
        return ""
    if len({(each.ip, each.user_agent) for each in quick}) > 1:
        return ""
    apart, after = (int(each.total_seconds()) for each in (quick[-1].at - quick[0].at, quick[0].after))
    seconds = f"{apart} second{'' if apart == 1 else 's'}" if apart else "one second"
    return (
        f"Two links were followed within {seconds}, {after} seconds after the mail. Mail filters do that, and so may "
        "a person in a hurry. Nobody can tell the two apart by that alone, so both clicks count as a machine's."
    )


_FATES = {
    Status.SUPPRESSED: "Held back: the person had unsubscribed.",
    Status.UNKNOWN: "The connection was lost after the content had been sent, so the mail may have arrived.",
    Status.SENDING: "The mail was handed to the server, which has not answered yet, or the process has died.",
}


def _notes(database: Database, message: MessageLine, events: Sequence[TimelineEvent]) -> list[str]:
    """Return why something did not happen, or cannot show."""
    notes = [_FATES[Status(message.status)]] if message.status in _FATES else []
    if message.status == Status.FAILED:
        notes.append(f"Not sent: {message.error or 'the server refused it'}.")
    elif message.error:
        notes.append(f"The server or the preparation said: {message.error}.")
    if message.status in (Status.FAILED, Status.SUPPRESSED):
        return notes
    if not message.recipient and message.status != Status.COUNTER:
        notes.append("The person is forgotten, and what happens from now on is not kept.")
    if message.mode == Mode.AGGREGATE and message.status != Status.COUNTER:
        return [*notes, "Opens and clicks are kept of all copies together (aggregate mode)."]
    if message.mode == Mode.DELIVERABILITY:
        return [*notes, "Only the last day on which somebody was seen is kept (deliverability mode)."]
    declined = _declined(database, message.recipient)
    if declined is not None:
        notes.append(f"The person has declined measuring on {declined:%Y-%m-%d}: nothing is kept since.")
    if not message.tracks_opens:
        notes.append("No opens can show: the mail has no pixel.")
    if not message.tracks_clicks:
        notes.append("No clicks can show: the mail has no tracked links.")
    if message.shared:
        notes.append("Several people got this copy, so nobody can say who of them it was.")
    if hurry := _in_a_hurry(events):
        notes.append(hurry)
    if _may_change(events, now()):
        notes.append("For 15 minutes, a click can still become a machine's: later clicks may tell.")
    if not events and (message.tracks_opens or message.tracks_clicks):
        notes.append("Nothing has happened yet.")
    return notes


def _declined(database: Database, recipient: str) -> datetime | None:
    optout = database.optout.c
    mine = (optout.recipient == recipient, optout.kind == OptOutKind.TRACKING)
    found = database.rows(select(optout.created_at).where(*mine).limit(1)) if recipient else []
    return found[0][0] if found else None
