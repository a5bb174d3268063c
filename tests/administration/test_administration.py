"""Tracking domains are watched by whoever drains: how often, by whom, and without holding anything up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from administration.test_tracking_domains import GONE, HOST, OK, UNSURE, WRONG, Office, Said, office
from conftest import MakeSite, Site
from flask import current_app
from forks import run_with_fork

from flask_mailtrack.administration.administration import LOOK_SECONDS, DomainWatch
from flask_mailtrack.administration.domain_check import DomainFinding, DomainReport, DomainStatus
from flask_mailtrack.administration.tracking_domains import DAILY, HOURLY, OFTEN, PATIENCE, RECHECK, Domains
from flask_mailtrack.events import now
from flask_mailtrack.signals import domain_verified, message_sent
from flask_mailtrack.storage.drain import chores

WATCHED = "flask_mailtrack.administration.tracking_domains.now"
LOOK = timedelta(seconds=LOOK_SECONDS)


class Clock:
    """The time of day, as the domains see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moment = now()
        monkeypatch.setattr(WATCHED, lambda: self.moment)


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def checks(at: Office, clock: Clock, length: timedelta) -> list[timedelta]:
    """Let time pass, with a look at what is due now and then, and return when HOST was checked."""
    found, began = [], clock.moment
    while clock.moment <= began + length:
        if at.domains.watch():
            found.append(clock.moment - began)
        row = at.table.find(HOST)
        assert row
        assert row.check_at
        # No look in between finds anything due.
        clock.moment += LOOK * max(1, -((clock.moment - row.check_at) // LOOK))
    return found


def gaps(moments: list[timedelta]) -> set[timedelta]:
    """Return the times between checks."""
    return {later - earlier for earlier, later in pairwise(moments)}


def test_a_verified_domain_is_checked_each_day(site: Site, clock: Clock) -> None:
    """Every 24 hours, and not more often."""
    at = office(site, Said(OK))
    at.domains.create("customer.test", "click")
    found = checks(at, clock, timedelta(days=5))
    assert (len(found), gaps(found)) == (6, {DAILY})


@pytest.mark.parametrize("report", [WRONG, GONE, UNSURE])
def test_a_pending_domain_is_checked_every_ten_minutes_for_a_day_and_then_hourly(
    site: Site, clock: Clock, report: DomainReport
) -> None:
    """Who has just set a record need not wait; who never does costs little."""
    at = office(site, Said(report))
    at.domains.create("customer.test", "click")
    first = checks(at, clock, DAILY - LOOK)
    assert (len(first), gaps(first)) == (144, {OFTEN})
    second = checks(at, clock, timedelta(hours=12))
    assert gaps(second[1:]) == {HOURLY}


def verified(site: Site, clock: Clock, *then: DomainReport) -> Office:
    """Return an office whose HOST was verified just now, and is found so from then on."""
    at = office(site, Said(OK, *then))
    at.domains.create("customer.test", "click")
    assert at.domains.check(HOST).status == "verified"
    clock.moment += DAILY
    return at


def test_a_definite_failure_is_looked_at_again_within_ten_minutes_and_then_the_domain_is_left(
    site: Site, clock: Clock
) -> None:
    """New mail carries a dead link for ten minutes from the check that sees it fail, at the most."""
    at = verified(site, clock, GONE)
    assert at.domains.watch() == 1
    assert at.in_force() == HOST
    seen = clock.moment
    while at.in_force():
        clock.moment += LOOK
        at.domains.watch()
        assert clock.moment - seen <= timedelta(minutes=10)
    assert timedelta(minutes=10) > RECHECK
    assert [change.status for change in at.announced] == ["verified", "not_verified"]


def test_a_domain_that_nobody_can_ask_is_left_after_two_days(site: Site, clock: Clock) -> None:
    """A name server that fails for an afternoon costs nobody a domain; one that fails for good does."""
    at = verified(site, clock, UNSURE)
    assert at.domains.watch() == 1
    began = clock.moment
    while at.in_force():
        clock.moment += HOURLY
        at.domains.watch()
    assert timedelta(0) <= clock.moment - began - PATIENCE <= HOURLY


def test_a_domain_that_is_mended_is_used_again(site: Site, clock: Clock) -> None:
    """The watch finds the good answer by itself, ten minutes later."""
    at = verified(site, clock, GONE, GONE, OK)
    at.domains.watch()
    clock.moment += RECHECK
    at.domains.watch()
    assert at.in_force() == ""
    clock.moment += OFTEN
    at.domains.watch()
    assert at.in_force() == HOST


def test_a_certificate_is_warned_of_at_21_and_at_7_days(
    site: Site, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log for each limit that it passes, and none each day; a new certificate begins anew."""
    ends = clock.moment + timedelta(days=30, hours=1)
    said = Said(DomainReport(DomainStatus.VERIFIED, True, (DomainFinding("tls", "ok", "Good."),), ends))
    at = office(site, said)
    at.domains.create("customer.test", "click")
    caplog.set_level(logging.WARNING, "flask_mailtrack.domains")
    told: list[tuple[int, str]] = []
    for day in range(30):
        at.domains.watch()
        told += [(30 - day, record.getMessage()) for record in caplog.records]
        caplog.clear()
        clock.moment += DAILY
    assert [(days, text.split()[-1]) for days, text in told] == [(20, "soon"), (6, "once")]
    said.reports = [DomainReport(DomainStatus.VERIFIED, True, (), clock.moment + timedelta(days=90))]
    at.domains.watch()
    assert caplog.records == []


def test_hosts_with_links_out_are_watched_though_nobody_uses_them(site: Site, clock: Clock) -> None:
    """A domain that was detached, and one that the configuration names no more, are checked and told of still."""
    at = office(site, Said(OK), configured=("links.vendor.test", "old.vendor.test"))
    at.domains.create("customer.test", "click")
    assert at.domains.watch() == 3
    at.domains.detach(HOST, "customer.test")
    later = office(site, Said(GONE), configured=("links.vendor.test",))
    for _ in range(2):
        clock.moment += DAILY
        later.domains.watch()
    assert {change.host for change in later.announced} == {HOST, "old.vendor.test", "links.vendor.test"}
    assert {each.host: each.configured for each in later.domains.list()} == {
        HOST: False,
        "links.vendor.test": True,
        "old.vendor.test": False,
    }


def test_one_machine_checks_a_host_and_the_others_leave_it(make_site: MakeSite, database_url: str) -> None:
    """While one looks, another finds nothing to do; afterwards, too, though it had seen the host as due before."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    second = office(site, Said(OK))

    class Slow(Said):
        def check(self, host: str) -> DomainReport:
            assert second.domains.watch() == 0
            return super().check(host)

    first = office(site, Slow(OK))
    first.domains.create("customer.test", "click")
    seen_before = second.table.due(now())
    assert first.domains.watch() == 1
    assert seen_before == [HOST]
    assert not second.table.lease(HOST, now())
    assert second.domains.watch() == 0


def test_two_machines_note_a_host_of_the_configuration_once(
    make_site: MakeSite, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second leaves the row as it is."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    at = office(site, Said(OK), configured=("a.vendor.test", "b.vendor.test"))
    row = at.domains._new("a.vendor.test", "configuration")
    assert [at.table.add(row), at.table.add(row)] == [True, False]
    rows = at.table.rows
    monkeypatch.setattr(at.table, "rows", list)  # seen before the other one came
    assert at.domains.watch() == 2
    assert [row.host for row in rows()] == ["a.vendor.test", "b.vendor.test"]


def test_a_mistake_of_ours_costs_one_host_only(site: Site, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The other hosts are checked, and this one again when its lease has ended."""

    class Broken(Said):
        def check(self, host: str) -> DomainReport:
            if host == HOST:
                self.asked.append(host)
                raise ZeroDivisionError
            return super().check(host)

    said = Broken(OK)
    at = office(site, said, configured=("links.vendor.test",))
    at.domains.create("customer.test", "click")
    assert at.domains.watch() == 1
    assert "click.customer.test cannot be checked" in caplog.text
    clock.moment += LOOK
    at.domains.watch()
    assert said.asked.count(HOST) == 1
    clock.moment += timedelta(minutes=11)
    at.domains.watch()
    assert said.asked.count(HOST) == 2


def test_nobody_outside_is_asked_where_there_is_no_tracking_domain(site: Site) -> None:
    """An app whose links stand on its own host makes no question of its own; one with a sender's host does."""
    said = Said(OK)
    assert office(site, said, configured=("links.vendor.test",)).domains.watch_if_any() == 0
    assert (said.asked, site.rows("Domain")) == ([], [])
    assert office(site, said, configured=("links.vendor.test", "own.customer.test")).domains.watch_if_any() == 2


def test_an_address_is_not_looked_up(site: Site) -> None:
    """The hosts of an app on a developer's machine are used as they are, and no record is missed."""
    said = Said(OK)
    at = office(site, said, configured=("127.0.0.1", "localhost", "::1", "links.vendor.test"))
    assert at.domains.watch_if_any() == 0
    assert at.domains.watch() == 1
    assert said.asked == ["links.vendor.test"]


def test_a_receiver_hears_of_it_in_a_context_of_the_app(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watch finds out in a thread of its own is told as if it had been found in a request."""
    told: list[tuple[str, str]] = []

    def hear(app: Any, event: Any) -> None:
        told.append((current_app.name, event.host))

    monkeypatch.setattr("flask_mailtrack.administration.domain_check.DomainChecker.check", lambda *_: OK)
    site.mailtrack.domains.create("example.org", "click")
    watch = site.mailtrack._state().administration.watch
    with domain_verified.connected_to(hear, site.app):
        thread = threading.Thread(target=watch.look)
        thread.start()
        thread.join(10)
    assert told == [("host", "click.example.org"), ("host", "links.example.com")]


class Slow:
    """Domains that take as long as the test wants."""

    can_check = True

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()
        self.looks = 0

    def watch_if_any(self) -> int:
        self.looks += 1
        self.begun.set()
        assert self.over.wait(10)
        return 1


@pytest.fixture(name="slow")
def _slow() -> Iterator[Slow]:
    """Domains whose name server hangs, until the end of the test."""
    domains = Slow()
    yield domains
    domains.over.set()


@pytest.fixture(name="ticks")
def _ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time, in a list of one."""
    found = [1_000.0]
    monkeypatch.setattr(chores.time, "monotonic", lambda: found[0])
    return found


def finish(watch: DomainWatch) -> None:
    """Wait for the thread of a watch."""
    assert watch._thread
    watch._thread.join(10)
    assert not watch._thread.is_alive()


def test_a_look_is_taken_now_and_then_by_one_thread(slow: Any, ticks: list[float]) -> None:
    """A wake returns while the look goes on, begins no second one, and none before its time."""
    watch = DomainWatch(slow)
    watch.wake()
    assert slow.begun.wait(10)
    ticks[0] += 10 * LOOK_SECONDS
    watch.wake()
    assert slow.looks == 1
    slow.over.set()
    finish(watch)
    watch.wake()
    finish(watch)
    assert slow.looks == 2
    watch.wake()
    ticks[0] += LOOK_SECONDS - 1
    watch.wake()
    assert slow.looks == 2
    ticks[0] += 1
    watch.wake()
    finish(watch)
    assert slow.looks == 3


def test_nothing_is_watched_without_dnspython(slow: Any, ticks: list[float]) -> None:
    """Without the extra there is no thread, and no noise."""
    slow.can_check = False
    watch = DomainWatch(slow)
    watch.wake()
    assert (watch._thread, slow.looks) == (None, 0)


def test_a_database_that_is_away_is_told_of_once(slow: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The next look tries again; the log has one line until it goes well."""
    caplog.set_level(logging.WARNING, "flask_mailtrack.domains")
    slow.watch_if_any = lambda: (_ for _ in ()).throw(OSError("away"))
    watch = DomainWatch(slow)
    for _ in range(3):
        watch.look()
    assert [record.getMessage() for record in caplog.records] == ["the tracking domains cannot be watched: OSError"]


FORKED = """
import threading
from flask_mailtrack.administration.administration import DomainWatch

class Slow:
    can_check = True
    begun, over = threading.Event(), threading.Event()

    def watch_if_any(self):
        self.begun.set()
        self.over.wait()

watch = DomainWatch(Slow())
watch.wake()
Slow.begun.wait()
child = fork()
if child == 0:
    signal.alarm(10)
    before = watch._thread
    watch.wake()
    os._exit(int(watch._thread is before))
print(os.waitpid(child, 0)[1])
Slow.over.set()
"""


def test_a_child_watches_by_itself() -> None:
    """A worker that is forked while its parent looks does not rely on a thread that it does not have."""
    assert run_with_fork("os.fork", FORKED) == ["0"]


def test_a_slow_name_server_delays_no_drain(make_site: MakeSite, slow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows arrive while a look hangs: the thread that drains only begins it."""
    monkeypatch.setattr(Domains, "watch_if_any", lambda _: slow.watch_if_any())
    arrived = threading.Event()
    site = make_site(MAILTRACK_DRAIN="thread", MAILTRACK_DRAIN_SECONDS=0.05)

    def sent(app: Any, event: Any) -> None:
        arrived.set()

    site.send()
    assert slow.begun.wait(10)
    with message_sent.connected_to(sent, site.app):
        site.send()
        assert arrived.wait(10)
    assert slow.looks == 1


def test_who_drains_by_command_watches_too(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """``flask mailtrack drain --watch`` on a machine that serves nobody does what a worker's thread does."""
    nudged: list[bool] = []
    site = make_site(MAILTRACK_DRAIN="manual")
    monkeypatch.setattr(DomainWatch, "wake", lambda _: nudged.append(True))
    monkeypatch.setattr(threading.Event, "wait", lambda *_: True)
    assert site.app.test_cli_runner().invoke(args=["mailtrack", "drain", "--watch"]).exit_code == 0
    assert nudged == [True]
