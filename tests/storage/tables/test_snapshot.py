"""What is read now and then: how often, what holds meanwhile, and what a monitor is told."""

from __future__ import annotations

import threading

import pytest
from forks import FORKS, run_with_fork

from flask_mailtrack.storage.tables.snapshot import FRESH_SECONDS, Snapshot


class Source:
    """Something to read, with a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = 100.0
        self.readings = 0
        self.fails = False
        monkeypatch.setattr("flask_mailtrack.storage.tables.snapshot.time.monotonic", lambda: self.clock)
        self.snapshot = Snapshot("rows", self.read, 0)

    def read(self) -> int:
        if self.fails:
            raise OSError("away")
        self.readings += 1
        return self.readings


@pytest.fixture(name="source")
def _source(monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(monkeypatch)


def test_one_reading_serves_for_some_seconds(source: Source) -> None:
    """However often it is asked, it is read once, until it is no longer fresh or something was changed here."""
    assert [source.snapshot.now() for _ in range(100)] == [1] * 100
    source.clock += FRESH_SECONDS - 0.01
    assert source.snapshot.now() == 1
    source.clock += 0.01
    assert source.snapshot.now() == 2
    source.snapshot.forget()
    assert source.snapshot.now() == 3


def test_what_was_read_last_holds_while_nothing_can_be_read(source: Source) -> None:
    """Nothing is raised; a monitor is told, also whether anything was ever known, until it can be read again."""
    source.fails = True
    assert source.snapshot.now() == 0
    assert source.snapshot.trouble() == "the rows cannot be read (OSError): the configuration holds"
    source.fails, source.clock = False, source.clock + FRESH_SECONDS
    assert (source.snapshot.now(), source.snapshot.trouble()) == (1, "")
    source.fails, source.clock = True, source.clock + FRESH_SECONDS
    assert source.snapshot.now() == 1
    assert source.snapshot.trouble() == "the rows cannot be read (OSError): what was known last holds"


def test_a_change_while_it_is_read_is_seen_at_the_next_question(source: Source) -> None:
    """What is read may be older than a change that is made here meanwhile, so it is not believed for seconds."""
    read = source.read

    def slow() -> int:
        found = read()
        if found == 1:
            source.snapshot.forget()
        return found

    source.snapshot = Snapshot("rows", slow, 0)
    assert source.snapshot.now() == 1
    assert source.snapshot.now() == 2


def test_one_thread_reads_and_the_others_go_on(source: Source) -> None:
    """While a reading takes long, others have what was known, and none of them reads, too."""
    source.snapshot.now()
    source.clock += FRESH_SECONDS
    begun, over = threading.Event(), threading.Event()
    read = source.read

    def slow() -> int:
        begun.set()
        assert over.wait(10)
        return read()

    source.snapshot._ask = slow
    thread = threading.Thread(target=source.snapshot.now)
    thread.start()
    assert begun.wait(10)
    assert source.snapshot.now() == 1
    over.set()
    thread.join(10)
    assert (source.snapshot.now(), source.readings) == (2, 2)


def test_a_reader_has_it_renewed_and_does_not_wait(source: Source) -> None:
    """It is read by another thread, and only if it is no longer fresh."""
    before = threading.active_count()
    source.snapshot.now()
    source.snapshot.renew()
    assert threading.active_count() == before
    source.clock += FRESH_SECONDS
    who: list[str] = []
    done = threading.Event()

    def read() -> int:
        who.append(threading.current_thread().name)
        done.set()
        return 7

    source.snapshot._ask = read
    source.snapshot.renew()
    assert done.wait(10)
    assert who == ["mailtrack-snapshot"]


FORKED = """
from flask_mailtrack.storage.tables.snapshot import Snapshot

ends = []

def read():
    # The lock is held by this thread when the child is made; in the child nobody else would ever let it go.
    child = fork()
    if child == 0:
        snapshot._ask = lambda: 1
        signal.alarm(10)
        os._exit(0 if snapshot.now() == 1 else 1)
    ends.append(os.waitpid(child, 0)[1])
    return 2

snapshot = Snapshot("rows", read, 0)
print(snapshot.now(), *ends)
"""


@pytest.mark.parametrize("fork", FORKS)
def test_a_fork_in_the_middle_of_a_reading_hangs_nobody(fork: str) -> None:
    """The child does not wait for a thread that it does not have."""
    assert run_with_fork(fork, FORKED) == ["2", "0"]
