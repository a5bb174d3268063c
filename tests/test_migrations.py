"""Flask-Migrate: our tables come with the host's migrations, and stay out of the later ones."""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from conftest import MakeSite, Site

from flask_mailtrack.reporting.stats import Tally
from flask_mailtrack.testing import Reader

pytestmark = [
    # Flask-Migrate's own env.py and template, on recent Flask-SQLAlchemy and Alembic.
    pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning"),
]
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
TABLES = {f"mailtrack_{name}" for name in ("audit", "domain", "event", "link", "message", "optout", "setting")}


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Alembic's env.py sets up logging for a command line; a test suite wants its own back."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.disabled = False


def scripts(directory: Path) -> list[str]:
    """The migrations that were written; Flask-Migrate writes none if there is nothing to change."""
    return [path.read_text() for path in (directory / "versions").glob("*.py")]


def migrate(site: Site, directory: Path, message: str) -> None:
    """Write a migration and run it."""
    flask_migrate.migrate(str(directory), message=message)
    flask_migrate.upgrade(str(directory))


def test_the_second_migration_is_empty(database_url: str, make_site: MakeSite, tmp_path: Path) -> None:
    """The first makes the tables without an edit, mail is tracked in them, and the next finds nothing to change."""
    site = make_site(tables=False, SQLALCHEMY_DATABASE_URI=database_url)
    directory = tmp_path / "migrations"
    flask_migrate.Migrate(site.app, site.db)
    flask_migrate.init(str(directory))
    migrate(site, directory, "first")
    assert set(sa.inspect(site.db.engine).get_table_names()) == TABLES | {"alembic_version"}
    site.send(tag="welcome")
    assert [message.tag for message in site.rows("Message")] == ["welcome"]
    site.db.session.rollback()
    migrate(site, directory, "second")
    assert len(scripts(directory)) == 1
    flask_migrate.downgrade(str(directory), revision="base")
    assert set(sa.inspect(site.db.engine).get_table_names()) == {"alembic_version"}


def test_a_generated_migration_stands_by_itself(make_site: MakeSite, tmp_path: Path) -> None:
    """It imports nothing of ours, so an old migration still runs when the package has moved on, or gone."""
    site = make_site(tables=False)
    directory = tmp_path / "migrations"
    flask_migrate.Migrate(site.app, site.db)
    flask_migrate.init(str(directory))
    flask_migrate.migrate(str(directory))
    (script,) = scripts(directory)
    assert "flask_mailtrack" not in script
    assert "sqlalchemy_utils" not in script
    assert script.count("sa.Uuid()") == 7
    assert script.count("op.create_table") == 7


ADDED = {
    "mailtrack_message": ["link_count", "mode", "seen_on"],
    "mailtrack_event": ["first_verdict", "first_verdict_reasons"],
}


def test_tables_with_rows_get_the_new_columns(database_url: str, make_site: MakeSite, tmp_path: Path) -> None:
    """Tables made before hindsight and modes are migrated without an edit, with the rows in them."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    directory = tmp_path / "migrations"
    reader = Reader(site.client, site.send('<p><a href="https://example.com/">a</a></p>'))
    reader.click()
    with site.db.engine.begin() as connection:
        for table, columns in ADDED.items():
            for column in columns:
                connection.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN {column}"))
    flask_migrate.Migrate(site.app, site.db)
    flask_migrate.init(str(directory))
    migrate(site, directory, "hindsight")
    (script,) = scripts(directory)
    assert script.count("batch_op.add_column") == 5
    reader.click()
    assert [(event.verdict, event.first_verdict) for event in site.rows("Event")] == [("human", None)] * 2
    assert site.mailtrack.stats().clicked == Tally(total=2, unique=1, of=1)
    site.db.session.rollback()
    migrate(site, directory, "second")
    assert len(scripts(directory)) == 1


def test_the_changelog_says_how_renamed_columns_keep_what_is_in_them(database_url: str, make_site: MakeSite) -> None:
    """Its lines, in a migration of the host's, bring tables of before to what the models say, with their rows."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    site.send(metadata={"order": 7})
    with site.db.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE mailtrack_message RENAME COLUMN details TO meta"))
    lines = re.findall(r"^  ```python\n(.*?)^  ```", CHANGELOG.read_text(), re.DOTALL | re.MULTILINE)
    with site.db.engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
        exec(textwrap.dedent("".join(lines)), {"op": op, "sa": sa})  # noqa: S102 - as a migration runs them
    assert [row.details for row in site.rows("Message")] == [{"order": 7}]
    with site.db.engine.connect() as connection:
        compared = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(compared, site.db.metadata) == []
