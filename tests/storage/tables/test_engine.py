"""What we read and write comes from a pool of our own, so that nobody waits for a connection that the sender holds."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from flask_mail import Message
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, StaticPool

from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.storage.tables.engine import KEPT, MORE, own_engine

THREADS = 15


def send_in_a_transaction(site: Site, together: threading.Barrier, number: int) -> str:
    """Hold a connection of the host's pool, as a request does, and send a list mail."""
    with site.app.app_context():
        site.db.session.execute(sa.text("SELECT 1"))
        together.wait(20)
        message = Message("Hello", recipients=[f"ada{number}@example.com"], html='<a href="https://example.com">Hi</a>')
        with site.mail.record_messages() as outbox:
            site.mail.send(site.mailtrack.track(message, list_id="news"))
        site.db.session.rollback()
        mine = [each for each in outbox if message.recipients == each.recipients]
        return str(mine[0].html)


@pytest.mark.parametrize("pool_size", [1, THREADS])
@pytest.mark.parametrize("drain", ["inline", "thread"])
def test_a_send_never_waits_for_the_connection_of_its_own_request(
    database_url: str, make_site: MakeSite, pool_size: int, drain: str
) -> None:
    """Fifteen threads, each with a connection of a full pool in its hands, all send list mail, tracked, at once."""
    pool = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 20}
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, SQLALCHEMY_ENGINE_OPTIONS=pool, MAILTRACK_DRAIN=drain)
    site.mailtrack.suppress("nobody@example.com", "news")
    together = threading.Barrier(pool_size)
    site.db.session.remove()
    with ThreadPoolExecutor(THREADS) as threads:
        sent = list(threads.map(lambda number: send_in_a_transaction(site, together, number), range(THREADS)))
    assert all("/m/c/" in html and "/m/u/" in html for html in sent)
    site.mailtrack.flush()
    assert {row.status for row in site.rows("Message")} == {"sent"}


def test_a_pool_that_is_exhausted_by_the_host_costs_no_mail(database_url: str, make_site: MakeSite) -> None:
    """While every connection of the host is out for good, mail is sent and opt-outs hold."""
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, SQLALCHEMY_ENGINE_OPTIONS=options)
    site.mailtrack.suppress("ada@example.com", "news")
    with site.db.engine.connect() as held:
        held.execute(sa.text("SELECT 1"))
        assert site.send(list_id="news") == []
        assert len(site.send(to=["bob@example.com"], list_id="news")) == 1


def test_the_one_connection_of_a_database_in_memory_is_shared(make_site: MakeSite) -> None:
    """A database in memory is its connection: we use the host's, and find its tables there."""
    site = make_site(SQLALCHEMY_DATABASE_URI="sqlite://")
    assert site.mailtrack._state().database.shared
    site.mailtrack.suppress("ada@example.com", "news")
    site.db.session.execute(sa.text("SELECT 1"))
    assert site.send(list_id="news") == []


@pytest.mark.parametrize(
    ("url", "pool", "own"),
    [
        ("sqlite:///{}/a.sqlite3", QueuePool, True),
        ("sqlite:///{}/a.sqlite3", AssertionPool, True),
        ("sqlite:///{}/a.sqlite3", NullPool, False),
        ("sqlite://", StaticPool, False),
        ("sqlite://", QueuePool, False),
        ("sqlite:///:memory:", QueuePool, False),
        ("sqlite:///file:shared?mode=memory&cache=shared&uri=true", QueuePool, False),
    ],
)
def test_which_engines_get_a_pool_of_ours(tmp_path: Path, url: str, pool: Any, own: bool) -> None:
    """A pool that can make somebody wait gets one of ours beside it; a database in memory never does."""
    engine = sa.create_engine(url.format(tmp_path), poolclass=pool)
    ours = own_engine(engine)
    assert (ours is not engine, ours.pool is not engine.pool) == (own, own)
    engine.dispose()


def test_our_connections_are_made_and_closed_as_the_hosts(tmp_path: Path) -> None:
    """Listeners that the host adds later count for our connections too, and its dispose() closes them."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.sqlite3'}", execution_options={"logging_token": "host"})
    ours, told = own_engine(engine), []
    sa.event.listen(engine, "connect", lambda connection, record: told.append("connect"))
    sa.event.listen(engine, "before_cursor_execute", lambda *_: told.append("execute"))
    with ours.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        assert connection.get_execution_options()["logging_token"] == "host"
    assert told == ["connect", "execute"]
    assert (ours.pool.checkedin(), engine.pool.checkedin()) == (KEPT, 0)  # type: ignore[attr-defined]
    before = ours.pool
    engine.dispose()
    assert before.checkedin() == 0  # type: ignore[attr-defined]
    with ours.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    ours.dispose()
    assert len(told) == 4


def test_a_forked_process_has_a_pool_of_its_own(tmp_path: Path) -> None:
    """A worker that is forked from a parent with an open connection opens another, and leaves the parent's alone."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    ours = own_engine(engine)
    with ours.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    parents = ours.pool
    child = os.fork()
    if child == 0:
        os._exit(0 if ours.pool is not parents and ours.pool is ours.pool and parents in ours._pools.values() else 1)  # type: ignore[attr-defined]
    assert os.waitpid(child, 0)[1] == 0
    assert ours.pool is parents
    engine.dispose()


def test_a_burst_of_reads_opens_no_more_than_five(database_url: str, make_site: MakeSite) -> None:
    """The database sees at most five connections of ours from one process, however many threads send."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    engine = site.mailtrack._state().database.engine
    most = 0

    def count(*_: Any) -> None:
        nonlocal most
        most = max(most, engine.pool.checkedout())  # type: ignore[attr-defined]

    sa.event.listen(engine.pool, "checkout", count)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda number: read(site), range(60)))
    assert 1 <= most <= KEPT + MORE


def read(site: Site) -> None:
    with site.app.app_context():
        try:
            site.mailtrack._state().optouts.among(["ada@example.com"], "news")
        except OptOutsUnavailable as error:  # pragma: no cover - what must not happen
            raise AssertionError from error
