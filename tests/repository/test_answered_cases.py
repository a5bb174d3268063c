"""What became here of each case of two lists: what other packages test or were blamed for, and attacks.

``peers.tsv`` has the former, ``security.tsv`` the latter. One line for each case: its number, a
verdict, and either the tests or a sentence. ``test``: covered by the tests named. ``other``: on purpose
not as there; the sentence says how, and a test may show it. ``no``: does not apply, or not yet, for the
reason given.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = {"peers.tsv": 159, "security.tsv": 113}
"""How many each list began with. Later lines, of what running the package against the world has shown, have a name."""
TABLES = {name: (ROOT / "tests" / "repository" / name).read_text(encoding="utf-8").splitlines() for name in CASES}
LINES = [line for table in TABLES.values() for line in table]
NODE = re.compile(r"tests/[\w/]+\.py(?:::\w+)+")


def columns(line: str) -> tuple[str, str, str]:
    """Return number, verdict and the rest of a line."""
    number, verdict, rest = line.split("\t")
    return number, verdict, rest


def nodes(line: str) -> list[str]:
    """Return the tests that a line names."""
    return NODE.findall(line)


@functools.cache
def defined(path: Path) -> frozenset[str]:
    """Return the tests of a file, as they stand behind its name in a node id."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + f.name for f in inside if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")}
    return frozenset(found)


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_there_once(name: str) -> None:
    """No case is forgotten, and none is answered twice."""
    numbers = [columns(line)[0] for line in TABLES[name]]
    assert numbers[: CASES[name]] == [str(number) for number in range(1, CASES[name] + 1)]
    seen = numbers[CASES[name] :]
    assert len(set(seen)) == len(seen)
    assert all(re.fullmatch(r"[a-z]+(?:-[a-z0-9]+)*", each) for each in seen)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.partition("\t")[0])
def test_every_case_is_answered(line: str) -> None:
    """A case is covered by tests and nothing else, or there is a sentence that says what we do instead."""
    _, verdict, rest = columns(line)
    sentence = NODE.sub("", rest).strip()
    assert verdict in ("test", "other", "no")
    if verdict == "test":
        assert nodes(line)
        assert sentence == ""
    else:
        assert re.fullmatch(r"[A-Z].{10,}\.", sentence)
    assert not (verdict == "no" and nodes(line))


@pytest.mark.parametrize("line", [line for line in LINES if nodes(line)], ids=lambda line: line.partition("\t")[0])
def test_every_test_that_is_named_exists(line: str) -> None:
    """Whoever follows a name from the table finds a test."""
    for node in nodes(line):
        path, _, name = node.partition("::")
        assert (ROOT / path).is_file(), path
        assert name in defined(ROOT / path), node
