"""``flask mailtrack``: every command is there, and makes the app context that it needs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from conftest import Site
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack


def test_the_group_explains_itself(site: Site) -> None:
    """``flask mailtrack --help`` lists every command with a sentence."""
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "--help"])
    commands = dict(re.findall(r"^  (\w+) +(\S.*)$", result.output, re.MULTILINE))
    assert {"stats", "check", "drain", "inspect"} <= set(commands)
    assert all(commands.values())


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each command below one."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from walk(each, (*path, name))
    else:
        yield path


def test_the_help_of_each_command_ends_at_an_example(site: Site) -> None:
    """``--help`` of each command shows a line to copy, and click can read each of these lines."""
    group = site.app.cli.commands["mailtrack"]
    for path in walk(group):
        about = " ".join(["flask mailtrack", *path])
        shown = " ".join(site.app.test_cli_runner().invoke(args=["mailtrack", *path, "--help"]).output.split())
        assert re.search(rf"Examples?: {about}\b", shown), about
        command: click.Command = group
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        for line in re.findall(rf"{about}.*", command.help or ""):
            words = shlex.split(line.partition(" > ")[0])[2 + len(path) :]
            known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
            assert [word for word in words if word.startswith("--") and word not in known] == [], line
            needed = [each for each in command.params if isinstance(each, click.Argument) and each.required]
            assert len([word for word in words if not word.startswith("--")]) >= len(needed), line


GIVEN = {
    "inspect": ["x"], "preview": ["-"], "classify": ["curl/8"], "export": ["a@example.com"], "audit": ["a@example.com"],
    "erase": ["a@example.com", "--yes"], "recover": ["-"], "add": ["a@example.com"], "remove": ["a@example.com"],
    "import": ["-"], "update": ["-"], "relay": ["--new-password", "shop"],
}  # fmt: skip


def test_every_command_makes_its_own_app_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands work where no context is pushed, as the Flask documentation has test runners do it."""
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(
        TESTING=True,
        SECRET_KEY="a secret that is long enough for anybody",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'app.sqlite3'}",
        MAILTRACK_BASE_URL="https://links.example.com",
    )
    db, mail = SQLAlchemy(app), Mail(app)
    Mailtrack(app, mail=mail, db=db)
    with app.app_context():
        db.create_all()
    group = app.cli.commands["mailtrack"]
    paths = sorted(walk(group))
    assert ("suppress", "add") in paths
    for path in paths:
        result = app.test_cli_runner().invoke(args=["mailtrack", *path, *GIVEN.get(path[-1], [])])
        assert not isinstance(result.exception, RuntimeError), (path, result.exception)
    assert app.test_cli_runner().invoke(args=["mailtrack", "stats"]).exit_code == 0
    with app.app_context():
        db.engine.dispose()
