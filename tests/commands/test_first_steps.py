"""``python -m flask_mailtrack init``: the lines that it prints make an app that it finds complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import MakeSite
from flask import Flask
from flask_mailman import Mail as Mailman

from flask_mailtrack.__main__ import main
from flask_mailtrack.commands.first_steps import CONFIG, CONSOLE, OBJECT, SET_UP, STEPS, looks

ROOT = Path(__file__).parents[2]
HEAD = """from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

db, mail = SQLAlchemy(), Mail()
"""
FACTORY = """

def create_app():
    app = Flask(__name__)
    app.config.update(SECRET_KEY="a secret that is long enough for anybody", SQLALCHEMY_DATABASE_URI="sqlite:///a.db")
"""


def written(folder: Path, *steps: str, after: str = "    return app\n") -> None:
    """Write an app with the lines of some steps in their places."""
    lines = {step.title: step.text.replace("\n", "\n    ") for step in (CONFIG, SET_UP, CONSOLE)}
    body = "".join(f"    {lines[title]}\n" for title in steps if title in lines)
    body = body.replace(
        "    mailtrack.init_app", "    db.init_app(app)\n    mail.init_app(app)\n    mailtrack.init_app"
    )
    made = f"{OBJECT.text}\n" if SET_UP.title in steps else ""
    (folder / "letters.py").write_text(HEAD + made + FACTORY + body + after, encoding="utf-8")


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the module as a person does, in the folder of the app."""
    done = subprocess.run(
        [sys.executable, "-m", "flask_mailtrack", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


MAKE = "    with app.app_context():\n        db.create_all()\n    return app\n"


def test_the_printed_lines_make_a_complete_app(tmp_path: Path) -> None:
    """Whoever adds the printed lines, and makes the tables, has an app in which nothing is missing."""
    code, said = run(tmp_path, "init")
    assert code == 0
    lines = [line.strip() for line in said.splitlines()]
    assert [line for step in STEPS for line in step.text.splitlines() if line.strip() not in lines] == []
    written(tmp_path, *(step.title for step in STEPS), after=MAKE)
    code, said = run(tmp_path, "init", "--app", "letters:create_app")
    assert code == 0, said
    assert "ok        Mailtrack is there, with links on https://links.example.com/m\n" in said
    assert "ok        the console is there\n" in said
    assert said.endswith("Nothing is missing. Next: flask --app letters:create_app mailtrack doctor\n")


def test_what_is_missing_has_its_lines(tmp_path: Path) -> None:
    """An app without Mailtrack, without tables or without the console is told the lines that it lacks."""
    written(tmp_path)
    code, said = run(tmp_path, "init", "--app", "letters")
    assert code == 1
    assert "missing   Mailtrack has not seen the app\n" in said
    assert "missing   Flask-Mail has not seen the app\n" in said
    assert "mailtrack = Mailtrack(mail=mail, db=db)\n" in said
    written(tmp_path, CONFIG.title, SET_UP.title)
    code, said = run(tmp_path, "init", "--app", "letters")
    assert code == 1
    assert "missing   not in the database: mailtrack_message, " in said
    assert "db.create_all()\n" in said
    written(tmp_path, CONFIG.title, SET_UP.title, after=MAKE)
    code, said = run(tmp_path, "init", "--app", "letters")
    assert code == 0, said
    assert "optional  no console\n" in said
    assert "app.register_blueprint(mailtrack.console(access=access)" in said


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("nowhere", "There is no app. Could not import 'nowhere'."),
        ("letters", "The app does not start. [E106] MAILTRACK_BASE_URL: is missing"),
        (
            "broken",
            "The app does not start. ZeroDivisionError: division by zero\nMend it first: flask --app broken run",
        ),
    ],
)
def test_an_app_that_does_not_start_is_told_why(tmp_path: Path, module: str, told: str) -> None:
    """An app that cannot be imported or set up ends in one sentence and exit code 1."""
    written(tmp_path, SET_UP.title)
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    code, said = run(tmp_path, "init", "--app", module)
    assert code == 1
    assert f"Error: {told}" in said
    assert "Traceback" not in said


def test_an_app_that_is_switched_off_is_told(make_site: MakeSite) -> None:
    """An app with MAILTRACK_ENABLED off has everything, and tracks nothing."""
    site = make_site(tables=False, MAILTRACK_ENABLED=False)
    assert [look.text for look in looks(site.app) if look.level == "missing"] == [
        "MAILTRACK_ENABLED is off: nothing is tracked"
    ]


def test_with_migrations_the_cure_is_a_migration(make_site: MakeSite) -> None:
    """An app with Flask-Migrate is told the two commands that make the tables."""
    site = make_site(tables=False)
    site.app.extensions["migrate"] = object()
    (missing,) = [look for look in looks(site.app) if look.level == "missing"]
    assert missing.cure == 'flask db migrate -m "flask_mailtrack" && flask db upgrade'


def test_a_database_that_is_away_is_told(make_site: MakeSite) -> None:
    """A database that cannot be asked is no missing table."""
    site = make_site(tables=False, SQLALCHEMY_DATABASE_URI="postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    (missing,) = [look for look in looks(site.app) if look.level == "missing"]
    assert missing.text == "the database cannot be asked: OperationalError"


def test_an_app_without_anything_is_told_all() -> None:
    """A bare Flask lacks three extensions."""
    assert [look.level for look in looks(Flask("bare"))] == ["missing"] * 3


def test_flask_mailman_stands_for_flask_mail() -> None:
    """An app sends by one of the two, and none is missing beside the other."""
    app = Flask("letters")
    Mailman(app)
    with app.app_context():
        mail, *_ = looks(app)
    assert (mail.level, mail.text) == ("ok", "Flask-Mailman is there")


def test_the_module_has_two_commands() -> None:
    """``python -m flask_mailtrack --help`` names what needs no app."""
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "  init " in result.output
    assert "  explain " in result.output
