"""How long a report takes on ten million events. Run by hand.

``python tests/benchmarks/figures.py`` makes a year of mail (see ``mailings.py``) in SQLite and in PostgreSQL. It asks
each of the ``questions.py`` five times after a first one, of which the best counts, and once in plain SQL beside it.
It prints milliseconds, and how many times as long SQL took. The exit code is 1 if an answer takes longer than the
limit, or if the two ways do not agree.

- ``--limit 50``: milliseconds.
- ``--events 1000000``: another size than ten million.
- ``--only sqlite``: one of the databases.
- ``--keep FOLDER``: leave the SQLite file there, and the database of PostgreSQL, and take them the next time.

``BENCH_POSTGRESQL`` is the URL of another server than the local one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from mailings import COHORT_COLUMNS, EVENT_COLUMNS, LINK_COLUMNS, MESSAGE_COLUMNS, SECRET, Mailings, Row
from questions import Question, questions

from flask_mailtrack import Mailtrack

POSTGRESQL = os.environ.get("BENCH_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
_NAMES = {"Message": MESSAGE_COLUMNS, "Event": EVENT_COLUMNS, "Link": LINK_COLUMNS, "Cohort": COHORT_COLUMNS}


class Host:
    """An app whose tables are in one database.

    :param url: of the database.
    :param folder: for its journal.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.app = Flask("figures", instance_path=str(folder))
        self.app.config.update(
            SECRET_KEY=SECRET,
            SQLALCHEMY_DATABASE_URI=url,
            MAILTRACK_BASE_URL="https://links.example.com",
            MAILTRACK_DRAIN="manual",
            MAILTRACK_SPOOL_DIR=str(folder / "journal"),
            MAILTRACK_SPOOL_FALLBACK_DIR=str(folder / "second"),
        )
        self.db, mail = SQLAlchemy(self.app), Mail(self.app)
        self.mailtrack = Mailtrack(self.app, mail=mail, db=self.db)

    def fill(self, mailings: Mailings) -> None:
        """Make the tables, with their rows, and have the sums counted."""
        models = self.mailtrack.models
        with self.app.app_context():
            self.db.create_all()
            big = [models.Message.__table__, models.Event.__table__]
            indexes = [index for table in big for index in table.indexes]
            for index in indexes:  # built once at the end, that takes a third of the time
                index.drop(self.db.engine)
            load = (_copied if self.db.engine.dialect.name == "postgresql" else _inserted)(self.db.engine, models)
            with closing(load):
                next(load)
                mailings.write(lambda name, rows: load.send((name, rows)))
            for index in indexes:
                index.create(self.db.engine)
            with self.db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ANALYZE")

    def run(self, *arguments: str) -> None:
        """Run one of our commands."""
        result = self.app.test_cli_runner().invoke(args=["mailtrack", *arguments], catch_exceptions=False)
        if result.exit_code:
            raise SystemExit(result.output)


Load = Iterator[Any]


def _whole(table: sa.Table, given: Sequence[str]) -> tuple[list[str], Row]:
    """Return the columns that are written, and the values of those that are not given."""
    more = [c for c in table.columns if c.name not in given and not c.nullable]
    values = tuple(c.default.arg for c in more)  # type: ignore[union-attr]
    return [*given, *(c.name for c in more)], values


def _inserted(engine: sa.Engine, models: Any) -> Any:
    """Take rows and insert them into SQLite."""
    raw = engine.raw_connection()
    raw.execute("PRAGMA journal_mode=OFF")  # type: ignore[attr-defined]
    raw.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]
    raw.execute("PRAGMA cache_size=-400000")  # type: ignore[attr-defined]
    try:
        while True:
            name, rows = yield
            names, more = _whole(getattr(models, name).__table__, _NAMES[name])
            places = ", ".join("?" * len(names))
            table = getattr(models, name).__tablename__
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"
            raw.cursor().executemany(statement, [row + more for row in rows])
            if name == "Message":
                raw.commit()
    finally:
        raw.commit()
        raw.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]
        raw.close()
        engine.dispose()


def _copied(engine: sa.Engine, models: Any) -> Any:
    """Take rows and copy them into PostgreSQL."""
    raw = engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("SET TIME ZONE 'UTC'")
    for name in _NAMES:  # else each row would be written twice, and the disk is everybody's
        cursor.execute(f"ALTER TABLE {getattr(models, name).__tablename__} SET UNLOGGED")
    try:
        while True:
            name, rows = yield
            names, more = _whole(getattr(models, name).__table__, _NAMES[name])
            table, tail = getattr(models, name).__tablename__, "".join(f"\t{_text(value)}" for value in more)
            lines = ["\t".join(map(_text, row)) + tail for row in rows]
            with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                copy.write("\n".join(lines) + "\n" if lines else "")
            if name == "Message":
                raw.commit()
    finally:
        raw.commit()
        raw.close()


def _text(value: Any) -> str:
    return "\\N" if value is None else str(int(value) if isinstance(value, bool) else value)


@contextmanager
def database(kind: str, folder: Path, name: str, keep: bool) -> Iterator[tuple[str, bool]]:
    """Yield the URL of a database of our own, and whether it is there already."""
    if kind == "sqlite":
        path = folder / f"{name}.sqlite3"
        yield f"sqlite:///{path}", path.exists()
        return
    server = sa.create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        there = connection.scalar(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name})
        if not there:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(POSTGRESQL).set(database=name).render_as_string(hide_password=False), bool(there)
    finally:
        if not keep:
            with server.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()


def measured(host: Host, limit: float) -> bool:
    """Ask every question, print how long it took, and say whether all is well."""
    good = True
    with host.app.app_context():
        engine = host.db.engine
        postgresql = engine.dialect.name == "postgresql"
        day = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD')" if postgresql else "substr({}, 1, 10)"
        with engine.connect() as connection:
            some = "SELECT id, recipient FROM mailtrack_message WHERE click_count > 3 AND status = 'sent' LIMIT 1"
            message_id, address = connection.exec_driver_sql(some).one()
            asked = questions("campaign-000", day, address, str(uuid.UUID(str(message_id))))
            for each in asked:
                answer, took = _best(each, host.mailtrack.reports)
                ratio, agree = "", True
                if each.sql:
                    began = time.perf_counter()
                    rows = [tuple(row) for row in connection.exec_driver_sql(each.sql)]
                    ratio = f"{(time.perf_counter() - began) * 1_000 / took:10.1f} times as long in SQL"
                    agree = sorted(map(repr, each.read(answer))) == sorted(map(repr, each.mend(rows)))
                good = good and agree and took <= limit
                told = ("" if agree else "  THE ANSWERS DIFFER") + ("" if took <= limit else "  TOO SLOW")
                print(f"{engine.dialect.name:11}{each.name:44}{took:8.1f} ms{ratio}{told}", flush=True)
    return good


def _best(question: Question, reports: Any) -> tuple[Any, float]:
    """Return the answer, and the least milliseconds that it takes when it is asked again."""
    answer, times = question.ask(reports), []
    for _ in range(5):
        began = time.perf_counter()
        answer = question.ask(reports)
        times.append((time.perf_counter() - began) * 1_000)
    return answer, min(times)


def main() -> None:
    """Make the data, and measure on each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--limit", type=float, default=50.0)
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as passing:
        folder = given.keep or Path(passing)
        for kind in (given.only,) if given.only else ("sqlite", "postgresql"):
            name = f"mailtrack_figures_{given.events}" + ("" if given.keep else f"_{os.getpid()}")
            with database(kind, folder, name, bool(given.keep)) as (url, there):
                host = Host(url, folder / f"{kind}_{given.events}")
                if not there:
                    began = time.perf_counter()
                    host.fill(Mailings(given.events, given.seed))
                    print(f"{kind}: {given.events} events made in {time.perf_counter() - began:.0f} s")
                    began = time.perf_counter()
                    host.run("rebuild")
                    print(f"{kind}: summed in {time.perf_counter() - began:.0f} s", flush=True)
                good = measured(host, given.limit) and good
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
