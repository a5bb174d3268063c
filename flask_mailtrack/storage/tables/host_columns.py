"""Columns that the host has added to our tables: who gives them a value when a row of ours is written.

What was said with the message stands on its row; events, opt-outs and audit rows take the columns of the same
name from there; and what is NOT NULL and missing still is asked of the host's function.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

from sqlalchemy import Column, Connection, Enum, Table, select

from flask_mailtrack.events import Hit, SentMessage
from flask_mailtrack.models import Models, own_columns
from flask_mailtrack.phrases import Phrase

Fill = Callable[[str, Any], Mapping[str, Any]]
"""Called with ``Message``, ``Event``, ``OptOut``, ``Link`` or ``Audit``, and the record that a row is made of."""

_KEPT = (str, int, float, bool, type(None), uuid.UUID, date, Decimal)
_WIDER: dict[type, tuple[type, ...]] = {float: (int, Decimal), Decimal: (int, float), bool: (), int: ()}


UNFILLED = Phrase("NOT NULL, and filled by nobody, so no row is stored")
UNFILLED_WITHOUT_MAIL = Phrase(
    "NOT NULL, and filled only by track(message, columns=...), so rows of other mail, of an import and of "
    "mailtrack.suppress() are not stored"
)
CURE = Phrase("give the column a default or a server_default, or name it in Mailtrack(..., fill=function)")


class HostColumns:
    """Knows the columns of the host's on each of our tables.

    :param fill: gives the missing NOT NULL columns of a row; must not need a connection of the engine's pool.
    """

    def __init__(self, models: Models, fill: Fill | None = None) -> None:
        self._fill = fill
        self._names = {model.__table__: each.name for each, model in zip(fields(models), models, strict=True)}
        self._all = {model.__table__: own_columns(model) for model in models}
        self._needed = {table: {c.name for c in columns if _is_needed(c)} for table, columns in self._all.items()}
        self._message: Table = models.Message.__table__
        on_message = {c.name for c in self._all[self._message]}
        self._shared = {table: {c.name for c in columns} & on_message for table, columns in self._all.items()}

    def has(self, table: Table) -> bool:
        """Say whether the host has added anything to *table*."""
        return bool(self._all[table])

    def unfilled(self) -> tuple[list[str], list[str]]:
        """Return the NOT NULL columns that nobody gives a value, and those that have one only where a mail brings it.

        The host's function may give all of them.
        """
        never: list[str] = []
        with_mail: list[str] = []
        for table, columns in self._needed.items() if self._fill is None else ():
            for name in sorted(columns):
                brought = table is self._message or name in self._shared[table]
                (with_mail if brought else never).append(f"{table.fullname}.{name}")
        return never, with_mail

    def of_messages(self, connection: Connection, records: Iterable[Any], *tables: Table) -> dict[uuid.UUID, Any]:
        """Return what stands on the messages of hits in columns that *tables* have, too, by message."""
        names = sorted(set().union(*(self._shared[table] for table in tables)))
        ids = {record.message_id for record in records} if names else set()
        if not ids:
            return {}
        key = self._message.c.id
        query = select(key, *(self._message.c[name] for name in names)).where(key.in_(sorted(ids)))
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in connection.execute(query)}

    def values(self, table: Table, record: Any, messages: Mapping[uuid.UUID, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the host's columns for the row of *record* in *table*.

        :raises Exception: what the host's function raises; it costs this record.
        """
        if not self._all[table]:
            return {}
        given: Mapping[str, Any] = {}
        if isinstance(record, SentMessage):
            given = record.columns
        elif isinstance(record, Hit):
            given = messages.get(record.message_id, {})
        known = {c.name for c in self._all[table]}
        found = {name: value for name, value in given.items() if name in known and value is not None}
        missing = self._needed[table] - found.keys()
        if missing and self._fill is not None:
            told = self._fill(self._names[table], record)
            found |= {name: told[name] for name in missing if name in told}
        return found

    def complete(
        self, table: Table, rows: Sequence[dict[str, Any]], records: Sequence[Any], messages: Mapping[uuid.UUID, Any]
    ) -> list[dict[str, Any]]:
        """Return *rows*, each made of one of *records*, with the host's columns."""
        if not self.has(table):
            return list(rows)
        return [row | self.values(table, record, messages) for row, record in zip(rows, records, strict=True)]


def _is_needed(column: Column[Any]) -> bool:
    given = column.default is not None or column.server_default is not None or column.computed is not None
    numbered = column.primary_key and column.table.autoincrement_column is column
    return not (column.nullable or given or numbered)


def check(model: Any, values: Mapping[str, Any]) -> None:
    """Look at the values that a mail brings for the host's columns of a model.

    :raises TypeError: a value of a kind that its column does not take.
    :raises ValueError: a column that the host has not added, or a value that it cannot hold.
    """
    columns = {column.name: column for column in own_columns(model)}
    for name, value in values.items():
        if name not in columns:
            known = ", ".join(sorted(columns)) or "none"
            raise ValueError(f"columns has {name!r}, which you have not added to {model.__name__}. There are: {known}.")
        if not isinstance(value, _KEPT):
            raise TypeError(f"columns[{name!r}] is {value!r}: write text, a number, a UUID, a date or a Decimal.")
        _check_value(name, columns[name], value)


def _check_value(name: str, column: Column[Any], value: Any) -> None:
    if value is None:
        if not column.nullable:
            raise ValueError(f"columns[{name!r}] is None, and the column is NOT NULL.")
        return
    try:
        kind = column.type.python_type
    except NotImplementedError:  # a type of the host's own
        return
    if isinstance(column.type, Enum):
        if value not in column.type.enums:
            raise ValueError(f"columns[{name!r}] is {value!r}: write one of {', '.join(column.type.enums)}.")
        return
    if not isinstance(value, (kind, *_WIDER.get(kind, ()))) or (kind is date and isinstance(value, datetime)):
        raise TypeError(f"columns[{name!r}] is {value!r}: write a value of type {kind.__name__}.")
    if isinstance(value, str) and (len(value) > (getattr(column.type, "length", 0) or len(value)) or "\0" in value):
        raise ValueError(f"columns[{name!r}] is longer than its column, or has a NUL.")
    if isinstance(value, float | Decimal) and not isfinite(value):
        raise ValueError(f"columns[{name!r}] is {value!r}: write a number.")
