"""One link, replayed: what a hit costs when its message has 200,000 events already, against what the first cost.

.. code-block:: text

    python tests/benchmarks/replay.py [URL of an empty database] [hits]
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from flask_mailtrack.events import EventType, Hit, SentMessage, Status, Verdict, new_id, now
from flask_mailtrack.models import models_for
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.storage.tables.counts import Recount
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.second_look import Hindsight
from flask_mailtrack.storage.tables.writer import Writer
from flask_mailtrack.thresholds import Thresholds

BATCH, MEASURED, LIMIT = 1_000, 10_000, 1.3


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class _Host:
    """Stands for the host's ``db``."""

    Model = Base


MODELS = models_for(_Host())


def main(url: str, hits: int) -> bool:
    """Drain the hits, print what the first and the last cost, and say whether that is in proportion."""
    database = Database(sa.create_engine(url), MODELS)
    Base.metadata.create_all(database.engine)
    writer = Writer(database, hindsight=Hindsight(Thresholds()))
    begun = now()
    sent = SentMessage(
        new_id(), new_id(), "ada@example.com", "", "", "", begun, Status.SENT, tracks_clicks=True, link_count=3
    )
    writer.store([to_json(sent)], print)
    took = []
    for start in range(0, hits, BATCH):
        moments = (begun + timedelta(seconds=60, milliseconds=number) for number in range(start, start + BATCH))
        bodies = [
            to_json(Hit(new_id(), sent.id, EventType.CLICKED, moment, link=0, verdict=Verdict.HUMAN, ip="192.0.2.0"))
            for moment in moments
        ]
        began = time.perf_counter()
        writer.store(bodies, print)
        took.append(time.perf_counter() - began)
    several = MEASURED // BATCH
    first, last = sum(took[:several]), sum(took[-several:])
    figures = ("open_count", "click_count", "machine_count")
    query = sa.select(*(database.message.c[name] for name in figures))
    kept = database.rows(query)
    Recount(database).run()
    same = database.rows(query) == kept
    print(f"{database.engine.dialect.name}: {hits} hits in {sum(took):.1f} s; first {MEASURED}: {first:.2f} s,")
    print(f"last {MEASURED}: {last:.2f} s, {last / first:.2f} times; rebuild gives the same: {same}")
    return last <= LIMIT * first and same


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        where = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{Path(place) / 'replay.sqlite3'}"
        sys.exit(not main(where, int(sys.argv[2]) if len(sys.argv) > 2 else 200_000))
