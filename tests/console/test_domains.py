"""Tracking domains in the browser, from the name to the removal."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor, words

from flask_mailtrack import languages
from flask_mailtrack.administration.dns_records import Names, Records, RecordState
from flask_mailtrack.administration.domain_check import (
    DomainChecker,
    DomainFinding,
    DomainReport,
    DomainStatus,
)
from flask_mailtrack.console import domains
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.scope import Scope

HOST = "click.example.org"
PAGE = f"/domains/{HOST}"
DNS, TLS = DomainFinding("dns", "ok", "The record is right."), DomainFinding("tls", "ok", "The certificate is good.")
EXPIRED = DomainFinding("tls", "error", "The certificate has expired.", "Renew it.")
GOOD = DomainReport(DomainStatus.VERIFIED, True, (DNS, TLS, DomainFinding("http", "ok", "It reaches this app.")))
PENDING = DomainReport(DomainStatus.PENDING, True, (DNS, EXPIRED))
MISSING = DomainFinding("dns", "error", "There is no record.", "Set the CNAME.")
GONE = DomainReport(DomainStatus.NOT_VERIFIED, True, (MISSING,))


class Outside:
    """What the world answers to the checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report = GONE
        self.record = RecordState.MISSING
        monkeypatch.setattr(DomainChecker, "check", lambda checker, host: self.report)
        monkeypatch.setattr(Names, "look_up", lambda names, host, target: Records(self.record, "It is so."))
        monkeypatch.setattr(Names, "texts", lambda names, domain: ["v=spf1 -all"])
        monkeypatch.setattr(Names, "exists", lambda names, name: False)


@pytest.fixture(name="outside")
def _outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    return Outside(monkeypatch)


def test_the_life_of_a_domain_in_the_browser(site: Site, outside: Outside) -> None:
    """Somebody adds, checks, uses, leaves and removes a domain by forms alone, and each page says what is so now."""
    site.send()
    seen = Visitor(site, name="mara")
    assert seen.submit("/domains", "/domains", prefix="Click").endswith(f"{PAGE}?done=domain_added")
    page = seen.get(PAGE)
    assert "click.example.org. 300 IN CNAME links.example.com." in page
    assert "Waiting for the check before." in words(page)
    assert "location /m/ {" in page
    assert "return 404;" in page

    outside.report = PENDING
    seen.submit(PAGE, "/check")
    page = words(seen.get(PAGE))
    assert "◔ Pending" in page
    assert "The certificate has expired. Cure: Renew it." in page
    outside.report = GOOD
    seen.submit(PAGE, "/check")
    assert "✓ Verified" in words(seen.get(PAGE))
    assert 'href="https://click.example.org/m/c/' in site.send('<a href="https://example.net/">x</a>').html
    assert "Up to 2 messages have links here" in words(seen.get(PAGE))

    seen.submit(PAGE, "/leave")
    assert 'href="https://links.example.com/m/c/' in site.send('<a href="https://example.net/">x</a>').html
    seen.submit(PAGE, "/use", sender="example.org")
    seen.submit(PAGE, "/use", sender="")
    assert "example.org, all other mail" in words(seen.get("/domains"))
    seen.submit(PAGE, "/leave", button="Stop")
    seen.submit(PAGE, "/leave", button="Stop")
    assert "Remove for good" not in seen.get(PAGE)
    row = site.mailtrack.domains.find(HOST)
    assert (row.sender_domains, row.account_default) == ((), False)


@pytest.mark.parametrize(
    ("language", "told"),
    [("de", "goto.example.org hat keinen Eintrag."), ("ar", "لا سجل للاسم \u2068goto.example.org\u2069.")],
)
def test_findings_are_told_in_the_language_of_the_reader(
    site: Site, outside: Outside, language: str, told: str
) -> None:
    """What a check has stored is translated: on the page and in the list; a file stays in English."""
    site.send()
    seen, host = Visitor(site, name="mara"), "goto.example.org"
    seen.submit("/domains", "/domains", prefix="goto")
    text, cure = Phrase("%(host)s has no record.", host=host), Phrase("Check again later.")
    outside.report = DomainReport(DomainStatus.NOT_VERIFIED, True, (DomainFinding("dns", "error", text, cure),))
    seen.submit(f"/domains/{host}", "/check")
    reader = {"Accept-Language": language}
    page = seen.get(f"/domains/{host}", headers=reader)
    assert page.count(told) == 2  # as the reason, and as the finding
    assert languages.words(language)("Check again later.") in page
    assert page.count('class="code"') == page.count('class="code" dir="ltr"') == 5  # a record is read from the left
    assert told in seen.get("/domains", headers=reader)
    assert f"{host},not_verified,example.org,False,links.example.com,{text}," in seen.get("/domains?format=csv")


def test_a_domain_with_a_record_or_a_user_cannot_be_removed(
    site: Site, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button is there only when nothing stands against a removal; who presses it too early is told why not."""
    site.send()
    seen = Visitor(site)
    site.mailtrack.domains.create("example.org", "click")
    seen.submit(PAGE, "/check")
    assert "Remove for good" not in seen.get(PAGE)
    token = seen.fields(PAGE, "/leave")
    seen.submit(PAGE, "/leave")
    form = seen.fields(PAGE, "/remove")
    outside.record = RecordState.RIGHT
    refused = seen.submit(PAGE, "/remove", status=422)
    assert "The domain was not removed. click.example.org still has a DNS record" in words(refused)
    outside.record = RecordState.MISSING
    site.mailtrack.domains.attach(HOST, "example.org")
    answer = seen.client.post(form["@action"], data=form)
    assert "still used by example.org: detach it first." in words(answer.text)
    answer = seen.client.post(form["@action"], data=form, headers={"Accept-Language": "de"})
    assert "wird noch von example.org verwendet: beenden Sie das zuerst." in words(answer.text)
    site.mailtrack.domains.detach(HOST, "example.org")
    assert seen.submit(PAGE, "/remove").endswith("/domains?done=domain_removed")
    assert site.mailtrack.domains.list()[0].host == "links.example.com"
    assert seen.client.post(token["@action"], data=token).status_code == 404


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("-click", "must not begin or end"),
        ("12", "Write 3 to 63"),
        ("123", "digits alone"),
        ("a_b", "a to z"),
    ],
)
def test_a_bad_prefix_gives_the_form_again(site: Site, prefix: str, told: str) -> None:
    """What was typed stays, and the error stands under its field and is bound to it."""
    site.send()
    page = Visitor(site).submit("/domains", "/domains", status=422, prefix=prefix)
    assert told in page
    assert f'value="{prefix}"' in page
    assert 'aria-describedby="r-prefix e-prefix" aria-invalid="true" autofocus' in page


def test_a_sender_domain_that_is_not_offered_is_refused(site: Site) -> None:
    """Only sender domains of the list can have a tracking domain, whatever a form says."""
    site.send()
    page = Visitor(site).submit("/domains", "/domains", status=422, prefix="click", primary="example.net")
    assert "Choose a sender domain of the list." in page
    assert len(site.mailtrack.domains.list()) == 1


@pytest.mark.parametrize("prefix", ["click", "a-b", "4you", "x" * 63])
def test_a_browser_lets_good_prefixes_pass_and_no_others(prefix: str) -> None:
    """What the field checks while somebody types is the rule of the server."""
    assert re.fullmatch(domains.PREFIX, prefix)
    for bad in (f"-{prefix}", f"{prefix}-", "1234", f"{prefix}_", ""):
        assert not re.fullmatch(domains.PREFIX, bad)


def test_a_certificate_that_ends_asks_for_attention(site: Site, outside: Outside) -> None:
    """A verified domain with a warning says so in the list and in its table, and not by colour alone."""
    site.send()
    seen = Visitor(site)
    site.mailtrack.domains.create("example.org", "click")
    warning = DomainFinding("tls", "warning", "The certificate ends in 6 days.", "Renew it.")
    outside.report = DomainReport(DomainStatus.VERIFIED, True, (DNS, warning))
    seen.submit(PAGE, "/check")
    page = words(seen.get("/domains"))
    assert "! Verified, needs attention" in page
    assert "Needs attention:" in page


def test_a_check_that_hangs_does_not_hold_the_page(
    site: Site, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page comes back while the check goes on, and a second press does not begin a second check."""
    site.send()
    seen = Visitor(site)
    site.mailtrack.domains.create("example.org", "click")
    release, begun = threading.Event(), []

    def hangs(checker: Any, host: str) -> DomainReport:
        begun.append(host)
        release.wait(10)
        return GOOD

    monkeypatch.setattr(DomainChecker, "check", hangs)
    monkeypatch.setattr(domains, "CHECK_SECONDS", 0.01)
    for _ in range(2):
        assert seen.submit(PAGE, "/check").endswith("?done=domain_checking")
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("mailtrack-check-"):
            thread.join()
    assert begun == [HOST]
    assert "✓ Verified" in words(seen.get(PAGE))


def test_without_dnspython_the_page_says_what_to_install(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains can be made and used, and nobody is asked to press a button that cannot work."""
    site.send()
    seen = Visitor(site)
    site.mailtrack.domains.create("example.org", "click")
    form = seen.fields(PAGE, "/check")
    monkeypatch.setattr("flask_mailtrack.administration.tracking_domains.installed", lambda: False)
    page = seen.get(PAGE)
    assert "pip install 'flask-mailtrack[domains]'" in words(page)
    assert "Check now</button>" not in page
    assert "pip install 'flask-mailtrack[domains]'" in words(seen.get("/domains"))
    assert seen.client.post(form["@action"], data=form).location.endswith("?done=domain_unchecked")


def test_the_mail_records_are_looked_up_when_asked(site: Site, outside: Outside) -> None:
    """SPF, DKIM and DMARC of the sender stand on the page with their cures."""
    site.send()
    seen = Visitor(site)
    site.mailtrack.domains.create("example.org", "click")
    page = words(seen.submit(PAGE, "/records", status=200))
    assert "example.org has an SPF record." in page
    assert "example.org has no DKIM key. Cure: Have your relay make a key" in page


def test_the_table_is_a_file(site: Site) -> None:
    """The same address gives the domains as CSV."""
    site.send()
    seen = Visitor(site)
    site.mailtrack.domains.create("example.org", "click")
    lines = seen.get("/domains?format=csv").splitlines()
    assert lines[0].startswith("host,status,used by")
    assert [line.partition(",")[0] for line in lines[1:]] == [HOST, "links.example.com"]


def test_the_configured_host_is_changed_in_the_configuration(site: Site) -> None:
    """A host that the configuration names has no buttons, and cannot be changed by a form of another page either."""
    site.send()
    seen = Visitor(site)
    page = seen.get("/domains/links.example.com")
    assert "The app’s configuration names this host." in page
    assert "<button" not in page.partition("<main")[2].replace("Check now</button>", "")
    site.mailtrack.domains.create("example.org", "click")
    form = seen.fields(PAGE, "/use") | {"sender": "example.org"}
    other = form["@action"].replace(HOST, "links.example.com")
    assert seen.client.post(other, data=form).status_code == 404


def test_a_tenant_sees_and_changes_their_own_domains(make_site: MakeSite, outside: Outside) -> None:
    """Of the domains of others there is no name, no page, no form and no cell; a shared one hides the others."""
    site = make_site()
    for sender in ("a@one.example", "b@two.example"):
        site.send(sender=sender)
    mine, theirs = (site.mailtrack.domains.create(f"{name}.example", "click").host for name in ("one", "two"))
    shared = site.mailtrack.domains.create("one.example", "both").host
    site.mailtrack.domains.attach(shared, "two.example")
    site.mailtrack.domains.attach(mine, "one.example")
    operator = Visitor(site)
    form = operator.fields(f"/domains/{theirs}", "/check")
    operator.scope = Scope(sender_domains={"one.example"})
    for path in ("/domains", "/domains?format=csv", f"/domains/{shared}"):
        assert "two.example" not in operator.get(path)
    assert "and others" in operator.get("/domains")
    assert "Remove this domain" not in operator.get(f"/domains/{shared}")
    operator.get(f"/domains/{theirs}", status=404)
    assert operator.client.post(form["@action"], data=form).status_code == 404
    operator.submit(f"/domains/{mine}", "/leave")
    own = operator.fields(f"/domains/{mine}", "/use") | {"sender": ""}
    assert operator.client.post(own["@action"], data=own).status_code == 404  # the account is nobody's alone
    assert operator.client.post(own["@action"], data=own | {"sender": "two.example"}).status_code == 404
    operator.scope = Scope(tags={"welcome"})
    assert "click.one.example" not in operator.get("/domains")
    site.send(sender="a@one.example", tag="welcome")
    assert "click.one.example" in operator.get("/domains")
    assert operator.client.post(form["@action"].replace(theirs, mine), data=form).status_code == 404
