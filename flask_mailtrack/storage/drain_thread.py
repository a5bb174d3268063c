"""The thread of a worker that drains."""

from __future__ import annotations

import atexit
import os
import threading
import weakref

from .drain import Drain


class DrainThread:
    """Runs the drain every few seconds, in whichever processes have written something.

    It ends with the drain, which it does not keep alive.
    """

    def __init__(self, drain: Drain, seconds: float) -> None:
        self._drain = drain
        self._seconds = seconds
        self._pid = 0

    def ensure(self) -> None:
        """Start the thread if this process does not have one yet; cheap enough for each hit."""
        if self._pid != os.getpid():
            drain, over = weakref.ref(self._drain), threading.Event()
            weakref.finalize(self._drain, over.set).atexit = False
            arguments = (drain, over, self._seconds)
            threading.Thread(target=_loop, args=arguments, name="mailtrack-drain", daemon=True).start()
            self._pid = os.getpid()
            atexit.register(_run_once, drain)


def _loop(drain: weakref.ref[Drain], over: threading.Event, seconds: float) -> None:
    while not over.wait(seconds):
        _run_once(drain)


def _run_once(drain: weakref.ref[Drain]) -> None:
    if (found := drain()) is not None:
        found.try_run()
