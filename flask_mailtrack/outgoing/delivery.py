"""Hands the copies of one mailing to SMTP, and finds out the fate of each.

Addresses are read as Flask-Mail reads them, and compared in one spelling. The ledger writes each copy to the journal
before the copy goes to SMTP, and its fate afterwards.
"""

from __future__ import annotations

import logging
import re
import smtplib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from email.utils import parseaddr
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.events import LinkTarget, MailBody, SentCopy, SentMessage, Status, now
from flask_mailtrack.privacy import normalise
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.storage.tables.claims import Held
from flask_mailtrack.storage.tables.references import References

from .watch import MAX_REPLY, Watch, has_ended, reply

Address = str | tuple[str, str]
Shared = LinkTarget | MailBody | SentMessage

_ATOMS = r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*"
_BARE = re.compile(rf"{_ATOMS}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


def is_bare(written: Address) -> bool:
    """Say whether *written* is a plain address, which need not be parsed. Most addresses are."""
    return isinstance(written, str) and _BARE.fullmatch(written) is not None


def name_and_address(written: Address) -> tuple[str, str]:
    """Return the name and the address, as Flask-Mail reads them."""
    if isinstance(written, str):
        return ("", written) if is_bare(written) else _parsed(written)
    return written


def compared(written: Address) -> str:
    """Return the address that Flask-Mail will use, in the spelling for comparisons."""
    if is_bare(written):
        return str(written).lower()
    bare = written[1] if isinstance(written, tuple) else _parsed(str(written or ""))[1]
    return normalise(bare or str(written or ""))


@lru_cache(256)  # a host writes to many people, but as few senders
def _parsed(written: str) -> tuple[str, str]:
    try:
        return parseaddr(written)
    except RecursionError:  # thousands of brackets
        return "", ""


class Letter(Protocol):
    """The attributes of a Flask-Mail message that this package reads."""

    subject: str
    sender: Any
    recipients: list[Address]
    cc: list[Address]
    bcc: list[Address]
    body: str | None
    html: str | None
    alts: dict[str, str]
    extra_headers: dict[str, str] | None
    charset: str | None
    msgId: str  # noqa: N815 - Flask-Mail's name

    @property
    def send_to(self) -> set[Address]:
        """The envelope."""
        ...


@dataclass(frozen=True, slots=True)
class Copy:
    """The content of one envelope.

    ``rows`` are the message rows of the recipients in the envelope; empty for a mail that must not be kept.
    """

    recipients: tuple[Address, ...]
    rows: tuple[SentMessage, ...]
    html: str | None
    body: str | None
    alts: dict[str, str]
    extra_headers: dict[str, str]
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Mailing:
    """The result of preparing one send call."""

    copies: Iterator[Copy]
    """The copies. Each is made when it is asked for, so that a newsletter is never in memory as a whole."""
    suppressed: list[SentMessage]
    common: tuple[Shared, ...]
    """The records that the copies share: the body, destinations of links, and the counter in aggregate mode."""
    failures: list[RewriteError]
    """The reasons for which the HTML goes out as the author wrote it, or for which its end will not be seen.

    The list is complete when all copies have been made."""
    held: Held = field(default_factory=Held)
    """The claims of the send key."""
    repeated: Sequence[SentCopy] = ()
    """The copies of earlier calls with the same key, whose recipients get none, and those of suppressed recipients of
    whom no row is kept."""


log: logging.Logger = logging.getLogger("flask_mailtrack.send")

_REMEMBERED = 10_000


class Ledger:
    """Writes rows to the journal. A mail never fails because a row could not be written.

    :param journal: of messages and links.
    :param references: the links in the journal that lead nowhere without their row.
    """

    def __init__(
        self,
        journal: Journal,
        references: References,
    ) -> None:
        self.journal = journal
        self._references = references
        self._known: set[str] = set()

    def page(self, common: Iterable[Shared], suppressed: Sequence[SentMessage]) -> SendLog:
        """Open the log of one send call, with the suppressed recipients and the new bodies, links and counters."""
        known = self._known
        fresh = [record for record in common if _key(record) not in known]
        if self.write(to_json(record) for records in (fresh, suppressed) for record in records):
            if len(known) > _REMEMBERED:  # cleared in one step, because threads send at the same time
                known = self._known = set()
            # A body is written by each send call, because its row goes with the only person who had it.
            known.update(_key(record) for record in fresh if not isinstance(record, MailBody))
        return SendLog(self, suppressed)

    def keep(self, links: Iterable[LinkTarget]) -> bool:
        """Record the destinations of *links* that do not carry them, and say whether the record is on disk."""
        fresh = [link for link in links if _key(link) not in self._known]
        if not self.write(map(to_json, fresh), sync=True):
            return False
        self._known.update(map(_key, fresh))
        self._references.note(fresh)
        return True

    def write(self, lines: Iterable[Mapping[str, Any]], sync: bool = False) -> bool:
        """Append *lines* to the journal, and say whether they were written."""
        made = list(lines)
        return not made or self.journal.keep(*made, sync=sync)


def _key(record: Shared) -> str:
    return record.ref if isinstance(record, LinkTarget) else str(record.id)


class SendLog:
    """The part of the ledger that one send call fills.

    The fate of a copy is written together with the beginning of the next copy, so each copy costs one
    write. If the process dies between the two, the row says "sending". It says the same if the process
    dies before the server has answered.

    :param suppressed: the rows of the recipients that get no copy.
    :param known: what other logs of the same message know already.
    """

    def __init__(
        self, ledger: Ledger, suppressed: Iterable[SentMessage] = (), known: dict[UUID, SentCopy] | None = None
    ) -> None:
        self._ledger = ledger
        self.known: dict[UUID, SentCopy] = {} if known is None else known
        """The state of each copy so far."""
        self.known.update({row.id: SentCopy(row.id, row.recipient, row.status, row.error) for row in suppressed})
        self._begun: dict[UUID, Mapping[str, Any]] = {}
        self._fates: list[Mapping[str, Any]] = []

    def begin(self, rows: Iterable[SentMessage]) -> None:
        """Record the rows of a copy that is about to be sent. They are in the spool when this returns, or never."""
        self._begun = {}
        self._ledger.write(self._lines(rows))

    def fate(self, rows: Iterable[SentMessage], status: Status, error: str = "") -> None:
        """Note the fate of *rows*, the rows that were begun last.

        A fate repeats the whole row, because it may reach the database first, or alone.
        """
        told: dict[str, Any] = {"status": status}
        if error:
            told["error"] = error
        if status in (Status.SENT, Status.UNKNOWN):
            told["sent_at"] = now().isoformat()
        for row in rows:
            if row.id in self._begun:
                self._fates.append({**self._begun[row.id], **told})
                self.known[row.id] = SentCopy(row.id, row.recipient, status, error)

    def accepted(self, rows: Sequence[SentMessage], answers: Mapping[str, tuple[int, bytes]]) -> None:
        """Note that a server has taken a copy, but for the recipients that it has refused by name.

        :param answers: the server's answer for each address that was refused.
        """
        refused = [row for row in rows if row.recipient in answers]
        self.fate([row for row in rows if row not in refused] if refused else rows, Status.SENT)
        several = {row.recipient for row in rows} if refused else set()
        for row in refused:
            said = reply(*answers[row.recipient])
            self.fate([row], Status.FAILED, _without_others(said, several, row.recipient))

    def lost(self, rows: Sequence[SentMessage], error: BaseException | None, status: Status, text: str) -> None:
        """Note that a copy was not sent, or that nobody knows.

        :param error: may hold an answer for each recipient; *text* is for all others.
        """
        own, several = Watch.replies(error), {row.recipient for row in rows}
        for row in rows:
            said = own.get(row.recipient, text)
            self.fate([row], status, _without_others(said, several, row.recipient))

    def close(self) -> None:
        """Write the fates of the last copy."""
        self.begin(())

    def _lines(self, rows: Iterable[SentMessage]) -> Iterator[Mapping[str, Any]]:
        fates, self._fates = self._fates, []
        yield from fates
        for row in rows:
            self._begun[row.id] = to_json(row)
            self.known[row.id] = SentCopy(row.id, row.recipient, row.status)
            yield self._begun[row.id]


_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"']+@[\w-]+(?:\.[\w-]+)*")


@dataclass
class Delivery:
    """Sends the copies of one message over one connection, and notes the fate of each."""

    connection: Any
    transmit: Callable[[Any], None]
    page: SendLog
    held: Held = field(default_factory=Held)
    delivered: int = 0
    trouble: Exception | None = None
    """The first error that is no refused recipient. Only one is kept, because each error holds its copy in memory."""
    refused: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def send(self, message: Any, copy: Copy) -> None:
        """Send *message*, which carries *copy*. An error waits for :meth:`report`, so that the others still go out."""
        watch, people = Watch(), [compared(each) for each in copy.recipients]
        self.held.begin(people)
        try:
            self._attempt(message, watch)
        except Exception as error:
            if isinstance(error, smtplib.SMTPRecipientsRefused):
                self.refused |= error.recipients
            else:
                self.trouble = self.trouble or error
            status, text = watch.fate(error)
            self.page.lost(copy.rows, error, status, text)
            self.held.tell(people, status)
        else:
            self.page.accepted(copy.rows, watch.refused)
            self.held.tell(people, Status.SENT, watch.refused)
            self.refused |= watch.refused
            self.delivered += 1

    def report(self) -> None:
        """Raise the error that the host would have seen without Mailtrack.

        smtplib raises for one message to many only if every recipient is refused; else it returns. All other
        errors are about the server, and are raised.
        """
        if self.trouble is not None:
            raise self.trouble
        if self.refused and not self.delivered:
            raise smtplib.SMTPRecipientsRefused(self.refused)

    def _attempt(self, message: Any, watch: Watch) -> None:
        try:
            with watch.over(self.connection.host):
                self.transmit(message)
        except smtplib.SMTPException as error:
            # Servers limit the messages of one connection. Without Mailtrack the copies would be one message,
            # so a connection that ends between two copies is renewed here, once.
            between = self.delivered or self.refused or self.trouble
            if not between or watch.in_data or watch.done or not has_ended(error):
                raise
            log.info("the server ended the connection between two copies: connecting again")
            self.connection.host = self.connection.configure_host()
            with watch.over(self.connection.host):
                self.transmit(message)


def _without_others(said: str, others: Set[str], own: str) -> str:
    """Return a server's answer for the row of one person, without the addresses of others who got the same copy."""
    if len(others) == 1:
        return said
    if len(said) >= MAX_REPLY:  # half an address may stand at the cut
        said = said.rpartition(" ")[0]

    def other(found: re.Match[str]) -> str:
        address = normalise(found[0])
        return "" if address in others and address != own else found[0]

    return _ADDRESS.sub(other, said)
