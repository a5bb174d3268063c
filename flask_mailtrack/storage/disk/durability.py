"""That what was written is on the disk, on each system by the strongest word that it has for it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress


def to_disk(fd: int) -> None:
    """Wait until what was written to *fd* is on the disk.

    macOS has no ``fdatasync``, and its ``fsync`` leaves the data in the drive's own memory (fsync(2) there):
    ``F_FULLFSYNC`` does not, but some of its file systems do not know it.

    :raises OSError: it is not on the disk.
    """
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):
            fcntl.fcntl(fd, full)
            return
    getattr(os, "fdatasync", os.fsync)(fd)
