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
LEASE = "tenant.lock"
TENANT = "tenant.json"
_KNOWN = (LOCK, LEASE, SHELF, *(start for name in (PROGRESS, SIGNATURES, TENANT) for start in (name, f".{name}-")))
_APP = re.compile(r"[0-9a-f]{12}(-second)?")
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
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not _set_back(state):
        mode = stat.S_IMODE(state.st_mode)
        return f"has mode {mode:o}, so others can write into it.", f"Write: chmod 700 {directory}"
    return None


def _set_back(state: os.stat_result) -> bool:
    """Say whether a platform, such as Kubernetes by its ``fsGroup``, has opened what is ours to a group of ours.

    It does that again at each mount, and marks it by the bit that hands the group on.
    """
    ours = state.st_gid in {os.getegid(), *os.getgroups()}
    return bool(ours and state.st_mode & stat.S_ISGID and not state.st_mode & stat.S_IWOTH)


def is_ours(directory: Path) -> bool:
    """Say whether there is such a directory, and it is open to nobody else."""
    return directory.is_dir() and intrusion(directory) is None


def require(key: str, directory: Path) -> None:
    """Have a directory that is open to others found at start-up.

    :raises ConfigError: with the key and the cure.
    """
    if trouble := intrusion(directory):
        raise ConfigError("E130", key, f"{directory} {trouble[0]}", trouble[1])


def require_around(key: str, directory: Path) -> None:
    """The same for a directory in which ours is: a volume may be the platform's, as only ours must be private.

    :raises ConfigError: with the key and the cure.
    """
    with suppress(OSError):
        state = directory.lstat()
        if stat.S_ISDIR(state.st_mode) and (os.path.ismount(directory) or state.st_uid == 0 != os.geteuid()):
            return
    require(key, directory)


def owner_of_nearest(directory: Path) -> int | None:
    """Return whose the first directory is that *directory* would be made in; nothing if it is there."""
    if os.path.lexists(directory):
        return None
    for above in directory.absolute().parents:
        with suppress(OSError):
            return above.stat().st_uid
    return None


def is_segment(entry: os.DirEntry[str], stream: str) -> bool:
    """Say whether a file is one that we wrote and may read: a regular one of our own, under our name."""
    if not (entry.name.startswith(f"{stream}-") and entry.name.endswith(SUFFIX)):
        return False
    return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()


def foreign_segments(directory: Path, stream: str) -> list[Path]:
    """Return the segments that belong to another user, in a directory into which nobody else can put any.

    Somebody has run the app as that user, or has copied them: they are not read, and hold what people have said.
    """
    if intrusion(directory) is not None:
        return []
    with suppress(OSError), os.scandir(directory) as entries:
        named = [e for e in entries if e.name.startswith(f"{stream}-") and e.name.endswith(SUFFIX)]
        regular = [e for e in named if e.is_file(follow_symlinks=False)]
        return sorted(Path(e.path) for e in regular if e.stat(follow_symlinks=False).st_uid != os.geteuid())
    return []


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
            known = entry.name in ours or (plain and entry.name.startswith(_KNOWN))
            app = _APP.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            if not known and not app and not any(is_segment(entry, stream) for stream in streams):
                yield entry.name
