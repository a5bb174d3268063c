"""Mailjet: a JSON object for each event, or a list of them, unsigned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT

from .dialect import Dialect, Notification, at, moment, said, told_of

_KINDS = {
    "sent": EventType.DELIVERED,  # the server of the recipient has accepted it
    "bounce": EventType.BOUNCED,
    "blocked": EventType.REJECTED,
    "spam": EventType.COMPLAINED,
    "unsub": EventType.UNSUBSCRIBED,
}


def _read(item: Mapping[str, Any]) -> Notification | None:
    event, error = said(item, "event"), said(item, "error")
    if (kind := _KINDS.get(event)) is None:
        return None
    reason = ""
    if kind == EventType.BOUNCED:
        reason = HARD if at(item, "hard_bounce") is True else SOFT
        if error == "greylisted" and reason == SOFT:
            kind, reason = EventType.DEFERRED, ""
    when = said(item, "time")
    key = told_of(event, said(item, "Message_GUID"), said(item, "MessageID"), said(item, "email"), when)
    comment = said(item, "comment") or said(item, "smtp_reply") or error
    return Notification(kind, said(item, "CustomID") or said(item, "Payload"), key, moment(when), reason, comment)


MAILJET = Dialect(_read)
