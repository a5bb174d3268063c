"""Redis dies, hangs or forgets, and consumers die: nothing that was answered is lost, and nothing comes twice."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site
from redis_server import RedisServer, running

from flask_mailtrack.errors import OptOutsUnavailable, StreamError
from flask_mailtrack.storage import redis
from flask_mailtrack.storage.drain import shipping
from flask_mailtrack.storage.drain.shipping import Consumer
from flask_mailtrack.storage.redis import EVENTS, Entry, Stream
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/">go</a>'
KILLS = int(os.environ.get("MAILTRACK_TEST_KILLS", "30"))


@pytest.fixture(name="server")
def _server() -> Iterator[RedisServer]:
    """A running Redis that forgets nothing."""
    with running() as server:
        yield server


def box(make_site: MakeSite, server: RedisServer, **config: Any) -> Site:
    """A machine that drains when it is told to."""
    return make_site(**({"MAILTRACK_SINK": server.url, "MAILTRACK_DRAIN": "manual"} | config))


def streamed(site: Site) -> Stream:
    """The stream of a site that has one."""
    found = site.mailtrack._state_of(site.app).stream
    assert found is not None
    return found


def flush(site: Site) -> int:
    """Ship and move; a Redis that is away just now costs only a round."""
    with site.app.app_context():
        try:
            return site.mailtrack.flush()
        except StreamError:
            return 0


@pytest.mark.parametrize("consuming", [True, False])
def test_a_redis_that_is_killed_under_load_loses_nothing(
    server: RedisServer, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, consuming: bool
) -> None:
    """While opens come in and are shipped, Redis is killed again and again; each open is a row, exactly once."""
    monkeypatch.setattr(shipping, "AWAY_SECONDS", 0)
    monkeypatch.setattr("flask_mailtrack.storage.drain.drain.BATCH", 20)
    host = box(make_site, server)
    reader = Reader(host.client, host.send(HTML))
    over, opens = threading.Event(), []
    consume = Consumer.run
    if not consuming:  # so that all that was shipped is in Redis when it is killed
        monkeypatch.setattr(Consumer, "run", lambda *_: 0)

    def read() -> None:
        while not over.is_set():
            assert reader.open().status_code == 200
            opens.append(1)

    def drain() -> None:
        while not over.is_set():
            flush(host)

    threads = [threading.Thread(target=target, daemon=True) for target in (read, drain)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            _until(opens, len(opens) + 60)
            server.kill()
            _until(opens, len(opens) + 20)
            server.start()
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    monkeypatch.setattr(redis, "CLAIM_SECONDS", 0)  # what a round took when Redis went away is abandoned
    monkeypatch.setattr(Consumer, "run", consume)
    host.mailtrack.flush()
    (row,) = host.rows("Message")
    assert (row.status, row.open_count, len(host.rows("Event"))) == ("sent", len(opens), len(opens))
    assert streamed(host).length(EVENTS) == 0


def _until(opens: list[int], wanted: int) -> None:
    """Wait for so many opens: it is the load that says when."""
    latest = time.monotonic() + 60
    while len(opens) < wanted:
        assert time.monotonic() < latest
        time.sleep(0.001)


def test_killed_consumers_store_each_row_once(
    server: RedisServer, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a consumer is killed between its commit and its acknowledgement, rows and counts are right."""
    monkeypatch.setattr(redis, "CLAIM_SECONDS", 0)  # the next one does not wait a minute
    monkeypatch.setattr("flask_mailtrack.storage.drain.drain.BATCH", 5)
    host = box(make_site, server)
    reader = Reader(host.client, host.send(HTML))
    hits = 5 * 2 * KILLS
    for _ in range(hits):
        reader.open()
    with monkeypatch.context() as patch:
        patch.setattr(Consumer, "run", lambda *_: 0)
        host.mailtrack.flush()
    lives = random.Random(4)
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            _consume_and_die(host, lives.randint(1, 3))
        lives.random()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert streamed(host).length(EVENTS) > 0
    assert len(host.rows("Event")) > 5 * KILLS / 2
    host.mailtrack.flush()
    (row,) = host.rows("Message")
    assert (row.status, row.open_count, len(host.rows("Event"))) == ("sent", hits, hits)
    assert streamed(host).length(EVENTS) == 0


def _consume_and_die(host: Site, batches: int) -> None:
    """Be a consumer that is killed after committing its last of *batches*."""
    try:
        for engine in host.db.engines.values():
            engine.dispose(close=False)
        done, left = Stream.done, [batches]

        def dying(to: Stream, entries: list[Entry], bad: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return done(to, entries, bad)

        Stream.done = dying  # type: ignore[method-assign,assignment]
        host.mailtrack.flush()
    finally:
        os._exit(1)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_two_boxes_and_two_consumers_count_right(
    database_url: str, server: RedisServer, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opens of the same mails that arrive on two machines, and are moved by both at once, are counted once each."""
    monkeypatch.setattr("flask_mailtrack.storage.drain.drain.BATCH", 7)
    sites = [box(make_site, server, SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_SPLIT=True) for _ in range(2)]
    with sites[0].app.app_context():
        copies = sites[0].send(HTML, to=[f"r{n}@example.com" for n in range(5)])
    for n in range(200):
        Reader(sites[n % 2].client, copies[n % 5]).open()
    with monkeypatch.context() as patch:
        patch.setattr(Consumer, "run", lambda *_: 0)
        assert [flush(site) for site in sites] == [0, 0]
    moved: list[int] = []
    start = threading.Barrier(2)

    def consume(site: Site) -> None:
        start.wait()
        moved.append(flush(site))

    threads = [threading.Thread(target=consume, args=[site]) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(moved) == 200 + 11
    assert min(moved) > 0
    assert [row.open_count for row in sites[1].rows("Message")] == [40] * 5
    assert len(sites[1].rows("Event")) == 200
    assert streamed(sites[0]).length(EVENTS) == 0


def test_a_killed_redis_stops_no_reader(
    server: RedisServer, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Redis clicks lead where they should and rows go straight to the database; the log says so once."""
    monkeypatch.setattr(shipping, "AWAY_SECONDS", 0)
    host = box(make_site, server)
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    server.kill()
    assert reader.click("go").status_code == 302
    assert reader.unsubscribe().status_code == 200
    with caplog.at_level(logging.WARNING), pytest.raises(StreamError):  # other boxes' rows may be there
        host.mailtrack.flush()
    reader.open()
    host.mailtrack._state().drain.try_run()
    assert sorted(event.type for event in host.rows("Event")) == ["clicked", "opened", "unsubscribed"]
    said = [record.getMessage() for record in caplog.records]
    ours = [line.partition(f": Redis at 127.0.0.1:{server.port}: ")[0] for line in said]
    assert ours == ["rows go straight to the database", "rows of other machines wait"]
    with pytest.raises(OptOutsUnavailable):
        host.send(HTML, to="bob@example.com", list_id="news")
    drained = host.app.test_cli_runner().invoke(args=["mailtrack", "drain"])
    assert (drained.output.partition(": ")[0], drained.exit_code) == (f"Redis at 127.0.0.1:{server.port}", 1)
    server.start()
    assert host.send(HTML, to="bob@example.com", list_id="news") != []
    assert host.send(HTML, list_id="news") == []
    reader.click("go")
    assert flush(host) > 0
    assert len(host.rows("Event")) == 4


def test_a_redis_that_hangs_delays_an_unsubscribe_by_a_moment(server: RedisServer, make_site: MakeSite) -> None:
    """A Redis that takes connections and says nothing does not keep a mail provider waiting."""
    host = box(make_site, server)
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    host.mailtrack.flush()
    server.hang(True)
    try:
        began = time.monotonic()
        assert reader.click("go").status_code == 302
        assert reader.unsubscribe().status_code == 200
        assert time.monotonic() - began < 2
    finally:
        server.hang(False)
    assert host.send(HTML, list_id="news") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--appendonly", "no"], "has no append-only file (appendonly yes, or MAILTRACK_SINK_VOLATILE = True)"),
        (
            ["--appendonly", "yes", "--maxmemory", "9mb", "--maxmemory-policy", "allkeys-lru"],
            "evicts keys when it is full (maxmemory-policy allkeys-lru; noeviction would do)",
        ),
    ],
)
def test_a_redis_that_may_forget_is_refused(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture, options: list[str], words: str
) -> None:
    """Rows do not pass through it, but straight into the database, unless the host has said that it may."""
    with running(*options) as server:
        host = box(make_site, server)
        Reader(host.client, host.send(HTML)).open()
        with caplog.at_level(logging.WARNING):
            assert host.mailtrack.flush() == 4
        (said,) = [record.getMessage() for record in caplog.records]
        assert said == f"rows go straight to the database: Redis at 127.0.0.1:{server.port} {words}"
        found = host.app.test_cli_runner().invoke(args=["mailtrack", "check"])
        assert f"C25  Redis at 127.0.0.1:{server.port} {words}" in found.output
        assert found.exit_code == 1
        trusting = box(make_site, server, MAILTRACK_SINK_VOLATILE=True)
        trusting.send(HTML)
        with server.client() as client:
            before = client.info("commandstats")["cmdstat_xlen"]["calls"]
            assert "cmdstat_xadd" not in client.info("commandstats")
            assert trusting.mailtrack.flush() == 3
            assert client.info("commandstats")["cmdstat_xadd"]["calls"] == 3
            assert before


def test_a_redis_without_room_is_emptied_and_passed_by(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When its memory is full, rows go straight to the database, and what it holds is still moved and deleted."""
    monkeypatch.setattr(shipping, "AWAY_SECONDS", 0)
    with running("--appendonly", "yes") as server:
        host = box(make_site, server)
        reader = Reader(host.client, host.send(HTML))
        assert host.mailtrack.flush() == 3
        reader.open()
        with monkeypatch.context() as patch:
            patch.setattr(Consumer, "run", lambda *_: 0)
            assert host.mailtrack.flush() == 0
        host.send(HTML)
        with server.client() as client:
            client.config_set("maxmemory", "100kb")
        with caplog.at_level(logging.WARNING):
            assert host.mailtrack.flush() == 1 + 2
        assert streamed(host).length(EVENTS) == 0
        assert len(host.rows("Event")) == 1
        assert "used memory > 'maxmemory'" in caplog.text
        assert '"k":' not in caplog.text  # nor who is mailed


def test_an_answer_that_is_lost_costs_nothing(
    server: RedisServer, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Redis has the rows and its answer is lost, they arrive both ways, and are there once."""
    host = box(make_site, server)
    Reader(host.client, host.send(HTML)).open()
    add = Stream.add

    def lost(to: Stream, lines: Any) -> None:
        add(to, lines)
        raise StreamError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "add", lost)
        assert host.mailtrack.flush() == 4 + 4
    (row,) = host.rows("Message")
    assert (row.open_count, len(host.rows("Event"))) == (1, 1)


def test_each_box_has_a_journal_that_it_may_lose(
    server: RedisServer, make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host without a lasting disk, what was shipped outlives the host."""
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    first = box(make_site, server, SQLALCHEMY_DATABASE_URI=url)
    with first.app.app_context():
        Reader(first.client, first.send(HTML)).open()
        entry = streamed(first)
        with monkeypatch.context() as patch:
            patch.setattr(Consumer, "run", lambda *_: 0)
            first.mailtrack.flush()
        assert entry.length(EVENTS) == 4
    server.kill()
    server.start()
    second = box(make_site, server, SQLALCHEMY_DATABASE_URI=url)
    assert flush(second) == 4
