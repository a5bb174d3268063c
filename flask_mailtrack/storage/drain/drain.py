"""When the database does not take rows: how long to wait, and whom to tell how often.

JOIN: The drain: moves what the spool holds into the database, in batches, exactly once in effect.

A batch is committed, then announced by signals, then its segment is deleted. A crash in between
only replays what the primary keys ignore.
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
from typing import Any

from flask_mailtrack.errors import DatabaseBusy, StreamError
from flask_mailtrack.storage.journal.backlog import Gauge, Progress, Waiting
from flask_mailtrack.storage.journal.segment import Segment, chunks, election
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import Record, encode
from flask_mailtrack.storage.tables.writer import Refuse, Writer

log = logging.getLogger("flask_mailtrack.drain")

LONGEST_SECONDS = 60.0
EVERY_SECONDS = 300.0
HUNG_SECONDS = 30.0


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

    :param told: called with each failure that is told of, from whatever thread notices it.
    :param waiting: says what waits.
    :param clock: monotonic, in seconds.
    """

    def __init__(
        self,
        told: Callable[[Exception], None],
        waiting: Callable[[], Waiting],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._told = told
        self._waiting = waiting
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
            found = self._waiting()
            text = "the database has taken no rows for %.0f s: %s; %d rows wait, the oldest for %.0f s"
            log.error(text, now - self._since, named(error), found.rows, found.oldest_seconds)
        else:
            return
        self._told(error)

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


class Drain:
    """Empties spools, of any number of directories.

    :param spools: in the order in which they are emptied: messages before opt-outs. Those of the stream
        that is named last are emptied last.
    :param writer: of the database.
    :param batch: rows in one transaction.
    :param announce: called with each record after it is committed; must not raise.
    :param failed: called when the database takes nothing, now and then; must not raise.
    """

    def __init__(
        self,
        spools: Sequence[Spool],
        writer: Writer,
        batch: int,
        announce: Callable[[Record], None],
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._spools = spools
        self._late = [spool for spool in spools if spool.stream == spools[-1].stream]
        self._writer = writer
        self._batch = batch
        self._announce = announce
        self._running = (0, 0)
        self.gauge = Gauge(spools)
        self.progress = Progress(spools[0].directory)
        self.alarm = Alarm(failed, self.gauge.read)

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

    def waiting(self) -> Waiting:
        """Return what waits. Never raises."""
        return self.gauge.read()

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
        except StreamError as error:  # of which the relay has said what it means; the database is well
            log.debug("rows wait: %s", error)
            return 0
        except Exception as error:  # a mistake of ours, too, must not end the thread, or fail a reader's click
            self.alarm.failed(error)
            log.debug("rows wait in the spool: %s", named(error))
            return None
        if moved:
            self.alarm.over()
        return moved

    def store(self, bodies: Sequence[dict[str, Any]], refuse: Refuse, *, patient: bool = True) -> int:
        """Store one batch, tell of it, and return the number of records stored.

        :raises SQLAlchemyError: the database did not take it.
        """
        stored = self._writer.store(bodies, refuse, patient=patient)
        for record in stored:
            self._announce(record)
        return len(stored)

    def stored_after_all(self, ids: Collection[uuid.UUID]) -> None:
        """Have it known that those records are stored which the database had refused before."""
        self._writer.stored_after_all(ids)

    def _pending(self) -> bool:
        try:
            return any(spool.pending() for spool in self._spools)
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
        late = [list(taken(spool, troubles)) for spool in spools if spool in self._late]
        early = (taken(spool, troubles) for spool in spools if spool not in self._late)
        moved = 0
        try:
            for segments in early:
                moved += self._empty(segments, patient)
        finally:  # no other row may hold an opt-out up
            moved += sum(self._empty(segments, patient) for segments in late)
        return moved

    def _empty(self, segments: Iterable[Segment], patient: bool) -> int:
        moved = 0
        for segment in segments:
            for batch in chunks(segment.records(), self._batch):
                moved += self._hand_over(segment, batch, patient)
            segment.delete()
            self.progress.moved(segment.begun)
        return moved

    def _hand_over(self, segment: Segment, batch: Sequence[dict[str, Any]], patient: bool) -> int:
        return self.store(batch, _into(segment), patient=patient)

    def _apply(self, patient: bool) -> None:
        """Store, and leave the rest to the run that we are in: it will meet these records again."""
        for spool in self._late:
            for segment in spool.take():
                for batch in chunks(segment.records(), self._batch):
                    self._writer.store(batch, _into(segment), patient=patient)


def taken(spool: Spool, troubles: list[OSError]) -> Iterator[Segment]:
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
