"""The spool: append-only files on local disk. Every record reaches them before anything is answered.

A segment is a file of lines. Each line is a checksum and a JSON object, written with one ``write``. A process appends
to a segment of its own. A reader *seals* a segment first: the reader takes the lock of the file and makes the file
read-only. The writer holds the same lock while it writes, so it sees the seal and begins a new segment. So any process
of the machine can drain the segments of any other process, living or dead.

Locks are released explicitly, and not by closing the file. A child that was forked meanwhile has the file open, too,
and would go on holding the lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.storage.records import encode

from .directory import SUFFIX, make, open_safely, segments
from .segment import SEALED, Segment, quarantine, seal, to_disk

GROUP_SECONDS = 0.05
_IDLE_SECONDS = 1.0
_PATIENCE_SECONDS = 0.2
"""Seconds for which a drain waits for a writer. A line takes a moment, and readers and sends may wait for the drain."""


def keeps_threads() -> bool:
    """Say whether this process may start a thread. uWSGI's master may not, because it forks its workers in C.

    If a worker is forked while a thread of the master waits for the interpreter, the worker hands the interpreter over
    to that thread. The worker has no such thread, and hangs. This happened in one of 28 starts of two workers.
    """
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is None or bool(uwsgi.worker_id() or uwsgi.mule_id() or uwsgi.i_am_the_spooler())


class Spool:
    """One stream of records in one directory.

    :param directory: made with mode 0700 if absent. Processes that share it share the drain.
    :param stream: ``events`` or ``optouts``; the latter is read before each list message.
    :param sync: ``each``: on disk before :meth:`append` returns; ``group``: on disk within 50 ms; ``off``:
        on disk when the system decides. All three survive a killed process. Only the first survives a
        power cut at any moment.
    """

    def __init__(self, directory: str | Path, stream: str, sync: str = "group") -> None:
        self.directory: Path = Path(directory)
        self.stream = stream
        self._sync = sync
        self._fd = -1
        self._syncer: threading.Thread | None = None
        self._locks: dict[int, threading.Lock] = {}
        self._begin_anew()
        _spools.add(self)

    def append(self, *records: Mapping[str, Any], sync: bool = False) -> None:
        """Write *records*, all with one write; all of them or none.

        :param sync: wait for the disk whatever the setting says.
        :raises SpoolError: the records could not be written.
        """
        try:
            data = b"".join(map(encode, records))
            with self._lock():
                self._write(data, sync or self._sync == "each")
        except (OSError, TypeError, ValueError, RecursionError) as error:
            raise SpoolError(f"cannot write to {self.directory}: {error}") from error

    def pending(self) -> bool:
        """Say whether records of any process of this machine wait for a drain."""
        return any(True for _ in self.files())

    def size(self) -> int:
        """Return the number of bytes that wait to be drained."""
        total = 0
        for path in self.files():
            with suppress(FileNotFoundError):  # drained meanwhile
                total += path.stat().st_size
        return total

    def take(self) -> Iterator[Segment]:
        """Seal the waiting segments and yield them, oldest first. Only the elected drainer calls this method.

        A segment whose writer is frozen in the middle of a line is left to a later run.
        """
        patience = _PATIENCE_SECONDS
        for path in sorted(self.files()):
            with suppress(FileNotFoundError):
                if seal(path, sync=self._sync != "off", until=time.monotonic() + patience):
                    yield Segment(path, self.stream)
                else:
                    patience = 0.0

    def quarantine(self, line: bytes, reason: str) -> None:
        """Put a line that cannot be used into quarantine, with the reason."""
        quarantine(self.directory, self.stream, {line: reason})

    def files(self) -> Iterator[Path]:
        """Yield the waiting segments, in no order."""
        return segments(self.directory, self.stream)

    def _write(self, data: bytes, sync: bool) -> None:
        """Write *data* whole, or remove the part that was written. The caller holds the lock of this process."""
        size = self._hold()
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError("short write: the disk is full")
            if sync:
                to_disk(self._fd)
                self._sync_name()
            elif self._sync == "group":
                self._sync_soon()
        except OSError:
            self._undo(size)
            raise
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _hold(self) -> int:
        """Lock the open segment of this process against a seal, and return the size of the segment."""
        while True:
            if self._fd < 0:
                self._fd = self._open()
            # Another process is sealing the segment, or froze while it did. We do not wait, and begin a new segment.
            with suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                state = os.fstat(self._fd)
                if state.st_nlink and stat.S_IMODE(state.st_mode) != SEALED:
                    return state.st_size
            self._drop()

    def _undo(self, size: int) -> None:
        """Remove a half-written line, and begin a new segment, because this one may have reached a limit of size."""
        with suppress(OSError):
            os.ftruncate(self._fd, size)
        if os.fstat(self._fd).st_size:
            self._drop()

    def _drop(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        make(self.directory)
        name = f"{self.stream}-{time.time_ns():020}-{os.getpid()}{SUFFIX}"
        fd = open_safely(self.directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        self._named = False
        return fd

    def _sync_name(self) -> None:
        """Write the name of a new segment to disk. Without its name, its content would be lost."""
        if not self._named:
            fd = open_safely(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self._named = True

    def _sync_soon(self) -> None:
        if not self._dirty.is_set():  # the event is cleared under the lock that the caller holds
            self._dirty.set()
        if self._syncer is None and not keeps_threads():
            to_disk(self._fd)
        elif self._syncer is None:
            syncer = threading.Thread(target=self._sync_loop, name="mailtrack-sync", daemon=True)
            try:
                syncer.start()
            except RuntimeError:  # no more threads, so this call waits for the disk itself
                to_disk(self._fd)
            else:
                self._syncer = syncer

    def _sync_loop(self) -> None:
        """Sync written lines, 50 ms later. The loop ends when nothing is written, so an idle spool has no thread."""
        while True:
            if not self._dirty.wait(_IDLE_SECONDS):
                with self._lock():
                    if not self._dirty.is_set():
                        self._syncer = None
                        return
            time.sleep(GROUP_SECONDS)
            fd = -1
            with self._lock(), suppress(OSError):
                self._dirty.clear()
                fd = os.dup(self._fd) if self._fd >= 0 else -1
                self._sync_name()
            if fd >= 0:
                with suppress(OSError):  # drained and deleted meanwhile
                    to_disk(fd)
                os.close(fd)

    def _lock(self) -> threading.Lock:
        """Return the lock of this process. After a fork without the hooks of ``os``, as in uWSGI, begin anew."""
        process = os.getpid()
        if self._process != process:
            with self._locks.setdefault(process, threading.Lock()):
                if self._process != process:
                    self._begin_anew()
        return self._locks[process]

    def _begin_anew(self) -> None:
        """Begin anew in a child: segment and thread belong to the parent, and a parent's thread may hold the lock."""
        process = os.getpid()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._dirty = threading.Event()
        self._syncer = None
        self._named = False
        self._locks = {process: self._locks.get(process) or threading.Lock()}
        self._process = process

    def __del__(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork() -> None:
    for spool in list(_spools):
        spool._begin_anew()


os.register_at_fork(after_in_child=_after_fork)
