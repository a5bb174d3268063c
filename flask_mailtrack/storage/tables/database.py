"""The host's database, seen through the tables of this package. Only this module writes to them.

Everything runs on connections of this package, never on ``db.session``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    StaticPool,
    Table,
    Text,
    any_,
    bindparam,
    case,
    cast,
    false,
    func,
    inspect,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from flask_mailtrack.audience import by_people
from flask_mailtrack.columns import UUIDS, key_of
from flask_mailtrack.errors import ConfigError, DatabaseBusy
from flask_mailtrack.events import EventType, Status, Verdict
from flask_mailtrack.models import Models
from flask_mailtrack.notified import NOTIFIED
from flask_mailtrack.storage.records import batched

from . import document
from .engine import SqliteFile, reading, writing
from .host_columns import Fill, HostColumns
from .parameters import Prepared, prepared

_CHUNK = 500
T = TypeVar("T")
MYSQL = ("mysql", "mariadb")
_DIALECTS = ("sqlite", "postgresql", *MYSQL)
# The codes of PostgreSQL and MySQL for two transactions in each other's way, of which one was rolled back.
_CLASHES = {"40001", "40P01", 1020, 1213}
# The status last: MySQL assigns in this order, and reads the status each time.
_FATE = ("error", "sent_at", "entered_by", "status")

Row = Sequence[Any]
Insert = Callable[[str, Table], Any]


class Database:
    """Reads and writes the tables.

    :param engine: the engine of the bind with the tables.
    :param models: the models; only their ``__table__`` is used.
    :param fill: see :class:`HostColumns`.
    """

    def __init__(self, engine: Engine, models: Models, fill: Fill | None = None) -> None:
        if engine.dialect.name not in _DIALECTS:
            cure = "Use SQLite, PostgreSQL, MySQL or MariaDB; with bind_key, for our tables only."
            raise ConfigError("E207", "db", f"is on {engine.dialect.name}, which cannot ignore duplicates.", cure)
        self.engine = engine
        self.message: Table = models.Message.__table__
        self.event: Table = models.Event.__table__
        self.optout: Table = models.OptOut.__table__
        self.link: Table = models.Link.__table__
        self.audit: Table = models.Audit.__table__
        self.host: HostColumns = HostColumns(models, fill)
        self.setting: Table = models.Setting.__table__
        self.domain: Table = models.Domain.__table__
        self.cohort: Table = models.Cohort.__table__
        self.figure: Table = models.Figure.__table__
        self.breakdown: Table = models.Breakdown.__table__
        self.early_event: Table = models.EarlyEvent.__table__
        self.body: Table = models.Body.__table__
        self.claim: Table = models.Claim.__table__
        self.delivery: Table = models.Delivery.__table__
        self.file: SqliteFile = SqliteFile(engine)
        self._prepared: dict[tuple[Any, ...], Prepared | None] = {}

    @cached_property
    def shared(self) -> bool:
        """Whether there is only one connection for all, as in SQLite in memory."""
        return isinstance(self.engine.pool, StaticPool)

    @contextmanager
    def transaction(self, patient: bool = True) -> Iterator[Connection]:
        """Yield a connection, and commit at the end.

        :param patient: off: wait for a lock for at most 50 ms, because the caller's own transaction may hold
            the lock; on: at most 5 s (SQLite: the host's setting).
        :raises DatabaseBusy: the host is in a transaction on the only connection, and our commit would commit
            that transaction.
        """
        self.file.look()
        if self.shared and self._host_is_using_it():
            raise DatabaseBusy("the in-memory database is inside a transaction of the host")
        with writing(self.engine, patient) as connection:
            yield connection

    def rows(self, query: Executable) -> list[tuple[Any, ...]]:
        """Return all rows of *query*, which sees what the host has not committed only if it must.

        If the server has closed the connection meanwhile, a fresh connection is asked, once.
        """
        if self.shared and self._host_is_using_it():
            return self._rows_beside_the_host(query)
        try:
            return self._rows(query)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return self._rows(query)

    def _rows(self, query: Executable) -> list[tuple[Any, ...]]:
        with reading(self.file) as connection:
            return list(map(tuple, connection.execute(query).all()))  # row by row takes twice the time

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables."""
        ours = (self.message, self.event, self.optout, self.link, self.audit, self.setting, self.domain)
        sums = (self.cohort, self.figure, self.breakdown, self.early_event)
        return (*ours, *sums, self.body, self.claim, self.delivery)

    def add(self, connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Insert *rows*. A row whose key is there already stays as it is."""
        for group in alike(rows, rows).values():
            connection.execute(_insert_or_ignore(connection.dialect.name, table), _in_order(table, group))

    def pour(self, connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many *rows* of the same columns. The open fate of a message that is there is settled.

        :param table: the table of events, where existing rows stay as they are; or of messages, where no two rows may
            have the same key. Other columns get their defaults.
        :param names: the columns, in the order of the values in a row; ``id`` is the key.
        :raises StatementError: a value cannot be sent to the database; also the errors of the driver.
        """
        if not rows:
            return
        key = names.index("id")
        # Two drainers that take locks in the same order cannot deadlock.
        ordered = sorted(rows, key=lambda row: row[key].int)
        make = _insert_or_settle if table is self.message else _insert_or_ignore
        self.insert(connection, make, table, names, ordered)

    def insert(
        self, connection: Connection, make: Insert, table: Table, names: Sequence[str], rows: Sequence[Row]
    ) -> None:
        """Insert many *rows* of the same columns, in their order, in the way that is quickest here.

        :param make: returns the statement for a dialect and the table.
        """
        key = (make, table, tuple(names))
        if key not in self._prepared:
            statement = make(connection.dialect.name, table)
            self._prepared[key] = prepared(connection.dialect, statement, table, names)
        # What is compiled once names the schema of the tables, and not the one that the host puts in its place.
        elsewhere = connection.get_execution_options().get("schema_translate_map")
        if (ready := self._prepared[key]) is not None and not elsewhere:
            ready.run(connection, rows)
            return
        statement = make(connection.dialect.name, table)
        values = [dict(zip(names, row, strict=True)) for row in rows]
        if connection.dialect.name == "postgresql" and document.fits(connection.dialect, table, values):
            source = document.rows_of_document(table, names)
            connection.execute(statement.from_select(list(names), source, include_defaults=False), {"document": values})
        else:
            connection.execute(statement, values)

    def pour_with(
        self,
        connection: Connection,
        table: Table,
        names: Sequence[str],
        rows: Sequence[Row],
        more: Sequence[dict[str, Any]],
    ) -> None:
        """Insert *rows* as :meth:`pour` does, each with the host's columns in *more*."""
        for added, group in alike(more, list(zip(rows, more, strict=True))).items():
            longer = [(*row, *(extra[name] for name in added)) for row, extra in group]
            self.pour(connection, table, (*names, *added), longer)

    def lock(self, connection: Connection, message_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Lock these messages against other drainers until the transaction ends.

        Without the lock, two drainers would count without each other's events, and the later count would win. The lock
        does not block a host's foreign keys to the rows. SQLite has one writer anyway.

        :return: the messages that are locked. A row that another transaction commits a moment later is not.
        """
        wanted = set(message_ids)
        if wanted and connection.dialect.name == "sqlite":  # it would let two drainers read before one of them writes
            connection.execute(update(self.message).where(false()).values(status=self.message.c.status))
            return wanted
        asked = (self._asked(ids) for ids in chunked(wanted))
        return {key for ids in asked for key in connection.execute(self._lock, ids).scalars()}

    def recount(self, connection: Connection, message_ids: Iterable[uuid.UUID]) -> None:
        """Set the state columns of messages from their events. The result is right however often this is run."""
        for ids in chunked(message_ids):
            connection.execute(self._recount, self._asked(ids))

    @staticmethod
    def is_clash(error: DBAPIError) -> bool:
        """Say whether another transaction was the only cause of the error. Then this one may be repeated."""
        cause: Any = error.orig
        codes = {getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None), *getattr(cause, "args", ())[:1]}
        return not codes.isdisjoint(_CLASHES)

    def packet_bytes(self) -> int:
        """Return the longest statement that MySQL takes, asked on a fresh connection; 0 if unknown, or not MySQL."""
        if self.engine.dialect.name not in MYSQL:
            return 0
        try:
            with self.engine.connect() as connection:
                connection.invalidate()  # a pooled connection may be dead, or older than a change of the setting
                return int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar() or 0)
        except DBAPIError:
            return 0

    def message_about(self, message_id: uuid.UUID) -> dict[str, Any]:
        """Return the row of a message by column name; empty if there is none."""
        columns = list(self.message.columns)
        found = self.rows(select(*columns).where(self.message.c.id == message_id))
        return dict(zip((c.name for c in columns), found[0], strict=True)) if found else {}

    def link_url(self, ref: str) -> str | None:
        """Return the URL behind a link reference."""
        found = self.rows(select(self.link.c.url).where(self.link.c.ref == ref))
        return str(found[0][0]) if found else None

    @cached_property
    def _lock(self) -> Executable:
        column = self.message.c.id
        return select(column).where(self._among(column)).order_by(column).with_for_update(key_share=True)

    @cached_property
    def _recount(self) -> Executable:
        """The statement. It is built once, because that takes as long as a run."""
        state = self._state().subquery()
        changes = {column.name: column for column in state.columns if column.name != "message_id"}
        # A row that would be written as it is costs as much as one that changes, and most do not when all are counted.
        other = or_(*(self.message.c[name].is_distinct_from(column) for name, column in changes.items()))
        return update(self.message).where(self.message.c.id == state.c.message_id, other).values(changes)

    def _state(self) -> Any:
        event = self.event
        people = by_people(event)

        def when(kind: EventType, value: Any) -> Any:
            return case(((event.c.type == kind) & people, value))

        told = ~people & (event.c.verdict != Verdict.UNKNOWN)
        machine = case(((event.c.type.in_([EventType.OPENED, EventType.CLICKED])) & told, 1), else_=0)
        return (
            select(
                event.c.message_id,
                func.min(when(EventType.OPENED, event.c.occurred_at)).label("opened_at"),
                func.min(when(EventType.CLICKED, event.c.occurred_at)).label("clicked_at"),
                *(
                    func.min(case((event.c.type == kind, event.c.occurred_at))).label(f"{kind}_at")
                    for kind in (EventType.UNSUBSCRIBED, *NOTIFIED)
                ),
                func.count(when(EventType.OPENED, 1)).label("open_count"),
                func.count(when(EventType.CLICKED, 1)).label("click_count"),
                func.sum(machine).label("machine_count"),
            )
            .where(self._among(event.c.message_id))
            .group_by(event.c.message_id)
        )

    def _among(self, column: ColumnElement[uuid.UUID]) -> ColumnElement[bool]:
        """Return the condition that *column* is among the ids for :meth:`_asked`."""
        if self.engine.dialect.name == "postgresql":  # one array, because a parameter each takes longer than the query
            return column == any_(cast(bindparam("ids", type_=Text), ARRAY(column.type)))
        return column.in_(bindparam("ids", expanding=True))

    def _asked(self, ids: list[uuid.UUID]) -> dict[str, Any]:
        """Return the parameters of a query with :meth:`_among`."""
        return {"ids": f"{{{','.join(map(str, ids))}}}" if self.engine.dialect.name == "postgresql" else ids}

    def _host_is_using_it(self) -> bool:
        connection = self.engine.pool.connection  # type: ignore[attr-defined]
        return bool(getattr(connection.dbapi_connection, "in_transaction", False))

    def _rows_beside_the_host(self, query: Any) -> list[tuple[Any, ...]]:
        # A connection from the pool would roll back the host's transaction when it is returned.
        dialect = self.engine.dialect
        compiled = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        types = [column.type.dialect_impl(dialect) for column in query.selected_columns]
        readers = [kind.result_processor(dialect, None) or (lambda value: value) for kind in types]
        cursor = self.engine.pool.connection.dbapi_connection.cursor()  # type: ignore[attr-defined]
        try:
            rows = cursor.execute(str(compiled)).fetchall()
        finally:
            cursor.close()
        return [tuple(read(value) for read, value in zip(readers, row, strict=True)) for row in rows]


def _in_order(table: Table, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return *rows* in the order of their keys. Two drainers that take locks in the same order cannot deadlock."""
    first, *others = key_of(table)
    if others or not isinstance(table.c[first].type, UUIDS):
        return sorted(rows, key=lambda row: [row[key] for key in (first, *others)])
    return sorted(rows, key=lambda row: row[first].int)  # the same order as by UUIDs, in a tenth of the time


def alike(rows: Sequence[Mapping[str, Any]], what: Sequence[T]) -> dict[tuple[str, ...], list[T]]:
    """Return *what*, each of which belongs to a row, in groups of rows with the same columns."""
    groups: dict[tuple[str, ...], list[T]] = {}
    for row, each in zip(rows, what, strict=True):
        groups.setdefault(tuple(row), []).append(each)
    return groups


def chunked(ids: Iterable[uuid.UUID]) -> Iterator[list[uuid.UUID]]:
    """Return *ids* in order, in lists that fit into one statement."""
    return batched(sorted(set(ids)), _CHUNK)


def missing_tables(database: Database) -> list[str]:
    """Return the names of tables that the database lacks, in the schema of the models."""
    if database.file.vanished:
        return [table.fullname for table in database.tables]
    with reading(database.file) as connection:
        there = inspect(connection)
        return [table.fullname for table in database.tables if not there.has_table(table.name, table.schema)]


def missing_columns(database: Database) -> list[str]:
    """Return the names of columns of the models that the database lacks."""
    with reading(database.file) as connection:
        there = inspect(connection)
        found = {t.fullname: {each["name"] for each in there.get_columns(t.name, t.schema)} for t in database.tables}
    return [f"{t.name}.{c.name}" for t in database.tables for c in t.columns if c.name not in found[t.fullname]]


def try_to_write(database: Database) -> None:
    """Write no row into each table, to see whether the database would allow a write.

    :raises SQLAlchemyError: the database would not: it is read-only, or a right is missing.
    """
    with database.transaction(patient=False) as connection:
        for table in database.tables:
            nothing = select(table).where(false())
            connection.execute(table.insert().from_select([c.name for c in table.columns], nothing))
            connection.execute(update(table).where(false()).values({table.columns.values()[0]: None}))
            connection.execute(table.delete().where(false()))


def _insert_or_ignore(dialect: str, table: Table) -> Any:
    """Return a statement that inserts rows and leaves a row as it is if its key is there."""
    if dialect in MYSQL:
        key = table.c[key_of(table)[0]]
        # INSERT IGNORE would also swallow values that do not fit.
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    keys = [table.c[name] for name in key_of(table)]
    return _insert(dialect, table).on_conflict_do_nothing(index_elements=keys)


def _insert_or_settle(dialect: str, table: Table) -> Any:
    """Return a statement that inserts messages. A message that is there takes the fate if its own is still open.

    It is one statement, so that a fate cannot be lost between two drainers.
    """
    # The status is a literal, because PyMySQL takes no parameter after VALUES when it joins rows into one statement.
    open_still = table.c.status == literal_column(f"'{Status.SENDING.value}'")
    if dialect in MYSQL:
        adding = mysql.insert(table)
        return adding.on_duplicate_key_update(
            [(name, case((open_still, _taken(adding.inserted, name)), else_=table.c[name])) for name in _FATE]
        )
    new = _insert(dialect, table)
    fate = {name: _taken(new.excluded, name) for name in _FATE}
    return new.on_conflict_do_update(index_elements=[table.c.id], set_=fate, where=open_still)


def _taken(new: Any, name: str) -> Any:
    """Return what a settled row takes; the number of the transaction says by its sign that the row was there."""
    return -new[name] if name == "entered_by" else new[name]


def _insert(dialect: str, table: Table) -> Any:
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
