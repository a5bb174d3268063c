"""What the log says of links that are not ours: as much as helps, and no more than a line in a minute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from flask_mailtrack.errors import TokenError

log = logging.getLogger("flask_mailtrack.hit")

SECONDS = 60


class Refusals:
    """Counts refused links. Anybody can ask for as many as they like, so not each one gets a line.

    The first is logged at once, the others as a number with the next one that comes a minute later or
    more. At level DEBUG each has a line.

    :param clock: seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._quiet_until = float("-inf")

    def add(self, error: TokenError) -> None:
        """Count one more, and log it if it is time."""
        log.debug("link refused: %s", error)
        with self._lock:
            self._count += 1
            now = self._clock()
            if now < self._quiet_until:
                return
            count, self._count, self._quiet_until = self._count, 0, now + SECONDS
        log.info("refused links: %d since the last such line, and the last one is a %s", count, error)
