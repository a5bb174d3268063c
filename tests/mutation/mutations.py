"""One small change of a module at a time: operators, constants, arguments, statements, signs of patterns.

What only readers, type checkers and star imports see stays as it is: docstrings, sentences in logs and
errors, type hints, ``__all__``.
"""

from __future__ import annotations

import ast
import contextlib
import re
import warnings
from collections.abc import Iterator

_SWAPS = """Eq NotEq,Is IsNot,In NotIn,Lt LtE,Gt GtE,Lt GtE,Gt LtE,And Or,Add Sub,Mult FloorDiv,LShift RShift,any all,
BitOr BitAnd,min max,startswith endswith,rstrip lstrip,removesuffix removeprefix,find rfind,search match,lower upper"""
SWAPS = [(one, other) for pair in _SWAPS.split(",") for one, other in (pair.split(), pair.split()[::-1])]
STATEMENTS = ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Raise | ast.Delete | ast.Continue | ast.Break


def nodes(node: ast.AST, inside: bool = False, raised: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Walk what programs see; with each node, whether it is inside a function."""
    yield node, inside
    raised = raised or isinstance(node, ast.Raise)
    silent = {"annotation", "returns", "decorator_list"} | ({"values"} if isinstance(node, ast.JoinedStr) else set())
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in silent and not _says_nothing(child, raised):
                yield from nodes(child, inside or isinstance(node, ast.FunctionDef), raised)


def _says_nothing(node: ast.AST, raised: bool) -> bool:
    """Tell whether it is for readers only: a docstring, a log, an error's words, ``__all__``, an alias of types."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.Constant(value=str()) | ast.JoinedStr():
            return raised and " " in ast.unparse(node)
        case ast.Assign(value=ast.Subscript(value=ast.Name(id=name))):
            return name in ("Callable", "Mapping", "Iterable")
    return False


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
        case ast.Return(value=ast.expr() as result) if ast.unparse(result) not in ("None", "False"):
            yield node, "return None"
        case ast.stmt() if inside and isinstance(node, STATEMENTS):
            yield node, "pass"


def _same_pattern(one: bytes, other: bytes) -> bool:
    """Tell whether two literals are the same regular expression, such as with a backslash that nobody needs."""
    flags = (re.NOFLAG, re.VERBOSE)
    with contextlib.suppress(SyntaxError, ValueError, re.error, Warning), warnings.catch_warnings(action="error"):
        first, second = (ast.literal_eval(literal.decode()) for literal in (one, other))
        return all(str(re._parser.parse(first, k)) == str(re._parser.parse(second, k)) for k in flags)  # type: ignore[attr-defined]
    return False


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
            written = re.sub(rb"^\w+|  # .*", lambda other: b" " * len(other[0]), data[first:last])
            if re.search(rb"[*+?|(\[\\]", written):  # a regular expression: one character less
                edits += [
                    (first + k.start(), first + k.end(), "")
                    for k in re.finditer(rb"\S", written)
                    if not _same_pattern(
                        data[first:last], data[first : first + k.start()] + data[first + k.end() : last]
                    )
                ]
        for place, new in replacements(node, inside):
            edits.append((*span(place), new if isinstance(new, str) else f"({ast.unparse(new)})"))
    for start, end, text in edits:
        mutant = (data[:start] + text.encode() + data[end:]).decode(errors="replace")
        with contextlib.suppress(SyntaxError):
            if ast.dump(ast.parse(mutant)) != ast.dump(tree):
                yield data.count(b"\n", 0, start) + 1, mutant
