"""Many rows at once: each way of a driver stores what SQLAlchemy's own way stores, and refuses what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, mapped_column

from flask_mailtrack.events import EventType, Hit, SentMessage, Status, Verdict, new_id
from flask_mailtrack.models import EventMixin, models_for
from flask_mailtrack.storage.tables.batch import EVENT_COLUMNS, MESSAGE_COLUMNS, Batch, event_row
from flask_mailtrack.storage.tables.database import Database

MOMENT = datetime(2026, 11, 21, 12, 30, 15, 678901, tzinfo=UTC)


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


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


class _Host:
    Model = Base


MODELS = models_for(_Host())


@pytest.fixture(name="database")
def _database(database_url: str) -> Iterator[Database]:
    engine = sa.create_engine(database_url)
    Base.metadata.create_all(engine)
    yield Database(engine, MODELS)
    engine.dispose()


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
