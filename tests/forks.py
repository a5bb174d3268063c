"""Two ways in which a server makes its workers: one that tells Python, and one that does not."""

from __future__ import annotations

import ctypes
import os

import pytest

FORKS = [
    pytest.param(os.fork, id="os.fork"),
    # What uWSGI does, unless it is told to call Python's hooks.
    pytest.param(ctypes.PyDLL(None).fork, id="fork in C"),
]
