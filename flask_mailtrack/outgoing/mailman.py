"""The door to Flask-Mailman, which has backends as Django has: each backend of an app with Mailtrack sends copies.

Flask-Mailman asks its state for the class of a backend, by a name or as it is. So the state of the app answers with a
class of this module on top of the host's own. Nothing is changed for other apps. The package is an extra, and is not
imported here: whoever has an object of it has imported it.
"""

from __future__ import annotations

import copy as copying
import sys
import weakref
from collections.abc import Callable, Sequence
from email import message_from_bytes
from email.message import Message
from email.utils import getaddresses, parseaddr
from functools import partial
from typing import Any, cast

from flask import Flask

from flask_mailtrack.events import Status

from .copies import addressed, prepared
from .delivery import Copy, compared
from .dispatched import Dispatched
from .office import SendServices

KEY = "mailman"
"""The key of the state in ``app.extensions``."""


def is_mailman(candidate: object) -> bool:
    """Say whether *candidate* is a ``Mail`` of Flask-Mailman."""
    package = sys.modules.get("flask_mailman")
    return package is not None and isinstance(candidate, package._MailMixin)


def install(app: Flask, mail: Any, office: Callable[[Flask], SendServices]) -> None:
    """Let the *office* of *app* prepare all mail that leaves the app through Flask-Mailman."""
    home = weakref.ref(app)
    for door in {id(each): each for each in (mail, app.extensions[KEY])}.values():
        door.import_backend = _importer(type(door).import_backend.__get__(door), home, office)


def _importer(
    find: Callable[[Any], Any], home: weakref.ref[Flask], office: Callable[[Flask], SendServices]
) -> Callable[[Any], Any]:
    made: dict[type[Any], type[Any]] = {}

    def on_top_of(base: type[Any]) -> type[Any]:
        if base not in made:
            made[base] = type(base.__name__, (TrackedBackend, base), {"home": home, "office": staticmethod(office)})
        return made[base]

    def import_backend(backend_name: Any) -> Any:
        """Return the class of a backend, or what makes one, which sends tracked copies."""
        base = find(backend_name)
        if isinstance(base, type):
            return on_top_of(base)

        def make(*args: Any, **kwargs: Any) -> Any:
            backend = base(*args, **kwargs)
            backend.__class__ = on_top_of(type(backend))
            return backend

        return make

    return import_backend


class _BackendLine:
    """The connection of a backend, which is begun again if the server ends it between two copies."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    @property
    def host(self) -> Any:
        """The client of :mod:`smtplib`; ``None``: the backend has none, or is not connected."""
        return getattr(self._backend, "connection", None)

    @host.setter
    def host(self, client: Any) -> None: ...

    def configure_host(self) -> Any:
        """Have the backend connect once more."""
        self._backend.close()
        self._backend.open()
        return self.host


class MailmanLine:
    """A backend of Flask-Mailman's, for a campaign."""

    def __init__(self, mail: Any) -> None:
        self._mail = mail
        self._backend: Any = None

    def open(self) -> None:
        """Connect."""
        self._backend = self._mail.get_connection()
        self._backend.open()

    def send(self, message: Any) -> None:
        """Send a message."""
        self._backend.send_messages([message])

    def close(self) -> None:
        """Say goodbye."""
        self._backend.close()


class TrackedBackend:
    """Put on top of a backend of Flask-Mailman."""

    home: weakref.ref[Flask]
    office: Callable[[Flask], SendServices]

    def send_messages(self, messages: Sequence[Any]) -> Any:
        """Send messages, with a copy for each recipient, and return how many messages reached somebody.

        :raises OptOutsUnavailable: a message names a list whose opt-outs cannot be read; also with ``fail_silently``.
        :raises UnknownList: a message names a list that is not in ``MAILTRACK_LISTS``; likewise ``UnknownTag``.
        :raises smtplib.SMTPException: as without Mailtrack. Every copy of that message was tried before.
        """
        app, wanted = self.home(), list(messages or ())
        if app is None or not wanted:
            return cast(Any, super()).send_messages(wanted)
        backend = cast(Any, self)
        opened = backend.open() if hasattr(backend, "open") else False
        # A backend that is told to be silent has not said that nobody answers.
        away = opened is None and getattr(backend, "connection", self) is None
        silent, backend.fail_silently = getattr(backend, "fail_silently", False), False
        try:
            return sum(self._reaches_somebody(self.office(app), message, away, silent) for message in wanted)
        finally:
            backend.fail_silently = silent
            if opened:
                backend.close()

    def _reaches_somebody(self, office: SendServices, message: Any, away: bool, silent: bool) -> bool:
        to = [address for _, address in getaddresses(message.recipients()) if address]
        if not to:
            return self._hands_over(message)
        if isinstance(message, MailmanCopy):
            return self._hands_over(message, partial(office.left, message.dispatched))
        raw = message.message().as_bytes(linesep="\r\n")
        mail = prepared(office, raw, parseaddr(message.from_email or "")[1], to, author=message)
        reached: list[Any] = []

        def transmit(sent: tuple[Any, Copy | None]) -> None:
            made, copy = sent
            if away:
                raise ConnectionError("the server cannot be reached")
            if not self._hands_over(made, partial(mail.left, made.content, copy)):
                raise RuntimeError("the backend says that it has not sent the mail")
            reached.append(made)

        def written(copy: Copy) -> tuple[Any, Copy]:
            return MailmanCopy.of(message, copy, mail.written(copy)), copy

        try:
            if mail.mailing is None:
                transmit((MailmanCopy.of(message, None, mail.untracked()), None))
            else:
                office.send(mail.mailing, _BackendLine(self), transmit, written, message)
        except Exception:
            if not silent:
                raise
        earlier = mail.mailing.repeated if mail.mailing else ()
        return bool(reached) or any(copy.status == Status.SENT for copy in earlier)

    def _hands_over(self, message: Any, then: Callable[[], None] = lambda: None) -> bool:
        """Let the host's backend send a message. One that returns nothing has sent it.

        :param then: called if the message was sent.
        """
        count = cast(Any, super()).send_messages([message])
        if has_left := count is None or bool(count):
            then()
        return has_left


class MailmanCopy:
    """One recipient's copy: the author's message with an envelope and a content of its own."""

    to: list[str]
    content: bytes

    @classmethod
    def of(cls, message: Any, copy: Copy | None, content: bytes) -> Any:
        """Return the copy of *message* that a backend can send; without *copy*, the author's mail to all."""
        clone = copying.copy(message)
        clone.__class__ = _copies_of(type(message))
        clone.to = addressed(copy) if copy else list(message.recipients())
        clone.cc, clone.bcc, clone.content = [], [], content
        if copy is not None:  # for a backend that builds the mail anew from the attributes
            clone.body = (copy.html if message.content_subtype == "html" else copy.body) or message.body
            given = getattr(message, "alternatives", None) or []
            pages = [(copy.html, kind) if kind == "text/html" and copy.html else (text, kind) for text, kind in given]
            clone.alternatives = pages
        return clone

    def recipients(self) -> list[str]:
        """Return the recipients of the envelope."""
        return list(self.to)

    def dispatched(self) -> Dispatched:
        """Return the mail for whoever listens, if it is sent once more."""
        return Dispatched.of(self.content, dict.fromkeys(map(compared, self.to)))

    def message(self) -> Message:
        """Return the mail as it is sent."""
        written: Any = message_from_bytes(self.content)
        written.__class__ = _Written
        written.content, written.read = self.content, (written.items(), written.get_payload())
        return cast(Message, written)

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever sends the copy from a queue has a connection of its own.
        return _unpickled, (type(self).__mro__[2], {**vars(self), "connection": None})


_classes: dict[type[Any], type[Any]] = {}


def _copies_of(kind: type[Any]) -> type[Any]:
    if kind not in _classes:
        _classes[kind] = type(kind.__name__, (MailmanCopy, kind), {})
    return _classes[kind]


def _unpickled(kind: type[Any], attributes: dict[str, Any]) -> Any:
    made = object.__new__(_copies_of(kind))
    vars(made).update(attributes)
    return made


class _Written(Message):
    """A mail that is written as it was read, and not folded anew, unless a backend has changed it."""

    content: bytes
    read: tuple[Any, Any]

    def as_bytes(self, unixfrom: bool = False, policy: Any = None, linesep: str = "\n") -> bytes:
        """Return the mail, as Flask-Mailman asks for it."""
        headers, payload = self.read
        if self.items() != headers or self.get_payload() is not payload:
            return super().as_bytes(unixfrom, (policy or self.policy).clone(linesep=linesep))
        return self.content.replace(b"\r\n", linesep.encode())

    def as_string(self, unixfrom: bool = False, maxheaderlen: int = 0, policy: Any = None, linesep: str = "\n") -> str:
        """Return the mail as text, as Flask-Mailman asks for it."""
        return self.as_bytes(unixfrom, policy, linesep).decode("utf-8", "surrogateescape")
