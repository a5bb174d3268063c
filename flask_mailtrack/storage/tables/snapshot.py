"""A value that was read from the database a moment ago, for questions that each send asks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from flask_mailtrack.phrases import NOTHING, Phrase
from flask_mailtrack.storage.journal.spool import keeps_threads

log: logging.Logger = logging.getLogger("flask_mailtrack")

FRESH_SECONDS = 4.0
"""Seconds for which a value counts as fresh. A switch must be in force everywhere within five seconds."""

T = TypeVar("T")


class Snapshot(Generic[T]):
    """Reads a value from time to time. Never raises: if the database cannot be asked, the last value holds.

    :param what: the name of the value, for the log, and for pages if it is a phrase.
    :param read: asks the database; may raise.
    :param first: the value before the first reading.
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
        """The last value, without a look at the database."""
        self.known: bool = False
        """Whether the value has ever been read."""
        self.error: str = ""
        """The cause for which the last reading failed; empty if it succeeded."""

    @property
    def fresh(self) -> bool:
        """Whether the value is still fresh."""
        return self._read_at is not None and time.monotonic() - self._read_at < self._fresh_seconds

    @property
    def sure(self) -> bool:
        """Whether the last value is at most a few seconds old."""
        return self.known and self.fresh and not self.error

    def now(self) -> T:
        """Return the value. It is read again if it is no longer fresh, with one query every few seconds at most."""
        if self.fresh:
            return self.last
        # One thread reads, and the others use the last value. Only before the first reading do they wait.
        reading = self._reading
        if reading.acquire(blocking=self._read_at is None):
            try:
                if not self.fresh:  # another thread may have read while this one waited
                    self._read()
            finally:
                reading.release()
        return self.last

    def renew(self) -> None:
        """Read the value again in a thread of its own if it is not fresh. For requests of readers, which never wait."""
        if not self.fresh and not self._reading.locked() and keeps_threads():
            threading.Thread(target=self.now, name="mailtrack-snapshot", daemon=True).start()

    def forget(self) -> None:
        """Read the value again at the next call, because something has just been changed here."""
        self._forgotten += 1
        self._read_at = None

    def trouble(self) -> Phrase:
        """Return the trouble in one sentence, for a monitor; empty if there is none."""
        if not self.error:
            return NOTHING
        what, error = self.what, self.error
        if self.known:
            return Phrase("the %(what)s cannot be read (%(error)s): what was known last holds", what=what, error=error)
        return Phrase("the %(what)s cannot be read (%(error)s): the configuration holds", what=what, error=error)

    @property
    def _reading(self) -> threading.Lock:
        """The lock of the reading thread. A child makes a new one, because a fork may copy a lock that is held."""
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
        # A change during the reading is perhaps not in the value, so the value is not fresh then.
        self._read_at = moment if forgotten == self._forgotten else None
