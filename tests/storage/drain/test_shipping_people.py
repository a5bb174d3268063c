"""Many machines: what people and the host have said on one of them holds on all, and is forgotten on all."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PREFERENCES, MakeSite, Site
from redis_server import RedisServer, running

from flask_mailtrack.errors import OptOutsUnavailable, StreamError
from flask_mailtrack.signals import recipient_suppressed, recipient_unsubscribed, tracking_failed
from flask_mailtrack.storage.drain import shipping
from flask_mailtrack.storage.drain.shipping import Consumer
from flask_mailtrack.storage.records import encode
from flask_mailtrack.storage.redis import BAD, EVENTS, OPTOUTS
from flask_mailtrack.testing import Reader

ADA, BOB = "ada@example.com", "bob@example.com"
HTML = f'<a href="https://example.com/">go</a> <a href="{PREFERENCES}">choices</a>'


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[RedisServer]:
    """A running Redis that forgets nothing."""
    with running() as server:
        yield server


@pytest.fixture(name="boxes")
def _boxes(make_site: MakeSite, server: RedisServer, tmp_path: Path) -> tuple[Site, Site]:
    """Two machines with one database, that drain when they are told to."""
    with server.client() as client:
        client.flushall()
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    config = {"MAILTRACK_SINK": server.url, "MAILTRACK_DRAIN": "manual", "SQLALCHEMY_DATABASE_URI": url}
    return make_site(**config), make_site(**config)


def on(site: Site, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Do something on a machine."""
    with site.app.app_context():
        return act(*arguments, **options)


def length(site: Site, key: str) -> int:
    """How much is in Redis."""
    stream = site.mailtrack._state_of(site.app).stream
    assert stream is not None
    return stream.length(key)


def decline(site: Site, sent: Any) -> None:
    """Say on the preferences page of a mail that one does not want to be measured."""
    start = sent.html.index("/m/p/")
    path = sent.html[start : sent.html.index('"', start)]
    assert site.client.post(path, data={"action": "decline"}).status_code < 400


def test_what_the_host_says_on_one_box_holds_on_another(boxes: tuple[Site, Site]) -> None:
    """A suppression counts for the next send of each machine, and its signal is sent once, whoever moves it."""
    first, second = boxes
    told: list[Any] = []
    with recipient_suppressed.connected_to(lambda app, event: told.append(event.recipient)):
        on(first, first.mailtrack.suppress, ADA, "news")
        assert on(second, second.send, HTML, list_id="news") == []
        assert on(second, second.mailtrack.export, ADA)["optouts"][0]["list_id"] == "news"
        on(first, first.mailtrack.flush)
    assert told == [ADA]
    on(second, second.mailtrack.unsuppress, ADA, "news")
    assert on(first, first.send, HTML, list_id="news") != []
    assert length(first, OPTOUTS) == 1
    on(second, second.mailtrack.flush)
    assert (length(first, OPTOUTS), on(first, first.rows, "OptOut")) == (0, [])


def test_an_opt_out_in_the_second_spool_is_told_too(boxes: tuple[Site, Site]) -> None:
    """If its own directory cannot be written, a machine tells the others all the same."""
    first, second = boxes
    sent = on(first, first.send, HTML, list_id="news")
    on(first, first.mailtrack.flush)
    place = first.mailtrack._state_of(first.app).journals[1].spools[0].directory
    place.rename(place.with_name("away"))
    place.write_text("not a directory")
    try:
        assert Reader(first.client, sent).unsubscribe().status_code == 200
    finally:
        place.unlink()
        place.with_name("away").rename(place)
    assert first.mailtrack._state_of(first.app).journals[1].fallbacks == 1
    assert on(second, second.send, HTML, list_id="news") == []


def test_a_no_on_one_box_silences_hits_on_another(boxes: tuple[Site, Site]) -> None:
    """Hits after a "no" are not stored, though the "no" still lies in the journal of another machine."""
    first, second = boxes
    sent = on(first, first.send, HTML)
    on(first, first.mailtrack.flush)
    Reader(second.client, sent).open()
    decline(first, sent)
    Reader(second.client, sent).open()
    on(second, second.mailtrack.flush)
    assert [event.type for event in on(second, second.rows, "Event")] == ["opened"]
    on(first, first.mailtrack.flush)
    assert [event.type for event in on(second, second.rows, "Event")] == ["opened", "declined"]


def test_an_erasure_reaches_redis(boxes: tuple[Site, Site], server: RedisServer) -> None:
    """What was put aside there is deleted, and a choice that waits there is kept under the hash alone."""
    first, second = boxes
    sent = on(first, first.send, HTML, list_id="news")
    on(first, first.mailtrack.flush)
    told: list[Any] = []
    with recipient_unsubscribed.connected_to(lambda app, event: told.append(app)):
        Reader(first.client, sent).unsubscribe()
        with server.client() as client:
            name = first.mailtrack._state_of(first.app).stream.name  # type: ignore[union-attr]
            for address in (ADA, BOB):
                client.xadd(f"{name}:{BAD}", {"r": encode({"recipient": address}), "why": "odd"})
            client.xadd(f"{name}:{BAD}", {"r": b"\xff", "why": f"Duplicate entry '{ADA}'"})
        on(first, first.mailtrack.suppress, BOB)
        assert on(second, second.mailtrack.erase, ADA).quarantined == 2 + 1
        assert on(second, second.mailtrack.erase, ADA).quarantined == 0
        assert (length(second, BAD), length(second, OPTOUTS)) == (1, 1)
        assert on(second, second.send, HTML, list_id="news") == []
        on(first, first.mailtrack.flush)
    assert told == [first.app]
    rows = on(first, first.rows, "OptOut")
    assert sorted(row.recipient.partition(":")[0] for row in rows if row.recipient != BOB) == ["ref"]
    assert on(second, second.send, HTML, list_id="news") == []


def test_what_waits_in_redis_is_counted(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """``health`` and ``status`` tell rows, age and bad rows there; if Redis is away, that they cannot be known."""
    with running() as server:
        site = make_site(MAILTRACK_SINK=server.url, MAILTRACK_DRAIN="manual")
        site.send(HTML)
        with monkeypatch.context() as patch:
            patch.setattr(Consumer, "run", lambda *_: 0)
            site.mailtrack.flush()
        with server.client() as client:
            name = site.mailtrack._state().stream.name  # type: ignore[union-attr]
            client.xadd(f"{name}:{BAD}", {"r": b"x", "why": "odd"})
            client.xadd(f"{name}:{EVENTS}", {"r": b"x"}, id="9999999999999-0")
        health = site.mailtrack.health()
        assert (health.rows, health.streamed, health.bad, health.ok) == (0, 4, 1, True)
        with monkeypatch.context() as patch:
            stream = site.mailtrack._state().stream
            patch.setattr(stream, "waiting", lambda: (4, 301.0, 1, 0))
            assert (site.mailtrack.health().oldest_seconds, site.mailtrack.health().ok) == (301.0, False)
        told = site.app.test_cli_runner().invoke(args=["mailtrack", "status", "--json"])
        assert json.loads(told.output)["streamed"] == 4
    assert site.mailtrack.health().streamed is None


def test_a_thread_with_nothing_of_its_own_moves_what_others_shipped(
    boxes: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose journal is empty looks into Redis, also for an opt-out that nobody else moves."""
    first, second = boxes
    on(first, first.send, HTML)
    with monkeypatch.context() as patch:
        patch.setattr(Consumer, "run", lambda *_: 0)
        on(first, first.mailtrack.flush)
    assert on(second, second.mailtrack._state_of(second.app).drain.try_run) == 3
    assert on(second, second.mailtrack._state_of(second.app).drain.try_run) == 0
    assert len(on(second, second.rows, "Message")) == 1


def test_a_redis_that_is_away_is_no_failure_of_the_database(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No alarm is raised and the thread does not slow down; hits of who has declined are dropped all the same."""
    monkeypatch.setattr(shipping, "AWAY_SECONDS", 0)
    failures: list[str] = []

    def receive(app: Any, reason: str, error: Exception) -> None:
        failures.append(reason)

    with running() as server:
        site = make_site(MAILTRACK_SINK=server.url, MAILTRACK_DRAIN="manual")
        sent = site.send(HTML)
        site.mailtrack.flush()
    reader = Reader(site.client, sent)
    reader.open()
    decline(site, sent)
    reader.open()
    drain = site.mailtrack._state().drain
    with caplog.at_level(logging.WARNING), tracking_failed.connected_to(receive, site.app):
        assert drain.try_run() == 0
        assert drain.try_run() == 0  # nothing is left here, and it cannot be known what is there
    assert failures == []
    assert "the database takes no rows" not in caplog.text
    assert [event.type for event in site.rows("Event")] == ["opened", "declined"]
    with pytest.raises(StreamError):
        site.mailtrack.erase(ADA)
    with pytest.raises(OptOutsUnavailable):
        site.send(HTML, list_id="news")


def test_no_error_of_redis_quotes_who_is_mailed(make_site: MakeSite) -> None:
    """A command that Redis refuses is not in the error that a host may log, nor in what is chained to it."""
    with running() as server:
        site = make_site(MAILTRACK_SINK=server.url, MAILTRACK_DRAIN="manual")
        site.send(HTML, to=BOB)
        site.mailtrack.flush()
        with server.client() as client:
            name = site.mailtrack._state().stream.name  # type: ignore[union-attr]
            client.xadd(f"{name}:{EVENTS}", {"r": encode({"k": "hit", "recipient": ADA})})
            client.config_set("maxmemory", "100kb")
        with pytest.raises(StreamError) as caught:
            site.mailtrack.flush()
    told = "".join(traceback.format_exception(caught.value))
    assert "used memory > 'maxmemory'" in told
    assert ADA not in told


def test_what_was_put_aside_in_redis_is_recovered(boxes: tuple[Site, Site], server: RedisServer) -> None:
    """What the database takes now is stored, and gone from Redis; the rest stays, and is named."""
    first, _ = boxes
    on(first, first.send, HTML)
    state = first.mailtrack._state_of(first.app)
    recover = ["mailtrack", "recover", "--quarantine"]
    assert on(first, first.app.test_cli_runner().invoke, args=recover).exit_code == 0
    with server.client() as client:
        (segment,) = state.journals[0].spools[0].take()
        for line in (b"odd", *segment.path.read_bytes().splitlines(keepends=True), encode({"k": "hit"})):
            client.xadd(f"{state.stream.name}:{BAD}", {"r": line, "why": "odd"})  # type: ignore[union-attr]
        segment.path.unlink()
    told = on(first, first.app.test_cli_runner().invoke, args=recover)
    name = f"Redis at 127.0.0.1:{server.port}"
    assert told.output.splitlines()[-1] == f"{name}: 3 records stored, 1 not"
    assert f"{name}:5: refused: not a record" in told.output
    assert told.exit_code == 1
    assert length(first, BAD) == 2
    assert [row.recipient for row in on(first, first.rows, "Message")] == [ADA]
