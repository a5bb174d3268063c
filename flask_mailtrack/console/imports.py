"""Imports of suppressions: a file, what it would change, and the job that changes it."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterator
from pathlib import Path

from flask import request
from flask.typing import ResponseReturnValue
from werkzeug.utils import secure_filename

from flask_mailtrack.storage.people import import_jobs
from flask_mailtrack.storage.people.import_jobs import MOST_BYTES, ImportJob, ImportJobs, TooLarge

from .desk import Desk
from .route import Route

GONE = "There is no such import here: it was removed, or it runs on another machine."
_FORM_BYTES = 100_000
"""What a form adds to the file in it."""
_RELOAD = "5"


def imports(desk: Desk) -> ResponseReturnValue:
    """Show the form for a file, and the imports of the last days; or take a file, and have it counted."""
    jobs = _jobs(desk)
    if request.method == "GET":
        return desk.page("imports.html", jobs=jobs.all(), wrong="", most=MOST_BYTES // 1_000_000)
    given = request.files.get("file")
    if given is None or not given.filename:
        wrong = "Choose a file."
        return desk.page("imports.html", status=400, jobs=jobs.all(), wrong=wrong, most=MOST_BYTES // 1_000_000)
    try:
        job = jobs.add(given.stream, _named(given.filename), desk.viewer.name)
    except TooLarge:
        wrong = "The file is too large. Split it, and import the parts."
        return desk.page("imports.html", status=413, jobs=jobs.all(), wrong=wrong, most=MOST_BYTES // 1_000_000)
    jobs.set_to_work(job)
    return desk.back("suppressions_import", key=job.id)


def import_(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Show how an import stands. The page loads itself again while something happens."""
    job = _job(desk, key)
    stopped = job.stopped
    at_work = job.state in import_jobs.WORKING and not stopped
    answer = desk.page("import.html", job=job, at_work=at_work, stopped=stopped, rejected=job.rejected.exists())
    if at_work:
        answer.headers["Refresh"] = _RELOAD
    return answer


def import_start(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Import what was counted, or go on where a process has died. To press twice does no harm."""
    job = _job(desk, key)
    job.begin()
    _jobs(desk).set_to_work(job)
    return desk.back("suppressions_import", key=key)


def import_cancel(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Stop an import."""
    job = _job(desk, key)
    job.cancel()
    return desk.back("suppressions_import", "import_cancelled", key=key)


def import_drop(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Remove an import and its file."""
    _jobs(desk).drop(_job(desk, key))
    return desk.back("suppressions_imports", "import_dropped")


def import_rejected(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Give back the lines that could not be used, to be mended."""
    desk.need("addresses")
    job = _job(desk, key)
    if not job.rejected.exists():
        desk.missing(GONE)
    rows = _lines(job.rejected)
    return desk.csv("rejected", next(rows, []), rows)


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.reader(file)


def _jobs(desk: Desk) -> ImportJobs:
    if desk.scope is not None:  # an import is about all mail
        desk.missing(GONE)
    first = desk.state.journals[0].spools[0].directory
    return ImportJobs(first.with_name(f"{first.name}-imports"), desk.state.people)


def _job(desk: Desk, key: uuid.UUID) -> ImportJob:
    job = _jobs(desk).get(key)
    return desk.missing(GONE) if job is None else job


def _named(filename: str) -> str:
    """Return the name under which a file is kept: what follows its last dot is ours."""
    return f"{secure_filename(filename).removesuffix('.csv')[:80] or 'list'}.csv"


ROUTES = (
    Route("/suppressions/import", "suppressions_imports", "manage", imports),
    Route("/suppressions/import", "suppressions_bring", "manage", imports, ("POST",), MOST_BYTES + _FORM_BYTES),
    Route("/suppressions/import/<uuid:key>", "suppressions_import", "manage", import_),
    Route("/suppressions/import/<uuid:key>/start", "suppressions_start", "manage", import_start, ("POST",)),
    Route("/suppressions/import/<uuid:key>/cancel", "suppressions_cancel", "manage", import_cancel, ("POST",)),
    Route("/suppressions/import/<uuid:key>/drop", "suppressions_drop", "manage", import_drop, ("POST",)),
    Route("/suppressions/import/<uuid:key>/rejected", "suppressions_rejected", "manage", import_rejected),
)
