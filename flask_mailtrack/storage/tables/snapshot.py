"""What was read of the database a moment ago, and holds until it is read again: for questions that each send asks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from flask_mailtrack.storage.journal.spool import keeps_threads

log: logging.Logger = logging.getLogger("flask_mailtrack")

FRESH_SECONDS = 4.0
"""How long what was read is believed: a switch is promised to be in force everywhere within five seconds."""

T = TypeVar("T")


class Snapshot(Generic[T]):
    """Reads now and then, and never raises: if the database cannot be asked, what was read last holds.

    :param what: what is read, as a log names it.
    :param read: asks the database; may raise.
    :param first: what holds before the first reading.
    :param fresh_seconds: see :data:`FRESH_SECONDS`.
    """

    def __init__(self, what: str, read: Callable[[], T], first: T, fresh_seconds: float = FRESH_SECONDS) -> None:
        self.what = what
        self._ask = read
        self._fresh_seconds = fresh_seconds
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._read_at: float | None = None
        self._forgotten = 0
        self.last: T = first
        """What was read last, without a look at the database."""
        self.known: bool = False
        """Whether it has ever been read."""
        self.error: str = ""
        """Why the last reading failed; empty if it went well."""

    @property
    def fresh(self) -> bool:
        """Whether what was read is still believed."""
        return self._read_at is not None and time.monotonic() - self._read_at < self._fresh_seconds

    @property
    def sure(self) -> bool:
        """Whether what was read last is what stands now, but for a few seconds."""
        return self.known and self.fresh and not self.error

    def now(self) -> T:
        """Return what stands, read anew if it is no longer fresh: one query at most each few seconds."""
        if self.fresh:
            return self.last
        # One thread reads. The others go on with what was known, but for the very first time.
        reading = self._reading
        if reading.acquire(blocking=self._read_at is None):
            try:
                if not self.fresh:  # another thread may have read while this one waited
                    self._read()
            finally:
                reading.release()
        return self.last

    def renew(self) -> None:
        """Have it read anew, if it is no longer fresh, by a thread of its own: whoever asks a reader's question."""
        if not self.fresh and not self._reading.locked() and keeps_threads():
            threading.Thread(target=self.now, name="mailtrack-snapshot", daemon=True).start()

    def forget(self) -> None:
        """Read anew at the next question: something has just been changed here."""
        self._forgotten += 1
        self._read_at = None

    def trouble(self) -> str:
        """Return what a monitor should know in one sentence; empty if all is well."""
        if not self.error:
            return ""
        holds = "what was known last holds" if self.known else "the configuration holds"
        return f"the {self.what} cannot be read ({self.error}): {holds}"

    @property
    def _reading(self) -> threading.Lock:
        """Held by whoever reads. A fork may have copied it in the hands of a thread that the child does not have."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock

    def _read(self) -> None:
        moment, forgotten = time.monotonic(), self._forgotten
        try:
            self.last = self._ask()
        except Exception as error:
            if not self.error:
                log.warning("the %s cannot be read, so the last known hold (%s)", self.what, type(error).__name__)
            self.error = type(error).__name__
        else:
            if self.error:
                log.info("the %s can be read again", self.what)
            self.known, self.error = True, ""
        # What was changed while this was read is perhaps not in it.
        self._read_at = moment if forgotten == self._forgotten else None
