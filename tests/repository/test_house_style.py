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


@pytest.mark.parametrize("path", MODULES, ids=called)
def test_files_are_opened_in_one_place(path: Path) -> None:
    """Only ``open_safely`` calls ``os.open``, so that no file is opened without its flags."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.ImportFrom)]
    found = [call for call in calls if call == "os.open" or re.match(r"from os import .*\bopen\b", call)]
    expected = ["os.open"] if path.parts[-2:] == ("journal", "directory.py") else []
    assert found == expected


def test_no_two_classes_share_a_name() -> None:
    """A name means one thing, wherever somebody meets it."""
    classes = [
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(name for name in set(classes) if classes.count(name) > 1) == []


def test_the_words_are_few() -> None:
    """The glossary has at most twelve words, and each of them is used in the code."""
    glossary = (ROOT / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^([\w-]+)\n  ", glossary, re.M)
    assert 6 <= len(words) <= 12
    code = "".join(path.read_text(encoding="utf-8") for path in MODULES)
    assert [word for word in words if word not in code] == []
