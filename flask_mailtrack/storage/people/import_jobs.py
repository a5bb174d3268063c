"""Imports of suppressions that somebody watches: counted first, then begun, stopped and gone on with from anywhere.

Each job is a private folder beside the journal: the file, a note of how far it is, and a lock that the thread at work
holds. So every process of the machine can tell how a job stands, and a job whose process has died can be gone on with.
The file goes when the job has ended, and what is left of the job some days later: nobody shall find addresses there.
"""

from __future__ import annotations

import csv
import fcntl
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select

from flask_mailtrack.events import born, new_id, now
from flask_mailtrack.lists import folded
from flask_mailtrack.storage.journal.directory import is_ours, make, open_safely, read_note, write_note
from flask_mailtrack.storage.journal.spool import keeps_threads
from flask_mailtrack.storage.records import batched
from flask_mailtrack.storage.tables.database import Database

from .people import People
from .suppression_list import BadRow, ImportProgress, Row, SuppressionFile, load

log: logging.Logger = logging.getLogger("flask_mailtrack.imports")

COUNTING, COUNTED, IMPORTING, DONE, CANCELLED, FAILED = (
    "counting",
    "counted",
    "importing",
    "done",
    "cancelled",
    "failed",
)
WORKING = (COUNTING, IMPORTING)
ENDED = (DONE, CANCELLED, FAILED)
MOST_BYTES = 20_000_000
KEPT = timedelta(days=7)
SHOWN = 20
"""Bad lines that are told; the file beside the import has all."""
_NOTE, _LOCK, _CANCEL = "job.json", "job.lock", "job.cancel"
_BATCH = 5_000
_LONGEST = 200
"""Letters of a problem; a note of a job is a small file."""
STOPPED = "The database, or the disk, could not take it. Nothing is lost: go on when it is back."
"""The problem of a job that can be gone on with."""
_ATTEMPTS = 100
_PAUSE_SECONDS = 0.01
START_SECONDS = 5.0
"""So long nobody may be at work before the job counts as left alone: a thread needs a moment to begin."""


class TooLarge(ValueError):
    """A file is larger than :data:`MOST_BYTES`."""


class _Cancelled(Exception):
    """Somebody does not want the job to go on."""


class ImportJob:
    """One import.

    :param folder: of the job alone.
    :param people: whose register takes the rows.
    """

    def __init__(self, folder: Path, people: People) -> None:
        self.folder = folder
        self._people = people
        self._said = read_note(folder / _NOTE)

    @property
    def id(self) -> uuid.UUID:
        """Names the job."""
        return uuid.UUID(self.folder.name)

    @property
    def started_at(self) -> datetime:
        """When the file came."""
        return born(self.id)

    @property
    def name(self) -> str:
        """The name of the file."""
        return str(self._said.get("name", ""))

    @property
    def by(self) -> str:
        """Who brought the file."""
        return str(self._said.get("by", ""))

    @property
    def state(self) -> str:
        """What the job does, or has come to."""
        return str(self._said.get("state", ""))

    @property
    def problem(self) -> str:
        """Why the job failed."""
        return str(self._said.get("problem", ""))

    @property
    def bad_lines(self) -> list[Any]:
        """The first lines that cannot be used: number and problem of each."""
        return list(self._said.get("bad_lines", []))

    def number(self, name: str) -> int:
        """Return one of the numbers: ``lines``, ``line``, ``new``, ``known`` and ``bad`` of the count, ``added``."""
        found = self._said.get(name, 0)
        return found if isinstance(found, int) else 0

    @property
    def at_work(self) -> bool:
        """Whether a process works on the job now. If none does and the job has not ended, its process has died."""
        try:
            with self._locked(fcntl.LOCK_SH):
                return False
        except OSError:
            return (self.folder / _LOCK).exists()

    @property
    def stopped(self) -> bool:
        """Whether the process that worked on the job has died, and some other may go on."""
        if self.state not in WORKING or self.at_work:
            return False
        with suppress(OSError):
            return time.time() - (self.folder / _NOTE).stat().st_mtime > START_SECONDS
        return False

    @property
    def rejected(self) -> Path:
        """The lines that the import could not use; there is none if all were good."""
        return Path(f"{self._file}.rejected.csv")

    def work(self) -> None:
        """Count, or import, from where the job stands. A second worker leaves at once, and ended jobs stay so."""
        for _ in range(_ATTEMPTS):
            try:
                with self._locked(fcntl.LOCK_EX):
                    self._said = read_note(self.folder / _NOTE)
                    if self.state in WORKING:
                        self._work()
                    if self.state not in ENDED and (self.folder / _CANCEL).exists():
                        self._end(CANCELLED)
                    return
            except BlockingIOError:  # another process works, or looks for a moment whether one does
                time.sleep(_PAUSE_SECONDS)

    def begin(self) -> None:
        """Have what was counted imported. Nothing changes about a job that somebody works on, or that has ended."""
        with suppress(OSError), self._locked(fcntl.LOCK_EX):
            self._said = read_note(self.folder / _NOTE)
            if self.state in (COUNTED, IMPORTING):
                self.note(state=IMPORTING)

    def cancel(self) -> None:
        """Stop the job; what it has added stays."""
        if self.state in ENDED:
            return
        os.close(open_safely(self.folder / _CANCEL, os.O_WRONLY | os.O_CREAT))
        with suppress(OSError), self._locked(fcntl.LOCK_EX):
            self._said = read_note(self.folder / _NOTE)
            if self.state not in ENDED:
                self._end(CANCELLED)

    def note(self, **said: Any) -> None:
        """Write down how the job stands."""
        self._said = self._said | said
        write_note(self.folder / _NOTE, self._said)

    @property
    def _file(self) -> Path:
        return self.folder / (self.name or "list.csv")

    def _work(self) -> None:
        try:
            (self._count if self.state == COUNTING else self._import)()
        except _Cancelled:
            self._end(CANCELLED)
        except (ValueError, csv.Error) as error:
            self._end(FAILED, f"The file {error}"[:500])
        except Exception:
            log.exception("the import %s has stopped", self.id)
            # What is in the tables stays, and the job can be gone on with.
            self.note(problem=STOPPED)

    def _count(self) -> None:
        file = SuppressionFile(self._file)
        self.note(lines=file.lines(), line=0, new=0, known=0, bad=0, bad_lines=[])
        new = known = bad = 0
        told: list[Any] = []
        for rows in batched(file.rows(), _BATCH):
            self._go_on()
            wanted = {(row.address, folded(row.list_id or ""), str(row.kind)) for row in rows if isinstance(row, Row)}
            stands = _standing(self._people.database, wanted)
            faulty = [row for row in rows if isinstance(row, BadRow)]
            told += [[row.line, row.problem[:_LONGEST]] for row in faulty[: SHOWN - len(told)]]
            new, known = new + len(wanted - stands), known + len(rows) - len(faulty) - len(wanted - stands)
            bad += len(faulty)
            self.note(line=rows[-1].line, new=new, known=known, bad=bad, bad_lines=told)
        self.note(state=COUNTED, line=0)

    def _import(self) -> None:
        file = SuppressionFile(self._file)
        before = self.number("added")

        def told(progress: ImportProgress, bad: list[BadRow]) -> None:
            self.note(line=progress.line, added=before + progress.added, problem="")
            self._go_on()

        first = self.number("line") + 1
        load(self._people, file, reason="import", from_line=first, by=self.by, told=told)
        self._end(DONE)

    def _go_on(self) -> None:
        if (self.folder / _CANCEL).exists():
            raise _Cancelled

    def _end(self, state: str, problem: str = "") -> None:
        self.note(state=state, problem=problem)
        self._file.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        fd = open_safely(self.folder / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


class ImportJobs:
    """The imports of one app on this machine.

    :param folder: made if absent, for this user alone.
    """

    def __init__(self, folder: Path, people: People) -> None:
        self._folder = folder
        self._people = people

    def add(self, stream: IO[bytes], name: str, by: str) -> ImportJob:
        """Keep a file, and return its job, which counts first.

        :param name: of the file; letters that no file may have are left out already.
        :raises TooLarge: nothing is kept.
        :raises OSError: the file cannot be kept.
        """
        make(self._folder)
        folder = self._folder / str(new_id())
        make(folder)
        try:
            with open(open_safely(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                while block := stream.read(1 << 16):
                    if file.tell() + len(block) > MOST_BYTES:
                        raise TooLarge(name)
                    file.write(block)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        job = ImportJob(folder, self._people)
        job.note(name=name, by=by, state=COUNTING)
        return job

    def get(self, key: uuid.UUID) -> ImportJob | None:
        """Return a job of this machine."""
        folder = self._folder / str(key)
        return ImportJob(folder, self._people) if is_ours(self._folder) and (folder / _NOTE).is_file() else None

    def all(self) -> list[ImportJob]:
        """Return the jobs, newest first; those of long ago are removed."""
        if not is_ours(self._folder):
            return []
        found = []
        for folder in sorted(self._folder.iterdir(), reverse=True):
            with suppress(ValueError):
                job = ImportJob(folder, self._people)
                if now() - job.started_at > KEPT and not job.at_work:
                    shutil.rmtree(folder, ignore_errors=True)
                elif job.state:
                    found.append(job)
        return found

    def drop(self, job: ImportJob) -> None:
        """Remove a job and its file. What it has added stays."""
        job.cancel()
        if not job.at_work:
            shutil.rmtree(job.folder, ignore_errors=True)

    def set_to_work(self, job: ImportJob) -> None:
        """Have a job worked on, by a thread if this process may have one."""
        if self._people.database.shared or not keeps_threads():
            job.work()
            return
        work: Callable[[], None] = job.work
        threading.Thread(target=work, name=f"mailtrack-import-{job.id}", daemon=True).start()


def _standing(database: Database, wanted: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Return which of some opt-outs stand already."""
    table = database.optout
    columns = (table.c.recipient, table.c.list_id, table.c.kind)
    found: set[tuple[str, str, str]] = set()
    for some in batched(sorted({address for address, _, _ in wanted}), 500):
        rows = database.rows(select(*columns).where(table.c.recipient.in_(some)))
        found |= {(address, folded(list_id), str(kind)) for address, list_id, kind in rows}
    return found & wanted
