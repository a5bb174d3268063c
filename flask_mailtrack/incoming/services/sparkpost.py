"""SparkPost: a JSON list of events, unsigned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import MARK

from .dialect import Dialect, Notification, at, moment, said

_KINDS = {
    "delivery": EventType.DELIVERED,
    "delay": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "out_of_band": EventType.BOUNCED,
    "policy_rejection": EventType.REJECTED,
    "generation_failure": EventType.REJECTED,
    "generation_rejection": EventType.REJECTED,
    "spam_complaint": EventType.COMPLAINED,
    "list_unsubscribe": EventType.UNSUBSCRIBED,
    "link_unsubscribe": EventType.UNSUBSCRIBED,
}
_HARD = {"10", "30", "90"}
"""Classes of bounces: invalid recipient, no such recipient, unsubscribe."""
_NOT_SENT = {"25", "80"}
"""Administrative failure, and a subscription request."""
_AUTO_REPLY = "60"


def _read(item: Mapping[str, Any]) -> Notification | None:
    system = at(item, "msys")
    if not isinstance(system, Mapping):
        raise ValueError("no msys")
    event: Any = next(iter(system.values()), {})  # an empty one is a test of the address
    kind, of = _KINDS.get(said(event, "type")), said(event, "bounce_class")
    if kind is None or (kind == EventType.BOUNCED and of == _AUTO_REPLY):
        return None
    reason = (HARD if of in _HARD else SOFT) if kind == EventType.BOUNCED else ""
    if reason and of in _NOT_SENT:
        kind, reason = EventType.REJECTED, ""
    comment = said(event, "raw_reason") or said(event, "reason")
    copy = said(event, "rcpt_meta", MARK)
    return Notification(kind, copy, said(event, "event_id"), moment(at(event, "timestamp")), reason, comment)


SPARKPOST = Dialect(_read)
