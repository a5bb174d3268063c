"""Tests stand where what they test stands."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"repository", "mutation", "benchmarks", "browser", "chaos", "golden"}
FOLDERS = sorted({path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")})


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if not ELSEWHERE.intersection(folder.parts)], ids=str)
def test_a_folder_of_tests_is_that_of_a_room(folder: Path) -> None:
    """Whoever looks for the tests of a room finds them under its own path."""
    assert (ROOT / "flask_mailtrack" / folder).is_dir()
