"""What services have called: a count for each service, and the calls that could not be read.

The counts are in a small file that all processes of the machine share. The calls are in another file, which is bounded:
a full file replaces the one before it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask_mailtrack.privacy import legible

from .directory import SERVICES, UNREAD, make, open_safely, read_note, write_note

SECONDS = 5.0
"""Seconds between two writings by one process, if calls are refused: strangers may call as often as they like."""
MAX_UNREAD = 8_000_000
"""Octets of a file of calls."""
_QUIET_SECONDS = 60.0
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class CallCount:
    """The calls of one service, on this machine."""

    calls: int = 0
    """Calls that were taken."""
    refused: int = 0
    """Calls without the right secret or signature, or too large."""
    events: int = 0
    """What they told of our mail."""
    ignored: int = 0
    """What they told besides, such as opens and clicks."""
    unmatched: int = 0
    """What they told of mail that does not carry our token."""
    unread: int = 0
    """Calls that could not be read, or not all of them."""
    last: float = 0.0
    """When a call was last taken, in seconds since 1970; 0: never."""


class ServiceCalls:
    """Counts calls, and keeps the calls that cannot be read.

    :param directory: of the spool, which the processes of an app share.
    :param clock: seconds since 1970.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._fresh: dict[str, Counter[str]] = defaultdict(Counter)
        self._last: dict[str, float] = {}
        self._written = self._quiet_until = float("-inf")

    def count(self, service: str, **numbers: int) -> bool:
        """Add to the counts of a service. Never raises.

        :return: whether a line in the log may say that a call was refused; at most one a minute.
        """
        now = self._clock()
        with self._lock:
            self._fresh[service].update(numbers)
            if "calls" in numbers:
                self._last[service] = now
            if loud := now >= self._quiet_until and bool(numbers.get("refused")):
                self._quiet_until = now + _QUIET_SECONDS
            if "calls" in numbers or now - self._written >= SECONDS:
                self._written = now
                self._write()
        return loud

    def read(self) -> dict[str, CallCount]:
        """Return the counts by service; an empty name is of services that are not set up."""
        with self._lock:
            self._write()
        return {name: CallCount(**about) for name, about in self._known().items()}

    def keep(self, service: str, reason: str, body: bytes) -> None:
        """Keep a call that cannot be read.

        :raises OSError: it could not be written.
        """
        about = {"service": service, "reason": legible(reason, _LONGEST_REASON), "at": self._clock()}
        line = json.dumps(about | _written(body)).encode() + b"\n"
        make(self._directory)
        path = self._directory / UNREAD
        with self._alone():
            with suppress(FileNotFoundError):
                if path.stat().st_size + len(line) > MAX_UNREAD:
                    path.replace(path.with_name(f"{UNREAD}.1"))
            with open(open_safely(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
                file.write(line)

    def _write(self) -> None:
        """Add what this process has counted to the file."""
        if not self._fresh:
            return
        with suppress(OSError):
            make(self._directory)
            with self._alone():
                told: dict[str, dict[str, Any]] = self._known()
                for name, numbers in self._fresh.items():
                    about = Counter({key: value for key, value in told.get(name, {}).items() if key != "last"})
                    last = max(self._last.get(name, 0.0), told.get(name, {}).get("last", 0.0))
                    told[name] = {**(about + numbers), "last": last}
                if write_note(self._directory / SERVICES, told):
                    self._fresh.clear()

    def _known(self) -> dict[str, dict[str, Any]]:
        fields = CallCount.__dataclass_fields__
        told = read_note(self._directory / SERVICES)
        return {
            name: {key: value for key, value in about.items() if key in fields and isinstance(value, int | float)}
            for name, about in told.items()
            if isinstance(about, dict)
        }

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock that the processes share."""
        lock = open_safely(self._directory / f"{SERVICES}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may hold the file, too
            os.close(lock)


def _written(body: bytes) -> dict[str, str]:
    """Return a body as text, or in base64 if it is none, or if its escapes would make it longer than that."""
    coded = base64.b64encode(body).decode()
    with suppress(UnicodeDecodeError):
        text = body.decode()
        if len(json.dumps(text)) <= len(coded) + len('""'):
            return {"body": text}
    return {"base64": coded}
