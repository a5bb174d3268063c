"""Alibaba Cloud Direct Mail, by its EventBridge: one CloudEvent in JSON for each event, unsigned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType
from flask_mailtrack.notified import HARD, SOFT
from flask_mailtrack.services import CARRIERS

from .dialect import Dialect, Notification, at, header, moment, said

_HEADER = CARRIERS["alidm"].header
_NO_MAILBOX = "SmtpNxBox"


def _kind(item: Mapping[str, Any]) -> tuple[EventType, str] | None:
    event = said(item, "type")
    if event == "dm:Deliver:Fail":
        return EventType.BOUNCED, HARD if said(item, "data", "failed_type") == _NO_MAILBOX else SOFT
    if event.startswith("dm:Deliver:Succ"):
        return EventType.DELIVERED, ""
    return (EventType.COMPLAINED, "") if event == "dm:Feedback:FblReport" else None


def _read(item: Mapping[str, Any]) -> Notification | None:
    if (kind := _kind(item)) is None:
        return None
    copy = header(at(item, "data", "header"), _HEADER)
    when, comment = moment(item.get("time")), said(item, "data", "err_msg")
    return Notification(kind[0], copy, said(item, "id"), when, kind[1], comment)


ALIDM = Dialect(_read)
