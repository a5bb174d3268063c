"""The deliverability mode: of opens and clicks nothing is stored but the last day on which a person was seen.

The day stands on every row of theirs in this mode, so that no row says which mail they opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection, bindparam, or_, select, update

from flask_mailtrack.events import EventType, Hit
from flask_mailtrack.models import by_a_person
from flask_mailtrack.modes import Mode, mode_of
from flask_mailtrack.storage.database import Database, chunked

_KINDS = (EventType.OPENED, EventType.CLICKED)


def is_sight(record: object) -> bool:
    """Say whether *record* is a hit of which only the day may be kept."""
    return isinstance(record, Hit) and record.type in _KINDS and mode_of(record.message_id) == Mode.DELIVERABILITY


def note(database: Database, connection: Connection, hits: Sequence[Hit]) -> None:
    """Move the day forward for those whom *hits* are by; a replay, or an older hit, changes nothing.

    Those whose message row is not there are nobody's, and are forgotten.

    :param hits: of which :func:`is_sight` is true.
    """
    message = database.message
    by_people = [hit for hit in hits if by_a_person(hit.verdict, hit.provider)]
    whose: dict[object, str] = {}
    for ids in chunked(hit.message_id for hit in by_people):
        rows = connection.execute(select(message.c.id, message.c.recipient).where(message.c.id.in_(ids)))
        whose |= {row.id: row.recipient for row in rows}
    days: dict[str, date] = {}
    for hit in by_people:
        if name := whose.get(hit.message_id):  # else purged, or forgotten
            days[name] = max(days.get(name, date.min), hit.occurred_at.date())
    if days:
        mine = (message.c.recipient == bindparam("whose_"), message.c.mode == Mode.DELIVERABILITY.value)
        older = or_(message.c.seen_on.is_(None), message.c.seen_on < bindparam("day_"))
        moved = update(message).where(*mine, older).values(seen_on=bindparam("day_"))
        # In order, so that two drainers do not wait for each other in a circle.
        connection.execute(moved, [{"whose_": name, "day_": day} for name, day in sorted(days.items())])
