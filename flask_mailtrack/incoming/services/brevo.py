"""Brevo: a JSON object for each event, or a list of them, unsigned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import CARRIERS

from .dialect import Dialect, Notification, moment, said, told_of

_HEADER = CARRIERS["brevo"].header
_KINDS = {
    "delivered": (EventType.DELIVERED, ""),
    "deferred": (EventType.DEFERRED, ""),
    "soft_bounce": (EventType.BOUNCED, SOFT),
    "hard_bounce": (EventType.BOUNCED, HARD),
    "invalid_email": (EventType.BOUNCED, HARD),
    "blocked": (EventType.REJECTED, ""),
    "error": (EventType.REJECTED, ""),
    "spam": (EventType.COMPLAINED, ""),
    "complaint": (EventType.COMPLAINED, ""),
    "unsubscribe": (EventType.UNSUBSCRIBED, ""),
    "unsubscribed": (EventType.UNSUBSCRIBED, ""),
}


def _read(item: Mapping[str, Any]) -> Notification | None:
    event = said(item, "event")
    if (kind := _KINDS.get(event)) is None:
        return None
    # The other times of an event are in the zone of the account.
    when = said(item, "ts_epoch") or said(item, "ts_event") or said(item, "ts")
    key = told_of(event, said(item, "message-id"), said(item, "email"), when)
    return Notification(kind[0], said(item, _HEADER), key, moment(when), kind[1], said(item, "reason"))


BREVO = Dialect(_read)
