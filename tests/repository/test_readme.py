"""The README is true: its code runs, its tables are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from blinker import NamedSignal

import flask_mailtrack
from flask_mailtrack import signals
from flask_mailtrack.config import keys

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
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
    """Nobody has to scroll: the first code begins within 25 lines and is at most 30 long."""
    assert README.splitlines().index("```python") < 25
    assert len(BLOCKS[0][1].splitlines()) <= 30


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


def settings_table() -> str:
    """The configuration table, from the code."""
    cells = [(name, repr(default).replace("|", "\\|"), doc) for name, default, doc in keys()]
    rows = [f"| `{name}` | `{default}` | {doc} |" for name, default, doc in cells]
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows])


def test_every_key_is_documented() -> None:
    """The configuration table of the README is the one that the code gives."""
    table = README.split("<!-- settings: begin -->\n")[1].split("\n<!-- settings: end -->")[0]
    assert table == settings_table()


SIGNALS = [name for name, value in vars(signals).items() if isinstance(value, NamedSignal)]


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_is_documented(name: str) -> None:
    """Whoever listens finds each signal in the README."""
    assert f"`{name}`" in README


def test_public_names() -> None:
    """The package exports what it says and nothing by accident."""
    assert flask_mailtrack.__all__ == ["Mailtrack", "Scope", "Viewer"]


def test_every_room_is_on_the_picture() -> None:
    """The README's picture of the rooms names every module of the package."""
    picture = README.split("## The rooms")[1]
    modules = [p.stem for p in (ROOT / "flask_mailtrack").rglob("*.py") if p.stem != "__init__"]
    assert [m for m in modules if not re.search(rf"\b{m}\b", picture)] == []


def layers(name: str) -> list[set[str]]:
    """The floors of a contract, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = [contract for contract in contracts if contract["name"] == name]
    return [set(floor.split(" | ")) for floor in contract["layers"]]


@pytest.mark.parametrize(("number", "contract"), [(0, "Imports point down"), (1, "Storage has floors")])
def test_the_picture_is_what_the_walls_say(number: int, contract: str) -> None:
    """The floors that the README draws are those that import-linter holds."""
    picture = re.findall(r"```text\n(.*?)```", README.split("## The rooms")[1], re.DOTALL)[number]
    assert [set(line.strip().split(" | ")) for line in picture.splitlines()] == layers(contract)


def test_the_rooms_name_nothing_that_is_gone() -> None:
    """Each name in the story of the rooms is a module's or a room's: what has moved is not looked for in vain."""
    story = README.split("## The rooms")[1].split("\n## ")[0]
    paths = [path.relative_to(ROOT) for path in (ROOT / "flask_mailtrack").rglob("*.py")]
    there = {path.stem for path in paths} | {path.parent.name for path in paths} | {"Connection"}  # Flask-Mail's
    named = {name.removesuffix(".py").split("/")[-1] for name in re.findall(r"`([\w/.]+)`", story)}
    assert named - there == set()
