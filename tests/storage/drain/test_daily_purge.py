"""What is too old goes by itself: once a day, by one machine, in small steps, and not while rows wait."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from sqlalchemy.exc import OperationalError

from flask_mailtrack.events import first_id, now
from flask_mailtrack.storage.drain import chores
from flask_mailtrack.storage.drain.daily_purge import DAILY, LEASE, LOOK_SECONDS, DailyPurge, daily, is_behind
from flask_mailtrack.storage.journal.backlog import Runs, Waiting
from flask_mailtrack.storage.tables import retention

KEEP = {"events": 10, "messages": 30}


class Clock:
    """The time of day, as leases see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moment = now()
        for module in ("tables.leases", "drain.daily_purge"):
            monkeypatch.setattr(f"flask_mailtrack.storage.{module}.now", lambda: self.moment)


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows in a transaction, so that a few make several."""
    monkeypatch.setattr(retention, "_BATCH", 3)


def fill(site: Site, count: int, days: float = 40) -> None:
    """Put *count* old messages into the tables, each with one event."""
    models, then = site.mailtrack.models, now() - timedelta(days=days)
    floor = first_id(then).int | 7 << 76 | 2 << 62
    for number in range(count):
        key = uuid.UUID(int=floor + number)
        site.db.session.add(models.Message(id=key, created_at=then))
        site.db.session.add(
            models.Event(id=uuid.UUID(int=floor + (1 << 20) + number), message_id=key, occurred_at=then)
        )
    site.db.session.commit()


def left(site: Site) -> tuple[int, int]:
    """How many messages and events there are."""
    return len(site.rows("Message")), len(site.rows("Event"))


def machine(site: Site, pause: Callable[[float], object] = id, **options: Any) -> DailyPurge:
    """One of several machines that drain into the tables of a site."""
    behind = options.get("behind", lambda: False)
    return DailyPurge(site.mailtrack._state().database, options.get("keep", KEEP), behind, pause)


def test_once_a_day_by_one_machine(database_url: str, make_site: MakeSite, clock: Clock) -> None:
    """While one purges, the other finds nothing to do; and both do nothing until a day later."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    fill(site, 8)
    second, steps = machine(site), []

    def pause(seconds: float) -> None:
        steps.append(second.run())

    first = machine(site, pause)
    assert first.run()
    assert (left(site), set(steps)) == ((0, 0), {False})
    assert len(steps) >= 6
    fill(site, 2)
    clock.moment += DAILY - timedelta(seconds=1)
    assert not second._lease.take()  # which had seen it as due before
    assert not first.run()
    assert not second.run()
    assert left(site) == (2, 2)
    clock.moment += timedelta(seconds=2)
    assert second.run()
    assert not first.run()
    assert left(site) == (0, 0)


def test_a_machine_that_dies_leaves_the_rest_to_another(database_url: str, make_site: MakeSite, clock: Clock) -> None:
    """What it has deleted is gone; the other one goes on when it has not been heard of for ten minutes."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    fill(site, 8)

    def die(seconds: float) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        machine(site, die).run()
    assert left(site) == (8, 5)
    other = machine(site)
    assert not other.run()
    clock.moment += LEASE - timedelta(seconds=1)
    assert not other.run()
    clock.moment += timedelta(seconds=2)
    assert other.run()
    assert left(site) == (0, 0)


def test_who_wakes_up_late_stops(database_url: str, make_site: MakeSite, clock: Clock) -> None:
    """A machine that was frozen between two steps finds that another has taken over, and does not go on."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    fill(site, 8)
    took_over: list[bool] = []
    answers = iter([False, False, True])

    def freeze(seconds: float) -> None:
        clock.moment += LEASE + timedelta(seconds=1)
        took_over.append(machine(site, behind=lambda: next(answers)).run())

    frozen = machine(site, freeze)
    assert not frozen.run()
    assert (took_over, left(site)) == ([False], (8, 0))
    (row,) = site.rows("Setting")
    assert row.changed_at.year == 1970


def test_who_wakes_up_too_late_takes_nothing_back(database_url: str, make_site: MakeSite, clock: Clock) -> None:
    """A machine that finds all done by another does not say that it has done so itself."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    fill(site, 8)
    took_over: list[bool] = []

    def freeze(seconds: float) -> None:
        clock.moment += LEASE + timedelta(seconds=1)
        took_over.append(machine(site).run())

    frozen = machine(site, freeze)
    assert not frozen.run()
    assert (took_over, left(site)) == ([True], (0, 0))
    (row,) = site.rows("Setting")
    assert row.changed_at == clock.moment


def test_it_gives_way_to_the_drain(database_url: str, make_site: MakeSite, clock: Clock) -> None:
    """While rows wait nothing is purged; a purge that has begun stops after one step, and goes on later, by anybody."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    fill(site, 8)
    busy = [True]
    first = machine(site, behind=lambda: busy[0])
    assert not first.run()
    assert left(site) == (8, 8)
    answers = iter([False, False, True])
    assert not machine(site, behind=lambda: next(answers)).run()
    assert left(site) == (8, 2)
    busy[0] = False
    assert first.run()
    assert left(site) == (0, 0)


def test_a_database_that_goes_away(
    make_site: MakeSite, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is deleted stays deleted, the log has one line, and the purge goes on when the lease has ended."""
    site = make_site(MAILTRACK_KEEP_DAYS=KEEP)
    fill(site, 8)
    state = site.mailtrack._state()
    chore = daily(state.database, KEEP, state.drain, 2)
    usual, calls = type(state.database).transaction, []

    def fails(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise OperationalError("", {}, Exception("away"))
        return usual(*given, **named)

    caplog.set_level(logging.INFO, "flask_mailtrack.retention")
    with monkeypatch.context() as away:
        away.setattr(type(state.database), "transaction", fails)
        for _ in range(2):
            chore.look()
            clock.moment += LEASE + timedelta(seconds=1)
    assert left(site)[1] in {2, 5}
    told = [record.getMessage() for record in caplog.records]
    assert told == ["what is older than MAILTRACK_KEEP_DAYS cannot be deleted now: OperationalError"]
    caplog.clear()
    machine(site).run()
    assert left(site) == (0, 0)
    assert "8 messages were deleted" in caplog.text


def test_a_drain_that_fails_for_a_day_is_told(site: Site, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is purged meanwhile, which was promised to readers: the log says so once, and after a purge again."""
    busy = [True]
    purge = machine(site, behind=lambda: busy[0])
    for hours in (1, 22, 2, 24):
        clock.moment += timedelta(hours=hours)
        assert not purge.run()
        assert len(caplog.records) == (hours in (2, 24))
    assert "MAILTRACK_KEEP_DAYS" in caplog.text
    busy[0] = False
    assert purge.run()
    busy[0] = True
    clock.moment += 3 * DAILY
    assert not purge.run()
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("days", "keep", "told"), [(2, KEEP, True), (0.5, KEEP, False), (2, {}, False)])
def test_health_says_that_nothing_is_purged(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, days: float, keep: dict[str, int], told: bool
) -> None:
    """When the drain has failed for a day, where something was to be deleted."""
    site = make_site(MAILTRACK_KEEP_DAYS=keep)
    drain = site.mailtrack._state().drain
    failed = Runs(succeeded_at=(now() - timedelta(days=days)).timestamp(), error="OperationalError")
    monkeypatch.setattr(type(drain.progress), "read", lambda _: failed)
    assert any("MAILTRACK_KEEP_DAYS" in each for each in site.mailtrack.health().problems) is told


def test_what_is_cleared_is_not_read_again(make_site: MakeSite, clock: Clock) -> None:
    """Where events are kept longer than mails, each step goes on where the last one ended, however many there are."""
    site = make_site()
    fill(site, 8)
    for event in site.db.session.scalars(sa.select(site.mailtrack.models.Event)):
        event.ip = "192.0.2.1"
    site.db.session.commit()
    begins: list[Any] = []

    def look(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith("SELECT") and "user_agent !=" in statement:
            begins.append(parameters[0])

    engine = site.mailtrack._state().database.engine
    sa.event.listen(engine, "before_cursor_execute", look)
    assert machine(site, keep={"events": 90, "messages": 30}).run()
    sa.event.remove(engine, "before_cursor_execute", look)
    assert {row.ip for row in site.rows("Event")} == {""}
    assert len(begins) == len(set(begins)) == 4


def test_what_waits_for_a_message_in_vain_is_forgotten(database_url: str, make_site: MakeSite, clock: Clock) -> None:
    """Events that came 30 days ago before a message that never came are not waited for, though all is kept."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    model = site.mailtrack.models.EarlyEvent
    for days in (29, 31, 32, 33, 34):
        site.db.session.add(
            model(id=first_id(now() - timedelta(days=0.5 + days)), message_id=first_id(now() - timedelta(days=days)))
        )
    site.db.session.commit()
    fill(site, 1)
    assert machine(site, keep={}).run()
    assert len(site.rows("EarlyEvent")) == 1
    assert left(site) == (1, 1)


def test_a_lease_is_no_setting(site: Site, clock: Clock) -> None:
    """The row that says who purges is shown as no change of an operator's, and switches nothing."""
    machine(site).run()
    assert len(site.rows("Setting")) == 1
    assert site.mailtrack.settings.history() == []
    assert not site.mailtrack._state().administration.switches.paused()


@pytest.mark.parametrize(
    ("waiting", "error", "behind"),
    [
        (Waiting(), "", False),
        (Waiting(rows=9_000, oldest_seconds=20), "", False),
        (Waiting(rows=1, oldest_seconds=50), "", True),
        (Waiting(rows=11_000), "", True),
        (Waiting(streamed=11_000), "", True),
        (Waiting(), "OperationalError", True),
    ],
)
def test_when_the_drain_is_behind(
    site: Site, monkeypatch: pytest.MonkeyPatch, waiting: Waiting, error: str, behind: bool
) -> None:
    """Rows that wait for longer than the drain's pace, or are many, here or in Redis, or a run that failed."""
    drain = site.mailtrack._state().drain
    monkeypatch.setattr(type(drain), "waiting", lambda _: waiting)
    if error:
        drain.progress.failed(OperationalError("", {}, Exception()))
    assert is_behind(drain, 2) is behind


def test_never_inside_a_request(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hits are drained in requests nobody purges by itself; the thread that drains begins it after a minute."""
    ran = threading.Event()
    threads: list[str] = []

    def run(_: DailyPurge) -> None:
        threads.append(threading.current_thread().name)
        ran.set()

    monkeypatch.setattr(DailyPurge, "run", run)
    site = make_site(MAILTRACK_KEEP_DAYS=KEEP)
    site.send()
    assert threads == []
    ticks = [1_000.0]
    monkeypatch.setattr(chores.time, "monotonic", lambda: ticks[0])
    wake = site.mailtrack._state().chores().wake
    wake()
    ticks[0] += LOOK_SECONDS - 1
    wake()
    assert threads == []
    ticks[0] += 1
    wake()
    assert ran.wait(10)
    assert threads == ["mailtrack-purge"]


def test_an_app_that_is_dropped_is_freed(make_site: MakeSite) -> None:
    """The purge that is to come does not keep the drain alive, nor does what it has begun go on without it."""
    site = make_site(MAILTRACK_KEEP_DAYS=KEEP)
    state = site.mailtrack._state()

    class Gone:
        """A drain that nobody holds."""

    fill(site, 1)
    daily(state.database, KEEP, Gone(), 2).look()  # type: ignore[arg-type]
    assert left(site) == (1, 1)
