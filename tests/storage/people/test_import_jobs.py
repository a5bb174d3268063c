"""Imports that somebody watches: counted, begun, stopped, and gone on with by another process."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import Site

from flask_mailtrack.storage.people import import_jobs, suppression_list
from flask_mailtrack.storage.people.import_jobs import MOST_BYTES, ImportJob, ImportJobs, TooLarge

LIST = b"email,reason\nada@example.com,bounce\nbob@example.com,\nnobody,\nknown@example.com,\n"


@pytest.fixture(name="jobs")
def _jobs(site: Site, tmp_path: Path) -> ImportJobs:
    site.mailtrack.suppress("known@example.com")
    return ImportJobs(tmp_path / "imports", site.mailtrack._state_of(site.app).people)


def add(jobs: ImportJobs, content: bytes = LIST, name: str = "list.csv") -> ImportJob:
    return jobs.add(io.BytesIO(content), name, "mara")


def again(jobs: ImportJobs, job: ImportJob) -> ImportJob:
    """Return the job as another process sees it."""
    found = jobs.get(job.id)
    assert found
    return found


def addresses(site: Site) -> set[str]:
    return {row.recipient for row in site.rows("OptOut")}


def test_nothing_is_imported_before_somebody_says_so(site: Site, jobs: ImportJobs) -> None:
    """A file is counted first; then it is imported with the name of who brought it, and is gone; its bad lines stay."""
    job = add(jobs)
    job.work()
    assert job.state == "counted"
    assert [job.number(name) for name in ("new", "known", "bad")] == [2, 1, 1]
    assert job.bad_lines == [[4, "is not an address"]]
    assert addresses(site) == {"known@example.com"}
    job.begin()
    job.begin()
    again(jobs, job).work()
    again(jobs, job).work()
    done = again(jobs, job)
    assert (done.state, done.number("added"), done.problem) == ("done", 2, "")
    assert addresses(site) == {"known@example.com", "ada@example.com", "bob@example.com"}
    assert {row.reason for row in site.rows("OptOut")} == {"", "bounce", "import"}
    assert [row.actor for row in site.rows("Audit")] == [None, "mara", "mara"]
    assert "nobody" in done.rejected.read_text()
    assert not (job.folder / "list.csv").exists()
    assert [each.id for each in jobs.all()] == [job.id]
    jobs.drop(done)
    assert jobs.get(job.id) is None


def test_a_job_goes_on_where_its_process_has_died(
    site: Site, jobs: ImportJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was added stays, nobody is taken to be at work, and another process does the rest."""
    monkeypatch.setattr(suppression_list, "BATCH", 1)
    job = add(jobs)
    job.work()
    job.begin()
    notes = []

    def die(self: ImportJob) -> None:
        notes.append(self.number("line"))
        if len(notes) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ImportJob, "_go_on", die)
        with pytest.raises(KeyboardInterrupt):
            job.work()
    monkeypatch.setattr(import_jobs, "START_SECONDS", -1.0)
    dead = again(jobs, job)
    assert dead.stopped
    assert (dead.state, dead.at_work, dead.number("line")) == ("importing", False, 3)
    dead.work()
    assert (dead.state, dead.number("added")) == ("done", 2)
    assert addresses(site) == {"known@example.com", "ada@example.com", "bob@example.com"}


def test_two_workers_never_work_at_once(site: Site, jobs: ImportJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one process holds the lock, everybody sees it at work, and a second worker leaves."""
    monkeypatch.setattr(import_jobs, "_ATTEMPTS", 2)
    job = add(jobs)
    assert not job.at_work
    held = os.open(job.folder / "job.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert again(jobs, job).at_work
    again(jobs, job).work()
    assert again(jobs, job).state == "counting"
    jobs.drop(job)
    assert jobs.get(job.id)
    os.close(held)
    jobs.drop(job)
    assert jobs.get(job.id) is None


def test_a_cancelled_job_stops_between_two_transactions(
    site: Site, jobs: ImportJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been added by then stays, the file goes, and nothing sets the job to work again."""
    monkeypatch.setattr(suppression_list, "BATCH", 1)
    job = add(jobs)
    job.work()
    job.begin()
    told = ImportJob.note

    def note(self: ImportJob, **said: object) -> None:
        told(self, **said)
        if said.get("added") == 1 and self.state == "importing":
            again(jobs, self).cancel()

    with monkeypatch.context() as patched:
        patched.setattr(ImportJob, "note", note)
        job.work()
    assert again(jobs, job).state == "cancelled"
    assert addresses(site) == {"known@example.com", "ada@example.com"}
    again(jobs, job).begin()
    again(jobs, job).work()
    again(jobs, job).cancel()
    assert again(jobs, job).state == "cancelled"
    waiting = add(jobs)
    waiting.cancel()
    assert again(jobs, waiting).state == "cancelled"
    assert not (waiting.folder / "list.csv").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"name\nAda\n", b'"' * 1000])
def test_a_file_without_addresses_fails_in_a_sentence(site: Site, jobs: ImportJobs, content: bytes) -> None:
    """Whatever the file holds, the job ends, says why, and changes nothing."""
    job = add(jobs, content)
    job.work()
    assert job.state == "failed"
    assert job.problem.startswith("The file has no column with addresses")
    assert addresses(site) == {"known@example.com"}


def test_a_job_waits_while_the_database_is_away(site: Site, jobs: ImportJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job stops with a reason and does the rest later."""
    job = add(jobs)
    job.work()
    job.begin()

    def away(*_about: object, **_more: object) -> None:
        raise OSError("away")

    with monkeypatch.context() as patched:
        patched.setattr(import_jobs, "load", away)
        job.work()
    assert job.state == "importing"
    assert "Nothing is lost" in job.problem
    job.work()
    assert (job.state, job.problem) == ("done", "")


def test_a_file_is_kept_for_nobody_else_and_not_for_long(
    site: Site, jobs: ImportJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder and file are private; a link in place of the folder is not followed; old jobs are removed."""
    job = add(jobs)
    assert stat.S_IMODE(job.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((job.folder / "list.csv").stat().st_mode) == 0o600
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "other")
    linked = ImportJobs(tmp_path / "link", site.mailtrack._state_of(site.app).people)
    with pytest.raises(OSError, match="is a symbolic link"):
        add(linked)
    assert linked.all() == []
    assert linked.get(job.id) is None
    assert jobs.get(uuid.uuid4()) is None
    monkeypatch.setattr(import_jobs, "now", lambda: datetime.now(UTC) + timedelta(days=8))
    assert jobs.all() == []
    assert not job.folder.exists()


def test_a_file_that_is_too_large_leaves_nothing(jobs: ImportJobs, tmp_path: Path) -> None:
    """The file is refused while it is read, whatever the request has said of its length."""
    with pytest.raises(TooLarge):
        add(jobs, b"x" * (MOST_BYTES + 1))
    assert list((tmp_path / "imports").iterdir()) == []
