"""From a request to a record in the journal: token, verdict, privacy. The database is not asked.

A few hundred browsers make nearly all requests, and the time since the mail counts only by its thresholds. So
nearly every hit has the label of an earlier hit, and labels are remembered. Addresses are not.
"""

from __future__ import annotations

import logging
import uuid
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from flask_mailtrack.agents import LONGEST, identify
from flask_mailtrack.config import Settings
from flask_mailtrack.destination import Blocked, refusal
from flask_mailtrack.errors import TokenError
from flask_mailtrack.events import EventType, Hit, Kind, Verdict, born, new_id, now
from flask_mailtrack.modes import Mode, mode_of
from flask_mailtrack.networks import OWN, Network, Networks
from flask_mailtrack.privacy import MAX_USER_AGENT, clean, keep_ip
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.signatures import Signatures
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.storage.tables.references import References
from flask_mailtrack.thresholds import Thresholds
from flask_mailtrack.tokens import Signer, Token

from .verdict import HEADERS_JUDGED, Evidence, Judgement, judge

REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Label:
    """The fields that many hits have in common."""

    fields: Mapping[str, Any]
    """Fields of a :class:`.Hit` as the spool holds them, without defaults."""
    proxied: bool
    """The visitor is an image proxy, whose address says nothing of the reader."""


class Labels:
    """Makes and remembers labels, for the settings of one app."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self._steps = sorted({0.0, limits.instant, limits.open_window, limits.click_window, limits.probable})
        self._label = _labeller(settings, limits)

    def of(
        self,
        mode: Mode,
        kind: EventType,
        user_agent: str,
        headers: Mapping[str, str],
        network: Network,
        age: float | None,
    ) -> Label:
        """Return the label of a hit. Never fails, whatever a client sends.

        :param mode: the mode of the message, which says how much may be kept.
        :param headers: the headers that :func:`.judge` reads. The first :data:`.LONGEST` characters of each
            header, and of the User-Agent, are read.
        :param age: seconds since the mail was sent; ``None`` if that is unknown.
        """
        # No rule distinguishes an age from the threshold below it, so one label serves all ages between.
        step = self._steps[bisect_right(self._steps, age) - 1] if age is not None and age >= 0 else -1.0
        # The memory must not grow with the text that a client sends.
        read = tuple([(name, value[:LONGEST]) for name, value in headers.items()])
        return self._label(mode, kind, user_agent[:LONGEST], read, network, step)


def _labeller(settings: Settings, limits: Thresholds) -> Callable[..., Label]:
    @lru_cache(REMEMBERED)
    def label(
        mode: Mode,
        kind: EventType,
        user_agent: str,
        headers: tuple[tuple[str, str], ...],
        network: Network,
        age: float,
    ) -> Label:
        evidence = Evidence(kind, user_agent, dict(headers), age, network=network)
        judged = judge(evidence, limits, strict=settings.verdicts)
        if kind == EventType.TRAPPED and network.kind != OWN:
            judged = Judgement(Verdict.SCANNER, ("honeypot",), judged.provider)
        fields = _fields(mode, judged, user_agent, settings.user_agent)
        return Label({name: value for name, value in fields.items() if value}, judged.verdict == Verdict.PROXY)

    return label


def _fields(mode: Mode, judged: Judgement, user_agent: str, kept: str) -> dict[str, Any]:
    least = {
        "verdict": "" if judged.verdict == Verdict.UNKNOWN else judged.verdict.value,
        "provider": judged.provider,
    }
    if mode == Mode.DELIVERABILITY:
        return least
    said = {**least, "verdict_reasons": judged.reasons}
    if mode == Mode.INDIVIDUAL:
        said["user_agent"] = agent_kept(user_agent, kept)
        if kept == "full":  # the drain reads the User-Agent later; one that must not touch the disk is read now
            return said
    client = identify(user_agent)
    return {**said, "client": client.name, "os": client.os, "device": client.device}


def agent_kept(user_agent: str, mode: str) -> str:
    """Return the part of a User-Agent that may be stored.

    :param mode: ``full``, ``family`` (the name of the program), or ``none``.
    """
    if mode == "full":
        return clean(user_agent, MAX_USER_AGENT)
    return identify(user_agent).name if mode == "family" else ""


log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

R = TypeVar("R")

MAX_COMMENT = 500
_ABOUT_A_LIST = (EventType.UNSUBSCRIBED, EventType.SUBSCRIBED)
_NOT_FOLLOWED = ("sec-gpc", "dnt")
HEADERS_READ = (*HEADERS_JUDGED, *_NOT_FOLLOWED)
"""The headers that a hit needs besides User-Agent. A caller need not give others."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """The facts about a visitor that a request tells."""

    ip: str | None = None
    user_agent: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers among :data:`HEADERS_READ` that came, in lower case."""


@dataclass(frozen=True, slots=True)
class OptOutRequest:
    """One request of a person on a page, or of a mail client in the person's name."""

    type: EventType
    method: str
    list_id: str = ""
    """The list, as in a :class:`.Hit`: empty is the list of the message, ``*`` is everything."""
    reason: str = ""
    comment: str = ""
    lifts: tuple[str, ...] = ()
    """The ids of the refusals that the request lifts."""

    @property
    def lifting(self) -> bool:
        """Whether the request lifts refusals."""
        return self.type in (EventType.SUBSCRIBED, EventType.ACCEPTED)


def is_narrow(token: Token) -> bool:
    """Say whether a link is about its own list and a general "everything" only.

    A forwarded mail hands its unsubscribe link to others. So the link, and the page of choices behind it,
    neither show nor change the opt-outs of other lists.
    """
    return token.kind == Kind.UNSUBSCRIBE or token.narrow


class Recorder:
    """Verifies the hits of readers and writes them to the journal.

    :param events: journal of opens and clicks.
    :param choices: journal of opt-outs, always synced before the answer.
    :param references: the destinations of links that do not carry them.
    :param networks: the owners of machines, by address.
    :param signatures: counts links of the right form with a bad signature.
    """

    def __init__(
        self,
        settings: Settings,
        signer: Signer,
        events: Journal,
        choices: Journal,
        references: References,
        networks: Networks,
        signatures: Signatures,
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._events = events
        self._choices = choices
        self._references = references
        self._networks = networks
        self._signatures = signatures
        self._blocked = Blocked(settings.blocked)
        self._labels = Labels(settings)
        self._salt = signer.recipient_refs("ip")[0].encode()

    def opened(self, path: str, visitor: Visitor) -> None:
        """Record an open. A token of another app records nothing.

        :raises TokenError: the token is not of this app.
        """
        token = self.token(Kind.OPEN, path)
        self._record(token, EventType.OPENED, visitor)

    def clicked(self, path: str, visitor: Visitor, *, counts: bool = True) -> str:
        """Record a click and return its destination.

        :param counts: ``False`` for HEAD, which gets the same answer but is no click.
        :raises TokenError: the token is not of this app, the destination is lost, or the host has blocked it.
        :raises Exception: the destination was damaged on the way, and the database cannot be asked.
        """
        token, url = self._told(lambda: self._signer.read_click(path))
        if url is None:
            url = self._references.url(token.ref, token.message_id)
        if url is None or refusal(url) is not None:
            raise TokenError("destination")
        if self._blocked(token.message_id, url):
            raise TokenError("blocked")
        if counts:
            self._record(token, EventType.CLICKED, visitor, url)
        return url

    def trapped(self, path: str, visitor: Visitor) -> None:
        """Record a hit on the hidden link. In a quiet mode no verdict depends on it, so nothing is recorded.

        :raises TokenError: the token is not of this app.
        """
        token = self.token(Kind.HONEYPOT, path)
        if mode_of(token.message_id) == Mode.INDIVIDUAL:
            self._record(token, EventType.TRAPPED, visitor)

    def token(self, kind: Kind, path: str) -> Token:
        """Return the token of a link without a destination.

        :raises TokenError: the token is not of this app.
        """
        return self._told(lambda: self._signer.read(kind, path))

    def choose(self, token: Token, choices: Sequence[OptOutRequest], visitor: Visitor, wording: str = "") -> None:
        """Write down a person's choices, all of them on disk before this returns.

        :param wording: see :attr:`.Hit.wording`.
        :raises SpoolError: the choices could not be written, so nobody may be told that they were.
        """
        settings = self._settings
        quiet = mode_of(token.message_id) != Mode.INDIVIDUAL or token.quiet
        quiet = quiet or (settings.honour_gpc and _declines(visitor.headers))
        hits = [
            Hit(
                id=new_id(),
                message_id=token.message_id,
                type=choice.type,
                occurred_at=now(),
                ip="" if quiet else keep_ip(visitor.ip, settings.ip, self._salt, now().date()),
                user_agent="" if quiet else agent_kept(visitor.user_agent, settings.user_agent),
                verdict=Verdict.HUMAN if choice.method in ("page", "preferences") else Verdict.UNKNOWN,
                list_id=choice.list_id or (token.list_id if choice.type in _ABOUT_A_LIST else ""),
                method=choice.method,
                reason=clean(choice.reason, 32),
                comment=clean(choice.comment, MAX_COMMENT),
                ref=token.ref,
                wording=wording,
                lifts=choice.lifts,
            )
            for choice in choices
        ]
        self._choices.append(*map(to_json, hits), sync=True)
        self._choices.wake()

    def preferences(self, token: Token) -> str:
        """Return the path of the preferences behind the page of *token*. They show no more than *token* allows."""
        tokens = self._signer.message(token.message_id)
        own = tokens.recipient(Kind.PREFERENCES, token.ref, token.quiet, narrow=is_narrow(token))
        return own + self._signer.list_segment(token.list_id)

    def _body(self, token: Token, kind: EventType, visitor: Visitor, url: str = "") -> dict[str, Any]:
        """Return the JSON of a :class:`.Hit`, as :func:`.to_json` makes it. No Hit is made, which saves time."""
        mode, moment = mode_of(token.message_id), now()
        # The id of a counter holds a day, so it does not give the age of a mail.
        age = None if mode == Mode.AGGREGATE else (moment - born(token.message_id)).total_seconds()
        # The whole address is looked up here. Only the part that may be kept goes into the record below.
        network = self._networks.find(visitor.ip)
        label = self._labels.of(mode, kind, visitor.user_agent, visitor.headers, network, age)
        body: dict[str, Any] = {"k": "hit", "message_id": str(token.message_id), "type": kind.value}
        if mode == Mode.DELIVERABILITY:
            day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
            # The id is random, because a UUIDv7 would hold the time of the hit.
            return {**body, "id": str(uuid.uuid4()), "occurred_at": day.isoformat(), **label.fields}
        body |= {"id": str(new_id()), "occurred_at": moment.isoformat()}
        if kind == EventType.CLICKED:
            body |= {"url": url, "link": token.link, "ref": token.ref}
        # A proxy's address says nothing of the reader, and a counter is about nobody.
        if (
            mode == Mode.INDIVIDUAL
            and not label.proxied
            and (ip := keep_ip(visitor.ip, self._settings.ip, self._salt, moment.date()))
        ):
            body["ip"] = ip
        return {**body, **label.fields}

    def _told(self, read: Callable[[], R]) -> R:
        """Return the result of *read*, and count a signature that none of the keys made."""
        try:
            return read()
        except TokenError as error:
            if error.reason in ("key", "signature"):
                self._signatures.bad()
            raise

    def _record(self, token: Token, kind: EventType, visitor: Visitor, url: str = "") -> None:
        """Keep a hit. The reader is served, whatever goes wrong here."""
        if self._settings.honour_gpc and _declines(visitor.headers):
            return
        try:
            body = self._body(token, kind, visitor, url)
        except Exception as error:
            log.exception("a hit was not recorded")
            self._events.failed("hit", error)
            return
        if self._events.keep(body):
            self._events.wake()


def _declines(headers: Mapping[str, str]) -> bool:
    """Say whether the browser asks not to be tracked (Sec-GPC, section 3.3; DNT)."""
    return any(headers.get(name, "").strip() == "1" for name in _NOT_FOLLOWED)
