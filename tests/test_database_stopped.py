"""The database stops: links still lead where they should, nobody is mailed on hope, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from conftest import MakeSite, missing
from postgresql_server import Server, postgresql_server, programs

from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/?a=1&amp;b=2">go</a>'


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    """A running server on a free port, gone afterwards."""
    binaries = programs()
    if binaries is None:
        missing("PostgreSQL's initdb and pg_ctl")
        return
    with postgresql_server(binaries) as server:
        yield server


def test_a_stopped_database_stops_no_reader(server: Server, make_site: MakeSite) -> None:
    """While PostgreSQL is down clicks are redirected and opt-outs taken; afterwards each is a row, exactly once."""
    host = make_site(SQLALCHEMY_DATABASE_URI=server.url)
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    stranger = Reader(host.client, host.send(HTML, to="bob@example.com", list_id="news"))
    assert [message.status for message in host.rows("Message")] == ["sent", "sent"]
    host.db.session.remove()
    host.db.engine.pool.dispose()  # the host's connections are its own affair
    server.stop()

    began = time.monotonic()
    assert reader.click("go").location == "https://example.com/?a=1&b=2"
    assert reader.open().status_code == 200
    assert stranger.click("go").status_code == 302
    assert reader.unsubscribe().status_code == 200
    assert time.monotonic() - began < 2
    page = reader.get(str(reader.message.extra_headers["List-Unsubscribe"]).strip("<>"))
    assert page.status_code == 200
    with pytest.raises(OptOutsUnavailable):
        host.send(HTML, to="carol@example.com", list_id="news")
    ordinary = host.send(HTML, to="carol@example.com", tag="receipt")
    assert "https://example.com/" in ordinary.html  # untracked: carol may have asked for that

    server.start()
    assert host.mailtrack.flush() > 0
    assert host.mailtrack.flush() == 0
    rows = {row.recipient: row for row in host.rows("Message")}
    assert {name: row.status for name, row in rows.items()} == {
        "ada@example.com": "sent",
        "bob@example.com": "sent",
        "carol@example.com": "sent",
    }
    ada, bob = rows["ada@example.com"], rows["bob@example.com"]
    assert (ada.click_count, ada.open_count, bob.click_count) == (1, 1, 1)
    assert sorted(event.type for event in host.rows("Event")) == ["clicked", "clicked", "opened", "unsubscribed"]
    assert [(optout.recipient, optout.list_id) for optout in host.rows("OptOut")] == [("ada@example.com", "news")]
    assert host.send(HTML, list_id="news") == []
    assert host.send(HTML, to="bob@example.com", list_id="news") != []


def test_a_database_that_stops_in_a_drain_loses_nothing(
    server: Server, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that goes away between two batches leaves the rest in the spool, and nothing comes twice."""
    monkeypatch.setattr("flask_mailtrack.storage.drain.drain.BATCH", 4)
    host = make_site(SQLALCHEMY_DATABASE_URI=server.url, MAILTRACK_DRAIN="manual")
    reader = Reader(host.client, host.send(HTML))
    for _ in range(10):
        reader.open()
    writer = host.mailtrack._state().drain._target._writer
    write, batches = writer._write, []

    def stopping(*arguments: object) -> object:
        batches.append(1)
        if len(batches) == 2:
            server.stop()
        return write(*arguments)  # type: ignore[arg-type]

    writer._write = stopping  # type: ignore[method-assign,assignment]
    host.db.engine.pool.dispose()
    with pytest.raises(Exception, match=r"connection|terminat|closed"):
        host.mailtrack.flush()
    server.start()
    assert host.mailtrack.flush() == 13
    (message,) = host.rows("Message")
    assert (message.status, message.open_count, len(host.rows("Event"))) == ("sent", 10, 10)


def test_a_database_that_hangs_stops_no_reader(server: Server, make_site: MakeSite) -> None:
    """A server that is there but answers nothing holds up the drain's thread alone, and gets all rows afterwards."""
    config = {"MAILTRACK_DRAIN": "thread", "MAILTRACK_DRAIN_SECONDS": 0.05, "SQLALCHEMY_DATABASE_URI": server.url}
    host = make_site(**config)
    drain = host.mailtrack._state().drain
    hanging = threading.Event()
    store = drain._target._writer.store

    def watched(*arguments: object, **options: object) -> object:
        hanging.set()
        return store(*arguments, **options)  # type: ignore[arg-type]

    reader = Reader(host.client, host.send(HTML))
    host.mailtrack.flush()
    with server.hung():
        drain._target._writer.store = watched  # type: ignore[method-assign,assignment]
        began = time.monotonic()
        assert reader.click("go").status_code == 302
        assert hanging.wait(30)
        for _ in range(10):
            assert reader.click("go").location == "https://example.com/?a=1&b=2"
            assert reader.open().status_code == 200
        assert time.monotonic() - began < 30
        assert host.mailtrack.health().rows >= 21
    host.mailtrack.flush()
    assert len(host.rows("Event")) == 21
