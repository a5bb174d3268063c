"""What is done now and then by whoever drains: at the drain's pace, by threads of its own, and not in its way."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from flask_mailtrack.storage.journal.journal import Listener


class Chore:
    """Does something every so often in a thread of its own, so that it delays no drain.

    :param name: of the thread.
    :param seconds: from the beginning of one time to that of the next.
    :param work: what is done; what it raises is told of once, and the next time may have it better.
    :param trouble: what the log says then, before the type of what was raised.
    :param at_once: begin when it is woken first; else *seconds* later.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        work: Callable[[], object],
        trouble: str,
        log: logging.Logger,
        at_once: bool = True,
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._trouble = trouble
        self._log = log
        self._at_once = at_once
        self._next = 0.0
        self._pid = 0
        self._thread: threading.Thread | None = None
        self._failed = False

    def wake(self) -> None:
        """Begin, if it is time. Returns at once, and never raises."""
        mine = self._pid == os.getpid()
        if not mine and not self._at_once:
            self._pid, self._next, self._thread = os.getpid(), time.monotonic() + self._seconds, None
            return
        running = mine and self._thread is not None and self._thread.is_alive()
        if running or (mine and time.monotonic() < self._next):
            return
        self._pid, self._next = os.getpid(), time.monotonic() + self._seconds
        self._thread = threading.Thread(target=self.look, name=self._name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the end of the process
            self._log.debug("%s: not now", self._name, exc_info=True)

    def look(self) -> None:
        """Do it. Never raises: the next time may have it better."""
        try:
            self._work()
        except Exception as error:
            level = logging.DEBUG if self._failed else logging.WARNING
            self._log.log(level, "%s: %s", self._trouble, type(error).__name__)
            self._failed = True
        else:
            self._failed = False


class Chores:
    """All that is to be done now and then.

    :param every: who is woken.
    """

    def __init__(self, every: Sequence[Listener]) -> None:
        self._every = every

    def wake(self) -> None:
        """Wake all of them."""
        for each in self._every:
            each.wake()
