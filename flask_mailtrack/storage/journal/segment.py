"""A segment of a spool, as a drain reads it: sealed, with good lines passed on and bad lines put aside.

One process at a time drains a directory, by the locks of the system. Each system has a strongest call for "this is on
the disk", and that call is used.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flask_mailtrack.storage.records import decode

from .directory import BAD, LOCK, SUFFIX, make, open_safely


def to_disk(fd: int) -> None:
    """Wait until what was written to *fd* is on the disk.

    macOS has no ``fdatasync``, and its ``fsync`` leaves data in the drive's own memory (fsync(2) on macOS).
    ``F_FULLFSYNC`` empties that memory, but some file systems of macOS do not know it.

    :raises OSError: the data is not on the disk.
    """
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):
            fcntl.fcntl(fd, full)
            return
    getattr(os, "fdatasync", os.fsync)(fd)


PATIENCE_SECONDS = 30
_LOOK_SECONDS = 0.01


@contextmanager
def election(directory: Path, wait: bool) -> Iterator[bool]:
    """Hold the drain of *directory*. Yields ``False`` at once if another process holds it and *wait* is off.

    :raises TimeoutError: the other process did not finish within 30 seconds; its database may hang.
    :raises OSError: the directory cannot be used.
    """
    make(directory)
    fd = _open_lock(directory)
    try:
        if not taken(fd, time.monotonic() + (PATIENCE_SECONDS if wait else 0)):
            if wait:
                raise TimeoutError(f"another process has been draining {directory} for {PATIENCE_SECONDS} s")
            yield False
            return
        try:
            yield True
        finally:
            # Unlocked explicitly, because a child that was forked meanwhile has the file open, too, and would hold it.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _open_lock(directory: Path) -> int:
    try:
        return open_safely(directory / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError:  # there is no room for the file, or something else has its name; the directory can be locked, too
        return open_safely(directory, os.O_RDONLY | os.O_DIRECTORY)


def taken(fd: int, until: float) -> bool:
    """Lock an open file exclusively, and say whether that was possible before *until*, by the monotonic clock."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_SECONDS)
        else:
            return True


log: logging.Logger = logging.getLogger("flask_mailtrack.spool")

SEALED = 0o400


class Segment:
    """A sealed file, whose content does not change any more."""

    def __init__(self, path: Path, stream: str) -> None:
        self.path = path
        self.stream = stream
        self._rejected: dict[bytes, str] = {}
        self._unread = False

    @property
    def begun(self) -> float:
        """When the first record was written, in seconds since 1970."""
        return begun(self.path.name)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the readable records. A torn, altered or foreign line costs only itself."""
        try:
            with open(open_safely(self.path, os.O_RDONLY), "rb") as lines:
                for line in lines:
                    try:
                        yield decode(line)
                    except ValueError as error:
                        self.reject(line, str(error))
        except OSError as error:  # a broken sector, or a link in place of the file; other segments must not wait
            log.error("%s cannot be read to its end: %s", self.path, error)
            self._unread = True

    def reject(self, line: bytes, reason: str) -> None:
        """Put *line* into quarantine, once, when the segment is done."""
        self._rejected[line] = reason

    def delete(self) -> None:
        """Delete the segment, whose lines are in the database or in quarantine.

        If there is no room for the bad lines, or the segment could not be read, the whole file is put aside. A new
        name needs no room.
        """
        if not self._unread:
            try:
                quarantine(self.path.parent, self.stream, self._rejected)
            except OSError as error:
                log.error("bad lines of %s are kept in their file: %s", self.path, error)
            else:
                self.path.unlink(missing_ok=True)
                return
        with suppress(FileNotFoundError):
            self.path.rename(self.path.with_name(f"{BAD}-{self.path.name}"))


def begun(name: str) -> float:
    """Return the time at which a segment was begun, from its name; 0 if the name does not tell."""
    digits = name.split("-")[1] if name.count("-") > 1 else ""
    return int(digits) / 1e9 if digits.isdecimal() else 0.0


def seal(path: Path, sync: bool, until: float) -> bool:
    """Close a segment for writers, and say whether that was possible.

    :param sync: write the segment to disk, because its writer goes on to another segment and may not have done so.
    :param until: when to give up waiting for a writer, by the monotonic clock.
    """
    fd = open_safely(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not taken(fd, until):
            log.debug("%s is left for later: a process writes to it, and does not end", path)
            return False
        try:
            os.fchmod(fd, SEALED)
            if stat.S_IMODE(os.fstat(fd).st_mode) != SEALED:
                raise OSError(f"{path.parent} is on a file system without modes; the spool needs one")
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
        if sync:
            to_disk(fd)
    finally:
        os.close(fd)
    return True


def quarantine(directory: Path, stream: str, lines: Mapping[bytes, str]) -> None:
    """Put lines that cannot be used into quarantine, each with the reason. ``flask mailtrack check`` finds them.

    :raises OSError: there is no room for them.
    """
    if not lines:
        return
    entries = [{"reason": reason, "line": line.decode("utf-8", "backslashreplace")} for line, reason in lines.items()]
    data = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    fd = _open(directory, stream)
    try:
        size = os.fstat(fd).st_size
        if os.write(fd, data) != len(data):
            os.ftruncate(fd, size)
            raise OSError("short write: the disk is full")
        to_disk(fd)
    finally:
        os.close(fd)


def _open(directory: Path, stream: str) -> int:
    """Open the file of the quarantine, or one of another name if something else has its name."""
    # O_NONBLOCK, because a pipe of that name would make us wait for its reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
    with suppress(OSError):
        fd = open_safely(directory / f"{BAD}-{stream}{SUFFIX}", flags)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    other = f"{BAD}-{stream}-{time.time_ns():020}-{os.getpid()}{SUFFIX}"
    return open_safely(directory / other, flags | os.O_EXCL)
