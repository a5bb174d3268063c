"""A campaign: one mail to each of many people, over one connection, which goes on where it has stopped.

Each person is claimed under the key of the campaign before the mail goes out, some of them in one transaction. So a
second run, on this machine or another one, writes to those who have not got the mail.
"""

from __future__ import annotations

import copy as copying
import logging
import smtplib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.errors import MessageError
from typing import Any, Protocol
from uuid import UUID

from flask_mailtrack.errors import STOPPING
from flask_mailtrack.events import SentCopy, Status, new_id
from flask_mailtrack.privacy import legible
from flask_mailtrack.storage.records import batched
from flask_mailtrack.storage.tables.claims import Claims

from .delivery import compared
from .office import sent_copies
from .watch import MAX_REPLY, has_ended

__all__ = ["Pace", "SendReport"]

log: logging.Logger = logging.getLogger("flask_mailtrack.send")

AHEAD = 50
"""People who are claimed in one transaction. A larger number costs hardly less."""
MOST_IN_A_ROW = 5
"""Mails that the server does not take, one after the other, whoever the recipient is, before the run stops."""
EVERYBODY = "*"
_OF_A_MAIL = (OSError, ValueError, AssertionError, RuntimeError, MessageError)
"""What mail libraries raise about one mail, and smtplib, whose errors are OSErrors."""
Compose = Callable[[str, Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class SendReport:
    """What has become of the recipients of a campaign in one run. Each is counted once."""

    sent: int = 0
    """The server has taken the copy."""
    failed: int = 0
    """The server has refused the recipient, or the mail could not be written. The next run tries again."""
    unknown: int = 0
    """Nobody knows whether the copy was sent. The next run does not try again, unless it is told to."""
    suppressed: int = 0
    """The person has left, and got no copy."""
    sending: int = 0
    """Another process is at it, or died less than ten minutes ago."""
    before: int = 0
    """An earlier run has reached the person, or the address came twice."""

    @property
    def total(self) -> int:
        """The number of recipients so far."""
        return self.sent + self.failed + self.unknown + self.suppressed + self.sending + self.before

    def with_one(self, name: str) -> SendReport:
        """Return the report with one more recipient."""
        return replace(self, **{name: getattr(self, name) + 1})


class CampaignLine(Protocol):
    """A connection to the mail server."""

    def open(self) -> None:
        """Connect."""

    def send(self, message: Any) -> object:
        """Send a message, with a copy for each recipient."""

    def close(self) -> None:
        """Say goodbye."""


class Pace:
    """Sends to each domain no faster than it was told.

    :param rates: mails in a second, by the domain of the recipient; ``*``: each other domain.
    :param clock: seconds from any beginning.
    :param pause: waits for some seconds.
    """

    def __init__(
        self,
        rates: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        if wrong := [domain for domain, rate in rates.items() if not rate > 0]:
            raise ValueError(f"rates has {wrong[0]!r}: {rates[wrong[0]]!r}: write mails in a second, above 0.")
        self._gaps = {domain.lower(): 1 / rate for domain, rate in rates.items()}
        self._clock, self._pause = clock, pause
        self._due: dict[str, float] = {}

    def in_time(self, addresses: Iterable[str]) -> Iterator[str]:
        """Yield each address when its turn has come. Those of other domains need not wait for it."""
        waiting = list(addresses)
        while waiting:
            moment = self._clock()
            due = [self._due.get(_domain(address), moment) for address in waiting]
            place = next((n for n, when in enumerate(due) if when <= moment), None)
            if place is None:
                self._pause(min(due) - moment)
                continue
            address = waiting.pop(place)
            domain = _domain(address)
            if gap := self._gaps.get(domain, self._gaps.get(EVERYBODY, 0.0)):
                self._remember(domain, moment, gap)
            yield address

    def _remember(self, domain: str, moment: float, gap: float) -> None:
        self._due[domain] = moment + gap
        if len(self._due) > _DOMAINS:  # a list has many domains, and most of them once
            self._due = {known: due for known, due in self._due.items() if due > moment}


_DOMAINS = 10_000


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


@dataclass
class Run:
    """One run of a campaign.

    :param claims: of the app.
    :param key: the name of the campaign.
    :param compose: makes the message to one person, with all options.
    :param line: the connection, which is opened here.
    :param ahead: the number of people who are claimed in one transaction.
    :param hears: told of each recipient, and of the report so far.
    """

    claims: Claims
    key: str
    compose: Compose
    line: CampaignLine
    ahead: int = AHEAD
    pace: Pace | None = None
    hears: Callable[[SentCopy, SendReport], object] = lambda copy, report: None
    report: SendReport = field(default_factory=SendReport)
    _in_a_row: int = 0
    _fates: dict[UUID, Status] = field(default_factory=dict)

    def over(self, recipients: Iterable[Any]) -> SendReport:
        """Send to *recipients*, and return the report.

        :raises Exception: what stops the run. Who has got the mail by then is noted, and the others are free.
        """
        self.line.open()
        try:
            for some in batched(map(_read, recipients), self.ahead):
                people: dict[str, tuple[str, Mapping[str, Any]]] = {}
                for address, context in some:
                    people.setdefault(compared(address), (address, context))
                self.report = replace(self.report, before=self.report.before + len(some) - len(people))
                with self.claims.ahead(self.key, people, self._fates) as others:
                    self._send_to(people, {each for each, claim in others.items() if claim.status == Status.SENT})
        finally:
            if self._fates:
                self.claims.settle(self._fates)
            with suppress(Exception):  # all is said, and the server may have gone
                self.line.close()
        return self.report

    def _send_to(self, people: Mapping[str, tuple[str, Mapping[str, Any]]], done: set[str]) -> None:
        self.report = replace(self.report, before=self.report.before + len(done))
        wanted = [address for address in people if address not in done]
        for address in wanted if self.pace is None else self.pace.in_time(wanted):
            copy = self._sent(address, self.compose(*people[address]))
            self.report = self.report.with_one(str(copy.status))
            self.hears(copy, self.report)

    def _sent(self, address: str, message: Any) -> SentCopy:
        """Send a message, and return what became of it."""
        try:
            try:
                self.line.send(message)
            except OSError as error:  # those of smtplib, too
                if not has_ended(error) or _fate(address, message).status != Status.FAILED:
                    raise
                self._renew()
                self.line.send(message)
        except STOPPING:
            raise
        except Exception as error:
            return self._failed(address, message, error)
        self._in_a_row = 0
        return _fate(address, message, Status.SENT)

    def _failed(self, address: str, message: Any, error: Exception) -> SentCopy:
        """Return the fate of a copy that was not sent.

        The error is raised if the server takes nothing at all, or if it is about the run, such as a time limit.
        """
        copy = _fate(address, message, error=legible(str(error), MAX_REPLY))
        refused = isinstance(error, smtplib.SMTPRecipientsRefused) and not has_ended(error)
        self._in_a_row = 0 if refused else self._in_a_row + 1
        log.info("a mail of the campaign %r was not sent: %s", self.key, type(error).__name__)
        if self._in_a_row >= MOST_IN_A_ROW or not isinstance(error, _OF_A_MAIL):
            error.add_note(f"The campaign {self.key!r} stops here: {self.report}. Call send_each again to go on.")
            raise error
        if isinstance(error, OSError) and not refused:
            self._renew()
        return copy

    def _renew(self) -> None:
        with suppress(Exception):
            self.line.close()
        # The claims of failed copies end first, so that a second try can take them.
        fates = {key: status for key, status in self._fates.items() if status == Status.FAILED}
        self.claims.settle(fates)
        for key in fates:
            del self._fates[key]
        self.line.open()


def _read(recipient: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(recipient, str):
        return recipient, {}
    address, context = recipient
    return address, context


def _fate(address: str, message: Any, status: Status = Status.FAILED, error: str = "") -> SentCopy:
    """Return the copy of one person; *status* if the mail is not kept."""
    found = [copy for copy in sent_copies(message) if copy.recipient == address]
    return found[-1] if found else SentCopy(new_id(), address, status, error)


class Readable(Protocol):
    """A template, as Jinja makes it."""

    def render(self, values: Mapping[str, Any], /) -> str:
        """Return the text for one person."""
        ...


def filled(
    message: Any,
    read: Callable[[str, bool], Readable],
    values: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Compose:
    """Return what makes copies of *message*, whose subject and bodies are templates.

    :param read: reads a template; told whether the text is HTML.
    :param values: makes the values of a context.
    """
    bodies: dict[str, Readable | None] = {
        name: read(str(text), name == "html") if (text := getattr(message, name, None)) else None
        for name in ("subject", "body", "html")
    }
    pages = [(read(str(text), True), kind) for text, kind in getattr(message, "alternatives", None) or ()]
    to = "recipients" if hasattr(message, "recipients") and not callable(message.recipients) else "to"
    host = getattr(message, "msgId", "").partition("@")[2]

    def compose(address: str, context: Mapping[str, Any]) -> Any:
        clone, said = copying.copy(message), values(context)
        setattr(clone, to, [address])
        for name, template in bodies.items():
            if template is not None:
                setattr(clone, name, template.render(said))
        if pages:
            clone.alternatives = [(template.render(said), kind) for template, kind in pages]
        if host:  # each mail has a Message-ID of its own
            clone.msgId = f"<{new_id().hex}@{host}"
        return clone

    return compose
