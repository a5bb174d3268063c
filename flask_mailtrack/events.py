"""The vocabulary: named tuples that the rooms hand to each other, and their words.

Event names are those of django-anymail, which most tools that read e-mail events already map to.
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
    "SentMessage",
    "SettingChange",
    "Status",
    "Suppression",
    "Verdict",
]


class Kind(StrEnum):
    """What a link is for; part of what its token signs."""

    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"
    HONEYPOT = "honeypot"


PATHS = {Kind.OPEN: "o", Kind.CLICK: "c", Kind.UNSUBSCRIBE: "u", Kind.PREFERENCES: "p", Kind.HONEYPOT: "h"}
"""The first segment behind the prefix; old mails hold these, so they never change."""

APP_PATH = "a"
"""The same for a click that an app may open."""

NOTICE = "flask_mailtrack.notice"
"""Key of a WSGI environ: whoever asks puts a list there, and the front door that was asked leaves its app in it."""


DOMAIN_PATH = "d"
"""Where a tracking domain is asked whether it reaches this app, and where a web server asks for whom it may serve."""


class EventType(StrEnum):
    """What happened, in anymail's past tense."""

    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    SUBSCRIBED = "subscribed"
    DECLINED = "declined"
    """A person does not want opens and clicks recorded (anymail has no word for it)."""
    ACCEPTED = "accepted"
    """A person took that back."""
    TRAPPED = "trapped"
    """A link was followed that no person sees (anymail has no word for it)."""


class Status(StrEnum):
    """What became of one recipient's copy."""

    SENDING = "sending"
    """Handed to SMTP; stays so only if the sending process died."""
    SENT = "sent"
    """The server accepted it."""
    FAILED = "failed"
    """The server refused it, or it never reached the server; ``error`` says which."""
    UNKNOWN = "unknown"
    """The connection was lost after the content had been sent: perhaps accepted. Never sent again by us."""
    SUPPRESSED = "suppressed"
    """Not sent: the recipient has unsubscribed."""
    COUNTER = "counter"
    """No mail at all: the row under which copies in aggregate mode are counted."""


class Verdict(StrEnum):
    """Who was behind a hit, as far as it can be told."""

    HUMAN = "human"
    PROXY = "proxy"
    PREFETCH = "prefetch"
    SCANNER = "scanner"
    BOT = "bot"
    UNKNOWN = "unknown"


class OptOutKind(StrEnum):
    """What a person has refused."""

    UNSUBSCRIBE = "unsubscribe"
    TRACKING = "tracking"


OWN_NETWORK = "own_network"
"""The reason of a verdict that nothing corrects: the sender was it."""

_AT_ONCE = 64
"""Ids for which randomness is fetched together."""


class _Clock:
    """Makes UUIDv7 that ascend in the order in which one process asks for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond, self._random = 0, 0
        self._fresh: list[int] = []

    def tick(self) -> int:
        millisecond = time.time_ns() // 1_000_000
        with self._lock:
            if not self._fresh:  # many at once: to ask the system is to let go of the interpreter
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
"""By process: a child must not go on from its parent's. uWSGI forks without running the hooks of ``os``."""


def new_id() -> uuid.UUID:
    """Return a new UUIDv7 (RFC 9562, section 5.7): random, but ordered by time of birth.

    Those of one process are in order within a millisecond too (section 6.2, method 2), so the rows of
    one send stand in the order of its recipients; a clock that is set back sets them back as well.
    Random keys made index inserts six times slower than ordered ones.
    """
    process = os.getpid()
    clock = _clocks.get(process) or _clocks.setdefault(process, _Clock())
    return uuid.UUID(int=clock.tick())


def born(identifier: uuid.UUID) -> datetime:
    """Return the moment, in UTC and to the millisecond, at which *identifier* was made."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)


def first_id(moment: datetime) -> uuid.UUID:
    """Return the id below which everything was born before *moment*."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


class SentMessage(NamedTuple):
    """One recipient's copy of one message: a row of ``mailtrack_message``."""

    id: uuid.UUID
    batch_id: uuid.UUID
    """The same for all copies of one send call."""
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
    """Whether an open pixel went out with it: the denominator of the open rate."""
    tracks_clicks: bool = False
    """Whether tracked links went out with it."""
    shared: bool = False
    """Several people got the same copy, so its events cannot be told apart."""
    link_count: int | None = None
    """How many links are tracked in its longest part; ``None`` in rows of before that was counted."""
    mode: Mode = Mode.INDIVIDUAL
    columns: Mapping[str, Any] = MappingProxyType({})
    """Values for columns that the host has added."""


class Hit(NamedTuple):
    """One thing that a reader, or a machine, did: a row of ``mailtrack_event``."""

    id: uuid.UUID
    message_id: uuid.UUID
    type: EventType
    occurred_at: datetime
    url: str = ""
    link: int | None = None
    """Position of the link among the distinct links of the message, from 0."""
    link_name: str = ""
    part: str = ""
    """``html`` or ``text``; empty where it does not apply."""
    ip: str = ""
    user_agent: str = ""
    client: str = ""
    os: str = ""
    device: str = ""
    country: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    verdict_reasons: tuple[str, ...] = ()
    first_verdict: str = ""
    """What the request itself was taken for, if what happened later made that a mistake; else empty."""
    first_verdict_reasons: tuple[str, ...] = ()
    provider: str = ""
    list_id: str = ""
    """Of an opt-out: the list; ``*`` until stored means everything, empty means the message's list."""
    method: str = ""
    """How an opt-out came: one of :data:`BY_LINK`."""
    reason: str = ""
    comment: str = ""
    ref: str = ""
    """The reference inside the token: which link, or whose unsubscribe."""
    wording: str = ""
    """Of a choice made on a page: the language and fingerprint of the text that was shown, ``de.8f3a01bc``."""
    lifts: tuple[str, ...] = ()
    """Of a choice that takes refusals back: the ids of those that its page showed. It lifts no other."""


class Suppression(NamedTuple):
    """A change of what stands that no link has made: by the host's code, its command line, or an import."""

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
    """Off: the refusal is lifted."""
    method: str = "api"
    reason: str = ""
    source: str = ""
    """Where it came from, for the audit: ``api``, ``cli``, ``import:FILE:LINE``."""
    created_at: datetime | None = None
    """When the person refused, if that was before this was written."""
    lifts: tuple[str, ...] = ()
    """If it lifts: the ids of the refusals that stood when the host said so. It lifts no other."""


class SettingChange(NamedTuple):
    """A change that an operator made to a setting: a row of ``mailtrack_setting``."""

    id: uuid.UUID
    scope: str
    """``account``, ``domain`` or ``sender``; ``tag`` where a tag is declared (``on``) or retired (``off``)."""
    subject: str
    """The domain, the address or the tag; empty for the account."""
    key: str
    value: str
    """``on`` or ``off``, or a word of the dimension; empty: unset."""
    changed_by: str
    changed_at: datetime
    before: str = ""
    """What was in force until then; empty: nothing."""


VERIFIED = "verified"
"""The status of a tracking domain that is used."""


class DomainChange(NamedTuple):
    """A tracking domain whose status has changed."""

    host: str
    status: str
    """``not_verified``, ``pending`` or ``verified``."""
    before: str
    reason: str
    """The finding that changed the status, as a sentence."""


class LinkTarget(NamedTuple):
    """What a link reference stands for: a row of ``mailtrack_link``."""

    ref: str
    url: str
    name: str = ""
    part: str = "html"


@dataclass(frozen=True, slots=True)
class Standing:
    """Who a link was sent to, and what they have refused, for the pages."""

    recipient: str = ""
    list_id: str = ""
    left: frozenset[str] = frozenset()
    """The lists that the person has left; ``""`` is everything."""
    measured: bool = True
    locked: bool = False
    """It was not by a link that they were unsubscribed, so no link can undo it."""
    refusals: Mapping[tuple[str, OptOutKind], tuple[str, ...]] = field(default_factory=dict, compare=False)
    """The ids of the refusals that stand and that a link can lift, by list and kind."""
    sure: bool = field(default=True, compare=False)
    """Whether all machines could be asked."""

    @property
    def unsubscribed(self) -> bool:
        """From the list of the message, or from everything if it names none."""
        return self.list_id in self.left

    @property
    def everything(self) -> bool:
        """From every list there is and will be."""
        return "" in self.left

    @property
    def shown(self) -> str:
        """The refusals that a page about this shows, for its forms: an undo lifts these and no other."""
        return " ".join(sorted(name for names in self.refusals.values() for name in names))

    def narrowed(self) -> Standing:
        """Return what a link may show that is about one list: that list and a general "everything"."""
        near = (self.list_id, "")
        refusals = {key: names for key, names in self.refusals.items() if key[0] in near}
        return replace(self, left=self.left.intersection(near), refusals=refusals)


EVERYTHING = "*"
"""In the ``list_id`` of a hit that is not stored yet: the choice is about all lists."""

BY_LINK = ("", "one_click", "post", "page", "preferences")
"""Methods by which a person has refused themselves. Only what came so is undone by a link."""
