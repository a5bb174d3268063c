"""The drain: moves what the journal holds into the database, in batches, exactly once in effect.

A batch is committed, then announced by signals, then its segment is deleted. A crash in between only replays what
the primary keys ignore. When the database takes no rows, an alarm knows how long
to wait, and whom to tell how often.
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
"""Records as they stand in a spool."""

LONGEST_SECONDS = 60.0
EVERY_SECONDS = 300.0
HUNG_SECONDS = 30.0
BATCH = 1_000
"""Rows in one transaction: more take no less time each, and a lock is held for longer."""


def named(error: Exception) -> str:
    """Return the type of *error*, and where it came from; not its text, which may hold what rows hold."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "flask_mailtrack" in f.filename]
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}"


class Backoff:
    """The time between two runs: as configured, and twice as long after each failure, up to a minute.

    :param seconds: between two runs that go well.
    :param spread: a random part of the wait, from 0 to 1, so that machines do not knock in step.
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
        # Not 2 to the power of days of failures, which is no float any more.
        wait = min(longest, self._seconds * 2.0 ** min(self._failures, 16))
        return max(self._seconds, wait * (0.5 + self._spread() / 2))


class Alarm:
    """Tells of the first failure, then every five minutes, and of the end; not of each run.

    :param announcer: tells the host, from whatever thread notices a failure.
    :param gauge: says what waits.
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
        """A run has failed, or does not end."""
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
        """A run has gone well."""
        if self._since is not None:
            log.info("the database takes rows again, after %.0f s", self._clock() - self._since)
            self._since = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell of a run that does not end: a server that hangs answers neither yes nor no."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(HUNG_SECONDS):
                self.failed(TimeoutError("the database does not answer"))

        thread = threading.Thread(target=watch, name="mailtrack-watch", daemon=True)
        with suppress(RuntimeError):  # no thread to be had, or the interpreter ends: then without
            thread.start()
        try:
            yield
        finally:
            ended.set()


class Target(Protocol):
    """Where a drain moves records: the :class:`Tables`, or Redis and from there the tables."""

    def busy(self) -> bool:
        """Say whether there is something to do though no spool holds anything."""
        ...

    def store(self, bodies: Bodies, refuse: Refuse, patient: bool) -> int:
        """Store one batch in the tables at once, tell of it, and return the number of records stored.

        :raises SQLAlchemyError: the database did not take it.
        """
        ...

    def accept(self, bodies: Bodies, stream: str, refuse: Refuse, patient: bool) -> int:
        """Take one batch, and return the number of records that are in the tables now.

        :param stream: of the spool that they come from.
        :raises SQLAlchemyError: the database did not take it.
        :raises StreamFull: it has to wait for what is on its way.
        """
        ...

    def apply(self, bodies: Bodies, refuse: Refuse, patient: bool) -> None:
        """Have one batch take effect, and tell of nothing: it is met again."""
        ...

    def stored_after_all(self, ids: Collection[uuid.UUID]) -> None:
        """Have it known that those records are stored which the database had refused before."""
        ...

    def finish(self, patient: bool) -> int:
        """Move what is on its way to the tables, and return the number of records moved."""
        ...

    def settle(self) -> None:
        """Have the tables know all that is known of people anywhere."""
        ...

    def waiting(self, here: Waiting) -> Waiting:
        """Return what waits, with what is on its way. Never raises."""
        ...


class Tables:
    """The database, as the target of a drain.

    :param writer: of the database.
    :param announcer: tells the host of each record after it is committed.
    """

    def __init__(self, writer: Writer, announcer: Announcer | None = None) -> None:
        self._writer = writer
        self._announcer = announcer

    def busy(self) -> bool:
        """Say no: nothing is on its way."""
        return False

    def store(self, bodies: Bodies, refuse: Refuse, patient: bool) -> int:
        """Store one batch, tell of it, and return the number of records stored."""
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
        """Have the writer forget that the database had refused them."""
        self._writer.stored_after_all(ids)

    def finish(self, patient: bool) -> int:
        """Do nothing: nothing is on its way."""
        return 0

    def settle(self) -> None:
        """Do nothing: nothing is known but what has been stored."""

    def waiting(self, here: Waiting) -> Waiting:
        """Return what waits in the spools."""
        return here


class Drain:
    """Empties spools, of any number of directories.

    :param spools: in the order in which they are emptied: messages before opt-outs. Those of the stream
        that is named last are emptied last.
    :param target: where the records go.
    :param announcer: tells the host, now and then, that the database takes nothing.
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
        """Move everything that is in the spools now.

        Called by a signal receiver, in the middle of a run, it only has the opt-outs take effect.

        :param wait: for another drainer to finish, rather than leave the work to it; half a minute at most.
        :param patient: see :meth:`Database.transaction`.
        :return: the number of records moved.
        :raises SQLAlchemyError: the database did not take them; they stay in the spool.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        :raises OSError: a directory cannot be emptied; what is in the others has been moved.
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
        """Have the database know all that is known of people here. Raises what :meth:`run` raises."""
        self.run()
        self._target.settle()

    def waiting(self) -> Waiting:
        """Return what waits. Never raises."""
        return self._target.waiting(self.gauge.read())

    def try_run(self, *, patient: bool = True, watched: bool = False) -> int | None:
        """Move what can be moved now; what cannot stays in the spool, and the alarm is raised. Never raises.

        :param watched: raise the alarm also while the run goes on, if the database does not answer.
        :return: the number of records moved; ``None`` if the database, or a directory, fails.
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
        except StreamError as error:  # of which the target has said what it means; the database is well
            log.debug("rows wait: %s", error)
            return 0
        except Exception as error:  # a mistake of ours, too, must not end the thread, or fail a reader's click
            self.alarm.failed(error)
            log.debug("rows wait in the spool: %s", named(error))
            return None
        if moved:
            self.alarm.over()
        return moved

    def store(self, bodies: Bodies, refuse: Refuse) -> int:
        """Store one batch at once, tell of it, and return the number of records stored.

        :raises SQLAlchemyError: the database did not take it.
        """
        return self._target.store(bodies, refuse, patient=True)

    def stored_after_all(self, ids: Collection[uuid.UUID]) -> None:
        """Have it known that those records are stored which the database had refused before."""
        self._target.stored_after_all(ids)

    def _pending(self) -> bool:
        try:
            return any(spool.pending() for spool in self._spools) or self._target.busy()
        except OSError:  # a directory that cannot be looked into: let the run say so
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
    """Yield the segments of a spool; a directory that fails costs only itself."""
    try:
        yield from spool.take()
    except OSError as error:
        _note(spool, error, troubles)


def _note(spool: Spool, error: OSError, troubles: list[OSError]) -> None:
    log.debug("%s cannot be emptied: %s", spool.directory, error)
    troubles.append(error)


def _into(segment: Segment) -> Refuse:
    return lambda body, reason: segment.reject(encode(body), reason)
