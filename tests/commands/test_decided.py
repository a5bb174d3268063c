"""What operators have decided, as ``check``, ``status``, ``preview`` and ``health`` tell it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result
from conftest import MakeSite, Site
from flask_mail import Message

from flask_mailtrack.events import now
from flask_mailtrack.reporting.decisions import domain_findings
from flask_mailtrack.storage.tables.domains import DomainRow

HTML = '<a href="https://example.com/">x</a>'


def run(site: Site, *arguments: str) -> Result:
    """Run a command."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", *arguments])


def test_check_and_status_say_what_holds_in_each_scope_and_why(site: Site) -> None:
    """The account, and each domain and sender with a setting of its own, has its line with who and since when."""
    site.mailtrack.settings.set("opens", False, domain="news.example.org", by="ops@example.com")
    site.mailtrack.settings.set("clicks", False, sender="ada@news.example.org", by="eve@example.com")
    checked = run(site, "check")
    told = run(site, "status").output
    assert checked.exit_code == 0
    for text in (checked.output, told):
        account, domain, sender = (
            next(line for line in text.splitlines() if f"{scope}: opens" in line)
            for scope in ("account", "news.example.org", "ada@news.example.org")
        )
        assert "opens Enabled: by the configuration (MAILTRACK_OPENS)" in account
        assert "opens Not enabled: off for news.example.org since 20" in domain
        assert "by ops@example.com" in domain
        assert "clicks Enabled" in domain
        assert "clicks Not enabled: off for the sender since 20" in sender
    assert json.loads(run(site, "status", "--json").output)["decided"][0]["code"] == "C63"


def test_a_pause_is_a_warning(site: Site) -> None:
    """Who looks for missing figures finds the kill switch."""
    site.mailtrack.settings.set("pause", True, by="ops")
    assert "warning C63  tracking is paused" in run(site, "check").output
    assert "tracking is paused" in run(site, "status").output


def switches(site: Site, written: Any, **options: Any) -> list[str]:
    """Return what a preview says of opens and clicks."""
    found = site.mailtrack.preview(written, **options)
    return [each.text for each in found.switches if each.key != "unsubscribe"]


def test_a_preview_says_who_has_switched_what(make_site: MakeSite) -> None:
    """Operator, configuration, block, header and message are told apart, and the narrowest that counts is named."""
    site = make_site(MAILTRACK_CLICKS=False)
    message = Message("Hi", recipients=["ada@example.com"], sender="news@example.org", html=HTML)
    assert switches(site, HTML) == [
        "Enabled: by the configuration (MAILTRACK_OPENS)",
        "Not enabled: by the configuration (MAILTRACK_CLICKS)",
    ]
    site.mailtrack.settings.set("clicks", True, domain="example.org", by="ops")
    site.mailtrack.track(message, opens=False)
    opens, clicks = switches(site, message)
    assert opens == "Not enabled: off by the message"
    assert clicks.startswith("Enabled: on for example.org since")
    with site.mailtrack.options(opens=False):
        assert switches(site, HTML)[0] == "Not enabled: off by the block"
        assert switches(site, HTML, sender="a@example.org")[1] == clicks
    headed = Message("Hi", recipients=["a@example.com"], html=HTML, extra_headers={"X-Mailtrack": "clicks=on"})
    headed.sender = "a@elsewhere.example"
    assert switches(site, headed)[1] == "Enabled: on by the header X-Mailtrack"
    site.mailtrack.settings.set("opens", False, by="ops")
    loud = site.mailtrack.track(Message("Hi", recipients=["a@example.com"], html=HTML), opens=True)
    assert switches(site, loud)[0].startswith("Not enabled: off for the account since")


def test_a_preview_says_what_follows_from_the_mail(site: Site) -> None:
    """Transactional mail, mail that is not kept, and mail without a list are named as that."""
    message = Message("Hi", recipients=["ada@example.com"], html=HTML)
    assert site.mailtrack.preview(HTML).switches[2].text == "Not enabled: the mail names no list"
    assert site.mailtrack.preview(HTML, list_id="news").switches[2].enabled
    site.mailtrack.track(message, transactional=True)
    assert switches(site, message)[1] == "Not enabled: the mail is transactional"
    kept = site.mailtrack.track(Message("Hi", recipients=["ada@example.com"], html=HTML), store=False)
    assert switches(site, kept)[0] == "Not enabled: the mail is not to be kept"


def test_the_preview_command_prints_the_switches(site: Site, tmp_path: Any) -> None:
    """An author sees them under the links, for the sender that is named."""
    file = tmp_path / "mail.html"
    file.write_text(HTML, encoding="utf-8")
    site.mailtrack.settings.set("opens", False, domain="example.org", by="ops")
    assert "opens         Enabled" in run(site, "preview", str(file)).output
    shown = run(site, "preview", str(file), "--sender", "a@example.org").output
    assert "opens         Not enabled: off for example.org since" in shown
    assert "no pixel; nothing else changes" in shown


def test_health_says_when_the_last_known_settings_hold(site: Site) -> None:
    """Settings and domains that cannot be read are a problem in words, for health, check and status; mail goes out."""
    assert site.mailtrack.health().ok
    models = site.mailtrack.models
    site.db.session.close()
    for model in (models.Setting, models.Domain):
        model.__table__.drop(site.db.engine)
    assert "/m/o/" in site.send(HTML).html
    health = site.mailtrack.health()
    assert not health.ok
    assert [problem.split(" (")[0] for problem in health.problems] == [
        "the operator's settings cannot be read",
        "the tracking domains cannot be read",
    ]
    assert all("the configuration holds" in problem for problem in health.problems)
    assert run(site, "status").exit_code == 1
    assert "warning C63  the operator's settings cannot be read" in run(site, "check").output


def row(status: str = "verified", **columns: Any) -> DomainRow:
    """Return the row of a domain that example.org uses."""
    nothing = dict.fromkeys(("certificate_ends", "failing_since", "definite_since", "checked_at", "check_at"))
    usual = {"sender_domains": ("example.org",), "account_default": False, "created_by": "", "findings": ()}
    moments = {"status_since": now(), "created_at": now()}
    given: dict[str, Any] = {**nothing, **usual, **moments, **columns}
    return DomainRow(host="click.example.org", target="t", status=status, status_reason="No record.", **given)


DAY = timedelta(days=1, hours=1)  # however long after this moment the test runs
DOMAINS: list[tuple[DomainRow, set[str], str, str]] = [
    (row(), set(), "ok", "is verified"),
    (row(certificate_ends=now() + 22 * DAY), set(), "ok", "is verified"),
    (row(certificate_ends=now() + 20 * DAY), set(), "warning", "ends in 20 days: renew it soon"),
    (row(certificate_ends=now() + 6 * DAY), set(), "warning", "ends in 6 days: renew it at once"),
    (row("pending"), set(), "warning", "mail of example.org carries its links on the next wider host that works: No"),
    (row("not_verified", sender_domains=(), account_default=True), set(), "warning", "mail of the account carries"),
    (row("not_verified", sender_domains=()), set(), "ok", "not verified, and no mail uses it"),
    (row("pending", checked_at=now()), {"click.example.org"}, "error", "as the configuration says, which is pending"),
    (row("not_verified"), {"click.example.org"}, "ok", "links stand on click.example.org"),
]


@pytest.mark.parametrize(("given", "configured", "level", "text"), DOMAINS)
def test_check_says_how_each_domain_stands(given: DomainRow, configured: set[str], level: str, text: str) -> None:
    """A domain that mail has fallen back from, a host of the configuration that fails, and a late certificate show."""
    (found,) = domain_findings([given], configured)
    assert (found.level, text in found.text) == (level, True), found.text


def test_check_says_that_nothing_watches_without_dnspython() -> None:
    """Who has domains and not the package is told what to install."""
    first, _ = domain_findings([row()], set(), can_check=False)
    assert (first.level, "pip install 'flask-mailtrack[domains]'" in first.text) == ("warning", True)
    assert list(domain_findings([], set(), can_check=False)) == []
