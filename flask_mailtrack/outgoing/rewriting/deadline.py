"""The time that one body may take."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask_mailtrack.errors import RewriteError


class Deadline:
    """A moment after which a body is sent as written.

    :param seconds: from now.
    :param clock: what tells the time.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def check(self) -> None:
        """Go on, or give up.

        :raises RewriteError: ``too_slow``.
        """
        if self._clock() > self._end:
            raise RewriteError("too_slow", f"more than {self._seconds} seconds")
