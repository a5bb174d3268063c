"""The standard library's SMTP clients, which send tracked mail.

Each is used as the client of :mod:`smtplib` that it is: ``send_message`` and ``sendmail`` track what they are given,
and return and raise what they did before.
"""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from email.message import Message
from typing import Any

from flask_mailtrack.privacy import normalise

from .copies import addressed, prepared
from .delivery import Copy
from .office import SendServices

__all__ = ["TrackedSMTP", "TrackedSMTPOverTLS"]


class _Line:
    """The connection of a client, which is begun again if the server ends it between two copies."""

    def __init__(self, client: Any) -> None:
        self.host = client

    def configure_host(self) -> Any:
        """Do again what the host did before it sent."""
        self.host.close()
        self.host.helo_resp = self.host.ehlo_resp = None  # of the old connection: smtplib keeps them
        for name, args, kwargs in tuple(self.host.steps):
            getattr(smtplib.SMTP, name)(self.host, *args, **kwargs)
        return self.host


class _Tracked(smtplib.SMTP):
    """Put on top of a client of :mod:`smtplib`."""

    office: SendServices
    steps: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = ()
    """The steps before the first mail: name of the method, and its arguments."""
    _author: Message | None = None
    _is_inside = False

    def connect(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Connect, as :meth:`smtplib.SMTP.connect`."""
        self.steps = (("connect", args, kwargs),)
        return super().connect(*args, **kwargs)

    def starttls(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Begin TLS, as :meth:`smtplib.SMTP.starttls`."""
        reply = super().starttls(*args, **kwargs)
        self.steps += (("starttls", args, kwargs),)
        return reply

    def login(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Log in, as :meth:`smtplib.SMTP.login`."""
        before = self.steps
        reply = super().login(*args, **kwargs)  # by auth
        self.steps = (*before, ("login", args, kwargs))
        return reply

    def auth(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Log in by a mechanism of the host's, as :meth:`smtplib.SMTP.auth`."""
        reply = super().auth(*args, **kwargs)
        self.steps += (("auth", args, kwargs),)
        return reply

    def send_message(self, msg: Message, *args: Any, **kwargs: Any) -> Any:
        """Send a message tracked, with the options of :meth:`.Mailtrack.track`, and return the refused recipients."""
        self._author = msg
        try:
            return super().send_message(msg, *args, **kwargs)
        finally:
            self._author = None

    def sendmail(self, from_addr: str, to_addrs: Any, msg: Any, *args: Any, **kwargs: Any) -> Any:
        """Send a mail tracked, with a copy for each recipient, and return the refused recipients.

        :raises OptOutsUnavailable: the mail names a list whose opt-outs cannot be read.
        :raises UnknownList: the mail names a list that is not in ``MAILTRACK_LISTS``; likewise ``UnknownTag``.
        :raises smtplib.SMTPException: all recipients were refused, or the server failed. Every copy that could still
            be sent was sent before.
        """
        to: Sequence[str] = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        if self._is_inside or not to:
            return super().sendmail(from_addr, to, msg, *args, **kwargs)
        mail = prepared(self.office, msg, from_addr, to, author=self._author)
        self._is_inside = True
        try:
            if mail.mailing is None:
                content = mail.untracked()
                refused = self.sendmail(from_addr, to, content, *args, **kwargs)
                mail.left(content, None, {normalise(each) for each in refused})
                return refused

            def written(copy: Copy) -> tuple[Copy, bytes]:
                return copy, mail.written(copy)

            def transmit(made: tuple[Copy, bytes]) -> None:
                copy, content = made
                refused = self.sendmail(from_addr, addressed(copy), content, *args, **kwargs)
                mail.left(content, copy, {normalise(each) for each in refused})

            return self.office.send(mail.mailing, _Line(self), transmit, written, self._author or msg)
        finally:
            self._is_inside = False


class TrackedSMTP(_Tracked):
    """:class:`smtplib.SMTP`, which sends tracked mail."""


class TrackedSMTPOverTLS(_Tracked, smtplib.SMTP_SSL):
    """:class:`smtplib.SMTP_SSL`, which sends tracked mail."""


def client(
    office: SendServices, host: str, port: int, tls: bool, arguments: dict[str, Any]
) -> TrackedSMTP | TrackedSMTPOverTLS:
    """Connect to a server. :meth:`.Mailtrack.smtp` documents the parameters."""
    made = TrackedSMTPOverTLS(host, port, **arguments) if tls else TrackedSMTP(host, port, **arguments)
    made.office = office
    return made
