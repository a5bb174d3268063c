"""The proof: each change of an opt-out, with its time, its way and what the page said."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Select, select

from flask_mailtrack.events import EventType, Hit, OptOutKind, Suppression
from flask_mailtrack.storage.database import Database, chunked

CHANGES = {
    (OptOutKind.UNSUBSCRIBE, True): EventType.UNSUBSCRIBED,
    (OptOutKind.UNSUBSCRIBE, False): EventType.SUBSCRIBED,
    (OptOutKind.TRACKING, True): EventType.DECLINED,
    (OptOutKind.TRACKING, False): EventType.ACCEPTED,
}
"""What a change of each kind is called, off and on."""
_BY_LINK = "message:"


def of_hit(hit: Hit) -> dict[str, Any]:
    """Return the audit row of what a link has changed."""
    return {
        "id": hit.id,
        "ref": hit.ref,
        "change": hit.type,
        "list_id": hit.list_id,
        "method": hit.method,
        "source": f"{_BY_LINK}{hit.message_id}",
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


def gone_messages(
    database: Database, refs: Sequence[str], read: Callable[[Select[Any]], Sequence[Any]]
) -> list[uuid.UUID]:
    """Return the messages by whose links somebody has changed something, and whose rows are gone.

    It is all that still leads from a person to the events of such a message.

    :param refs: of the person, under each signing key.
    :param read: runs a query and returns its rows.
    """
    audit, message = database.audit, database.message
    changes = read(select(audit.c.source).where(audit.c.ref.in_(refs), audit.c.source.startswith(_BY_LINK)))
    acted = {uuid.UUID(row[0].removeprefix(_BY_LINK)) for row in changes}
    there = {row[0] for ids in chunked(acted) for row in read(select(message.c.id).where(message.c.id.in_(ids)))}
    return sorted(acted - there)
