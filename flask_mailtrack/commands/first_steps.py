"""``python -m flask_mailtrack init``: the lines that an app needs, and a look whether an app has them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import click
from flask import Flask
from flask.cli import NoAppException, ScriptInfo

from flask_mailtrack.errors import ConfigError
from flask_mailtrack.outgoing import mailman
from flask_mailtrack.state import State, known_state
from flask_mailtrack.storage.tables.database import missing_columns, missing_tables

from .terminal import COLOURS


class Lines(NamedTuple):
    """Lines that somebody adds to an app, and the place for them."""

    title: str
    text: str


CONFIG = Lines(
    "Where the app is configured: the address under which readers reach the app",
    'app.config["MAILTRACK_BASE_URL"] = "https://links.example.com"',
)
OBJECT = Lines(
    "Where mail and db are made",
    "from flask_mailtrack import Mailtrack\n\nmailtrack = Mailtrack(mail=mail, db=db)",
)
SET_UP = Lines("After db.init_app(app) and mail.init_app(app)", "mailtrack.init_app(app)")
CONSOLE = Lines(
    "If you want the console: who may look is for your login to say",
    "def access():\n"
    '    return {"view"} if current_user.is_authenticated else set()\n\n\n'
    'app.register_blueprint(mailtrack.console(access=access), url_prefix="/mailtrack")',
)
TABLES = Lines(
    "In a shell: make the tables by Flask-Migrate, or without it, by db.create_all()",
    'flask db migrate -m "flask_mailtrack" && flask db upgrade',
)
STEPS = (CONFIG, OBJECT, SET_UP, CONSOLE, TABLES)


class Presence(NamedTuple):
    """What was looked for in an app."""

    level: str
    """``ok``, ``missing`` or ``optional``."""
    text: str
    cure: str = ""


_COLOURS = COLOURS | {"missing": "red", "optional": "yellow"}


@click.command("init")
@click.option("--app", "path", metavar="MODULE:FACTORY", help="The app, as for flask --app. Look whether it has them.")
def init(path: str | None) -> None:
    """Print the lines to add to an app. With --app, say which of them an app has.

    Nothing is written. Exit code 1 if the app does not start, or if something is missing that tracking needs.

    Example: python -m flask_mailtrack init --app letters:create_app
    """
    if path is None:
        for number, step in enumerate(STEPS, 1):
            click.secho(f"{number}. {step.title}:", bold=True)
            click.echo(f"\n{textwrap.indent(step.text, '    ')}\n")
        click.echo("Then run: python -m flask_mailtrack init --app YOUR_APP")
        return
    app = _loaded(path)
    with app.app_context():
        found = list(looks(app))
    for look in found:
        click.secho(f"{look.level:10}", fg=_COLOURS[look.level], nl=False)
        click.echo(look.text)
        if look.cure:
            click.echo(textwrap.indent(look.cure, " " * 10))
    missing = any(look.level == "missing" for look in found)
    click.echo("" if missing else f"\nNothing is missing. Next: flask --app {path} mailtrack doctor")
    click.get_current_context().exit(int(missing))


def _loaded(path: str) -> Flask:
    try:
        return ScriptInfo(app_import_path=path).load_app()
    except ConfigError as error:
        raise click.ClickException(f"The app does not start. {error}") from None
    except NoAppException as error:
        raise click.ClickException(f"There is no app. {error.format_message()}") from None
    except Exception as error:
        trouble = f"{type(error).__name__}: {error}"
        raise click.ClickException(
            f"The app does not start. {trouble}\nMend it first: flask --app {path} run"
        ) from None


def looks(app: Flask) -> Iterator[Presence]:
    """Say which of the lines an app has."""
    mail = (mailman.KEY, "Mail", "Flask-Mailman") if mailman.KEY in app.extensions else ("mail", "Mail", "Flask-Mail")
    for key, name, package in (mail, ("sqlalchemy", "SQLAlchemy", "Flask-SQLAlchemy")):
        there = key in app.extensions
        yield (
            Presence("ok", f"{package} is there")
            if there
            else Presence("missing", f"{package} has not seen the app", f"Call init_app(app) of your {name} object.")
        )
    if "mailtrack" not in app.extensions:
        yield Presence("missing", "Mailtrack has not seen the app", f"{OBJECT.text}\n{SET_UP.text}")
        return
    state = known_state(app)
    if state is None:
        yield Presence("missing", "MAILTRACK_ENABLED is off: nothing is tracked", "Remove the key, or set it to True.")
        return
    yield Presence("ok", f"Mailtrack is there, with links on {state.settings.base_url}{state.settings.url_prefix}")
    yield _tables(app, state)
    mounted = any(isinstance(each, app.extensions["mailtrack"].console) for each in app.blueprints.values())
    yield Presence("ok", "the console is there") if mounted else Presence("optional", "no console", CONSOLE.text)


def _tables(app: Flask, state: State) -> Presence:
    cure = TABLES.text if "migrate" in app.extensions else "with app.app_context():\n    db.create_all()"
    try:
        missing = missing_tables(state.database) or missing_columns(state.database)
    except Exception as error:
        return Presence(
            "missing", f"the database cannot be asked: {type(error).__name__}", "Start it, or mend its URL."
        )
    return (
        Presence("missing", f"not in the database: {', '.join(missing)}", cure)
        if missing
        else Presence("ok", "all tables are there")
    )
