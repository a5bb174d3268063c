"""A segment of a spool that is read: sealed, its good lines handed on, its bad ones put aside."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask_mailtrack.storage.records import decode

from .directory import BAD, SUFFIX
from .durability import to_disk
from .election import taken

log = logging.getLogger("flask_mailtrack.spool")

SEALED = 0o400


class Segment:
    """A sealed file: its content will not change any more."""

    def __init__(self, path: Path, stream: str) -> None:
        self.path = path
        self.stream = stream
        self._rejected: dict[bytes, str] = {}
        self._unread = False

    @property
    def begun(self) -> float:
        """When its first record was written, in seconds of the clock on the wall."""
        return begun(self.path.name)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield what can be read; a torn, altered or foreign line costs only itself."""
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as lines:
                for line in lines:
                    try:
                        yield decode(line)
                    except ValueError as error:
                        self.reject(line, str(error))
        except OSError as error:  # a broken sector, or a file exchanged for a link: the others must not wait for it
            log.error("%s cannot be read to its end: %s", self.path, error)
            self._unread = True

    def reject(self, line: bytes, reason: str) -> None:
        """Have *line* put in quarantine, once, when the segment is done with."""
        self._rejected[line] = reason

    def delete(self) -> None:
        """Forget the segment; all of it is in the database, or in quarantine.

        Where there is no room for its bad lines, or it could not be read, the whole file is put aside:
        a new name needs no room.
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
    """Return when a segment was begun, which its name tells; 0 if it does not."""
    digits = name.split("-")[1] if name.count("-") > 1 else ""
    return int(digits) / 1e9 if digits.isdecimal() else 0.0


def seal(path: Path, sync: bool, until: float) -> bool:
    """Let nothing be written to a segment any more, and say whether that went well.

    :param sync: have the disk know what its writer, who goes on to another segment, may not have come to.
    :param until: when to give up waiting for a writer, by the monotonic clock.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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
    """Put aside lines that cannot be used, each with the reason, where ``flask mailtrack check`` finds them.

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
    """Open the quarantine; if something else has its name, one of another name."""
    # O_NONBLOCK: a pipe of that name would have us wait for its reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):
        fd = os.open(directory / f"{BAD}-{stream}{SUFFIX}", flags, 0o600)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    other = f"{BAD}-{stream}-{time.time_ns():020}-{os.getpid()}{SUFFIX}"
    return os.open(directory / other, flags | os.O_EXCL, 0o600)


def chunks(records: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield *records* in lists of at most *size*."""
    batch: list[dict[str, Any]] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
