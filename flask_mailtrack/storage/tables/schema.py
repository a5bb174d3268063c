"""What the database has of our tables, and whether it would let us write into them: for ``flask mailtrack check``."""

from __future__ import annotations

from sqlalchemy import false, inspect, select, update

from .database import Database


def missing_tables(database: Database) -> list[str]:
    """Return the names of our tables that the database lacks, in the schema that the models name."""
    if database.file.vanished:
        return [table.fullname for table in database.tables]
    with database.looking() as connection:
        there = inspect(connection)
        return [table.fullname for table in database.tables if not there.has_table(table.name, table.schema)]


def missing_columns(database: Database) -> list[str]:
    """Return the names of columns that the models have and the database lacks."""
    with database.looking() as connection:
        there = inspect(connection)
        found = {t.fullname: {each["name"] for each in there.get_columns(t.name, t.schema)} for t in database.tables}
    return [f"{t.name}.{c.name}" for t in database.tables for c in t.columns if c.name not in found[t.fullname]]


def try_to_write(database: Database) -> None:
    """Write nothing into each table, as far as the database would let us write something.

    :raises SQLAlchemyError: it would not: it is read-only, or we lack a right.
    """
    with database.transaction(patient=False) as connection:
        for table in database.tables:
            nothing = select(table).where(false())
            connection.execute(table.insert().from_select([c.name for c in table.columns], nothing))
            connection.execute(update(table).where(false()).values({table.columns.values()[0]: None}))
            connection.execute(table.delete().where(false()))
