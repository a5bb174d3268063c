"""The one door to Flask-Mail: it catches what is sent, and sends the copies.

Flask-Mail has no hook before the bytes leave. Libraries make a second ``Mail`` of the same app, and
connections by themselves, so the hook is where each ``Connection`` comes to be: one of an app with
Mailtrack gets a class of ours on top of its own. For an app without, the hook does nothing, and the
object is Flask-Mail's own.
"""

from __future__ import annotations

import copy as copying
import logging
import re
import time
import weakref
from binascii import b2a_qp
from collections.abc import Callable
from dataclasses import dataclass
from email.charset import Charset
from email.mime.base import MIMEBase
from email.mime.text import MIMEText
from secrets import token_hex
from typing import Any, cast

from flask import Flask, current_app, has_app_context
from flask_mail import BadHeaderError, Connection, Message, _MailMixin
from flask_mail import Mail as Mail  # the rooms above name its type by this door

from flask_mailtrack.config import QUOTED_PRINTABLE
from flask_mailtrack.errors import OptOutsUnavailable, RewriteError, UnknownList, UnknownTag

from . import headers, options, prepare
from .delivery import Copy, Delivery, Ledger, Mailing, is_bare, name_and_address
from .headers import MAX_LINE
from .text import plain

_ESCAPED = re.compile("[\udc80-\udcff]")  # PEP 383

log: logging.Logger = logging.getLogger("flask_mailtrack.send")


@dataclass(frozen=True)
class SendServices:
    """What a tracked connection needs; one per app."""

    preparer: prepare.Preparer
    ledger: Ledger


# The office itself would keep its app alive: what it holds of the host's may hold the app.
_offices: weakref.WeakKeyDictionary[Flask, Callable[[Flask], SendServices]] = weakref.WeakKeyDictionary()
_homes: weakref.WeakKeyDictionary[Any, weakref.ref[Flask]] = weakref.WeakKeyDictionary()
"""The app of each state that Flask-Mail has made; the state itself does not say."""


def install(app: Flask, office: Callable[[Flask], SendServices]) -> None:
    """Have all that leaves *app* through Flask-Mail prepared by its *office*."""
    _offices[app] = office
    _homes[app.extensions["mail"]] = weakref.ref(app)


def is_mail(candidate: object) -> bool:
    """Say whether *candidate* is a ``Mail`` of Flask-Mail, or the state that it keeps for an app."""
    return isinstance(candidate, _MailMixin)


def passers_by(*doors: Any) -> list[str]:
    """Return the classes of the connections that *doors* open, as far as these are not ours."""
    opened = [door.connect() for door in doors]
    return sorted({type(each).__qualname__ for each in opened if not isinstance(each, TrackedConnection)})


def _settled(mail: Mail, app: Flask) -> Any:
    """``Mail.init_app``: note whose the state is."""
    state = _init_app(mail, app)
    _homes[state] = weakref.ref(_itself(app))
    return state


def _made(cls: type[Connection], *args: Any, **kwargs: Any) -> Connection:
    """``Connection.__new__``: put our class on top of *cls* where the app has Mailtrack."""
    app = next(filter(None, map(_home, (*args, *kwargs.values()))), None)
    asked = app or _current()
    # As long as no app is known, one may be when something is sent.
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
    """Return *mixin* on top of the host's own class, the same one each time."""
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
        """The envelope's recipient; the headers show what the author wrote.

        A connection of the host's may send all mail elsewhere, a staging system's for instance: its word counts.
        """
        mine = self.prepared.recipients
        if all(each in self.recipients or each in self.cc or each in self.bcc for each in mine):
            return set(mine)
        wanted = super().send_to
        return set(mine) if wanted.issuperset(mine) else wanted

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
            # What was bytes, and not of this charset, becomes the same bytes again.
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
    """The app that its ``Mail`` was made with; ``None``: the current one counts."""

    def send(self, message: Message, *args: Any, **kwargs: Any) -> None:
        """Send *message*, a copy for each recipient.

        :param args: with *kwargs* what the host's own ``send`` takes; Flask-Mail's takes ``envelope_from``.
        :raises OptOutsUnavailable: it names a list whose opt-outs cannot be read.
        :raises UnknownList: it names a list that is not in ``MAILTRACK_LISTS``.
        :raises UnknownTag: it has a tag that is retired, or not declared where any is.
        :raises BadHeaderError: a header of it would break out of its line.
        :raises smtplib.SMTPException: as without us: all recipients were refused, or the server
            failed; then too every copy that can still be sent has been.
        """
        transmit = super().send
        office = self._office()
        if office is None or isinstance(message, TrackedCopy) or _is_unsendable(message):
            transmit(message, *args, **kwargs)
            return
        if bad := headers.bad_header(_headers(message)):
            raise BadHeaderError(f"{bad!r} has a name or a value that would break out of its line")
        if message.date is None:  # as Flask-Mail does: a host reads there when its mail was sent
            message.date = time.time()
        try:
            message = _with_plain_bodies(message)
            batch = office.preparer.prepare(message)
        except (OptOutsUnavailable, UnknownList, UnknownTag):
            raise
        except Exception as error:
            if options.names_a_list(message):
                raise OptOutsUnavailable("the message could not be prepared, so nobody was asked") from error
            log.exception("a message goes out untracked")
            office.ledger.journal.failed("prepare", error)
            transmit(_untracked(message), *args, **kwargs)
            return
        self._send_batch(office, message, batch, lambda copy: transmit(copy, *args, **kwargs))

    def _office(self) -> SendServices | None:
        app = self.home() if self.home else _current()
        found = _offices.get(app) if app else None
        return found(app) if app and found else None

    def _send_batch(
        self, office: SendServices, message: Message, batch: Mailing, transmit: Callable[[Any], None]
    ) -> None:
        page = office.ledger.page(batch.common, batch.suppressed)
        delivery = Delivery(self, transmit, page)
        try:
            for copy in batch.copies:
                tracked = TrackedCopy.of(message, copy)
                page.begin(copy.rows)
                delivery.send(tracked, copy)
        finally:
            page.close()
            office.ledger.journal.wake()
            for failure in batch.failures:
                _tell(office, failure)
        delivery.report()


def _tell(office: SendServices, failure: RewriteError) -> None:
    reason = failure.reason if failure.reason in ("clipped", "prepare") else "rewrite"
    log.warning("HTML %s: %s", "too long" if reason == "clipped" else "goes out as written", failure)
    office.ledger.journal.failed(reason, failure)


def _with_plain_bodies(message: Message) -> Message:
    """Return *message*, or a copy of it, with bodies that are nothing but text.

    A lazy string is translated now, as Flask-Mail does when it writes the mail. A ``Markup`` would escape
    what is put into it, and is equal to the string that is not marked.
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
        if person and not is_bare(person):
            name, address = name_and_address(person)
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


_init_app = Mail.init_app
Mail.init_app = _settled  # type: ignore[assignment,method-assign]
Connection.__new__ = _made  # type: ignore[assignment,method-assign]
