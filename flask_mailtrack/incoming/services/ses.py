"""Amazon SES, by a topic of SNS: one JSON envelope for each event, with the event as a text in it.

The signature of SNS is not checked here: its certificate would have to be fetched, and it says only that some topic of
Amazon calls. As with services that sign nothing, the secret of the address counts, and the topic must be ours, too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import CARRIERS, Service

from .dialect import Call, Dialect, Notification, among, at, header, moment, parsed, said

log: logging.Logger = logging.getLogger("flask_mailtrack.services")

_HEADER = CARRIERS["ses"].header
_ID = "sns-id"
_PARTS = {
    "Delivery": "delivery",
    "DeliveryDelay": "deliveryDelay",
    "Bounce": "bounce",
    "Complaint": "complaint",
    "Reject": "reject",
    "Rendering Failure": "failure",
    "Subscription": "subscription",
}
"""Where an event says what it is about. The names do not follow from those of the events."""
_KINDS = {
    "Delivery": EventType.DELIVERED,
    "DeliveryDelay": EventType.DEFERRED,
    "Reject": EventType.REJECTED,
    "Rendering Failure": EventType.REJECTED,
}
# Nobody else can have a host of this form; but anybody can have one under s3.amazonaws.com.
_CONFIRM = re.compile(r"https://sns\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/[!-~]*", re.ASCII)
_NEVER_SENT = {"Suppressed", "OnAccountSuppressionList", "UnsubscribedRecipient"}


def _kind(event: str, about: Any) -> tuple[EventType, str] | None:
    if event in ("Bounce", "Complaint") and said(about, f"{event.lower()}SubType") in _NEVER_SENT:
        return EventType.REJECTED, ""
    if event == "Bounce":
        return EventType.BOUNCED, HARD if said(about, "bounceType") == "Permanent" else SOFT
    if event == "Complaint":
        return None if said(about, "complaintFeedbackType") == "not-spam" else (EventType.COMPLAINED, "")
    if event == "Subscription":
        left = at(about, "newTopicPreferences", "unsubscribeAll") is True
        return (EventType.UNSUBSCRIBED, "") if left else None
    kind = _KINDS.get(event)
    return (kind, "") if kind else None


def _read(item: Mapping[str, Any]) -> Notification | None:
    event = said(item, "eventType") or said(item, "notificationType")
    about = at(item, _PARTS.get(event, ""))
    if (kind := _kind(event, about)) is None:
        return None
    when = moment(said(about, "timestamp") or said(item, "mail", "timestamp"))
    copy = header(at(item, "mail", "headers"), _HEADER)
    return Notification(kind[0], copy, said(item, _ID), when, kind[1], _comment(about))


def _comment(about: Any) -> str:
    listed = at(about, "bouncedRecipients") or at(about, "delayedRecipients")
    first = said(listed[0], "diagnosticCode") if isinstance(listed, list) and listed else ""
    return first or said(about, "smtpResponse") or said(about, "reason") or said(about, "errorMessage")


def _items(call: Call) -> list[Any]:
    envelope, text = call.json(), said(call.json(), "Message")
    if said(envelope, "Type") == "SubscriptionConfirmation":
        # Nothing is asked outside for a stranger. The operator sees the address, and confirms.
        if not _CONFIRM.fullmatch(said(envelope, "SubscribeURL")):
            raise ValueError("the address to confirm is not one of SNS")
        log.warning("SNS asks to confirm %s: open %s", said(envelope, "TopicArn"), said(envelope, "SubscribeURL"))
        return []
    if said(envelope, "Type") != "Notification" or not text.lstrip().startswith("{"):
        return []  # the end of a subscription, or the line that says that the topic works
    told = parsed(text)
    return [told | {_ID: said(envelope, "MessageId")}]


def _proves(call: Call, service: Service) -> bool:
    return among(service.topics, said(call.json(), "TopicArn"))


SES = Dialect(_read, _proves, _items)
