"""What follows from what servers tell: who calls a mail spam, or has no mailbox any more, gets no list mail again.

The refusal is written in the transaction that stores the event, so neither is there without the other. The id of the
refusal is made of the id of the event: an event that comes twice refuses once, also after somebody has lifted it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from flask_mailtrack.events import EventType, Suppression
from flask_mailtrack.notified import BOUNCE, COMPLAINT, HARD
from flask_mailtrack.tokens import Signer

from .database import Database, chunked

SUPPRESSING = {EventType.COMPLAINED.value: COMPLAINT, EventType.BOUNCED.value: BOUNCE}
"""The reason of the refusal that may follow, by the type of the event."""
_OF_EVENT = 1 << 61
"""The bit in which the id of a refusal differs from that of its event: among the random ones, so in no other id."""


@dataclass(frozen=True)
class Consequences:
    """Says who is suppressed.

    :param signer: makes the references of an address.
    :param after: the types of events after which somebody is: of :data:`SUPPRESSING`.
    """

    signer: Signer
    after: Collection[str]

    def of(self, database: Database, connection: Connection, events: Iterable[Any]) -> list[Suppression]:
        """Return the refusals that follow from *events*, each of one message whose row is there.

        A copy that several people got does not say whose mailbox it was, so nothing follows.
        """
        grave = [event for event in events if event.type in self.after and self._is_grave(event)]
        if not grave:
            return []
        people = _recipients(database, connection, {event.message_id for event in grave})
        return [self._refusal(event, people[event.message_id]) for event in grave if event.message_id in people]

    @staticmethod
    def _is_grave(event: Any) -> bool:
        return bool(event.type != EventType.BOUNCED or event.reason == HARD)

    def _refusal(self, event: Any, recipient: str) -> Suppression:
        return Suppression(
            id=uuid.UUID(int=event.id.int ^ _OF_EVENT),
            recipient=recipient,
            occurred_at=event.occurred_at,
            refs=tuple(self.signer.recipient_refs(recipient)),
            method=SUPPRESSING[event.type],
            reason=SUPPRESSING[event.type],
            source=f"event:{event.id}",
        )


def _recipients(database: Database, connection: Connection, ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
    """Return who got each of some messages, as far as it was one person who is known."""
    message = database.message.c
    query = select(message.id, message.recipient).where(message.recipient != "", message.shared.is_(False))
    found = (row for some in chunked(ids) for row in connection.execute(query.where(message.id.in_(some))))
    return {row.id: row.recipient for row in found}
