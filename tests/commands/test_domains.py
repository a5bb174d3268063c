"""``flask mailtrack domains``: a tracking domain from a terminal, for people and for cron."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import Result
from conftest import MakeSite, Site

from flask_mailtrack.administration.dns_records import Names, Records, RecordState
from flask_mailtrack.administration.domain_check import DomainFinding, DomainReport, DomainStatus

HOST = "click.example.org"
GOOD = DomainReport(DomainStatus.VERIFIED, True, (DomainFinding("dns", "ok", "The record is right."),))
BAD = DomainReport(
    DomainStatus.PENDING, True, (DomainFinding("tls", "error", "The certificate has expired.", "Renew it."),)
)


def run(site: Site, *arguments: str, answers: str = "") -> Result:
    """Run a command of domains."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", "domains", *arguments], input=answers)


@pytest.fixture(name="site")
def _site(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A host whose checks end well, and whose names have no records; the checks have tests of their own."""
    monkeypatch.setattr("flask_mailtrack.administration.domain_check.DomainChecker.check", lambda *_: GOOD)
    monkeypatch.setattr(Names, "look_up", lambda *_: Records(RecordState.MISSING, "It has no record."))
    monkeypatch.setattr(Names, "texts", lambda *_: [])
    monkeypatch.setattr(Names, "exists", lambda *_: False)
    return make_site(MAILTRACK_CNAME_TARGET="links.example.net")


def test_a_domain_is_made_with_all_that_must_be_copied(site: Site) -> None:
    """The record and the lines of both web servers are printed; a digit at the start gets advice."""
    made = run(site, "add", "example.org", "click", "--by", "ops")
    assert made.exit_code == 0, made.output
    assert f"{HOST}. 300 IN CNAME links.example.net." in made.output
    assert f"server_name {HOST};" in made.output
    assert "on_demand_tls" in made.output
    assert "first character is a letter" in run(site, "add", "example.org", "1ab").stderr


def test_the_whole_life_from_a_terminal(site: Site) -> None:
    """Made, checked, shown, used, detached and removed."""
    run(site, "add", "example.org", "click")
    assert "not verified" in run(site, "list").output
    assert f"{HOST}: verified" in run(site, "check", HOST).output
    shown = run(site, "show", HOST).output
    assert "used by example.org" in shown
    assert "example.org has no SPF record" in shown
    refused = run(site, "remove", HOST)
    assert (refused.exit_code, "still used by example.org" in refused.output) == (1, True)
    assert run(site, "detach", HOST, "example.org").output == "used by nobody\n"
    assert run(site, "attach", HOST).output == "used by the account\n"
    run(site, "detach", HOST, "--by", "Mara")
    assert run(site, "remove", HOST).output == f"{HOST} is removed\n"
    told = run(site, "history", HOST).output.splitlines()
    assert told[1].endswith(f"{HOST}  detached  by Mara")
    assert json.loads(run(site, "history", "--json").output)[-1]["action"] == "created"
    assert run(site, "history", "x.example.org").output == "nothing is known\n"


def test_force_asks_twice(site: Site) -> None:
    """One yes is not enough to break the links of mails that are out."""
    run(site, "add", "example.org", "click")
    site.send('<a href="https://example.com/">a</a>')
    once = run(site, "remove", HOST, "--force", answers="y\nn\n")
    assert (once.exit_code, "Up to 1 mails have links" in once.output) == (1, True)
    assert HOST in run(site, "list").output
    assert run(site, "remove", HOST, "--force", answers="y\ny\n").exit_code == 0


def test_cron_sees_by_the_exit_code(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check and list end with 1 as long as a domain in use is not verified, with the cure in the output."""
    run(site, "add", "example.org", "click")
    assert run(site, "list").exit_code == 1
    assert run(site, "check").exit_code == 0
    assert run(site, "list").exit_code == 0
    run(site, "add", "example.org", "track")
    monkeypatch.setattr("flask_mailtrack.administration.domain_check.DomainChecker.check", lambda *_: BAD)
    failed = run(site, "check", "track.example.org")
    assert (failed.exit_code, "Renew it." in failed.output) == (1, True)


def test_programs_get_json_and_spreadsheets_a_safe_file(site: Site) -> None:
    """The same rows as JSON and CSV, in which no cell is a formula."""
    run(site, "add", "example.org", "click", "--by", "=cmd()")
    run(site, "check", HOST)
    (first, *_) = json.loads(run(site, "list", "--json").output)
    assert (first["host"], first["status"], first["sender_domains"]) == (HOST, "verified", ["example.org"])
    assert json.loads(run(site, "show", HOST, "--json").output)["target"] == "links.example.net"
    rows = list(csv.DictReader(io.StringIO(run(site, "export").output)))
    assert rows[0]["host"] == HOST
    assert not any((cell or "").startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_a_mistake_is_a_sentence(site: Site) -> None:
    """Bad prefixes and unknown hosts end with 1 and the rule, without a traceback."""
    for arguments in (["add", "example.org", "ab"], ["add", "nobody.example", "click"], ["show", "x.example.org"]):
        result = run(site, *arguments)
        assert (result.exit_code, result.output.startswith("Error: ")) == (1, True), result.output
