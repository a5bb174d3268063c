"""What the tests in a real browser share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Browser, chromium


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Browser]:
    """One browser for the tests of a module."""
    with chromium() as browser:
        yield browser
