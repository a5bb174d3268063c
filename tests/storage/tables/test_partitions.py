"""Events by month on PostgreSQL: the drain does there what it does on one table, and old months go at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import MakeSite, Site
from storage.drain.test_drain import (  # noqa: F401 - the main cases of the drain, once more
    Base,
    Store,
    test_a_crash_after_the_commit_only_replays,
    test_a_replay_changes_nothing,
    test_all_that_is_spooled_arrives,
    test_an_event_may_come_before_its_message,
    test_counting_again_changes_nothing,
    test_counts_are_by_people,
    test_many_rows_of_one_batch_are_counted,
    test_opting_out_and_in_again,
    test_rows_that_the_database_refuses_are_put_aside,
    test_the_same_key_twice_in_one_batch,
    test_two_drainers_of_the_same_messages_count_all,
    test_two_drainers_of_the_same_records_do_no_harm,
)

from flask_mailtrack.events import first_id, now
from flask_mailtrack.storage.drain.daily_purge import DailyPurge
from flask_mailtrack.storage.tables import partitions
from flask_mailtrack.storage.tables.partitions import AHEAD, Partitions
from flask_mailtrack.storage.tables.retention import Overdue, Retention
from flask_mailtrack.testing import Reader

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(name="store")
def _store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """An empty database whose events are partitioned."""
    store = Store(database_url, tmp_path / "spool")
    Base.metadata.create_all(store.database.engine)
    Partitions(store.database).convert()
    yield store
    for engine in store.engines:
        engine.dispose()


@pytest.fixture(name="whole")
def _whole(database_url: str, make_site: MakeSite) -> Site:
    """An app on PostgreSQL with one table of events, and an event in it of each of the last four months."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    for back in range(4):
        add(site, months_ago(back) + timedelta(days=1))
    return site


def months_ago(count: int) -> datetime:
    """The first moment of a month."""
    number = now().year * 12 + now().month - 1 - count
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def add(site: Site, moment: datetime) -> uuid.UUID:
    """Add an event of a mail that was sent at the same moment."""
    key = uuid.UUID(int=first_id(moment).int | 7 << 76 | 2 << 62)
    mail = uuid.UUID(int=key.int - 1)
    site.db.session.add(site.mailtrack.models.Event(id=key, message_id=mail, type="opened", occurred_at=moment))
    site.db.session.commit()
    return key


def parts_of(site: Site) -> Partitions:
    """What the app knows of its partitions."""
    return Partitions(site.mailtrack._state().database)


def months(parts: Partitions) -> list[datetime]:
    """When each month begins."""
    return [part.first for part in parts.all() if part.first]


def test_a_table_is_cut_with_what_is_in_it(whole: Site) -> None:
    """Rows, key, indexes and rights are as before, each month has its part, and a migration sees no difference."""
    parts = parts_of(whole)
    before = whole.rows("Event")
    ids = [event.id for event in before]
    whole.db.session.rollback()
    with whole.db.engine.begin() as connection:
        connection.exec_driver_sql("GRANT SELECT ON mailtrack_event TO PUBLIC")
        names = sorted(index["name"] for index in sa.inspect(connection).get_indexes("mailtrack_event"))
    assert (parts.there(), parts.obstacle()) == (False, "")
    parts.convert()
    assert parts.there()
    assert [event.id for event in whole.rows("Event")] == ids
    assert months(parts) == [months_ago(back) for back in range(3, -1 - AHEAD, -1)]
    with whole.db.engine.begin() as connection:
        assert sorted(index["name"] for index in sa.inspect(connection).get_indexes("mailtrack_event")) == names
        assert connection.scalar(sa.text("SELECT has_table_privilege('public', 'mailtrack_event', 'SELECT')"))
        compared = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(compared, whole.db.metadata) == []
    Reader(whole.client, whole.send("<p>Hello</p>")).open()
    assert len(whole.rows("Event")) == 5


def test_old_months_are_dropped_whole(whole: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month goes when its last day is too old, and not row by row; rows go of what belongs to no month."""
    parts = parts_of(whole)
    parts.convert()
    stray = add(whole, now() - timedelta(days=365 * 20))
    dropped: list[str] = []
    usual = Partitions._run

    def heard(self: Partitions, connection: Any, statement: str) -> Any:
        dropped.extend([statement] if statement.startswith("DROP TABLE") else [])
        return usual(self, connection, statement)

    monkeypatch.setattr(Partitions, "_run", heard)
    retention = Retention(whole.mailtrack._state().database, {"events": 10})
    limit = Overdue("events", months_ago(1) + timedelta(days=20))
    whole.db.session.rollback()
    with whole.db.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE mailtrack_event")
    # An estimate: PostgreSQL may reckon twice what was inserted just before it looked.
    assert 3 <= retention._count(limit) <= 5
    assert retention.purge(limit) == 3
    assert len(dropped) == 2
    found = [event.id for event in whole.rows("Event")]
    assert len(found) == 2
    assert stray not in found
    assert months(parts)[0] == months_ago(1)


def test_without_a_limit_of_their_own_events_go_with_their_mails(whole: Site) -> None:
    """Then whole months go, and of the month in which the limit is, the rows."""
    parts_of(whole).convert()
    retention = Retention(whole.mailtrack._state().database, {"messages": 10})
    whole.db.session.rollback()
    retention.purge(Overdue("messages", months_ago(1) + timedelta(days=20)))
    assert len(whole.rows("Event")) == 1
    assert months(parts_of(whole))[0] == months_ago(1)


def test_whoever_drains_makes_months_ahead(whole: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a year later months are there again for a quarter, and what came in between stands in its own."""
    parts = parts_of(whole)
    parts.convert()
    late = months_ago(-6)
    event = add(whole, late + timedelta(days=3))
    assert parts.all()[-1].first is None
    monkeypatch.setattr(partitions, "now", lambda: late + timedelta(days=5))
    whole.db.session.rollback()
    assert DailyPurge(whole.mailtrack._state().database, {}, lambda: False, id).run()
    assert months(parts)[-1] == months_ago(-6 - AHEAD)
    with whole.db.engine.connect() as connection:
        where = sa.text("SELECT tableoid::regclass::text FROM mailtrack_event WHERE id = :id")
        assert connection.scalar(where, {"id": event}).endswith(f"m{late:%Y_%m}")
    parts.make_ahead()  # a second time, there is nothing to do


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE VIEW v AS SELECT * FROM mailtrack_event", "views over it"),
        ("ALTER TABLE mailtrack_event ENABLE ROW LEVEL SECURITY", "row-level security"),
        ("CREATE UNIQUE INDEX u ON mailtrack_event (id, ip)", "unique constraints"),
        ("CREATE TABLE t (e uuid REFERENCES mailtrack_event)", "foreign keys"),
        ("ALTER TABLE mailtrack_event ADD n int GENERATED ALWAYS AS IDENTITY", "identity columns"),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER t BEFORE INSERT ON mailtrack_event FOR EACH ROW EXECUTE FUNCTION f()",
            "triggers",
        ),
    ],
)
def test_what_would_be_lost_is_named(whole: Site, statement: str, told: str) -> None:
    """A table with things that a new one would lack is left as it is."""
    with whole.db.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert told in parts_of(whole).obstacle()


def test_a_large_table_is_not_copied(whole: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would hold everybody up for long is left to the operator, who is told where the recipe is."""
    monkeypatch.setattr(partitions, "MOST_ROWS", 3)
    whole.db.session.rollback()
    assert "more than 3 rows" in parts_of(whole).obstacle()


def test_the_command(whole: Site, database_url: str) -> None:
    """It says how things stand, converts when told to, and then shows the months."""
    run = whole.app.test_cli_runner()
    whole.db.session.rollback()
    assert "--convert" in run.invoke(args=["mailtrack", "partitions"]).output
    result = run.invoke(args=["mailtrack", "partitions", "--convert", "--ahead", "1"])
    assert (result.exit_code, len(result.output.splitlines())) == (0, 6)
    assert result.output.splitlines()[-1].startswith("rest")
    assert len(run.invoke(args=["mailtrack", "partitions", "--ahead", "2"]).output.splitlines()) == 7
