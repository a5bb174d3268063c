"""The database stops: links still lead where they should, nobody is mailed on hope, and nothing is lost."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import MakeSite, missing

from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/?a=1&amp;b=2">go</a>'


@dataclass
class Server:
    """A PostgreSQL server of our own, which may be stopped and started."""

    programs: Path
    directory: Path
    port: int
    user: str | None

    @property
    def url(self) -> str:
        """Where its database is."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres?connect_timeout=5"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs, which is done when it is done."""
        command = [str(self.programs / program), *arguments]
        log = self.directory.parent / "log"
        with log.open("ab") as output:  # not a pipe: the server would keep it open
            subprocess.run(command, check=True, stdout=output, stderr=output, user=self.user, cwd="/", timeout=60)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self.run("pg_ctl", "-D", str(self.directory), "-w", "-o", options, "start")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        first = (self.directory / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *children):
            os.kill(int(pid), number)

    def stop(self) -> None:
        """Stop it as a crash would."""
        self.run("pg_ctl", "-D", str(self.directory), "-w", "-m", "immediate", "stop")


def programs() -> Path | None:
    """Where PostgreSQL's server programs are."""
    found = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return Path(found).resolve().parent if found else debian[-1].parent if debian else None


def ordinary_user() -> str | None:
    """Whom the server runs as: it refuses root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    """A running server on a free port, gone afterwards."""
    binaries = programs()
    if binaries is None:
        missing("PostgreSQL's initdb and pg_ctl")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not under tmp_path, which only its owner can enter.
    place = Path(tempfile.mkdtemp(prefix="mailtrack-postgresql-"))
    server = Server(binaries, place / "data", port, ordinary_user())
    if server.user:
        shutil.chown(place, server.user)
    try:
        server.run("initdb", "-D", str(server.directory), "-U", "postgres", "-A", "trust", "-N")
        server.start()
        yield server
    finally:
        if (server.directory / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(place)


def test_a_stopped_database_stops_no_reader(server: Server, make_site: MakeSite) -> None:
    """While PostgreSQL is down clicks are redirected and opt-outs taken; afterwards each is a row, exactly once."""
    host = make_site(SQLALCHEMY_DATABASE_URI=server.url)
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    stranger = Reader(host.client, host.send(HTML, to="bob@example.com", list_id="news"))
    assert [message.status for message in host.rows("Message")] == ["sent", "sent"]
    host.db.session.remove()
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


def test_a_database_that_stops_in_a_drain_loses_nothing(server: Server, make_site: MakeSite) -> None:
    """A server that goes away between two batches leaves the rest in the spool, and nothing comes twice."""
    host = make_site(SQLALCHEMY_DATABASE_URI=server.url, MAILTRACK_DRAIN="manual", MAILTRACK_DRAIN_BATCH=4)
    reader = Reader(host.client, host.send(HTML))
    for _ in range(10):
        reader.open()
    writer = host.mailtrack.state().drain._writer
    write, batches = writer._write, []

    def stopping(*arguments: object) -> object:
        batches.append(1)
        if len(batches) == 2:
            server.stop()
        return write(*arguments)  # type: ignore[arg-type]

    writer._write = stopping  # type: ignore[method-assign,assignment]
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
    drain = host.mailtrack.state().drain
    hanging = threading.Event()
    store = drain._writer.store

    def watched(*arguments: object, **options: object) -> object:
        hanging.set()
        return store(*arguments, **options)  # type: ignore[arg-type]

    reader = Reader(host.client, host.send(HTML))
    host.mailtrack.flush()
    server.signal(signal.SIGSTOP)
    try:
        drain._writer.store = watched  # type: ignore[method-assign,assignment]
        began = time.monotonic()
        assert reader.click("go").status_code == 302
        assert hanging.wait(30)
        for _ in range(10):
            assert reader.click("go").location == "https://example.com/?a=1&b=2"
            assert reader.open().status_code == 200
        assert time.monotonic() - began < 30
        assert host.mailtrack.health().rows >= 21
    finally:
        server.signal(signal.SIGCONT)
    host.mailtrack.flush()
    assert len(host.rows("Event")) == 21
