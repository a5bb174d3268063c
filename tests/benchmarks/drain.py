"""What the drain costs beside a bare insert of the same rows. Run by hand.

``python tests/benchmarks/drain.py [ROWS]`` fills a spool with messages and the hits on them, then stores the
same events, in turns: with the drain (spool read, states kept, signals offered), with a bare batched
insert (SQLAlchemy Core, the same batch size), and, for fewer of them, with a commit for each: by Core ("each"),
and by a session, as a view would do it ("view"). "Whole" is the drain with all that an app adds to it: consent,
enrichment and hindsight; "heard" is the same with a receiver for each signal. It prints ratios of rows per second
on SQLite and, where it is there, on PostgreSQL. Keys are in the order of time.

``BENCH_POSTGRESQL`` is the URL of another server. What a commit costs is what the disk costs: with
``?options=-ccommit_delay%3D1000%20-ccommit_siblings%3D0`` at its end, each waits a millisecond more, as on many disks
that are rented.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import DeclarativeBase, Session

from flask_mailtrack import signals
from flask_mailtrack.consent import Consent
from flask_mailtrack.events import EventType, Hit, SentMessage, Status, Verdict, new_id
from flask_mailtrack.models import models_for
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.drain.drain import Drain, Tables
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.storage.tables.batch import EVENT_COLUMNS, event_row
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.optouts import OptOuts
from flask_mailtrack.storage.tables.second_look import Enrichment, Hindsight
from flask_mailtrack.storage.tables.unwanted import Silence
from flask_mailtrack.storage.tables.writer import Writer
from flask_mailtrack.thresholds import Thresholds
from flask_mailtrack.tokens import Signer

BATCH, ROUNDS, EACH = 1_000, 9, 400
POSTGRESQL = os.environ.get("BENCH_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
APP = Flask("bench")


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class _Host:
    Model = Base


MODELS = models_for(_Host())


def message() -> SentMessage:
    """A message that has gone out."""
    row = SentMessage(new_id(), new_id(), "ada@example.com", "news@example.com", "Hello", "<1@example.com>", START)
    return row._replace(tag="welcome", status=Status.SENT, sent_at=START, tracks_opens=True, tracks_clicks=True)


def hits(messages: list[SentMessage], count: int) -> list[Hit]:
    """*count* opens and clicks, which come in the order of the mails."""
    made = []
    for number in range(count):
        about = messages[number * len(messages) // count]
        kind = EventType.CLICKED if number % 3 == 0 else EventType.OPENED
        url = "https://example.com/offers/2026/november?utm_source=mail" if kind == EventType.CLICKED else ""
        moment = START + timedelta(milliseconds=number)
        client = {"client": "Apple Mail", "os": "iOS", "device": "phone", "ip": "192.0.2.0"}
        hit = Hit(new_id(), about.id, kind, moment, url=url, user_agent=AGENT, **client)
        made.append(hit._replace(verdict=Verdict.HUMAN, ref="abcdefghij", link=0 if url else None))
    return made


@contextmanager
def database(url: str) -> Iterator[Database]:
    """An empty database with the tables."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":  # as a host would have it that cares for speed, and as perf.md measured
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA journal_mode=WAL"))
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=NORMAL"))
    Base.metadata.create_all(engine)
    yield Database(engine, MODELS)
    engine.dispose()


def as_dict(hit: Hit) -> dict[str, Any]:
    """The row of a hit as SQLAlchemy takes it."""
    return dict(zip(EVENT_COLUMNS, event_row(hit), strict=True))


def bare(store: Database, rows: list[dict[str, Any]], size: int) -> None:
    """Insert *rows*, *size* in a transaction, and nothing else."""
    for start in range(0, len(rows), size):
        with store.engine.begin() as connection:
            connection.execute(sa.insert(store.event), rows[start : start + size])


def by_session(store: Database, rows: list[dict[str, Any]]) -> None:
    """Add and commit each of *rows* as a view does that has only its one hit at hand."""
    for row in rows:
        with Session(store.engine) as session:
            session.add(MODELS.Event(**row))
            session.commit()


def timed(work: Callable[[], object]) -> float:
    """Seconds that *work* takes, without the collector's."""
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    gc.enable()
    return took


def whole_writer(store: Database) -> Writer:
    """As an app has it that has configured everything."""
    consent = Consent(None, when_unknown=True)
    silence = Silence(store, OptOuts(store, Signer(["k" * 40]), consent=consent), consent)
    return Writer(store, Enrichment(), Hindsight(Thresholds()), silence)


def listened(run: Callable[[], object]) -> None:
    """Run while somebody listens to each signal."""

    def listen(sender: object, event: object) -> None:
        """Stands for a receiver of the host's, which costs what it costs."""

    with signals.message_opened.connected_to(listen), signals.link_clicked.connected_to(listen):
        run()


def one_round(store: Database, folder: Path, count: int, order: int) -> dict[str, float]:
    """Rows per second of each way, on rows of its own."""
    messages = [message() for _ in range(count // 5)]
    spools = [Spool(folder, stream, "off") for stream in ("events", "optouts")]
    drain = Drain(spools, Tables(Writer(store), Announcer(APP)), BATCH)
    spools[0].append(*map(to_json, messages))
    drain.run()
    for hit in hits(messages, count):
        spools[0].append(to_json(hit))
    drains = {}
    for name in ("whole", "heard"):
        other = [Spool(folder / name, stream, "off") for stream in ("events", "optouts")]
        drains[name] = Drain(other, Tables(whole_writer(store), Announcer(APP)), BATCH)
        for hit in hits(messages, count):
            other[0].append(to_json(hit._replace(client="", os="", device="")))
    rows = [as_dict(hit) | {"id": uuid.UUID(int=hit.id.int ^ 1)} for hit in hits(messages, count)]
    few, viewed = ([row | {"id": uuid.UUID(int=row["id"].int ^ k)} for row in rows[:EACH]] for k in (2, 4))
    ways: list[tuple[str, int, Callable[[], object]]] = [
        ("drain", count, drain.run),
        ("whole", count, drains["whole"].run),
        ("heard", count, lambda: listened(drains["heard"].run)),
        ("bare", count, lambda: bare(store, rows, BATCH)),
        ("each", EACH, lambda: bare(store, few, 1)),
        ("view", EACH, lambda: by_session(store, viewed)),
    ]
    return {name: size / timed(work) for name, size, work in ways[order % 6 :] + ways[: order % 6]}


def report(url: str, count: int) -> None:
    """Print the ratios for one kind of database."""
    with tempfile.TemporaryDirectory() as folder, database(url) as store:
        rounds = [one_round(store, Path(folder) / "spool", count, number) for number in range(ROUNDS)]
    for way in ("drain", "whole", "heard"):
        to_bare = statistics.median(each[way] / each["bare"] for each in rounds)
        to_each, to_view = (statistics.median(each[way] / each[other] for each in rounds) for other in ("each", "view"))
        best = max(each[way] for each in rounds) / max(each["bare"] for each in rounds)
        speed = statistics.median(each[way] for each in rounds)
        name = f"{store.engine.dialect.name} {way}"
        commits = f"{to_each:.1f} times a commit each, {to_view:.1f} times a view's"
        ratios = f"{to_bare:.2f} of bare (best of each: {best:.2f})  {commits}"
        print(f"{name:18}{speed:8.0f} rows/s  {ratios}")


def main() -> None:
    """Measure SQLite, then PostgreSQL in a database of its own."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with tempfile.TemporaryDirectory() as folder:
        report(f"sqlite:///{folder}/bench.sqlite3", count)
    server = sa.create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    name = f"mailtrack_bench_{uuid.uuid4().hex[:8]}"
    try:
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    except sa.exc.OperationalError:
        print("PostgreSQL is not there")
        return
    report(sa.make_url(POSTGRESQL).set(database=name).render_as_string(hide_password=False), count)
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


if __name__ == "__main__":
    main()
