"""How the last runs of the drain went, for every process to read: the drain may be another one."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .directory import PROGRESS


@dataclass(frozen=True, slots=True)
class Runs:
    """The last of each kind; times are seconds since 1970, 0 for never."""

    at: float = 0.0
    succeeded_at: float = 0.0
    """When rows were stored the last time."""
    lag_seconds: float = 0.0
    """How long the oldest of them had waited."""
    error: str = ""
    """Type of what the last run failed of; empty if it did not fail."""


class Progress:
    """Keeps a small file in the directory of the spool; where it cannot, what this process knows."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / PROGRESS
        self._mine = Runs()

    def moved(self, oldest: float) -> None:
        """Note that rows were stored, the oldest of which was written down at *oldest*."""
        now = time.time()
        self._write(Runs(now, now, max(0.0, now - oldest) if oldest else 0.0))

    def failed(self, error: BaseException) -> None:
        """Note that nothing could be stored, with the type of *error* alone: its text may hold rows."""
        self._write(replace(self.read(), at=time.time(), error=type(error).__name__))

    def read(self) -> Runs:
        """Return what this process, or another, has noted last."""
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                told = json.loads(file.read(4096))
            numbers = {name: float(told[name]) for name in ("at", "succeeded_at", "lag_seconds")}
            theirs = Runs(**numbers, error=str(told["error"]))
        except (OSError, ValueError, KeyError, TypeError):
            return self._mine
        return max(theirs, self._mine, key=lambda runs: runs.at)

    def _write(self, runs: Runs) -> None:
        self._mine = runs
        fresh = self._path.with_name(f".{PROGRESS}-{os.getpid()}-{threading.get_ident()}")
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(fresh, flags, 0o600), "w") as file:
                json.dump(asdict(runs), file)
            fresh.replace(self._path)
