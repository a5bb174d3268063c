"""What the house style can count."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "flask_mailtrack").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def called(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=called)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    """No module is longer than 400 lines, no function longer than 60."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert [f.name for f in functions(path) if (f.end_lineno or 0) - f.lineno + 1 > 60] == []


@pytest.mark.parametrize("path", MODULES, ids=called)
def test_no_group_of_a_pattern_repeats_possessively(path: Path) -> None:
    """Python 3.11.0 to 3.11.4 matches such groups wrongly: there an atomic group does the same."""
    assert re.findall(r"\)(?:[*+?]|\{+[\d,]*\}+)\+", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", TESTS, ids=called)
def test_every_test_says_what_it_is_about(path: Path) -> None:
    """Every test has a sentence for its reader."""
    nameless = [f.name for f in functions(path) if f.name.startswith("test_") and not ast.get_docstring(f)]
    assert nameless == []
