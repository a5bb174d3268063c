"""The vocabulary: the named tuples that the rooms pass to each other, and their words.

The names of events are those of django-anymail, because most tools for e-mail events know them.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from .modes import Mode

__all__ = [
    "DomainChange",
    "EventType",
    "Hit",
    "OptOutKind",
    "SentCopy",
    "SentMessage",
    "SettingChange",
    "Status",
    "Suppression",
    "Verdict",
]


class Kind(StrEnum):
    """The purpose of a link. It is among the signed bytes of the token."""

    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"
    HONEYPOT = "honeypot"
    ONLINE = "online"
    COPY = "copy"  # no link: it names a copy to the service that relays the mail


PATHS = {
    Kind.OPEN: "o",
    Kind.CLICK: "c",
    Kind.UNSUBSCRIBE: "u",
    Kind.PREFERENCES: "p",
    Kind.HONEYPOT: "h",
    Kind.ONLINE: "v",
}
"""The first path segment behind the prefix. Old mails hold these segments, so they never change."""

APP_PATH = "a"
"""The first path segment of a click that a phone may answer with an app."""

NOTICE = "flask_mailtrack.notice"
"""Key of a WSGI environ. The caller puts a list there, and the front door of an app adds its app to the list."""

DOMAIN_PATH = "d"
"""Two paths: one proves that a tracking domain reaches this app, the other tells a web server which hosts to serve."""


class EventType(StrEnum):
    """What happened, in anymail's past tense."""

    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    SUBSCRIBED = "subscribed"
    DECLINED = "declined"
    """A person does not want opens and clicks recorded (anymail has no word for this)."""
    ACCEPTED = "accepted"
    """A person allows opens and clicks to be recorded again."""
    TRAPPED = "trapped"
    """The hidden link was followed, which no person sees (anymail has no word for this)."""
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    REJECTED = "rejected"  # by the service, such as for an address on its suppression list


class Status(StrEnum):
    """The fate of one recipient's copy."""

    SENDING = "sending"
    """The copy was handed to SMTP. The status stays so only if the sending process died."""
    SENT = "sent"
    """The server accepted the copy."""
    FAILED = "failed"
    """The server refused the copy, or the copy never reached the server; ``error`` says which."""
    UNKNOWN = "unknown"
    """The connection was lost after the content had been sent. The server may have accepted it. Never sent again."""
    SUPPRESSED = "suppressed"
    """The copy was not sent, because the recipient has unsubscribed."""
    COUNTER = "counter"
    """Not a mail, but the row that counts copies in aggregate mode."""


class Verdict(StrEnum):
    """The kind of visitor behind a hit, as far as it can be told."""

    HUMAN = "human"
    PROXY = "proxy"
    PREFETCH = "prefetch"
    SCANNER = "scanner"
    BOT = "bot"
    UNKNOWN = "unknown"


class OptOutKind(StrEnum):
    """The kind of thing that a person has refused."""

    UNSUBSCRIBE = "unsubscribe"
    TRACKING = "tracking"


OWN_NETWORK = "own_network"
"""The reason of a verdict that nothing corrects: the hit came from the sender's own network."""

_AT_ONCE = 64
"""The number of ids for which random bytes are fetched at once."""


class _Clock:
    """Makes UUIDv7 that ascend within one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond, self._random = 0, 0
        self._fresh: list[int] = []

    def tick(self) -> int:
        millisecond = time.time_ns() // 1_000_000
        with self._lock:
            if not self._fresh:  # many at once, because each call of the system releases the interpreter
                data = os.urandom(10 * _AT_ONCE)
                self._fresh = [int.from_bytes(data[n : n + 10], "big") for n in range(0, len(data), 10)]
            fresh = self._fresh.pop()
            if millisecond == self._millisecond:
                self._random += 1 + (fresh & 0xFFFF_FFFF)
            else:  # the highest of the 74 bits stays free, so that the sum never overflows
                self._millisecond, self._random = millisecond, fresh >> 7
            random = self._random
        return millisecond << 80 | 0x7 << 76 | (random >> 62) << 64 | 0x2 << 62 | random & (1 << 62) - 1


_clocks: dict[int, _Clock] = {}
"""One clock per process, because a child must not continue its parent's. uWSGI forks without the hooks of ``os``."""


def new_id() -> uuid.UUID:
    """Return a new UUIDv7 (RFC 9562, section 5.7): random, but in order of time.

    The ids of one process are in order within a millisecond, too (section 6.2, method 2), so the rows of
    one send stand in the order of the recipients. If the clock is set back, so are the ids. Random keys
    made index inserts six times slower than ordered keys.
    """
    process = os.getpid()
    clock = _clocks.get(process) or _clocks.setdefault(process, _Clock())
    return uuid.UUID(int=clock.tick())


def born(identifier: uuid.UUID) -> datetime:
    """Return the moment, in UTC and to the millisecond, at which *identifier* was made."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)


def first_id(moment: datetime) -> uuid.UUID:
    """Return the lowest id of *moment*: all lower ids were made earlier."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


class SentMessage(NamedTuple):
    """One recipient's copy of one message: a row of ``mailtrack_message``."""

    id: uuid.UUID
    batch_id: uuid.UUID
    """The id of the send call, the same for all its copies."""
    recipient: str
    sender: str
    subject: str
    header_message_id: str
    """The Message-ID header."""
    created_at: datetime
    status: Status = Status.SENDING
    tag: str = ""
    list_id: str = ""
    details: Mapping[str, Any] = MappingProxyType({})
    error: str = ""
    sent_at: datetime | None = None
    tracks_opens: bool = False
    """Whether the copy went out with an open pixel: the denominator of the open rate."""
    tracks_clicks: bool = False
    """Whether the copy went out with tracked links."""
    shared: bool = False
    """Several people got the same copy, so its events cannot be told apart."""
    link_count: int | None = None
    """Number of tracked links in the longest part; ``None`` in rows from before links were counted."""
    mode: Mode = Mode.INDIVIDUAL
    columns: Mapping[str, Any] = MappingProxyType({})
    """Values for columns that the host has added."""
    body_id: uuid.UUID | None = None
    """The id of the kept body, if it is kept."""


class SentCopy(NamedTuple):
    """One recipient's copy, as a send call left it: see :meth:`flask_mailtrack.Mailtrack.sent`."""

    id: uuid.UUID
    """The id of the message row."""
    recipient: str
    """Normalised."""
    status: Status
    error: str = ""
    """Why the copy failed."""


class Hit(NamedTuple):
    """One action of a reader, or a machine: a row of ``mailtrack_event``."""

    id: uuid.UUID
    message_id: uuid.UUID
    type: EventType
    occurred_at: datetime
    url: str = ""
    link: int | None = None
    """Position of the link among the distinct links of the message, from 0."""
    link_name: str = ""
    part: str = ""
    """``html`` or ``text``; empty if the hit has no part."""
    ip: str = ""
    user_agent: str = ""
    client: str = ""
    os: str = ""
    device: str = ""
    country: str = ""
    region: str = ""
    city: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    verdict_reasons: tuple[str, ...] = ()
    first_verdict: str = ""
    """The first verdict, if later hits corrected it; else empty."""
    first_verdict_reasons: tuple[str, ...] = ()
    provider: str = ""
    list_id: str = ""
    """Of an opt-out: the list; ``*`` until stored means everything, empty means the message's list."""
    method: str = ""
    """The way of an opt-out: one of :data:`BY_LINK`."""
    reason: str = ""
    """A word of why somebody left; of a bounce, ``hard`` or ``soft``."""
    comment: str = ""
    """What the person, or the server that refused the mail, has said."""
    ref: str = ""
    """The reference inside the token: of the link, or of the recipient."""
    wording: str = ""
    """Of a choice on a page: the language and fingerprint of the text on the page, ``de.8f3a01bc``."""
    lifts: tuple[str, ...] = ()
    """Of a choice that lifts refusals: the ids of the refusals on the page. No other refusal is lifted."""


class Suppression(NamedTuple):
    """A change of an opt-out by the host: by code, by a command, or by an import."""

    id: uuid.UUID
    recipient: str
    """Normalised."""
    occurred_at: datetime
    refs: tuple[str, ...] = ()
    """The references of the recipient under each signing key, newest first."""
    list_id: str = ""
    """Empty: everything."""
    kind: OptOutKind = OptOutKind.UNSUBSCRIBE
    out: bool = True
    """False: the refusal is lifted."""
    method: str = "api"
    reason: str = ""
    source: str = ""
    """The source, for the audit: ``api``, ``cli``, ``import:FILE:LINE``."""
    created_at: datetime | None = None
    """When the person refused, if that was before this record was written."""
    lifts: tuple[str, ...] = ()
    """Of a record that lifts: the ids of the refusals that stood at that moment. No other refusal is lifted."""
    actor: str = ""
    """The operator who made the change; empty: nobody was named."""


class SettingChange(NamedTuple):
    """A change that an operator made to a setting: a row of ``mailtrack_setting``."""

    id: uuid.UUID
    scope: str
    """``account``, ``domain`` or ``sender``; ``tag`` if a tag is declared (``on``) or retired (``off``)."""
    subject: str
    """The domain, the address or the tag; empty for the account."""
    key: str
    value: str
    """``on`` or ``off``, or a word of the dimension; empty: unset."""
    changed_by: str
    changed_at: datetime
    before: str = ""
    """The value in force until then; empty: none."""


VERIFIED = "verified"
"""The status of a tracking domain that mail uses."""


class DomainChange(NamedTuple):
    """A tracking domain whose status has changed."""

    host: str
    status: str
    """``not_verified``, ``pending`` or ``verified``."""
    before: str
    reason: str
    """The finding that changed the status, as a sentence."""


class LinkTarget(NamedTuple):
    """The meaning of a link reference: a row of ``mailtrack_link``."""

    ref: str
    url: str
    name: str = ""
    part: str = "html"


class MailBody(NamedTuple):
    """The body of a mail as its author wrote it: a row of ``mailtrack_body``."""

    id: uuid.UUID
    tag: str
    subject: str
    created_at: datetime
    content: str
    """What :meth:`.AuthoredBody.packed` makes, in base64."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The recipient of a link and the recipient's opt-outs, for the pages."""

    recipient: str = ""
    list_id: str = ""
    left: frozenset[str] = frozenset()
    """The lists that the person has left; ``""`` is everything."""
    measured: bool = True
    locked: bool = False
    """The person was unsubscribed by the host, so no link can undo the opt-out."""
    refusals: Mapping[tuple[str, OptOutKind], tuple[str, ...]] = field(default_factory=dict, compare=False)
    """The ids of the standing refusals that a link can lift, by list and kind."""
    sure: bool = field(default=True, compare=False)
    """Whether all machines could be asked."""

    @property
    def unsubscribed(self) -> bool:
        """Whether the person has left the list of the message, or everything if the message names no list."""
        return self.list_id in self.left

    @property
    def everything(self) -> bool:
        """Whether the person has left all present and future lists."""
        return "" in self.left

    @property
    def shown(self) -> str:
        """The refusals on the page, for its forms. An undo lifts these refusals and no others."""
        return " ".join(sorted(name for names in self.refusals.values() for name in names))

    def narrowed(self) -> Standing:
        """Return the part that a link about one list may show: that list, and a general "everything"."""
        near = (self.list_id, "")
        refusals = {key: names for key, names in self.refusals.items() if key[0] in near}
        return replace(self, left=self.left.intersection(near), refusals=refusals)


EVERYTHING = "*"
"""The ``list_id`` of a hit, before it is stored, whose choice is about all lists."""

BY_LINK = ("", "one_click", "post", "page", "preferences")
"""The ways in which a person refuses by a link. Only such refusals can be lifted by a link."""

REASONS = {
    "too_often": "Too many emails",
    "not_relevant": "Not relevant to me",
    "never_signed_up": "I never signed up",
    "wrong_person": "This is not my email address",
    "other": "Other reason",
}
"""The reasons that the page offers to somebody who leaves, by their stored words."""
