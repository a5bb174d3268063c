"""Who may drain a directory: one process at a time, on the word of the system's locks."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .directory import LOCK, make

PATIENCE_SECONDS = 30
_LOOK_SECONDS = 0.01


@contextmanager
def election(directory: Path, wait: bool) -> Iterator[bool]:
    """Hold the drain of *directory*; yields ``False`` at once if another holds it and *wait* is off.

    :raises TimeoutError: the other did not finish within 30 seconds; its database may hang.
    :raises OSError: the directory cannot be used.
    """
    make(directory)
    fd = _open(directory)
    try:
        if not taken(fd, time.monotonic() + (PATIENCE_SECONDS if wait else 0)):
            if wait:
                raise TimeoutError(f"another process has been draining {directory} for {PATIENCE_SECONDS} s")
            yield False
            return
        try:
            yield True
        finally:
            # Explicitly: a child that was forked meanwhile has the file open too, and would go on holding it.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _open(directory: Path) -> int:
    try:
        return os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:  # no room for it, or something else of that name: the directory can be locked itself
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def taken(fd: int, until: float) -> bool:
    """Lock an open file for us alone, and say whether that was possible before *until*, by the monotonic clock."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_SECONDS)
        else:
            return True
