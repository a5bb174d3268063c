"""What one machine does for all of them, and no more often than it is due.

A lease is a row of the table of settings, in force as no setting: one that is replaced at a moment of its own. Until
that moment, it is somebody's. ``changed_at`` says when the work was finished last, and ``value`` whose the lease is.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from flask_mailtrack.events import SettingChange, new_id, now

from .database import Database
from .switches import COLUMNS

SCOPE = "lease"
_ROWS = uuid.UUID("5b7f0f2e-5b0a-5f0e-9d0f-6a0f2f1d9c41")
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class WorkLease:
    """The lease of one kind of work, as one process sees it.

    :param work: a word for it, the same on all machines.
    :param every: from the end of the work to when it is due again.
    :param length: how long one machine has before another may take the work over; counted anew by :meth:`renew`.
    """

    def __init__(self, database: Database, work: str, every: timedelta, length: timedelta) -> None:
        self._database = database
        self._work = work
        self._every = every
        self._length = length
        self._id = uuid.uuid5(_ROWS, work)
        self._mine = ""

    def due_at(self) -> datetime:
        """Return when the work is due.

        :raises SQLAlchemyError: the database cannot say it now; likewise in what follows.
        """
        table = self._database.setting
        found = self._database.rows(select(table.c.changed_at).where(table.c.id == self._id))
        return found[0][0] + self._every if found else _NEVER

    def take(self) -> bool:
        """Take the work for this machine, and say whether it is due and no other has it."""
        table, moment, name = self._database.setting, now(), new_id().hex[-16:]
        first = SettingChange(self._id, SCOPE, "", self._work, "", "", _NEVER)
        row = {column: getattr(first, column) for column in COLUMNS} | {"replaced_at": _NEVER}
        due = (table.c.replaced_at <= moment, table.c.changed_at <= moment - self._every)
        mine = update(table).where(table.c.id == self._id, *due).values(replaced_at=moment + self._length, value=name)
        with self._database.transaction() as connection:
            # First of all, as a transaction that has read may not write in SQLite when another one has written.
            self._database.add(connection, table, [row | self._database.host.values(table, first, {})])
            taken = connection.execute(mine).rowcount
        self._mine = name if taken else ""
        return bool(taken)

    def renew(self) -> bool:
        """Have the time for the work begin anew, and say whether it is this machine's still."""
        return self._change(replaced_at=now() + self._length)

    def give_back(self) -> None:
        """Leave the rest of the work to whoever comes first."""
        self._change(replaced_at=now(), value="")

    def finish(self) -> bool:
        """Note that the work is done, and say whether it was this machine's still."""
        moment = now()
        return self._change(replaced_at=moment, changed_at=moment, value="")

    def _change(self, **values: object) -> bool:
        table = self._database.setting
        mine = update(table).where(table.c.id == self._id, table.c.value == self._mine).values(**values)
        with self._database.transaction() as connection:
            return bool(self._mine and connection.execute(mine).rowcount)
