"""The drain: moves what the spool holds into the database, in batches, exactly once in effect.

A batch is committed, then announced by signals, then its segment is deleted. A crash in between
only replays what the primary keys ignore.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from flask_mailtrack.errors import DatabaseBusy, StreamError

from .records import Record, encode
from .spool import Segment, Spool, chunks, election
from .writer import Refuse, Writer

log = logging.getLogger("flask_mailtrack.drain")


class Drain:
    """Empties the spools of one directory.

    :param spools: in the order in which they are emptied: a message before its opt-outs.
    :param writer: of the database.
    :param batch: rows in one transaction.
    :param announce: called with each record after it is committed; must not raise.
    """

    def __init__(self, spools: Sequence[Spool], writer: Writer, batch: int, announce: Callable[[Record], None]) -> None:
        self._spools = spools
        self._writer = writer
        self._batch = batch
        self._announce = announce
        self._running = (0, 0)

    def run(self, *, wait: bool = True, patient: bool = True) -> int:
        """Move everything that is in the spools now.

        Called by a signal receiver, in the middle of a run, it only has the opt-outs take effect.

        :param wait: for another drainer to finish, rather than leave the work to it.
        :param patient: see :meth:`Database.transaction`.
        :return: the number of records moved.
        :raises SQLAlchemyError: the database did not take them; they stay in the spool.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        """
        me = (os.getpid(), threading.get_ident())
        if self._running == me:
            self._apply(self._spools[-1], patient)
            return 0
        with election(self._spools[0].directory, wait) as elected:
            if not elected:
                return 0
            self._running = me
            try:
                return self._move(patient)
            finally:
                self._running = (0, 0)

    def catch_up(self) -> None:
        """Have all opt-outs take effect that this machine has been told. Raises what :meth:`run` raises."""
        if self._spools[-1].pending():
            self.run()

    def try_run(self, *, patient: bool = True) -> None:
        """Move what can be moved now; what cannot stays in the spool and is logged. Never raises."""
        try:
            self.run(wait=False, patient=patient)
        except DatabaseBusy:
            log.debug("rows wait for the host's transaction to end")
        except StreamError as error:  # of which the relay has said what it means
            log.debug("rows wait: %s", error)
        except (SQLAlchemyError, OSError) as error:
            log.warning("rows wait in the spool: %s", type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
        except Exception:  # a mistake of ours must not end the thread, or fail a reader's click
            log.exception("rows wait in the spool")

    def _move(self, patient: bool) -> int:
        # Sealed first: the messages that these opt-outs are about are in the spool by now.
        last = list(self._spools[-1].take())
        moved = sum(self._empty(spool.take(), patient) for spool in self._spools[:-1])
        return moved + self._empty(last, patient)

    def _empty(self, segments: Iterable[Segment], patient: bool) -> int:
        moved = 0
        for segment in segments:
            for batch in chunks(segment.records(), self._batch):
                stored = self._store(segment, batch, patient)
                moved += len(stored)
                for record in stored:
                    self._announce(record)
            segment.delete()
        return moved

    def _store(self, segment: Segment, batch: Sequence[dict[str, Any]], patient: bool) -> list[Record]:
        return self._writer.store(batch, _into(segment), patient=patient)

    def _apply(self, spool: Spool, patient: bool) -> None:
        """Store, and leave the rest to the run that we are in: it will meet these records again."""
        for segment in spool.take():
            for batch in chunks(segment.records(), self._batch):
                self._writer.store(batch, _into(segment), patient=patient)


def _into(segment: Segment) -> Refuse:
    return lambda body, reason: segment.reject(encode(body), reason)
