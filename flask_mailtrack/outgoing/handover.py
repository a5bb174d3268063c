"""Mail of other programs: it is tracked, handed to the real mail server, and answered as that server answers.

SMTP has one answer for all recipients of a mail. Each recipient has a copy, so the server may take some of them only.
The answer then is one after which nothing is lost and nobody gets a second copy:

- 250 if everybody was reached, and also if the server refuses some for good: another try would be refused again. Their
  rows have the server's words.
- 451 if anybody may still be reached. When the program sends the same mail once more, those who have it get no other
  copy. They are remembered by the octets of the mail, if it has a Message-ID: without one, two equal mails may be two.
- The server's own 5xx if it refuses everybody.
"""

from __future__ import annotations

import hashlib
import logging
import re
import smtplib
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from flask_mailtrack.errors import KeyNotClaimed, OptOutsUnavailable, UnknownList, UnknownTag
from flask_mailtrack.events import Status
from flask_mailtrack.privacy import legible, normalise

from .copies import PreparedMail, addressed, prepared
from .delivery import Copy
from .office import SendServices

log: logging.Logger = logging.getLogger("flask_mailtrack.relay")

Reply = tuple[int, str]

SERVER_SECONDS = 60.0
"""For which the server may be silent."""
MAIL_SECONDS = 240.0
"""After which no other copy is begun. A program waits for an answer, and begins again if none comes."""
REMEMBERED = 10_000
"""Mails that have reached a part of their recipients."""
MOST_HOPS = 50
"""Header fields Received, after which a mail is going in circles: RFC 5321, section 6.3."""

_TAKEN = 250
_LATER = 451
_OUR_LOGIN = {530, 534, 535, 538}
"""Answers to a wrong login: ours to mend, and no reason to lose a mail."""
_BLANK = re.compile(rb"\r?\n\r?\n")
_HOP = re.compile(rb"^received[ \t]*:", re.I | re.M)
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:[ \t]*\S", re.I | re.M)


@dataclass(frozen=True, slots=True)
class Given:
    """A mail that a program has handed in."""

    sender: str
    """The sender of the envelope; empty for a report that nobody answers."""
    recipients: tuple[str, ...]
    content: bytes
    in_utf_8: bool = False
    """Whether the program has said SMTPUTF8: RFC 6531."""
    trace: bytes = b""
    """The header Received that is put in front."""
    since: float = field(default_factory=time.monotonic)

    @property
    def head(self) -> bytes:
        """The headers."""
        end = _BLANK.search(self.content)
        return self.content[: end.start()] if end else self.content


@dataclass(frozen=True, slots=True)
class MailServer:
    """The real mail server, as the keys of Flask-Mail and Flask-Mailman name it."""

    host: str
    port: int
    tls: bool
    starttls: bool
    name: str = field(repr=False)
    password: str = field(repr=False)
    is_suppressed: bool = False
    """Whether mail ends here: ``MAIL_SUPPRESS_SEND``."""

    @classmethod
    def of(cls, config: Mapping[str, Any], testing: bool) -> MailServer:
        """Return the mail server in the configuration of an app."""
        return cls(
            host=str(config.get("MAIL_SERVER") or "127.0.0.1"),
            port=int(config.get("MAIL_PORT") or 25),
            tls=bool(config.get("MAIL_USE_SSL")),
            starttls=bool(config.get("MAIL_USE_TLS")),
            name=str(config.get("MAIL_USERNAME") or ""),
            password=str(config.get("MAIL_PASSWORD") or ""),
            is_suppressed=bool(config.get("MAIL_SUPPRESS_SEND", testing)),
        )

    def connect(self) -> smtplib.SMTP:
        """Connect, and log in.

        :raises OSError: the server cannot be reached, or does not let us in.
        """
        client: smtplib.SMTP
        if self.tls:
            client = smtplib.SMTP_SSL(
                self.host, self.port, timeout=SERVER_SECONDS, context=ssl.create_default_context()
            )
        else:
            client = smtplib.SMTP(self.host, self.port, timeout=SERVER_SECONDS)
        try:
            if self.starttls:
                client.starttls(context=ssl.create_default_context())
            if self.name:
                client.login(self.name, self.password)
            client.ehlo_or_helo_if_needed()
        except BaseException:
            client.close()
            raise
        return client


class _ServerLine:
    """A connection to the server, which is begun again if the server ends it between two copies."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self.host: Any = None if server.is_suppressed else server.connect()

    def configure_host(self) -> smtplib.SMTP:
        """Connect once more."""
        self.host.close()
        return self._server.connect()

    def close(self) -> None:
        """End the connection."""
        if self.host is not None:
            with suppress(smtplib.SMTPException, OSError):
                self.host.quit()


class Served:
    """Who has had which mail, so that a mail that comes again goes only to the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, set[str]] = OrderedDict()
        self._busy: set[bytes] = set()

    @contextmanager
    def of(self, mail: Given) -> Iterator[set[str] | None]:
        """Yield the addresses that have had *mail*, for the caller to add to; ``None``: it is on its way right now."""
        if not _MESSAGE_ID.search(mail.head):
            yield set()
            return
        key = hashlib.sha256(mail.sender.encode("utf-8", "surrogatepass") + b"\0" + mail.content).digest()
        with self._lock:
            if is_first := key not in self._busy:
                self._busy.add(key)
            had = self._known.get(key, set())
        if not is_first:
            yield None
            return
        try:
            yield had
        finally:
            with self._lock:
                self._busy.discard(key)
                if had:
                    self._known[key] = had
                    self._known.move_to_end(key)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)


class Handover:
    """Takes mails, and hands their copies to the server. Many threads may do so at once.

    :param office: prepares the copies, and writes down what becomes of them.
    :param context: what a mail is handed on in, such as ``app.app_context``.
    """

    def __init__(
        self, office: SendServices, server: MailServer, context: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._office = office
        self._server = server
        self._context = context
        self._served = Served()

    def answer(self, mail: Given) -> str:
        """Hand a mail to the server, and return the answer for the program. Never raises."""
        said = _line(_LATER, "the relay has failed, and its log says why.")
        try:
            with self._context(), self._served.of(mail) as had:
                said = _line(_LATER, "the same mail is on its way.") if had is None else self._answer(mail, had)
        except Exception:  # also of a teardown function of the host, after the mail was sent
            log.exception("the relay has failed")
        return said

    def _answer(self, mail: Given, had: set[str]) -> str:
        if len(_HOP.findall(mail.head)) > MOST_HOPS:
            return _line(554, "this mail goes in circles.")
        to = [each for each in mail.recipients if normalise(each) not in had]
        if not to:
            return _line(_TAKEN, "everybody has this mail already.")
        try:
            line = _ServerLine(self._server)
        except (OSError, smtplib.SMTPException) as error:
            log.warning("the mail server cannot be reached, so nothing is sent: %s", _cause(error))
            return _line(_LATER, "the mail server cannot be reached.")
        try:
            return summary(_Sending(self._office, mail, line, had).replies(to))
        except OptOutsUnavailable as error:
            log.warning("nothing is sent: %s", error)
            return _line(_LATER, "who has left the list cannot be asked.")
        except KeyNotClaimed as error:
            log.warning("%s", error)
            return _line(_LATER, "the key of this mail cannot be claimed.")
        except (UnknownList, UnknownTag, ValueError) as error:
            return _line(550, str(error))
        finally:
            line.close()


class _Sending:
    """The copies of one mail on their way to the server.

    :param had: those who have the mail already; others are added.
    """

    def __init__(self, office: SendServices, mail: Given, line: _ServerLine, had: set[str]) -> None:
        self._office = office
        self._mail = mail
        self._line = line
        self._had = had
        self._replies: dict[str, Reply] = {}

    def replies(self, to: Sequence[str]) -> dict[str, Reply]:
        """Send the mail, and return the server's reply for each recipient. Who has left the list is not among them."""
        made = prepared(self._office, self._mail.trace + self._mail.content, self._mail.sender, to)
        if made.mailing is None:
            self._transmit_untracked(made, list(to))
            return self._replies
        self._replies |= {copy.recipient: _of_earlier(copy.status) for copy in made.mailing.repeated}

        def written(copy: Copy) -> tuple[Copy, bytes]:
            return copy, made.written(copy)

        def transmit(sent: tuple[Copy, bytes]) -> None:
            copy, content = sent
            refused = self._transmit(addressed(copy), content)
            made.left(content, copy, {normalise(each) for each in refused})

        try:
            self._office.send(made.mailing, self._line, transmit, written, self._mail.content)
        except (OSError, smtplib.SMTPException) as error:  # each copy has its reply already
            log.info("the server has not taken all copies: %s", type(error).__name__)
        return self._replies

    def _transmit_untracked(self, made: PreparedMail, to: list[str]) -> None:
        content = made.untracked()
        with suppress(OSError, smtplib.SMTPException):
            refused = self._transmit(to, content)
            made.left(content, None, {normalise(each) for each in refused})

    def _transmit(self, to: list[str], content: bytes) -> Mapping[str, Any]:
        """Send one copy, note the replies, and return those of refused recipients.

        :raises OSError: likewise ``SMTPException``: as :meth:`smtplib.SMTP.sendmail`.
        """
        try:
            if time.monotonic() - self._mail.since > MAIL_SECONDS:
                raise TimeoutError("there was no time left for this copy")
            refused = self._sendmail(to, content)
        except Exception as error:
            if isinstance(error, smtplib.SMTPRecipientsRefused):
                self._replies |= {each: _reply(*said) for each, said in error.recipients.items()}
            else:
                self._replies |= dict.fromkeys(to, _of_error(error))
            raise
        self._replies |= dict.fromkeys(to, (_TAKEN, "")) | {each: _reply(*said) for each, said in refused.items()}
        self._had.update(normalise(each) for each in to if each not in refused)
        return refused

    def _sendmail(self, to: list[str], content: bytes) -> dict[str, tuple[int, bytes]]:
        client = self._line.host
        if client is None:
            return {}
        options = ["BODY=8BITMIME"] if not content.isascii() and client.has_extn("8bitmime") else []
        is_ascii = all(map(str.isascii, (self._mail.sender, *to)))
        if self._mail.in_utf_8 and not (is_ascii and content.partition(b"\r\n\r\n")[0].isascii()):
            options.append("SMTPUTF8")
        elif not is_ascii:
            raise smtplib.SMTPNotSupportedError("an address in UTF-8, without SMTPUTF8")
        refused: dict[str, tuple[int, bytes]] = client.sendmail(self._mail.sender, to, content, options)
        return refused


def summary(replies: Mapping[str, Reply]) -> str:
    """Return the one answer for all recipients."""
    taken = [address for address, (code, _) in replies.items() if code == _TAKEN]
    later = [said for code, said in replies.values() if code < 500 and code != _TAKEN]
    never = [(code, said) for code, said in replies.values() if code >= 500]
    reached = f"{len(taken)} of {len(replies)} recipients have it"
    if later:
        return _line(_LATER, f"{reached}; send it again for the others: {later[0]}")
    if never and not taken:
        return _line(*never[0])
    if never:
        log.warning("%s; the others were refused for good", reached)
        return _line(_TAKEN, f"{reached}; the others were refused: {never[0][1]}")
    return _line(_TAKEN, reached if replies else "nobody gets it: all have left the list.")


def _reply(code: int, said: bytes | str) -> Reply:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    # 421 would mean that we end the connection. What is neither a yes nor a no may be another one later.
    is_answer = 400 <= code < 600 and code != 421 and code not in _OUR_LOGIN
    return (code if is_answer and code >= 500 else _LATER), legible(text, 200)


def _of_error(error: Exception) -> Reply:
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return 550, "5.6.7 addresses or headers in UTF-8 need SMTPUTF8, of the program and of the mail server"
    if isinstance(error, smtplib.SMTPResponseException):
        return _reply(error.smtp_code, error.smtp_error)
    return _LATER, _said(error)


def _of_earlier(status: Status) -> Reply:
    """Return the reply for somebody to whom an earlier mail with the same key was sent."""
    if status == Status.SENDING:
        return _LATER, "the mail with this key is on its way"
    if status == Status.UNKNOWN:
        return 554, "nobody knows whether the mail with this key has arrived, so it is not sent again"
    return _TAKEN, ""


def _cause(error: BaseException) -> str:
    """Return an error for the log, without the server's words, which may name somebody."""
    code = getattr(error, "smtp_code", None)
    return f"{type(error).__name__} {code}" if code else _said(error)


def _said(error: BaseException) -> str:
    return legible(f"{type(error).__name__}: {error}", 200)


def _line(code: int, text: str) -> str:
    """Return one line of at most 512 octets, in ASCII: RFC 5321, section 4.5.3.1.5. It has a code of RFC 3463."""
    plain = " ".join(legible(text, 300).encode("ascii", "replace").decode().split())
    kind = code // 100
    if not re.match(rf"{kind}\.\d{{1,3}}\.\d{{1,3}} ", plain):
        plain = f"{kind}.{0 if kind == 2 else 3}.0 {plain}"
    return f"{code} {plain}"
