"""Postmark: one JSON object for each event, unsigned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import MARK

from .dialect import Dialect, Notification, at, moment, said, told_of

_BOUNCES = {
    "HardBounce": (EventType.BOUNCED, HARD),
    "BadEmailAddress": (EventType.BOUNCED, HARD),
    "Transient": (EventType.DEFERRED, ""),  # Postmark goes on trying
    "SpamComplaint": (EventType.COMPLAINED, ""),
    "ManuallyDeactivated": (EventType.REJECTED, ""),
    "SMTPApiError": (EventType.REJECTED, ""),
    "TemplateRenderingFailed": (EventType.REJECTED, ""),
    "Unsubscribe": (EventType.UNSUBSCRIBED, ""),
}
"""By ``Type``. The sources disagree on the numbers of ``TypeCode``."""
_NO_BOUNCES = {"AddressChange", "AutoResponder", "ChallengeVerification", "OpenRelayTest", "Subscribe", "InboundError"}


def _kind(item: Mapping[str, Any]) -> tuple[EventType, str] | None:
    record, of = said(item, "RecordType"), said(item, "Type")
    if record == "Bounce":
        return None if of in _NO_BOUNCES else _BOUNCES.get(of, (EventType.BOUNCED, SOFT))
    if record == "SubscriptionChange":
        left = at(item, "SuppressSending") is True and said(item, "SuppressionReason") == "ManualSuppression"
        return (EventType.UNSUBSCRIBED, "") if left else None
    return {"Delivery": (EventType.DELIVERED, ""), "SpamComplaint": (EventType.COMPLAINED, "")}.get(record)


def _read(item: Mapping[str, Any]) -> Notification | None:
    if (kind := _kind(item)) is None:
        return None
    when = next((said(item, name) for name in ("DeliveredAt", "BouncedAt", "ChangedAt") if said(item, name)), "")
    who = said(item, "Recipient") or said(item, "Email")
    key = said(item, "ID") or told_of(said(item, "RecordType"), said(item, "MessageID"), who, when)
    copy, comment = said(item, "Metadata", MARK), said(item, "Details") or said(item, "Description")
    return Notification(kind[0], copy, key, moment(when), kind[1], comment)


POSTMARK = Dialect(_read)
