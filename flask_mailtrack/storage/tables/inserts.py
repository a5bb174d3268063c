"""Rows that are inserted many at a time: what is there already stays, or takes a fate while its own is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, case, literal_column
from sqlalchemy.dialects import mysql, postgresql, sqlite

from flask_mailtrack.columns import key_of
from flask_mailtrack.events import Status

MYSQL = ("mysql", "mariadb")
_FATE = ("error", "sent_at", "status")  # the status last: MySQL assigns in this order, and asks for it each time

Row = Sequence[Any]


def insert(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row], settle: bool) -> None:
    """Insert *rows*, ordered by their keys. Where fates are settled, no two may have the same.

    :param table: where they go; columns that the host has added get their defaults.
    :param names: of the columns, in the order of the values in a row; ``id`` is the key.
    :param settle: update the fate of a message that is there already, if it is still open; else such a
        row is left as it is.
    :raises StatementError: a value cannot be put on the wire; also what the driver raises.
    """
    if not rows:
        return
    key = names.index("id")
    # Two drainers that take locks in the same order do not wait for each other in a circle.
    ordered = sorted(rows, key=lambda row: row[key].int)
    statement = (insert_or_settle if settle else insert_or_ignore)(connection.dialect.name, table)
    connection.execute(statement, [dict(zip(names, row, strict=True)) for row in ordered])


def insert_or_ignore(dialect: str, table: Table) -> Any:
    """Return what inserts rows, and leaves those as they are whose key is there."""
    if dialect in MYSQL:
        key = table.c[key_of(table)[0]]
        # Not INSERT IGNORE, which also swallows values that do not fit.
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    keys = [table.c[name] for name in key_of(table)]
    return _insert(dialect, table).on_conflict_do_nothing(index_elements=keys)


def insert_or_settle(dialect: str, table: Table) -> Any:
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
    new = _insert(dialect, table)
    fate = {name: new.excluded[name] for name in _FATE}
    return new.on_conflict_do_update(index_elements=[table.c.id], set_=fate, where=open_still)


def _insert(dialect: str, table: Table) -> Any:
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
