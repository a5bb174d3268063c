"""The host's database, seen through our tables. The only place that writes to them.

Everything runs on connections of our own, never on ``db.session``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, StatementError

from flask_mailtrack.column_types import UUIDS
from flask_mailtrack.columns import key_of
from flask_mailtrack.errors import ConfigError, DatabaseBusy
from flask_mailtrack.events import EventType, Verdict
from flask_mailtrack.models import Models, by_people
from flask_mailtrack.storage.records import batched

from .engine import SqliteFile
from .host_columns import Fill, HostColumns
from .inserts import MYSQL, Row, insert, insert_or_ignore

HURRY_MS = 50
READING_MS = 200
"""For a reader, or a send, that asks: nobody waits for another process for a second."""
PATIENCE_MS = 5_000
_CHUNK = 500
T = TypeVar("T")
_DIALECTS = ("sqlite", "postgresql", *MYSQL)
# Two transactions in each other's way, of which one was sent back: PostgreSQL's words for it, and MySQL's.
_CLASHES = {"40001", "40P01", 1020, 1213}


class Database:
    """Reads and writes our tables.

    :param engine: of the bind the tables live on.
    :param models: whose ``__table__`` are used, so host columns stay out of our way.
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
        self.file: SqliteFile = SqliteFile(engine)

    @property
    def shared(self) -> bool:
        """Whether there is one connection for all: SQLite in memory."""
        return isinstance(self.engine.pool, StaticPool)

    @contextmanager
    def transaction(self, patient: bool = True) -> Iterator[Connection]:
        """Yield a connection and commit it.

        :param patient: off: wait for a lock no longer than 50 ms, because it may be the caller's own
            transaction that holds it; on: no longer than 5 s (SQLite: what the host has set).
        :raises DatabaseBusy: the host is in a transaction on the only connection there is, so that
            our commit would be its commit.
        """
        self.file.look()
        if self._host_is_using_it():
            raise DatabaseBusy("the in-memory database is inside a transaction of the host")
        with _discreet(), self._connect() as connection, self._waiting(connection, patient):
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def _connect(self) -> Connection:
        connection = self.engine.connect()
        if connection.dialect.name == "sqlite":
            return connection
        # Each statement must see what other drainers have committed, or counts are too low.
        level = {"isolation_level": "READ COMMITTED"}
        try:
            return connection.execution_options(**level)
        except self.engine.dialect.loaded_dbapi.Error:  # of MySQL: the server has closed what lay in the pool
            connection.invalidate()
            connection.close()
            self.engine.dispose()
            return self.engine.connect().execution_options(**level)

    @contextmanager
    def _waiting(self, connection: Connection, patient: bool) -> Iterator[None]:
        """Bound the time that *connection* waits for locks, and leave it as it was."""
        milliseconds = PATIENCE_MS if patient else HURRY_MS
        if connection.dialect.name == "postgresql":
            # Without statistics, as in a new table, PostgreSQL takes a batch of messages for half of all, and
            # reads the whole table for each.
            plan = "set_config('enable_seqscan', 'off', true)"
            connection.exec_driver_sql(f"SELECT set_config('lock_timeout', '{milliseconds}', true), {plan}")
            yield
            return
        if connection.dialect.name == "sqlite":
            look, change = "PRAGMA busy_timeout", "PRAGMA busy_timeout = {}"
            limit = None if patient or self.shared else HURRY_MS
        else:
            look, change = "SELECT @@innodb_lock_wait_timeout", "SET innodb_lock_wait_timeout = {}"
            limit = max(1, milliseconds // 1_000)  # MySQL counts in seconds
        if limit is None:
            yield
            return
        with _changed(connection, look, change, limit):
            yield

    @contextmanager
    def _reading(self, connection: Connection) -> Iterator[None]:
        """Bound the time for which a question waits for somebody who locks a whole table, or SQLite's file."""
        kind = connection.dialect.name
        if kind == "postgresql":
            connection.exec_driver_sql(f"SELECT set_config('lock_timeout', '{READING_MS}', true)")
            yield
        elif kind == "sqlite":
            with _changed(connection, "PRAGMA busy_timeout", "PRAGMA busy_timeout = {}", READING_MS):
                yield
        else:  # MySQL counts in seconds
            with _changed(connection, "SELECT @@lock_wait_timeout", "SET lock_wait_timeout = {}", 1):
                yield

    def rows(self, query: Executable) -> list[tuple[Any, ...]]:
        """Return all rows of *query*, which sees what the host has not committed only if it must.

        A connection that the server has closed meanwhile is no answer: a fresh one is asked, once.
        """
        self.file.look()
        if self._host_is_using_it():
            return self._rows_beside_the_host(query)
        try:
            return self._rows(query)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return self._rows(query)

    def _rows(self, query: Executable) -> list[tuple[Any, ...]]:
        with self.looking() as connection:
            return [tuple(row) for row in connection.execute(query)]

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """Yield a connection on which no question waits long for another process."""
        with _discreet(), self.engine.connect() as connection, self._reading(connection):
            yield connection

    @property
    def tables(self) -> tuple[Table, ...]:
        """All of them."""
        return self.message, self.event, self.optout, self.link, self.audit, self.setting, self.domain

    def add(self, connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Insert *rows*; those whose key is already there are left as they are."""
        for group in alike(rows, rows).values():
            connection.execute(insert_or_ignore(connection.dialect.name, table), _in_order(table, group))

    def pour(self, connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many *rows* of the same columns; an open fate of a message that is there is settled.

        :param table: of events or messages.
        :param names: of the columns.
        """
        insert(connection, table, names, rows, settle=table is self.message)

    def pour_with(
        self,
        connection: Connection,
        table: Table,
        names: Sequence[str],
        rows: Sequence[Row],
        more: Sequence[dict[str, Any]],
    ) -> None:
        """Insert *rows* as :meth:`pour` does, each with the columns of the host's in *more*."""
        for added, group in alike(more, list(zip(rows, more, strict=True))).items():
            longer = [(*row, *(extra[name] for name in added)) for row, extra in group]
            self.pour(connection, table, (*names, *added), longer)

    def lock(self, connection: Connection, message_ids: Iterable[uuid.UUID]) -> None:
        """Keep other drainers from what belongs to these messages until the transaction ends.

        Without it two drainers count events that they do not see of each other, and the later count
        wins. A host's foreign keys to the rows are not held up. SQLite has one writer anyway.
        """
        wanted = set(message_ids)
        if wanted and connection.dialect.name == "sqlite":  # but it lets two read before one of them writes
            connection.execute(update(self.message).where(false()).values(status=self.message.c.status))
            return
        for ids in chunked(wanted):
            connection.execute(self._lock, self._asked(ids)).all()

    def recount(self, connection: Connection, message_ids: Iterable[uuid.UUID]) -> None:
        """Set the state columns of messages from their events: right however often it is run."""
        for ids in chunked(message_ids):
            connection.execute(self._recount, self._asked(ids))

    @staticmethod
    def is_clash(error: DBAPIError) -> bool:
        """Say whether the database gave up this transaction only because of another one: it may be repeated."""
        cause: Any = error.orig
        codes = {getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None), *getattr(cause, "args", ())[:1]}
        return not codes.isdisjoint(_CLASHES)

    def packet_bytes(self) -> int:
        """Return how long a statement may be for MySQL, asked on a fresh connection; else, or if it is away, 0."""
        if self.engine.dialect.name not in MYSQL:
            return 0
        try:
            with self.engine.connect() as connection:
                connection.invalidate()  # one of the pool may be dead, or of before the setting was changed
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
        """Built once: that takes as long as to run it."""
        state = self._state().subquery()
        changes = {column.name: column for column in state.columns if column.name != "message_id"}
        return update(self.message).where(self.message.c.id == state.c.message_id).values(changes)

    def _state(self) -> Any:
        event = self.event
        people = by_people(event)

        def when(kind: EventType, value: Any) -> Any:
            return case(((event.c.type == kind) & people, value))

        told = ~people & (event.c.verdict != Verdict.UNKNOWN)
        machine = case(((event.c.type.in_([EventType.OPENED, EventType.CLICKED])) & told, 1), else_=0)
        gone = case((event.c.type == EventType.UNSUBSCRIBED, event.c.occurred_at))
        return (
            select(
                event.c.message_id,
                func.min(when(EventType.OPENED, event.c.occurred_at)).label("opened_at"),
                func.min(when(EventType.CLICKED, event.c.occurred_at)).label("clicked_at"),
                func.min(gone).label("unsubscribed_at"),
                func.count(when(EventType.OPENED, 1)).label("open_count"),
                func.count(when(EventType.CLICKED, 1)).label("click_count"),
                func.sum(machine).label("machine_count"),
            )
            .where(self._among(event.c.message_id))
            .group_by(event.c.message_id)
        )

    def _among(self, column: ColumnElement[uuid.UUID]) -> ColumnElement[bool]:
        """Return the condition that *column* is one of those that :meth:`_asked` is given."""
        if self.engine.dialect.name == "postgresql":  # to make a parameter of each takes longer than the query
            return column == any_(cast(bindparam("ids", type_=Text), ARRAY(column.type)))
        return column.in_(bindparam("ids", expanding=True))

    def _asked(self, ids: list[uuid.UUID]) -> dict[str, Any]:
        """Return the parameters of a query with :meth:`_among`."""
        return {"ids": f"{{{','.join(map(str, ids))}}}" if self.engine.dialect.name == "postgresql" else ids}

    def _host_is_using_it(self) -> bool:
        pool = self.engine.pool
        if not isinstance(pool, StaticPool):
            return False
        return bool(getattr(pool.connection.dbapi_connection, "in_transaction", False))

    def _rows_beside_the_host(self, query: Any) -> list[tuple[Any, ...]]:
        # A connection from the pool would roll the host's transaction back when it is returned.
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


@contextmanager
def _changed(connection: Connection, look: str, change: str, value: int) -> Iterator[None]:
    """Set an option of the session, and set it back."""
    usual = connection.exec_driver_sql(look).scalar()
    connection.exec_driver_sql(change.format(value))
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql(change.format(usual))


@contextmanager
def _discreet() -> Iterator[None]:
    """Keep addresses and tokens, which are parameters, out of the text of what the database complains of."""
    try:
        yield
    except StatementError as error:
        error.hide_parameters = True
        raise


def _in_order(table: Table, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two drainers that take locks in the same order do not wait for each other in a circle."""
    first, *others = key_of(table)
    if others or not isinstance(table.c[first].type, UUIDS):
        return sorted(rows, key=lambda row: [row[key] for key in (first, *others)])
    return sorted(rows, key=lambda row: row[first].int)  # in the same order, in a tenth of the time


def alike(rows: Sequence[Mapping[str, Any]], what: Sequence[T]) -> dict[tuple[str, ...], list[T]]:
    """Return *what*, of which each belongs to a row, in groups of those whose rows have the same columns."""
    groups: dict[tuple[str, ...], list[T]] = {}
    for row, each in zip(rows, what, strict=True):
        groups.setdefault(tuple(row), []).append(each)
    return groups


def chunked(ids: Iterable[uuid.UUID]) -> Iterator[list[uuid.UUID]]:
    """Return *ids* in order, in lists that fit into one statement."""
    return batched(sorted(set(ids)), _CHUNK)
