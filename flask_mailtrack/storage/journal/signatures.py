"""Links of our own form whose signature is by none of our keys, counted for every process to read.

A few are a stranger's, or damaged. Many mean that what sends has another key than what serves: each of its links is a
404 then, and nothing else says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .directory import SIGNATURES, read_note, write_note

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

MANY = 20
SECONDS = 3_600
_QUIET_SECONDS = 60

CAUSE = (
    "the key of what sends differs from that of what serves, or an old key was taken out of the list: "
    "compare MAILTRACK_SECRET_KEYS (or SECRET_KEY) and MAILTRACK_APP_ID on both sides"
)


class Signatures:
    """Counts bad signatures of an hour; where the file cannot be written, what this process knows.

    :param directory: of the spool, which the processes of an app share.
    :param clock: seconds since 1970.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = directory / SIGNATURES
        self._clock = clock
        self._lock = threading.Lock()
        self._since = self._quiet_until = 0.0
        self._count = 0

    def bad(self) -> None:
        """Count one more; when there are many, warn, and once a minute tell the other processes."""
        now = self._clock()
        with self._lock:
            if now - self._since > SECONDS:
                self._since, self._count = now, 0
            self._count += 1
            if self._count < MANY or now < self._quiet_until:
                return
            count, self._quiet_until = self._count, now + _QUIET_SECONDS
        log.warning("%d links of our own form had a bad signature within an hour: %s", count, CAUSE)
        write_note(self._path, {"count": count, "at": now})

    def read(self) -> int:
        """Return how many there were in the last hour, by the process that saw most; 0 if they were not many."""
        with self._lock:
            mine = self._count if self._count >= MANY and self._clock() - self._since <= SECONDS else 0
        told = read_note(self._path)
        try:
            theirs = int(told["count"]) if 0 <= self._clock() - float(told["at"]) <= SECONDS else 0
        except (ValueError, KeyError, TypeError, OverflowError):
            theirs = 0
        return max(mine, theirs)
