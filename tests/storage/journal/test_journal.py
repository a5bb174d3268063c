"""The journal: a record is in the first directory, in the second, or in the log; never nowhere, never twice."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.errors import ConfigError, SpoolError
from flask_mailtrack.storage.journal import backlog
from flask_mailtrack.storage.journal.backlog import Gauge, Waiting
from flask_mailtrack.storage.journal.directory import intrusion, make, require, strangers
from flask_mailtrack.storage.journal.journal import Journal, find
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import encode

Break = Callable[[Path], None]


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="journal")
def _journal(tmp_path: Path, clock: Clock) -> Journal:
    """A journal over two directories that are not there yet."""
    first, second = (Spool(tmp_path / name, "events", "off") for name in ("first", "second"))
    return Journal(first, second, clock=clock)


def drained(spool: Spool) -> list[dict[str, Any]]:
    """Everything in *spool*, which is empty afterwards."""
    found = []
    for segment in spool.take():
        found += list(segment.records())
        segment.delete()
    return found


def in_the_way(directory: Path) -> None:
    """Put a file where a directory should be: nothing can be written there, by root either."""
    directory.write_text("")


def test_the_second_directory_takes_what_the_first_cannot(journal: Journal, clock: Clock) -> None:
    """While the first cannot be written records are in the second, and then in the first again."""
    first, second = journal.spools
    in_the_way(first.directory)
    journal.append({"n": 1})
    assert journal.pending()
    first.directory.unlink()
    journal.append({"n": 2})  # not tried yet: a full disk must not cost each hit an attempt
    clock.now += 1
    journal.append({"n": 3})
    assert (drained(second), drained(first)) == ([{"n": 1}, {"n": 2}], [{"n": 3}])
    assert (journal.fallbacks, journal.lost) == (2, 0)


def test_a_directory_that_fails_is_tried_less_and_less(
    journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over an hour of failure the first is tried every minute, not at each of the hits."""
    in_the_way(journal.directory)
    tries: list[float] = []
    append = Spool.append

    def watched(self: Spool, *records: Any, sync: bool = False) -> None:
        if self is journal.spools[0]:
            tries.append(clock.now - 100)
        append(self, *records, sync=sync)

    monkeypatch.setattr(Spool, "append", watched)
    for _ in range(3600):
        journal.append({"n": 1})
        clock.now += 1
    assert tries[:8] == [0, 1, 3, 7, 15, 31, 63, 123]
    assert len(tries) < 70
    assert journal.fallbacks == 3600


def test_before_anything_is_lost_the_first_is_tried(journal: Journal) -> None:
    """If the second fails while the first is left alone, the first is asked all the same."""
    first, second = journal.spools
    in_the_way(first.directory)
    journal.append({"n": 1})
    shutil.rmtree(second.directory)
    in_the_way(second.directory)
    first.directory.unlink()
    journal.append({"n": 2})
    assert drained(first) == [{"n": 2}]
    assert journal.lost == 0


def test_what_no_directory_takes_is_in_the_log(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """Each record is one CRITICAL line of JSON with its checksum, and the caller is told."""
    for spool in journal.spools:
        in_the_way(spool.directory)
    with pytest.raises(SpoolError):
        journal.append({"n": 1}, {"word": "ö\n😀"})
    told = [r for r in caplog.records if r.name == "flask_mailtrack.spool.lost"]
    assert [r.levelno for r in told] == [logging.CRITICAL] * 2
    assert [json.loads(r.getMessage())["record"] for r in told] == [{"n": 1}, {"word": "ö\n😀"}]
    assert [found.body for found in find(r.getMessage().encode() for r in told)] == [
        {"n": 1},
        {"word": "ö\n😀"},
    ]
    assert journal.lost == 2


def test_an_opt_out_is_never_only_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A journal without a last resort raises and says nothing: nobody may be told that an opt-out was taken."""
    spools = [Spool(tmp_path / name, "optouts", "off") for name in "ab"]
    for spool in spools:
        in_the_way(spool.directory)
    journal = Journal(*spools, last_resort=False)
    with pytest.raises(SpoolError):
        journal.append({"n": 1}, sync=True)
    assert not [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert journal.lost == 0


def test_what_is_no_record_is_not_tried_elsewhere(journal: Journal) -> None:
    """A record that cannot be written as JSON is the caller's mistake, not the directory's."""
    with pytest.raises(SpoolError):
        journal.append({"details": {(1, 2): 3}})
    journal.append({"n": 1})
    assert drained(journal.spools[0]) == [{"n": 1}]
    assert (journal.fallbacks, journal.lost) == (0, 0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_record_survives_the_log(record: dict[str, Any], prefix: str) -> None:
    """Whatever a record holds, and whatever stands before it on the line, it is read as it was written."""
    checksum, _, text = encode(record).rstrip().partition(b" ")
    line = f'{prefix} {{"mailtrack":"lost","crc32":"{checksum.decode()}","record":{text.decode()}}} trailer'
    (found,) = find([line.encode()])
    assert found.body == record


@given(st.binary(max_size=200))
def test_any_line_of_a_log_is_survived(line: bytes) -> None:
    """Nothing that stands in a log stops the reading of it."""
    for marked in (
        line,
        b'{"mailtrack":"lost"' + line,
        b'{"reason"' + line,
        b"00000000 {" + line,
        b'\\"mailtrack' + line,
    ):
        assert all(found.body is None for found in find([marked]))


def test_a_directory_of_others_is_refused(tmp_path: Path) -> None:
    """Modes that let others write, a link, and another owner are found at start-up, each with its cure."""
    directory = tmp_path / "spool"
    require("MAILTRACK_SPOOL_DIR", directory)  # not there yet
    directory.mkdir(mode=0o700)
    require("MAILTRACK_SPOOL_DIR", directory)
    for mode in (0o720, 0o702, 0o777, 0o1777):
        directory.chmod(mode)
        with pytest.raises(ConfigError, match=rf"E130.*mode {mode:o}.*chmod 700 {directory}"):
            require("MAILTRACK_SPOOL_DIR", directory)
        with pytest.raises(SpoolError, match="others can write"):
            Spool(directory, "events", "off").append({"n": 1})
    directory.chmod(0o755)
    require("MAILTRACK_SPOOL_DIR", directory)  # to read is a matter of `check`
    link = tmp_path / "link"
    link.symlink_to(directory)
    with pytest.raises(ConfigError, match=rf"symbolic link.*Write where it leads: {directory}"):
        require("MAILTRACK_SPOOL_DIR", link)


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, or anybody else, must not leave segments that the owner cannot seal."""
    make(tmp_path / "spool")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "belongs to user" in str(intrusion(tmp_path / "spool"))


def test_what_is_not_ours_is_named_and_left_alone(tmp_path: Path) -> None:
    """A pipe, a directory, a link or a file of whatever name stops nobody, is not touched, and is listed."""
    spool = Spool(tmp_path / "spool", "events", "off")
    spool.append({"n": 1})
    names = {"events-1-1.jsonl": os.mkfifo, "bad-events.jsonl": os.mkfifo, "drain.lock": os.mkdir, "notes": os.mkdir}
    for name, put in names.items():
        put(spool.directory / name)
    (spool.directory / "events-0-0.jsonl").symlink_to(tmp_path)
    (spool.directory / "\x1b[31m").write_text("")
    reader = os.open(spool.directory / "bad-events.jsonl", os.O_RDONLY | os.O_NONBLOCK)  # somebody listens
    (segment,) = spool.take()
    segment.path.chmod(0o600)
    segment.path.write_bytes(b"not a record\n" + encode({"n": 1}))
    assert list(segment.records()) == [{"n": 1}]
    segment.delete()
    assert set(strangers(spool.directory, {"events"})) == {*names, "events-0-0.jsonl", "\x1b[31m"}
    assert Gauge([spool, Spool(spool.directory, "optouts", "off")]).read() == Waiting(bad=1)
    os.close(reader)


def test_without_room_for_its_bad_lines_a_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk a drain does not stop at a bad line: the file changes its name, which needs no room."""
    spool = Spool(tmp_path / "spool", "events", "off")
    spool.append({"n": 1})
    (segment,) = spool.take()
    segment.reject(b"x\n", "bad")
    full = os.open("/dev/full", os.O_WRONLY)
    original = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: original(full, data))
        segment.delete()
    os.close(full)
    assert not spool.pending()
    (kept,) = [path for path in spool.directory.glob("bad-*") if path.stat().st_size]
    assert [found.body for found in find(kept.read_bytes().splitlines())] == [{"n": 1}]


def test_the_gauge_reads_on_where_it_was(tmp_path: Path) -> None:
    """Rows, bytes and age are right however often they are asked for while rows come and go."""
    spool = Spool(tmp_path / "spool", "events", "off")
    gauge = Gauge([spool])
    assert gauge.read() == Waiting()
    for number in range(1, 4):
        spool.append({"n": number})
        assert (gauge.read().rows, gauge.read().bytes) == (number, spool.size())
    next(spool.take())
    spool.append({"n": 4})
    assert gauge.read().rows == 4
    assert 0 < gauge.read().oldest_seconds < 60
    drained(spool)
    assert gauge.read() == Waiting()


MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:25 / /tmp rw,nosuid - tmpfs tmpfs rw,size=1g
29 27 0:40 / /srv/mail rw,relatime shared:7 master:2 - nfs4 files:/mail rw,vers=4.2
30 29 8:1 / /srv/mail/local rw - xfs /dev/sda1 rw
31 27 0:41 / /srv/with\040space rw - cifs //files/x rw
34 27 0:44 / /srv rw - btrfs /dev/vdc rw
32 27 0:42 / /home rw - ext4 /dev/vdb rw
33 32 0:43 / /home rw - overlay overlay rw
nonsense

"""


@pytest.mark.parametrize(
    ("path", "kind", "weak"),
    [
        ("/var/lib/app", "ext4", ""),
        ("/", "ext4", ""),
        ("/tmp", "tmpfs", "lost on reboot"),
        ("/tmp/a/b", "tmpfs", "lost on reboot"),
        ("/tmpx/a", "ext4", ""),
        ("/srv/mail/spool", "nfs4", "flock"),
        ("/srv/mail/local/spool", "xfs", ""),
        ("/srv/with space/x", "cifs", "flock"),
        ("/home/ada/spool", "overlay", ""),
    ],
)
def test_the_file_system_is_known(path: str, kind: str, weak: str) -> None:
    """The mount that holds a path is found by its longest name, later mounts first, and its weakness is named."""
    found = backlog.file_system(Path(path), MOUNTS)
    assert found == kind
    assert weak in backlog.judged(found)
    assert bool(weak) == bool(backlog.judged(found))


def test_no_table_of_mounts_is_no_weakness() -> None:
    """On a system without one nothing is claimed."""
    assert backlog.file_system(Path("/x"), "") == ""
    assert backlog.judged("") == ""


FULL = """
import sys
from pathlib import Path
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.spool import Spool

first, second = (Spool(Path(place) / "spool", "events", "off") for place in sys.argv[1:3])
journal = Journal(first, second, clock=lambda: float(numbers))
numbers = 0
while journal.fallbacks < 20:
    journal.append({"n": numbers, "text": "x" * 500})
    numbers += 1
filled = numbers
for path in Path(sys.argv[1]).glob("filler"):
    path.unlink()
numbers += 100
for number in range(filled, filled + 20):
    journal.append({"n": number, "text": "x" * 500})
found = []
for spool in (first, second):
    for segment in spool.take():
        found += [record["n"] for record in segment.records()]
        segment.delete()
assert sorted(found) == list(range(filled + 20)), found
assert journal.fallbacks == 20 and journal.lost == 0
print("ok")
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not there")
def test_a_really_full_disk_costs_nothing(tmp_path: Path) -> None:
    """On a real full file system records go to the second directory, and to the first again when there is room."""
    (tmp_path / "small").mkdir()
    (tmp_path / "other").mkdir()
    script = (
        f"mount -t tmpfs -o size=64k none {tmp_path}/small && head -c 32768 /dev/zero > {tmp_path}/small/filler && "
        f'exec "$0" -c "$1" {tmp_path}/small {tmp_path}/other'
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, FULL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no name space to be had here")
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr
    assert stat.S_IMODE((tmp_path / "other" / "spool").stat().st_mode) == 0o700
