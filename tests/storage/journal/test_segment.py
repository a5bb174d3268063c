"""Nobody waits for another process: one that is frozen, or one that holds a lock of the database."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite
from sqlalchemy.exc import DBAPIError

from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/">go</a>'


def test_a_drain_leaves_the_segment_of_a_frozen_writer(tmp_path: Path) -> None:
    """A worker that is frozen between lock and write holds up its own segment, and nobody's drain."""
    frozen, other = Spool(tmp_path, "events"), Spool(tmp_path, "events")
    frozen.append({"n": 1})
    other.append({"n": 2})
    fcntl.flock(frozen._fd, fcntl.LOCK_SH)
    began = time.monotonic()
    assert [record for segment in other.take() for record in segment.records()] == [{"n": 2}]
    assert time.monotonic() - began < 1
    fcntl.flock(frozen._fd, fcntl.LOCK_UN)
    left = [record for segment in other.take() for record in segment.records()]
    assert {"n": 1} in left


def test_a_writer_goes_on_in_a_new_segment_when_a_drainer_is_frozen(tmp_path: Path) -> None:
    """A drainer that is frozen while it seals a segment keeps no reader waiting."""
    spool = Spool(tmp_path, "events")
    spool.append({"n": 1})
    (path,) = spool.files()
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    began = time.monotonic()
    spool.append({"n": 2})
    assert time.monotonic() - began < 1
    os.close(fd)
    assert [r for segment in spool.take() for r in segment.records()] == [{"n": 1}, {"n": 2}]


def test_a_click_does_not_wait_for_a_locked_sqlite(make_site: MakeSite, tmp_path: Path) -> None:
    """While another process holds the file, a click is answered, and a list mail refused, within a second."""
    url = f"sqlite:///{tmp_path}/locked.sqlite3"
    site = make_site(SQLALCHEMY_DATABASE_URI=url, MAILTRACK_DRAIN="inline", TESTING=True)
    reader = Reader(site.client, site.send(HTML, list_id="news"))
    other = sqlite3.connect(tmp_path / "locked.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        for action in (lambda: reader.click("go"), reader.open, reader.unsubscribe):
            began = time.monotonic()
            assert action().status_code in (200, 302)
            assert time.monotonic() - began < 1
        began = time.monotonic()
        with pytest.raises(OptOutsUnavailable):
            site.send(HTML, list_id="news", to="bob@example.com")
        assert time.monotonic() - began < 1
    finally:
        other.close()
    assert site.send(HTML, list_id="news") == []


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_list_send_does_not_wait_for_a_locked_table(database_url: str, make_site: MakeSite) -> None:
    """Somebody who changes the table of opt-outs keeps a list mail from leaving, and its sender for a second only."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual")
    site.send(HTML, list_id="news")
    lock = "LOCK TABLE mailtrack_optout" if "postgresql" in database_url else "LOCK TABLES mailtrack_optout WRITE"
    with site.db.engine.connect() as connection:
        connection.exec_driver_sql(lock)
        began = time.monotonic()
        with pytest.raises(OptOutsUnavailable):
            site.send(HTML, list_id="news")
        assert time.monotonic() - began < 1.5
        connection.invalidate()


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_connection_that_the_server_has_closed_costs_nothing(database_url: str, make_site: MakeSite) -> None:
    """The next list send, and the next run of the drain, ask on a fresh connection, and nobody notices."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual")
    _close_all(site.mailtrack._state().database.engine)
    assert site.send(HTML, list_id="news") != []
    _close_all(site.mailtrack._state().database.engine)
    assert site.mailtrack.flush() > 0
    assert [row.status for row in site.rows("Message")] == ["sent"]


def test_a_deadlock_is_tried_again_until_it_passes(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the database gives up our transaction for another one, the rows are stored in the end."""
    site = make_site(MAILTRACK_DRAIN="manual")
    site.send(HTML)
    write, left = Batch.write, [9]
    pauses: list[float] = []

    def clash(batch: Batch, records: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise DBAPIError("UPDATE", {}, Exception(1213, "Deadlock found"))
        return write(batch, records)

    monkeypatch.setattr(Batch, "write", clash)
    monkeypatch.setattr("flask_mailtrack.storage.tables.writer.time.sleep", pauses.append)
    assert site.mailtrack.flush() > 0
    assert [row.status for row in site.rows("Message")] == ["sent"]
    assert len(pauses) == 9
    assert max(pauses[6:]) > 10 * max(pauses[:2])


def _close_all(engine: sa.Engine) -> None:
    """Have the server close what lies in the pool, as it does after its wait_timeout or a restart."""
    with engine.connect() as connection:
        kind = connection.dialect.name
        own = "SELECT pg_backend_pid()" if kind == "postgresql" else "SELECT CONNECTION_ID()"
        number = connection.exec_driver_sql(own).scalar()
    other = sa.create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        kill = f"SELECT pg_terminate_backend({number}, 5000)" if kind == "postgresql" else f"KILL {number}"
        connection.exec_driver_sql(kill)
    other.dispose()
