"""Where an app keeps its journal: private, apart from other apps, and never nowhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site, places
from sqlalchemy.exc import OperationalError

from flask_mailtrack import signals
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.storage.journal import backlog
from flask_mailtrack.storage.records import encode
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/a">a</a></p>'


def check(site: Site) -> str:
    """What ``flask mailtrack check`` prints."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", "check"]).output


def test_apps_that_are_told_the_same_directory_stay_apart(lasting: Any, tmp_path: Path) -> None:
    """Two apps with one MAILTRACK_SPOOL_DIR have folders of their own, and neither takes the other's rows."""
    spool = tmp_path / "spool"
    one, two = (lasting(MAILTRACK_SPOOL_DIR=spool, MAILTRACK_APP_ID=name) for name in ("one", "two"))
    one.send(HTML)
    two.send(HTML, to="bob@example.com")
    with one.app.app_context():
        assert places(one)[0].parent == places(two)[0].parent == spool
        assert one.mailtrack.flush() > 0
        assert [row.recipient for row in one.rows("Message")] == ["ada@example.com"]
        assert "not ours" not in check(one)
    with two.app.app_context():
        assert two.mailtrack.flush() > 0
        assert [row.recipient for row in two.rows("Message")] == ["bob@example.com"]


def test_what_an_earlier_version_left_is_drained(lasting: Any, tmp_path: Path) -> None:
    """Segments directly in MAILTRACK_SPOOL_DIR, where they used to be, still arrive."""
    spool = tmp_path / "spool"
    site = lasting(MAILTRACK_SPOOL_DIR=str(spool))
    site.send(HTML)
    (segment,) = places(site)[0].glob("events-*")
    shutil.move(segment, spool / segment.name)
    assert site.mailtrack.health().rows > 0
    site.mailtrack.flush()
    assert [row.status for row in site.rows("Message")] == ["sent"]


@pytest.mark.parametrize("key", ["MAILTRACK_SPOOL_DIR", "MAILTRACK_SPOOL_FALLBACK_DIR"])
def test_a_directory_that_others_can_write_to_stops_the_start(lasting: Any, tmp_path: Path, key: str) -> None:
    """s98: whoever can write there can forge rows, so the app does not start, and is told what to do."""
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    with pytest.raises(ConfigError, match=rf"\[E130\] {key}: .*others can write into it. Write: chmod 700"):
        lasting(**{key: str(spool)})
    spool.chmod(0o700)
    assert lasting(**{key: str(spool)}).send(HTML)


def test_a_trap_in_the_temporary_folder_does_not_stop_the_start(
    lasting: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody can make a directory in /tmp; one that was laid there for us is not used, and is reported."""
    config = {"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/one.sqlite3", "MAILTRACK_SPOOL_DIR": tmp_path / "spool"}
    second = places(lasting(**config))[1]
    assert second.parent == tmp_path / "tmp"
    second.mkdir()
    second.chmod(0o777)
    (second / "events-0-0.jsonl").write_bytes(encode({"k": "hit"}))
    site = lasting(**config)
    assert "there is no second spool" in caplog.text
    assert f"error   C24  the second spool {second} has mode 777" in check(site)
    with pytest.raises(PermissionError, match="others can write"):
        site.mailtrack.flush()
    assert site.mailtrack.health().bad == 0


def test_a_hit_survives_a_broken_spool(lasting: Any, tmp_path: Path) -> None:
    """With the first directory gone for good, hits, opt-outs and mails are rows all the same, each once."""
    site = lasting()
    reader = Reader(site.client, site.send(HTML, list_id="news"))
    site.mailtrack.flush()
    first, second = places(site)[:2]
    shutil.rmtree(first)
    first.write_text("in the way")
    assert reader.click("a").status_code == 302
    assert reader.unsubscribe().status_code == 200
    site.send(HTML, to="bob@example.com")
    health = site.mailtrack.health()
    assert (health.fallbacks, health.lost, health.ok) == (4, 0, True)
    assert second.is_dir()
    assert "error   C20  the spool" in check(site)
    site.mailtrack.flush()
    assert sorted(event.type for event in site.rows("Event")) == ["clicked", "unsubscribed"]
    assert [row.recipient for row in site.rows("OptOut")] == ["ada@example.com"]
    assert len(site.rows("Message")) == 2
    assert site.mailtrack.health().rows == 0


def test_check_names_what_is_not_ours(lasting: Any, tmp_path: Path) -> None:
    """A file that somebody has put among the segments is a warning, with its name made harmless."""
    site = lasting()
    site.send(HTML)
    (places(site)[0] / "\x1b[31mnotes").mkdir()
    output = check(site)
    assert "warning C23  not ours, and left alone: " in output
    assert r"\x1b[31mnotes" in output


@pytest.mark.parametrize("kind", ["tmpfs", "nfs4"])
def test_a_file_system_that_loses_things_is_named(
    lasting: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A journal in memory, or on the network, is a warning at start-up and in ``check``."""
    monkeypatch.setattr(backlog, "file_system", lambda path, table: kind)
    site = lasting()
    assert [r.levelname for r in caplog.records if f"is on {kind}" in r.getMessage()] == ["WARNING"]
    assert "warning C22  the spool" in check(site)


def test_a_failing_database_raises_the_alarm(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is told once, by a signal and a log line, not at each hit; readers notice nothing."""
    site = make_site()
    reader = Reader(site.client, site.send(HTML))
    told: list[tuple[str, str]] = []

    def receive(app: Any, reason: str, error: Exception) -> None:
        told.append((reason, type(error).__name__))

    def fail(batch: Batch, records: Any) -> Any:
        raise OperationalError("INSERT", {}, Exception("read-only transaction"))

    with monkeypatch.context() as patch, signals.tracking_failed.connected_to(receive, site.app):
        patch.setattr(Batch, "write", fail)
        for _ in range(5):
            assert reader.click("a").status_code == 302
        health = site.mailtrack.health()
        assert (health.last_error, health.rows) == ("OperationalError", 5)
        patch.undo()
        reader.open()
        assert site.mailtrack.health().last_error == ""
    assert told == [("drain", "OperationalError")]
    assert len(site.rows("Event")) == 6


def test_health_answers_whatever_is_wrong(lasting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without database, directories or permissions it still answers, at once."""
    site = lasting(tables=False)
    site.send(HTML)
    first = places(site)[0]
    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", lambda path: _denied())
        patch.setattr(Path, "glob", lambda *_: _denied())
        assert site.mailtrack.health().rows == 0
    assert site.mailtrack.health().rows > 0
    shutil.rmtree(first)
    assert site.mailtrack.health().rows == 0


def _denied() -> Any:
    raise PermissionError(13, "Permission denied")
