"""SendCloud: a form for each event, or a JSON object. The signature is over a timestamp and a token only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import CARRIERS, Service

from .dialect import Call, Dialect, Notification, at, by_token, header, moment, parsed, said, told_of

_HEADER = CARRIERS["sendcloud"].header
_KINDS = {
    "deliver": (EventType.DELIVERED, ""),
    "delivered": (EventType.DELIVERED, ""),
    "soft_bounce": (EventType.BOUNCED, SOFT),
    "invalid": (EventType.BOUNCED, HARD),
    "invalid_email": (EventType.BOUNCED, HARD),
    "report_spam": (EventType.COMPLAINED, ""),
    "spam-report": (EventType.COMPLAINED, ""),
    "unsubscribe": (EventType.UNSUBSCRIBED, ""),
}
"""The pages of the service do not agree on the names."""


def _headers(item: Mapping[str, Any]) -> Any:
    given = at(item, "userHeaders")
    return parsed(given) if isinstance(given, str) and given else given


def _read(item: Mapping[str, Any]) -> Notification | None:
    event = said(item, "event")
    if (kind := _KINDS.get(event)) is None:
        return None
    when = said(item, "timestamp")
    key = told_of(event, said(item, "emailId"), said(item, "recipient"), when)
    copy = header(_headers(item), _HEADER)
    return Notification(kind[0], copy, key, moment(when), kind[1], said(item, "message"))


def _items(call: Call) -> list[Any]:
    return [call.json()] if call.body.lstrip().startswith(b"{") else [call.form()]


def _proves(call: Call, service: Service) -> bool:
    (given,) = _items(call)
    return by_token(said(given, "timestamp"), said(given, "token"), said(given, "signature"), service)


SENDCLOUD = Dialect(_read, _proves, _items)
