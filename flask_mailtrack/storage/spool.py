"""The spool: a local, append-only journal that every record reaches before anything is answered.

A segment is a file of lines, each a checksum and a JSON object, written with one ``write`` each. A
process appends to a segment of its own. Whoever wants to read a segment *seals* it first: it takes
the file's lock and makes the file read-only; the writer, who holds the same lock while it writes,
sees that and begins a new segment. So any process of the machine can drain the segments of any
other, living or dead, and there is nothing to adopt.

Locks are given back explicitly, not by closing the file: a child that was forked meanwhile has the
file open too, and would go on holding them.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flask_mailtrack.errors import SpoolError

from .records import decode, encode

GROUP_SECONDS = 0.05
_IDLE_SECONDS = 1.0
_SEALED = 0o400
_SUFFIX = ".jsonl"
_BAD = "bad"


class Spool:
    """One stream of records in one directory.

    :param directory: made with mode 0700 if absent. Processes that share it share the drain.
    :param stream: ``events`` or ``optouts``; the latter is looked at before each list message.
    :param sync: ``each``: on disk before :meth:`append` returns; ``group``: within 50 ms; ``off``:
        when the system sees fit. All three survive a killed process; only the first survives a
        power cut at any moment.
    """

    def __init__(self, directory: str | Path, stream: str, sync: str = "group") -> None:
        self.directory = Path(directory)
        self.stream = stream
        self._sync = sync
        self._fd = -1
        self._syncer: threading.Thread | None = None
        self._start_threading()
        _spools.add(self)

    def append(self, *records: Mapping[str, Any], sync: bool = False) -> None:
        """Write *records*, all with one write; all of them or none.

        :param sync: wait for the disk whatever the setting says.
        :raises SpoolError: they could not be written.
        """
        try:
            data = b"".join(map(encode, records))
            with self._lock, self._segment() as fd:
                if os.write(fd, data) != len(data):
                    raise OSError("short write: the disk is full")
                if sync or self._sync == "each":
                    os.fdatasync(fd)
                    self._sync_name()
                elif self._sync == "group":
                    self._sync_soon()
        except (OSError, TypeError, ValueError) as error:
            raise SpoolError(f"cannot write to {self.directory}: {error}") from error

    def pending(self) -> bool:
        """Say whether any process of this machine has written what nobody has drained."""
        return any(True for _ in self._files())

    def size(self) -> int:
        """Return the number of bytes that wait to be drained."""
        total = 0
        for path in self._files():
            with suppress(FileNotFoundError):  # drained meanwhile
                total += path.stat().st_size
        return total

    def take(self) -> Iterator[Segment]:
        """Seal what there is and yield it, oldest first. Only the elected drainer calls this."""
        for path in sorted(self._files()):
            with suppress(FileNotFoundError):
                _seal(path, sync=self._sync != "off")
                yield Segment(path, self)

    def quarantine(self, line: bytes, reason: str) -> None:
        """Put aside a line that cannot be used, with the reason, where ``flask mailtrack check`` finds it."""
        entry = json.dumps({"reason": reason, "line": line.decode("utf-8", "backslashreplace")}) + "\n"
        path = self.directory / f"{_BAD}-{self.stream}{_SUFFIX}"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, entry.encode())
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def _files(self) -> Iterator[Path]:
        with suppress(FileNotFoundError), os.scandir(self.directory) as entries:
            for entry in entries:
                ours = entry.name.startswith(f"{self.stream}-") and entry.name.endswith(_SUFFIX)
                if ours and entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)

    @contextmanager
    def _segment(self) -> Iterator[int]:
        """Yield this process's open segment, locked against being sealed."""
        while True:
            if self._fd < 0:
                self._fd = self._open()
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            state = os.fstat(self._fd)
            if state.st_nlink and stat.S_IMODE(state.st_mode) != _SEALED:
                break
            self._drop()
        try:
            yield self._fd
        except OSError:
            self._undo(state.st_size)
            raise
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _undo(self, size: int) -> None:
        """Take back what was half written, and begin a new segment: this one may be as long as it can be."""
        with suppress(OSError):
            os.ftruncate(self._fd, size)
        if os.fstat(self._fd).st_size:
            self._drop()

    def _drop(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{self.stream}-{time.time_ns():020}-{os.getpid()}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.directory / name, flags, 0o600)
        self._named = False
        return fd

    def _sync_name(self) -> None:
        """Have the disk know that there is a new segment; without its name, its content is lost."""
        if not self._named:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self._named = True

    def _sync_soon(self) -> None:
        self._dirty.set()
        if self._syncer is None:
            syncer = threading.Thread(target=self._sync_loop, name="mailtrack-sync", daemon=True)
            try:
                syncer.start()
            except RuntimeError:  # no more threads: then we wait for the disk ourselves
                os.fdatasync(self._fd)
            else:
                self._syncer = syncer

    def _sync_loop(self) -> None:
        """Sync what was written, 50 ms later; end when nothing is, so that an idle spool holds no thread."""
        while True:
            if not self._dirty.wait(_IDLE_SECONDS):
                with self._lock:
                    if not self._dirty.is_set():
                        self._syncer = None
                        return
            time.sleep(GROUP_SECONDS)
            fd = -1
            with self._lock, suppress(OSError):
                self._dirty.clear()
                fd = os.dup(self._fd) if self._fd >= 0 else -1
                self._sync_name()
            if fd >= 0:
                with suppress(OSError):  # drained and deleted meanwhile
                    os.fdatasync(fd)
                os.close(fd)

    def _start_threading(self) -> None:
        self._lock = threading.Lock()
        self._dirty = threading.Event()
        self._syncer = None
        self._named = False

    def _after_fork(self) -> None:
        """Begin anew in a child: the segment and the thread are the parent's, and so may the lock be."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._start_threading()

    def __del__(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)


class Segment:
    """A sealed file: its content will not change any more."""

    def __init__(self, path: Path, spool: Spool) -> None:
        self.path = path
        self.stream = spool.stream
        self._spool = spool
        self._rejected: dict[bytes, str] = {}

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield what can be read; a torn, altered or foreign line costs only itself."""
        with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as lines:
            for line in lines:
                try:
                    yield decode(line)
                except ValueError as error:
                    self.reject(line, str(error))

    def reject(self, line: bytes, reason: str) -> None:
        """Have *line* put in quarantine, once, when the segment is done with."""
        self._rejected[line] = reason

    def delete(self) -> None:
        """Forget the segment; all of it is in the database, or in quarantine."""
        for line, reason in self._rejected.items():
            self._spool.quarantine(line, reason)
        self.path.unlink(missing_ok=True)


@contextmanager
def election(directory: Path, wait: bool) -> Iterator[bool]:
    """Hold the drain of *directory*; yields ``False`` at once if another holds it and *wait* is off."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(directory / "drain.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            try:
                yield True
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


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


def _seal(path: Path, sync: bool) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            os.fchmod(fd, _SEALED)
            if stat.S_IMODE(os.fstat(fd).st_mode) != _SEALED:
                raise OSError(f"{path.parent} is on a file system without modes; the spool needs one")
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
        if sync:  # its writer has gone on to another segment, and may not have come to it
            os.fdatasync(fd)
    finally:
        os.close(fd)


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork() -> None:
    for spool in list(_spools):
        spool._after_fork()


os.register_at_fork(after_in_child=_after_fork)
