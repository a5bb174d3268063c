"""Which hits are not stored, because the person behind them does not want to be measured, or is forgotten.

It is asked when the spool is drained: the redirect waits for nothing, a hit is on the local disk for
some seconds, and what the person has said until then counts.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select

from flask_mailtrack.consent import Consent, Purpose
from flask_mailtrack.events import EventType, Hit, SentMessage, first_id, now
from flask_mailtrack.modes import Mode, mode_of
from flask_mailtrack.storage.database import Database
from flask_mailtrack.storage.optouts import OptOuts
from flask_mailtrack.storage.records import Record

_PURPOSES = {EventType.OPENED: Purpose.OPEN, EventType.CLICKED: Purpose.CLICK}
_CHUNK = 1_000


class Silence:
    """Takes the hits out that nobody may keep.

    :param database: knows whose message it was.
    :param optouts: knows who has declined.
    :param consent: what the host knows of consent.
    :param keep_days: of events, counted from the mail; 0: for ever. A hit on an older mail would be
        purged at once, and would spoil the counts on its message.
    """

    def __init__(self, database: Database, optouts: OptOuts, consent: Consent, keep_days: float = 0) -> None:
        self._database = database
        self._optouts = optouts
        self._consent = consent
        self._keep_days = keep_days

    def over(self, records: Sequence[Record]) -> list[Record]:
        """Return *records* without those hits.

        :raises SQLAlchemyError: it cannot be known now whose they are.
        """
        hits = [r for r in records if isinstance(r, Hit) and r.type in _PURPOSES]
        if not hits:
            return list(records)
        written = {r.id: r.recipient for r in records if isinstance(r, SentMessage)}
        recipients = written | self._recipients({h.message_id for h in hits})
        whose = [(h, recipients.get(h.message_id)) for h in hits]
        # Nobody stands behind a counter; any other row without a recipient is an erased person's.
        dropped = {h.id for h, name in whose if name == "" and mode_of(h.message_id) != Mode.AGGREGATE}
        people = {name for _, name in whose if name}
        declined = self._optouts.declined(people) if people else {}
        denied = {
            kind: self._consent.denied({name for h, name in whose if name and h.type == kind}, purpose, patient=True)
            for kind, purpose in _PURPOSES.items()
        }
        oldest = first_id(now() - timedelta(days=self._keep_days)) if self._keep_days else None
        for hit, name in whose if declined or oldest or any(denied.values()) else ():
            said_no = name in declined and declined[name] <= hit.occurred_at
            if said_no or name in denied[hit.type] or (oldest and hit.message_id < oldest):
                dropped.add(hit.id)
        return [r for r in records if not isinstance(r, Hit) or r.id not in dropped] if dropped else list(records)

    def _recipients(self, message_ids: set[uuid.UUID]) -> dict[uuid.UUID, str]:
        table, wanted = self._database.message, sorted(message_ids)
        found: dict[uuid.UUID, str] = {}
        for start in range(0, len(wanted), _CHUNK):
            query = select(table.c.id, table.c.recipient).where(table.c.id.in_(wanted[start : start + _CHUNK]))
            found.update({row[0]: row[1] for row in self._database.rows(query)})
        return found
