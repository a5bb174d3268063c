"""Deleting what is older than the host wants to keep. Opt-outs and their audit are never deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, func, select

from flask_mailtrack.events import first_id, now
from flask_mailtrack.storage.database import Database

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
    are all there or all gone.

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
        table, order, conditions = self._old(overdue.table, overdue.before)
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

    def _old(self, name: str, before: datetime) -> tuple[Table, ColumnElement[uuid.UUID], list[ColumnElement[bool]]]:
        """Return the table, the column by which it is in the order of its mails, and what is true of old rows."""
        if name == "messages":
            table = self._database.message
            return table, table.c.id, [table.c.id < first_id(before), table.c.created_at < before]
        table = self._database.event
        return table, table.c.message_id, [table.c.message_id < first_id(before), table.c.occurred_at < before]
