"""Flask-Migrate: our tables come with the host's migrations, and stay out of the later ones."""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from conftest import MakeSite, Site

from flask_mailtrack.events import new_id
from flask_mailtrack.reporting.stats import Tally
from flask_mailtrack.testing import Reader

pytestmark = [
    # Flask-Migrate's own env.py and template, on recent Flask-SQLAlchemy and Alembic.
    pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning"),
]
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
NAMES = "audit body breakdown claim cohort domain early_event event figure link message optout setting webhook_delivery"
TABLES = {f"mailtrack_{name}" for name in NAMES.split()}


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
    (message,) = site.rows("Message")
    assert (message.tag, message.created_at.tzinfo) == ("welcome", UTC)
    message.sent_at = datetime(2026, 7, 1, 12, 0, 0, 123456)  # a naive one is UTC
    site.db.session.commit()
    (message,) = site.rows("Message")
    assert message.sent_at == datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
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
    assert script.count("sa.Uuid()") == 18
    # Whole, whichever database it was written on: MariaDB's own default drops the fractions of seconds.
    moments = [line for line in script.splitlines() if "sa.DateTime" in line]
    assert len(moments) == 28
    whole = "sa.DateTime(timezone=True)" + "".join(
        f".with_variant(mysql.DATETIME(fsp=6), '{name}')" for name in ("mariadb", "mysql")
    )
    assert all(whole in line for line in moments)
    assert "from sqlalchemy.dialects import mysql" in script
    assert script.count("op.create_table") == 14


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


RENAMED = {
    "mailtrack_message": {
        "details": "meta",
        "header_message_id": "message_id",
        "tracks_opens": "opens",
        "tracks_clicks": "clicks",
        "link_count": "links",
    },
    "mailtrack_event": {"verdict_reasons": "reasons", "first_verdict_reasons": "first_reasons"},
}


@pytest.fixture(name="upgrade")
def _upgrade(database_url: str, make_site: MakeSite) -> Callable[[Callable[[Site], object]], Site]:
    """Fills tables, names their columns as before, and runs what the changelog writes out."""

    def upgrade(fill: Callable[[Site], object]) -> Site:
        site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
        fill(site)
        site.db.session.rollback()
        with site.db.engine.begin() as connection:
            for table, columns in RENAMED.items():
                for now, before in columns.items():
                    connection.execute(sa.text(f"ALTER TABLE {table} RENAME COLUMN {now} TO {before}"))
            for column in ("region", "city"):
                connection.execute(sa.text(f"ALTER TABLE mailtrack_event DROP COLUMN {column}"))
            messages = site.mailtrack.models.Message.__table__
            next(index for index in messages.indexes if "cohort_id" in index.columns).drop(connection)
            for column in ("cohort_id", "recipient_domain", "entered_by"):
                connection.execute(sa.text(f"ALTER TABLE mailtrack_message DROP COLUMN {column}"))
            for table in ("cohort", "figure", "breakdown"):
                connection.execute(sa.text(f"DELETE FROM mailtrack_{table}"))
        lines = re.findall(r"^  ```python\n(.*?)^  ```", CHANGELOG.read_text(), re.DOTALL | re.MULTILINE)
        with site.db.engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
            exec(textwrap.dedent("".join(lines)), {"op": op, "sa": sa})  # noqa: S102 - as a migration runs them
        return site

    return upgrade


Upgrade = Callable[[Callable[[Site], object]], Site]


def test_the_changelog_says_how_renamed_columns_keep_what_is_in_them(upgrade: Upgrade) -> None:
    """Its lines, in a migration of the host's, bring tables of before to what the models say, with their rows."""

    def fill(site: Site) -> None:
        reader = Reader(site.client, site.send('<p><a href="https://example.com/">a</a></p>', metadata={"order": 7}))
        reader.click()
        site.mailtrack.flush()

    site = upgrade(fill)
    (message,), (event,) = site.rows("Message"), site.rows("Event")
    assert (message.details, message.link_count) == ({"order": 7}, 1)
    assert (message.tracks_opens, message.tracks_clicks, event.verdict_reasons) == (True, True, ["ua_browser"])
    assert message.header_message_id.startswith("<")
    assert (event.first_verdict_reasons, message.events) == (None, [event])
    assert (event.country, event.region, event.city) == ("", "", "")
    with site.db.engine.connect() as connection:
        compared = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(compared, site.db.metadata) == []
    site.db.session.rollback()
    done = site.app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
    assert "1 messages summed" in done.output
    Reader(site.client, site.send('<p><a href="https://example.com/">a</a></p>', to="bob@example.com")).click()
    assert len(site.rows("Event")) == 2
    with site.app.app_context():
        assert site.mailtrack.reports.totals().clicked.total == 2


EARLY, LATE = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
PAGE = {"5b0c1c5e6f0f5c0e9d9b3c9d0f2f6f11": "page"}
# Recipient, list, method, since when, and refusals, as they stood; and what stands afterwards.
STOOD = [
    ("ada@example.com", "news", "page", LATE, PAGE),
    ("ada@example.com.", "News ", "api", EARLY, None),
    ('"ada"@example.com', "NEWS", "one_click", LATE, None),
    ("bob@example.com.", "", "page", EARLY, None),
    ("cy@example.com", "Stra\u00dfe", "cli", EARLY, None),
    ("ref:AbCdEfGhIjKlMnOp", "News", "page", EARLY, PAGE),
    ("dan@example.com", "news ", "page", EARLY, None),  # which MariaDB takes for "news"
]
STANDS = {
    ("ada@example.com", "news"): ("api", EARLY, ["api", "one_click", "page"]),
    ("bob@example.com", ""): ("page", EARLY, []),
    ("cy@example.com", "strasse"): ("cli", EARLY, []),
    ("ref:AbCdEfGhIjKlMnOp", "news"): ("page", EARLY, ["page"]),
    ("dan@example.com", "news"): ("page", EARLY, []),
}


def test_the_changelog_folds_lists_and_addresses(upgrade: Upgrade) -> None:
    """Names of lists and spellings of an address become one; of opt-outs that meet, the refusal and the host's stay."""

    def fill(site: Site) -> None:
        models = site.mailtrack.models
        for recipient, list_id, method, since, refusals in STOOD:
            row = models.OptOut(recipient=recipient, list_id=list_id, kind="unsubscribe", method=method)
            row.created_at, row.refusals = since, refusals
            site.db.session.add(row)
        for number, list_id in enumerate(("News ", "news", "")):
            message = models.Message(recipient=f"p{number}@Example.com.", list_id=list_id, created_at=EARLY)
            site.db.session.add_all([message, models.Event(message_id=new_id(), list_id=list_id, occurred_at=EARLY)])
        site.db.session.commit()

    site = upgrade(fill)
    found = site.rows("OptOut")
    assert len(found) == len(STANDS)
    for row in found:
        method, since, ways = STANDS[row.recipient, row.list_id]
        assert (row.method, row.created_at, sorted((row.refusals or {}).values())) == (method, since, ways)
    assert [row.list_id for row in site.rows("Message")] == [row.list_id for row in site.rows("Event")]
    assert sorted(row.list_id for row in site.rows("Message")) == ["", "news", "news"]
    assert sorted(row.recipient for row in site.rows("Message")) == [f"p{number}@example.com" for number in range(3)]
    assert [row.created_at for row in site.rows("Message")] == [EARLY] * 3
    assert not site.send(to=["ada@example.com"], list_id="news")
    assert not site.send(to=["bob@example.com"], list_id="news")
