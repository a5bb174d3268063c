"""A column of values as the text of a PostgreSQL array: one parameter, which every driver can send.

JOIN: Many rows into one table by one statement, as fast as its driver can take them.

SQLAlchemy's own way looks at each value of each row three times. Here the statement is made once, and the values
go through their types column by column; PostgreSQL gets each column as the text of an array, whatever its driver.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    ARRAY,
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
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_mailtrack.column_types import UUIDS, Uuid
from flask_mailtrack.events import Status
from flask_mailtrack.models import key_of


def array_of(kind: Any) -> Callable[[Sequence[Any]], str | None]:
    """Return what writes a column (PostgreSQL 15, 8.15.2); one that is all empty is NULL, which saves the way.

    :param kind: the type of the column, one of :data:`PLAIN`.
    """
    write = _WRITE[type(kind)]

    def array(held: Sequence[Any]) -> str | None:
        if is_empty(held):
            return None
        if write is _quoted and (text := _plain_texts(held)):
            return text
        return f"{{{','.join(['NULL' if value is None else write(value) for value in held])}}}"

    return array


def is_empty(held: Sequence[Any]) -> bool:
    """Say whether a column has no value but NULL and the empty text."""
    return not any(value is not None and value != "" for value in held)


def remembering(process: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return *process*, which knows the few tuples of words that stand in most rows."""
    known = lru_cache(256)(process)
    return lambda value: known(value) if type(value) is tuple else process(value)


def _plain_texts(held: Sequence[str | None]) -> str:
    """Write texts of which none needs an escape; else return nothing."""
    if None in held:
        return ""
    text = '","'.join(held)  # type: ignore[arg-type]
    return "" if "\\" in text or text.count('"') > 2 * len(held) - 2 else f'{{"{text}"}}'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_WRITE: dict[type, Callable[[Any], str]] = {
    Boolean: str,
    DateTime: lambda moment: f'"{moment.isoformat()}"',
    Integer: str,
    JSON: remembering(lambda value: _quoted(_to_json(value))),
    String: _quoted,
    Text: _quoted,
    **dict.fromkeys(UUIDS, attrgetter("hex")),
}

PLAIN = frozenset(_WRITE)
"""The types that are written so. A type of the host's may turn values into something else."""


MYSQL = ("mysql", "mariadb")
_FATE = ("error", "sent_at", "status")  # the status last: MySQL assigns in this order, and asks for it each time

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
        if any(other.default is not None for other in others):
            return self._by_sqlalchemy  # it alone knows how to ask the host's function
        if self._dialect.name == "postgresql" and all(map(self._is_plain, self._columns)):
            return self._as_arrays()
        return self._by_driver() if self._compiled(self._names).positional else self._by_sqlalchemy

    def _statement(self) -> Any:
        return self._insert(self._dialect.name, self._table)

    def _is_plain(self, of: Column[Any]) -> bool:
        if type(of.type) is Uuid:  # which is one, but of ours
            return True
        return type(of.type) in PLAIN and not isinstance(of.type.dialect_impl(self._dialect), TypeDecorator)

    def _by_sqlalchemy(self, connection: Connection, rows: Sequence[Row]) -> None:
        connection.execute(self._statement(), [dict(zip(self._names, row, strict=True)) for row in rows])

    def _compiled(self, names: Sequence[str]) -> Any:
        """Return the statement that takes values for *names*; the other columns are empty."""
        others = [of for of in self._columns if of.name not in names]
        empty: dict[str, Any] = {of.name: literal_column("NULL" if of.nullable else "''") for of in others}
        statement = self._statement().values(empty) if empty else self._statement()
        return statement.compile(dialect=self._dialect, column_keys=list(names))

    def _plan(self, names: tuple[str, ...]) -> tuple[str, list[tuple[int, Callable[[Any], Any] | None]]]:
        """Return a statement, and for each of its parameters the place of its values and how they are written."""
        compiled = self._compiled(names)
        places = [self._names.index(name) for name in compiled.positiontup]
        return str(compiled), [(place, _processor(self._columns[place], self._dialect)) for place in places]

    def _by_driver(self) -> Callable[[Connection, Sequence[Row]], object]:
        # SQLite spends a fifth of its time on empty values. PyMySQL is quick only where all are parameters.
        spare = {of.name for of in self._columns if self._dialect.name == "sqlite" and self._is_plain(of)}
        planned = lru_cache(64)(self._plan)

        def run(connection: Connection, rows: Sequence[Row]) -> None:
            columns = list(zip(*rows, strict=True))
            named = zip(self._names, columns, strict=True)
            sql, plan = planned(tuple(name for name, held in named if name not in spare or not is_empty(held)))
            done = [map(process, columns[place]) if process else columns[place] for place, process in plan]
            try:
                parameters = list(zip(*done, strict=True))
            except Exception as error:  # also of a type of the host's: it is the row that does not fit
                raise ValueError(f"{type(error).__name__} in a value") from error
            connection.exec_driver_sql(sql, parameters)

        return run

    def _as_arrays(self) -> Callable[[Connection, Sequence[Row]], object]:
        # Without a length: a cast to a shorter text would cut it off and say nothing.
        told = [column(of.name, Text() if isinstance(of.type, String) else of.type) for of in self._columns]
        sent = [cast(bindparam(of.name, type_=Text), ARRAY(of.type)) for of in told]
        given: Any = func.unnest(*sent).table_valued(*told).render_derived()
        values = [_empty_if_missing(of, given.c[of.name]) for of in self._columns]
        statement = self._insert("postgresql", self._table, select(*values), self._names)
        writers = [array_of(of.type) for of in told]

        def run(connection: Connection, rows: Sequence[Row]) -> None:
            ways = zip(self._names, writers, zip(*rows, strict=True), strict=True)
            connection.execute(statement, {name: write(held) for name, write, held in ways})

        return run


def insert_or_ignore(dialect: str, table: Table, source: Any = None, names: Sequence[str] = ()) -> Any:
    """Return what inserts rows, and leaves those as they are whose key is there.

    :param source: a query whose rows are inserted, with *names* of the columns; else they are parameters.
    """
    if dialect in MYSQL:
        key = table.c[key_of(table)[0]]
        # Not INSERT IGNORE, which also swallows values that do not fit.
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    keys = [table.c[name] for name in key_of(table)]
    return _insert(dialect, table, source, names).on_conflict_do_nothing(index_elements=keys)


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
    kind = type(of.type)
    if kind is DateTime and dialect.name == "sqlite":
        return _sqlite_moment
    process = of.type.dialect_impl(dialect).bind_processor(dialect)
    return remembering(process) if kind is JSON and process else process


def _sqlite_moment(moment: datetime | None) -> str | None:
    """Write what SQLAlchemy writes, without a zone, in a fifth of the time."""
    return moment.isoformat(" ", "microseconds")[:26] if moment else None


def _empty_if_missing(of: Column[Any], given: Any) -> Any:
    return func.coalesce(given, literal_column("''")) if isinstance(of.type, String) and not of.nullable else given
