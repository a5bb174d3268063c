"""The host's engine with a small pool of its own, and the limits of every wait on its connections.

A request holds a connection while it sends a mail. If the queries before the send used the same pool, as many requests
as that pool has connections could wait for each other. So this package opens up to five connections of its own in a
process, as the host's engine opens them, and keeps one. A connection to an SQLite file that was removed or replaced
would write into nothing, so the file is watched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, StaticPool, Table, create_engine, event, inspect
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.exc import ResourceClosedError, StatementError
from sqlalchemy.pool import AssertionPool, Pool, QueuePool

from flask_mailtrack.phrases import NOTHING, Phrase


@dataclass
class SqliteFile:
    """Watches the SQLite file behind an engine. There is nothing to watch for other databases."""

    engine: Engine
    _inode: int = field(default=0, init=False)

    @property
    def path(self) -> str:
        """The path of the file; empty if there is no file."""
        path = self.engine.url.database or ""
        usual = self.engine.dialect.name == "sqlite" and path != ":memory:" and not path.startswith("file:")
        return path if usual else ""

    @property
    def vanished(self) -> Phrase:
        """Return a sentence if the file is missing; empty if it is there, or the database is no file."""
        gone = self.path and not os.path.exists(self.path)
        return Phrase("the database %(path)s is not there", path=self.path) if gone else NOTHING

    def look(self) -> None:
        """Refuse to write into a file that was removed or replaced.

        :raises ResourceClosedError: the file was there, and is gone.
        """
        if not self.path:
            return
        try:
            inode = os.stat(self.path).st_ino
        except OSError as error:
            self.engine.dispose()
            if self._inode:
                raise ResourceClosedError(self.vanished) from error
            return
        if self._inode not in (0, inode):
            self.engine.dispose()
        self._inode = inode


HURRY_MS = 50
READING_MS = 200
"""The wait of a reader, or a send, for another process: less than a second."""
PATIENCE_MS = 5_000
KEPT, MORE = 1, 4
SECONDS = 10
"""Seconds of waiting for a connection after which the database counts as away."""


def own_engine(engine: Engine) -> Engine:
    """Return *engine* with a pool of its own, or *engine* itself if nobody can wait, or the connection is the database.

    A pool that opens connections without a limit, or one for each thread, makes nobody wait. A database in memory
    is gone with its connection, so the host's connection is shared.
    """
    bounded = isinstance(engine.pool, QueuePool | AssertionPool)
    return _OwnEngine(engine) if bounded and not _in_memory(engine) else engine


def passing_engine(tables: Sequence[Table]) -> Engine:
    """Return a database in memory with *tables*. It is gone with its engine."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    tables[0].metadata.create_all(engine, tables=tables)
    return engine


def _in_memory(engine: Engine) -> bool:
    name = engine.url.database or ""
    return engine.dialect.name == "sqlite" and (not name or ":memory:" in name or "mode=memory" in str(engine.url))


class _OwnEngine(OptionEngine):
    """An engine with dialect, events and options of the host's engine, also later ones."""

    def __init__(self, host: Engine) -> None:
        # A forked process must not use its parent's connections, nor close them by dropping the pool.
        self._pools: dict[int, Pool] = {}
        super().__init__(host, {})
        event.listen(host, "engine_disposed", self._close)

    @property
    def pool(self) -> Pool:  # type: ignore[override]
        """The pool of this process. It is made at first use, so that the host can add listeners until then."""
        process = os.getpid()
        return self._pools.get(process) or self._pools.setdefault(process, self._made())

    def dispose(self, close: bool = True) -> None:
        """Close the connections of the host's engine, and ours with them."""
        self._proxied.dispose(close)

    def _made(self) -> Pool:
        like = self._proxied.pool
        return QueuePool(
            like._creator,
            pool_size=KEPT,
            max_overflow=MORE,
            timeout=SECONDS,
            pre_ping=like._pre_ping,
            recycle=like._recycle,
            reset_on_return=like._reset_on_return,
            dialect=like._dialect,
            _dispatch=like.dispatch,
        )

    def _close(self, _host: Any) -> None:
        if own := self._pools.pop(os.getpid(), None):
            own.dispose()


def is_made(connection: Connection, table: Table) -> bool:
    """Say whether the database has a table. A host that has not migrated yet lacks new ones."""
    return inspect(connection).has_table(table.name, connection.schema_for_object(table))


@contextmanager
def reading(file: SqliteFile) -> Iterator[Connection]:
    """Yield a connection on which no question waits long for somebody who locks a whole table, or SQLite's file.

    :param file: the engine, and the file behind it.
    :raises ResourceClosedError: the file is gone.
    """
    file.look()
    with _discreet(), file.engine.connect() as connection:
        kind = connection.dialect.name
        if kind == "postgresql":
            plan = ", set_config('jit', 'off', true)" if (connection.dialect.server_version_info or ()) >= (11,) else ""
            # To compile a query of many sums takes a second, and running it some milliseconds.
            connection.exec_driver_sql(f"SELECT set_config('lock_timeout', '{READING_MS}', true){plan}")
            yield connection
        elif kind == "sqlite":
            with _changed(connection, "PRAGMA busy_timeout", "PRAGMA busy_timeout = {}", READING_MS):
                yield connection
        else:  # MySQL counts in seconds
            with _changed(connection, "SELECT @@lock_wait_timeout", "SET lock_wait_timeout = {}", 1):
                yield connection


@contextmanager
def writing(engine: Engine, patient: bool) -> Iterator[Connection]:
    """Yield a connection, and commit what was written on it, or roll it back.

    :param patient: see :meth:`.Database.transaction`.
    """
    with _discreet(), _connected(engine) as connection, _waiting(connection, patient):
        try:
            yield connection
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


def _connected(engine: Engine) -> Connection:
    connection = engine.connect()
    if connection.dialect.name == "sqlite":
        return connection
    # Each statement must see what other drainers have committed, or counts are too low.
    level = {"isolation_level": "READ COMMITTED"}
    try:
        return connection.execution_options(**level)
    except engine.dialect.loaded_dbapi.Error:  # of MySQL: the server has closed what lay in the pool
        connection.invalidate()
        connection.close()
        engine.dispose()
        return engine.connect().execution_options(**level)


@contextmanager
def _waiting(connection: Connection, patient: bool) -> Iterator[None]:
    """Limit the time for which *connection* waits for locks, and restore the setting at the end."""
    milliseconds = PATIENCE_MS if patient else HURRY_MS
    if connection.dialect.name == "postgresql":
        # Without statistics, as in a new table, PostgreSQL takes a batch of messages for half of the table, and
        # reads the whole table for each message.
        plan = "set_config('enable_seqscan', 'off', true)"
        connection.exec_driver_sql(f"SELECT set_config('lock_timeout', '{milliseconds}', true), {plan}")
        yield
        return
    if connection.dialect.name == "sqlite":
        look, change = "PRAGMA busy_timeout", "PRAGMA busy_timeout = {}"
        limit = None if patient or isinstance(connection.engine.pool, StaticPool) else HURRY_MS
    else:
        look, change = "SELECT @@innodb_lock_wait_timeout", "SET innodb_lock_wait_timeout = {}"
        limit = max(1, milliseconds // 1_000)  # MySQL counts in seconds
    if limit is None:
        yield
        return
    with _changed(connection, look, change, limit):
        yield


@contextmanager
def _changed(connection: Connection, look: str, change: str, value: int) -> Iterator[None]:
    """Set an option of the session, and restore it at the end."""
    usual = connection.exec_driver_sql(look).scalar()
    connection.exec_driver_sql(change.format(value))
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql(change.format(usual))


@contextmanager
def _discreet() -> Iterator[None]:
    """Keep parameters, such as addresses and tokens, out of the texts of database errors."""
    try:
        yield
    except StatementError as error:
        error.hide_parameters = True
        raise
