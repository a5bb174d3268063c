"""How much waits in the spool, and since when; without the database, and without reading a line twice."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .directory import BAD, bad_files, foreign_segments
from .segment import begun
from .spool import Spool

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is in the directories now."""

    rows: int = 0
    bytes: int = 0
    oldest_seconds: float = 0.0
    """Age of the oldest segment that has rows; 0 if nothing waits."""
    bad: int = 0
    """Records in quarantine."""
    refused_optouts: int = 0
    """Those of them that are opt-outs."""
    streamed: int | None = None
    """Records of all machines that wait in Redis; nothing if it is not used, or does not answer."""
    troubles: tuple[str, ...] = ()
    """What keeps rows, or choices, from being read at all."""


class Gauge:
    """Counts the lines of segments, and goes on where it was the last time."""

    def __init__(self, spools: Sequence[Spool]) -> None:
        self._spools = spools
        self._late = f"{BAD}-{spools[-1].stream}"
        self._counted: dict[Path, tuple[int, int]] = {}

    def read(self) -> Waiting:
        """Return what waits. Never raises; what cannot be read counts as nothing."""
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
            troubles=tuple(f"{path} belongs to another user, and is not read" for path in self._foreign()),
        )

    def _foreign(self) -> list[Path]:
        return [path for spool in self._spools for path in foreign_segments(spool.directory, spool.stream)]

    def _count(self, path: Path) -> tuple[int, int]:
        """Return how far a file has been read, and the lines so far."""
        offset, rows = self._counted.get(path, (0, 0))
        with suppress(OSError):
            if path.stat().st_size < offset:  # written anew
                offset = rows = 0
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                file.seek(offset)
                while block := file.read(_BLOCK):
                    offset += len(block)
                    rows += block.count(b"\n")
        return offset, rows
