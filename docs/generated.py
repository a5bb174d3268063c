"""The parts of the reference that the code gives: keys, commands, columns, floors.

A page has a line ``<!-- generated: settings -->`` where the result of :func:`settings` stands.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import events
from flask_mailtrack.__main__ import main as without_app
from flask_mailtrack.commands import mailtrack
from flask_mailtrack.config import keys
from flask_mailtrack.models import models_for
from flask_mailtrack.reporting.mistakes import MISTAKES
from flask_mailtrack.reporting.remedies import REMEDIES
from flask_mailtrack.reporting.timeline import because

PROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
WIDTH = 100


def version() -> str:
    """The version of the package."""
    return str(PROJECT["project"]["version"])


def settings() -> str:
    """A section for each configuration key."""
    return "\n\n".join(f"## `{name}`\n\nDefault: `{default!r}`\n\n{doc}" for name, default, doc in keys())


def walk(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Yield the name and the help of a command, and of all commands below it."""
    context = click.Context(command, info_name=name, parent=parent, max_content_width=WIDTH, terminal_width=WIDTH)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None  # noqa: S101 - the group has just named it
            yield from walk(below, each, context)


def commands() -> str:
    """A section for each command, with its help."""
    root = click.Context(click.Group("flask"), info_name="flask")
    found = [*walk(mailtrack, "mailtrack", root), *walk(without_app, "python -m flask_mailtrack")]
    return "\n\n".join(f"## `{path}`\n\n```text\n{help_}\n```" for path, help_ in found)


def tables() -> dict[str, Any]:
    """Return the tables by their names."""
    db = SQLAlchemy()
    models_for(db, None)
    return {name: table for name, table in db.metadatas[None].tables.items() if name.startswith("mailtrack_")}


def columns() -> str:
    """A section for each table, with its columns."""
    sections = []
    for name, table in tables().items():
        rows = [f"| `{each.name}` | `{_type(each)}` | {_cell(each.doc or '')} |" for each in table.columns]
        key = ", ".join(f"`{each.name}`" for each in table.primary_key)
        head = f"Primary key: {key}.\n\n| column | type | meaning |\n| --- | --- | --- |"
        sections.append(f"## `{name}`\n\n{head}\n" + "\n".join(rows))
    return "\n\n".join(sections)


def _type(column: Any) -> str:
    kind = type(column.type).__name__.removeprefix("_").lower()
    length = getattr(column.type, "length", None)
    return f"{kind}({length})" if length and kind == "string" else kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")


def words() -> str:
    """A table for each enumeration of the events, with the meaning of each word."""
    kinds = {"type": events.EventType, "status": events.Status, "kind": events.OptOutKind}
    parts = []
    for column, kind in kinds.items():
        said = _meanings(kind)
        rows = [f"| `{each.value}` | {said.get(each.name, '')} |" for each in kind]
        parts.append(f"## `{column}`\n\n| word | meaning |\n| --- | --- |\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _meanings(kind: type[StrEnum]) -> dict[str, str]:
    """The text under each member of an enumeration, by the name of the member."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
    found, name = {}, ""
    for node in body.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = " ".join(str(node.value.value).split()).replace("``", "`")
    return found


def floors() -> str:
    """The floors of the package, from the top, as import-linter holds them."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    drawn = [contract for contract in contracts if contract["type"] == "layers"]
    return "\n\n".join(f"{each['name']}:\n\n```text\n{_picture(each['layers'])}\n```" for each in drawn)


def _picture(layers: list[str]) -> str:
    width = max(map(len, layers))
    return "\n".join(layer.center(width).rstrip() for layer in layers)


def walls() -> str:
    """The other contracts, a line each."""
    rows = []
    for contract in PROJECT["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "forbidden":
            doors = [line.split(" -> ")[0] for line in contract.get("ignore_imports", [])]
            named = ", ".join(f"`{door.removeprefix('flask_mailtrack.')}`" for door in doors) or "nobody"
            rows.append(f"| {contract['name']} | {', '.join(contract['forbidden_modules'])} | {named} |")
    return "| wall | what is behind it | who may pass |\n| --- | --- | --- |\n" + "\n".join(rows).replace("*", "\\*")


def reason(word: str) -> str:
    """The sentence of a verdict's reason, as the timeline of a message has it."""
    return because([word])


PUBLIC = ("", ".consent", ".errors", ".events", ".models", ".pytest_plugin", ".signals", ".testing")


def findings() -> str:
    """A section for each finding of the checks."""
    return "\n\n".join(
        f"## {code}: {each.subject}\n\n{each.meaning}\n\nCure: {each.cure}" for code, each in REMEDIES.items()
    )


def errors() -> str:
    """A section for each code of a mistake that stops a start."""
    return "\n\n".join(f"## {code}\n\nCause: {each.cause}\n\nCure: {each.cure}" for code, each in MISTAKES.items())
