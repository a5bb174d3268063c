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
"""How long a drain waits for a writer: a line takes a moment, and a reader, or a send, may wait for the drain."""


def keeps_threads() -> bool:
    """Tell whether this process may start a thread: uWSGI's master may not, for it forks its workers in C.

    A worker that is forked while a thread of the master waits for the interpreter hands it over to that thread,
    which the worker does not have, and hangs: one in 28 starts of two workers did.
    """
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is None or bool(uwsgi.worker_id() or uwsgi.mule_id() or uwsgi.i_am_the_spooler())


class Spool:
    """One stream of records in one directory.

    :param directory: made with mode 0700 if absent. Processes that share it share the drain.
    :param stream: ``events`` or ``optouts``; the latter is looked at before each list message.
    :param sync: ``each``: on disk before :meth:`append` returns; ``group``: within 50 ms; ``off``:
        when the system sees fit. All three survive a killed process; only the first survives a
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
        :raises SpoolError: they could not be written.
        """
        try:
            data = b"".join(map(encode, records))
            with self._lock():
                self._write(data, sync or self._sync == "each")
        except (OSError, TypeError, ValueError, RecursionError) as error:
            raise SpoolError(f"cannot write to {self.directory}: {error}") from error

    def pending(self) -> bool:
        """Say whether any process of this machine has written what nobody has drained."""
        return any(True for _ in self.files())

    def size(self) -> int:
        """Return the number of bytes that wait to be drained."""
        total = 0
        for path in self.files():
            with suppress(FileNotFoundError):  # drained meanwhile
                total += path.stat().st_size
        return total

    def take(self) -> Iterator[Segment]:
        """Seal what there is and yield it, oldest first. Only the elected drainer calls this.

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
        """Put aside a line that cannot be used, with the reason, where ``flask mailtrack check`` finds it."""
        quarantine(self.directory, self.stream, {line: reason})

    def files(self) -> Iterator[Path]:
        """Return the segments that wait, in no order, one by one."""
        return segments(self.directory, self.stream)

    def _write(self, data: bytes, sync: bool) -> None:
        """Write *data* whole, or take back what was written of it. The caller holds our own lock."""
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
        """Lock this process's open segment against being sealed, and return its size."""
        while True:
            if self._fd < 0:
                self._fd = self._open()
            # Somebody is sealing it, or was frozen while doing so: a new one is there at once.
            with suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                state = os.fstat(self._fd)
                if state.st_nlink and stat.S_IMODE(state.st_mode) != SEALED:
                    return state.st_size
            self._drop()

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
        make(self.directory)
        name = f"{self.stream}-{time.time_ns():020}-{os.getpid()}{SUFFIX}"
        fd = open_safely(self.directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        self._named = False
        return fd

    def _sync_name(self) -> None:
        """Have the disk know that there is a new segment; without its name, its content is lost."""
        if not self._named:
            fd = open_safely(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self._named = True

    def _sync_soon(self) -> None:
        if not self._dirty.is_set():  # it is cleared under the lock that we hold
            self._dirty.set()
        if self._syncer is None and not keeps_threads():
            to_disk(self._fd)
        elif self._syncer is None:
            syncer = threading.Thread(target=self._sync_loop, name="mailtrack-sync", daemon=True)
            try:
                syncer.start()
            except RuntimeError:  # no more threads: then we wait for the disk ourselves
                to_disk(self._fd)
            else:
                self._syncer = syncer

    def _sync_loop(self) -> None:
        """Sync what was written, 50 ms later; end when nothing is, so that an idle spool holds no thread."""
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
        """Return the lock of this process, which begins anew if it was forked and nobody said so: uWSGI does that."""
        process = os.getpid()
        if self._process != process:
            with self._locks.setdefault(process, threading.Lock()):
                if self._process != process:
                    self._begin_anew()
        return self._locks[process]

    def _begin_anew(self) -> None:
        """In a child, the segment and the thread are the parent's, and so may the lock be."""
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
