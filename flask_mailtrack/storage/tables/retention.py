"""Deleting what is older than the host wants to keep. Opt-outs and their audit are never deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Table, exists, func, or_, select, update

from flask_mailtrack.events import first_id, now

from . import body_shelf
from .database import Database
from .engine import is_made, reading
from .partitions import Partitions
from .rollup import EARLY_DAYS
from .unwanted import PERSONAL

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Overdue:
    """What may go from one table."""

    table: str
    before: datetime
    rows: int = 0


class Retention:
    """Purges in small transactions, so that nobody waits long.

    Ids are in the order of time, so the oldest rows are found without an index of their own. An event is deleted when
    it and its mail are both too old, because the counts on a mail are right only if its events are all there or all
    gone. Together with a mail, the personal fields of its events are deleted. If no time is set for events, the events
    themselves are deleted.

    :param keep_days: by ``events`` and ``messages``; what is not named is kept for ever.
    :param between: called after each transaction; what it raises ends the purge there.
    """

    def __init__(
        self, database: Database, keep_days: Mapping[str, float], between: Callable[[], object] = lambda: None
    ) -> None:
        self._database = database
        self._keep_days = keep_days
        self._between = between
        self._partitions = Partitions(database)

    def limits(self) -> list[Overdue]:
        """Return what a purge would delete now, without counting it."""
        return [Overdue(name, now() - timedelta(days=days)) for name, days in sorted(self._keep_days.items())]

    def overdue(self) -> list[Overdue]:
        """Return what a purge would delete now."""
        return [replace(each, rows=self._count(each)) for each in self.limits()]

    def purge(self, overdue: Overdue, progress: Callable[[int], object] = lambda rows: None) -> int:
        """Delete the rows of one table that are older than *overdue* says, and return how many.

        :param progress: told of the rows of each transaction.
        :raises SQLAlchemyError: the database could not do it now; what was deleted stays deleted.
        """
        gone = self._drop(overdue, progress) + self._delete(*self._old(overdue.table, overdue.before), progress)
        if overdue.table == "messages":
            self._clear(overdue.before)
            self._forget_claims(overdue.before)
            body_shelf.sweep(self._database, overdue.before, self._between)
        return gone

    def _forget_claims(self, before: datetime) -> None:
        claim = self._database.claim
        with reading(self._database.file) as connection:
            there = is_made(connection, claim)
        if there:
            old = claim.c.message_id < first_id(before)
            self._delete(claim, claim.c.message_id, [old], lambda rows: None)

    def make_ahead(self) -> None:
        """Make the months that come, where the events are partitioned.

        :raises SQLAlchemyError: the database could not do it now.
        """
        if self._partitions.there():
            self._partitions.make_ahead()

    def sweep(self) -> int:
        """Forget events that have waited for their message until nobody expects it any more, and return how many.

        :raises SQLAlchemyError: likewise.
        """
        table = self._database.early_event
        old = table.c.message_id < first_id(now() - timedelta(days=EARLY_DAYS))
        return self._delete(table, table.c.message_id, [old], lambda rows: None)

    def _drop(self, overdue: Overdue, progress: Callable[[int], object]) -> int:
        """Drop the months of events that are too old, where the table is partitioned, and return how many rows went."""
        alone = overdue.table == "messages" and "events" not in self._keep_days  # events go with their mails
        if not (alone or overdue.table == "events") or not self._partitions.there():
            return 0
        gone = self._partitions.drop_before(overdue.before, self._between)
        if alone:
            return 0
        progress(gone)
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
            # Continue where the last batch ended, because a database may walk over rows that were just deleted.
            query = select(table.c.id, order).where(order >= last, *conditions).order_by(order).limit(_BATCH)
            with self._database.transaction() as connection:
                rows = connection.execute(query).all()
                if not rows:
                    return gone
                deleted = connection.execute(table.delete().where(table.c.id.in_([row[0] for row in rows])))
            last = rows[-1][1]
            gone += int(deleted.rowcount)
            progress(int(deleted.rowcount))
            self._between()

    def _clear(self, before: datetime) -> None:
        """Delete the events of messages that are gone; where events are kept longer, take out what is personal."""
        message, event = self._database.message, self._database.event
        gone = ~exists().where(message.c.id == event.c.message_id)
        conditions = [event.c.message_id < first_id(before), gone]
        if "events" not in self._keep_days:
            self._delete(event, event.c.message_id, [*conditions, event.c.occurred_at < before], lambda rows: None)
            return
        conditions.append(or_(*(event.c[name] != "" for name in PERSONAL)))
        last = uuid.UUID(int=0)
        while True:
            # Continue where the last batch ended: what is cleared stays, and would be walked over again and again.
            query = select(event.c.id, event.c.message_id).where(event.c.message_id >= last, *conditions)
            with self._database.transaction() as connection:
                rows = connection.execute(query.order_by(event.c.message_id).limit(_BATCH)).all()
                if not rows:
                    return
                connection.execute(update(event).where(event.c.id.in_([row.id for row in rows])).values(PERSONAL))
            last = rows[-1].message_id
            self._between()

    def _count(self, overdue: Overdue) -> int:
        table, _, conditions = self._old(overdue.table, overdue.before)
        (rows,) = self._database.rows(select(func.count().label("n")).select_from(table).where(*conditions))
        old = self._partitions.all() if overdue.table == "events" and self._partitions.there() else []
        return int(rows[0]) + sum(part.rows for part in old if part.end and part.end <= overdue.before)

    def _old(self, name: str, before: datetime) -> tuple[Table, ColumnElement[uuid.UUID], list[ColumnElement[bool]]]:
        """Return the table, the column by which it is in the order of its mails, and what is true of old rows."""
        if name == "messages":
            table = self._database.message
            return table, table.c.id, [table.c.id < first_id(before), table.c.created_at < before]
        # Of a partitioned table whole months go, and of what belongs to no month, rows.
        table = self._partitions.rest() if self._partitions.there() else self._database.event
        return table, table.c.message_id, [table.c.message_id < first_id(before), table.c.occurred_at < before]
