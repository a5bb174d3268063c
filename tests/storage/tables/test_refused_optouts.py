"""An opt-out that the database refuses: until it is stored, its person gets no list mail, and everything says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site
from redis_server import RedisServer, running

from flask_mailtrack.testing import Reader

ADA, BOB = "ada@example.com", "bob@example.com"
NO = "CREATE TRIGGER no BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'no'); END"


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[RedisServer]:
    """A running Redis that forgets nothing."""
    with running() as server:
        yield server


def execute(site: Site, statement: str) -> None:
    """Run one statement as the host would."""
    with site.app.app_context(), site.db.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def mailed(site: Site) -> list[str]:
    """Who of the two gets mail of the list now."""
    with site.app.app_context():
        return [who for who in (ADA, BOB) if site.send(to=who, list_id="news")]


def command(site: Site, *words: str) -> Any:
    """Run ``flask mailtrack``."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", *words])


@pytest.mark.parametrize("table", ["mailtrack_optout", "mailtrack_audit"])
@pytest.mark.parametrize("by", ["link", "host"])
def test_a_refused_opt_out_is_honoured_until_it_is_stored(site: Site, table: str, by: str) -> None:
    """Who was told "You are unsubscribed", or was suppressed, is not mailed; monitor, status and check say so."""
    sent = site.send(list_id="news")
    execute(site, NO.format(table))
    if by == "link":
        assert Reader(site.client, sent).unsubscribe().status_code == 200
    else:
        site.mailtrack.suppress(ADA, "news")
    site.mailtrack.flush()
    assert site.rows("OptOut") == []
    assert mailed(site) == [BOB]
    health = site.mailtrack.health()
    assert (health.ok, health.refused_optouts) == (False, 1)
    status = command(site, "status", "--json")
    assert (status.exit_code, json.loads(status.output)["refused_optouts"]) == (1, 1)
    check = command(site, "check")
    assert check.exit_code == 1
    assert "C26" in check.output
    execute(site, "DROP TRIGGER no")
    assert command(site, "recover", "--quarantine").exit_code == 0
    assert [row.recipient for row in site.rows("OptOut")] == [ADA]
    assert mailed(site) == [BOB]
    assert site.mailtrack.health().ok


def test_a_refused_undo_lifts_nothing(site: Site) -> None:
    """In doubt the refusal wins: what is put aside keeps people off a list, never on it."""
    site.mailtrack.suppress(ADA, "news")
    execute(site, NO.format("mailtrack_audit"))
    site.mailtrack.unsuppress(ADA, "news")
    site.mailtrack.flush()
    assert mailed(site) == [BOB]


@pytest.fixture(name="boxes")
def _boxes(make_site: MakeSite, server: RedisServer, tmp_path: Path) -> tuple[Site, Site]:
    """Two machines with one database and one Redis."""
    with server.client() as client:
        client.flushall()
    shared = {"MAILTRACK_SINK": server.url, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'shared.sqlite3'}"}
    first, second = (make_site(**shared, MAILTRACK_DRAIN="manual") for _ in range(2))
    return first, second


def flush(site: Site) -> None:
    """Drain one machine."""
    with site.app.app_context():
        site.mailtrack.flush()


@pytest.mark.parametrize("adopted", [False, True])
def test_a_refused_opt_out_holds_on_every_machine(
    boxes: tuple[Site, Site], adopted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machines read it in Redis, whichever of them the database has refused it from."""
    first, second = boxes
    execute(first, NO.format("mailtrack_optout"))
    with first.app.app_context():
        first.mailtrack.suppress(ADA, "news")
    if adopted:
        monkeypatch.setattr("flask_mailtrack.storage.drain.shipping.CLAIM_SECONDS", -1)
        flush(second)
    flush(first)
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])
    for site in boxes:
        with site.app.app_context():
            health = site.mailtrack.health()
        assert (health.ok, health.refused_optouts) == (False, 1)
    execute(first, "DROP TRIGGER no")
    with first.app.app_context():
        assert command(first, "recover", "--quarantine").exit_code == 0
        assert [row.recipient for row in first.rows("OptOut")] == [ADA]
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])
    for site in boxes:
        with site.app.app_context():
            assert site.mailtrack.health().ok
