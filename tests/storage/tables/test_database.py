"""The database by itself: transactions that keep out of the host's way, queries beside it, and many rows at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, OperationalError, ResourceClosedError
from sqlalchemy.orm import DeclarativeBase, mapped_column

from flask_mailtrack.errors import ConfigError, DatabaseBusy
from flask_mailtrack.events import EventType, Hit, SentMessage, Status, Verdict, new_id
from flask_mailtrack.models import EventMixin, models_for
from flask_mailtrack.storage.tables.batch import EVENT_COLUMNS, MESSAGE_COLUMNS, Batch, event_row
from flask_mailtrack.storage.tables.database import Database, missing_tables

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


MOMENT = datetime(2026, 11, 21, 12, 30, 15, 678901, tzinfo=UTC)


class Hidden(sa.types.TypeDecorator[str]):
    """A column that the host keeps in its own way."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Turn it round, and have a sign for nothing; what starts with "!" cannot be kept."""
        if value.startswith("!"):
            raise LookupError(value)
        return value[::-1] or "-"


class OwnEvent(EventMixin, Base):
    """An event that is kept in the host's way, with columns of the host's."""

    __tablename__ = "own_event"
    comment = mapped_column(Hidden(255), nullable=False, default="")
    at_once = mapped_column(sa.Integer, server_default="5")


class Filled(EventMixin, Base):
    """An event with a column that only the host's function can fill."""

    __tablename__ = "filled_event"
    number = mapped_column(sa.Integer, default=iter(range(1, 100)).__next__)


def hit(**fields: Any) -> Hit:
    """An open of now, with other *fields*."""
    given = {"id": new_id(), "message_id": new_id(), "type": EventType.OPENED, "occurred_at": MOMENT}
    return Hit(**(given | fields))


def pour(database: Database, table: sa.Table, *hits: Hit) -> None:
    """Store *hits*."""
    with database.transaction() as connection:
        database.pour(connection, table, EVENT_COLUMNS, [event_row(each) for each in hits])


def stored(database: Database, table: sa.Table, key: Any) -> dict[str, Any]:
    """The row, by column."""
    (row,) = database.rows(sa.select(table).where(table.c.id == key))
    return dict(zip((c.name for c in table.columns), row, strict=True))


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.fixed_dictionaries(dict.fromkeys(("url", "ip", "part", "list_id", "comment"), TEXT)),
    reasons=st.lists(TEXT, max_size=3).map(tuple),
    first=st.none() | st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    link=st.none() | st.integers(-(2**31), 2**31 - 1),
    microseconds=st.integers(0, 10**12),
)
def test_a_row_comes_back_as_it_was(
    database: Database, texts: dict[str, str], reasons: Any, first: Any, link: int | None, microseconds: int
) -> None:
    """Any text, number, moment and list, and also that something is not there."""
    moment = MOMENT + timedelta(microseconds=microseconds)
    late = {"first_verdict": "human", "first_verdict_reasons": first} if first else {}
    put = hit(**texts, **late, verdict_reasons=reasons, link=link, occurred_at=moment, verdict=Verdict.SCANNER)
    pour(database, database.event, put, hit(url="a", link=1), hit(first_verdict="human", first_verdict_reasons=("x",)))
    expected = dict(zip(EVENT_COLUMNS, event_row(put), strict=True))
    expected |= {"verdict_reasons": list(reasons), "first_verdict_reasons": list(first) if first else None}
    assert stored(database, database.event, put.id) == expected
    missing = database.rows(sa.select(database.event.c.id).where(database.event.c.first_verdict_reasons.is_(None)))
    assert ((put.id,) in missing) is (first is None)


@pytest.mark.parametrize("microseconds", [0, 1, 678901])
def test_moments_are_kept_as_sqlalchemy_keeps_them(database: Database, microseconds: int) -> None:
    """A host's own query, which SQLAlchemy writes, finds them, for some databases compare texts."""
    moment = MOMENT.replace(microsecond=microseconds)
    put = hit(occurred_at=moment)
    pour(database, database.event, put)
    column = database.event.c.occurred_at
    assert database.rows(sa.select(database.event.c.id).where(column == moment)) == [(put.id,)]


@pytest.mark.parametrize("fields", [{"link": 2**31}, {"part": "123456789"}, {"comment": "\0"}, {"comment": "\ud800"}])
def test_what_does_not_fit_is_an_error_of_the_row(database: Database, fields: dict[str, Any]) -> None:
    """So that a drain looks for the row by halving, and does not wait for a better day."""
    if database.engine.dialect.name == "sqlite" and fields.get("comment") != "\ud800":
        pytest.skip("SQLite takes it")
    if database.engine.dialect.name == "mysql" and fields.get("comment") == "\0":
        pytest.skip("MariaDB takes it")
    with pytest.raises((sa.exc.DataError, ValueError)):
        pour(database, database.event, hit(), hit(**fields))
    assert database.rows(sa.select(database.event)) == []


def test_what_is_there_already_stays(database: Database) -> None:
    """A replay changes nothing, and does not keep the others out."""
    first, second = hit(comment="a"), hit(comment="b")
    pour(database, database.event, first)
    pour(database, database.event, Hit(first.id, first.message_id, first.type, MOMENT, comment="c"), second)
    assert stored(database, database.event, first.id)["comment"] == "a"
    assert stored(database, database.event, second.id)["comment"] == "b"


def test_an_open_fate_is_settled_and_a_settled_one_stays(database: Database) -> None:
    """Also when it comes in another batch than the message."""
    start = SentMessage(new_id(), new_id(), "ada@example.com", "", "", "", MOMENT, details={"n": [1, None, "é"]})
    for status in (Status.SENDING, Status.FAILED, Status.SENT):
        with database.transaction() as connection:
            told = {name: getattr(start, name) for name in SentMessage._fields} | {"status": status}
            Batch(database, connection).write([SentMessage(**told)])
    row = database.message_about(start.id)
    assert (row["status"], row["details"], row["open_count"]) == ("failed", {"n": [1, None, "é"]}, 0)
    assert set(MESSAGE_COLUMNS) < set(row)


def test_a_host_keeps_its_own_types_and_defaults(database: Database) -> None:
    """Its types see each value, its server fills its columns, and what its type refuses is an error of the row."""
    own: Any = OwnEvent.__table__
    put = hit(comment="abc")
    pour(database, own, put)
    row = stored(database, own, put.id)
    assert (row["comment"], row["at_once"]) == ("cba", 5)
    empty = hit()
    pour(database, own, empty)
    assert stored(database, own, empty.id)["comment"] == "-"
    with pytest.raises((sa.exc.StatementError, ValueError)):
        pour(database, own, hit(comment="!"))


def test_a_hosts_function_fills_each_row(database: Database) -> None:
    """What only SQLAlchemy can ask is asked, for every row."""
    table: Any = Filled.__table__
    one, two = hit(), hit()
    pour(database, table, one, two)
    numbers = [stored(database, table, each.id)["number"] for each in (one, two)]
    assert numbers[1] == numbers[0] + 1


def test_no_question_is_asked_of_a_file_that_is_gone_or_was_replaced(tmp_path: Path) -> None:
    """An open connection would go on reading what nobody else can see any more."""
    path = tmp_path / "app.sqlite3"
    database = Database(sa.create_engine(f"sqlite:///{path}"), MODELS)
    Base.metadata.create_all(database.engine)
    with database.transaction() as connection:
        database.add(connection, database.message, [message()])
    assert len(database.rows(sa.select(database.message.c.id))) == 1
    path.rename(tmp_path / "old.sqlite3")
    with pytest.raises(ResourceClosedError):
        database.rows(sa.select(database.message.c.id))
    assert not path.exists()
    Base.metadata.create_all(sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool))
    assert database.rows(sa.select(database.message.c.id)) == []
    database.engine.dispose()
