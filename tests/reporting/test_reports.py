"""Every question that a sender asks, answered about mail that was really sent, opened and clicked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from figures_oracle import Oracle, an_id

from flask_mailtrack.errors import ConfigError, NotInitialised, ReportError
from flask_mailtrack.events import EventType, Status, Verdict, new_id
from flask_mailtrack.reporting.answers import Count
from flask_mailtrack.reporting.buckets import Buckets
from flask_mailtrack.reporting.stats import Tally
from flask_mailtrack.storage.tables.rebuild import Rebuild
from flask_mailtrack.testing import BROWSER, Reader

HTML = '<a href="https://example.com/a" data-mailtrack-name="first">a</a> <a href="https://example.com/b">b</a>'
MACHINE = {**BROWSER, "Sec-Purpose": "prefetch"}
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
_NUMBERS = count()


def newsletter(site: Site) -> None:
    """Four people get a newsletter, of whom two open, one clicks, and one leaves; a machine looks at all of it."""
    sent = site.send(HTML, to=[f"{name}@gmail.com" for name in "abcd"], tag="spring", list_id="news")
    readers = [Reader(site.client, each) for each in sent]
    readers[0].open()
    readers[0].open()
    readers[1].open()
    readers[0].click("a")
    for reader in readers:
        Reader(reader.client, reader.message, MACHINE).open()
    readers[3].unsubscribe()


def message(site: Site, at: datetime = NOON, **columns: Any) -> Any:
    """Write a message row as the drain would have."""
    values = {"status": Status.SENT, "recipient": "a@b.example", "sender": "n@one.example", "subject": "Hello"}
    values |= {"tracks_opens": True, "tracks_clicks": True, "created_at": at} | columns
    row = site.mailtrack.models.Message(id=an_id(at, next(_NUMBERS)), batch_id=new_id(), **values)
    site.db.session.add(row)
    site.db.session.commit()
    return row.id


def event(site: Site, about: Any, at: datetime, kind: EventType = EventType.OPENED, **columns: Any) -> None:
    """Write an event row as the drain would have."""
    values: dict[str, Any] = {"verdict": Verdict.HUMAN, "verdict_reasons": ["ua_browser"]} | columns
    values |= {"message_id": about, "type": kind, "occurred_at": at}
    site.db.session.add(site.mailtrack.models.Event(id=an_id(at, next(_NUMBERS)), **values))
    site.db.session.commit()


def test_totals_have_their_denominators(site: Site) -> None:
    """People, machines and everybody are three audiences of the same mail, each rate with what it is a rate of."""
    newsletter(site)
    site.send("<p>No link</p>", opens=False)
    totals = site.mailtrack.reports.totals()
    assert (totals.tried, totals.sent, totals.out, totals.failed) == (5, 5, 5, 0)
    assert totals.opened == Tally(3, 2, 4)
    assert totals.clicked == Tally(1, 1, 4)
    assert (totals.unsubscribed, totals.opened_and_clicked) == (Tally(1, 1, 4), 1)
    assert (totals.machine_opened, totals.machine_clicked) == (Count(4, 4), Count(0, 0))
    assert site.mailtrack.reports.totals(audience="machines").opened == Tally(4, 4, 4)
    assert site.mailtrack.reports.totals(audience="all").opened == Tally(7, 4, 4)
    assert site.mailtrack.reports.totals(tag="autumn").opened.rate is None
    assert site.mailtrack.reports.click_to_open().rate == 0.5


def test_stats_are_the_short_form_of_totals(site: Site) -> None:
    """The two say the same of the same mail."""
    newsletter(site)
    totals, stats = site.mailtrack.reports.totals(tag="spring"), site.mailtrack.stats(tag="spring")
    assert (stats.sent, stats.opened, stats.clicked) == (totals.sent, totals.opened, totals.clicked)
    assert (stats.unsubscribed.unique, stats.machine) == (totals.unsubscribed.unique, totals.machine_opened.total)
    assert site.mailtrack.stats(since="2026-01-01", until="2026-01-02").sent == 0


def test_a_series_has_every_bucket(site: Site) -> None:
    """An empty day is there, too, and a message counts once, on the day of its first open, or of its sending."""
    key = message(site)
    event(site, key, NOON + timedelta(days=3))
    event(site, key, NOON + timedelta(days=1))
    happened = site.mailtrack.reports.series(by="day", basis="happened", tz="Europe/Berlin")
    assert [point.start.isoformat() for point in happened.points] == [
        f"2026-05-0{day}T00:00:00+02:00" for day in (1, 2, 3, 4)
    ]
    assert [
        (point.totals.sent, point.totals.opened.total, point.totals.opened.unique) for point in happened.points
    ] == [
        (1, 0, 0),
        (0, 1, 1),
        (0, 0, 0),
        (0, 1, 0),
    ]
    (point,) = site.mailtrack.reports.series(by="month").points
    assert point.totals.opened == Tally(2, 1, 1)
    wide = site.mailtrack.reports.series(by="week", since="2026-04-20", until="2026-05-11")
    assert [point.totals.sent for point in wide.points] == [0, 1, 0]
    assert wide.totals.opened == Tally(2, 1, 1)
    assert site.mailtrack.reports.series(by="hour", tag="nothing").points == ()


def test_campaigns_lists_and_subjects(site: Site) -> None:
    """Each has its own figures, the newest first, with its first and last sending."""
    for tag, list_id, days in (("spring", "news", 0), ("spring", "news", 2), ("offer", "", 1)):
        message(site, NOON + timedelta(days=days), tag=tag, list_id=list_id, subject=f"About {tag}")
    reports = site.mailtrack.reports
    assert [line.name for line in reports.campaigns().lines] == ["spring", "offer"]
    first = reports.campaigns().lines[0].totals
    assert (first.sent, first.first_at, first.last_at) == (2, NOON, NOON + timedelta(days=2))
    assert {line.name: line.totals.sent for line in reports.lists().lines} == {"news": 2, "": 1}
    assert {line.name: line.totals.sent for line in reports.subjects().lines} == {"About spring": 2, "About offer": 1}
    assert [line.name for line in reports.sender_domains(tag="offer").lines] == ["one.example"]
    assert reports.campaigns().totals.sent == 3


def test_links_tell_two_places_apart(site: Site) -> None:
    """Each link of a campaign has its name, place and part, and its share of those who clicked anything."""
    newsletter(site)
    found = site.mailtrack.reports.links("spring", audience="all")
    assert [(row.url, row.name, row.position, row.part, row.total, row.unique) for row in found.rows] == [
        ("https://example.com/a", "first", 0, "html", 1, 1)
    ]
    assert (found.of, found.rows[0].rate) == (1, 1.0)


def test_shares_and_verdicts(site: Site) -> None:
    """Clients, systems, devices, countries, domains and rules each divide the opens."""
    newsletter(site)
    reports = site.mailtrack.reports
    for shares in (reports.clients(), reports.systems(), reports.devices(), reports.countries()):
        assert (shares.total, shares.of) == (3, 2)
        assert sum(row.unique for row in shares.rows) == 2
    assert {(row.verdict, row.opens, row.clicks) for row in reports.verdicts().rows} == {
        ("human", 3, 1),
        ("prefetch", 4, 0),
    }
    assert [(row.sent, row.opened) for row in reports.domains().rows] == [(4, Count(3, 2))]
    with pytest.raises(ReportError, match="dimension is 'rule'"):
        reports.shares(dimension="rule")


def test_reasons_come_with_comments(site: Site) -> None:
    """Why people left, how many said nothing, and what they have written."""
    for reason, comment in (("never", "Who are you?"), ("never", ""), ("", "")):
        key = message(site, list_id="news")
        event(site, key, NOON, EventType.UNSUBSCRIBED, reason=reason, comment=comment)
    found = site.mailtrack.reports.unsubscribe_reasons(list_id="news")
    assert (found.rows, found.none, found.total, found.unique, found.of) == ((("never", 2),), 1, 3, 3, 3)
    assert [(each.text, each.reason, each.list_id) for each in found.comments] == [("Who are you?", "never", "news")]


def test_what_people_have_written_is_found_by_its_index(site: Site) -> None:
    """It is one event among thousands: reading the others would take most of a second."""
    asked: list[tuple[str, Any]] = []

    def look(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        asked.append((statement, parameters))

    engine = site.mailtrack._state().database.engine
    sa.event.listen(engine, "before_cursor_execute", look)
    for filters in ({}, {"tag": "spring"}):
        site.mailtrack.reports.unsubscribe_reasons(**filters)
    sa.event.remove(engine, "before_cursor_execute", look)
    queries = [each for each in asked if "comment !=" in each[0]]
    with engine.connect() as connection:
        for statement, parameters in queries:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert "ix_mailtrack_event_type" in str(plan[0])
    assert len(queries) == 2


def test_a_series_may_begin_long_before_all_mail(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are buckets from then on, but nobody walks there from day to day; too many are refused."""
    message(site)
    state = site.mailtrack._state()
    Rebuild(state.database, state.signer).run()
    days: list[int] = []
    usual = Buckets._shift
    monkeypatch.setattr(Buckets, "_shift", lambda *given: days.append(1) or usual(*given))
    found = site.mailtrack.reports.series(by="month", since="1526-05-01", tz="Europe/Berlin")
    assert (len(found.points), found.totals.sent) == (500 * 12 + 1, 1)
    assert len(days) < 5
    for until in (None, "2026-06-01"):
        with pytest.raises(ReportError, match="10,000"):
            site.mailtrack.reports.series(by="day", since="0001-02-01", until=until)
    assert len(days) < 5


@pytest.mark.parametrize("tz", ["Europe/Berlin", "Asia/Kolkata", "America/New_York", "Atlantic/Azores"])
def test_an_hour_of_another_day_is_counted_in_that_day_alone(site: Site, tz: str) -> None:
    """What happens around midnight of a time zone is in one of its days, as the rows say, and in one week and month."""
    key = message(site, NOON)
    for hours in range(0, 24 * 32, 5):
        event(site, key, NOON + timedelta(hours=hours))
    state = site.mailtrack._state()
    Rebuild(state.database, state.signer).run()
    reports = site.mailtrack.reports

    def told() -> list[Any]:
        bases = ("sent", "happened")
        return [reports.series(by=by, basis=basis, tz=tz) for by in ("day", "week", "month") for basis in bases]

    by_sums = told()
    forget(site)
    assert by_sums == told()


def test_a_period_is_compared_with_the_one_before(site: Site) -> None:
    """Rates of enough are compared in points, what was sent as a part."""
    for days, opened in ((0, 30), (10, 45)):
        for number in range(60):
            key = message(site, NOON + timedelta(days=days))
            if number < opened:
                event(site, key, NOON + timedelta(days=days))
    found = site.mailtrack.reports.compare(since="2026-05-10", until="2026-05-20")
    assert (found.now.opened.unique, found.before.opened.unique) == (45, 30)
    assert (found.opened, found.sent, found.unsubscribed) == (0.25, 0.0, None)
    assert found.before_since == datetime(2026, 4, 30, tzinfo=UTC)
    with pytest.raises(ReportError, match="since is missing"):
        site.mailtrack.reports.compare()


def test_sums_answer_when_they_are_there(database_url: str, make_site: MakeSite) -> None:
    """Each report says the same of the sums as of the rows, and is read from the sums once all rows are in them."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    newsletter(site)
    key = message(site, list_id="news", subject="Other", unsubscribed_at=NOON)
    event(site, key, NOON, EventType.UNSUBSCRIBED, reason="never", comment="Who?")
    reports, state = site.mailtrack.reports, site.mailtrack._state_of(site.app)
    forget(site)
    by_rows = everything(site)
    assert not reports._sums.usable()
    oracle = Oracle(lambda text: state.signer.subject_refs(text)[0], lambda *link: state.signer.link_refs(*link)[0])
    names = {
        name: [column.name for column in getattr(site.mailtrack.models, name).__table__.columns]
        for name in ("Message", "Event")
    }
    rows = [[{key: getattr(row, key) for key in keys} for row in site.rows(name)] for name, keys in names.items()]
    with state.database.engine.begin() as connection:
        oracle.write(connection, site.mailtrack.models, *rows)
    assert reports._sums.usable()
    assert everything(site) == by_rows


def test_what_the_drain_sums_is_what_the_rows_say(database_url: str, make_site: MakeSite) -> None:
    """Mail that was really sent, read and left is in the sums as soon as it is drained, with the same figures."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    newsletter(site)
    site.send(HTML, to=["e@example.com", "f@example.com"], tag="summer", mode="aggregate")
    Reader(site.client, site.send(HTML, tag="summer", subject="Other")).click("b")
    assert site.mailtrack.reports._sums.usable()
    by_sums = everything(site)
    forget(site)
    assert not site.mailtrack.reports._sums.usable()
    assert everything(site) == by_sums


def everything(site: Site) -> list[Any]:
    """Ask all reports about all mail."""
    reports = site.mailtrack.reports
    names = ("totals", "campaigns", "lists", "subjects", "clients", "verdicts", "domains", "unsubscribe_reasons")
    found = [getattr(reports, name)() for name in names]
    return [*found, reports.links("spring"), reports.series(by="week"), site.mailtrack.stats()]


def forget(site: Site) -> None:
    """Take the sums away that a drain may have made."""
    models = site.mailtrack.models
    for model in (models.Cohort, models.Figure, models.Breakdown):
        site.db.session.execute(model.__table__.delete())
    site.db.session.execute(models.Message.__table__.update().values(cohort_id=None))
    site.db.session.commit()


def test_reports_may_be_read_elsewhere(make_site: MakeSite, tmp_path: Any) -> None:
    """With MAILTRACK_REPORTS_BIND a replica answers; a bind that there is not stops the start."""
    replica = f"sqlite:///{tmp_path / 'replica.sqlite3'}"
    site = make_site(SQLALCHEMY_BINDS={"replica": replica}, MAILTRACK_REPORTS_BIND="replica")
    tables = [model.__table__ for model in site.mailtrack.models]
    tables[0].metadata.create_all(site.db.engines["replica"], tables=tables)
    newsletter(site)
    assert site.mailtrack.reports.totals().sent == 0
    with pytest.raises(ConfigError, match="MAILTRACK_REPORTS_BIND: is 'standby'"):
        make_site(MAILTRACK_REPORTS_BIND="standby")


def test_an_app_without_mailtrack_has_no_reports(make_site: MakeSite) -> None:
    """Outside of the app that was set up there is nothing to ask."""
    site, other = make_site(), make_site()
    with other.app.app_context(), pytest.raises(NotInitialised):
        _ = site.mailtrack.reports


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("series", {"by": "month", "since": "9999-12-01", "until": "9999-12-31"}),
        ("series", {"by": "day", "since": "0001-01-01T00:00+00:00", "until": "0001-01-02", "tz": "America/New_York"}),
        ("compare", {"since": "1000-01-01", "until": "2026-01-01"}),
        ("totals", {"tz": ["UTC"]}),
        ("totals", {"tag": "a\0"}),
        ("totals", {"subject": "\ud800"}),
        ("messages", {"search": 5}),
        ("messages", {"search": "\ud800"}),
        ("person", {"address": None}),
        ("person", {"address": "a\0@example.com"}),
    ],
    ids=repr,
)
def test_no_database_is_asked_what_it_cannot_be_asked(site: Site, name: str, arguments: dict[str, Any]) -> None:
    """Moments at the ends of all dates, and texts that are none, get a clear answer."""
    with pytest.raises(ReportError):
        getattr(site.mailtrack.reports, name)(**arguments)


def test_attention_since_the_beginning(site: Site) -> None:
    """There is no year before the first one, and none is asked for."""
    assert site.mailtrack.reports.attention(since="0001-01-01") is not None
