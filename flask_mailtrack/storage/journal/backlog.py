"""The backlog: waiting records and their age, without the database, and without reading a line twice.

A small file holds the results of the last runs of the drain, for every process to read. File systems that may lose
waiting records are named, too.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flask_mailtrack.phrases import NOTHING, Phrase

from .directory import BAD, PROGRESS, bad_files, foreign_segments, open_safely, read_note, write_note
from .segment import begun
from .spool import Spool

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "fuse.glusterfs"}
_PASSING = {"tmpfs", "ramfs"}


def weakness(path: Path) -> Phrase:
    """Return the reason against a spool on the file system of *path*; empty if there is none."""
    try:
        kind = file_system(path, Path("/proc/self/mountinfo").read_text())
    except OSError:  # not Linux
        return NOTHING
    return judged(kind)


def judged(kind: str) -> Phrase:
    """Return the reason against a kind of file system; empty if there is none."""
    if kind in _NETWORK:
        return Phrase(
            "%(kind)s: locks (flock) and appends (O_APPEND) of several machines are not safe there", kind=kind
        )
    if kind in _PASSING:
        return Phrase("%(kind)s: what waits there is lost on reboot", kind=kind)
    return NOTHING


def file_system(path: Path, mountinfo: str) -> str:
    """Return the kind of file system that holds *path*. The path need not exist yet.

    :param mountinfo: the text of ``/proc/self/mountinfo`` (proc(5)). Of several mounts at one point the last counts.
    """
    wanted = os.path.realpath(path)
    best, kind = "", ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields, about = mount.split(), source.split()
        if len(fields) < 5 or not about:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = point == "/" or wanted == point or wanted.startswith(f"{point}/")
        if inside and len(point) >= len(best):
            best, kind = point, about[0]
    return kind


@dataclass(frozen=True, slots=True)
class Runs:
    """The last runs of the drain. Times are seconds since 1970, 0 for never."""

    at: float = 0.0
    succeeded_at: float = 0.0
    """When rows were stored the last time."""
    lag_seconds: float = 0.0
    """How long the oldest of these rows had waited."""
    error: str = ""
    """Type of the error of the last run; empty if the run did not fail."""


class Progress:
    """Keeps the results in a small file in the directory of the spool, or else in memory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / PROGRESS
        self._mine = Runs()

    def moved(self, oldest: float) -> None:
        """Note that rows were stored. The oldest of them was recorded at *oldest*."""
        now = time.time()
        self._write(Runs(now, now, max(0.0, now - oldest) if oldest else 0.0))

    def failed(self, error: BaseException) -> None:
        """Note that nothing could be stored. Only the type of *error* is kept, because its text may hold rows."""
        self._write(replace(self.read(), at=time.time(), error=type(error).__name__))

    def read(self) -> Runs:
        """Return the latest note of this process or another one."""
        told = read_note(self._path)
        try:
            numbers = {name: float(told[name]) for name in ("at", "succeeded_at", "lag_seconds")}
            theirs = Runs(**numbers, error=str(told["error"]))
        except (ValueError, KeyError, TypeError):
            return self._mine
        return max(theirs, self._mine, key=lambda runs: runs.at)

    def _write(self, runs: Runs) -> None:
        self._mine = runs
        write_note(self._path, asdict(runs))


_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Waiting:
    """The present content of the directories."""

    rows: int = 0
    bytes: int = 0
    oldest_seconds: float = 0.0
    """Age of the oldest segment that has rows; 0 if nothing waits."""
    bad: int = 0
    """Records in quarantine."""
    refused_optouts: int = 0
    """Opt-outs in quarantine."""
    streamed: int | None = None
    """Records of all machines that wait in Redis; ``None`` if Redis is not used, or does not answer."""
    troubles: tuple[Phrase, ...] = ()
    """The causes for which rows, or choices, cannot be read at all."""


class Gauge:
    """Counts the lines of segments. Each reading continues where the last one ended."""

    def __init__(self, spools: Sequence[Spool]) -> None:
        self._spools = spools
        self._late = f"{BAD}-{spools[-1].stream}"
        self._counted: dict[Path, tuple[int, int]] = {}

    def read(self) -> Waiting:
        """Return the backlog. Never raises. A file that cannot be read counts as empty."""
        sizes: dict[Path, int] = {}
        bad: list[Path] = []
        for spool in self._spools:
            with suppress(OSError):
                sizes |= {path: path.stat().st_size for path in spool.files()}
        for directory in {spool.directory: None for spool in self._spools}:
            with suppress(OSError):
                bad += bad_files(directory)
        counted = {path: self._count(path) for path in (*sizes, *bad)}
        self._counted = counted
        times = [begun(path.name) for path, size in sizes.items() if size]
        return Waiting(
            rows=sum(counted[path][1] for path in sizes),
            bytes=sum(sizes.values()),
            oldest_seconds=max(0.0, time.time() - min(times)) if times else 0.0,
            bad=sum(counted[path][1] for path in bad),
            refused_optouts=sum(counted[path][1] for path in bad if path.name.startswith(self._late)),
            troubles=tuple(
                Phrase("%(path)s belongs to another user, and is not read", path=path) for path in self._foreign()
            ),
        )

    def _foreign(self) -> list[Path]:
        return [path for spool in self._spools for path in foreign_segments(spool.directory, spool.stream)]

    def _count(self, path: Path) -> tuple[int, int]:
        """Return the position of the reading in a file, and the number of lines so far."""
        offset, rows = self._counted.get(path, (0, 0))
        with suppress(OSError):
            if path.stat().st_size < offset:  # the file was written anew
                offset = rows = 0
            with open(open_safely(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                file.seek(offset)
                while block := file.read(_BLOCK):
                    offset += len(block)
                    rows += block.count(b"\n")
        return offset, rows
