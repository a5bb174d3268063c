"""Hands the copies of one message to SMTP, and finds out what became of each."""

from __future__ import annotations

import logging
import re
import smtplib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from flask_mailtrack.events import SentMessage, Status
from flask_mailtrack.privacy import legible, normalise

from .copies import Copy
from .ledger import Page

log = logging.getLogger("flask_mailtrack.send")

MAX_REPLY = 500
"""Characters that are kept of what an SMTP server says; MariaDB has 64 kB for it, and a server may send megabytes."""
_SEVERAL = 20


@dataclass
class Delivery:
    """Sends the copies of one message over one connection, and notes the fate of each."""

    connection: Any
    transmit: Callable[[Any], None]
    page: Page
    delivered: int = 0
    trouble: Exception | None = None
    """The first that is not a refused recipient. Only one is kept: each holds on to the copy that it befell."""
    refused: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def send(self, message: Any, copy: Copy) -> None:
        """Send *message*, which carries *copy*. What goes wrong waits for :meth:`report`: the others still go out."""
        watch = Watch()
        try:
            self._attempt(message, watch)
        except Exception as error:
            if isinstance(error, smtplib.SMTPRecipientsRefused):
                self.refused |= error.recipients
            else:
                self.trouble = self.trouble or error
            status, text = watch.fate(error)
            for row in copy.rows:
                own = watch.own_reply(error, row.recipient)
                self.page.fate([row], status, _clean(own or text, copy.rows, row))
        else:
            self._accepted(copy, watch)
            self.delivered += 1

    def _accepted(self, copy: Copy, watch: Watch) -> None:
        refused = [row for row in copy.rows if row.recipient in watch.refused]
        self.page.fate([row for row in copy.rows if row not in refused] if refused else copy.rows, Status.SENT)
        for row in refused:
            self.page.fate([row], Status.FAILED, _clean(_reply(*watch.refused[row.recipient]), copy.rows, row))

    def report(self) -> None:
        """Raise what the host would have seen without us.

        One message to many is refused as a whole only if every recipient is: then smtplib raises,
        else it returns. Anything but a refused recipient is the server's trouble, and is raised.
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
            # Servers limit the messages of one connection. Without us this would have been one message,
            # so a connection that ends between two copies is ours to renew, once.
            between = self.delivered or self.refused or self.trouble
            if not between or watch.in_data or watch.done or not _connection_ended(error):
                raise
            log.info("the server ended the connection between two copies: connecting again")
            self.connection.host = self.connection.configure_host()
            with watch.over(self.connection.host):
                self.transmit(message)


@dataclass
class Watch:
    """Sees what Flask-Mail does not tell: which recipients were refused, and how far a copy came."""

    in_data: bool = False
    done: bool = False
    refused: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    @contextmanager
    def over(self, host: Any) -> Iterator[None]:
        """Watch ``sendmail`` and ``data`` of this one connection while a copy is sent."""
        if host is None:  # MAIL_SUPPRESS_SEND
            yield
            return
        sendmail, data = host.sendmail, host.data

        def watched_data(*args: Any, **kwargs: Any) -> Any:
            self.in_data = True
            reply = data(*args, **kwargs)
            self.in_data = False
            return reply

        def watched_sendmail(*args: Any, **kwargs: Any) -> Any:
            refused = sendmail(*args, **kwargs)
            self.done = True
            if isinstance(refused, dict):
                self.refused = {normalise(address): reply for address, reply in refused.items()}
            return refused

        host.sendmail, host.data = watched_sendmail, watched_data
        try:
            yield
        finally:
            host.sendmail, host.data = sendmail, data

    @staticmethod
    def own_reply(error: Exception, recipient: str) -> str:
        """Return what the server said of one recipient, if it refused them by name."""
        if not isinstance(error, smtplib.SMTPRecipientsRefused):
            return ""
        own = {normalise(address): reply for address, reply in error.recipients.items()}
        return _reply(*own[recipient]) if recipient in own else ""

    def fate(self, error: Exception) -> tuple[Status, str]:
        """Return what became of a copy whose sending raised *error*."""
        if self.done:  # a receiver of email_dispatched raised, or the reconnect after it did
            return Status.SENT, ""
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            some = islice(error.recipients.values(), _SEVERAL)
            return Status.FAILED, legible("; ".join(_reply(*reply) for reply in some), MAX_REPLY)
        if isinstance(error, smtplib.SMTPResponseException):
            return Status.FAILED, _reply(error.smtp_code, error.smtp_error)
        if self.in_data:
            return Status.UNKNOWN, legible(f"connection lost after DATA: {error}", MAX_REPLY)
        return Status.FAILED, legible(f"{type(error).__name__}: {error}", MAX_REPLY)


def _clean(said: str, rows: Sequence[SentMessage], row: SentMessage) -> str:
    """Return what a server said for the row of one person, without the addresses of the others."""
    for other in sorted({each.recipient for each in rows if each is not row and each.recipient}, key=len, reverse=True):
        said = re.sub(rf"(?<![\w.+-]){re.escape(other)}(?![\w-]|\.\w)", "", said, flags=re.IGNORECASE)
    return legible(said, MAX_REPLY)


def _connection_ended(error: smtplib.SMTPException) -> bool:
    code = getattr(error, "smtp_code", None)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(reply[0] == 421 for reply in error.recipients.values())
    return code == 421 or isinstance(error, smtplib.SMTPServerDisconnected)


def _reply(code: int, text: bytes | str) -> str:
    return legible(f"{code} {legible(text, MAX_REPLY)}", MAX_REPLY)
