"""``flask mailtrack doctor``: all findings on one page, each with its cure."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from click.testing import Result
from conftest import MakeSite, Site, free_port

from flask_mailtrack.commands.doctor import waiting
from flask_mailtrack.events import now
from flask_mailtrack.phrases import foreign
from flask_mailtrack.reporting.remedies import REMEDIES, Finding
from flask_mailtrack.storage.drain.health import Health


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(name="served")
def _served(make_site: MakeSite, tmp_path: Path) -> Iterator[Site]:
    """A site that answers under its own base URL."""
    networks = tmp_path / "networks.txt"
    networks.write_text(f"[certain] {now().date()}\n")
    port = free_port()
    config = {"MAILTRACK_BASE_URL": f"http://127.0.0.1:{port}", "MAILTRACK_NETWORKS": str(networks)}
    site = make_site(SECRET_KEY="a secret of at least thirty-two bytes", **config)
    with make_server("127.0.0.1", port, site.app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def run(site: Site, *options: str, color: bool = False) -> Result:
    """Run the command."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", "doctor", *options], color=color)


def test_one_page_has_everything(served: Site) -> None:
    """The page has what check, check --live, status, domains and settings say, and the exit code is of the worst."""
    result = run(served)
    found = re.findall(r"^(\w+) +(C\d\d)", result.output, re.MULTILINE)
    assert [code for _, code in found] == [
        f"C{each}" for each in (10, 11, 13, 20, 30, 40, 41, 42, 43, 50, 60, 61, 62, 70, 63)
    ]
    assert {level for level, _ in found} == {"ok", "warning"}
    assert "cure: Set MAILTRACK_BASE_URL to an https address." in result.output
    assert "errors: 0, warnings: 1, as it should be: 14" in result.output
    assert (result.exit_code, "\x1b" in result.output) == (1, False)
    assert "\x1b[33mwarning" in run(served, color=True).output


def test_errors_weigh_most(make_site: MakeSite) -> None:
    """An error is exit code 2, for people and for programs, and each finding that is not ok brings its cure."""
    site = make_site(MAILTRACK_BASE_URL="http://127.0.0.1:9")
    site.db.drop_all()
    assert run(site, "--offline").exit_code == 2
    result = run(site, "--json")
    rows = json.loads(result.output)["findings"]
    assert result.exit_code == 2
    bad = {row["code"]: row["cure"] for row in rows if row["level"] == "error"}
    assert {"C30", "C60"} <= set(bad)
    assert all(row["cure"] for row in rows if row["level"] != "ok")
    assert not any(row["cure"] for row in rows if row["level"] == "ok")


def test_what_waits_is_judged() -> None:
    """Each trouble of the journal and the drain is an error, in words."""
    good = {"rows": 7, "bytes": 9, "oldest_seconds": 1, "bad": 0, "refused_optouts": 0, "fallbacks": 0, "lost": 0}
    good |= {"lag_seconds": 0.0, "last_error": "", "last_success": None}
    assert waiting(Health(**good)) == Finding("C70", "ok", foreign("7 records wait for the database"))
    for wrong, text in {
        "lost": "3 records are only in the log",
        "refused_optouts": "3 opt-outs are in quarantine",
        "last_error": "the last run failed: 3",
        "problems": "3",
        "oldest_seconds": "7 records wait, the oldest for 400 seconds",
    }.items():
        value = {"oldest_seconds": 400, "problems": ("3",), "last_error": "3"}.get(wrong, 3)
        assert waiting(Health(**(good | {wrong: value}))) == Finding("C70", "error", foreign(text)), wrong
    assert all(each.cure.endswith(".") and each.meaning.endswith(".") for each in REMEDIES.values())
