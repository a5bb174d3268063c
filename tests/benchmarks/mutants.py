"""Would the tests notice? Change the code in one small way at a time, and show what no test fails on.

Run by hand at the root of the checkout, on a system that can fork, for every mutant or every N-th one:
``python tests/benchmarks/mutants.py N MODULE... -- PYTEST_ARGUMENTS``. It works on a copy in the temporary
folder. A mutant that cannot be imported does not count, one that runs for too long is noticed. Survivors
that change nothing a test could see are listed, with the reason, in ``survivors.tsv`` beside this file:
module, line before, line after, reason. The exit code is 1 if one survives that is not among them.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import pytest

PYTEST = ["-xq", "-pno:randomly", "-pno:cacheprovider", "--hypothesis-profile=ci", "-Wignore:Module already imported"]
_SWAPS = """Eq NotEq,Is IsNot,In NotIn,Lt LtE,Gt GtE,Lt GtE,Gt LtE,And Or,Add Sub,Mult FloorDiv,LShift RShift,any all,
BitOr BitAnd,min max,startswith endswith,rstrip lstrip,removesuffix removeprefix,find rfind,search match,lower upper"""
SWAPS = [(one, other) for pair in _SWAPS.split(",") for one, other in (pair.split(), pair.split()[::-1])]
STATEMENTS = ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Raise | ast.Delete | ast.Continue | ast.Break


def nodes(node: ast.AST, inside: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Walk what runs, no docstrings or annotations; with each node, whether it is inside a function."""
    yield node, inside
    silent = {"annotation", "returns", "decorator_list"} | ({"values"} if isinstance(node, ast.JoinedStr) else set())
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and name not in silent and not docstring:
                yield from nodes(child, inside or isinstance(node, ast.FunctionDef))


def replacements(node: ast.AST, inside: bool) -> Iterator[tuple[ast.expr | ast.stmt, ast.expr | str]]:
    """List what may stand in the place of a node, or of a part of it."""

    def other(**fields: object) -> ast.expr:
        return type(node)(**{**dict(ast.iter_fields(node)), **fields})  # type: ignore[return-value]

    def swaps(old: ast.AST | str) -> list[str]:
        return [new for name, new in SWAPS if name in (old, type(old).__name__)]

    match node:
        case ast.Compare(ops=ops):
            for k, op in enumerate(ops):
                yield from ((node, other(ops=[*ops[:k], getattr(ast, new)(), *ops[k + 1 :]])) for new in swaps(op))
        case ast.BoolOp(op=op) | ast.BinOp(op=op):
            yield from ((node, other(op=getattr(ast, new)())) for new in swaps(op))
            if isinstance(node, ast.BinOp) and isinstance(op, ast.BitOr):  # one flag less
                yield from ((node, node.left), (node, node.right))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield node, operand
        case ast.Constant(value=int() as k):
            yield from ((node, ast.Constant(new)) for new in ([not k] if isinstance(k, bool) else [k + 1, k - 1]))
        case ast.Constant(value=str()) | ast.JoinedStr():
            yield node, ast.BinOp(node, ast.Add(), ast.Constant("X"))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield from ((node, other(**{node._fields[-2]: new})) for new in swaps(name))
        case ast.Call(args=[first, second, *rest]) if not isinstance(second, ast.Starred):
            yield node, other(args=[second, first, *rest])
            if ast.unparse(node.func) == "re.compile":
                yield node, other(args=[first])
        case ast.Slice(lower=lower, upper=upper):
            a, b = (ast.unparse(bound) if bound else "" for bound in (lower, upper))
            yield from ((node, new) for new in (f"{a} + 1:{b}", f"{a}:{b} + 1", f":{b}", f"{a}:"))
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.comprehension(ifs=ifs):
            yield from ((test, ast.Constant(True)) for test in ifs)
        case ast.Return(value=ast.expr() as result) if ast.unparse(result) != "None":
            yield node, "return None"
        case ast.stmt() if inside and isinstance(node, STATEMENTS):
            yield node, "pass"


def mutants(source: str) -> Iterator[tuple[int, str]]:
    """Change a module in one place at a time; with each text the number of the line."""
    tree, data = ast.parse(source), source.encode()
    starts = [0, *(match.end() for match in re.finditer(b"\n", data))]
    edits: list[tuple[int, int, str]] = []

    def span(node: ast.expr | ast.stmt) -> tuple[int, int]:
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        return starts[node.lineno - 1] + node.col_offset, end

    for node, inside in nodes(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and not inside:
            first, last = span(node)
            written = re.sub(rb"  # .*", lambda comment: b" " * len(comment[0]), data[first:last])
            if re.search(rb"[*+?|(\[\\]", written):  # a regular expression: one character less
                edits += [(first + k.start(), first + k.end(), "") for k in re.finditer(rb"\S", written)]
        for place, new in replacements(node, inside):
            edits.append((*span(place), new if isinstance(new, str) else f"({ast.unparse(new)})"))
    for start, end, text in edits:
        mutant = (data[:start] + text.encode() + data[end:]).decode(errors="replace")
        with contextlib.suppress(SyntaxError):
            if ast.dump(ast.parse(mutant)) != ast.dump(tree):
                yield data.count(b"\n", 0, start) + 1, mutant


def survives(path: str, arguments: list[str]) -> bool | None:
    """Run the tests in a child process; None if the module cannot even be imported."""
    if not (child := os.fork()):
        signal.alarm(60)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        with contextlib.suppress(Exception):
            importlib.import_module(path.removesuffix(".py").replace("/", "."))
            os._exit(int(pytest.main([*PYTEST, *arguments])))
        os._exit(99)  # no code of pytest's
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if code == 99 else code == 0


def excused() -> set[tuple[str, str, str]]:
    """Read which survivors are known: module, and its line before and after."""
    with Path(__file__).with_name("survivors.tsv").open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(module, before, after) for module, before, after, _ in rows}


def main() -> int:
    """Try every N-th mutant of each module; return whether one survives without an excuse."""
    known, unexpected = excused(), 0
    cut = sys.argv.index("--")
    every, modules, arguments = int(sys.argv[1]), sys.argv[2:cut], sys.argv[cut + 1 :]
    for name in ("hypothesis", "flask_mail", "flask_sqlalchemy", "lxml.etree", "html5lib", "aiosmtpd.controller"):
        importlib.import_module(name)  # once, and not for each mutant
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(shutil.copytree(".", f"{folder}/copy", ignore=shutil.ignore_patterns(".*", "__pycache__")))
        sys.path.insert(0, f"{folder}/copy")
        for path in modules:
            source, counts = Path(path).read_text(encoding="utf-8"), {True: 0, False: 0, None: 0}
            sys.dont_write_bytecode = False
            assert survives(path, arguments), "the tests fail without a mutant"
            Path(cache_from_source(path)).unlink()
            sys.dont_write_bytecode = True
            for line, mutant in list(mutants(source))[::every]:
                Path(path).write_text(mutant, encoding="utf-8")
                counts[result := survives(path, arguments)] += 1
                before, after = (text.splitlines()[line - 1].strip() for text in (source, mutant))
                if result and (path, before, after) not in known:
                    unexpected += 1
                    print(f"{path}\t{before}\t{after}\tline {line}", flush=True)
            Path(path).write_text(source, encoding="utf-8")
            print(f"{path}: {counts[False]} of {counts[False] + counts[True]} noticed", flush=True)
    return int(unexpected > 0)


if __name__ == "__main__":
    sys.exit(main())
