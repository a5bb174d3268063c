"""A batch of rows as one JSON document, which PostgreSQL takes apart.

psycopg sends each row of a batch in a message of its own. One document for all rows takes less than half of the time
(tests/benchmarks/drain.py).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Integer,
    String,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    column,
    func,
    select,
)

from flask_mailtrack.columns import UUIDS, DateTime

_PLAIN = (BigInteger, Boolean, DateTime, Integer, JSON, String, Text, *UUIDS)


def fits(dialect: Dialect, table: Table, rows: Sequence[dict[str, Any]]) -> bool:
    """Say whether JSON can hold the columns of *rows*, and the database itself fills in the other columns."""
    for of in table.columns:
        if of.name not in rows[0]:
            if of.default is not None:  # only SQLAlchemy can ask the host's function for each row
                return False
        elif not _is_plain(of, dialect, (row[of.name] for row in rows)):
            return False
    return True


def rows_of_document(table: Table, names: Sequence[str]) -> Any:
    """Return a query for the rows of the parameter ``document``, which is a list of dicts.

    :param names: of the columns.
    """
    # Texts have no length here: PostgreSQL would cut off a longer text and say nothing.
    columns = [column(name, Text() if isinstance(table.c[name].type, String) else table.c[name].type) for name in names]
    document = cast(bindparam("document", type_=_Document), JSON)
    rows = func.json_to_recordset(document).table_valued(*columns).render_derived(with_types=True)
    return select(*(rows.c[name] for name in names))


class _Document(TypeDecorator[list[dict[str, Any]]]):
    """Rows as the text of a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Write the rows. A value that JSON cannot hold raises TypeError, which SQLAlchemy makes a StatementError."""
        return _write(value)


def _as_text(value: Any) -> str:
    if isinstance(value, uuid.UUID):
        return value.hex  # half the time of str(value), and two of them are in each row
    if isinstance(value, datetime):
        return str(value if value.tzinfo else value.replace(tzinfo=UTC))
    raise TypeError(f"{type(value).__name__} is no value of a column")


_write = json.JSONEncoder(default=_as_text).encode


def _is_plain(of: Column[Any], dialect: Dialect, values: Iterable[Any]) -> bool:
    """Say whether values are stored as they are. A type of the host's may make something else of them."""
    if type(of.type) not in _PLAIN:
        return False
    if isinstance(of.type, JSON) and not of.type.none_as_null and None in values:  # stored as the JSON null
        return False
    stored = of.type.dialect_impl(dialect)
    return type(stored) is type(of.type) or not isinstance(stored, TypeDecorator)
