"""Mail that the host sends by itself: it hands a message in, and gets one copy for each recipient to send.

The host knows the fate of a copy, and tells. A copy of which the host tells nothing stays "sending".
"""

from __future__ import annotations

import io
import logging
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from email.generator import BytesGenerator
from email.message import Message
from types import TracebackType
from typing import Any
from uuid import UUID

from flask_mailtrack.events import SentCopy, Status
from flask_mailtrack.privacy import legible, normalise
from flask_mailtrack.storage.tables.claims import Held

from .delivery import Address, Copy, Mailing, SendLog, compared, name_and_address
from .dispatched import Dispatched
from .mime import Mime
from .office import SendServices, remember, without_ours
from .options import ATTRIBUTE, HEADER, Options
from .watch import MAX_REPLY, Watch

__all__ = ["PreparedCopy", "PreparedMail"]

log: logging.Logger = logging.getLogger("flask_mailtrack.send")


class _MimeLetter:
    """A mail as bytes, with the attributes of a Flask-Mail message that the send side reads."""

    def __init__(self, mime: Mime, recipients: Sequence[str], said: Options | None) -> None:
        parts = mime.parts
        self.subject: str = mime.legible("Subject")
        self.sender: str = next(iter(mime.addresses("From")), "")
        self.recipients: list[Address] = list(recipients)
        self.cc: list[Address] = []
        self.bcc: list[Address] = []
        self.html, self.body = mime.bodies
        self.alts: dict[str, str] = {kind: part.text for kind, part in parts.items() if kind != "plain"}
        asked = "; ".join(mime.all(HEADER))
        self.extra_headers: dict[str, str] | None = mime.headers | ({HEADER: asked} if asked else {})
        self.charset: str | None = parts["html"].charset if "html" in parts else None
        self.msgId: str = mime.headers.get("Message-ID", "")
        self.unread: Mapping[str, str] = mime.unread
        if said is not None:
            setattr(self, ATTRIBUTE, said)

    @property
    def send_to(self) -> set[Address]:
        """The envelope."""
        return set(self.recipients)


class PreparedCopy:
    """The copy for one recipient, or for several whose copy would be the same.

    Use it as a context manager around the send: the copy is sent if the block ends, and an error of the block says
    why it is not. Or call :meth:`sent` or :meth:`failed`. The first fate that is told is final.
    """

    sender: str
    """The sender of the envelope: ``MAIL FROM``."""
    recipients: tuple[str, ...]
    """The recipients of the envelope: ``RCPT TO``."""

    html: str | None
    """The page as it is sent, for services that take it as a text; ``None``: there is none."""
    text: str | None
    """The plain text, likewise."""

    def __init__(self, mail: PreparedMail, copy: Copy, content: bytes, log: SendLog) -> None:
        self.sender = mail.sender
        self.recipients = tuple(addressed(copy))
        self.html, self.text = copy.html, copy.body
        self._mail = mail
        self._copy = copy
        self._content = content
        self._rows = copy.rows
        self._log = log
        self._people = [compared(each) for each in copy.recipients]
        self._held = mail.held
        self._held.begin(self._people)
        self._told = False

    @property
    def rows(self) -> tuple[SentCopy, ...]:
        """Id, address and status of each recipient; empty: the mail must not be kept, or is not tracked."""
        return tuple(self._log.known[row.id] for row in self._rows)

    def as_bytes(self) -> bytes:
        """Return the mail as it is to be sent, with lines that end in CRLF, and without Bcc."""
        return self._content

    def sent(self, refused: Mapping[str, tuple[int, bytes]] | None = None) -> None:
        """Tell that a server has taken the copy.

        :param refused: the recipients that the server has refused, as ``smtplib.SMTP.sendmail`` returns them.
        """
        if not self._told:
            answers = {normalise(address): said for address, said in (refused or {}).items()}
            self._log.accepted(self._rows, answers)
            self._held.tell(self._people, Status.SENT, answers)
            self._close()
            self._mail.left(self._content, self._copy, answers)

    def failed(self, error: BaseException | str) -> None:
        """Tell that the copy was not sent.

        :param error: an exception, or a text, which is kept on the row. After a lost connection the status is
            "unknown", because the server may have taken the mail.
        """
        if not self._told:
            status, text = _fate(error)
            self._log.lost(self._rows, error if isinstance(error, BaseException) else None, status, text)
            self._held.tell(self._people, status)
            self._close()

    def _close(self) -> None:
        self._told = True
        self._log.close()
        self._held.keep()
        self._mail.wake()

    def __enter__(self) -> PreparedCopy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.sent()
        else:
            self.failed(error)


class PreparedMail:
    """The copies of one message. Iterate over it once: each copy is made, and noted, when it is asked for."""

    sender: str
    """The sender of the envelope."""

    def __init__(
        self, office: SendServices, author: Any, mime: Mime, envelope: tuple[str, Sequence[str]], said: Options | None
    ) -> None:
        self.sender, self._recipients = envelope
        self.mailing: Mailing | None = office.mailing(_MimeLetter(mime, self._recipients, said))
        """How each copy looks; ``None``: the message goes out as its author wrote it."""
        self._office = office
        self._mime = mime
        self._is_begun = False
        self._known: dict[UUID, SentCopy] = {}
        remember(author, self._known)
        self.held: Held = self.mailing.held if self.mailing else Held()
        """The claims of the send key, which end with the mail for copies that nobody has asked for."""
        weakref.finalize(self, self.held.close).atexit = False

    @property
    def rows(self) -> tuple[SentCopy, ...]:
        """Id, address and status of each recipient so far, with those that have left the list and get no copy."""
        return tuple(sorted(self._known.values()))

    def __iter__(self) -> Iterator[PreparedCopy]:
        if self._is_begun:
            raise RuntimeError("The copies of this message were handed out already: prepare the message again.")
        self._is_begun = True
        ledger = self._office.ledger
        if self.mailing is None:
            plain = Copy(tuple(self._recipients), (), *self._mime.bodies, {}, {})
            yield PreparedCopy(self, plain, self.untracked(), SendLog(ledger))
            return
        self._known.update(ledger.page(self.mailing.common, self.mailing.suppressed).known)
        self._known.update({copy.id: copy for copy in self.mailing.repeated})
        try:
            for copy in self.mailing.copies:
                content, log = self.written(copy), SendLog(ledger, known=self._known)
                log.begin(copy.rows)
                yield PreparedCopy(self, copy, content, log)
        finally:
            self.held.close()
            self.wake()
            self._office.tell(self.mailing)

    def written(self, copy: Copy) -> bytes:
        """Return a copy as it is to be sent. If its bodies cannot be written, they are those of the author."""
        texts = dict(copy.alts)
        texts |= {kind: text for kind, text in (("html", copy.html), ("plain", copy.body)) if text is not None}
        try:
            return self._mime.written(texts, copy.extra_headers, copy.encoding)
        except Exception as error:
            log.exception("the bodies of a mail stay as they are")
            self._office.ledger.journal.failed("prepare", error)
            return self._mime.written({}, copy.extra_headers)

    def left(self, content: bytes, copy: Copy | None = None, refused: Collection[str] = ()) -> None:
        """Tell whoever listens that a mail has left.

        :param copy: whose content it is; ``None``: the untracked mail, to all.
        :param refused: the addresses that the server has refused, in the spelling for comparisons.
        """
        to = addressed(copy) if copy else self._recipients
        ids = {row.recipient: row.id for row in copy.rows} if copy else {}
        rows = {person: ids.get(person) for person in map(compared, to) if person not in refused}
        written = None if self.mailing is None else self._mime.bodies
        if rows:
            self._office.left(lambda: Dispatched.of(content, rows, written))

    def wake(self) -> None:
        """Have the rows drained that wait in the journal."""
        self._office.ledger.journal.wake()

    def untracked(self) -> bytes:
        """Return the mail as its author wrote it, without our own header."""
        return self._mime.written({}, without_ours(self._mime.headers))


def addressed(copy: Copy) -> list[str]:
    """Return the recipients of the envelope of a copy, without names."""
    return [name_and_address(each)[1] or str(each) for each in copy.recipients]


def prepared(
    office: SendServices,
    message: Any,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
    *,
    author: Any = None,
    said: Options | None = None,
) -> PreparedMail:
    """Read a message, and prepare its copies. :meth:`.Mailtrack.prepare` documents the parameters.

    :param author: the message as the host has it, with options, of which *message* was made; default: *message*.
    :param said: the options, if they are others than those of the author.
    """
    author = message if author is None else author
    mime = Mime(_octets(message))
    resent = len(mime.all("Resent-Date"))
    if resent > 1 and (recipients is None or sender is None):
        raise ValueError("The message was resent several times: give recipients=[...] and sender=....")
    again = "Resent-" if resent else ""
    to = list(recipients) if recipients is not None else mime.addresses(*(again + name for name in ("To", "Cc", "Bcc")))
    if not to:
        raise ValueError("The message names no recipient: write To, Cc or Bcc, or give recipients=[...].")
    by = sender if sender is not None else next(iter(mime.addresses(again + "Sender", again + "From")), None)
    if by is None:
        raise ValueError("The message has no From: write one, or give sender=....")
    return PreparedMail(office, author, mime, (by, to), said or getattr(author, ATTRIBUTE, None))


def _octets(message: Any) -> bytes:
    if isinstance(message, Message):
        written = io.BytesIO()
        BytesGenerator(written).flatten(message, linesep="\r\n")  # as smtplib writes a message
        return written.getvalue()
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    if isinstance(message, str):
        # Flask-Mail has MIMEText write UTF-8 as it stands, in the whole process.
        return message.encode("utf-8", "surrogateescape")
    raise TypeError(f"prepare() takes an email.message.Message or bytes, and not {type(message).__name__}.")


def _fate(error: BaseException | str) -> tuple[Status, str]:
    """Return the status and the text of a copy that was not sent."""
    if isinstance(error, str):
        return Status.FAILED, legible(error, MAX_REPLY)
    if not isinstance(error, Exception):  # the process was told to stop
        return Status.UNKNOWN, type(error).__name__
    return Watch(blind=True).fate(error)
