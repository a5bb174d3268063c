"""Mandrill: a form with a JSON list of events, signed by HMAC-SHA1 over the address and the form."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hmac import digest
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import MARK, Service

from .dialect import Call, Dialect, Notification, among, at, moment, parsed, said, told_of

_KINDS = {
    "delivered": (EventType.DELIVERED, ""),
    "deferral": (EventType.DEFERRED, ""),
    "soft_bounce": (EventType.BOUNCED, SOFT),
    "hard_bounce": (EventType.BOUNCED, HARD),
    "reject": (EventType.REJECTED, ""),
    "spam": (EventType.COMPLAINED, ""),
    "unsub": (EventType.UNSUBSCRIBED, ""),
}


def _read(item: Mapping[str, Any]) -> Notification | None:
    event, mail = said(item, "event"), at(item, "msg")
    if (kind := _KINDS.get(event)) is None:
        return None
    when = said(item, "ts")
    key = told_of(event, said(item, "_id"), said(mail, "email"), when)
    comment = said(mail, "diag") or said(mail, "bounce_description") or said(mail, "reject", "reason")
    return Notification(kind[0], said(mail, "metadata", MARK), key, moment(when), kind[1], comment)


def _items(call: Call) -> list[Any]:
    told = parsed(call.form().get("mandrill_events", ""))
    if not isinstance(told, list):
        raise ValueError("no list of events")
    return told


def _proves(call: Call, service: Service) -> bool:
    signed = call.url + "".join(name + value for name, value in sorted(call.form().items()))
    good = [base64.b64encode(digest(key.encode(), signed.encode(), "sha1")).decode() for key in service.keys]
    return among(good, call.headers.get("x-mandrill-signature", ""))


MANDRILL = Dialect(_read, _proves, _items)
