"""What an operator should look at, and what not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site
from reporting.test_reports import event, message

from flask_mailtrack import Scope
from flask_mailtrack.events import EventType, Status, Verdict, now
from flask_mailtrack.reporting.attention import Concern, of_domains, of_journal
from flask_mailtrack.storage.drain.health import Health
from flask_mailtrack.storage.tables.domains import DomainRow

WELL = Health(0, 0, 0.0, 0, 0, 0, 0, 0.0, "", None)
TODAY = now()


def mailing(site: Site, days: int, *, opened: int = 20, left: int = 1, failed: int = 0, machines: int = 0) -> None:
    """Send one mail of the list to sixty people."""
    at = TODAY - timedelta(days=days)
    for number in range(60):
        status = Status.FAILED if number < failed else Status.SENT
        key = message(site, at, subject=f"{days} days ago", list_id="news", status=status)
        if number < opened:
            event(site, key, at)
        if number < left:
            event(site, key, at, EventType.UNSUBSCRIBED)
        for _ in range(machines):
            event(site, key, at, verdict=Verdict.SCANNER)


def kinds(found: tuple[Concern, ...]) -> set[tuple[str, str]]:
    return {(each.kind, each.about) for each in found}


def test_nothing_usual_is_told(site: Site) -> None:
    """Mails that do as those before do need nobody."""
    for days in (30, 20, 10):
        mailing(site, days)
    assert site.mailtrack.reports.attention() == ()


def test_an_unusual_mail_is_told(site: Site) -> None:
    """Few opens, many who leave, failures, and machines: each with its number, what is usual, and the mail."""
    for days in (40, 30, 20):
        mailing(site, days)
    mailing(site, 5, opened=3, left=12, failed=5, machines=3)
    found = site.mailtrack.reports.attention()
    assert kinds(found) == {(kind, "5 days ago") for kind in ("opens", "unsubscribes", "failed", "machines")}
    opens = next(each for each in found if each.kind == "opens")
    assert (opens.number, opens.usual) == (3 / 55, 20 / 60)
    assert site.mailtrack.reports.totals(opens.selection).opened.unique == 3
    assert [each.level for each in found] == ["error", "error", "warning", "warning"]


def test_a_fresh_mail_has_time(site: Site) -> None:
    """Nothing is said of few opens before three days have passed."""
    for days in (40, 30, 2):
        mailing(site, days, opened=20 if days > 2 else 1)
    assert site.mailtrack.reports.attention() == ()


def domain(**about: Any) -> DomainRow:
    values: dict[str, Any] = dict.fromkeys(DomainRow.__dataclass_fields__)
    values |= {"host": "click.example.com", "sender_domains": ("example.com",), "status": "verified"}
    values |= {"status_reason": "", "status_since": TODAY, "findings": (), "account_default": False}
    return DomainRow(**(values | about))


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({}, []),
        ({"status": "not_verified"}, [("domain", "error")]),
        ({"status": "not_verified", "sender_domains": ()}, []),
        ({"failing_since": TODAY}, [("domain", "error")]),
        ({"certificate_ends": TODAY + timedelta(days=30)}, []),
        ({"certificate_ends": TODAY + timedelta(days=20)}, [("certificate", "warning")]),
        ({"certificate_ends": TODAY + timedelta(days=6)}, [("certificate", "error")]),
    ],
)
def test_domains_that_fail_are_told(about: dict[str, Any], told: list[tuple[str, str]]) -> None:
    """A domain in use that is not verified, and a certificate that ends."""
    assert [(each.kind, each.level) for each in of_domains([domain(**about)], TODAY)] == told


def health(**about: Any) -> Health:
    values = {name: getattr(WELL, name) for name in Health.__dataclass_fields__}
    return Health(**(values | about))


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"oldest_seconds": 300.0}, []),
        ({"oldest_seconds": 301.0, "rows": 7}, [("journal", "error")]),
        ({"last_error": "OperationalError"}, [("journal", "error")]),
        ({"lost": 1}, [("journal", "error")]),
        ({"problems": ("the disk is full",)}, [("journal", "error")]),
        ({"bad": 2}, [("quarantine", "warning")]),
        ({"bad": 2, "refused_optouts": 1}, [("quarantine", "error")]),
    ],
)
def test_a_journal_that_waits_is_told(about: dict[str, Any], told: list[tuple[str, str]]) -> None:
    """What waits for five minutes, what is lost, and what was refused."""
    assert [(each.kind, each.level) for each in of_journal(health(**about))] == told


def test_the_app_tells_of_its_own_journal(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains and journal of the app are looked at with its mails; a tenant hears of its own domains alone."""
    site = make_site()
    state = type(site.mailtrack._state_of(site.app))
    monkeypatch.setattr(state, "health", lambda self: health(bad=1))
    about = {"status": "pending", "status_since": TODAY, "account_default": True, "target": "t", "created_at": TODAY}
    site.db.session.add(site.mailtrack.models.Domain(host="x.example", **about))
    site.db.session.commit()
    reports = site.mailtrack.reports
    assert kinds(reports.attention()) == {("quarantine", ""), ("domain", "x.example")}
    site.db.session.add(site.mailtrack.models.Domain(host="y.example", **(about | {"sender_domains": ["b.example"]})))
    site.db.session.commit()
    for scope, told in ((Scope({"a.example"}), set()), (Scope({"b.example"}), {("domain", "y.example")})):
        assert kinds(reports.within(scope).attention()) == told
    site.send(sender="x@b.example", tag="spring")
    assert kinds(reports.within(Scope(tags={"spring"})).attention()) == {("domain", "y.example")}
