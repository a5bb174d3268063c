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
    """Who was told "You have been unsubscribed", or was suppressed, is not mailed; monitor, status and check say so."""
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


@pytest.fixture(name="apart")
def _apart(make_site: MakeSite, tmp_path: Path) -> tuple[Site, Site]:
    """Two machines with one database, and nothing else between them."""
    shared = {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'shared.sqlite3'}", "MAILTRACK_DRAIN": "manual"}
    first, second = (make_site(**shared) for _ in range(2))
    return first, second


def recover(site: Site) -> None:
    """Store what was put aside there."""
    with site.app.app_context():
        assert command(site, "recover", "--quarantine").exit_code == 0


def page(site: Site, path: str) -> str:
    """What a person sees who follows the link now."""
    return site.client.get(path, headers={"Accept-Language": "en"}).text


def way_out(sent: Any) -> str:
    """The path by which the reader of a mail leaves its list."""
    return str(sent.extra_headers["List-Unsubscribe"]).strip("<>").removeprefix("https://links.example.com")


@pytest.mark.parametrize("table", ["mailtrack_optout", "mailtrack_audit"])
@pytest.mark.parametrize("by", ["link", "host"])
def test_a_refused_opt_out_holds_on_machines_that_share_the_database_alone(
    apart: tuple[Site, Site], table: str, by: str
) -> None:
    """What one table refuses, another one remembers: no machine mails, all pages say so, and storing it ends that."""
    first, second = apart
    with first.app.app_context():
        sent = first.send(to=ADA, list_id="news")
    flush(first)
    execute(first, NO.format(table))
    with first.app.app_context():
        if by == "link":
            Reader(first.client, sent).unsubscribe()
        else:
            first.mailtrack.suppress(ADA, "news")
    flush(first)
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])
    for site in apart:
        told = page(site, way_out(sent))
        assert "<title>You have been unsubscribed</title>" in told
        assert ("Subscribe again" in told) == (by == "link")
    execute(first, "DROP TRIGGER no")
    recover(first)
    with second.app.app_context():
        assert [row.recipient for row in second.rows("OptOut")] == [ADA]
        assert second.rows("Setting") == []
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])


def test_a_refused_opt_out_is_undone_on_another_machine(apart: tuple[Site, Site]) -> None:
    """The page there names it, so the undo lifts it, and it stays lifted when it is stored after all."""
    first, second = apart
    with first.app.app_context():
        sent = first.send(to=ADA, list_id="news")
    flush(first)
    execute(first, NO.format("mailtrack_optout"))
    with first.app.app_context():
        Reader(first.client, sent).unsubscribe()
    flush(first)
    shown = page(second, way_out(sent)).partition('name="shown" value="')[2].partition('"')[0]
    answer = second.client.post(way_out(sent), data={"action": "undo", "shown": shown})
    assert "You are subscribed again" in answer.text
    flush(second)
    assert (mailed(first), mailed(second)) == ([ADA, BOB], [ADA, BOB])
    execute(first, "DROP TRIGGER no")
    recover(first)
    assert (mailed(first), mailed(second)) == ([ADA, BOB], [ADA, BOB])


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_refused_opt_out_holds_on_machines_of_a_server(database_url: str, make_site: MakeSite) -> None:
    """A CHECK of the host's refuses it on a real server, and another machine knows all the same."""
    first, second = (make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual") for _ in range(2))
    execute(first, "ALTER TABLE mailtrack_optout ADD CONSTRAINT own CHECK (method = 'import')")
    with first.app.app_context():
        first.mailtrack.suppress(ADA, "News")
    flush(first)
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])
    execute(first, "ALTER TABLE mailtrack_optout DROP CONSTRAINT own")
    recover(first)
    with second.app.app_context():
        assert second.rows("Setting") == []
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])


def test_an_operator_sees_no_refusals_among_the_settings(apart: tuple[Site, Site]) -> None:
    """They are in force as no switch, and are not in the history."""
    first, second = apart
    execute(first, NO.format("mailtrack_optout"))
    with first.app.app_context():
        first.mailtrack.suppress(ADA, "news")
    flush(first)
    with second.app.app_context():
        assert len(second.rows("Setting")) == 1
        assert second.mailtrack.settings.history() == []
        assert not second.mailtrack.settings.paused


def test_what_no_table_takes_is_named(apart: tuple[Site, Site], caplog: pytest.LogCaptureFixture) -> None:
    """The machine that was told goes on honouring it; the log says that others do not know, and the monitor is red."""
    first, _ = apart
    execute(first, NO.format("mailtrack_optout"))
    execute(first, NO.format("mailtrack_setting").replace("TRIGGER no", "TRIGGER none"))
    with first.app.app_context():
        first.mailtrack.suppress(ADA, "news")
    flush(first)
    assert mailed(first) == [BOB]
    assert "machines without a common Redis do not know of it" in caplog.text
    with first.app.app_context():
        assert not first.mailtrack.health().ok


@pytest.mark.parametrize("by", ["link", "host"])
def test_an_erasure_leaves_a_refused_opt_out_under_the_hash(apart: tuple[Site, Site], by: str) -> None:
    """What was put aside names the person no more, and keeps them off the list before and after it is stored."""
    first, second = apart
    with first.app.app_context():
        sent = first.send(to=ADA, list_id="news")
    flush(first)
    execute(first, NO.format("mailtrack_optout"))
    with first.app.app_context():
        if by == "link":
            first.client.post(way_out(sent), data={"action": "reason", "reason": "other", "comment": f"I am {ADA}"})
        else:
            first.mailtrack.suppress(ADA, "news", reason=ADA)
    flush(first)
    with first.app.app_context():
        assert first.mailtrack.erase(ADA).quarantined == 1
        assert first.mailtrack.erase(ADA).quarantined == 0
        folder = first.mailtrack._state().journals[1].directory
    kept = folder.joinpath("bad-optouts.jsonl").read_text()
    assert ADA not in kept
    assert "127.0.0.1" not in kept
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])
    execute(first, "DROP TRIGGER no")
    recover(first)
    with second.app.app_context():
        assert [row.recipient[:4] for row in second.rows("OptOut")] == ["ref:"]
    assert (mailed(first), mailed(second)) == ([BOB], [BOB])
