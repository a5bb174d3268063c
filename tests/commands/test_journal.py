"""``flask mailtrack drain|recover|status``: the spool by hand."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from conftest import MakeSite, Site
from sqlalchemy.exc import IntegrityError

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.storage.journal.directory import strangers
from flask_mailtrack.storage.journal.signatures import MANY, Signatures
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/a">a</a></p>'


def run(site: Site, *arguments: str, given: bytes | None = None) -> Result:
    """Run a command of the app."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", *arguments], input=given)


def send(site: Site, **options: Any) -> Reader:
    """Send a mail and return its reader."""
    return Reader(site.client, site.send(HTML, list_id="news", **options))


@contextmanager
def full_disks() -> Iterator[list[str]]:
    """While this holds, no directory takes anything; yields the lines that went to the log instead."""

    def full(self: Spool, *records: Any, sync: bool = False) -> None:
        raise SpoolError("full") from OSError(28, "No space left on device")

    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("flask_mailtrack.spool.lost")
    logger.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "append", full)
        yield told
    logger.removeHandler(handler)


def test_drain_moves_what_waits(make_site: MakeSite) -> None:
    """The command moves the journal to the database and says how much."""
    site = make_site(MAILTRACK_DRAIN="manual")
    send(site).click("a")
    assert site.rows("Event") == []
    result = run(site, "drain")
    assert (result.exit_code, bool(re.fullmatch(r"\d+ records moved\n", result.output))) == (0, True)
    assert len(site.rows("Event")) == 1
    assert run(site, "drain").output == "0 records moved\n"


def test_drain_says_that_the_database_refuses(make_site: MakeSite) -> None:
    """Without tables it fails, and the records wait."""
    site = make_site(MAILTRACK_DRAIN="manual", tables=False)
    site.send("<p>Hello</p>")
    result = run(site, "drain")
    assert result.exit_code == 1
    assert "the database does not take them: OperationalError" in result.output
    site.db.create_all()
    assert run(site, "drain").exit_code == 0
    assert len(site.rows("Message")) == 1


class Told:
    """Stands for the event that a signal sets: lets *runs* runs go by, calling *between* before each wait."""

    def __init__(self, runs: int, between: Callable[[int], object]) -> None:
        self.waited: list[float] = []
        self._runs = runs
        self._between = between

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self._between(len(self.waited))
        return len(self.waited) == self._runs


def test_watching_waits_longer_after_each_failure(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--watch`` goes on over a database that is away, ever more slowly, and says only what has changed."""
    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_DRAIN_SECONDS=7, tables=False)
    site.send("<p>Hello</p>")
    told = Told(5, lambda run: site.db.create_all() if run == 3 else None)
    monkeypatch.setattr("flask_mailtrack.commands.journal.told_to_end", lambda: nullcontext(told))
    result = run(site, "drain", "--watch")
    first, second, third, *after = told.waited
    assert (7 <= first <= 14, 14 <= second <= 28, 28 <= third <= 56, after) == (True, True, True, [7, 7])
    assert result.output.count("the database does not take them: OperationalError") == 1
    assert re.findall(r"^(\d+) records moved$", result.output, re.MULTILINE) == ["2"]
    assert len(site.rows("Message")) == 1


WATCH = """
import sys
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack

app = Flask("watched", instance_path=sys.argv[1])
app.config.update(
    SECRET_KEY="k" * 40, SQLALCHEMY_DATABASE_URI=f"sqlite:///{sys.argv[1]}/x.sqlite3",
    MAILTRACK_BASE_URL="https://links.example.com", MAIL_DEFAULT_SENDER="a@example.com", MAIL_SUPPRESS_SEND=True,
    MAILTRACK_DRAIN="manual", MAILTRACK_DRAIN_SECONDS=3600,
)
db, mail = SQLAlchemy(app), Mail(app)
mailtrack = Mailtrack(app, mail=mail, db=db)
with app.app_context():
    db.create_all()
    mail.send_message("Hello", recipients=["ada@example.com"], html="<p>x</p>")
    app.cli.main(["mailtrack", "drain", "--watch"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_watching_ends_when_it_is_told_to(tmp_path: Path, number: signal.Signals) -> None:
    """A service manager's SIGTERM, and Ctrl-C, end the watch between two batches, without a traceback."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", WATCH, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "2 records moved\n"
        watch.send_signal(number)
        said, complained = watch.communicate(timeout=60)
    assert (watch.returncode, said, complained) == (0, "", "")


@pytest.mark.parametrize("prefix", ["", "2026-11-21 12:00:00,123 CRITICAL [pid 7] ", "<2>Nov 21 host app[1]: {x} "])
def test_a_line_of_the_log_is_found_behind_any_prefix(site: Site, prefix: str, tmp_path: Path) -> None:
    """Whatever a log handler puts around the line, ``recover`` stores the record, and only once."""
    reader = send(site)
    with full_disks() as told:
        assert reader.click("a").location == "https://example.com/a"
    assert site.rows("Event") == []
    log = tmp_path / "app.log"
    log.write_text("".join(f"{prefix}{line}\r\nINFO something else\n" for line in told), encoding="utf-8")
    for _ in range(2):
        result = run(site, "recover", str(log))
        assert (result.exit_code, result.output) == (0, f"{log}: 1 records stored, 0 not\n")
    (event,) = site.rows("Event")
    assert (event.type, event.url) == ("clicked", "https://example.com/a")
    assert site.rows("Message")[0].click_count == 1


def test_a_log_that_is_json_is_read(site: Site) -> None:
    """Where the host logs JSON, the line is a string in it, and comes back from standard input too."""
    reader = send(site)
    with full_disks() as told:
        reader.open()
    line = json.dumps({"time": 1, "level": "CRITICAL", "message": told[0]}) + "\n"
    result = run(site, "recover", "-", given=line.encode())
    assert (result.exit_code, result.output) == (0, "-: 1 records stored, 0 not\n")
    assert [event.type for event in site.rows("Event")] == ["opened"]


def test_messages_too_come_back(site: Site) -> None:
    """The rows of a mail that went out while no disk took anything are in the log as well."""
    with full_disks() as told:
        site.send(HTML, tag="welcome")
    assert site.rows("Message") == []
    result = run(site, "recover", "-", given="\n".join(told).encode())
    assert result.exit_code == 0
    assert [(row.status, row.tag) for row in site.rows("Message")] == [("sent", "welcome")]


def test_bad_lines_are_named(site: Site, tmp_path: Path) -> None:
    """What a log has cut off or altered is reported with its number, and costs only itself."""
    reader = send(site)
    with full_disks() as told:
        reader.open()
        reader.click("a")
    whole, other = told
    lines = ["noise", whole[:-20], whole, other.replace("clicked", "opened "), "", other[:40]]
    log = tmp_path / "app.log"
    log.write_text("\n".join(lines))
    result = run(site, "recover", str(log))
    assert result.exit_code == 1
    assert re.findall(r":(\d+): damaged", result.output) == ["2", "4", "6"]
    assert result.output.endswith(": 1 records stored, 3 not\n")
    assert [event.type for event in site.rows("Event")] == ["opened"]


def test_recover_says_that_the_database_is_away(make_site: MakeSite) -> None:
    """While the database does not answer, nothing is claimed to be stored."""
    site = make_site(tables=False)
    with full_disks() as told:
        site.send(HTML)
    result = run(site, "recover", "-", given="\n".join(told).encode())
    assert (result.exit_code, result.output) == (1, "the database does not take them: OperationalError\n")


def test_recover_wants_something_to_read(site: Site) -> None:
    """Without a file it is a usage error."""
    assert run(site, "recover").exit_code == 2
    assert run(site, "recover", "no such file").exit_code == 2


def test_the_quarantine_comes_back_when_the_cause_is_gone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that a mistake or a missing column kept out is stored later, and then no longer kept aside."""
    reader = send(site)

    def refuse(batch: Batch, records: Any) -> Any:
        raise IntegrityError("INSERT", {}, Exception("no such column"))

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "write", refuse)
        reader.open()
    (kept,) = site.mailtrack._state().journals[0].directory.glob("bad-*.jsonl")
    with kept.open("ab") as file:
        file.write(b"not ours\n")
    assert (site.rows("Event"), site.mailtrack.health().bad) == ([], 2)
    result = run(site, "recover", "--quarantine")
    assert (result.exit_code, result.output) == (0, f"{kept}: 1 records stored, 0 not\n")
    assert [event.type for event in site.rows("Event")] == ["opened"]
    assert kept.read_bytes() == b"not ours\n"
    assert site.mailtrack.health().bad == 1


def test_what_is_still_refused_stays(site: Site) -> None:
    """A record that the database refuses again stays where it is, and the reason is said."""
    state = site.mailtrack._state()
    state.journals[0].append({"k": "weather"})
    site.mailtrack.flush()
    (kept,) = state.journals[0].directory.glob("bad-*.jsonl")
    before = kept.read_bytes()
    result = run(site, "recover", str(kept))
    assert result.exit_code == 1
    assert ":1: refused: not a record: KeyError('weather')" in result.output
    assert kept.read_bytes() == before


def test_status_tells_what_waits(make_site: MakeSite) -> None:
    """A person, and a machine, see rows, age, quarantine and the last error, and the exit code is a verdict."""
    site = make_site(MAILTRACK_DRAIN="manual")
    send(site).open()
    waiting = json.loads(run(site, "status", "--json").output)
    assert waiting["rows"] >= 3
    assert waiting["bytes"] > 300
    assert (waiting["ok"], waiting["last_success"], waiting["last_error"]) == (True, None, "")
    site.mailtrack.flush()
    result = run(site, "status")
    assert result.exit_code == 0
    assert re.search(r"^rows +0$", result.output, re.MULTILINE)
    assert re.search(rf"^last success +{datetime.now(UTC).year}-", result.output, re.MULTILINE)


def test_many_bad_signatures_are_told_with_their_cause(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """If what sends has another key than what serves, log, health, status and check say so; a few say nothing."""
    sender = make_site(SECRET_KEY="a key that only what sends has, long enough")
    link = Reader(sender.client, sender.send('<a href="https://example.com/">go</a>')).links[0].url
    site = make_site()
    run = site.app.test_cli_runner()
    for _ in range(MANY - 1):
        assert site.client.get(link).status_code == 404
        site.client.get("/m/c/short")
    assert site.mailtrack.health().bad_signatures == 0
    assert "bad signature" not in caplog.text + run.invoke(args=["mailtrack", "check"]).output
    site.client.get(link)
    (line,) = [record for record in caplog.records if "bad signature" in record.message]
    assert line.levelname == "WARNING"
    assert "differs" in line.message
    assert site.mailtrack.health().bad_signatures == MANY
    assert site.mailtrack.health().ok
    assert "MAILTRACK_SECRET_KEYS" in run.invoke(args=["mailtrack", "status"]).output
    assert "C14" in run.invoke(args=["mailtrack", "check"]).output


def test_bad_signatures_are_known_to_each_process(tmp_path: Path) -> None:
    """For an hour, by the one that saw most; a file that is damaged, or cannot be written, is no harm."""
    moment = [1e9]
    one, other = (Signatures(tmp_path, lambda: moment[0]) for _ in range(2))
    for _ in range(MANY):
        one.bad()
    assert (one.read(), other.read()) == (MANY, MANY)
    assert list(strangers(tmp_path, {"events"})) == []
    moment[0] += 3_601
    assert (one.read(), other.read()) == (0, 0)
    one.bad()
    assert one.read() == 0
    (tmp_path / "signatures.json").write_text('{"count": null}')
    assert other.read() == 0
    away = Signatures(tmp_path / "nowhere", lambda: moment[0])
    for _ in range(MANY):
        away.bad()
    assert away.read() == MANY
