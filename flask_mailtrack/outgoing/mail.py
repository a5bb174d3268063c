"""The one door to Flask-Mail: it catches what is sent, and sends the copies.

Flask-Mail has no hook before the bytes leave, so ``connect`` of the host's own ``Mail`` object, and
of the state that Flask-Mail keeps for the app, returns a connection of a subclass. Nothing else of
Flask-Mail is touched, and an app without Mailtrack on the same ``Mail`` object gets its own back.
"""

from __future__ import annotations

import copy as copying
import functools
import logging
from binascii import b2a_qp
from collections.abc import Callable
from dataclasses import dataclass
from email.charset import Charset
from email.mime.base import MIMEBase
from email.mime.text import MIMEText
from secrets import token_hex
from typing import Any, cast

from flask_mail import BadHeaderError, Connection, Mail, Message

from flask_mailtrack.errors import OptOutsUnavailable, RewriteError

from . import addresses, headers, options, prepare
from .copies import Batch, Copy
from .delivery import Delivery
from .headers import MAX_LINE
from .ledger import Ledger

log = logging.getLogger("flask_mailtrack.send")


@dataclass(frozen=True)
class Office:
    """What a tracked connection needs; one per app."""

    preparer: prepare.Preparer
    ledger: Ledger
    failed: Callable[[str, Exception], None]


def install(doors: list[Any], office: Callable[[Any], Office | None]) -> None:
    """Make ``connect`` of *doors* return tracked connections.

    :param doors: the host's ``Mail`` and ``app.extensions["mail"]``.
    :param office: returns what the current app needs, or ``None`` if it is not tracked.
    """
    for door in doors:
        if "connect" not in vars(door):  # two apps may share one Mail object
            door.connect = functools.partial(_connect, door, door.connect, office)


def is_mail(candidate: object) -> bool:
    """Say whether *candidate* is a Flask-Mail ``Mail`` object."""
    return isinstance(candidate, Mail)


def _connect(door: Any, connect: Callable[[], Connection], office: Callable[[Any], Office | None]) -> Connection:
    connection = connect()
    found = office(door)
    if not isinstance(connection, Connection):
        log.warning("%s is not a Connection of Flask-Mail: its mail is not tracked", type(connection).__name__)
    elif found is not None and not isinstance(connection, TrackedConnection):
        # The host may have a Connection class of its own: ours goes on top of it.
        connection.__class__ = _on_top_of(type(connection), TrackedConnection)
        cast("TrackedConnection", connection).office = found
    return connection


_classes: dict[tuple[type[Any], type[Any]], type[Any]] = {}


def _on_top_of(base: type[Any], mixin: type[Any]) -> type[Any]:
    """Return *mixin* on top of the host's own class, the same one each time."""
    if base in mixin.__mro__:
        return mixin
    if (base, mixin) not in _classes:
        _classes[base, mixin] = type(mixin.__name__, (mixin, base), {"__module__": __name__})
    return _classes[base, mixin]


class TrackedCopy(Message):
    """One recipient's copy: the author's message with an envelope of its own."""

    prepared: Copy

    @classmethod
    def of(cls, message: Message, prepared: Copy) -> TrackedCopy:
        """Return the copy of *message* that *prepared* describes."""
        clone = copying.copy(message)
        clone.__class__ = _on_top_of(type(message), cls)
        clone.alts = dict(prepared.alts)
        clone.html = prepared.html
        clone.body = prepared.body
        clone.extra_headers = prepared.extra_headers or None
        vars(clone).pop(options.ATTRIBUTE, None)
        tracked = cast("TrackedCopy", clone)
        tracked.prepared = prepared
        return tracked

    @property
    def send_to(self) -> set[str | tuple[str, str]]:
        """The envelope's recipient; the headers show what the author wrote."""
        return set(self.prepared.recipients)

    def _message(self) -> MIMEBase:
        """Give each part with parts a boundary, so that Python need not look for one.

        Left to itself it searches the whole text, once for each level, for a number that does not
        occur in it: a quarter of the time that a mail of 40 KB takes. 128 random bits do not occur.
        """
        message = super()._message()
        for part in message.walk():
            kind = str(part["Content-Type"]) if part.is_multipart() else ""
            if kind.startswith("multipart/") and "boundary=" not in kind:
                # "=_" cannot stand in quoted-printable: RFC 2045, section 6.7.
                part.replace_header("Content-Type", f'{kind}; boundary="=_{token_hex(16)}"')
        return message

    def _mimetext(self, text: str | None, subtype: str = "plain") -> MIMEText:
        """Flask-Mail writes lines as long as they come; a mail server may cut or refuse them."""
        # What goes out is not always in the charset that was asked for: Japanese is sent as ISO-2022-JP.
        charset = Charset(self.charset or "utf-8")
        try:
            octets = (text or "").encode(charset.output_charset or "utf-8")
        except (UnicodeError, LookupError):
            return super()._mimetext(text, subtype)
        if _lines_fit(octets):
            return super()._mimetext(text, subtype)
        part = MIMEText("", _subtype=subtype, _charset=self.charset or "utf-8")
        part.replace_header("Content-Transfer-Encoding", "quoted-printable")
        part.set_payload(b2a_qp(octets, istext=True).decode("ascii"))
        return part


class TrackedConnection(Connection):
    """A connection that sends tracked copies."""

    office: Office

    def send(self, message: Message, envelope_from: str | tuple[str, str] | None = None) -> None:
        """Send *message*, a copy for each recipient.

        :raises OptOutsUnavailable: it names a list whose opt-outs cannot be read.
        :raises BadHeaderError: a header of it would break out of its line.
        :raises smtplib.SMTPException: as without us: all recipients were refused, or the server
            failed; then too every copy that can still be sent has been.
        """
        if isinstance(message, TrackedCopy) or _is_unsendable(message):
            super().send(message, envelope_from)
            return
        if bad := headers.bad_header(_headers(message)):
            raise BadHeaderError(f"{bad!r} has a name or a value that would break out of its line")
        try:
            batch = self.office.preparer.prepare(message)
        except OptOutsUnavailable:
            raise
        except Exception as error:
            if options.names_a_list(message):
                raise OptOutsUnavailable("the message could not be prepared, so nobody was asked") from error
            log.exception("a message goes out untracked")
            self.office.failed("prepare", error)
            super().send(_untracked(message), envelope_from)
            return
        self._send_batch(message, batch, envelope_from)

    def _send_batch(self, message: Message, batch: Batch, envelope_from: str | tuple[str, str] | None) -> None:
        ledger = self.office.ledger
        page = ledger.page(batch.common, batch.suppressed)
        delivery = Delivery(self, super().send, envelope_from, page)
        try:
            for copy in batch.copies:
                tracked = TrackedCopy.of(message, copy)
                page.begin(copy.rows)
                delivery.send(tracked, copy)
        finally:
            page.close()
            ledger.close()
            for failure in batch.failures:
                self._tell(failure)
        delivery.report()

    def _tell(self, failure: RewriteError) -> None:
        reason = failure.reason if failure.reason in ("clipped", "prepare") else "rewrite"
        log.warning("HTML %s: %s", "too long" if reason == "clipped" else "goes out as written", failure)
        self.office.failed(reason, failure)


def _lines_fit(octets: bytes) -> bool:
    """Say whether no line is too long for SMTP. Looks at one place in a thousand, unless it must look at all."""
    start, size = 0, len(octets)
    while size - start > MAX_LINE:
        end = octets.rfind(b"\n", start, start + MAX_LINE + 1)
        if end < 0:  # a lone CR ends a line too
            return max(map(len, octets[start:].splitlines())) <= MAX_LINE
        start = end + 1
    return True


def _headers(message: Message) -> dict[str, str]:
    """Return what the author puts into headers, as far as it can break out of its line.

    A folded value is legal, and a name or subject that is not ASCII is encoded before it is written.
    """
    found = {name: headers.unfolded(value) for name, value in (message.extra_headers or {}).items()}
    people = [message.sender, message.reply_to or "", *message.recipients, *message.cc, *message.bcc]
    for number, person in enumerate(people):
        if person and not addresses.is_bare(person):
            name, address = addresses.name_and_address(person)
            found[f"Address-{number}"] = address
            found[f"Name-{number}"] = name if str(name).isascii() else ""
    subject = headers.unfolded(message.subject or "")
    return {**found, "Subject": subject if subject.isascii() else ""}


def _is_unsendable(message: Message) -> bool:
    """Flask-Mail's own checks come first, so that its own errors are what a host sees."""
    return not message.send_to or not message.sender or message.has_bad_headers()


def _untracked(message: Message) -> Message:
    clone = copying.copy(message)
    given = message.extra_headers or {}
    clone.extra_headers = {k: v for k, v in given.items() if k.lower() != options.HEADER.lower()} or None
    return clone
