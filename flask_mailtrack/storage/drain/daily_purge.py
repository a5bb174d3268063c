"""Once a day, whoever drains deletes what is older than the host wants to keep.

One machine does so, under a lease, in a thread of its own and in small transactions. It stops while rows wait for the
drain, and goes on later. A machine that dies in between has deleted what it has deleted; another one goes on when
its lease has ended.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import timedelta

from flask_mailtrack.events import now
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.leases import WorkLease
from flask_mailtrack.storage.tables.retention import Retention

from .chores import Chore
from .drain import BATCH, Drain

log: logging.Logger = logging.getLogger("flask_mailtrack.retention")

LOOK_SECONDS = 60.0
"""How often it is asked, from memory, whether the purge is due."""
DAILY = timedelta(days=1)
LEASE = timedelta(minutes=10)
"""How long a machine that is not heard of has the purge to itself: a transaction takes a part of a second."""
BEHIND_SECONDS = 30.0
_MANY = 10 * BATCH


class GivesWay(Exception):
    """The purge stops here: others need the database, or another machine has taken the purge over."""


def is_behind(drain: Drain, seconds: float) -> bool:
    """Say whether rows wait for longer than the drain's own pace, or more of them than a few transactions take.

    :param seconds: between two runs of the drain.
    """
    waiting = drain.waiting()
    late = waiting.oldest_seconds > BEHIND_SECONDS + 3 * seconds
    return late or waiting.rows + (waiting.streamed or 0) > _MANY or bool(drain.progress.read().error)


class DailyPurge:
    """Purges when it is due and nobody else does.

    :param keep_days: as :class:`Retention` takes it; empty: only what waits for messages in vain is forgotten.
    :param behind: says whether the database is needed for other things just now.
    :param pause: waits for some seconds.
    """

    def __init__(
        self,
        database: Database,
        keep_days: Mapping[str, float],
        behind: Callable[[], bool],
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._retention = Retention(database, keep_days, self._between)
        self._lease = WorkLease(database, "purge", DAILY, LEASE)
        self._behind = behind
        self._pause = pause
        self._keep_days = keep_days
        self._due = now()
        self._told = False
        self._since = 0.0

    def run(self) -> bool:
        """Purge if that is due, and say whether all is purged that was to be.

        :raises SQLAlchemyError: the database could not do it now; what was deleted stays deleted.
        """
        if now() < self._due:
            return False
        if self._behind():
            self._tell()
            return False
        if (due := self._lease.due_at()) > now():
            self._due = due
            return False
        if not self._lease.take():
            return False
        self._since = time.monotonic()
        try:
            self._retention.make_ahead()
            gone = {each.table: self._retention.purge(each) for each in self._retention.limits()}
            self._retention.sweep()
        except GivesWay:
            self._lease.give_back()
            return False
        if not self._lease.finish():
            return False
        self._told = False
        if any(gone.values()):
            told = " and ".join(f"{rows} {table}" for table, rows in gone.items())
            log.info("%s were deleted, as MAILTRACK_KEEP_DAYS says", told)
        return True

    def _tell(self) -> None:
        """Say once that nothing is deleted: what the host has promised its readers is not kept meanwhile."""
        if self._keep_days and not self._told and now() - self._due > DAILY:
            log.warning("nothing was deleted for a day, as MAILTRACK_KEEP_DAYS says: the drain fails, or is behind")
            self._told = True

    def _between(self) -> None:
        # As long as the transaction took, the database is others': a drain that waits for SQLite's lock gets it.
        self._pause(min(time.monotonic() - self._since, 1.0))
        if self._behind() or not self._lease.renew():
            raise GivesWay
        self._since = time.monotonic()


def daily(database: Database, keep_days: Mapping[str, float], drain: Drain, seconds: float) -> Chore:
    """Return the purge as a chore of whoever drains.

    A process begins none in its first minute: then it has other things to do.

    :param seconds: between two runs of the drain.
    """
    known = weakref.ref(drain)  # its thread, which wakes the chore, must not keep it alive

    def behind() -> bool:
        return (found := known()) is None or is_behind(found, seconds)

    purge = DailyPurge(database, keep_days, behind)
    trouble = "what is older than MAILTRACK_KEEP_DAYS cannot be deleted now"
    return Chore("mailtrack-purge", LOOK_SECONDS, lambda: purge.run(), trouble, log, at_once=False)
