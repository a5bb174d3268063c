"""Calls of services: who calls, what is said, and how it gets into the journal. The database is not asked.

Whoever cannot name the secret of the address, or cannot prove the signature, changes nothing. What a service tells is
taken for a copy whose token it gives back, and for no other. A call that cannot be read is kept and answered like any
other, because services drop what gets another answer, and resend a whole list for one bad item.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from werkzeug import Request
from werkzeug.exceptions import HTTPException

from flask_mailtrack.config import Settings
from flask_mailtrack.errors import SpoolError, TokenError
from flask_mailtrack.events import EventType, Hit, Kind, born, now
from flask_mailtrack.privacy import legible
from flask_mailtrack.services import SERVICE_PATH, Service
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.service_calls import ServiceCalls
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.tokens import Signer, Token

from . import answer
from .answer import Reply
from .services.alidm import ALIDM
from .services.brevo import BREVO
from .services.dialect import Call, Dialect, Notification, among
from .services.mailgun import MAILGUN
from .services.mailjet import MAILJET
from .services.mandrill import MANDRILL
from .services.postmark import POSTMARK
from .services.resend import RESEND
from .services.sendcloud import SENDCLOUD
from .services.sendgrid import SENDGRID
from .services.ses import SES
from .services.sparkpost import SPARKPOST
from .services.tencent import TENCENT

log: logging.Logger = logging.getLogger("flask_mailtrack.services")

DIALECTS: dict[str, Dialect] = {
    "alidm": ALIDM,
    "brevo": BREVO,
    "mailgun": MAILGUN,
    "mailjet": MAILJET,
    "mandrill": MANDRILL,
    "postmark": POSTMARK,
    "resend": RESEND,
    "sendcloud": SENDCLOUD,
    "sendgrid": SENDGRID,
    "ses": SES,
    "sparkpost": SPARKPOST,
    "tencent": TENCENT,
}
"""The languages of the services, by the names for ``MAILTRACK_SERVICES``."""

MAX_CALL = 5_000_000
"""Octets of a call: SendGrid sends lists of 768 kB, and Mandrill of a thousand events."""
MAX_COMMENT = 500
METHOD = "webhook"
_HEADERS = "HTTP_"
_DAY = timedelta(days=1)
_AHEAD = timedelta(minutes=2)
"""How far the clock of a service may be ahead of ours."""
# Brevo tries again after no other answer (as of 2026-11).
_LATER = {"brevo": answer.text("", 429, ("Retry-After", "60"))}
_TAKEN, _REFUSED, _TOO_LARGE = (answer.text("", status) for status in (200, 401, 413))


class Calls:
    """Answers the calls of services.

    :param events: the journal of what servers tell of a mail.
    :param choices: the journal of opt-outs.
    """

    def __init__(self, settings: Settings, signer: Signer, events: Journal, choices: Journal) -> None:
        self._services: Mapping[str, Service] = settings.services
        self._address = f"{settings.base_url}{settings.url_prefix}/{SERVICE_PATH}"
        self._signer = signer
        self._events = events
        self._choices = choices
        self._kept = ServiceCalls(events.directory)

    def answer(self, environ: Mapping[str, Any], path: str) -> Reply:
        """Return the answer to a call of ``<service>/<secret>``. It has no body, whatever it is.

        A GET or HEAD with the right secret is a service that looks whether somebody is there.
        """
        name, _, secret = path.strip("/").partition("/")
        name = name.lower()
        service = self._services.get(name)
        if service is None or not among(service.secrets, secret):
            return self._refused(name if service else "", "the secret of its address")
        if environ["REQUEST_METHOD"] != "POST":
            return _TAKEN
        request = Request(dict(environ))
        request.max_content_length = MAX_CALL
        try:
            body = request.get_data()
        except HTTPException as error:  # too large, or cut off
            self._kept.count(name, refused=1)
            return _TOO_LARGE if error.code == 413 else answer.text("", error.code or 400)
        call = Call(body, _headers(environ), self._url(name, secret, service))
        if not _proved(DIALECTS[name], call, service):
            return self._refused(name, "its signature")
        return self._taken(name, call)

    def _url(self, name: str, secret: str, service: Service) -> str:
        return f"{service.url or self._address}/{name}/{secret}"

    def _refused(self, name: str, what: str) -> Reply:
        if self._kept.count(name, refused=1):
            log.warning("a call for %s was refused: it does not know %s", name or "a service that is not set up", what)
        return _REFUSED

    def _taken(self, name: str, call: Call) -> Reply:
        """Write down what a call says, and only then say that it was taken."""
        told, unread = _read(DIALECTS[name], call)
        copies = [(each, token) for each in told if each and (token := self._token(each)) is not None]
        hits = [_hit(name, each, token) for each, token in copies]
        choices = [hit for hit in hits if hit.type == EventType.UNSUBSCRIBED]
        events = [hit for hit in hits if hit.type != EventType.UNSUBSCRIBED]
        try:
            if unread:
                self._kept.keep(name, unread, call.body)
            for journal, some in ((self._events, events), (self._choices, choices)):
                if some:
                    journal.append(*map(to_json, some), sync=True)
                    journal.wake()
        except (SpoolError, OSError):
            log.exception("a call of %s could not be written down", name)
            return _LATER.get(name) or answer.text("", 503, ("Retry-After", "60"))
        ignored = told.count(None)
        unmatched = len(told) - ignored - len(copies)
        self._kept.count(name, calls=1, events=len(hits), ignored=ignored, unmatched=unmatched, unread=bool(unread))
        return _TAKEN

    def _token(self, notification: Notification) -> Token | None:
        try:
            return self._signer.read(Kind.COPY, notification.copy)
        except TokenError:
            return None


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix(_HEADERS).replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith(_HEADERS)
    }


def _proved(dialect: Dialect, call: Call, service: Service) -> bool:
    try:
        return dialect.proves(call, service)
    except Exception as error:  # whatever a stranger sends
        log.debug("a signature cannot be read: %r", error)
        return False


def _read(dialect: Dialect, call: Call) -> tuple[list[Notification | None], str]:
    """Return what the items of a call say, and why some of it could not be read; empty if all was read."""
    found: list[Notification | None] = []
    unread = ""
    try:
        items = dialect.items(call)
    except ValueError as error:
        return [], f"{type(error).__name__}: {error}"
    for item in items:
        try:
            if not isinstance(item, dict):
                raise ValueError("an item is no object")
            found.append(dialect.read(item))
        except Exception as error:  # a service may change its mind about any type at any time
            unread = f"{type(error).__name__}: {error}"
    return found, unread


def _hit(name: str, notification: Notification, token: Token) -> Hit:
    moment = _when(notification.occurred_at, token)
    return Hit(
        id=_identifier(moment, name, notification, token),
        message_id=token.message_id,
        type=notification.type,
        occurred_at=moment,
        method=METHOD,
        provider=name,
        reason=notification.reason,
        comment=legible(notification.comment, MAX_COMMENT),
        ref=token.ref,
    )


def _when(told: datetime | None, token: Token) -> datetime:
    """Return the moment of an event, neither before the mail nor in the future; else that of the mail.

    It is the same for a call that comes again. Reports look for an event around the moment in its id, so there is no
    other one.
    """
    sent = born(token.message_id)
    return told if told is not None and sent - _DAY <= told <= now() + _AHEAD else sent


def _identifier(moment: datetime, name: str, told: Notification, token: Token) -> uuid.UUID:
    """Return the id of an event: the same for the same event, however often a service tells it.

    It is a UUIDv7 of the moment of the event. The rest is a hash that holds the reference of the recipient, which is
    keyed, so that nobody can find an address by it.
    """
    parts = (name, told.type.value, told.key, str(token.message_id), token.ref)
    rest = int.from_bytes(sha256("\0".join(parts).encode("utf-8", "replace")).digest()[:10], "big")
    # RFC 9562, section 5.7
    head = int(moment.timestamp() * 1000) << 80 | 0x7 << 76
    return uuid.UUID(int=head | (rest >> 62 & 0xFFF) << 64 | 0x2 << 62 | rest & (1 << 62) - 1)


def paths(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each service with the address that it is given, up to the secret."""
    for name in settings.services:
        yield name, f"{settings.base_url}{settings.url_prefix}/{SERVICE_PATH}/{name}/"
