"""The two ways to drain after a write: by the thread of a worker, or in the request itself."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref

from flask_mailtrack.storage.journal.journal import Listener
from flask_mailtrack.storage.journal.spool import keeps_threads

from .drain import Backoff, Drain

LAST_SECONDS = 5.0
"""Seconds for which the end of a process waits for a last run. A database that hangs must not stop the exit."""


class DrainThread:
    """Runs the drain every few seconds, in each process that has written something.

    The thread ends when the drain is freed, which the thread does not prevent, or after a last run at the end of the
    process.

    :param then: listeners that are woken after each run.
    """

    def __init__(self, drain: Drain, seconds: float, then: Listener | None = None) -> None:
        self._drain = drain
        self._seconds = seconds
        self._then = then
        self._pid = 0

    def wake(self) -> None:
        """Start the thread if this process does not have one yet. The check is cheap enough for each hit.

        uWSGI's master starts no thread. Its workers move the records that it writes while it loads the app.
        """
        if self._pid != os.getpid() and keeps_threads():
            drain, over = weakref.ref(self._drain), threading.Event()
            weakref.finalize(self._drain, over.set).atexit = False
            arguments = (drain, over, self._seconds, self._then)
            thread = threading.Thread(target=_loop, args=arguments, name="mailtrack-drain", daemon=True)
            thread.start()
            self._pid = os.getpid()
            _running[thread] = (self._pid, over)


class InlineDrain:
    """Runs the drain at once, in the request that has written something."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain

    def wake(self) -> None:
        """Move the records that can be moved now, without waiting for others."""
        self._drain.try_run(patient=False)


_running: weakref.WeakKeyDictionary[threading.Thread, tuple[int, threading.Event]] = weakref.WeakKeyDictionary()


def _loop(drain: weakref.ref[Drain], over: threading.Event, seconds: float, then: Listener | None) -> None:
    backoff = Backoff(seconds)
    wait = seconds
    while not over.wait(wait):
        if (went_well := _run_once(drain)) is None:
            return
        wait = backoff.after(went_well)
        if then is not None:
            then.wake()
    _run_once(drain)


def _run_once(drain: weakref.ref[Drain]) -> bool | None:
    """Return whether the run succeeded; ``None`` if the drain is gone."""
    if (found := drain()) is None:
        return None
    return found.try_run(watched=True) is not None


@atexit.register
def _finish() -> None:
    """Let each drain thread of this process make a last run, and wait for them for a limited time.

    The runs are made in the threads themselves, because an interpreter that ends starts no new threads.
    """
    until = time.monotonic() + LAST_SECONDS
    mine = [(thread, over) for thread, (process, over) in list(_running.items()) if process == os.getpid()]
    for _, over in mine:
        over.set()
    for thread, _ in mine:
        thread.join(max(0.0, until - time.monotonic()))
