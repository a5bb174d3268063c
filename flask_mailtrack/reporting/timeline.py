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
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.phrases import NOTHING, Phrase
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
    delivered_at: datetime | None
    bounced_at: datetime | None
    complained_at: datetime | None
    rejected_at: datetime | None


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
    text: Phrase
    """What happened, and who did it, as a sentence in English, which a page can say in other languages."""
    why: Phrase
    """What the verdict rests on, as a sentence."""
    verdict: str
    reasons: tuple[str, ...]
    corrected: Phrase
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
    notes: tuple[Phrase, ...]
    """Why something did not happen, or cannot show."""


_WHY = {
    OWN_NETWORK: Phrase("The request came from a network of your own (MAILTRACK_OWN_NETWORKS)."),
    "method_head": Phrase("Only link checkers ask with HEAD."),
    "header_sec_purpose": Phrase("The browser said that it loads the page ahead of its person."),
    "header_purpose": Phrase("The browser said that it loads the page ahead of its person."),
    "header_x_purpose": Phrase("The browser said that it shows a preview."),
    "header_x_moz": Phrase("The browser said that it loads the page ahead of its person."),
    "ua_missing": Phrase("The request did not say which program it came from."),
    "ua_gmail_prefetch": Phrase("Gmail fetched the picture before anybody looked."),
    "network_scanner": Phrase("The network does nothing but filter mail."),
    "ua_security_scanner": Phrase("The program is a security filter, by its own name."),
    "proxy_on_click": Phrase("An image proxy followed a link, which it does for nobody who reads."),
    "timing_instant": Phrase(
        "It came so soon after the mail that nobody can have read it. What comes later is judged anew."
    ),
    "ua_image_proxy": Phrase("A mail provider fetched the picture for a person who looked at the mail."),
    "ua_apple_mpp": Phrase("Apple's privacy proxy fetches every picture, whether or not somebody reads."),
    "ua_bare_mozilla": Phrase("The program called itself Mozilla/5.0 and nothing more."),
    "ua_link_preview": Phrase("The program makes previews of links, by its own name."),
    "ua_headless": Phrase("The browser had no window."),
    "ua_cdn_masked": Phrase("A network stood between that hides which program it was."),
    "ua_http_library": Phrase("The program was a library, not a browser."),
    "ua_generic_bot": Phrase("The program called itself a robot."),
    "ua_listed_crawler": Phrase("The program is on a list of known crawlers."),
    "ua_native_http": Phrase("It was an app of which nobody can say whether a person used it."),
    "ua_unknown": Phrase("The program is not known."),
    "ip_apple_egress": Phrase("The request came from Apple's privacy proxies, which fetch every picture."),
    "ua_mail_client": Phrase("It was a mail client."),
    "ua_browser": Phrase("It was a browser, and nothing spoke against a person."),
    "verdicts_off": Phrase("Verdicts are switched off (MAILTRACK_VERDICTS)."),
    "honeypot": Phrase("The hidden link of the mail was followed at nearly the same time."),
    "sweep": Phrase("Nearly all links of the mail were followed within seconds."),
    "burst": Phrase(
        "Two links were followed within seconds, from one address, as mail filters do. Whoever is as quick is "
        "taken for one, and the next click that takes its time counts as a person's."
    ),
    "shadow": Phrase("A person had just followed the link, from another address and system."),
}
_SIGNS = {
    "timing_window": Phrase("soon after the mail"),
    "network_probable": Phrase("a network that filters mail"),
    "ua_stale_browser": Phrase("an outdated browser"),
    "ua_malformed_version": Phrase("a version that no browser has"),
    "header_no_accept_language": Phrase("no language of the reader's"),
}
_CHOICES = {
    EventType.UNSUBSCRIBED: (Phrase("Unsubscribed"), Phrase("Unsubscribed.")),
    EventType.SUBSCRIBED: (Phrase("Subscribed again"), Phrase("Subscribed again.")),
    EventType.DECLINED: (Phrase("Declined measuring"), Phrase("Declined measuring.")),
    EventType.ACCEPTED: (Phrase("Accepted measuring"), Phrase("Accepted measuring.")),
}
"""What a person chose: before a colon, and as a sentence."""
_TOLD = {
    EventType.DELIVERED: Phrase("Delivered"),
    EventType.DEFERRED: Phrase("Put off by the server of the recipient"),
    EventType.BOUNCED: Phrase("Came back"),
    EventType.COMPLAINED: Phrase("Called spam by the recipient"),
    EventType.REJECTED: Phrase("Not sent on by the service"),
}
"""What servers told."""
_BOUNCES = {HARD: Phrase("Came back for good"), SOFT: Phrase("Came back for now")}
_HITS = (EventType.OPENED, EventType.CLICKED, EventType.TRAPPED)
_MACHINES = {
    Verdict.PROXY: Phrase("a privacy proxy"),
    Verdict.PREFETCH: Phrase("a program that loads ahead"),
    Verdict.SCANNER: Phrase("a mail filter"),
    Verdict.BOT: Phrase("a robot"),
}


def because(reasons: Sequence[str]) -> Phrase:
    """Return the sentence that explains a verdict; a rule of an older version is named."""
    first = reasons[0] if reasons else ""
    if first.startswith("weak:"):
        signs = [_SIGNS.get(sign, sign) for sign in first.removeprefix("weak:").split("+")]
        return Phrase("Signs of a machine came together: %(signs)s.", signs=signs)
    known = _WHY.get(first, NOTHING)
    return known if known or not first else Phrase("Rule %(name)s.", name=first)


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
    said = NOTHING
    if first:
        said = Phrase("First taken for %(who)s.", who=_who(first, row["provider"]))
        if why := because(row["first_verdict_reasons"] or ()):
            said = Phrase("%(what)s %(why)s", what=said, why=why)
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
        corrected=said,
        **{name: row[name] for name in shown},
    )


def by_whom(row: Mapping[str, Any]) -> str:
    """Return ``people``, ``machine`` or ``unknown``.

    :param row: an event, by the names of its columns.
    """
    if row["type"] in _TOLD:
        return "machine"
    # A choice is always somebody's, also where a mail provider makes it for them.
    person = row["type"] not in _HITS or by_a_person(row["verdict"], row["provider"])
    return "people" if person else "unknown" if row["verdict"] == Verdict.UNKNOWN else "machine"


def sentence_of(row: Mapping[str, Any]) -> Phrase:
    """Return what happened, and who did it, as a sentence.

    :param row: an event, by the names of its columns.
    """
    if row["type"] in _TOLD:
        return _told(row)
    if row["type"] not in _HITS:
        return _chosen(row)
    who = _who(row["verdict"], row["provider"])
    client, system = row["client"], row["os"]
    if client and system:
        who = Phrase("%(who)s, with %(program)s on %(system)s", who=who, program=client, system=system)
    elif client or system:
        who = Phrase("%(who)s, with %(program)s", who=who, program=client or system)
    if row["type"] == EventType.CLICKED:
        return Phrase("Clicked %(link)s by %(who)s.", link=row["link_name"] or row["url"], who=who)
    if row["type"] == EventType.OPENED:
        return Phrase("Opened by %(who)s.", who=who)
    return Phrase("Followed the hidden link by %(who)s.", who=who)


def _told(row: Mapping[str, Any]) -> Phrase:
    """Return the sentence about what a server or a service has told."""
    what = _BOUNCES.get(row["reason"]) if row["type"] == EventType.BOUNCED else None
    what = what or _TOLD[row["type"]]
    if row["comment"]:
        return Phrase("%(what)s: “%(answer)s”", what=what, answer=row["comment"])
    return Phrase("%(what)s.", what=what)


def _chosen(row: Mapping[str, Any]) -> Phrase:
    """Return the sentence about a choice of a person."""
    what, alone = _CHOICES.get(row["type"], (Phrase("%(name)s", name=str(row["type"]).capitalize()), NOTHING))
    if row["type"] == EventType.UNSUBSCRIBED and row["list_id"]:
        what, alone = Phrase("Unsubscribed from %(list)s", list=row["list_id"]), NOTHING
    if row["reason"]:
        known = REASONS.get(row["reason"])
        reason = Phrase.of(known) if known else row["reason"]
        return Phrase("%(what)s: %(reason)s.", what=what, reason=reason)
    return alone or Phrase("%(what)s.", what=what)


def _who(verdict: str, provider: str) -> Phrase:
    if by_a_person(verdict, provider):
        return Phrase("a person")
    if verdict == Verdict.UNKNOWN:
        return Phrase("somebody, or a machine: nobody can say")
    machine = Phrase("a machine")
    kind = _MACHINES.get(Verdict(verdict), machine) if verdict in list(Verdict) else machine
    return Phrase("%(kind)s of %(provider)s", kind=kind, provider=provider) if provider else kind


_SETTLING = timedelta(minutes=15)
"""Clicks that tell of another come within a minute; by then, journals of other machines have been drained, too."""
_SOON = timedelta(minutes=10)
"""After the mail: for so long, somebody may have waited for it."""


def _may_change(events: Sequence[TimelineEvent], moment: datetime) -> bool:
    """Say whether a later click may still correct the verdict of one that is here."""
    clicks = (each for each in events if each.type == EventType.CLICKED and each.by != "machine")
    return any(moment - each.at < _SETTLING for each in clicks)


def _in_a_hurry(events: Sequence[TimelineEvent]) -> Phrase:
    """Return the sentence about two quick clicks of one visitor soon after the mail; empty: there are none.

    A machine of this rule follows more links than two, as a rule; a newcomer who has waited for the mail does not.
    """
    quick = [each for each in events if each.type == EventType.CLICKED and each.reasons[:1] == ("burst",)]
    if len({(each.url, each.link_name) for each in quick}) != 2 or quick[-1].after > _SOON:
        return NOTHING
    if len({(each.ip, each.user_agent) for each in quick}) > 1:
        return NOTHING
    apart, after = (int(each.total_seconds()) for each in (quick[-1].at - quick[0].at, quick[0].after))
    return Phrase(
        "Two links were followed within %(apart)s, %(after)s after the mail. Mail filters do that, and so may a "
        "person in a hurry. Nobody can tell the two apart by that alone, so both clicks count as a machine's.",
        apart=_seconds(apart or 1),
        after=_seconds(after),
    )


def _seconds(number: int) -> Phrase:
    return Phrase.counted(number, "%(number)s second", "%(number)s seconds")


_FATES = {
    Status.SUPPRESSED: Phrase("Held back: the person had unsubscribed."),
    Status.UNKNOWN: Phrase("The connection was lost after the content had been sent, so the mail may have arrived."),
    Status.SENDING: Phrase("The mail was handed to the server, which has not answered yet, or the process has died."),
}


def _notes(database: Database, message: MessageLine, events: Sequence[TimelineEvent]) -> list[Phrase]:
    """Return why something did not happen, or cannot show."""
    notes = [_FATES[Status(message.status)]] if message.status in _FATES else []
    if message.status == Status.FAILED:
        refusal = message.error or Phrase("the server refused it")
        notes.append(Phrase("Not sent: %(error)s.", error=refusal))
    elif message.error:
        notes.append(Phrase("The server or the preparation said: %(error)s.", error=message.error))
    if message.status in (Status.FAILED, Status.SUPPRESSED):
        return notes
    if not message.recipient and message.status != Status.COUNTER:
        notes.append(Phrase("The person is forgotten, and what happens from now on is not kept."))
    if message.mode == Mode.AGGREGATE and message.status != Status.COUNTER:
        return [*notes, Phrase("Opens and clicks are kept of all copies together (aggregate mode).")]
    if message.mode == Mode.DELIVERABILITY:
        return [*notes, Phrase("Only the last day on which somebody was seen is kept (deliverability mode).")]
    declined = _declined(database, message.recipient)
    if declined is not None:
        text = Phrase("The person has declined measuring on %(day)s: nothing is kept since.", day=declined)
        notes.append(text)
    if not message.tracks_opens:
        notes.append(Phrase("No opens can show: the mail has no pixel."))
    if not message.tracks_clicks:
        notes.append(Phrase("No clicks can show: the mail has no tracked links."))
    if message.shared:
        notes.append(Phrase("Several people got this copy, so nobody can say who of them it was."))
    if hurry := _in_a_hurry(events):
        notes.append(hurry)
    if _may_change(events, now()):
        notes.append(Phrase("For 15 minutes, a click can still become a machine's: later clicks may tell."))
    if not events and (message.tracks_opens or message.tracks_clicks):
        notes.append(Phrase("Nothing has happened yet."))
    return notes


def _declined(database: Database, recipient: str) -> datetime | None:
    optout = database.optout.c
    mine = (optout.recipient == recipient, optout.kind == OptOutKind.TRACKING)
    found = database.rows(select(optout.created_at).where(*mine).limit(1)) if recipient else []
    return found[0][0] if found else None
