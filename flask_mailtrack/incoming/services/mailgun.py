"""Mailgun: one JSON object for each event. The signature is over a timestamp and a token, and not over the body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import MARK, Service

from .dialect import Call, Dialect, Notification, at, by_token, moment, said

_KINDS = {
    "delivered": (EventType.DELIVERED, ""),
    "complained": (EventType.COMPLAINED, ""),
    "unsubscribed": (EventType.UNSUBSCRIBED, ""),
    "rejected": (EventType.REJECTED, ""),
}
_GAVE_UP = {"old", "espblock", "greylisted", "blacklisted"}
"""Reasons of a permanent failure that say nothing of the mailbox."""


def _kind(event: Mapping[str, Any]) -> tuple[EventType, str] | None:
    if said(event, "event") != "failed":
        return _KINDS.get(said(event, "event"))
    reason = said(event, "reason")
    if said(event, "severity") == "temporary":
        return EventType.DEFERRED, ""
    if reason.startswith("suppress-"):
        return EventType.REJECTED, ""
    permanent = said(event, "severity") == "permanent" and reason not in _GAVE_UP
    return EventType.BOUNCED, HARD if permanent else SOFT


def _read(item: Mapping[str, Any]) -> Notification | None:
    event = at(item, "event-data")
    if not isinstance(event, Mapping):
        raise ValueError("no event-data")
    if (kind := _kind(event)) is None:
        return None
    # An id is one of a kind for a day only.
    key = f"{said(event, 'id')} {said(event, 'timestamp')}"
    answer = said(event, "delivery-status", "message") or said(event, "delivery-status", "description")
    comment = answer or said(event, "reject", "reason") or said(event, "reason")
    copy = said(event, "user-variables", MARK)
    return Notification(kind[0], copy, key, moment(at(event, "timestamp")), kind[1], comment)


def _proves(call: Call, service: Service) -> bool:
    given = at(call.json(), "signature")
    return by_token(said(given, "timestamp"), said(given, "token"), said(given, "signature"), service)


MAILGUN = Dialect(_read, _proves)
