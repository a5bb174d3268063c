"""The proof: each change of an opt-out, with its time, its way and what the page said."""

from __future__ import annotations

from typing import Any

from flask_mailtrack.events import EventType, Hit, OptOutKind, Suppression

CHANGES = {
    (OptOutKind.UNSUBSCRIBE, True): EventType.UNSUBSCRIBED,
    (OptOutKind.UNSUBSCRIBE, False): EventType.SUBSCRIBED,
    (OptOutKind.TRACKING, True): EventType.DECLINED,
    (OptOutKind.TRACKING, False): EventType.ACCEPTED,
}
"""What a change of each kind is called, off and on."""


def of_hit(hit: Hit) -> dict[str, Any]:
    """Return the audit row of what a link has changed."""
    return {
        "id": hit.id,
        "ref": hit.ref,
        "change": hit.type,
        "list_id": hit.list_id,
        "method": hit.method,
        "source": f"message:{hit.message_id}",
        "wording": hit.wording,
        "occurred_at": hit.occurred_at,
    }


def of_suppression(change: Suppression) -> dict[str, Any]:
    """Return the audit row of what the host has changed."""
    return {
        "id": change.id,
        "ref": change.refs[0],
        "change": CHANGES[change.kind, change.out],
        "list_id": change.list_id,
        "method": change.method,
        "source": change.source,
        "wording": "",
        "occurred_at": change.occurred_at,
    }
