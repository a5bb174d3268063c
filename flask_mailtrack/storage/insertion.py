"""Many rows into one table by one statement, as fast as its driver can take them.

SQLAlchemy's own way looks at each value of each row three times. Here the statement is made once, and the values
go through their types column by column; PostgreSQL gets all rows as one JSON text, whatever its driver.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Integer,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_mailtrack.events import Status

MYSQL = ("mysql", "mariadb")
_FATE = ("error", "sent_at", "status")  # the status last: MySQL assigns in this order, and asks for it each time
# Values of these are in JSON what they are to PostgreSQL. A type of the host's may turn them into something else.
_PLAIN = {JSON, Boolean, DateTime, Integer, String, Text, Uuid}

Row = Sequence[Any]


class Insertion:
    """Inserts rows of the same columns into one table.

    :param dialect: of the database.
    :param table: where they go; columns that the host has added get their defaults.
    :param names: of the columns, in the order of the values in a row; ``id`` is the key.
    :param settle: update the fate of a message that is there already, if it is still open; else such a
        row is left as it is.
    """

    def __init__(self, dialect: Dialect, table: Table, names: Sequence[str], *, settle: bool = False) -> None:
        self._names = tuple(names)
        self._key = self._names.index("id")
        self._columns = [table.c[name] for name in names]
        self._insert = insert_or_settle if settle else insert_or_ignore
        self._dialect, self._table = dialect, table
        self._run = self._way()

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert *rows*, ordered by their keys. Where fates are settled, no two may have the same.

        :raises ValueError: a value cannot be put on the wire; also what the driver raises.
        """
        if rows:
            # Two drainers that take locks in the same order do not wait for each other in a circle.
            self._run(connection, sorted(rows, key=lambda row: row[self._key].int))

    def _way(self) -> Callable[[Connection, Sequence[Row]], object]:
        others = [c for c in self._table.columns if c.name not in self._names]
        compiled = self._statement().compile(dialect=self._dialect, column_keys=list(self._names))
        if any(other.default is not None for other in others):
            return self._by_sqlalchemy  # it alone knows how to ask the host's function
        if self._dialect.name == "postgresql" and all(map(self._is_plain, self._columns)):
            return self._as_json()
        return self._by_driver(compiled) if compiled.positional else self._by_sqlalchemy

    def _statement(self) -> Any:
        return self._insert(self._dialect.name, self._table)

    def _is_plain(self, of: Column[Any]) -> bool:
        return type(of.type) in _PLAIN and not isinstance(of.type.dialect_impl(self._dialect), TypeDecorator)

    def _by_sqlalchemy(self, connection: Connection, rows: Sequence[Row]) -> None:
        connection.execute(self._statement(), [dict(zip(self._names, row, strict=True)) for row in rows])

    def _by_driver(self, compiled: Any) -> Callable[[Connection, Sequence[Row]], object]:
        sql, places = str(compiled), [self._names.index(name) for name in compiled.positiontup]
        processors = [_processor(self._columns[place], self._dialect) for place in places]

        def run(connection: Connection, rows: Sequence[Row]) -> None:
            columns = list(zip(*rows, strict=True))
            ordered = zip(places, processors, strict=True)
            done = [map(process, columns[place]) if process else columns[place] for place, process in ordered]
            try:
                parameters = list(zip(*done, strict=True))
            except Exception as error:  # also of a type of the host's: it is the row that does not fit
                raise ValueError(f"{type(error).__name__} in a value") from error
            connection.exec_driver_sql(sql, parameters)

        return run

    def _as_json(self) -> Callable[[Connection, Sequence[Row]], object]:
        given: Any = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
        given = given.table_valued(*(column(of.name, of.type) for of in self._columns)).render_derived(with_types=True)
        values = [_empty_if_missing(of, given.c[of.name]) for of in self._columns]
        statement = self._insert("postgresql", self._table, select(*values), self._names)

        def run(connection: Connection, rows: Sequence[Row]) -> None:
            # What is empty is left out: most of a row is.
            told = [{k: v for k, v in zip(self._names, row, strict=True) if v is not None and v != ""} for row in rows]
            connection.execute(statement, {"rows": _to_text(told)})

        return run


def insert_or_ignore(dialect: str, table: Table, source: Any = None, names: Sequence[str] = ()) -> Any:
    """Return what inserts rows, and leaves those as they are whose key is there.

    :param source: a query whose rows are inserted, with *names* of the columns; else they are parameters.
    """
    if dialect in MYSQL:
        key = next(iter(table.primary_key.columns))
        # Not INSERT IGNORE, which also swallows values that do not fit.
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    return _insert(dialect, table, source, names).on_conflict_do_nothing()


def insert_or_settle(dialect: str, table: Table, source: Any = None, names: Sequence[str] = ()) -> Any:
    """Return what inserts messages; one that is there takes the fate, if its own is still open.

    In one statement, so that a fate cannot be lost between two drainers.
    """
    # Spelled out: PyMySQL takes no parameter after VALUES when it makes one statement of many rows.
    open_still = table.c.status == literal_column(f"'{Status.SENDING.value}'")
    if dialect in MYSQL:
        adding = mysql.insert(table)
        return adding.on_duplicate_key_update(
            [(name, case((open_still, adding.inserted[name]), else_=table.c[name])) for name in _FATE]
        )
    new = _insert(dialect, table, source, names)
    fate = {name: new.excluded[name] for name in _FATE}
    return new.on_conflict_do_update(index_elements=[table.c.id], set_=fate, where=open_still)


def _insert(dialect: str, table: Table, source: Any, names: Sequence[str]) -> Any:
    new = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    return new if source is None else new.from_select(list(names), source)


def _processor(of: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return of.type.dialect_impl(dialect).bind_processor(dialect)


def _empty_if_missing(of: Column[Any], given: Any) -> Any:
    return func.coalesce(given, literal_column("''")) if isinstance(of.type, String) and not of.nullable else given


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


_to_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode
