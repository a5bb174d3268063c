"""Many machines: what is in one box's journal arrives in the database through Redis, exactly once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site
from flask import Flask
from flask.testing import FlaskClient
from redis_server import RedisServer, running
from sqlalchemy.exc import OperationalError

from flask_mailtrack.errors import ConfigError, OptOutsUnavailable
from flask_mailtrack.signals import message_opened, message_sent, recipient_unsubscribed
from flask_mailtrack.storage import redis
from flask_mailtrack.storage.drain import shipping
from flask_mailtrack.storage.drain.shipping import Consumer
from flask_mailtrack.storage.records import encode
from flask_mailtrack.storage.redis import BAD, EVENTS, OPTOUTS, Stream
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/">go</a>'


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[RedisServer]:
    """A running Redis that forgets nothing."""
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


@dataclass
class Box:
    """A machine of several, with a journal of its own, that drains only when it is told to."""

    site: Site

    @property
    def client(self) -> FlaskClient:
        return self.site.client

    @property
    def app(self) -> Flask:
        return self.site.app

    @property
    def stream(self) -> Stream:
        found = self.site.mailtrack._state_of(self.app).stream
        assert found is not None
        return found

    def send(self, *arguments: Any, **options: Any) -> Any:
        """Send a mail from here."""
        with self.app.app_context():
            return self.site.send(*arguments, **options)

    def flush(self) -> int:
        """Ship what is here, and move what is in Redis."""
        with self.app.app_context():
            return self.site.mailtrack.flush()

    def rows(self, name: str) -> list[Any]:
        """What is in the database."""
        with self.app.app_context():
            return self.site.rows(name)

    def waiting(self) -> tuple[bool, int, int, int]:
        """What waits: whether anything is in the journal, then the entries of each key."""
        spools = self.site.mailtrack._state_of(self.app).journals
        events, optouts, bad = map(self.stream.length, (EVENTS, OPTOUTS, BAD))
        return any(spool.pending() for spool in spools), events, optouts, bad

    def check(self) -> str:
        """What ``flask mailtrack check`` says of Redis."""
        lines = self.app.test_cli_runner().invoke(args=["mailtrack", "check"]).output.splitlines()
        (line,) = [line for line in lines if "C25" in line]
        return str(line)

    def recover(self) -> str:
        """Try to store what was put aside, and return what the command says."""
        with self.app.app_context():
            return str(self.app.test_cli_runner().invoke(args=["mailtrack", "recover", "--quarantine"]).output)


MakeBox = Callable[..., Box]


@pytest.fixture(name="make_box")
def _make_box(make_site: MakeSite, server: RedisServer) -> MakeBox:
    return lambda **config: Box(make_site(**({"MAILTRACK_SINK": server.url, "MAILTRACK_DRAIN": "manual"} | config)))


@pytest.fixture(name="boxes")
def _boxes(make_box: MakeBox, tmp_path: Path) -> tuple[Box, Box]:
    """Two machines with one database."""
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    return make_box(SQLALCHEMY_DATABASE_URI=url), make_box(SQLALCHEMY_DATABASE_URI=url)


@pytest.fixture(name="ship")
def _ship(monkeypatch: pytest.MonkeyPatch) -> Callable[[Box], None]:
    """Ship the journal of a box and leave it in the stream, as if it went down then."""

    def ship(box: Box) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Consumer, "run", lambda *_: 0)
            assert box.flush() == 0

    return ship


def test_rows_go_through_redis(make_box: MakeBox, server: RedisServer, ship: Callable[[Box], None]) -> None:
    """A mail, its open and its click are shipped to Redis, and made rows from there."""
    host = make_box()
    reader = Reader(host.client, host.send(HTML))
    reader.open()
    assert reader.click("go").location == "https://example.com/"
    ship(host)
    assert host.waiting() == (False, 5, 0, 0)
    assert host.rows("Event") == []
    assert host.flush() == 5
    assert host.waiting() == (False, 0, 0, 0)
    with server.client() as client:
        assert client.xpending(f"{host.stream.name}:{EVENTS}", "mailtrack")["pending"] == 0
    (row,) = host.rows("Message")
    assert (row.status, row.open_count, row.click_count) == ("sent", 1, 1)
    assert host.flush() == 0


def test_another_box_makes_the_rows(boxes: tuple[Box, Box], ship: Callable[[Box], None]) -> None:
    """What one box has shipped, any box with a database takes on, and there the signals are sent."""
    first, second = boxes
    told: list[Any] = []
    with message_opened.connected_to(lambda app, event: told.append((app, event.id))):
        Reader(first.client, first.send(HTML)).open()
        ship(first)
        assert second.flush() == 4
        assert first.flush() == 0
    (event,) = second.rows("Event")
    assert told == [(second.app, event.id)]


def test_in_tests_of_a_host_a_hit_is_a_row_at_once(make_site: MakeSite, server: RedisServer) -> None:
    """Under TESTING the way through Redis is gone in the request, as without Redis."""
    host = make_site(MAILTRACK_SINK=server.url)
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    reader.open()
    assert [event.type for event in host.rows("Event")] == ["opened"]
    reader.unsubscribe()
    assert host.send(HTML, list_id="news") == []


def test_the_thread_of_another_box_moves_rows(make_box: MakeBox, ship: Callable[[Box], None], tmp_path: Path) -> None:
    """A worker that has something to drain takes on what others have shipped, without anybody asking."""
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    # Its thread goes on for a while, and must not take what the next tests ship.
    shared = {"SQLALCHEMY_DATABASE_URI": url, "MAILTRACK_APP_ID": "threads"}
    first = make_box(**shared)
    reader = Reader(first.client, first.send(HTML))
    ship(first)
    second = make_box(**shared, MAILTRACK_DRAIN="thread", MAILTRACK_DRAIN_SECONDS=0.05)
    arrived = threading.Event()
    with message_opened.connected_to(lambda app, event: arrived.set()):
        Reader(second.client, reader.message).open()
        assert arrived.wait(10)
    assert len(second.rows("Message")) == 1


def test_an_opt_out_on_one_box_is_honoured_by_the_next_send_of_another(boxes: tuple[Box, Box]) -> None:
    """The copy in Redis is there when the 200 is; the original is announced once, by its own box."""
    first, second = boxes
    reader = Reader(first.client, first.send(HTML, list_id="news"))
    first.flush()
    told: list[Any] = []
    with recipient_unsubscribed.connected_to(lambda app, event: told.append((app, event.list_id))):
        assert reader.unsubscribe().status_code == 200
        assert second.send(HTML, list_id="news") == []
        assert second.send(HTML, list_id="other") != []
        assert second.flush() > 0
        assert told == []
        assert first.waiting() == (True, 0, 1, 0)
        assert first.flush() == 1
    assert told == [(first.app, "news")]
    assert first.waiting() == (False, 0, 0, 0)
    assert [(o.recipient, o.list_id) for o in first.rows("OptOut")] == [("ada@example.com", "news")]
    assert [event.type for event in first.rows("Event")] == ["unsubscribed"]


def test_an_opt_out_follows_its_message_through_redis(boxes: tuple[Box, Box]) -> None:
    """An unsubscribe that is drained in one run with its mail is about the mail's list, not about everything."""
    first, second = boxes
    Reader(first.client, first.send(HTML, list_id="news")).unsubscribe()
    first.flush()
    assert [(o.recipient, o.list_id) for o in first.rows("OptOut")] == [("ada@example.com", "news")]
    assert second.send(HTML, list_id="news") == []
    assert second.send(HTML, list_id="other") != []


def test_an_opt_out_outlives_its_box(boxes: tuple[Box, Box], monkeypatch: pytest.MonkeyPatch) -> None:
    """If a box dies with its disk, others honour what it was told, and after a minute announce it."""
    first, second = boxes
    Reader(first.client, first.send(HTML, list_id="news")).unsubscribe()
    assert second.send(HTML, list_id="news") == []
    told: list[Any] = []
    with recipient_unsubscribed.connected_to(lambda app, event: told.append(app)):
        second.flush()
        assert (told, second.waiting()[2]) == ([], 1)
        monkeypatch.setattr(shipping, "CLAIM_SECONDS", -1)
        assert second.flush() == 1
    assert (told, second.waiting()[2]) == ([second.app], 0)
    assert second.send(HTML, list_id="news") == []


def test_a_receiver_that_sends_a_mail_sees_the_opt_outs_of_other_boxes(
    boxes: tuple[Box, Box], ship: Callable[[Box], None]
) -> None:
    """A follow-up sent from a signal, in the middle of a run, honours what another box has just been told."""
    first, second = boxes
    reader = Reader(first.client, first.send(HTML, list_id="news"))
    reader.open()
    ship(first)
    reader.unsubscribe()
    sent: list[Any] = []
    with message_opened.connected_to(lambda app, event: sent.append(second.send(HTML, list_id="news"))):
        second.flush()
    assert sent == [[]]


def test_what_a_dead_consumer_has_taken_is_claimed(
    boxes: tuple[Box, Box], ship: Callable[[Box], None], server: RedisServer
) -> None:
    """Entries that somebody has had for less than a minute are left to him; after that they are anybody's."""
    first, second = boxes
    Reader(first.client, first.send(HTML)).open()
    ship(first)
    taken = first.stream.take(500)
    assert len(taken) == 4
    assert second.flush() == 0
    ids = [entry_id for entry_id, _ in taken]
    with server.client() as client:  # as if so much time had gone by
        key = f"{first.stream.name}:{EVENTS}"
        client.xclaim(key, "mailtrack", "drain", 0, ids, idle=59_000, justid=True)
        assert second.flush() == 0
        client.xclaim(key, "mailtrack", "drain", 0, ids, idle=60_000, justid=True)
    assert second.flush() == 4
    assert second.waiting() == (False, 0, 0, 0)


def test_while_the_database_fails_everything_waits_in_the_stream(
    boxes: tuple[Box, Box], ship: Callable[[Box], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that the database does not take now are given back, and moved by whoever comes next, at once."""
    first, second = boxes
    Reader(first.client, first.send(HTML)).open()
    ship(first)

    def fail(batch: Batch, records: Any) -> Any:
        raise OperationalError("INSERT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "write", fail)
        with pytest.raises(OperationalError):
            first.flush()
    assert first.waiting() == (False, 4, 0, 0)
    assert second.flush() == 4


def test_poison_costs_only_itself(make_box: MakeBox, server: RedisServer) -> None:
    """Foreign, torn and impossible entries are kept in the bad stream with the reason; the others are rows."""
    host = make_box()
    name = host.stream.name
    good = encode({"k": "hit"})
    with server.client() as client:
        client.xadd(f"{name}:{EVENTS}", {"other": "thing"})
        client.xadd(f"{name}:{EVENTS}", {"r": good.replace(b"hit", b"hot")})
        client.xadd(f"{name}:{EVENTS}", {"r": good})
        client.hset(f"{name}:{OPTOUTS}", mapping={"no id": b"no line", "018f0000-0000-7000-8000-000000000000": good})
        client.hset(f"{name}:{OPTOUTS}", mapping={"ffffffff-ffff-7fff-bfff-ffffffffffff": b"from the far future"})
    Reader(host.client, host.send(HTML)).open()
    assert host.flush() == 4
    assert host.waiting() == (False, 0, 0, 6)
    with server.client() as client:
        reasons = [fields[b"why"].decode() for _, fields in client.xrange(f"{name}:{BAD}")]
    assert [reason.partition(":")[0] for reason in reasons[:3]] == ["checksum", "checksum", "not a record"]
    assert host.send(HTML, list_id="news") != []
    assert "6 records that could not be stored" in host.check()


def test_a_full_stream_holds_rows_up_but_no_opt_out(
    make_box: MakeBox, ship: Callable[[Box], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit rows wait in the journal, and a box that can make room in Redis does so, whatever it has."""
    monkeypatch.setattr("flask_mailtrack.storage.drain.drain.BATCH", 2)
    host = make_box(MAILTRACK_SINK_MAX=3)
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    for _ in range(9):
        reader.open()
    ship(host)
    assert host.waiting() == (True, 4, 0, 0)
    assert "holds 4 of 3 entries" in host.check()
    reader.unsubscribe()
    with monkeypatch.context() as patch:
        patch.setattr(Consumer, "run", lambda *_: 0)
        assert host.flush() == 1
    assert len(host.rows("OptOut")) == 1
    assert host.flush() == 4 + 12
    assert host.waiting() == (False, 0, 0, 0)
    (row,) = host.rows("Message")
    assert row.open_count == 9


def test_an_emptied_redis_is_set_up_again(make_box: MakeBox, server: RedisServer) -> None:
    """After FLUSHALL what was in there is gone, and what comes next arrives."""
    host = make_box()
    reader = Reader(host.client, host.send(HTML))
    host.flush()
    with server.client() as client:
        client.flushall()
    reader.open()
    assert host.flush() == 1


def test_what_is_in_the_stream_twice_is_one_row(make_box: MakeBox, ship: Callable[[Box], None]) -> None:
    """A box that dies between shipping a segment and deleting it ships it again, to no harm."""
    host = make_box()
    Reader(host.client, host.send(HTML)).open()
    (journal,) = host.site.mailtrack._state().journals[0].directory.glob("events-*")
    host.stream.add(journal.read_bytes().splitlines(keepends=True))
    ship(host)
    assert host.waiting()[1] == 8
    host.flush()
    (row,) = host.rows("Message")
    assert (row.open_count, len(host.rows("Event"))) == (1, 1)


def test_apps_with_other_databases_do_not_meet(make_box: MakeBox, ship: Callable[[Box], None]) -> None:
    """Two apps on one Redis, each with an id, read what is theirs."""
    first, second = make_box(MAILTRACK_APP_ID="first"), make_box(MAILTRACK_APP_ID="second")
    first.send(HTML)
    ship(first)
    assert second.flush() == 0
    assert first.flush() == 3


@pytest.mark.parametrize("other", [{"SECRET_KEY": "another secret that is long enough"}, {}])
def test_a_row_of_another_app_is_refused_kept_and_named(
    make_box: MakeBox, ship: Callable[[Box], None], caplog: pytest.LogCaptureFixture, other: dict[str, Any]
) -> None:
    """Two apps of one name on one Redis, with another key or database: nobody stores what is the other's."""
    first, second = make_box(), make_box(**other)
    reader = Reader(first.client, first.send(HTML, list_id="news"))
    ship(first)
    assert second.flush() == 0
    assert second.rows("Message") == []
    assert "rows of an app with another key or database came through mailtrack:" in caplog.text
    found = second.check()
    assert found.startswith("error ")
    assert "3 of them of an app with another key or database: give each app that shares this Redis a MAIL" in found
    assert reader.unsubscribe().status_code == 200
    assert second.send(HTML, list_id="news") != []
    if other:
        assert "0 records stored, 3 not" in second.recover()
        assert "3 records stored, 0 not" in first.recover()
        assert [row.recipient for row in first.rows("Message")] == ["ada@example.com"]


def test_what_waits_in_redis_under_its_former_name_arrives(
    make_box: MakeBox, server: RedisServer, ship: Callable[[Box], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and opt-outs that an earlier version has shipped are moved, and count, before they are moved."""
    host = make_box()
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    ship(host)
    assert reader.unsubscribe().status_code == 200
    assert host.stream.former is not None
    with server.client() as client:
        for key in ("events", "optouts"):
            client.rename(f"{host.stream.name}:{key}", f"{host.stream.former.name}:{key}")
    for segment in host.site.mailtrack._state_of(host.app).journals[1].directory.glob("optouts-*"):
        segment.unlink()
    assert host.send(HTML, list_id="news") == []
    monkeypatch.setattr(shipping, "CLAIM_SECONDS", -1)
    host.flush()
    assert [row.recipient for row in host.rows("OptOut")] == ["ada@example.com"]


def test_a_mail_is_announced_once_when_redis_claims_its_batch_again(
    boxes: tuple[Box, Box], ship: Callable[[Box], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch whose consumer takes too long is claimed by another one, and one of the two tells the host of it."""
    monkeypatch.setattr(redis, "CLAIM_SECONDS", 0)
    first, second = boxes
    first.send(HTML)
    ship(first)
    told: list[Any] = []
    store = Consumer._store

    def slow(self: Consumer, *arguments: Any) -> Any:
        stored = store(self, *arguments)
        if stored:  # committed, and not yet acknowledged
            with monkeypatch.context() as patch:
                patch.setattr(Consumer, "_store", store)
                second.flush()
        return stored

    with message_sent.connected_to(lambda app, event: told.append(app)), monkeypatch.context() as patch:
        patch.setattr(Consumer, "_store", slow)
        first.flush()
    assert told == [second.app]


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1/0?socket_timeout=soon",
        "redis://:hidden@h:1/0?db=x",
        "http://:hidden@h",
        "redis://:hidden/half@h:1/0",
        "redis://:hidden@h:port",
    ],
)
def test_a_wrong_url_stops_the_start(make_site: MakeSite, url: str) -> None:
    """What redis-py cannot read is a mistake of configuration; a password is not shown."""
    with pytest.raises(ConfigError, match=r"\[E150\] MAILTRACK_SINK") as caught:
        make_site(MAILTRACK_SINK=url)
    assert "hidden" not in str(caught.value)


def test_without_redis_py_the_extra_is_named(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets MAILTRACK_SINK and has not installed the client is told what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask-mailtrack\[redis\]'"):
        make_site(MAILTRACK_SINK="redis://localhost")
    make_site()


def test_a_check_finds_redis_well(make_box: MakeBox, server: RedisServer) -> None:
    """``flask mailtrack check`` says where Redis is and what waits there."""
    assert make_box().check().endswith(f"ok      C25  Redis at 127.0.0.1:{server.port}, 0 entries wait")


def test_a_redis_on_a_socket(make_box: MakeBox) -> None:
    """``unix://`` works like the others."""
    with running("--appendonly", "yes", "--unixsocket", "redis.sock", "--unixsocketperm", "777") as server:
        host = make_box(MAILTRACK_SINK=f"unix://{server.directory}/redis.sock?db=0", MAILTRACK_DRAIN="inline")
        Reader(host.client, host.send(HTML)).open()
        assert host.check().endswith("redis.sock, 0 entries wait")
    assert len(host.rows("Event")) == 1


def test_if_redis_cannot_be_asked_a_list_is_not_mailed(make_box: MakeBox) -> None:
    """An opt-out of another box may be waiting there, so hope is not enough; an order's receipt goes out."""
    host = make_box(MAILTRACK_SINK="redis://127.0.0.1:1/0")
    with pytest.raises(OptOutsUnavailable):
        host.send(HTML, list_id="news")
    receipt = host.send(HTML)
    assert "https://example.com/" in receipt.html  # untracked: ada may have asked for that
    assert "C25  StreamError: Redis at 127.0.0.1:1" in host.check()
