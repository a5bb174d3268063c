"""The state on the message rows, made anew from the events."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select

from flask_mailtrack.events import first_id, now

from .database import Database

_BATCH = 500


class Recount:
    """Counts the events of every message again, in short transactions that a drain may run between.

    Left alone are messages of which events may have been purged: those older than events are kept, and those
    of which there is none left. What stands on them is all that is known.

    :param keep_days: of events, counted from the mail; 0: for ever.
    :param since: only messages created at or after this moment, in UTC; ``None``: all.
    """

    def __init__(self, database: Database, keep_days: float = 0, since: datetime | None = None) -> None:
        self._database = database
        self._since = since
        self._first = first_id(now() - timedelta(days=keep_days)) if keep_days else uuid.UUID(int=0)

    def total(self) -> int:
        """Return how many messages will be looked at."""
        query = select(func.count().label("n")).select_from(self._database.message).where(*self._conditions())
        return int(self._database.rows(query)[0][0])

    def run(self, progress: Callable[[int], object] = lambda messages: None) -> int:
        """Recount, and return the number of messages looked at.

        :param progress: told of the messages of each transaction.
        :raises SQLAlchemyError: the database could not do it now; what is recounted stays so.
        """
        done = 0
        for ids in self._batches():
            with self._database.transaction() as connection:
                # Or a drain that adds an event meanwhile could be overwritten by the lower count.
                self._database.lock(connection, ids)
                self._database.recount(connection, ids)
            done += len(ids)
            progress(len(ids))
        return done

    def _batches(self) -> Iterator[list[uuid.UUID]]:
        key = self._database.message.c.id
        query = select(key).where(*self._conditions()).order_by(key).limit(_BATCH)
        page = query
        while ids := [row[0] for row in self._database.rows(page)]:
            yield ids
            page = query.where(key > ids[-1])

    def _conditions(self) -> list[ColumnElement[bool]]:
        message = self._database.message
        recent = [message.c.created_at >= self._since] if self._since else []
        return [message.c.id >= self._first, *recent]
