"""The relay: an SMTP server of this machine, which tracks the mail of other programs.

Each mail goes to the ``handover`` in a thread of its own, and the program waits for the answer. So nothing is kept here
that could be lost. aiosmtpd speaks SMTP, and is imported here only.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from flask_mailtrack.admission import Listen, admits
from flask_mailtrack.config import Settings

from .handover import Given

log: logging.Logger = logging.getLogger("flask_mailtrack.relay")

MOST_CLIENTS = 100
MOST_RECIPIENTS = 100
"""Of one mail. A program that has more sends the mail once more: RFC 5321, section 4.5.3.1.10."""
THREADS = 8
IDLE_SECONDS = 600.0
"""After which a silent program is hung up on; longer than a mail may take."""
LOGIN_SECONDS = 30.0
"""After which a program that has not logged in is hung up on, where users are configured."""
CLOSE_SECONDS = 10.0
"""After which a program that does not take the end of its connection is cut off."""
LAST_SECONDS = 60.0
"""Within which mails that are under way are answered when the relay ends."""
_TLS_SECONDS = 10.0
_TRIES = 3
"""Wrong passwords of one connection."""
_PIECE = 65_536


@dataclass(frozen=True)
class RelayDoor:
    """Where mail is taken, from whom, and how much."""

    listen: Listen
    users: Mapping[str, str]
    max_bytes: int
    context: ssl.SSLContext | None = None

    @classmethod
    def of(cls, settings: Settings) -> RelayDoor:
        """Return the door that the configuration of an app describes.

        :raises OSError: certificate or key cannot be read.
        """
        context = None
        if settings.relay_certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(settings.relay_certificate, settings.relay_private_key or None)
        return cls(settings.relay_listen, settings.relay_users, settings.relay_max_bytes, context)


def run(door: RelayDoor, answer: Callable[[Given], str], ready: Callable[[], object]) -> None:
    """Take mail until SIGTERM or SIGINT. A second signal ends the process at once.

    :param answer: hands a mail on, in a thread, and returns the answer.
    :param ready: called when mail is taken.
    :raises OSError: the address is in use, or is none of this machine.
    """

    async def serve() -> None:
        until, loop = asyncio.Event(), asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)

        def end() -> None:
            until.set()
            for each in signals:
                loop.remove_signal_handler(each)

        for each in signals:
            loop.add_signal_handler(each, end)
        await Relay(door, answer).serve(until, ready)

    logging.getLogger("mail.log").setLevel(logging.WARNING)  # of aiosmtpd, which writes addresses at INFO
    asyncio.run(serve())


class Relay:
    """Takes mail until it is told to end.

    :param answer: hands a mail on, in a thread, and returns the answer.
    """

    def __init__(self, door: RelayDoor, answer: Callable[[Given], str]) -> None:
        self.door = door
        self.answer = answer
        self.pool: ThreadPoolExecutor = ThreadPoolExecutor(THREADS, "mailtrack-relay")
        self.talks: set[_Talk] = set()
        self.is_ending: bool = False

    async def serve(self, until: asyncio.Event, ready: Callable[[], object] = lambda: None) -> None:
        """Take mail. When *until* is set, answer the mails that are under way, and end.

        :param ready: called when mail is taken.
        :raises OSError: the address is in use, or is none of this machine.
        """
        loop = asyncio.get_running_loop()
        listen, context = self.door.listen, self.door.context
        patience = _TLS_SECONDS if context else None
        server = await loop.create_server(
            *(self._talk, listen.host, listen.port),
            ssl=context,
            ssl_handshake_timeout=patience,
            ssl_shutdown_timeout=patience,
        )
        ready()
        await until.wait()
        self.is_ending = True
        server.close()
        for talk in [*self.talks]:
            talk.end_if_idle()
        over = loop.time() + LAST_SECONDS
        while self.talks and loop.time() < over:
            await asyncio.wait([talk.gone for talk in self.talks], timeout=over - loop.time())
        self.pool.shutdown(wait=not self.talks, cancel_futures=True)

    def _talk(self) -> asyncio.Protocol:
        return _Talk(self) if len(self.talks) < MOST_CLIENTS else _Busy()


class _Busy(asyncio.Protocol):
    """Says that there are too many clients."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"421 4.3.2 too many connections, try again later\r\n")
        transport.close()


class _Rules:
    """What is asked of a client, for aiosmtpd to call."""

    def __init__(self, door: RelayDoor) -> None:
        self._door = door

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name, as are the others
        self, server: Any, session: Any, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return responses if self._door.users else [line for line in responses if not line.startswith("250-AUTH")]

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._door.users and not session.authenticated:
            return "530 5.7.0 authentication required"
        if not _is_text(address):
            return "553 5.6.7 the address is not in UTF-8"
        envelope.mail_from = address
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            return "452 4.5.3 too many recipients, send the mail once more for the others"
        if not _is_text(address):
            return "553 5.6.7 the address is not in UTF-8"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    def authenticate(
        self, server: Any, session: Any, envelope: Envelope, mechanism: str, given: LoginPassword
    ) -> AuthResult:
        """Say whether a client has given a name and its password."""
        is_good = bool(self._door.users) and admits(self._door.users, given.login, given.password)
        if not is_good:
            log.warning("a client at %s has given a wrong name or password", session.peer[0])
        return AuthResult(success=is_good, handled=False)


def _is_text(address: str) -> bool:
    """Say whether the octets of an address were UTF-8; aiosmtpd escapes others, which no server could be given."""
    return address.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in address)


class _Talk(SMTP):
    """The conversation with one client."""

    session: Any
    envelope: Any
    transport: Any
    _handler_coroutine: Any
    line_length_limit: int = _PIECE  # of the buffer; a mail itself may have lines of any length

    def __init__(self, relay: Relay) -> None:
        rules = _Rules(relay.door)
        loop = asyncio.get_running_loop()
        super().__init__(
            rules,
            data_size_limit=relay.door.max_bytes,
            enable_SMTPUTF8=True,
            hostname=socket.gethostname(),
            ident="flask-mailtrack relay",
            timeout=IDLE_SECONDS,
            auth_require_tls=False,  # the door has TLS from the first octet on, or needs none
            authenticator=rules.authenticate,
            command_call_limit={"AUTH": _TRIES, "*": 100_000},
            loop=loop,
        )
        self._relay = relay
        self._is_busy = False
        self._timers: list[asyncio.TimerHandle] = []
        self.gone: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._relay.talks.add(self)
        super().connection_made(transport)
        if self._relay.door.users:
            self._timers.append(self.loop.call_later(LOGIN_SECONDS, self._end_if_stranger))

    def connection_lost(self, error: Exception | None) -> None:
        """End. A mail whose answer nobody waits for is handed on all the same."""
        super().connection_lost(error)
        self._relay.talks.discard(self)
        for timer in self._timers:
            timer.cancel()
        if not self.gone.done():
            self.gone.set_result(None)

    def end_if_idle(self) -> None:
        """Hang up, unless a mail is on its way to the server."""
        if not self._is_busy and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"421 4.3.2 the relay ends\r\n")
            self.transport.close()

    def _end_if_stranger(self) -> None:
        """Hang up on a program that has not logged in: its place is needed."""
        if not self.session.authenticated:
            self._timeout_cb()

    def _timeout_cb(self) -> None:
        """Hang up. A transport that closes waits for its reader, who may never read."""
        self.transport.close()
        self._timers.append(self.loop.call_later(CLOSE_SECONDS, self.transport.abort))

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Take a mail, and answer when the server has answered.

        aiosmtpd's own method refuses long lines, and keeps what is too large in memory.
        """
        if arg:
            await self.push("501 5.5.4 DATA has no argument")
            return
        if not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 need RCPT")
            return
        await self.push("354 end with <CRLF>.<CRLF>")
        content = await self._content()
        envelope = self.envelope
        self.envelope = self._create_envelope()
        if content is None:
            await self.push(f"552 5.3.4 a mail may have {self._relay.door.max_bytes} octets")
            return
        self._is_busy = True
        try:
            await self.push(await self._answer(envelope, content))
        finally:
            self._is_busy = False
        if self._relay.is_ending:
            self.end_if_idle()

    async def smtp_POST(self, arg: str | None) -> None:  # noqa: N802
        """Hang up on a browser that a page has sent here, before a command behind its headers is obeyed."""
        self._handler_coroutine.cancel()
        self.transport.close()

    smtp_GET = smtp_PUT = smtp_HEAD = smtp_OPTIONS = smtp_CONNECT = smtp_POST  # noqa: N815

    async def _answer(self, envelope: Envelope, content: bytes) -> str:
        given = Given(
            sender="" if envelope.mail_from == "<>" else str(envelope.mail_from),
            recipients=tuple(envelope.rcpt_tos),
            content=content,
            in_utf_8=bool(envelope.smtp_utf8),
            trace=self._trace(bool(envelope.smtp_utf8)),
        )
        return await self.loop.run_in_executor(self._relay.pool, self._relay.answer, given)

    def _trace(self, in_utf_8: bool) -> bytes:
        """Return the header Received: RFC 5321, section 4.4, and RFC 3848 for the name of the protocol."""
        peer = str(self.session.peer[0])
        literal = f"IPv6:{peer}" if ":" in peer else peer
        by = "UTF8SMTP" if in_utf_8 else "ESMTP"
        by += ("S" if self._relay.door.context else "") + ("A" if self.session.authenticated else "")
        return f"Received: from [{literal}] by {self.hostname} with {by}; {formatdate()}\r\n".encode()

    async def _content(self) -> bytes | None:
        """Read up to the line with the full stop, and undo the doubled full stops; ``None``: the mail is too large.

        Only CRLF ends a line here, so that no mail can be hidden inside another one; a bare LF is part of the text.
        """
        found = bytearray()
        before, limit = b"\r\n", self._relay.door.max_bytes
        size = 0
        while True:
            try:
                piece = await self._reader.readuntil(b"\r\n")
            except asyncio.LimitOverrunError as error:
                piece = await self._reader.read(error.consumed)
            is_line = before == b"\r\n"
            if is_line and piece == b".\r\n":
                return None if size > limit else bytes(found)
            found += piece[1:] if is_line and piece.startswith(b".") else piece
            size += len(piece)
            if size > limit:
                found.clear()
            before = piece[-2:]
