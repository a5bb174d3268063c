"""The database room by itself: transactions that keep out of the host's way, and queries beside the host."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase

from flask_mailtrack.errors import ConfigError, DatabaseBusy
from flask_mailtrack.models import models_for
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.schema import missing_tables

START = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class Note(Base):
    """A table of the host."""

    __tablename__ = "note"
    id = sa.Column(sa.Integer, primary_key=True)


class _Host:
    """Stands for the host's ``db``."""

    Model = Base


MODELS = models_for(_Host())


def message(**values: Any) -> dict[str, Any]:
    """A message row."""
    row = dict.fromkeys(("recipient", "sender", "subject", "header_message_id", "tag", "list_id", "error"), "")
    counts = dict.fromkeys(("open_count", "click_count", "machine_count"), 0)
    flags = dict.fromkeys(("opens", "clicks", "shared"), False)
    given = {"id": uuid.uuid4(), "batch_id": uuid.uuid4(), "status": "sent", "details": {"a": [1, "ö"]}}
    return row | counts | flags | given | {"created_at": START, "sent_at": None} | values


@pytest.fixture(name="database")
def _database(database_url: str) -> Iterator[Database]:
    """Each kind of database with all tables."""
    database = Database(sa.create_engine(database_url), MODELS)
    Base.metadata.create_all(database.engine)
    yield database
    database.engine.dispose()


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Iterator[Database]:
    """An SQLite file whose driver waits 7 s for locks, as the host has set it."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'file.sqlite3'}", connect_args={"timeout": 7}, pool_size=1)
    database = Database(engine, MODELS)
    Base.metadata.create_all(engine)
    yield database
    engine.dispose()


@pytest.fixture(name="memory")
def _memory() -> Iterator[Database]:
    """The one connection that Flask-SQLAlchemy makes for an SQLite database in memory."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    database = Database(engine, MODELS)
    Base.metadata.create_all(engine)
    yield database
    engine.dispose()


def write(database: Database, row: dict[str, Any], patient: bool = True, fail: bool = False) -> None:
    """Store a message row, or fail after having done so."""
    with database.transaction(patient) as connection:
        database.pour(connection, database.message, tuple(row), [tuple(row.values())])
        database.lock(connection, [row["id"]])
        if fail:
            raise RuntimeError


def notes(database: Database) -> int:
    """How many rows the host's table has."""
    return len(database.rows(sa.select(Note.__table__.c.id)))


def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    """What fails half way leaves no trace, and the next transaction finds a clean connection."""
    row = message()
    with pytest.raises(RuntimeError):
        write(database, row, fail=True)
    assert database.rows(sa.select(database.message)) == []
    with database.transaction() as connection:
        database.add(connection, database.message, [row])
    assert database.message_about(row["id"])["id"] == row["id"]


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_transaction_is_real_although_the_host_commits_each_statement(database_url: str) -> None:
    """An engine in autocommit mode, on a server, does not make our batches partial."""
    engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
    database = Database(engine, MODELS)
    Base.metadata.create_all(engine)
    with pytest.raises(RuntimeError):
        write(database, message(), fail=True)
    assert database.rows(sa.select(database.message)) == []
    engine.dispose()


@pytest.mark.parametrize("patient", [True, False])
def test_the_hosts_settings_are_restored(database: Database, patient: bool) -> None:
    """A connection goes back to the pool with the lock patience and isolation that the host gave it."""
    look = {
        "sqlite": "PRAGMA busy_timeout",
        "postgresql": "SELECT current_setting('lock_timeout'), current_setting('transaction_isolation')",
        "mysql": "SELECT @@innodb_lock_wait_timeout, @@tx_isolation",
    }[database.engine.dialect.name]

    def settings() -> Any:
        with database.engine.connect() as connection:
            return tuple(connection.exec_driver_sql(look).one())

    before = settings()
    with database.transaction(patient) as connection:
        inside = tuple(connection.exec_driver_sql(look).one())
    assert settings() == before
    with pytest.raises(DBAPIError), database.transaction(patient) as connection:
        connection.exec_driver_sql("no such statement")
    assert settings() == before
    assert (inside == before) == (patient and database.engine.dialect.name == "sqlite")


def test_a_lock_of_the_host_is_not_waited_for_long(database: Database) -> None:
    """A drain inside a request whose own transaction holds our rows gives up instead of waiting for itself."""
    row = message()
    with database.transaction() as connection:
        database.add(connection, database.message, [row])
    table = database.message
    with database.engine.connect() as host:
        host.execute(sa.update(table).values(subject="the host's"))
        began = time.monotonic()
        with pytest.raises(OperationalError):
            write(database, row, patient=False)
        assert time.monotonic() - began < 3
        host.commit()
    with database.transaction(patient=False) as connection:
        database.lock(connection, [row["id"]])
    assert database.message_about(row["id"])["subject"] == "the host's"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_foreign_key_of_the_host_is_not_held_up(database: Database) -> None:
    """While a drain counts, a host may add rows that point to our messages."""
    row = message()
    with database.transaction() as connection:
        database.add(connection, database.message, [row])
    with database.transaction() as connection:
        database.lock(connection, [row["id"]])
        with database.engine.connect() as host:
            host.exec_driver_sql("SET lock_timeout = '2s'")
            query = sa.select(database.message.c.id).with_for_update(
                read=True, key_share=True
            )  # what a foreign key does
            assert len(host.execute(query).all()) == 1


def test_a_busy_file_is_given_up_soon_only_in_a_hurry(file: Database, tmp_path: Path) -> None:
    """The driver's own patience counts unless the caller may be the one who holds the lock."""
    other = sa.create_engine(file.engine.url)
    with other.connect() as host:
        host.exec_driver_sql("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            write(file, message(), patient=False)
        assert time.monotonic() - began < 2
    other.dispose()
    with file.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 7_000


def test_in_memory_the_hosts_transaction_is_left_alone(memory: Database) -> None:
    """On the only connection there is we neither write nor end what the host has begun, but can read."""
    row = message(sent_at=START)
    with memory.transaction() as connection:
        memory.add(connection, memory.message, [row])
        memory.add(connection, memory.link, [{"ref": "it's:x%", "url": "https://example.com/?a=':b%c", "name": ""}])
    with memory.engine.connect() as host:
        host.execute(sa.insert(Note))
        with pytest.raises(DatabaseBusy), memory.transaction():
            pass
        assert notes(memory) == 1
        assert memory.link_url("it's:x%") == "https://example.com/?a=':b%c"
        about = memory.message_about(row["id"])
        assert (about["id"], about["details"], about["tracks_opens"]) == (row["id"], row["details"], False)
        assert about["sent_at"] == about["created_at"] == START
        assert missing_tables(memory) == []
        host.rollback()
    assert notes(memory) == 0
    with memory.transaction():
        pass


def test_in_memory_a_missing_row_is_missing(memory: Database) -> None:
    """Beside the host's transaction, too, what is not there is not found."""
    with memory.engine.connect() as host:
        host.execute(sa.insert(Note))
        assert memory.message_about(uuid.uuid4()) == {}
        assert memory.link_url("x") is None
        host.rollback()


def test_in_memory_the_hosts_work_is_kept_for_its_commit(memory: Database) -> None:
    """Reading for a page does not throw away what the host has not committed yet."""
    with memory.engine.connect() as host:
        host.execute(sa.insert(Note))
        memory.rows(sa.select(memory.optout))
        memory.message_about(uuid.uuid4())
        host.commit()
    assert notes(memory) == 1


def test_a_database_without_our_means_is_refused_at_once() -> None:
    """A database that cannot ignore duplicates would quarantine every replay; that is said at start-up."""

    class Odd:
        """An engine of another kind."""

        dialect = type("Dialect", (), {"name": "oracle"})

    with pytest.raises(ConfigError, match="oracle") as caught:
        Database(Odd(), MODELS)  # type: ignore[arg-type]
    assert caught.value.code == "E207"


def test_clashes_are_told_from_troubles() -> None:
    """Only what two transactions did to each other is repeated; a lost server is not."""

    class Postgres(Exception):
        """As psycopg raises it."""

        def __init__(self, sqlstate: str) -> None:
            self.sqlstate = sqlstate

    def clash(cause: BaseException) -> bool:
        return Database.is_clash(OperationalError("", {}, cause))

    assert all(map(clash, [Postgres("40001"), Postgres("40P01"), Exception(1213, "Deadlock"), Exception(1020, "")]))
    assert not any(map(clash, [Postgres("57P01"), Exception(2006, "gone"), Exception()]))
