"""The README is true: its code runs, its tables are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import flask_mailtrack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STORIES = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8").split("## The stories")[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_the_first_block_runs_and_prints_its_proof(tmp_path: Path) -> None:
    """Copied into an empty folder, the first block of the README prints what the README says."""
    (tmp_path / "first.py").write_text(BLOCKS[0][1], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "first.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (BLOCKS[1][1], "")


def test_the_first_code_comes_early() -> None:
    """Nobody has to scroll: the first code begins within 15 lines and is at most 30 long, and all is 200 lines."""
    assert README.splitlines().index("```python") < 15
    assert len(BLOCKS[0][1].splitlines()) <= 30
    assert len(README.splitlines()) <= 200


LINKS = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)|(?:srcset|src)=\"([^\"]+)\"", README)


def test_every_link_leads_to_a_file() -> None:
    """What the README leads to is there."""
    paths = [one or other for one, other in LINKS]
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize(
    "line",
    [
        "python3 -m venv .venv && .venv/bin/pip install -e '.[example]' && .venv/bin/flask --app example_app run",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest -n auto",
    ],
)
def test_one_line_sets_everything_up(line: str) -> None:
    """The example and the tests each start with one line on a fresh machine."""
    assert line in README.splitlines()


def test_public_names() -> None:
    """The package exports what it says and nothing by accident."""
    assert flask_mailtrack.__all__ == ["Mailtrack", "Scope", "Viewer"]


def test_every_room_is_on_the_picture() -> None:
    """The story of the rooms, below the picture of their floors, names every module of the package."""
    picture = STORIES + (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[tool.importlinter]")[1]
    modules = [p.stem for p in (ROOT / "flask_mailtrack").rglob("*.py") if p.stem != "__init__"]
    assert [m for m in modules if not re.search(rf"\b{m}\b", picture)] == []


def test_the_rooms_name_nothing_that_is_gone() -> None:
    """Each name in the story of the rooms is a module's or a room's: what has moved is not looked for in vain."""
    paths = [path.relative_to(ROOT) for path in (ROOT / "flask_mailtrack").rglob("*.py")]
    there = {path.stem for path in paths} | {path.parent.name for path in paths} | {"Connection"}  # Flask-Mail's
    named = {name.removesuffix(".py").split("/")[-1] for name in re.findall(r"`([\w/.]+)`", STORIES)}
    assert named - there == set()
