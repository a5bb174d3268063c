"""Deleting what is older than the host wants to keep. Opt-outs and their audit are never deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, exists, func, or_, select, update

from flask_mailtrack.events import first_id, now

from .database import Database
from .unwanted import PERSONAL

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Overdue:
    """What may go from one table."""

    table: str
    before: datetime
    rows: int


class Retention:
    """Purges in small transactions, so that it holds nobody up.

    Ids are in the order of time, so the oldest rows are found without an index of their own. An event
    goes when it and its mail are both too old: the counts on a mail are right as long as its events
    are all there or all gone. With a mail goes what is personal of its events, or, where nothing is said of
    events, the events themselves.

    :param keep_days: by ``events`` and ``messages``; what is not named is kept for ever.
    """

    def __init__(self, database: Database, keep_days: Mapping[str, float]) -> None:
        self._database = database
        self._keep_days = keep_days

    def overdue(self) -> list[Overdue]:
        """Return what a purge would delete now."""
        found = []
        for name, days in sorted(self._keep_days.items()):
            before = now() - timedelta(days=days)
            table, _, conditions = self._old(name, before)
            (rows,) = self._database.rows(select(func.count().label("n")).select_from(table).where(*conditions))
            found.append(Overdue(name, before, int(rows[0])))
        return found

    def purge(self, overdue: Overdue, progress: Callable[[int], object] = lambda rows: None) -> int:
        """Delete the rows of one table that are older than *overdue* says, and return how many.

        :param progress: told of the rows of each transaction.
        :raises SQLAlchemyError: the database could not do it now; what was deleted stays deleted.
        """
        gone = self._delete(*self._old(overdue.table, overdue.before), progress)
        if overdue.table == "messages":
            self._clear(overdue.before)
        return gone

    def _delete(
        self,
        table: Table,
        order: ColumnElement[uuid.UUID],
        conditions: list[ColumnElement[bool]],
        progress: Callable[[int], object],
    ) -> int:
        gone, last = 0, uuid.UUID(int=0)
        while True:
            # From where the last batch ended: a database may walk over what was just deleted.
            query = select(table.c.id, order).where(order >= last, *conditions).order_by(order).limit(_BATCH)
            with self._database.transaction() as connection:
                rows = connection.execute(query).all()
                if not rows:
                    return gone
                deleted = connection.execute(table.delete().where(table.c.id.in_([row[0] for row in rows])))
            last = rows[-1][1]
            gone += int(deleted.rowcount)
            progress(int(deleted.rowcount))

    def _clear(self, before: datetime) -> None:
        """Delete the events of messages that are gone; where events are kept longer, take out what is personal."""
        message, event = self._database.message, self._database.event
        gone = ~exists().where(message.c.id == event.c.message_id)
        conditions = [event.c.message_id < first_id(before), gone]
        if "events" not in self._keep_days:
            self._delete(event, event.c.message_id, [*conditions, event.c.occurred_at < before], lambda rows: None)
            return
        conditions.append(or_(*(event.c[name] != "" for name in PERSONAL)))
        while True:
            with self._database.transaction() as connection:
                ids = connection.execute(select(event.c.id).where(*conditions).limit(_BATCH)).scalars().all()
                if not ids:
                    return
                connection.execute(update(event).where(event.c.id.in_(ids)).values(PERSONAL))

    def _old(self, name: str, before: datetime) -> tuple[Table, ColumnElement[uuid.UUID], list[ColumnElement[bool]]]:
        """Return the table, the column by which it is in the order of its mails, and what is true of old rows."""
        if name == "messages":
            table = self._database.message
            return table, table.c.id, [table.c.id < first_id(before), table.c.created_at < before]
        table = self._database.event
        return table, table.c.message_id, [table.c.message_id < first_id(before), table.c.occurred_at < before]
