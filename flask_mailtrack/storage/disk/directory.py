"""The directory of a spool: ours alone, or not used.

Whoever can write into it can put hits and opt-outs into the database, and whoever can read it reads
addresses.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flask_mailtrack.errors import ConfigError

SUFFIX = ".jsonl"
BAD = "bad"
LOCK = "drain.lock"
PROGRESS = "drain.json"
SIGNATURES = "signatures.json"
SHELF = "links.sqlite3"
_APP = re.compile(r"[0-9a-f]{12}")
"""The folder of one app in a directory that several share."""


def make(directory: Path) -> None:
    """Make *directory*, if it is absent, for its owner alone.

    :raises OSError: it cannot be made, or others could put something into it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if trouble := intrusion(directory):
        raise PermissionError(f"{directory} {' '.join(trouble)}")


def intrusion(directory: Path) -> tuple[str, str] | None:
    """Say what lets others write into *directory*, and the cure; what is absent is open to nobody."""
    try:
        state = directory.lstat()
    except OSError:
        return None
    if stat.S_ISLNK(state.st_mode):
        return "is a symbolic link, which others may turn elsewhere.", f"Write where it leads: {directory.resolve()}"
    if state.st_uid != os.geteuid():
        return f"belongs to user {state.st_uid}, and this is user {os.geteuid()}.", "Run as that user, or chown it."
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(state.st_mode)
        return f"has mode {mode:o}, so others can write into it.", f"Write: chmod 700 {directory}"
    return None


def require(key: str, directory: Path) -> None:
    """Have a directory that is open to others found at start-up.

    :raises ConfigError: with the key and the cure.
    """
    if trouble := intrusion(directory):
        raise ConfigError("E130", key, f"{directory} {trouble[0]}", trouble[1])


_NOTES = (LOCK, SHELF, *(beginning for name in (PROGRESS, SIGNATURES) for beginning in (name, f".{name}-")))


def is_segment(entry: os.DirEntry[str], stream: str) -> bool:
    """Say whether a file is one that we wrote and may read: a regular one of our own, under our name."""
    if not (entry.name.startswith(f"{stream}-") and entry.name.endswith(SUFFIX)):
        return False
    return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()


def bad_files(directory: Path, stream: str = "") -> list[Path]:
    """Return the files in which records are kept that could not be stored.

    :param stream: only of this one.
    """
    kept = directory.glob(f"{BAD}-{stream}*{SUFFIX}")
    return sorted(path for path in kept if path.is_file() and not path.is_symlink())


def strangers(directory: Path, streams: set[str]) -> Iterator[str]:
    """Yield the names of what is not ours; nothing of it is ever read, changed or deleted."""
    ours = {path.name for path in bad_files(directory)}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            plain = entry.is_file(follow_symlinks=False)
            known = entry.name in ours or (plain and entry.name.startswith(_NOTES))
            app = _APP.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            if not known and not app and not any(is_segment(entry, stream) for stream in streams):
                yield entry.name
