"""One row that cannot be stored costs itself: whatever the database answers, and whatever it raises on its way."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import mariadb_server
import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site, missing
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from flask_mailtrack.errors import DatabaseBusy
from flask_mailtrack.events import EventType, Hit, SentMessage, Suppression, new_id, now
from flask_mailtrack.signals import tracking_failed
from flask_mailtrack.storage.journal.directory import bad_files
from flask_mailtrack.storage.records import Record, to_json
from flask_mailtrack.storage.tables.writer import column_of, of_the_record
from flask_mailtrack.testing import Reader

ADA = "ada@example.com"
REFUSALS = {
    "sqlite": [
        """CREATE TRIGGER no BEFORE INSERT ON mailtrack_message WHEN NEW.subject = 'poison'
        BEGIN SELECT RAISE(ROLLBACK, 'no'); END""",
        """CREATE TRIGGER no BEFORE INSERT ON mailtrack_message WHEN NEW.subject = 'poison'
        BEGIN SELECT json_extract('{', '$'); END""",
    ],
    "postgresql": [
        """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF NEW.subject = ''poison'' THEN RAISE EXCEPTION USING ERRCODE = ''TEN01''; END IF; RETURN NEW; END';
        CREATE TRIGGER no BEFORE INSERT ON mailtrack_message FOR EACH ROW EXECUTE FUNCTION no()""",
        """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF NEW.subject = ''poison'' THEN RAISE internal_error; END IF; RETURN NEW; END';
        CREATE TRIGGER no BEFORE INSERT ON mailtrack_message FOR EACH ROW EXECUTE FUNCTION no()""",
        "ALTER TABLE mailtrack_message ADD CONSTRAINT no_poison CHECK (subject <> 'poison')",
    ],
    "mysql": [
        """CREATE TRIGGER no BEFORE INSERT ON mailtrack_message FOR EACH ROW
        IF NEW.subject = 'poison' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF""",
        "ALTER TABLE mailtrack_message ADD CONSTRAINT no_poison CHECK (subject <> 'poison')",
    ],
}


@pytest.fixture(name="host")
def _host(database_url: str, make_site: MakeSite) -> Site:
    """A host on each kind of database, drained by hand."""
    return make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual")


@pytest.fixture(name="lite")
def _lite(make_site: MakeSite) -> Site:
    """A host on SQLite, for what does not depend on the kind."""
    return make_site(MAILTRACK_DRAIN="manual")


def execute(site: Site, statement: str) -> None:
    """Run one statement as the host would."""
    with site.db.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def put(site: Site, *records: Record, stream: int = 0) -> None:
    """Write *records* to the journal of events, or to that of choices."""
    for record in records:
        site.mailtrack._state().journals[stream].append(to_json(record))


def message(**values: Any) -> SentMessage:
    """A message to Ada."""
    given: dict[str, Any] = {
        "recipient": ADA,
        "sender": "",
        "subject": "",
        "header_message_id": "",
        "created_at": now(),
    }
    return SentMessage(new_id(), new_id(), **(given | values))


def bad(site: Site) -> list[dict[str, str]]:
    """What is in the quarantine."""
    place = site.mailtrack._state().journals[0].spools[0].directory
    return [json.loads(line) for path in bad_files(place) for line in path.read_text().splitlines()]


def nested(levels: int) -> Any:
    """Lists in lists."""
    inner: Any = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


@pytest.mark.parametrize("which", range(3))
def test_a_row_that_a_trigger_or_a_check_refuses_costs_itself(
    host: Site, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A RAISE, a SIGNAL and a CHECK of the host's, under whatever class of error, hold no other row up."""
    statements = REFUSALS[host.db.engine.dialect.name]
    execute(host, statements[which % len(statements)])
    put(host, *(message(subject="poison" if n == 7 else "") for n in range(20)))
    assert host.mailtrack.flush() == 19
    assert len(host.rows("Message")) == 19
    assert len(bad(host)) == 1
    assert "a record (message) was quarantined" in caplog.text


def test_json_that_the_database_finds_too_deep_costs_its_row(host: Site) -> None:
    """MariaDB takes no JSON of 32 levels; the rows behind such a one arrive."""
    put(host, message(), message(details={"deep": nested(60)}), message())
    mariadb = host.db.engine.dialect.name == "mysql"
    assert host.mailtrack.flush() == (2 if mariadb else 3)
    assert len(bad(host)) == mariadb


@pytest.fixture(name="narrow")
def _narrow(make_site: MakeSite) -> Iterator[Site]:
    """A host on a MariaDB that takes no statement longer than 256 kB."""
    if not mariadb_server.is_there():
        missing("MariaDB's own programs")
    with mariadb_server.mariadb_server("--max-allowed-packet=262144") as url:
        site = make_site(SQLALCHEMY_DATABASE_URI=url, MAILTRACK_DRAIN="manual")
        yield site
        site.db.engine.dispose()


def test_what_is_longer_than_a_packet_costs_its_row(narrow: Site) -> None:
    """A batch that is too long for one statement is cut, and a row that is too long alone is put aside."""
    long = [message(details={"text": "x" * 60_000}) for _ in range(8)]
    put(narrow, *long, message(details={"text": "x" * 300_000}), message())
    assert narrow.mailtrack.flush() == 9
    assert len(bad(narrow)) == 1


def test_no_other_row_holds_an_opt_out_up(lite: Site) -> None:
    """While the table of messages is away, and all rows wait, who leaves has left."""
    put(lite, message())
    lite.mailtrack.suppress(ADA, "news")
    execute(lite, "ALTER TABLE mailtrack_message RENAME TO elsewhere")
    with pytest.raises(OperationalError):
        lite.mailtrack.flush()
    assert [row.recipient for row in lite.rows("OptOut")] == [ADA]
    execute(lite, "ALTER TABLE elsewhere RENAME TO mailtrack_message")
    assert lite.mailtrack.flush() == 1


def test_a_record_that_raises_costs_itself(lite: Site) -> None:
    """Metadata deeper than Python can follow, and a suppression without references, are put aside."""
    deep = {"deep": nested(700)}
    put(lite, message(), message(details=deep), message())
    put(lite, Suppression(new_id(), "bob@example.com", now()), stream=1)
    lite.mailtrack.suppress(ADA, "news")
    assert lite.mailtrack.flush() == 3
    assert len(bad(lite)) == 2
    assert len(lite.rows("Message")) == 2
    assert [row.recipient for row in lite.rows("OptOut")] == [ADA]
    assert lite.mailtrack.flush() == 0


def test_a_quarantined_record_is_told_of(lite: Site) -> None:
    """The host hears of each record that is put aside, by the signal that tells of a failing drain, too."""
    told: list[str] = []

    def hear(sender: Any, *, reason: str, error: Exception) -> None:
        told.append(f"{reason}: {type(error).__name__}")

    with tracking_failed.connected_to(hear):
        put(lite, Hit(new_id(), new_id(), EventType.OPENED, now(), link=2**70))
        lite.mailtrack.flush()
    assert told == ["quarantine: OverflowError"]


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_lock_of_somebody_elses_costs_no_row(database_url: str, make_site: MakeSite) -> None:
    """Whatever the driver calls it, rows wait for a lock, and are stored when it is gone."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual")
    sent = site.send()
    site.mailtrack.flush()
    Reader(site.client, sent).open()
    with site.db.engine.connect() as other:
        other.execute(sa.select(site.mailtrack.models.Message.id).with_for_update()).all()
        assert site.mailtrack._state().drain.try_run(patient=False) is None
        other.rollback()
    assert site.mailtrack.health().bad == 0
    site.mailtrack.flush()
    assert len(site.rows("Event")) == 1


class _Answer(Exception):
    """What a driver raises, with the code of its server."""

    def __init__(self, *args: Any, **codes: Any) -> None:
        super().__init__(*args)
        vars(self).update(codes)


@pytest.mark.parametrize(
    ("error", "costs"),
    [
        (OperationalError("", {}, _Answer(4025, "CONSTRAINT `details` failed")), True),
        (OperationalError("", {}, _Answer(1364, "Field 'tenant_id' doesn't have a default value")), True),
        (OperationalError("", {}, _Answer(1644, "no")), True),
        (OperationalError("", {}, _Answer(1153, "Got a packet bigger than 'max_allowed_packet' bytes")), True),
        (OperationalError("", {}, _Answer(1205, "Lock wait timeout exceeded")), False),
        (OperationalError("", {}, _Answer(1290, "read-only")), False),
        # PyMySQL from 1.2 on tells the state, too.
        (OperationalError("", {}, _Answer(1205, "Lock wait timeout exceeded", sqlstate="HY000")), False),
        (OperationalError("", {}, _Answer(1114, "The table is full", sqlstate="HY000")), False),
        (OperationalError("", {}, _Answer(1290, "read-only", sqlstate="HY000")), False),
        (OperationalError("", {}, _Answer(1644, "no", sqlstate="45000")), True),
        (OperationalError("", {}, _Answer(2006, "gone away")), False),
        (OperationalError("", {}, _Answer(1054, "Unknown column")), False),
        (OperationalError("", {}, _Answer(sqlstate="P0001")), True),
        (OperationalError("", {}, _Answer(sqlstate="54000")), True),
        (OperationalError("", {}, _Answer(pgcode="44000")), True),
        (OperationalError("", {}, _Answer(pgcode="25006")), False),
        (OperationalError("", {}, _Answer(sqlstate="57014")), False),
        (OperationalError("", {}, _Answer(sqlstate="42501")), False),
        (OperationalError("", {}, _Answer("new row violates row-level security policy", sqlstate="42501")), True),
        (OperationalError("", {}, _Answer("database is locked", sqlite_errorcode=5)), False),
        (OperationalError("", {}, _Answer("disk I/O error", sqlite_errorcode=10 | 8 << 8)), False),
        (OperationalError("", {}, _Answer("no such table: mailtrack_event", sqlite_errorcode=1)), False),
        (OperationalError("", {}, _Answer("malformed JSON", sqlite_errorcode=1)), True),
        (OperationalError("", {}, _Answer("connection refused")), False),
        (InterfaceError("", {}, _Answer(0, "")), False),
        (OperationalError("", {}, _Answer(1644, ""), connection_invalidated=True), False),
        (PoolTimeout(), False),
        (DatabaseBusy(), False),
        (OSError(), False),
        (RecursionError(), True),
        (IndexError(), True),
    ],
)
def test_whose_fault_an_error_is(error: Exception, costs: bool) -> None:
    """Connections, locks, disks, rights and tables are what all rows wait for; anything else is one row's."""
    assert of_the_record(error) is costs


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("NOT NULL constraint failed: mailtrack_optout.tenant_id", "mailtrack_optout.tenant_id"),
        ('null value in column "tenant_id" of relation "mailtrack_optout" violates', "tenant_id"),
        ("(1364, \"Field 'tenant_id' doesn't have a default value\")", "tenant_id"),
        ("(1048, \"Column 'tenant_id' cannot be null\")", "tenant_id"),
        ("Key (recipient)=(ada@example.com) already exists.", ""),
    ],
)
def test_the_column_is_named_and_the_row_is_not(text: str, column: str) -> None:
    """What goes to the log of a refusal is the name of a column, never what stands in it."""
    assert column_of(DBAPIError("", {}, Exception(text))) == column


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
