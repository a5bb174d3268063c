"""The life of a tracking domain: made, checked, used, broken, left, repaired, detached, removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import trustme
from administration.test_domain_check import SIGNER, app, checker, context_of
from conftest import MakeSite, Site, Told
from dns_server import NameServer, name_server
from tls_server import web_server

from flask_mailtrack.administration.domain_check import DomainFinding, DomainReport, DomainStatus
from flask_mailtrack.administration.tracking_domains import DAILY, HOURLY, OFTEN, PATIENCE, RECHECK, Domains, standing
from flask_mailtrack.errors import DomainError
from flask_mailtrack.events import DomainChange, now
from flask_mailtrack.storage.tables.domains import DomainRow, DomainsInUse, DomainTable

HOST = "click.customer.test"
POINTS = "click IN CNAME track.vendor.test.\n"
VENDOR = {"vendor.test": "track IN A 127.0.0.1\n"}


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[NameServer]:
    """A name server."""
    with name_server() as server:
        yield server


@dataclasses.dataclass
class Office:
    """The domains of a site, with what was announced."""

    site: Site
    domains: Domains
    in_use: DomainsInUse
    table: DomainTable
    announced: list[DomainChange]

    def age(self, **columns: timedelta) -> None:
        """Have moments of the host's row lie further back."""
        row = self.table.find(HOST)
        assert row
        self.table.change(HOST, **{name: getattr(row, name) - by for name, by in columns.items()})

    def in_force(self) -> str:
        """Return the host that mail of the customer carries."""
        self.in_use.forget()
        return self.in_use.verified()[0].get("customer.test", "")


def office(site: Site, checks: Any, configured: tuple[str, ...] = ()) -> Office:
    """Return the domains of *site*."""
    table = DomainTable(site.mailtrack._state().database)
    in_use, told = DomainsInUse(table), Told()
    domains = Domains(table, in_use, checks, configured, ["customer.test", "news.other.test"], told)  # type: ignore[arg-type]
    return Office(site, domains, in_use, table, told.changes)


def test_the_whole_life_of_a_domain(site: Site, server: NameServer) -> None:
    """From the record to copy to the removal, the status and the use of the host follow what is really there."""
    authority = trustme.CA()
    server.serve({"customer.test": "", **VENDOR})
    with web_server(app, context_of(authority.issue_cert(HOST))) as port:
        at = office(site, checker(server, authority, port))
        made = at.domains.create("customer.test", "click", by="ops@vendor.test")
        assert (made.status, made.record.zone_line) == ("not_verified", f"{HOST}. 300 IN CNAME track.vendor.test.")
        assert at.domains.check(HOST).status == "not_verified"
        assert at.in_force() == ""

        server.serve({"customer.test": "click IN CNAME wrong.vendor.test.\n", **VENDOR})
        assert at.domains.check(HOST).status == "pending"
        assert at.in_force() == ""

        server.serve({"customer.test": POINTS, **VENDOR})
        assert at.domains.check(HOST).status == "verified"
        assert at.in_force() == HOST

        server.serve({"customer.test": "", **VENDOR})
        assert at.domains.check(HOST).status == "verified"  # one failure may pass
        at.age(definite_since=RECHECK, failing_since=RECHECK)
        broken = at.domains.check(HOST)
        assert (broken.status, "has no record" in broken.reason) == ("not_verified", True)
        assert at.in_force() == ""

        server.serve({"customer.test": POINTS, **VENDOR})
        assert at.domains.check(HOST).status == "verified"
        assert at.in_force() == HOST
    used, recorded = at.domains.obstacles(HOST)
    assert "still used by customer.test" in used
    assert "still has a DNS record" in recorded
    with pytest.raises(DomainError, match="detach it first"):
        at.domains.remove(HOST)
    at.domains.detach(HOST, "customer.test")
    assert at.in_force() == ""
    with pytest.raises(DomainError, match="DNS record"):
        at.domains.remove(HOST)
    server.serve({"customer.test": "", **VENDOR})
    at.domains.remove(HOST)
    assert at.domains.list() == []
    assert [(change.before, change.status) for change in at.announced] == [
        ("not_verified", "pending"),
        ("pending", "verified"),
        ("verified", "not_verified"),
        ("not_verified", "verified"),
    ]


class Said:
    """A checker that finds what it is told to."""

    signer, target, servers, allow_private = SIGNER, "track.vendor.test", ("127.0.0.1:1",), True

    def __init__(self, *reports: DomainReport) -> None:
        self.reports = list(reports)
        self.asked: list[str] = []

    def check(self, host: str) -> DomainReport:
        self.asked.append(host)
        return self.reports[0] if len(self.reports) == 1 else self.reports.pop(0)


OK = DomainReport(DomainStatus.VERIFIED, True, (DomainFinding("dns", "ok", "Good."),))
GONE = DomainReport(DomainStatus.NOT_VERIFIED, True, (DomainFinding("dns", "error", "No record."),))
WRONG = DomainReport(DomainStatus.PENDING, True, (DomainFinding("tls", "error", "Expired."),))
UNSURE = DomainReport(DomainStatus.PENDING, False, (DomainFinding("dns", "unknown", "Time-out."),))


def row(status: str, **ago: timedelta) -> DomainRow:
    """Return a row, with moments so long ago."""
    moments = {name: now() - by for name, by in ago.items()}
    nothing = dict.fromkeys(("certificate_ends", "failing_since", "definite_since", "checked_at", "check_at"))
    usual: dict[str, Any] = {"status_since": now(), "created_at": now(), **nothing, **moments}
    return DomainRow(HOST, ("customer.test",), False, "t", status, "", findings=(), created_by="", **usual)


V, P, N = "verified", "pending", "not_verified"
STANDING: list[tuple[DomainRow, DomainReport, str | None, timedelta]] = [
    (row(N), OK, V, DAILY),
    (row(P), OK, V, DAILY),
    (row(V), OK, None, DAILY),
    (row(N), WRONG, P, OFTEN),
    (row(P), GONE, N, OFTEN),
    (row(P, status_since=2 * DAILY), WRONG, None, HOURLY),
    (row(P), UNSURE, None, OFTEN),
    (row(N), UNSURE, None, OFTEN),
    (row(V), GONE, None, RECHECK),
    (row(V, failing_since=RECHECK, definite_since=RECHECK), GONE, N, OFTEN),
    (row(V, failing_since=RECHECK, definite_since=RECHECK), WRONG, P, OFTEN),
    (row(V, failing_since=DAILY), WRONG, None, RECHECK),
    (row(V), UNSURE, None, OFTEN),
    (row(V, failing_since=DAILY), UNSURE, None, OFTEN),
    (row(V, failing_since=PATIENCE), UNSURE, P, OFTEN),
]


@pytest.mark.parametrize(("was", "report", "status", "again"), STANDING)
def test_a_check_changes_the_status_by_rule(
    was: DomainRow, report: DomainReport, status: str | None, again: timedelta
) -> None:
    """Definite failures count after some minutes, others after two days; the next check comes in time."""
    moment = now()
    after = standing(was, report, moment)
    assert after.get("status") == status
    assert after["check_at"] - moment == again
    if report is OK:
        assert (after["failing_since"], after["definite_since"]) == (None, None)


def test_a_failure_that_passes_is_forgotten(site: Site) -> None:
    """A bad answer and then a good one leave a verified domain as it was, and nobody is alarmed."""
    at = office(site, Said(OK, GONE, OK, GONE))
    at.domains.create("customer.test", "click")
    statuses = [at.domains.check(HOST).status for _ in range(4)]
    assert statuses == ["verified"] * 4
    assert [change.status for change in at.announced] == ["verified"]


def test_two_machines_do_not_check_one_host_at_once(make_site: MakeSite, database_url: str) -> None:
    """Who is first takes the check; the other one leaves the host alone until the lease ends."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    one = office(site, Said(OK))
    one.domains.create("customer.test", "click")
    moment = now()
    assert one.table.due(moment) == [HOST]
    assert one.table.lease(HOST, moment)
    assert not DomainTable(site.mailtrack._state().database).lease(HOST, moment)
    assert one.table.due(moment) == []
    assert one.domains.watch() == 0
    assert one.table.lease(HOST, moment + timedelta(minutes=11))


def test_the_watch_checks_what_is_due(site: Site) -> None:
    """Each host is checked when its time has come, and not before; hosts of the configuration, too."""
    said = Said(OK)
    at = office(site, said, configured=("links.vendor.test",))
    at.domains.create("customer.test", "click")
    assert at.domains.watch() == 2
    assert sorted(said.asked) == [HOST, "links.vendor.test"]
    assert at.domains.watch() == 0
    at.age(check_at=DAILY)
    assert at.domains.watch() == 1


def test_a_host_of_the_configuration_is_watched_and_nothing_else(site: Site) -> None:
    """It is listed, read-only, and a failure is told at once."""
    at = office(site, Said(OK, GONE), configured=("links.vendor.test",))
    (listed,) = at.domains.list()
    assert (listed.host, listed.configured, listed.status) == ("links.vendor.test", True, "not_verified")
    at.domains.check("links.vendor.test")
    assert at.domains.check("links.vendor.test").status == "not_verified"
    assert [change.status for change in at.announced] == ["verified", "not_verified"]
    for act in (at.domains.attach, at.domains.detach, at.domains.remove):
        with pytest.raises(DomainError, match="named in the configuration"):
            act("links.vendor.test")
    with pytest.raises(DomainError, match="is taken"):
        office(site, Said(OK), configured=(HOST,)).domains.create("customer.test", "click")


def test_a_sender_domain_has_one_host(site: Site) -> None:
    """Attaching another host takes the first one's place; the account's default is for all other mail."""
    at = office(site, Said(OK))
    for prefix in ("click", "track"):
        at.domains.create("customer.test", prefix)
        at.domains.check(f"{prefix}.customer.test")
    at.domains.attach(HOST, "customer.test")
    assert at.in_force() == HOST
    at.domains.attach("track.customer.test", "customer.test")
    assert at.in_force() == "track.customer.test"
    assert at.domains.find(HOST).sender_domains == ()
    assert at.in_use.verified()[1] == ""
    at.domains.attach(HOST)
    assert at.in_use.verified()[1] == HOST
    at.domains.detach(HOST)
    assert at.in_use.verified()[1] == ""


def test_who_did_it_is_kept(database_url: str, make_site: MakeSite) -> None:
    """Each step of an operator is told with its author, also after the removal; checks that are due are nobody's."""
    at = office(make_site(SQLALCHEMY_DATABASE_URI=database_url), Said(OK))
    for prefix in ("click", "track"):
        at.domains.create("customer.test", prefix, by="Mara")
    at.domains.attach("track.customer.test", "customer.test", by="Ben")
    at.domains.check(HOST, by="Ben")
    at.domains.watch()
    at.domains.remove(HOST, force=True, by="x" * 400)
    assert [(each.action, each.sender_domain, each.status, each.by[:9]) for each in at.domains.history(HOST)] == [
        ("removed", "", "", "x" * 9),
        ("checked", "", "verified", "Ben"),
        ("detached", "customer.test", "", "Ben"),
        ("created", "customer.test", "", "Mara"),
    ]
    assert [each.action for each in at.domains.history("track.customer.test")] == ["attached", "created"]
    assert len(at.domains.history(limit=3)) == 3
    assert at.domains.history("other.customer.test") == []
    at.domains.attach("track.customer.test", f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 40}.test")
    assert at.domains.history(limit=1)[0].sender_domain.startswith("aaa")
    assert at.site.mailtrack.settings.history() == []


def test_the_primary_domain_must_send_mail(site: Site) -> None:
    """A configured sender domain, one above it, or one that has sent mail may have a tracking domain."""
    at = office(site, Said(OK))
    assert at.domains.create("other.test", "click").host == "click.other.test"
    with pytest.raises(DomainError, match=r"No mail is sent from example\.org"):
        at.domains.create("example.org", "click")
    site.send("<p>Hello</p>", sender="news@example.org")
    assert at.domains.create("example.org", "1ab").advice
    with pytest.raises(DomainError, match="is taken"):
        at.domains.create("EXAMPLE.org", "1AB")


def test_two_operators_who_make_one_host_at_once_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one gets a sentence, and the first one's row stays."""
    at = office(site, Said(OK))
    at.domains.create("customer.test", "click", by="first")
    monkeypatch.setattr(at.table, "find", lambda host: None)  # looked for before the first one came
    with pytest.raises(DomainError, match="is taken"):
        at.domains.create("customer.test", "click", by="second")
    assert [row.created_by for row in at.table.rows()] == ["first"]


def test_an_unknown_domain_is_named_with_the_known_ones(site: Site) -> None:
    """A typing error shows what there is."""
    at = office(site, Said(OK))
    at.domains.create("customer.test", "click")
    with pytest.raises(DomainError, match=r"clikc\.customer\.test is not a tracking domain. Known: click\.customer"):
        at.domains.check("clikc.customer.test")


def test_forced_removal_says_how_many_mails_have_links(site: Site) -> None:
    """An operator knows before what breaks: the tracked mails of the sender domains since the host was made."""
    at = office(site, Said(OK))
    at.domains.create("customer.test", "click")
    html = '<a href="https://example.com/">a</a>'
    site.send(html, sender="a@customer.test", to=["x@example.com", "y@example.com"])
    site.send(html, sender="a@elsewhere.test")
    site.send(html, sender="a@customer.test", opens=False, clicks=False)
    assert at.domains.links_out(HOST) == 2
    at.domains.remove(HOST, force=True)
    assert at.domains.list() == []


def test_what_was_known_last_holds_while_the_database_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mail goes on carrying the verified host."""
    at = office(site, Said(OK))
    at.domains.create("customer.test", "click")
    at.domains.check(HOST)
    assert at.in_force() == HOST
    monkeypatch.setattr(at.table, "rows", lambda: (_ for _ in ()).throw(OSError("away")))
    assert at.in_force() == HOST
    assert at.in_use.snapshot.error == "OSError"
    assert at.in_use.known(HOST)
    assert not at.in_use.known("x.customer.test")
