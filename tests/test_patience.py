"""How long a page waits for others."""

from __future__ import annotations

import threading

import pytest

from flask_mailtrack.patience import Errand


def test_an_errand_gives_its_result_or_its_error() -> None:
    """What is done in time is as if the page had done it itself."""
    assert Errand(lambda: 7, "seven").wait(5) == 7
    assert Errand(lambda: threading.current_thread(), "here").wait(0, here=True) is threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        Errand(lambda: 1 // 0, "fails").wait(5)


def test_an_errand_that_takes_too_long_goes_on_alone() -> None:
    """The page waits no longer, and the same errand is not begun twice."""
    release, begun = threading.Event(), []

    def work() -> int:
        begun.append(1)
        release.wait(10)
        return 1

    assert Errand(work, "long").wait(0.01) is None
    assert Errand(work, "long").wait(0.01) is None
    release.set()
    for thread in [each for each in threading.enumerate() if each.name == "mailtrack-long"]:
        thread.join()
    assert begun == [1]
