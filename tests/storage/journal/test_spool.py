"""The spool: what is written is read once, whatever happens to processes, disks and files in between."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from forks import FORKS, run_with_fork

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.storage.journal import spool as spool_module
from flask_mailtrack.storage.journal.segment import election
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import batched


@pytest.fixture(name="spool")
def _spool(tmp_path: Path) -> Spool:
    """A spool that never syncs by itself, in a directory that is not there yet."""
    return Spool(tmp_path / "spool", "events", "off")


@pytest.fixture(name="syncs")
def _syncs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> threading.Semaphore:
    """Counts calls of fdatasync; not those of spools that earlier tests have left, whose threads end a second later."""
    counter = threading.Semaphore(0)
    original = os.fdatasync

    def counted(fd: int) -> None:
        ours = os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path))
        original(fd)
        if ours:
            counter.release()

    monkeypatch.setattr(os, "fdatasync", counted)
    return counter


def drained(spool: Spool) -> list[dict[str, Any]]:
    """Everything in *spool*, which is empty afterwards."""
    records = []
    for segment in spool.take():
        records += list(segment.records())
        segment.delete()
    return records


def quarantined(spool: Spool) -> list[dict[str, str]]:
    """What was put aside."""
    path = spool.directory / f"bad-{spool.stream}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def segments(spool: Spool) -> list[Path]:
    """The files that wait."""
    return sorted(spool.directory.glob(f"{spool.stream}-*.jsonl"))


WRITER = """
import sys, threading
from flask_mailtrack.storage.journal.spool import Spool

spool, name, threads, count = Spool(sys.argv[1], "events", "group"), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def work(thread):
    for number in range(count):
        spool.append({"who": f"{name}/{thread}/{number}"})

workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
"""
FULL_DISK = """
import resource, sys
from flask_mailtrack.errors import SpoolError
from flask_mailtrack.storage.journal.spool import Spool

spool = Spool(sys.argv[1], "events", "off")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(30):
    try:
        spool.append({"n": number, "text": "x" * 70})
    except SpoolError:
        print(number)
        spool.append({"n": number, "text": "x" * 70})
try:
    spool.append({"text": "x" * 2000})
except SpoolError:
    print("too long")
spool.append({"n": 30})
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start another interpreter with the same path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_what_is_appended_is_taken_in_order(spool: Spool) -> None:
    """Records come out as they went in, and only once."""
    spool.append({"n": 1}, {"n": 2, "text": "ö😀\u2028\n"})
    spool.append({"n": 3})
    assert spool.pending()
    assert spool.size() > 0
    assert drained(spool) == [{"n": 1}, {"n": 2, "text": "ö😀\u2028\n"}, {"n": 3}]
    assert not spool.pending()
    assert spool.size() == 0
    assert drained(spool) == []


def test_an_unused_spool_touches_nothing(spool: Spool) -> None:
    """Asking a spool that nobody has written to makes no directory and finds nothing."""
    assert not spool.pending()
    assert spool.size() == 0
    assert drained(spool) == []
    assert not spool.directory.exists()


def test_streams_of_one_directory_are_apart(spool: Spool) -> None:
    """Opt-outs and events share a directory without seeing each other."""
    other = Spool(spool.directory, "optouts", "off")
    other.append({"n": 1})
    assert not spool.pending()
    assert drained(other) == [{"n": 1}]


def test_one_call_is_one_write(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records a call has, the system is asked once, so that they stay together."""
    written: list[int] = []
    original = os.write

    def counted(fd: int, data: bytes) -> int:
        written.append(len(data))
        return original(fd, data)

    monkeypatch.setattr(os, "write", counted)
    spool.append(*({"n": n} for n in range(100)))
    assert len(written) == 1


def test_only_the_owner_can_read(spool: Spool) -> None:
    """The directory is 0700 and files are 0600, whatever the umask of the host."""
    usual = os.umask(0)
    try:
        spool.append({"n": 1})
        spool.quarantine(b"x", "y")
    finally:
        os.umask(usual)
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in spool.directory.iterdir()} == {0o600}


def test_a_torn_last_line_costs_only_itself(spool: Spool) -> None:
    """A writer killed in the middle of a line loses that line, which is put aside with the reason."""
    spool.append({"n": 1})
    spool.append({"n": 2})
    path = segments(spool)[0]
    path.write_bytes(path.read_bytes()[:-3])
    assert drained(spool) == [{"n": 1}]
    (bad,) = quarantined(spool)
    assert bad["reason"] == "checksum"
    assert '{"n":' in bad["line"]


@pytest.mark.parametrize("position", [0, 4, 8, 9, 12, -2, -1])
def test_a_flipped_byte_costs_only_its_line(spool: Spool, position: int) -> None:
    """Damage anywhere in a line is noticed, and the lines around it are read (the newline joins two)."""
    spool.append({"n": 1})
    spool.append({"word": "two"})
    spool.append({"n": 3})
    spool.append({"n": 4})
    path = segments(spool)[0]
    lines = path.read_bytes().splitlines(keepends=True)
    line = bytearray(lines[1])
    line[position] ^= 0x10
    lines[1] = bytes(line)
    path.write_bytes(b"".join(lines))
    assert drained(spool) == ([{"n": 1}, {"n": 4}] if position == -1 else [{"n": 1}, {"n": 3}, {"n": 4}])
    assert [bad["reason"] for bad in quarantined(spool)] == ["checksum"]


@pytest.mark.parametrize("line", [b"hello\n", b"\n", b"\x00\xff\xfe \n", b'{"n": 1}\n', b"00000000 \n", b" \n"])
def test_a_foreign_line_is_put_aside(spool: Spool, line: bytes) -> None:
    """What somebody else has written between our lines is kept in quarantine, and nothing else is lost."""
    spool.append({"n": 1})
    path = segments(spool)[0]
    path.write_bytes(line + path.read_bytes())
    assert drained(spool) == [{"n": 1}]
    assert len(quarantined(spool)) == 1


def test_a_bad_line_is_put_aside_once_however_often_it_is_read(spool: Spool) -> None:
    """A segment that is read again and again while the database is down fills no quarantine."""
    spool.append({"n": 1})
    path = segments(spool)[0]
    path.write_bytes(b"hello\n" + path.read_bytes())
    for _ in range(3):
        (segment,) = spool.take()
        assert list(segment.records()) == [{"n": 1}]
    assert quarantined(spool) == []
    segment.delete()
    assert len(quarantined(spool)) == 1


def test_a_writer_notices_that_its_segment_was_sealed(spool: Spool) -> None:
    """What is written after the drainer has taken a segment is in another one, and not lost."""
    spool.append({"n": 1})
    (first,) = spool.take()
    spool.append({"n": 2})
    assert len(segments(spool)) == 2
    assert list(first.records()) == [{"n": 1}]
    first.delete()
    assert drained(spool) == [{"n": 2}]


def test_a_drainer_waits_for_a_write_that_has_begun(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment is not sealed between a writer's look at it and its write, or that record would be lost."""
    monkeypatch.setattr(spool_module, "_PATIENCE_SECONDS", 30)
    spool.append({"n": 1})
    found: list[dict[str, Any]] = []
    drainer = threading.Thread(target=lambda: found.extend(drained(spool)))
    original = os.write

    def write(fd: int, data: bytes) -> int:
        drainer.start()
        drainer.join(0.2)  # it waits for us, so this runs out
        return original(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        spool.append({"n": 2})
    drainer.join(10)
    assert found == [{"n": 1}, {"n": 2}]


def test_a_writer_notices_that_its_segment_was_deleted(spool: Spool) -> None:
    """Somebody who clears the directory by hand does not make later records vanish."""
    spool.append({"n": 1})
    segments(spool)[0].unlink()
    spool.append({"n": 2})
    assert drained(spool) == [{"n": 2}]


def test_a_vanished_directory_is_made_again(spool: Spool) -> None:
    """A temporary directory that was cleaned away costs what was in it, and nothing more."""
    spool.append({"n": 1})
    segments(spool)[0].unlink()
    spool.directory.rmdir()
    spool.append({"n": 2})
    assert drained(spool) == [{"n": 2}]


def test_a_failed_drain_seals_only_what_it_has_begun(spool: Spool) -> None:
    """While the database is down, each attempt takes up the oldest segment; files do not pile up."""
    spool.append({"n": 1})
    for number in range(5):
        next(spool.take())
        spool.append({"n": 2 + number})
    assert len(segments(spool)) == 2
    assert [record["n"] for record in drained(spool)] == [1, 2, 3, 4, 5, 6]


def test_no_record_is_lost_while_many_write_and_one_drains(tmp_path: Path) -> None:
    """Four threads in each of three processes append while another drains: each record comes out once."""
    processes, threads, count = 3, 4, 250
    running = [python(WRITER, tmp_path / "spool", number, threads, count) for number in range(processes)]
    spool = Spool(tmp_path / "spool", "events", "off")
    found: list[str] = []
    takes = 0
    while any(process.poll() is None for process in running):
        some = [record["who"] for record in drained(spool)]
        found += some
        takes += bool(some)
    found += [record["who"] for record in drained(spool)]
    for process in running:
        process.communicate()
        assert process.returncode == 0
    everything = [f"{p}/{t}/{n}" for p in range(processes) for t in range(threads) for n in range(count)]
    assert sorted(found) == sorted(everything)
    assert takes > 1, "the writers were done before the drain began"
    assert quarantined(spool) == []


FORKED = """
from flask_mailtrack.storage.journal.spool import Spool

spool = Spool(sys.argv[1], "events", "off")
spool.append({"who": "parent before"})
with spool._lock():  # another thread of the parent is just writing
    child = fork()
    if child == 0:
        signal.alarm(10)  # rather than wait for ever for the other thread's lock
        try:
            spool.append({"who": "child"})
        finally:
            os._exit(0)
print(os.waitpid(child, 0)[1])
spool.append({"who": "parent after"})
"""


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_does_not_write_into_its_parents_segment(spool: Spool, fork: str) -> None:
    """After a fork each process has a segment of its own, and what both write is read."""
    assert run_with_fork(fork, FORKED, str(spool.directory)) == ["0"]
    assert len(segments(spool)) == 2
    assert sorted(record["who"] for record in drained(spool)) == ["child", "parent after", "parent before"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_does_not_hold_its_parents_locks(spool: Spool) -> None:
    """A child forked in the middle of a write or a drain, and still alive, keeps nobody from draining."""
    read, write = os.pipe()
    with spool._lock(), election(spool.directory, wait=False):
        spool._hold()
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        fcntl.flock(spool._fd, fcntl.LOCK_UN)
    spool.append({"n": 1})
    with election(spool.directory, wait=False) as elected:
        assert elected
        assert drained(spool) == [{"n": 1}]
    os.close(write)
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0


def test_an_interrupted_writer_keeps_nobody_waiting(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is told to stop in the middle of a write leaves no lock behind."""

    def stopped(fd: int, data: bytes) -> int:
        raise SystemExit

    spool.append({"n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", stopped)
        with pytest.raises(SystemExit):
            spool.append({"n": 2})
    with election(spool.directory, wait=False), segments(spool)[0].open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    spool.append({"n": 3})
    assert drained(spool) == [{"n": 1}, {"n": 3}]


def test_a_full_disk_is_reported_and_survived(tmp_path: Path) -> None:
    """What cannot be written whole raises, leaves no torn line, and the next record finds a place."""
    process = python(FULL_DISK, tmp_path / "spool")
    said, _ = process.communicate()
    assert process.returncode == 0
    spool = Spool(tmp_path / "spool", "events", "off")
    assert said.splitlines()[-1] == "too long"
    assert len(said.splitlines()) > 2
    assert [record["n"] for record in drained(spool)] == list(range(31))
    assert quarantined(spool) == []


def test_a_full_disk_does_not_fill_with_empty_files(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hit on a full disk fails, but uses up no further file."""
    full = os.open("/dev/full", os.O_WRONLY)
    original = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: original(full, data))
        for _ in range(5):
            with pytest.raises(SpoolError, match="No space left"):
                spool.append({"n": 1})
    os.close(full)
    assert len(segments(spool)) == 1
    spool.append({"n": 2})
    assert drained(spool) == [{"n": 2}]


def test_a_record_that_did_not_reach_the_disk_is_not_there(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told that nothing was written can rely on it: the line is taken back."""

    def failing(fd: int) -> None:
        raise OSError("I/O error")

    spool.append({"n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(SpoolError):
            spool.append({"n": 2}, sync=True)
    spool.append({"n": 3})
    assert drained(spool) == [{"n": 1}, {"n": 3}]


def test_a_directory_that_cannot_be_made_raises_spool_error(tmp_path: Path) -> None:
    """A spool under a file is the caller's only to know as SpoolError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot write to"):
        Spool(tmp_path / "file" / "spool", "events").append({"n": 1})


def test_what_is_no_json_raises_spool_error(spool: Spool) -> None:
    """A record that cannot be written as JSON is refused like any other, so that no mail fails of it."""
    with pytest.raises(SpoolError):
        spool.append({"details": {(1, 2): 3}})
    assert drained(spool) == []


def test_a_symlink_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    """A link that somebody has put among the segments is not read, changed or deleted, and blocks nothing."""
    spool.append({"n": 1})
    target = tmp_path / "precious"
    target.write_text("mine")
    os.symlink(target, spool.directory / "events-0-0.jsonl")
    os.symlink(target, spool.directory / "bad-events.jsonl")
    os.mkdir(spool.directory / "events-1-1.jsonl")
    assert drained(spool) == [{"n": 1}]
    assert not spool.pending()
    spool.quarantine(b"x", "y")
    assert target.read_text() == "mine"
    assert stat.S_IMODE(target.stat().st_mode) != 0o400


def test_a_symlink_that_appears_late_is_refused(spool: Spool, tmp_path: Path) -> None:
    """A segment that is exchanged for a link between listing and reading is put aside, not followed."""
    spool.append({"n": 1})
    (segment,) = spool.take()
    target = tmp_path / "precious"
    target.write_bytes(segment.path.read_bytes())
    segment.path.unlink()
    os.symlink(target, segment.path)
    assert list(segment.records()) == []
    segment.delete()
    assert (segment.path.exists(), target.exists()) == (False, True)


def test_a_file_system_without_modes_is_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a seal does not hold, draining would lose what is written meanwhile, so it does not begin."""
    spool.append({"n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", lambda fd, mode: None)
        with pytest.raises(OSError, match="without modes"):
            list(spool.take())
    assert drained(spool) == [{"n": 1}]


@pytest.mark.parametrize(("mode", "sync", "count"), [("each", False, 1), ("group", True, 1), ("off", True, 1)])
def test_a_synced_record_is_on_disk_before_the_answer(
    tmp_path: Path, syncs: threading.Semaphore, mode: str, sync: bool, count: int
) -> None:
    """With ``each``, and for an opt-out in any mode, append returns after fdatasync."""
    spool = Spool(tmp_path / "spool", "optouts", mode)
    spool.append({"n": 1}, sync=sync)
    assert syncs.acquire(blocking=False)
    spool.append({"n": 2}, sync=sync)
    assert syncs.acquire(blocking=False)
    assert not syncs.acquire(blocking=False)


def test_the_name_of_a_synced_segment_is_on_disk_too(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of a new segment is synced once, or a power cut would lose the file with all that is in it."""
    synced: list[bool] = []
    original = os.fsync

    def counted(fd: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(fd).st_mode))
        original(fd)

    monkeypatch.setattr(os, "fsync", counted)
    spool.append({"n": 1}, sync=True)
    spool.append({"n": 2}, sync=True)
    assert synced == [True]


def test_group_syncs_in_the_background(tmp_path: Path, syncs: threading.Semaphore) -> None:
    """Records written together reach the disk with one sync that none of them waits for."""
    spool = Spool(tmp_path / "spool", "events", "group")
    spool.append({"n": 1})
    spool.append({"n": 2})
    assert syncs.acquire(timeout=10), "nothing was synced"
    spool.append({"n": 3})
    assert syncs.acquire(timeout=10), "the thread has ended while there was work"


def test_the_syncing_thread_ends_when_there_is_nothing_to_do(
    tmp_path: Path, syncs: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle spool holds no thread, and through it no file, for the rest of the process; the next write starts one."""
    monkeypatch.setattr(spool_module, "_IDLE_SECONDS", 0.01)
    spool = Spool(tmp_path / "spool", "events", "group")
    for _ in range(2):
        spool.append({"n": 1})
        syncer = spool._syncer
        assert syncer is not None
        assert syncs.acquire(timeout=10)
        syncer.join(timeout=10)
        assert not syncer.is_alive()
        assert spool._syncer is None


def test_a_dropped_spool_closes_its_file(tmp_path: Path) -> None:
    """Apps that come and go, as in a test suite, do not use up the file descriptors."""
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        Spool(tmp_path / str(number), "events", "off").append({"n": number})
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_off_never_syncs(tmp_path: Path, syncs: threading.Semaphore) -> None:
    """With ``off`` the disk is left to the system, also when a segment is taken."""
    spool = Spool(tmp_path / "spool", "events", "off")
    spool.append({"n": 1})
    assert spool._syncer is None
    assert drained(spool) == [{"n": 1}]
    assert not syncs.acquire(blocking=False)


def test_a_sealed_segment_is_synced_by_whoever_took_it(tmp_path: Path, syncs: threading.Semaphore) -> None:
    """A segment that waits for its database is on disk, although its writer has gone on to another."""
    spool = Spool(tmp_path / "spool", "events", "each")
    spool.append({"n": 1})
    assert syncs.acquire(blocking=False)
    assert len(list(spool.take())) == 1
    assert syncs.acquire(blocking=False)


def test_one_drainer_is_elected(tmp_path: Path) -> None:
    """While one holds the drain another is turned away at once, or waits for its turn."""
    turns: list[str] = []
    with election(tmp_path / "spool", wait=True) as first:
        assert first
        with election(tmp_path / "spool", wait=False) as second:
            assert not second

        def queue() -> None:
            with election(tmp_path / "spool", wait=True) as third:
                turns.append(f"elected {third}")

        waiting = threading.Thread(target=queue)
        waiting.start()
        waiting.join(0.05)
        turns.append("first goes")
    waiting.join(10)
    assert turns == ["first goes", "elected True"]


def test_size_survives_a_drain_in_between(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for the size while another process drains does not fail."""
    spool.append({"n": 1})
    listed = segments(spool)
    drained(spool)
    monkeypatch.setattr(spool, "files", lambda: iter(listed))
    assert spool.size() == 0


def test_chunks_are_of_the_size_asked_for() -> None:
    """Records are grouped without one too many or one lost."""
    records = [{"n": n} for n in range(7)]
    assert [len(batch) for batch in batched(records, 3)] == [3, 3, 1]
    assert [len(batch) for batch in batched(records[:6], 3)] == [3, 3]
    assert list(batched([], 3)) == []


@pytest.mark.parametrize(
    ("worker", "mule", "spooler", "kept"),
    [(0, 0, False, False), (1, 0, False, True), (0, 1, False, True), (0, 0, True, True)],
    ids=["master", "worker", "mule", "spooler"],
)
def test_the_master_of_uwsgi_starts_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: int, mule: int, spooler: bool, kept: bool
) -> None:
    """What forks workers in C writes to the disk itself; workers, mules and spoolers have a thread for that."""
    told = {"worker_id": lambda: worker, "mule_id": lambda: mule, "i_am_the_spooler": lambda: spooler}
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(**told))
    on_disk: list[int] = []
    monkeypatch.setattr(spool_module, "to_disk", on_disk.append)
    spool = Spool(tmp_path, "events", sync="group")
    spool.append({"k": "hit"})
    assert (spool._syncer is not None) == kept
    assert kept or on_disk
