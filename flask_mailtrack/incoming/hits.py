"""From a request to a record in the journal: token, verdict, privacy. No database.

A few hundred browsers make nearly all requests, and only the thresholds of the time since the mail count. So
nearly every hit has the label of an earlier one. No address is remembered.
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
from flask_mailtrack.tokens import Signer, Token

from .verdict import HEADERS_JUDGED, Evidence, Judgement, judge

REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Label:
    """What many hits have in common."""

    fields: Mapping[str, Any]
    """Of a :class:`.Hit`, as they stand in the spool: what is at its default is left out."""
    proxied: bool
    """An image proxy asked, whose address says nothing of the reader."""


class Labels:
    """Makes and remembers labels, for the settings of one app."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self._steps = sorted({0.0, limits.instant, limits.open_window, limits.click_window, limits.probable})
        self._label = _labeller(settings)

    def of(
        self,
        mode: Mode,
        kind: EventType,
        user_agent: str,
        headers: Mapping[str, str],
        network: Network,
        age: float | None,
    ) -> Label:
        """Return the label of a hit; never fails, whatever a client sends.

        :param mode: how much may be kept.
        :param headers: those that :func:`.judge` reads; of each, as of the User-Agent, its first
            :data:`.LONGEST` characters are.
        :param age: seconds since the mail was sent; ``None`` where that is unknown.
        """
        # No rule can tell an age from the threshold below it.
        step = self._steps[bisect_right(self._steps, age) - 1] if age is not None and age >= 0 else -1.0
        # What is remembered must not grow with what a client sends.
        read = tuple([(name, value[:LONGEST]) for name, value in headers.items()])
        return self._label(mode, kind, user_agent[:LONGEST], read, network, step)


def _labeller(settings: Settings) -> Callable[..., Label]:
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
        judged = judge(evidence, settings.limits, strict=settings.verdicts)
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
        if kept == "full":  # which the drain reads; one that must not touch the disk is read now
            return said
    client = identify(user_agent)
    return {**said, "client": client.name, "os": client.os, "device": client.device}


def agent_kept(user_agent: str, mode: str) -> str:
    """Return what may be stored of a User-Agent.

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
"""The headers that a hit is made of, besides User-Agent: a caller need not give others."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a request tells of whoever makes it."""

    ip: str | None = None
    user_agent: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of :data:`HEADERS_READ` that came, in lower case."""


@dataclass(frozen=True, slots=True)
class OptOutRequest:
    """What a person asks for on a page, or a mail client in their name."""

    type: EventType
    method: str
    list_id: str = ""
    """As in a :class:`.Hit`: empty is the list of the message, ``*`` is everything."""
    reason: str = ""
    comment: str = ""
    lifts: tuple[str, ...] = ()
    """The ids of the refusals that it takes back."""

    @property
    def lifting(self) -> bool:
        """Whether it takes refusals back."""
        return self.type in (EventType.SUBSCRIBED, EventType.ACCEPTED)


def is_narrow(token: Token) -> bool:
    """Say whether a link is about its own list and a general "everything" only.

    An unsubscribe link is handed on with each forwarded mail. So it, and the page of choices that it
    leads to, neither show nor change what stands of another list.
    """
    return token.kind == Kind.UNSUBSCRIBE or token.narrow


class Recorder:
    """Verifies and writes down what readers do.

    :param events: journal of opens and clicks.
    :param choices: journal of opt-outs, always synced before the answer.
    :param references: where links lead that do not carry it.
    :param networks: whose machines are behind an address.
    :param signatures: count the links of our own form with a bad signature.
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
        """Record an open; a token that is not ours records nothing.

        :raises TokenError: it is not ours.
        """
        token = self.token(Kind.OPEN, path)
        self._record(token, EventType.OPENED, visitor)

    def clicked(self, path: str, visitor: Visitor, *, counts: bool = True) -> str:
        """Record a click and return where it leads.

        :param counts: off for HEAD, which must answer the same but is no click.
        :raises TokenError: the token is not ours, nobody knows any more where the link led, or the host has
            switched it off.
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
        """Record that the link was followed that no person sees; in a quiet mode nothing is judged by that.

        :raises TokenError: it is not ours.
        """
        token = self.token(Kind.HONEYPOT, path)
        if mode_of(token.message_id) == Mode.INDIVIDUAL:
            self._record(token, EventType.TRAPPED, visitor)

    def token(self, kind: Kind, path: str) -> Token:
        """Return what a link says that has no destination.

        :raises TokenError: it is not ours.
        """
        return self._told(lambda: self._signer.read(kind, path))

    def choose(self, token: Token, choices: Sequence[OptOutRequest], visitor: Visitor, wording: str = "") -> None:
        """Write down a person's choices, all of them on disk before this returns.

        :param wording: see :attr:`.Hit.wording`.
        :raises SpoolError: they could not be; then nobody may be told that they were.
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
        """Return the path of the choices to which the page of *token* leads: it shows no more than *token* does."""
        tokens = self._signer.message(token.message_id)
        own = tokens.recipient(Kind.PREFERENCES, token.ref, token.quiet, narrow=is_narrow(token))
        return own + self._signer.list_segment(token.list_id)

    def _body(self, token: Token, kind: EventType, visitor: Visitor, url: str = "") -> dict[str, Any]:
        """Return what :func:`.to_json` makes of the :class:`.Hit`, without making one: each reader pays for this."""
        mode, moment = mode_of(token.message_id), now()
        # The age of a counter is not that of a mail.
        age = None if mode == Mode.AGGREGATE else (moment - born(token.message_id)).total_seconds()
        # The whole address is looked up, and not kept: what is kept of it is decided below.
        network = self._networks.find(visitor.ip)
        label = self._labels.of(mode, kind, visitor.user_agent, visitor.headers, network, age)
        body: dict[str, Any] = {"k": "hit", "message_id": str(token.message_id), "type": kind.value}
        if mode == Mode.DELIVERABILITY:
            day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
            # A random id, as ours begin with the time.
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
        """Return what *read* does, and tell of a signature by none of our keys."""
        try:
            return read()
        except TokenError as error:
            if error.reason in ("key", "signature"):
                self._signatures.bad()
            raise

    def _record(self, token: Token, kind: EventType, visitor: Visitor, url: str = "") -> None:
        """Keep a hit. Whatever goes wrong here, the reader is served."""
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
    """Say whether a browser asks, for the person, not to be followed (Sec-GPC, section 3.3; DNT)."""
    return any(headers.get(name, "").strip() == "1" for name in _NOT_FOLLOWED)
