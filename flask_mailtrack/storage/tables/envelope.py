"""What a webhook posts about a record: the JSON of Standard Webhooks, with a number for its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from flask_mailtrack.endpoints import RELEASED, SUPPRESSED, TEST, type_of
from flask_mailtrack.events import Hit, SentMessage, Suppression, now

SCHEMA = 1
"""Fields may be added under this number; what is removed, or changes its meaning, gets another one."""
METADATA_BYTES = 16_000
"""Longer metadata is left out: a body should have less than 20 kB (Standard Webhooks 1.0.0)."""

OF_MESSAGE = ("id", "recipient", "tag", "list_id", "details", "mode", "shared")
"""What a hit tells of its message, by the columns of its row."""
NOBODY: Mapping[str, Any] = MappingProxyType(
    {"recipient": "", "subject": "", "header_message_id": "", "details": {}, "error": ""}
)
"""What a message says when its recipient is forgotten."""
_INTERNAL = ("ref", "wording", "lifts", "first_verdict", "first_verdict_reasons")
_OF_SENT = ("sender", "subject", "header_message_id", "status", "error", "created_at", "sent_at")
_OF_SUPPRESSION = ("recipient", "list_id", "kind", "method", "reason", "actor")


class Envelope(NamedTuple):
    """A body with what stands beside it.

    :param webhook_id: the same for each endpoint and each attempt.
    :param about: the id of the message, or the reference of an address.
    """

    webhook_id: str
    type: str
    about: str
    body: str


def of_hit(hit: Hit, message: Mapping[str, Any]) -> Envelope:
    """Return the envelope of what a reader or a machine has done.

    :param message: :data:`OF_MESSAGE` of its row; empty: the row has not come yet.
    """
    event = {name: value for name, value in hit._asdict().items() if name not in (*_INTERNAL, "message_id", "type")}
    told = _message(message) if message else {"id": hit.message_id}
    data = {"message": told, "event": event}
    return _envelope(str(hit.id), type_of(hit.type.value), str(hit.message_id), hit.occurred_at, data)


def of_message(message: SentMessage) -> Envelope:
    """Return the envelope of the fate of a copy."""
    about = _message({name: getattr(message, name) for name in OF_MESSAGE})
    about |= {name: getattr(message, name) for name in _OF_SENT}
    kind = type_of(message.status.value)
    # The receiver counts an id once, so each fate has its own.
    name = f"{message.id}-{message.status.value}"
    return _envelope(name, kind, str(message.id), message.sent_at or message.created_at, {"message": about})


def of_suppression(change: Suppression) -> Envelope:
    """Return the envelope of what the host, or an operator, has decided about a person."""
    about = {"id": change.id} | {name: getattr(change, name) for name in _OF_SUPPRESSION}
    kind = SUPPRESSED if change.out else RELEASED
    return _envelope(str(change.id), kind, change.refs[0], change.occurred_at, {"suppression": about})


def of_test(name: str) -> Envelope:
    """Return an envelope that says nothing but that it came."""
    return _envelope(name, TEST, "", now(), {})


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    details = dict(row["details"] or {})
    short = len(json.dumps(details)) <= METADATA_BYTES
    named = {name: value for name, value in row.items() if name != "details"}
    return named | {"metadata": details if short else None}


def _envelope(name: str, kind: str, about: str, moment: datetime, data: dict[str, Any]) -> Envelope:
    body = {"type": kind, "timestamp": _plain(moment), "schema": SCHEMA, "data": data}
    # ASCII alone, so that no database and no server on the way changes a byte.
    return Envelope(name, kind, about, json.dumps(body, default=_plain, separators=(",", ":")))


def _plain(value: Any) -> str:
    if not isinstance(value, datetime):
        return str(value)
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
