"""Events by month: on PostgreSQL, their table may be cut by ranges of its key, which is in the order of time.

A month that is too old is dropped at once, whatever it holds. Partitions stand in a schema of their own, where the
migrations of the host do not look for tables. What belongs to no month goes to a partition named ``rest``, so that no
event is refused because nobody has made a month in time.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, MetaData, Table, TextClause, text

from flask_mailtrack.columns import key_of
from flask_mailtrack.events import born, first_id, now

from .database import Database

AHEAD = 3
"""Months that are made before they come."""
MOST_ROWS = 1_000_000
"""Rows that are copied in one transaction, during which nothing else is stored."""
_OLDEST = 120
"""Months before the present one that are made when a table is converted."""
_BOUND = re.compile(r"FROM \('([0-9a-f-]{36})'\) TO \('([0-9a-f-]{36})'\)")
REST = "rest"


Run = Callable[[str], list[Any]]
"""Runs a statement, and returns its rows."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of the events."""

    name: str
    """With its schema, quoted."""
    first: datetime | None
    """When it begins; none for what belongs to no month."""
    end: datetime | None
    rows: int
    """About how many there are, as PostgreSQL reckons."""


class Partitions:
    """Knows the partitions of the events, makes them ahead, and drops old ones.

    :raises SQLAlchemyError: in each method, if the database could not do it now; half a month is never made.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._event = database.event
        quote = database.engine.dialect.identifier_preparer
        self._quote = quote.quote
        self._name = quote.format_table(database.event)

    def there(self) -> bool:
        """Say whether the events are partitioned."""
        return self._is_postgresql and self._kind() == "p"

    def obstacle(self) -> str:
        """Say why the table cannot be converted, in a sentence; empty if it can."""
        if not self._is_postgresql:
            return (
                f"{self._name} is on {self._database.engine.dialect.name}: only PostgreSQL has partitions of this kind."
            )
        key = [column.name for column in self._event.primary_key.columns]
        if key != ["id"] or key_of(self._event) != ("id",):
            return f"The key of {self._name} is {', '.join(key)}: partitions need id, and nothing else, as the key."
        kind = self._kind()
        if kind != "r":
            told = {"": "is not there: make the tables first", "p": "has partitions already"}.get(
                kind, "is no plain table"
            )
            return f"{self._name} {told}."
        for what, question in _OBSTACLES.items():
            if self._ask(question):
                return f"{self._name} has {what}, which would not survive: take that away first."
        if len(self._ask(f"SELECT 1 FROM {self._name} LIMIT {MOST_ROWS + 1}")) > MOST_ROWS:  # noqa: S608
            return f"{self._name} has more than {MOST_ROWS:,} rows: see the README for how to move them."
        return ""

    def convert(self, ahead: int = AHEAD) -> None:
        """Cut the table by months, in one transaction; see :meth:`obstacle` first.

        :param ahead: months after the present one that are made.
        """
        with self._changing() as run:
            run(f"LOCK TABLE {self._name} IN ACCESS EXCLUSIVE MODE")
            columns, grants, owner = self._columns(run), run(_GRANTS), run(_OWNER)[0][0]
            whole = self._put_aside(run)
            run(f"CREATE SCHEMA IF NOT EXISTS {self._schema(run)}")
            run(f"CREATE TABLE {self._schema(run)}.{REST} PARTITION OF {self._name} DEFAULT")
            oldest = run(f"SELECT id FROM {whole} ORDER BY id LIMIT 1")  # noqa: S608 - names that are quoted
            self._make(run, born(oldest[0][0]) if oldest else now(), ahead)
            run(f"INSERT INTO {self._name} ({columns}) SELECT {columns} FROM {whole}")  # noqa: S608
            run(f"DROP TABLE {whole}")
            for privilege, grantee in grants:
                run(f"GRANT {privilege} ON {self._name} TO {grantee}")
            run(f"ALTER TABLE {self._name} OWNER TO {owner}")

    def _put_aside(self, run: Run) -> str:
        """Give the table another name, make one like it that has no parts yet, and return the name."""
        old = self._quote(f"{self._event.name}_whole"[-63:])
        whole = f"{self._quote(self._event.schema)}.{old}" if self._event.schema else old
        key, indexes = run(_KEY)[0][0], run(_INDEXES)
        # Names of indexes are the schema's, and the new table shall have the same.
        run(f"ALTER TABLE {self._name} DROP CONSTRAINT {self._quote(key)}")
        for name, _ in indexes:
            run(f"DROP INDEX {name}")
        run(f"ALTER TABLE {self._name} RENAME TO {old}")
        like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS INCLUDING GENERATED INCLUDING STORAGE"
        run(f"CREATE TABLE {self._name} (LIKE {whole} {like}) PARTITION BY RANGE (id)")
        run(f"ALTER TABLE {self._name} ADD CONSTRAINT {self._quote(key)} PRIMARY KEY (id)")
        for _, definition in indexes:
            run(definition)
        return whole

    def all(self) -> list[Partition]:
        """Return the partitions, the oldest first."""
        return sorted(_read(self._ask(_PARTS)), key=lambda part: part.first or datetime.max.replace(tzinfo=UTC))

    def make_ahead(self, months: int = AHEAD) -> None:
        """Make the present month and those that come, as far as they are not there.

        :param months: after the present one.
        """
        with self._changing() as run:
            self._make(run, now(), months)

    def drop_before(self, moment: datetime, between: Callable[[], object] = lambda: None) -> int:
        """Drop the months that have ended at *moment*, and return about how many rows they had.

        :param between: called after each month.
        """
        gone = 0
        for part in self.all():
            if part.end is not None and part.end <= moment:
                with self._changing() as run:
                    run(f"DROP TABLE IF EXISTS {part.name}")
                gone += part.rows
                between()
        return gone

    def rest(self) -> Table:
        """Return the table of what belongs to no month."""
        return self._event.to_metadata(MetaData(), name=REST, schema=self._ask(_SCHEMA)[0][0])

    @property
    def _is_postgresql(self) -> bool:
        return self._database.engine.dialect.name == "postgresql"

    def _kind(self) -> str:
        found = self._ask("SELECT relkind FROM pg_class WHERE oid = to_regclass(:table)")
        return str(found[0][0]) if found else ""

    def _ask(self, question: str) -> list[Any]:
        return self._database.rows(self._bound(question))

    def _run(self, connection: Connection, statement: str) -> list[Any]:
        result = connection.execute(self._bound(statement))
        return list(result) if result.returns_rows else []

    def _bound(self, statement: str) -> TextClause:
        # A colon that is a part of what PostgreSQL has told of an index is no parameter.
        known = ":table" in statement
        return (
            text(statement).bindparams(table=self._name) if known else text(re.sub(r"(?<!:):(?!:)", r"\\:", statement))
        )

    @contextmanager
    def _changing(self) -> Iterator[Run]:
        """Yield what runs a statement, in a transaction that no other machine has at the same time."""
        with self._database.transaction() as connection:
            self._run(connection, "SELECT pg_advisory_xact_lock(hashtext(:table))")
            yield lambda statement: self._run(connection, statement)

    def _schema(self, run: Run) -> str:
        return self._quote(run(_SCHEMA)[0][0])

    def _columns(self, run: Run) -> str:
        """Return the columns that hold something of their own, for an INSERT."""
        return ", ".join(self._quote(row[0]) for row in run(_COLUMNS))

    def _make(self, run: Run, oldest: datetime, ahead: int) -> None:
        """Make the months from *oldest* to some time ahead; rows that have waited for theirs go there."""
        schema, present = self._schema(run), _number(now())
        known = {part.name for part in _read(run(_PARTS))}
        columns = self._columns(run)
        for number in range(max(_number(oldest), present - _OLDEST), present + ahead + 1):
            begin, end = _moment(number), _moment(number + 1)
            name = f"{schema}.m{begin:%Y_%m}"
            if name in known:
                continue
            low, high = (f"'{first_id(moment)}'" for moment in (begin, end))
            run(f"CREATE TABLE {name} (LIKE {self._name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED)")
            run(f"LOCK TABLE {schema}.{REST} IN ACCESS EXCLUSIVE MODE")
            waiting = f"DELETE FROM {schema}.{REST} WHERE id >= {low} AND id < {high} RETURNING *"  # noqa: S608
            run(f"WITH waiting AS ({waiting}) INSERT INTO {name} ({columns}) SELECT {columns} FROM waiting")  # noqa: S608
            run(f"ALTER TABLE {self._name} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})")


def _read(rows: Iterable[Any]) -> list[Partition]:
    found = []
    for name, bound, rows_ in rows:
        ends = _BOUND.search(bound)
        first, end = (born(uuid.UUID(each)) for each in ends.groups()) if ends else (None, None)
        found.append(Partition(name, first, end, max(0, int(rows_))))
    return found


def _number(moment: datetime) -> int:
    """Return the number of a month, in UTC."""
    utc = moment.astimezone(UTC)
    return utc.year * 12 + utc.month - 1


def _moment(number: int) -> datetime:
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


_SCHEMA = """SELECT left(n.nspname || '_' || c.relname, 56) || '_months' FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:table)"""
# As PostgreSQL reckons, by the statistics of the last ANALYZE or by what has been inserted since.
_PARTS = """SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_get_expr(c.relpartbound, c.oid),
GREATEST(c.reltuples, pg_stat_get_live_tuples(c.oid)) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = to_regclass(:table)"""
_COLUMNS = """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0
AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"""
_KEY = "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:table) AND contype = 'p'"
_INDEXES = """SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
WHERE i.indrelid = to_regclass(:table) AND NOT i.indisprimary"""
_OWNER = "SELECT pg_get_userbyid(relowner)::regrole::text FROM pg_class WHERE oid = to_regclass(:table)"
_GRANTS = """SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass(:table)"""
_OBSTACLES = {
    "triggers": "SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass(:table) AND NOT tgisinternal",
    "foreign keys": "SELECT 1 FROM pg_constraint WHERE contype = 'f' AND to_regclass(:table) IN (conrelid, confrelid)",
    "unique constraints": "SELECT 1 FROM pg_index WHERE indrelid = to_regclass(:table) AND indisunique "
    "AND NOT indisprimary",
    "row-level security": "SELECT 1 FROM pg_class WHERE oid = to_regclass(:table) AND relrowsecurity",
    "views over it": "SELECT 1 FROM pg_depend WHERE refobjid = to_regclass(:table) "
    "AND classid = 'pg_rewrite'::regclass",
    "identity columns": "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attidentity <> ''",
}
"""What a table may have that a new one would lack, and how to find it."""
