"""CPU time, for tests that hold how work grows; seconds are for the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object]) -> float:
    """Time a call in CPU time of this process, so that neighbours on the machine do not count."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best
