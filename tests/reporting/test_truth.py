"""``check``, ``health`` and ``status`` say so when rows cannot be stored, or people's choices not be read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site
from redis_server import running
from sqlalchemy.exc import SQLAlchemyError

from flask_mailtrack.errors import OptOutsUnavailable, StreamError
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/">go</a>'


def run(site: Site, command: str) -> Any:
    """Run a command of ours."""
    with site.app.app_context():
        return site.app.test_cli_runner().invoke(args=["mailtrack", command])


def flush(site: Site) -> None:
    """Drain, as far as that is possible."""
    with pytest.raises((SQLAlchemyError, StreamError)):
        site.mailtrack.flush()


def unwell(site: Site) -> str:
    """What ``check`` prints, when ``health`` and ``status`` agree with it that something is wrong."""
    assert not site.mailtrack.health().ok
    assert run(site, "status").exit_code == 1
    found = run(site, "check")
    assert found.exit_code == 1
    return str(found.output)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_takes_no_writes_is_an_error(database_url: str, make_site: MakeSite) -> None:
    """A PostgreSQL that is read-only, as a replica is, has the tables, and is not well."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual")
    with site.db.engine.begin() as connection:
        name = site.db.engine.url.database
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    site.db.engine.dispose()
    site.send(HTML)
    flush(site)
    assert "error   C30  InternalError: (psycopg.errors.ReadOnlySqlTransaction)" in unwell(site)
    assert site.mailtrack.health().rows > 0


def test_a_dropped_column_is_named(database_url: str, make_site: MakeSite) -> None:
    """A table without one of our columns is an error, with the name of the column."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual")
    with site.db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE mailtrack_message DROP COLUMN seen_on")
        connection.exec_driver_sql("ALTER TABLE mailtrack_event DROP COLUMN first_verdict")
    Reader(site.client, site.send(HTML)).open()
    flush(site)
    text = "error   C30  no column mailtrack_message.seen_on, mailtrack_event.first_verdict: run a migration"
    assert text in unwell(site)


def test_a_file_of_sqlite_that_is_gone_takes_no_rows(make_site: MakeSite, tmp_path: Path) -> None:
    """Rows are not written into a file that has no name any more: they wait, and arrive when it is back."""
    path = tmp_path / "here.sqlite3"
    site = make_site(SQLALCHEMY_DATABASE_URI=f"sqlite:///{path}", MAILTRACK_DRAIN="manual")
    site.send(HTML)
    site.mailtrack.flush()
    shutil.copy(path, tmp_path / "kept.sqlite3")
    path.unlink()
    site.send(HTML)
    flush(site)
    assert f"the database {path} is not there; restore it" in unwell(site)
    assert f"the database {path} is not there" in run(site, "status").output
    shutil.copy(tmp_path / "kept.sqlite3", path)
    assert site.mailtrack.flush() > 0
    assert site.mailtrack.health().ok
    assert len(site.rows("Message")) == 2


def test_segments_of_another_user_are_named_and_stop_list_mail(make_site: MakeSite) -> None:
    """What another user has written is not read, so an unsubscribe may be in it: sends, and all reports, say so."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    site = make_site(MAILTRACK_DRAIN="manual")
    reader = Reader(site.client, site.send(HTML, list_id="news"))
    site.mailtrack.flush()
    assert reader.unsubscribe().status_code == 200
    (segment,) = site.mailtrack._state().journals[1].directory.glob("optouts-*")
    os.chown(segment, 12345, -1)
    with pytest.raises(OptOutsUnavailable) as caught:
        site.send(HTML, list_id="news")
    assert "belongs to another user: chown it" in str(caught.value.__cause__)
    assert f"error   C27  of another user, and so not read: '{segment}': chown them to user 0" in unwell(site)
    site.mailtrack.flush()
    os.chown(segment, 0, -1)
    assert site.mailtrack.health().ok
    assert site.send(HTML, list_id="news") == []


def test_a_redis_that_takes_no_writes_is_an_error(make_site: MakeSite) -> None:
    """A replica answers questions, and is not well."""
    with running() as main, running() as server:
        site = make_site(MAILTRACK_SINK=server.url, MAILTRACK_DRAIN="manual", MAILTRACK_SINK_VOLATILE=True)
        with server.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", main.port)
        assert "error   C25  StreamError: Redis at 127.0.0.1" in unwell(site)
        assert "is a read-only replica: give MAILTRACK_SINK the address" in str(site.mailtrack.health().problems)


@pytest.mark.parametrize("key", ["events", "optouts", "bad"])
def test_a_redis_key_of_another_type_is_an_error(make_site: MakeSite, key: str) -> None:
    """Somebody else's value under one of our names is found before a row, or an opt-out, is missed."""
    with running() as server:
        site = make_site(MAILTRACK_SINK=server.url, MAILTRACK_DRAIN="manual")
        stream = site.mailtrack._state().stream
        assert stream is not None
        with server.client() as client:
            client.set(f"{stream.name}:{key}", "not ours")
        assert "WRONGTYPE" in unwell(site)
