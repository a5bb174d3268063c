"""Resend: one JSON object for each event, signed as Svix does it: HMAC-SHA256 over id, timestamp and body."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from hmac import digest
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import CARRIERS, Service, octets

from .dialect import Call, Dialect, Notification, among, at, header, moment, said

_ID, _TIMESTAMP, _SIGNATURE = "svix-id", "svix-timestamp", "svix-signature"
_SECONDS = 300
"""Each attempt is signed anew, so an older call is somebody's who has overheard it."""
_HEADER = CARRIERS["resend"].header
_KINDS = {
    "email.delivered": EventType.DELIVERED,
    "email.delivery_delayed": EventType.DEFERRED,
    "email.bounced": EventType.BOUNCED,
    "email.complained": EventType.COMPLAINED,
    "email.failed": EventType.REJECTED,
    "email.suppressed": EventType.REJECTED,
}


def _kind(item: Mapping[str, Any]) -> tuple[EventType, str] | None:
    kind = _KINDS.get(said(item, "type"))
    if kind != EventType.BOUNCED:
        return (kind, "") if kind else None
    if "suppress" in said(item, "data", "bounce", "subType").lower():
        return EventType.REJECTED, ""
    return kind, HARD if said(item, "data", "bounce", "type") == "Permanent" else SOFT


def _read(item: Mapping[str, Any]) -> Notification | None:
    if (kind := _kind(item)) is None:
        return None
    comment = said(item, "data", "bounce", "message") or said(item, "data", "failed", "reason")
    copy = header(at(item, "data", "headers"), _HEADER)
    return Notification(kind[0], copy, said(item, _ID), moment(item.get("created_at")), kind[1], comment)


def _items(call: Call) -> list[Any]:
    told = call.json()
    # The same id comes with each attempt, and with no other event.
    return [told | {_ID: call.headers.get(_ID, "")} if isinstance(told, dict) else told]


def _proves(call: Call, service: Service) -> bool:
    name, at_ = call.headers.get(_ID, ""), call.headers.get(_TIMESTAMP, "")
    if not name or abs(time.time() - float(at_)) > _SECONDS:
        return False
    signed = f"{name}.{at_}.".encode() + call.body
    good = ["v1," + base64.b64encode(digest(octets(key), signed, "sha256")).decode() for key in service.keys]
    given = call.headers.get(_SIGNATURE, "").split(" ")[:8]
    return any(among(good, each) for each in given)


RESEND = Dialect(_read, _proves, _items)
