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
from email.utils import getaddresses
from typing import Any, cast

from flask import Flask

from .copies import PreparedCopy, prepared
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
    find: Callable[[Any], type[Any]], home: weakref.ref[Flask], office: Callable[[Flask], SendServices]
) -> Callable[[Any], type[Any]]:
    made: dict[type[Any], type[Any]] = {}

    def import_backend(backend_name: Any) -> type[Any]:
        """Return the class of a backend, which sends tracked copies."""
        base = find(backend_name)
        if base not in made:
            made[base] = type(base.__name__, (TrackedBackend, base), {"home": home, "office": staticmethod(office)})
        return made[base]

    return import_backend


class TrackedBackend:
    """Put on top of a backend of Flask-Mailman."""

    home: weakref.ref[Flask]
    office: Callable[[Flask], SendServices]

    def send_messages(self, messages: Sequence[Any]) -> int:
        """Send messages, with a copy for each recipient, and return how many messages reached somebody.

        :raises OptOutsUnavailable: a message names a list whose opt-outs cannot be read; also with ``fail_silently``.
        :raises UnknownList: a message names a list that is not in ``MAILTRACK_LISTS``; likewise ``UnknownTag``.
        :raises smtplib.SMTPException: as without Mailtrack. Every copy of that message was tried before.
        """
        app, wanted = self.home(), list(messages or ())
        if app is None or not wanted:
            return int(cast(Any, super()).send_messages(wanted) or 0)
        backend = cast(Any, self)
        opened = backend.open()
        try:
            return sum(self._send_copies(self.office(app), message) for message in wanted)
        finally:
            if opened:
                backend.close()

    def _send_copies(self, office: SendServices, message: Any) -> bool:
        to = [address for _, address in getaddresses(message.recipients()) if address]
        if not to or isinstance(message, MailmanCopy):
            return self._hand_over(message)
        raw = message.message().as_bytes(linesep="\r\n")
        sender = getaddresses([message.from_email or ""])[0][1]
        mail = prepared(office, raw, sender, to, author=message)
        reached, trouble = False, None
        for copy in mail:
            try:
                with copy:
                    if self._hand_over(MailmanCopy.of(message, copy)):
                        reached = True
                    else:
                        copy.failed("the backend did not send the mail, and was told to be silent")
            except Exception as error:
                trouble = trouble or error
        if trouble is not None and not reached:
            raise trouble
        return reached

    def _hand_over(self, message: Any) -> bool:
        return bool(cast(Any, super()).send_messages([message]))


class MailmanCopy:
    """One recipient's copy: the author's message with an envelope and a content of its own."""

    copy: PreparedCopy

    @classmethod
    def of(cls, message: Any, copy: PreparedCopy) -> Any:
        """Return the copy of *message* that a backend can send."""
        clone = copying.copy(message)
        clone.__class__ = type(type(message).__name__, (cls, type(message)), {})
        clone.copy = copy
        return clone

    def recipients(self) -> list[str]:
        """Return the recipients of the envelope."""
        return list(self.copy.recipients)

    def message(self) -> Message:
        """Return the mail as it is sent."""
        written = message_from_bytes(self.copy.as_bytes(), _class=_Written)
        written.content = self.copy.as_bytes()
        return written


class _Written(Message):
    """A mail that is written as it was read, and not folded anew."""

    content = b""

    def as_bytes(self, unixfrom: bool = False, policy: Any = None, linesep: str = "\n") -> bytes:
        """Return the mail, as Flask-Mailman asks for it."""
        return self.content.replace(b"\r\n", linesep.encode())

    def as_string(self, unixfrom: bool = False, maxheaderlen: int = 0, policy: Any = None, linesep: str = "\n") -> str:
        """Return the mail as text, as Flask-Mailman asks for it."""
        return self.as_bytes(linesep=linesep).decode("utf-8", "surrogateescape")
