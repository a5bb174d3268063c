"""What became of one copy, as far as the client of SMTP and its errors tell."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from flask_mailtrack.events import Status
from flask_mailtrack.privacy import legible, normalise

MAX_REPLY = 500
"""Characters of an SMTP server's answer that are kept. MariaDB has 64 kB for it, and a server may send megabytes."""
_SEVERAL = 20
_TAKEN = 250
_UNSURE = (smtplib.SMTPServerDisconnected, TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
"""Errors after which the server may have taken the mail all the same."""


@dataclass
class Watch:
    """Learns facts that Flask-Mail does not tell: the refused recipients, and how far a copy came."""

    in_data: bool = False
    """Whether the content was handed over, and the server has not said that it refuses."""
    done: bool = False
    refused: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    blind: bool = False
    """Whether nothing can be watched, as in a backend that is no client of :mod:`smtplib`."""

    @contextmanager
    def over(self, host: Any) -> Iterator[None]:
        """Watch ``sendmail`` and ``data`` of this one connection while a copy is sent."""
        if host is None:  # MAIL_SUPPRESS_SEND, or another backend
            self.blind = True
            yield
            return
        sendmail, data = host.sendmail, host.data

        def watched_data(*args: Any, **kwargs: Any) -> Any:
            self.in_data = True
            said = data(*args, **kwargs)
            self.in_data = bool(said[0] == _TAKEN)  # until sendmail returns: a signal may come in between
            return said

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
    def replies(error: BaseException | None) -> dict[str, str]:
        """Return the server's answer for each recipient that it refused by name."""
        if not isinstance(error, smtplib.SMTPRecipientsRefused):
            return {}
        return {normalise(address): reply(*said) for address, said in error.recipients.items()}

    def fate(self, error: Exception) -> tuple[Status, str]:
        """Return the fate of a copy whose sending raised *error*."""
        if self.done:  # the error came afterwards, from a receiver of email_dispatched or from the reconnect
            return Status.SENT, ""
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            some = islice(error.recipients.values(), _SEVERAL)
            return Status.FAILED, legible("; ".join(reply(*said) for said in some), MAX_REPLY)
        if isinstance(error, smtplib.SMTPResponseException):
            return Status.FAILED, reply(error.smtp_code, error.smtp_error)
        if self.in_data:
            return Status.UNKNOWN, legible(f"connection lost after DATA: {error}", MAX_REPLY)
        lost = self.blind and any(isinstance(each, _UNSURE) for each in _behind(error))
        return Status.UNKNOWN if lost else Status.FAILED, legible(f"{type(error).__name__}: {error}", MAX_REPLY)


def has_ended(error: BaseException) -> bool:
    """Say whether the server has ended the connection."""
    code = getattr(error, "smtp_code", None)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(reply[0] == 421 for reply in error.recipients.values())
    return code == 421 or isinstance(error, smtplib.SMTPServerDisconnected)


def reply(code: int, text: bytes | str) -> str:
    """Return the answer of a server as one line."""
    return legible(f"{code} {legible(text, MAX_REPLY)}", MAX_REPLY)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what stands behind it: the clients of services wrap those of the standard library."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
