"""The one door to Flask-Mail: it catches each message, and sends the copies.

Flask-Mail has no hook before the bytes leave. Libraries make a second ``Mail`` of the same app, and connections
of their own. So the hook is at the birth of each ``Connection``: a connection of an app with Mailtrack gets a class
of this module on top of its own. For an app without Mailtrack the hook does nothing, and the object is
Flask-Mail's own.
"""

from __future__ import annotations

import copy as copying
import logging
import re
import time
import weakref
from binascii import b2a_qp
from collections.abc import Callable
from email.charset import Charset
from email.mime.base import MIMEBase
from email.mime.text import MIMEText
from secrets import token_hex
from typing import Any, cast

from flask import Flask, current_app, has_app_context
from flask_mail import BadHeaderError, Connection, Message, _MailMixin, email_dispatched
from flask_mail import Mail as Mail  # the rooms above import the type from this door

from flask_mailtrack.config import QUOTED_PRINTABLE

from . import headers, options
from .delivery import Copy, compared, is_bare, name_and_address
from .dispatched import Dispatched, tell
from .headers import MAX_LINE
from .office import SendServices, without_ours
from .text import plain

_ESCAPED = re.compile("[\udc80-\udcff]")  # PEP 383

log: logging.Logger = logging.getLogger("flask_mailtrack.send")


# A reference to the office would keep the app alive, because objects of the host inside it may hold the app.
_offices: weakref.WeakKeyDictionary[Flask, Callable[[Flask], SendServices]] = weakref.WeakKeyDictionary()
_homes: weakref.WeakKeyDictionary[Any, weakref.ref[Flask]] = weakref.WeakKeyDictionary()
"""The app of each state that Flask-Mail has made. The state itself does not know its app."""


def install(app: Flask, office: Callable[[Flask], SendServices]) -> None:
    """Let the *office* of *app* prepare all mail that leaves the app through Flask-Mail."""
    _offices[app] = office
    _homes[app.extensions["mail"]] = weakref.ref(app)


def is_mail(candidate: object) -> bool:
    """Say whether *candidate* is a ``Mail`` of Flask-Mail, or the state that Flask-Mail keeps for an app."""
    return isinstance(candidate, _MailMixin)


def passers_by(*doors: Any) -> list[str]:
    """Return the classes of the untracked connections that *doors* open."""
    opened = [door.connect() for door in doors]
    return sorted({type(each).__qualname__ for each in opened if not isinstance(each, TrackedConnection)})


def _settled(mail: Mail, app: Flask) -> Any:
    """``Mail.init_app``: note the app of the state."""
    state = _init_app(mail, app)
    _homes[state] = weakref.ref(_itself(app))
    return state


def _made(cls: type[Connection], *args: Any, **kwargs: Any) -> Connection:
    """``Connection.__new__``: put the tracked class on top of *cls* if the app has Mailtrack."""
    app = next(filter(None, map(_home, (*args, *kwargs.values()))), None)
    asked = app or _current()
    # If no app is known yet, there may be one when a message is sent.
    if not (asked in _offices if asked else _offices):
        return object.__new__(cls)
    connection: TrackedConnection = object.__new__(_on_top_of(cls, TrackedConnection))
    connection.home = weakref.ref(app) if app else None
    return connection


def _home(mail: Any) -> Flask | None:
    """Return the app that *mail*, a ``Mail`` or a state of one, was made with."""
    if not is_mail(mail):
        return None
    for each in (mail, vars(mail).get("state")):
        if each is not None and (known := _homes.get(each)) and (app := known()):
            return app
    if app := vars(mail).get("app"):
        return _itself(app)
    now = _current()  # the state may be older than the hook
    return now if now and now.extensions.get("mail") is mail else None


def _itself(app: Any) -> Flask:
    """Return the app that a proxy such as ``current_app`` stands for."""
    unwrap = getattr(app, "_get_current_object", None)
    return cast("Flask", unwrap() if unwrap else app)


def _current() -> Flask | None:
    return _itself(current_app) if has_app_context() else None


_classes: dict[tuple[type[Any], type[Any]], type[Any]] = {}


def _on_top_of(base: type[Any], mixin: type[Any]) -> type[Any]:
    """Return *mixin* on top of the host's own class. The same class is returned each time."""
    if base in mixin.__mro__:
        return mixin
    if issubclass(base, mixin):
        return base
    if (base, mixin) not in _classes:
        _classes[base, mixin] = type(mixin.__name__, (mixin, base), {"__module__": __name__})
    return _classes[base, mixin]


class TrackedCopy(Message):
    """One recipient's copy: the author's message with an envelope of its own."""

    prepared: Copy
    written: tuple[str | None, str | None]
    """The HTML and the text as the author wrote them."""

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
        tracked.prepared, tracked.written = prepared, (message.html, message.body)
        return tracked

    @property
    def send_to(self) -> set[str | tuple[str, str]]:
        """The recipient of the envelope. The headers show the author's recipients.

        A connection of the host may send all mail elsewhere, for example on a staging system. Its recipient counts.
        """
        mine = self.prepared.recipients
        if all(each in self.recipients or each in self.cc or each in self.bcc for each in mine):
            return set(mine)
        wanted = super().send_to
        return set(mine) if wanted.issuperset(mine) else wanted

    def _message(self) -> MIMEBase:
        """Give each multipart a boundary, so that Python need not look for one.

        Python would search the whole text, once for each level, for a number that does not occur in the text. This
        takes a quarter of the time of a mail of 40 KB. 128 random bits do not occur.
        """
        message = super()._message()
        for part in message.walk():
            kind = str(part["Content-Type"]) if part.is_multipart() else ""
            if kind.startswith("multipart/") and "boundary=" not in kind:
                # "=_" cannot stand in quoted-printable: RFC 2045, section 6.7.
                part.replace_header("Content-Type", f'{kind}; boundary="=_{token_hex(16)}"')
        return message

    def _mimetext(self, text: str | None, subtype: str = "plain") -> MIMEText:
        """Encode a text with long lines. Flask-Mail writes lines of any length, and a mail server may refuse them."""
        # The charset on the wire is not always the one that was asked for: Japanese is sent as ISO-2022-JP.
        charset = Charset(self.charset or "utf-8")
        try:
            # Bytes that were not of this charset become the same bytes again.
            octets = (text or "").encode(charset.output_charset or "utf-8", "surrogateescape")
        except (UnicodeError, LookupError):
            return super()._mimetext(text, subtype)
        wanted = self.prepared.encoding == QUOTED_PRINTABLE
        if not wanted and _lines_fit(octets) and not _ESCAPED.search(text or ""):
            return super()._mimetext(text, subtype)
        part = MIMEText("", _subtype=subtype, _charset=self.charset or "utf-8")
        part.replace_header("Content-Transfer-Encoding", QUOTED_PRINTABLE)
        part.set_payload(b2a_qp(octets, istext=True).decode("ascii"))
        return part


class TrackedConnection(Connection):
    """A connection that sends tracked copies, if the app has Mailtrack."""

    home: weakref.ref[Flask] | None = None
    """The app of the ``Mail`` behind the connection; ``None``: the current app counts."""

    def send(self, message: Message, *args: Any, **kwargs: Any) -> None:
        """Send *message*, with a copy for each recipient.

        :param args: with *kwargs*, the arguments of the host's own ``send``; Flask-Mail's takes ``envelope_from``.
        :raises OptOutsUnavailable: the message names a list whose opt-outs cannot be read.
        :raises UnknownList: the message names a list that is not in ``MAILTRACK_LISTS``.
        :raises UnknownTag: the tag is retired, or is not among the declared tags.
        :raises BadHeaderError: a header would break out of its line.
        :raises smtplib.SMTPException: all recipients were refused, or the server failed, as without Mailtrack. Every
            copy that could still be sent was sent before.
        """
        transmit = super().send
        office = self._office()
        if office is None or isinstance(message, TrackedCopy) or _is_unsendable(message):
            transmit(message, *args, **kwargs)
            return
        if bad := headers.bad_header(_headers(message)):
            raise BadHeaderError(f"{bad!r} has a name or a value that would break out of its line")
        if message.date is None:  # Flask-Mail sets it, too, and a host may read the time of sending there
            message.date = time.time()
        with_plain = office.attempt(message, lambda: _with_plain_bodies(message))
        batch = with_plain and office.mailing(with_plain)
        if not with_plain or not batch:
            transmit(_untracked(message), *args, **kwargs)
            return
        made = with_plain
        office.send(
            batch, self, lambda copy: transmit(copy, *args, **kwargs), lambda copy: TrackedCopy.of(made, copy), message
        )

    def _office(self) -> SendServices | None:
        app = self.home() if self.home else _current()
        found = _offices.get(app) if app else None
        return found(app) if app and found else None


def _pass_on(app: Flask, message: Message, **_: Any) -> None:
    """Tell of a mail that Flask-Mail has sent, or would have sent without ``MAIL_SUPPRESS_SEND``."""
    tell(app, lambda: _dispatched(message))


def _dispatched(message: Message) -> Dispatched:
    copy, written = (message.prepared, message.written) if isinstance(message, TrackedCopy) else (None, None)
    ids = {row.recipient: row.id for row in copy.rows} if copy else {}
    people = sorted(compared(each) for each in message.send_to)
    subject = headers.unfolded(str(message.subject or ""))
    rows = {person: ids.get(person) for person in people}
    return Dispatched(message.as_bytes(), str(message.sender or ""), subject, rows, written)


class MailLine:
    """A connection of Flask-Mail's, for a campaign."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._connection: Any = None

    def open(self) -> None:
        """Connect."""
        self._connection = self._mail.connect().__enter__()

    def send(self, message: Message) -> None:
        """Send a message.

        :raises ValueError: a header would break out of its line.
        """
        try:
            self._connection.send(message)
        except BadHeaderError as error:  # which is no ValueError in Flask-Mail
            raise ValueError(str(error)) from error

    def close(self) -> None:
        """Say goodbye."""
        self._connection.__exit__(None, None, None)


def _with_plain_bodies(message: Message) -> Message:
    """Return *message*, or a copy of it, with bodies that are plain strings.

    A lazy string is translated now; Flask-Mail would translate it when it writes the mail. A ``Markup`` would escape
    each insertion, and compares equal to the unmarked string.
    """
    charset = Charset(message.charset or "utf-8").output_charset or "utf-8"
    parts = {kind: plain(part, charset) for kind, part in message.alts.items()}
    body = plain(message.body, charset)
    if body is message.body and all(part is message.alts[kind] for kind, part in parts.items()):
        return message
    clone = copying.copy(message)
    clone.alts, clone.body = parts, body
    return clone


def _lines_fit(octets: bytes) -> bool:
    """Say whether all lines are short enough for SMTP. Usually one look in a thousand characters is enough."""
    start, size = 0, len(octets)
    while size - start > MAX_LINE:
        end = octets.rfind(b"\n", start, start + MAX_LINE + 1)
        if end < 0:  # a lone CR ends a line, too
            return max(map(len, octets[start:].splitlines())) <= MAX_LINE
        start = end + 1
    return True


def _headers(message: Message) -> dict[str, str]:
    """Return the author's header values that can break out of their lines.

    A folded value is legal. A name or subject that is not ASCII is encoded before it is written.
    """
    found = {name: headers.unfolded(value) for name, value in (message.extra_headers or {}).items()}
    people = [message.sender, message.reply_to or "", *message.recipients, *message.cc, *message.bcc]
    for number, person in enumerate(people):
        if person and not is_bare(person):
            name, address = name_and_address(person)
            found[f"Address-{number}"] = address
            found[f"Name-{number}"] = name if str(name).isascii() else ""
    subject = headers.unfolded(message.subject or "")
    return {**found, "Subject": subject if subject.isascii() else ""}


def _is_unsendable(message: Message) -> bool:
    """Say whether Flask-Mail itself refuses the message. Its checks come first, so that a host sees its errors."""
    return not message.send_to or not message.sender or message.has_bad_headers()


def _untracked(message: Message) -> Message:
    clone = copying.copy(message)
    clone.extra_headers = without_ours(message.extra_headers or {}) or None
    return clone


_init_app = Mail.init_app
Mail.init_app = _settled  # type: ignore[assignment,method-assign]
email_dispatched.connect(_pass_on)
Connection.__new__ = _made  # type: ignore[assignment,method-assign]
