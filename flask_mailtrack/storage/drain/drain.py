"""The drain: moves records from the journal into the database, in batches, exactly once in effect.

A batch is committed, then announced by signals, and then its segment is deleted. After a crash in between, rows are
inserted again, and the primary keys ignore them. When the database takes no rows, an alarm decides how long to wait
and how often to tell the host.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from flask_mailtrack.errors import DatabaseBusy, StreamError, StreamFull
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.journal.backlog import Gauge, Progress, Waiting
from flask_mailtrack.storage.journal.segment import Segment, election
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import batched, encode
from flask_mailtrack.storage.tables.writer import Refuse, Writer

log: logging.Logger = logging.getLogger("flask_mailtrack.drain")

Bodies = Sequence[dict[str, Any]]
"""Records as the spool holds them."""

LONGEST_SECONDS = 60.0
EVERY_SECONDS = 300.0
HUNG_SECONDS = 30.0
BATCH = 1_000
"""Rows in one transaction. With more rows, each takes as long, and locks are held for longer."""


def named(error: Exception) -> str:
    """Return the type of *error* and its place in the code. Its text is left out, because it may hold rows."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "flask_mailtrack" in f.filename]
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}"


class Backoff:
    """The time between two runs: as configured, and doubled after each failure, up to a minute.

    :param seconds: between two successful runs.
    :param spread: a random part of the wait, from 0 to 1, so that machines do not ask at the same moment.
    """

    def __init__(self, seconds: float, spread: Callable[[], float] = random.random) -> None:
        self._seconds = seconds
        self._spread = spread
        self._failures = 0

    def after(self, went_well: bool) -> float:
        """Return the seconds to wait after a run."""
        self._failures = 0 if went_well else self._failures + 1
        if went_well:
            return self._seconds
        longest = max(LONGEST_SECONDS, self._seconds)
        # The exponent is limited, because after days of failures the power would be too large for a float.
        wait = min(longest, self._seconds * 2.0 ** min(self._failures, 16))
        return max(self._seconds, wait * (0.5 + self._spread() / 2))


class Alarm:
    """Reports the first failure, then one every five minutes, and the end. Not every failed run is reported.

    :param announcer: tells the host, from the thread that notices a failure.
    :param gauge: counts waiting records.
    :param clock: monotonic, in seconds.
    """

    def __init__(
        self,
        announcer: Announcer | None,
        gauge: Gauge,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._announcer = announcer
        self._gauge = gauge
        self._clock = clock
        self._since: float | None = None
        self._next = 0.0

    def failed(self, error: Exception) -> None:
        """Note that a run has failed, or does not end."""
        now = self._clock()
        if self._since is None:
            self._since, self._next = now, now + EVERY_SECONDS
            log.warning("the database takes no rows, which wait in the spool: %s", named(error))
        elif now >= self._next:
            self._next = now + EVERY_SECONDS
            found = self._gauge.read()
            text = "the database has taken no rows for %.0f s: %s; %d rows wait, the oldest for %.0f s"
            log.error(text, now - self._since, named(error), found.rows, found.oldest_seconds)
        else:
            return
        if self._announcer is not None:
            self._announcer.failed("drain", error)

    def over(self) -> None:
        """Note that a run has succeeded."""
        if self._since is not None:
            log.info("the database takes rows again, after %.0f s", self._clock() - self._since)
            self._since = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Report a run that does not end. A server that hangs gives no error."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(HUNG_SECONDS):
                self.failed(TimeoutError("the database does not answer"))

        thread = threading.Thread(target=watch, name="mailtrack-watch", daemon=True)
        with suppress(RuntimeError):  # no thread can be started, or the interpreter ends; the run goes on unwatched
            thread.start()
        try:
            yield
        finally:
            ended.set()


class Target(Protocol):
    """The target of a drain: the :class:`Tables`, or Redis and from there the tables."""

    def busy(self) -> bool:
        """Say whether the target has work to do, even if no spool holds a record."""
        ...

    def store(self, bodies: Bodies, refuse: Refuse, patient: bool) -> int:
        """Store one batch in the tables at once, announce it, and return the number of stored records.

        :raises SQLAlchemyError: the database did not take the batch.
        """
        ...

    def accept(self, bodies: Bodies, stream: str, refuse: Refuse, patient: bool) -> int:
        """Take one batch, and return the number of its records that are in the tables now.

        :param stream: the stream of the spool.
        :raises SQLAlchemyError: the database did not take the batch.
        :raises StreamFull: the batch has to wait until Redis has room.
        """
        ...

    def apply(self, bodies: Bodies, refuse: Refuse, patient: bool) -> None:
        """Store one batch without announcing it. A later run meets the batch again and announces it."""
        ...

    def stored_after_all(self, ids: Collection[uuid.UUID]) -> None:
        """Note that records are stored now that the database had refused before."""
        ...

    def finish(self, patient: bool) -> int:
        """Move records that wait in the target to the tables, and return their number."""
        ...

    def settle(self) -> None:
        """Move all opt-outs of all machines to the tables."""
        ...

    def waiting(self, here: Waiting) -> Waiting:
        """Return the backlog, with the records that wait in the target. Never raises."""
        ...


class Tables:
    """The database, as the target of a drain.

    :param writer: writes to the database.
    :param announcer: tells the host of each record after it is committed.
    """

    def __init__(self, writer: Writer, announcer: Announcer | None = None) -> None:
        self._writer = writer
        self._announcer = announcer

    def busy(self) -> bool:
        """Return ``False``, because nothing waits in this target."""
        return False

    def store(self, bodies: Bodies, refuse: Refuse, patient: bool) -> int:
        """Store one batch, announce it, and return the number of stored records."""
        stored = self._writer.store(bodies, refuse, patient=patient)
        for record in stored:
            if self._announcer is not None:
                self._announcer.announce(record)
        return len(stored)

    def accept(self, bodies: Bodies, stream: str, refuse: Refuse, patient: bool) -> int:
        """Store one batch."""
        return self.store(bodies, refuse, patient)

    def apply(self, bodies: Bodies, refuse: Refuse, patient: bool) -> None:
        """Store one batch."""
        self._writer.store(bodies, refuse, patient=patient)

    def stored_after_all(self, ids: Collection[uuid.UUID]) -> None:
        """Make the writer forget that the database had refused the records."""
        self._writer.stored_after_all(ids)

    def finish(self, patient: bool) -> int:
        """Do nothing, because nothing waits in this target."""
        return 0

    def settle(self) -> None:
        """Do nothing, because opt-outs are stored at once."""

    def waiting(self, here: Waiting) -> Waiting:
        """Return the backlog of the spools."""
        return here


class Drain:
    """Empties spools, of any number of directories.

    :param spools: in the order in which they are emptied: messages before opt-outs. The spools of the last
        stream are emptied last.
    :param target: takes the records.
    :param announcer: tells the host from time to time that the database takes nothing.
    :param batch: rows in one transaction; default: :data:`BATCH`.
    """

    def __init__(
        self,
        spools: Sequence[Spool],
        target: Target,
        announcer: Announcer | None = None,
        *,
        batch: int | None = None,
    ) -> None:
        self._spools = spools
        self._late = [spool for spool in spools if spool.stream == spools[-1].stream]
        self._target = target
        self._batch = batch or BATCH
        self._running = (0, 0)
        self.gauge: Gauge = Gauge(spools)
        self.progress: Progress = Progress(spools[0].directory)
        self.alarm: Alarm = Alarm(announcer, self.gauge)

    def run(self, *, wait: bool = True, patient: bool = True) -> int:
        """Move all records that are in the spools now.

        A signal receiver may call this method in the middle of a run. Then only the opt-outs take effect.

        :param wait: wait for another drainer to finish, half a minute at most; else leave the work to that drainer.
        :param patient: see :meth:`Database.transaction`.
        :return: the number of moved records.
        :raises SQLAlchemyError: the database did not take the records; they stay in the spool.
        :raises DatabaseBusy: the host is in a transaction; the records stay in the spool.
        :raises OSError: a directory cannot be emptied; the records of the other directories have been moved.
        """
        me = (os.getpid(), threading.get_ident())
        if self._running == me:
            self._apply(patient)
            return 0
        with self._mine(wait) as (spools, troubles):
            self._running = me
            try:
                moved = self._move(spools, patient, troubles)
            except DatabaseBusy:
                raise
            except Exception as error:
                self.progress.failed(error)
                raise
            finally:
                self._running = (0, 0)
        if troubles:
            self.progress.failed(troubles[0])
            raise troubles[0]
        return moved

    def settle(self) -> None:
        """Move all opt-outs of this machine to the database. Raises the same errors as :meth:`run`."""
        self.run()
        self._target.settle()

    def waiting(self) -> Waiting:
        """Return the backlog. Never raises."""
        return self._target.waiting(self.gauge.read())

    def try_run(self, *, patient: bool = True, watched: bool = False) -> int | None:
        """Move the records that can be moved now. The others stay in the spool, with an alarm. Never raises.

        :param watched: raise the alarm also during the run, if the database does not answer.
        :return: the number of moved records; ``None`` if the database, or a directory, fails.
        """
        try:
            if not self._pending():
                self.alarm.over()
                return 0
            with self.alarm.watching() if watched else nullcontext():
                moved = self.run(wait=False, patient=patient)
        except DatabaseBusy:
            log.debug("rows wait for the host's transaction to end")
            return 0
        except StreamError as error:  # the target has logged the cause, and the database is well
            log.debug("rows wait: %s", error)
            return 0
        except Exception as error:  # even a mistake of ours must not end the thread, or fail a reader's click
            self.alarm.failed(error)
            log.debug("rows wait in the spool: %s", named(error))
            return None
        if moved:
            self.alarm.over()
        return moved

    def store(self, bodies: Bodies, refuse: Refuse) -> int:
        """Store one batch at once, announce it, and return the number of stored records.

        :raises SQLAlchemyError: the database did not take the batch.
        """
        return self._target.store(bodies, refuse, patient=True)

    def stored_after_all(self, ids: Collection[uuid.UUID]) -> None:
        """Note that records are stored now that the database had refused before."""
        self._target.stored_after_all(ids)

    def _pending(self) -> bool:
        try:
            return any(spool.pending() for spool in self._spools) or self._target.busy()
        except OSError:  # the directory cannot be read; the run reports that
            return True

    @contextmanager
    def _mine(self, wait: bool) -> Iterator[tuple[list[Spool], list[OSError]]]:
        """Yield the spools of the directories that we hold, and what keeps us from others."""
        held: dict[Path, bool] = {}
        troubles: list[OSError] = []
        with ExitStack() as stack:
            for spool in self._spools:
                try:
                    if spool.directory not in held and spool.pending():
                        held[spool.directory] = False
                        held[spool.directory] = stack.enter_context(election(spool.directory, wait))
                except OSError as error:
                    _note(spool, error, troubles)
            yield [spool for spool in self._spools if held.get(spool.directory)], troubles

    def _move(self, spools: list[Spool], patient: bool, troubles: list[OSError]) -> int:
        # Sealed first: the messages that these opt-outs are about are in the spool by now.
        late = [list(_taken(spool, troubles)) for spool in spools if spool in self._late]
        early = (_taken(spool, troubles) for spool in spools if spool not in self._late)
        moved = 0
        try:
            with suppress(StreamFull):  # the target has said so: what is on its way goes first
                for segments in early:
                    moved += self._empty(segments, patient)
            moved += self._target.finish(patient)
        finally:  # no other row may hold an opt-out up
            moved += sum(self._empty(segments, patient) for segments in late)
        return moved

    def _empty(self, segments: Iterable[Segment], patient: bool) -> int:
        moved = 0
        for segment in segments:
            for batch in batched(segment.records(), self._batch):
                moved += self._target.accept(batch, segment.stream, _into(segment), patient)
            segment.delete()
            self.progress.moved(segment.begun)
        return moved

    def _apply(self, patient: bool) -> None:
        """Store, and leave the rest to the run that we are in: it will meet these records again."""
        for spool in self._late:
            for segment in spool.take():
                for batch in batched(segment.records(), self._batch):
                    self._target.apply(batch, _into(segment), patient)


def _taken(spool: Spool, troubles: list[OSError]) -> Iterator[Segment]:
    """Yield the segments of a spool. A directory that fails costs only itself."""
    try:
        yield from spool.take()
    except OSError as error:
        _note(spool, error, troubles)


def _note(spool: Spool, error: OSError, troubles: list[OSError]) -> None:
    log.debug("%s cannot be emptied: %s", spool.directory, error)
    troubles.append(error)


def _into(segment: Segment) -> Refuse:
    return lambda body, reason: segment.reject(encode(body), reason)
