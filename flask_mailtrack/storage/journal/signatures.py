"""Counts links of the right form with a bad signature. Every process can read the number.

A few such links are a stranger's, or damaged. Many such links mean that the sending process has another key than the
serving process. Then every link is a 404, and nothing else reports that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flask_mailtrack.phrases import Phrase

from .directory import SIGNATURES, read_note, write_note

log: logging.Logger = logging.getLogger("flask_mailtrack.hit")

MANY = 20
SECONDS = 3_600
_QUIET_SECONDS = 60

CAUSE = Phrase(
    "the key of what sends differs from that of what serves, or an old key was taken out of the list: "
    "compare MAILTRACK_SECRET_KEYS (or SECRET_KEY) and MAILTRACK_APP_ID on both sides"
)


class Signatures:
    """Counts the bad signatures of an hour, in a file, or else in memory.

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
        """Count one more. If there are many, warn, and tell the other processes once a minute."""
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
        """Return the number in the last hour, by the process that saw most; 0 if there were few."""
        with self._lock:
            mine = self._count if self._count >= MANY and self._clock() - self._since <= SECONDS else 0
        told = read_note(self._path)
        try:
            theirs = int(told["count"]) if 0 <= self._clock() - float(told["at"]) <= SECONDS else 0
        except (ValueError, KeyError, TypeError, OverflowError):
            theirs = 0
        return max(mine, theirs)
