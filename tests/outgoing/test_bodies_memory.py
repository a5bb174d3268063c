"""What is remembered is bounded by its size in memory."""

from __future__ import annotations

import tracemalloc

from conftest import Site

from flask_mailtrack.outgoing.bodies import HTML_BYTES, Memory, Plan
from flask_mailtrack.outgoing.options import choose


def test_many_long_bodies_take_no_more_than_is_promised(site: Site) -> None:
    """Of sixteen bodies of 930,000 characters the process keeps 32 MB at most, the last one among them."""
    state = site.mailtrack._state()
    bodies, plan = state.office.preparer.bodies, Plan.of(choose(state.settings, "", "", None))
    filler = "<p>abcdefghijklmnopqrstuvwxył</p>\n" * 27_000
    tracemalloc.start()
    try:
        for n in range(16):
            source = f'<body><a href="https://example.com/{n}">x</a>{filler}{n}</body>'
            assert bodies.html(source, plan).stamps
        last, source = source, ""
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1.1 * HTML_BYTES
    assert bodies.html(last, plan) is bodies.html(last, plan)


def test_what_was_wanted_last_is_kept() -> None:
    """The oldest goes first, and each use makes it young again; both limits hold."""
    made: list[str] = []

    def make(name: str, length: int) -> bytes:
        made.append(name)
        return bytes(length)

    memory = Memory(make, 10_000, 3)
    for name, length in (("a", 3_000), ("b", 3_000), ("a", 3_000), ("c", 4_500), ("a", 3_000), ("b", 3_000)):
        assert len(memory(name, length)) == length
        assert memory.bytes <= 10_000
    assert made == ["a", "b", "c", "b"]
    made.clear()
    for name in "defg":
        memory(name, 1)
    memory("e", 1)
    memory("d", 1)
    assert made == ["d", "e", "f", "g", "d"]


def test_what_is_too_large_is_made_each_time() -> None:
    """It does not drive out what fits."""
    made: list[int] = []
    memory = Memory(lambda length: made.append(length) or bytes(length), 10_000, 9)
    for length in (10, 20_000, 20_000, 10):
        memory(length)
    assert made == [10, 20_000, 20_000]
