"""Tencent Cloud SES: one JSON object for each event, unsigned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import CARRIERS

from .dialect import Dialect, Notification, moment, said, told_of

_HEADER = CARRIERS["tencent"].header
_KINDS = {
    "delivered": EventType.DELIVERED,
    "deferred": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "dropped": EventType.REJECTED,
    "spamreport": EventType.COMPLAINED,
    "unsubscribe": EventType.UNSUBSCRIBED,
}


def _read(item: Mapping[str, Any]) -> Notification | None:
    event = said(item, "event")
    if (kind := _KINDS.get(event)) is None:
        return None
    reason = ""
    if kind == EventType.BOUNCED:
        reason = HARD if said(item, "bounceType").startswith(HARD) else SOFT
    when = said(item, "timestamp")
    key = told_of(event, said(item, "bulkId"), said(item, "messageId"), said(item, "email"), when)
    return Notification(kind, said(item, _HEADER), key, moment(when), reason, said(item, "reason"))


TENCENT = Dialect(_read)
