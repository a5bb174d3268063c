"""CPU time, for tests that hold how work grows; seconds are for the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable

_ENOUGH = 0.03
"""Seconds: some systems count CPU time in steps of a hundredth, which short work would fall between."""


def cpu_seconds(work: Callable[[], object]) -> float:
    """Time a call in CPU time of this process, so that neighbours on the machine do not count."""
    return min(_once(work) for _ in range(2))


def _once(work: Callable[[], object]) -> float:
    start, calls, spent = time.process_time(), 0, 0.0
    while spent < _ENOUGH:
        work()
        calls += 1
        spent = time.process_time() - start
    return spent / calls
