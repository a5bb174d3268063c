"""The directory of a spool. It is private, or it is not used.

Anybody who can write into the directory can put hits and opt-outs into the database, and anybody who can read it
reads addresses. A small file in the directory names the app and its database. A process that uses the directory
holds a shared lock on another file. So the file of a dead process keeps nobody out, and no process takes over the
directory of a living process for another database.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from flask_mailtrack.errors import ConfigError, MailtrackError
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.storage.records import decode

SUFFIX = ".jsonl"
BAD = "bad"
LOCK = "drain.lock"
PROGRESS = "drain.json"
SIGNATURES = "signatures.json"
WEBHOOKS = "webhooks.json"
SERVICES = "services.json"
UNREAD = "unread-calls.jsonl"
SHELF = "links.sqlite3"
LEASE = "tenant.lock"
TENANT = "tenant.json"
_KNOWN = (
    *(LOCK, LEASE, SHELF, UNREAD),
    *(start for name in (PROGRESS, SIGNATURES, WEBHOOKS, SERVICES, TENANT) for start in (name, f".{name}-")),
)
_APP = re.compile(r"[0-9a-f]{12}(-second|-imports)?")
"""A folder of one app in a directory that several apps share: a journal, or the imports."""


def open_safely(path: Path, flags: int) -> int:
    """Open a file of the directory, or the directory itself, and return the file descriptor.

    All files of the package are opened here, except files that the host has named. A new file is private.

    :param flags: how to read or write, as in :func:`os.open`.
    :raises OSError: the file cannot be opened, or a symbolic link stands in its place.
    """
    # A link could lead our writes into a file of the host's. A program that the host starts must not inherit the file.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def make(directory: Path) -> None:
    """Make *directory*, if it is absent, for its owner alone.

    :raises OSError: the directory cannot be made, or others could write into it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if trouble := intrusion(directory):
        raise PermissionError(f"{directory} {' '.join(trouble)}")


def intrusion(directory: Path) -> tuple[Phrase, Phrase] | None:
    """Return the way in which others can write into *directory*, and the cure. An absent directory is safe."""
    try:
        state = directory.lstat()
    except OSError:
        return None
    if stat.S_ISLNK(state.st_mode):
        cure = Phrase("Write where it leads: %(path)s", path=directory.resolve())
        return Phrase("is a symbolic link, which others may turn elsewhere."), cure
    if state.st_uid != os.geteuid():
        owner, user = str(state.st_uid), str(os.geteuid())
        text = Phrase("belongs to user %(owner)s, and this is user %(user)s.", owner=owner, user=user)
        return text, Phrase("Run as that user, or chown it.")
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not _set_back(state):
        mode = f"{stat.S_IMODE(state.st_mode):o}"
        text = Phrase("has mode %(mode)s, so others can write into it.", mode=mode)
        return text, Phrase("Write: chmod 700 %(path)s", path=directory)
    return None


def _set_back(state: os.stat_result) -> bool:
    """Say whether a platform has opened our directory to one of our groups, as Kubernetes does by ``fsGroup``.

    Kubernetes does so at each mount, and sets the bit by which new files inherit the group.
    """
    ours = state.st_gid in {os.getegid(), *os.getgroups()}
    return bool(ours and state.st_mode & stat.S_ISGID and not state.st_mode & stat.S_IWOTH)


def is_ours(directory: Path) -> bool:
    """Say whether *directory* exists and is private."""
    return directory.is_dir() and intrusion(directory) is None


def require(key: str, directory: Path) -> None:
    """Refuse a directory that is open to others, at start-up.

    :raises ConfigError: with the key and the cure.
    """
    if trouble := intrusion(directory):
        raise ConfigError("E130", key, f"{directory} {trouble[0]}", trouble[1])


def require_around(key: str, directory: Path) -> None:
    """Refuse the directory around ours if it is open to others. The mount point of a platform's volume is accepted.

    :raises ConfigError: with the key and the cure.
    """
    with suppress(OSError):
        state = directory.lstat()
        if stat.S_ISDIR(state.st_mode) and (os.path.ismount(directory) or state.st_uid == 0 != os.geteuid()):
            return
    require(key, directory)


def owner_of_nearest(directory: Path) -> int | None:
    """Return the owner of the nearest existing directory above *directory*; ``None`` if *directory* exists."""
    if os.path.lexists(directory):
        return None
    for above in directory.absolute().parents:
        with suppress(OSError):
            return above.stat().st_uid
    return None


def read_note(path: Path) -> dict[str, Any]:
    """Return the content of a small file that all processes read; empty if the file cannot be read."""
    try:
        with open(open_safely(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            told = json.loads(file.read(65_536))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def write_note(path: Path, told: Mapping[str, Any]) -> bool:
    """Write a small file whole or not at all, and say which. If there is no room for the file, the old one stays."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    with suppress(OSError):
        with open(open_safely(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
        fresh.replace(path)
        return True
    return False


def segments(directory: Path, *streams: str) -> Iterator[Path]:
    """Yield the waiting segments of some streams in *directory*, in no order; none if the directory is absent."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # drained meanwhile
                if any(_is_segment(entry, stream) for stream in streams):
                    yield Path(entry.path)


def _is_segment(entry: os.DirEntry[str], stream: str) -> bool:
    """Say whether a file is a segment: a regular file of this user with the right name."""
    if not (entry.name.startswith(f"{stream}-") and entry.name.endswith(SUFFIX)):
        return False
    return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()


def foreign_segments(directory: Path, stream: str) -> list[Path]:
    """Return the segments of another user, in a directory into which nobody else can write.

    Somebody has run the app as that user, or has copied the files. They are not read, but may hold opt-outs.
    """
    if intrusion(directory) is not None:
        return []
    with suppress(OSError), os.scandir(directory) as entries:
        named = [e for e in entries if e.name.startswith(f"{stream}-") and e.name.endswith(SUFFIX)]
        regular = [e for e in named if e.is_file(follow_symlinks=False)]
        return sorted(Path(e.path) for e in regular if e.stat(follow_symlinks=False).st_uid != os.geteuid())
    return []


def bad_files(directory: Path, stream: str = "") -> list[Path]:
    """Return the files of the quarantine.

    :param stream: only files of this stream.
    """
    kept = directory.glob(f"{BAD}-{stream}*{SUFFIX}")
    return sorted(path for path in kept if path.is_file() and not path.is_symlink())


def strangers(directory: Path, streams: set[str]) -> Iterator[str]:
    """Yield the names of foreign files. They are never read, changed or deleted."""
    ours = {path.name for path in bad_files(directory)}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            plain = entry.is_file(follow_symlinks=False)
            known = entry.name in ours or (plain and entry.name.startswith(_KNOWN))
            app = _APP.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            if not known and not app and not any(_is_segment(entry, stream) for stream in streams):
                yield entry.name


_PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.01
_LINES = 5_000
"""Lines that are read to find the owner of a directory. Links name the owner, and stand before their mails."""


class Tenant(NamedTuple):
    """The app to which a directory belongs."""

    app: str
    database: str
    """The kind, place and name of a database: no user, no password."""
    keys: tuple[str, ...] = ()
    """A mark of each signing key, newest first. Nobody can sign by a mark."""

    def heir_of(self, former: Tenant) -> bool:
        """Say whether the rows of *former* are for us: for the same database, or signed by the same app's keys."""
        return self.database == former.database or not set(self.keys).isdisjoint(former.keys)


class Occupied(MailtrackError):
    """A directory belongs to another tenant.

    :param tenant: the owner.
    :param living: whether a process of the owner runs; else rows of the owner wait there.
    """

    def __init__(self, tenant: Tenant, living: bool) -> None:
        super().__init__(f"{tenant.app} is there, of {tenant.database}")
        self.tenant = tenant
        self.living = living


class Lease:
    """Shows that this process, or a child of it, uses a directory, as long as the object lives."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self._fd)


def move_in(directory: Path, tenant: Tenant, also: Iterable[Path] = ()) -> Lease:
    """Make *directory*, if it is absent, and record *tenant* as its owner.

    :param also: further directories of the same app.
    :raises Occupied: another tenant uses the directory, or has left rows there for another database.
    :raises OSError: the directory cannot be used.
    """
    make(directory)
    fd = open_safely(directory / LEASE, os.O_RDWR | os.O_CREAT)
    lease = Lease(fd)
    try:
        _settle(fd, directory, tenant, (directory, *also))
    except Occupied as error:
        # A factory that is called twice drops its first app. That app holds its lease until it is collected.
        if not error.living or not gc.collect():
            raise
        _settle(fd, directory, tenant, (directory, *also))
    return lease


def tenant_of(directory: Path) -> Tenant | None:
    """Return the recorded owner of *directory*; ``None`` if there is no record."""
    told = read_note(directory / TENANT)
    try:
        return Tenant(str(told["app"]), str(told["database"]), tuple(map(str, told["keys"])))
    except (KeyError, TypeError):
        return None


def proved(directory: Path, whose: Callable[[dict[str, Any]], bool | None]) -> bool | None:
    """Say by the waiting records whether *directory* is ours; ``None`` if the records do not tell.

    :param whose: says whether one record is ours; ``None`` if the record may be anybody's.
    """
    lines = (line for path in _segments(directory) for line in _lines(path))
    for line in islice(lines, _LINES):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            if (ours := whose(decode(line))) is not None:
                return ours
    return None


def anything(directory: Path) -> bool:
    """Say whether rows wait in *directory*."""
    return any(path.stat().st_size for path in _segments(directory))


def _settle(fd: int, directory: Path, tenant: Tenant, all_of_it: Sequence[Path]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    # Another process may decide at this moment, which takes no time. If that process is frozen, we do not wait.
    while time.monotonic() < until:
        if _locked(fd, fcntl.LOCK_EX):
            former = tenant_of(directory)
            if former and not tenant.heir_of(former) and any(map(anything, all_of_it)):
                raise Occupied(former, living=False)
            if former != tenant:
                write_note(directory / TENANT, tenant._asdict())
            # The change of the lock is not one step. A process that comes between is seen in the next round.
            if _locked(fd, fcntl.LOCK_SH) and tenant_of(directory) in (tenant, None):
                return
        elif _locked(fd, fcntl.LOCK_SH):
            found = tenant_of(directory)
            if found is None or found.database == tenant.database:
                return
            raise Occupied(found, living=True)
        time.sleep(_LOOK_SECONDS)


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        return how == fcntl.LOCK_SH
    return True


def _segments(directory: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(segments(directory, "events", "optouts"))
    return []


def _lines(path: Path) -> Iterable[bytes]:
    with suppress(OSError), open(open_safely(path, os.O_RDONLY), "rb") as lines:
        yield from lines
