"""When the database does not take rows: how long to wait, and whom to tell how often."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .disk.gauge import Waiting

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
