"""The ids of rows."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from forks import FORKS, run_with_fork

from flask_mailtrack.events import born, new_id


@pytest.fixture(name="still")
def _still(monkeypatch: pytest.MonkeyPatch) -> int:
    """A clock that stands still, and the millisecond that it shows."""
    millisecond = time.time_ns() // 1_000_000 + 60_000
    monkeypatch.setattr(time, "time_ns", lambda: millisecond * 1_000_000)
    return millisecond


def test_an_id_is_a_uuid_of_version_7(still: int) -> None:
    """Any tool reads the version, the variant and the time of birth out of an id (RFC 9562, section 5.7)."""
    for made in (new_id(), new_id()):
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert made.int >> 80 == still
        assert born(made).timestamp() == pytest.approx(still / 1000)


def test_ids_of_one_millisecond_stand_in_the_order_of_birth(still: int) -> None:
    """The rows of one send sort in the order of its recipients, however fast they are made."""
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {each.version for each in made} == {7}


def test_a_clock_that_is_set_back_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time in an id is the time of the clock, for a hit is judged by how soon it follows the mail."""
    new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000_000_000_000)
    assert born(new_id()).timestamp() == 1_000_000_000


def test_threads_never_get_the_same_id(still: int) -> None:
    """Many threads in one millisecond have ids of their own, each in its own order."""
    found: list[list[uuid.UUID]] = []

    def work() -> None:
        found.append([new_id() for _ in range(2_000)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for made in found for each in made}) == 16_000
    assert all(made == sorted(made) for made in found)


IDS = """
import time
from flask_mailtrack.events import new_id

moment = time.time_ns()
time.time_ns = lambda: moment

def of_a_child():
    reader, writer = os.pipe()
    if not (child := fork()):
        os.write(writer, new_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    return int.from_bytes(os.read(reader, 16))

print(new_id().int, of_a_child(), of_a_child(), new_id().int)
"""


@pytest.mark.parametrize("fork", FORKS)
def test_a_forked_worker_repeats_neither_its_parent_nor_another(fork: str) -> None:
    """Workers begin at other places than the one where their parent goes on: no randomness is inherited."""
    before, first, second, after = map(int, run_with_fork(fork, IDS))
    assert 0 < after - before < 1 << 34
    assert abs(first - before) > 1 << 34
    assert abs(second - before) > 1 << 34
    assert abs(first - second) > 1 << 34
