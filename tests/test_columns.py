"""The types of our columns: moments that are the same on every database, and migrations that need nothing of ours."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.pool import NullPool

from flask_mailtrack.columns import MOMENT, Uuid

NOON = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
EAST = timezone(timedelta(hours=5, minutes=30))
TABLE = sa.Table(
    "moments",
    sa.MetaData(),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", MOMENT),
    sa.Column("to", MOMENT),
)


@pytest.fixture(name="connection")
def _connection(database_url: str) -> Iterator[sa.Connection]:
    """A connection to each kind of database, far from UTC where a session has a time zone."""
    engine = sa.create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET TIME ZONE 'Asia/Kolkata'"))
        if connection.dialect.name in ("mysql", "mariadb"):
            connection.execute(sa.text("SET time_zone = '+05:30'"))
        TABLE.create(connection)
        yield connection
        TABLE.drop(connection)
    engine.dispose()


def put(connection: sa.Connection, *moments: datetime | None) -> None:
    """Store moments, numbered from 0."""
    connection.execute(sa.insert(TABLE), [{"n": n, "at": moment, "to": NOON} for n, moment in enumerate(moments)])


def test_a_moment_is_aware_and_whole_on_each_database(connection: sa.Connection) -> None:
    """Naive, in UTC or in another zone: what is read is the same moment, in UTC, to the microsecond."""
    put(connection, NOON, NOON.replace(tzinfo=None), NOON.astimezone(EAST), None)
    found = connection.execute(sa.select(TABLE.c.at).order_by(TABLE.c.n)).scalars().all()
    assert found == [NOON, NOON, NOON, None]
    assert [moment.tzinfo for moment in found if moment] == [UTC] * 3
    first = connection.execute(sa.select(sa.func.min(TABLE.c.at))).scalar_one()
    assert (first, first.tzinfo) == (NOON, UTC)


@pytest.mark.parametrize("moment", [NOON, NOON.replace(tzinfo=None), NOON.astimezone(EAST)], ids=str)
def test_a_moment_is_compared_in_utc(connection: sa.Connection, moment: datetime) -> None:
    """What a moment in the table is compared with is the same moment in whatever zone, and a naive one is UTC."""
    put(connection, NOON - timedelta(microseconds=1), NOON, NOON + timedelta(microseconds=1))
    found = connection.execute(sa.select(TABLE.c.n).where(TABLE.c.at >= moment).order_by(TABLE.c.n)).scalars().all()
    assert found == [1, 2]
    assert connection.execute(sa.select(TABLE.c.n).where(TABLE.c.at == moment)).scalars().all() == [1]
    assert connection.execute(sa.select(TABLE.c.n).where(TABLE.c.at.in_([moment]))).scalars().all() == [1]


def test_moments_can_be_reckoned_with() -> None:
    """The difference of two is an interval, and an interval can be added, as with SQLAlchemy's own type."""
    assert isinstance((TABLE.c.at - TABLE.c.to).type, sa.Interval)
    later = TABLE.c.at + timedelta(days=1)
    assert isinstance(later.right.type, sa.Interval)


def test_a_moment_of_before_is_read_whole(connection: sa.Connection) -> None:
    """Columns that SQLAlchemy's own type has made, and filled, read as ours."""
    plain = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    before = sa.Table("before_ours", sa.MetaData(), sa.Column("at", plain))
    before.create(connection)
    connection.execute(sa.insert(before).values(at=NOON))
    assert connection.execute(sa.select(sa.type_coerce(before.c.at, MOMENT))).scalar_one() == NOON
    before.drop(connection)


@pytest.mark.parametrize(
    ("dialect", "written"),
    [
        (sqlite.dialect(), "DATETIME"),
        (postgresql.dialect(), "TIMESTAMP WITH TIME ZONE"),
        (mysql.dialect(), "DATETIME(6)"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_tables_are_made_as_with_the_types_of_sqlalchemy(dialect: sa.Dialect, written: str) -> None:
    """The column types in the database are those of SQLAlchemy, with microseconds on MySQL."""
    assert MOMENT.compile(dialect=dialect) == written


@pytest.mark.parametrize("kind", [MOMENT, Uuid()], ids=repr)
def test_a_type_can_be_pickled_and_copied(kind: sa.types.TypeEngine[object]) -> None:
    """A cache of a host's that keeps its metadata keeps our columns, too, on each database."""
    for again in (pickle.loads(pickle.dumps(kind)), copy.copy(kind), copy.deepcopy(kind)):  # noqa: S301 - our own bytes
        assert type(again) is type(kind)
        assert again.compile(dialect=mysql.dialect()) == kind.compile(dialect=mysql.dialect())
