"""How long a page, or a monitor, waits for something that may never answer, such as a name server or a database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Errand(Generic[T]):
    """Work in a thread of its own, which its caller waits for only so long. The work goes on, and nobody ends it.

    :param work: what is to be done.
    :param name: of the thread. While work of that name goes on, it is not begun again.
    """

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._name = name
        self._result: list[T] = []
        self._error: list[Exception] = []

    def wait(self, seconds: float, *, here: bool = False) -> T | None:
        """Do the work, and return its result; ``None``: the work goes on.

        :param here: in this thread, without a limit: for a database that threads cannot share.
        :raises Exception: that of the work.
        """
        if here:
            return self._work()
        name = f"mailtrack-{self._name}"
        if any(thread.name == name for thread in threading.enumerate()):
            return None
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        thread.join(seconds)
        if self._error:
            raise self._error[0]
        return self._result[0] if self._result else None

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except Exception as error:
            self._error.append(error)
