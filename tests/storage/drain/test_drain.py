"""The drain: what is in the spool arrives in the database exactly once in effect, on each kind of database."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from conftest import Told
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase

from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.events import (
    EVERYTHING,
    EventType,
    Hit,
    LinkTarget,
    OptOutKind,
    SentMessage,
    Status,
    Verdict,
    new_id,
)
from flask_mailtrack.models import models_for
from flask_mailtrack.storage.drain.drain import Drain, Tables
from flask_mailtrack.storage.drain.drain_thread import DrainThread
from flask_mailtrack.storage.journal.segment import Segment, election
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import Record, encode, to_json
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.storage.tables.counts import Recount
from flask_mailtrack.storage.tables.database import Database, missing_tables
from flask_mailtrack.storage.tables.optouts import OptOuts
from flask_mailtrack.storage.tables.writer import Writer

START = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
ADA = "ada@example.com"


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class _Host:
    """Stands for the host's ``db``."""

    Model = Base


MODELS = models_for(_Host())


@dataclass
class Store:
    """A spool, a database, and a drain between them."""

    url: str
    directory: Path
    told: Told = field(default_factory=Told)
    engines: list[sa.Engine] = field(default_factory=list)
    clock: int = 0
    made: int = 0
    refusals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spools = [Spool(self.directory, stream, "off") for stream in ("events", "optouts")]
        self.database = self.connect()
        self.drain = self.drainer()

    def connect(self) -> Database:
        """The same database through an engine of its own, as another process has it."""
        engine = sa.create_engine(self.url)
        self.engines.append(engine)
        return Database(engine, MODELS)

    def drainer(self, batch: int = 500, directory: Path | None = None, database: Database | None = None) -> Drain:
        """A drain of *directory*, by default of the spool that :meth:`put` writes to."""
        spools = self.spools
        if directory is not None:
            spools = [Spool(directory, spool.stream, "off") for spool in self.spools]
        return Drain(spools, Tables(Writer(database or self.database), self.told), batch=batch)

    def put(self, *records: Record) -> None:
        """Append *records*, each to the stream it belongs to."""
        for record in records:
            opts = isinstance(record, Hit) and record.type not in (EventType.OPENED, EventType.CLICKED)
            self.spools[opts].append(to_json(record))

    def id(self) -> UUID:
        """A new id, which sorts after the one before even within a millisecond."""
        self.made += 1
        return UUID(int=new_id().int >> 80 << 80 | self.made)

    def message(self, **values: Any) -> SentMessage:
        """A new message to Ada on the list ``news``."""
        given: dict[str, Any] = {
            "recipient": ADA,
            "sender": "",
            "subject": "",
            "header_message_id": "",
            "list_id": "news",
        }
        return SentMessage(self.id(), self.id(), created_at=START, **(given | values))

    def hit(self, message: SentMessage | UUID, kind: EventType = EventType.OPENED, **values: Any) -> Hit:
        """A new hit by a person, a second after the one before."""
        self.clock += 1
        given: dict[str, Any] = {"verdict": Verdict.HUMAN, "occurred_at": START + timedelta(seconds=self.clock)}
        about = message if isinstance(message, UUID) else message.id
        if kind in (EventType.SUBSCRIBED, EventType.ACCEPTED):  # of a page that showed all refusals until now
            given["lifts"] = tuple(self.refusals)
        hit = Hit(self.id(), about, kind, **(given | values))
        if kind in (EventType.UNSUBSCRIBED, EventType.DECLINED):
            self.refusals.append(hit.id.hex)
        return hit

    def rows(self, table: str, *columns: str) -> list[Any]:
        """Some columns of all rows, by key; one column as a plain list."""
        found: sa.Table = getattr(self.database, table)
        asked = [found.c[name] for name in columns] or list(found.c)
        rows = self.database.rows(sa.select(*asked).order_by(*found.primary_key.columns))
        return [row[0] for row in rows] if len(columns) == 1 else rows

    def everything(self) -> dict[str, list[Any]]:
        """All rows of all tables."""
        return {table: self.rows(table) for table in ("message", "event", "optout", "link")}

    def state(self, *columns: str) -> Any:
        """Some columns of the only message."""
        (row,) = self.rows("message", *columns)
        return row

    def bad(self) -> list[dict[str, str]]:
        """What is in quarantine."""
        lines = [line for path in self.directory.glob("bad-*") for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def waiting(self) -> bool:
        """Whether anything is in the spool."""
        return any(spool.pending() for spool in self.spools)

    def refused(self, *addresses: str, list_id: str = "news", refs: dict[str, str] | None = None) -> Any:
        """What :class:`OptOuts` answers before a send."""
        known = refs or {}
        signer = SimpleNamespace(recipient_refs=lambda a: [known[a]] if a in known else [])
        pending = SimpleNamespace(read=list, catch_up=self.drain.run)
        optouts = OptOuts(self.database, signer, pending)  # type: ignore[arg-type]
        return optouts.among(addresses or [ADA], list_id)


@pytest.fixture(name="store")
def _store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """An empty database of each kind with the tables."""
    store = Store(database_url, tmp_path / "spool")
    Base.metadata.create_all(store.database.engine)
    yield store
    for engine in store.engines:
        engine.dispose()


@pytest.fixture(name="lite")
def _lite(tmp_path: Path) -> Iterator[Store]:
    """An SQLite database, for what does not depend on the kind."""
    store = Store(f"sqlite:///{tmp_path / 'lite.sqlite3'}", tmp_path / "spool")
    Base.metadata.create_all(store.database.engine)
    yield store
    for engine in store.engines:
        engine.dispose()


def day(store: Store) -> list[Record]:
    """What a few mails bring: two messages, their fates, links, opens, clicks and an opt-out."""
    first, second = store.message(tag="a"), store.message(recipient="bob@example.com", details={"n": 1, "word": "ö😀"})
    link = LinkTarget("l" * 16, "https://example.com/ö😀", "hero")
    return [
        link,
        first,
        second,
        first._replace(status=Status.SENT, sent_at=START),
        second._replace(status=Status.FAILED, error="550 no 😀"),
        store.hit(first, verdict=Verdict.PREFETCH, verdict_reasons=("instant",)),
        store.hit(first),
        store.hit(first, EventType.CLICKED, ref=link.ref, link=0, url="https://example.com/x"),
        store.hit(first),
        store.hit(second, EventType.CLICKED, ref=link.ref, link=0, verdict=Verdict.SCANNER),
        store.hit(first, EventType.UNSUBSCRIBED, method="one_click", verdict=Verdict.UNKNOWN),
        store.hit(second, EventType.UNSUBSCRIBED, list_id=EVERYTHING, method="page", reason="other", comment="😀"),
        store.hit(second, EventType.DECLINED, method="preferences"),
    ]


def test_all_that_is_spooled_arrives(store: Store) -> None:
    """Messages, links, hits and opt-outs are rows, with all that was known of them."""
    records = day(store)
    store.put(*records)
    assert store.drain.run() == len(records)
    assert not store.waiting()
    assert store.rows("link") == [("l" * 16, "https://example.com/ö😀", "hero", "html")]
    assert store.rows("message", "recipient", "status", "tag", "details", "error") == [
        (ADA, "sent", "a", {}, ""),
        ("bob@example.com", "failed", "", {"n": 1, "word": "ö😀"}, "550 no 😀"),
    ]
    events = store.rows("event", "type", "verdict", "verdict_reasons", "link_name", "part", "url", "list_id")
    assert events[0] == ("opened", "prefetch", ["instant"], "", "", "", "")
    assert events[2] == ("clicked", "human", [], "hero", "html", "https://example.com/x", "")
    assert events[4] == ("clicked", "scanner", [], "hero", "html", "https://example.com/ö😀", "")
    assert [(event[0], event[6]) for event in events[5:]] == [
        ("unsubscribed", "news"),
        ("unsubscribed", ""),
        ("declined", ""),
    ]
    assert sorted(store.rows("optout", "recipient", "list_id", "kind", "method", "reason", "comment")) == [
        (ADA, "news", "unsubscribe", "one_click", "", ""),
        ("bob@example.com", "", "tracking", "preferences", "", ""),
        ("bob@example.com", "", "unsubscribe", "page", "other", "😀"),
    ]


def test_times_keep_their_microseconds(store: Store) -> None:
    """A moment comes back as it was, on MySQL too, whose own default is whole seconds."""
    message = store.message()
    hit = store.hit(message)
    store.put(message, hit)
    store.drain.run()
    assert store.state("created_at") == START
    assert store.state("opened_at") == hit.occurred_at


def test_counts_are_by_people(store: Store) -> None:
    """A machine's hits are counted apart, and the first open is the first person's; Apple's proxy is nobody.

    Who is unknown is in neither number.
    """
    message = store.message()
    hits = [
        store.hit(message, verdict=Verdict.PREFETCH),
        store.hit(message, verdict=Verdict.PROXY, provider="apple"),
        store.hit(message, verdict=Verdict.PROXY, provider="google"),
        store.hit(message, verdict=Verdict.HUMAN),
        store.hit(message, EventType.CLICKED, verdict=Verdict.BOT),
        store.hit(message, EventType.CLICKED, verdict=Verdict.UNKNOWN),
        store.hit(message, EventType.CLICKED, verdict=Verdict.HUMAN),
    ]
    store.put(message, *reversed(hits))
    store.drain.run()
    assert store.state("open_count", "click_count", "machine_count") == (2, 1, 3)
    assert store.state("opened_at") == hits[2].occurred_at
    assert store.state("clicked_at") == hits[6].occurred_at
    assert store.state("unsubscribed_at") is None


def test_a_replay_changes_nothing(store: Store, tmp_path: Path) -> None:
    """The same journal again, in batches of another size, leaves every row as it is."""
    store.put(*day(store))
    shutil.copytree(store.directory, tmp_path / "copy")
    store.drainer(4).run()
    before = store.everything()
    assert len(before["event"]) == 8
    for batch in (1, 2, 3, 500):
        shutil.copytree(tmp_path / "copy", tmp_path / f"copy{batch}")
        assert store.drainer(batch, tmp_path / f"copy{batch}").run() == 13
        assert store.everything() == before
    assert store.bad() == []


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_the_size_of_a_batch_does_not_show(lite: Store, batch: int) -> None:
    """Rows are the same however the journal is cut."""
    records = day(lite)
    message = records[1]
    assert isinstance(message, SentMessage)
    records.append(lite.hit(message, EventType.UNSUBSCRIBED, method="page", reason="other", comment="late"))
    lite.put(*records)
    lite.drainer(batch).run()
    assert lite.rows("event", "list_id") == ["", "", "", "", "", "news", "", ""]
    assert lite.rows("event", "reason") == ["", "", "", "", "", "other", "other", ""]
    assert lite.rows("message", "status", "open_count", "machine_count") == [("sent", 2, 1), ("failed", 0, 1)]


def test_a_crash_after_the_commit_only_replays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drainer that dies between commit and delete is followed by one that finds all of it done."""
    store.put(*day(store))

    def crash(segment: Segment) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "delete", crash)
        with pytest.raises(SystemExit):
            store.drain.run()
    assert store.waiting()
    store.drain.run()
    before = store.everything()
    assert (len(before["message"]), len(before["event"]), len(before["optout"])) == (2, 8, 3)
    assert store.rows("message", "open_count", "click_count", "machine_count") == [(2, 1, 1), (0, 0, 1)]
    assert not store.waiting()


def race(*work: Callable[[], object]) -> list[BaseException]:
    """Run *work* at the same time and return what was raised."""
    barrier = threading.Barrier(len(work))
    errors: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        barrier.wait(10)
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_two_drainers_of_the_same_records_do_no_harm(store: Store, tmp_path: Path) -> None:
    """Two machines with copies of one journal, at once and in different batches: each row once, counts right."""
    messages = [store.message(recipient=f"r{n}@example.com") for n in range(60)]
    store.put(*messages, *(m._replace(status=Status.SENT, sent_at=START) for m in messages))
    store.put(*(store.hit(message) for message in messages for _ in range(3)))
    store.put(*(store.hit(message, EventType.UNSUBSCRIBED) for message in messages[:20]))
    copies = [tmp_path / "one", tmp_path / "two"]
    for copy in copies:
        shutil.copytree(store.directory, copy)
    drainers = [store.drainer(size, copy, store.connect()) for size, copy in zip((7, 50), copies, strict=True)]
    assert race(*(drainer.run for drainer in drainers)) == []
    assert store.rows("message", "status", "open_count") == [("sent", 3)] * 60
    assert len(store.rows("event", "id")) == 200
    assert len(store.rows("optout", "recipient")) == 20


def test_two_drainers_of_the_same_messages_count_all(store: Store, tmp_path: Path) -> None:
    """Two machines whose journals hold different hits of the same messages, in opposite order, count every one."""
    messages = [store.message(recipient=f"r{n}@example.com") for n in range(40)]
    store.put(*messages)
    store.drain.run()
    drainers = []
    for number, order in enumerate((messages, list(reversed(messages)))):
        spool = Spool(tmp_path / str(number), "events", "off")
        for _ in range(4):
            spool.append(*(to_json(store.hit(message)) for message in order))
        drainers.append(store.drainer(11, spool.directory, store.connect()))
    assert race(*(drainer.run for drainer in drainers)) == []
    assert store.rows("message", "open_count") == [8] * 40


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)  # SQLite has one writer
def test_a_count_sees_what_another_drainer_commits_meanwhile(store: Store) -> None:
    """A drainer that began earlier and counts later does not overwrite the other's count with a lower one."""
    message = store.message()
    store.put(message)
    store.drain.run()
    other = store.connect()
    first, second = store.hit(message), store.hit(message)
    began, counted = threading.Event(), threading.Event()
    recount = Database.recount

    def slow(database: Database, connection: sa.Connection, ids: Any) -> None:
        recount(database, connection, ids)
        if database is store.database:
            began.set()
            counted.wait(0.3)  # the other one has to wait for us, so this runs out

    def write(database: Database, hit: Hit) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "recount", lambda *a: slow(database, *a))
            with database.transaction() as connection:
                connection.execute(sa.select(database.message)).all()  # a snapshot, where there is one
                if database is other:
                    began.wait(10)
                Batch(database, connection).write([hit])
        counted.set()

    assert race(lambda: write(store.database, first), lambda: write(other, second)) == []
    assert store.state("open_count") == 2


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)  # SQLite has one writer
def test_a_fate_is_not_lost_between_two_drainers(store: Store) -> None:
    """One inserts the row as sending while the other brings its fate: the row ends as sent."""
    other = store.connect()
    message = store.message()
    inserted = threading.Event()

    def sending() -> None:
        with store.database.transaction() as connection:
            Batch(store.database, connection).write([message])
            inserted.set()
            threading.Event().wait(0.3)  # the other one waits for this row

    def sent() -> None:
        inserted.wait(10)
        with other.transaction() as connection:
            Batch(other, connection).write([message._replace(status=Status.SENT, sent_at=START)])

    assert race(sending, sent) == []
    assert store.state("status") == "sent"
    assert store.state("sent_at") == START


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)  # SQLite has one writer
def test_a_deadlock_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that the server gives up for another's sake is repeated, and nobody hears of it."""
    one, two = store.message(), store.message()
    store.put(one, two)
    store.drain.run()
    table = store.database.message
    met = threading.Barrier(2)
    write = Batch.write
    tries: list[int] = []

    def crossing(first: UUID, second: UUID) -> Callable[[Batch, Any], list[Record]]:
        def locked(batch: Batch, records: Any) -> list[Record]:
            tries.append(1)
            for message_id in (first, second):
                batch._connection.execute(sa.update(table).where(table.c.id == message_id).values(subject="x"))
                if len(tries) <= 2 and message_id == first:
                    met.wait(10)
            return write(batch, records)

        return locked

    ways = {store.database: crossing(one.id, two.id)}
    other = store.connect()
    ways[other] = crossing(two.id, one.id)
    monkeypatch.setattr(Batch, "write", lambda batch, records: ways[batch._database](batch, records))
    drainers = [store.drain, store.drainer(500, store.directory / "other", other)]
    store.put(store.hit(one))
    drainers[1]._spools[0].append(to_json(store.hit(one)))
    assert race(*(drainer.run for drainer in drainers)) == []
    assert len(tries) == 3
    assert store.rows("message", "open_count") == [2, 0]


@pytest.mark.parametrize("batch", [1, 500])
def test_a_fate_is_final(store: Store, batch: int) -> None:
    """Sending becomes a fate within a batch, across batches and segments; nothing brings it back or changes it."""
    for fate in (Status.SENT, Status.FAILED, Status.UNKNOWN):
        message = store.message(tag=fate)
        settled = message._replace(status=fate, error="why", sent_at=START)
        orders: list[list[Record]] = [
            [message, settled],
            [message],
            [settled, message],
            [message._replace(status=Status.SENT if fate == Status.FAILED else Status.FAILED, error="other")],
            [message],
        ]
        for order in orders:
            store.put(*order)
            store.drainer(batch).run()
            status, error, sent_at = store.rows("message", "status", "error", "sent_at")[-1]
            assert (status, error, sent_at) == (fate, "why", START)


def test_a_fate_comes_in_a_later_segment(store: Store) -> None:
    """A row that is in the database as sending takes its fate when that is drained."""
    message = store.message()
    store.put(message)
    store.drain.run()
    assert store.state("status") == "sending"
    store.put(message._replace(status=Status.FAILED, error="550"))
    store.drain.run()
    assert store.state("status", "error") == ("failed", "550")


def test_a_fate_that_comes_before_its_row_stays(lite: Store) -> None:
    """After a clock was set back, the fate may be drained first: the row is not back to sending."""
    message = lite.message()
    lite.put(message._replace(status=Status.SENT, sent_at=START), message)
    lite.drain.run()
    assert lite.state("status") == "sent"


def test_an_event_may_come_before_its_message(store: Store) -> None:
    """A hit drained on one machine before the message row of another is counted as soon as the row is there."""
    message = store.message()
    store.put(store.hit(message), store.hit(message, verdict=Verdict.BOT), store.hit(message, EventType.CLICKED))
    store.drain.run()
    assert store.rows("message") == []
    store.put(message)
    store.drain.run()
    assert store.state("open_count", "click_count", "machine_count") == (1, 1, 1)
    assert store.state("opened_at") is not None


def test_rows_that_the_database_refuses_are_put_aside(store: Store) -> None:
    """Poisoned rows are found and quarantined with the reason, whatever is wrong with them; all others arrive."""
    message = store.message()
    hits = [store.hit(message, user_agent="😀") for _ in range(25)]
    too_large, surrogate = hits[3]._replace(link=2**70), hits[13]._replace(url="a\ud800b")
    not_for_all = [
        hits[8]._replace(link=2**31),
        hits[9]._replace(link_name="x" * 300),
        hits[24]._replace(url="a\0b"),
    ]
    refused = {
        "sqlite": [too_large, surrogate],
        "postgresql": [too_large, surrogate, *not_for_all],
        "mysql": [too_large, surrogate, *not_for_all[:2]],
    }[store.database.engine.dialect.name]
    poison = {hit.id: hit for hit in (too_large, surrogate, *not_for_all)}
    store.put(message, *(poison.get(hit.id, hit) for hit in hits))
    moved = store.drain.run()
    stored = {hit.id for hit in hits} - {hit.id for hit in refused}
    assert set(store.rows("event", "id")) == stored
    assert moved == 1 + len(stored)
    assert store.state("open_count") == len(stored)
    assert len(store.bad()) == len(refused)
    for hit in refused:
        (found,) = (bad for bad in store.bad() if str(hit.id) in bad["line"])
        assert found["reason"]
    assert {hit.id for hit in store.told.records if isinstance(hit, Hit)} == stored


def test_a_tag_that_is_too_long_costs_one_message(store: Store) -> None:
    """PostgreSQL and MariaDB refuse the row, SQLite takes it; the others arrive in any case."""
    messages = [store.message() for _ in range(30)]
    messages[7] = messages[7]._replace(tag="x" * 300)
    store.put(*messages)
    store.drain.run()
    lite = store.database.engine.dialect.name == "sqlite"
    assert len(store.rows("message", "id")) == (30 if lite else 29)
    assert len(store.bad()) == (0 if lite else 1)


def test_a_foreign_object_in_the_spool_is_put_aside(lite: Store) -> None:
    """A line with a good checksum that is no record of ours costs only itself."""
    message = lite.message()
    lite.put(message)
    lite.spools[0].append({"k": "weather"}, {"k": "hit", "id": 5}, to_json(lite.hit(message)))
    assert lite.drain.run() == 2
    assert [bad["reason"].partition(":")[0] for bad in lite.bad()] == ["not a record"] * 2


def test_a_poisoned_row_is_put_aside_once(lite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a segment is tried while the database fails later on, the quarantine holds one copy."""
    lite.put(lite.hit(new_id(), link=2**70), lite.hit(new_id()))
    failing = True
    pour = Database.pour

    def unwilling(database: Database, connection: Any, table: Any, names: Any, rows: Any) -> None:
        if failing and rows and "link" in names and rows[0][names.index("link")] is None:
            raise OperationalError("", {}, Exception("gone"))
        pour(database, connection, table, names, rows)

    monkeypatch.setattr(Database, "pour", unwilling)
    for _ in range(3):
        with pytest.raises(OperationalError):
            lite.drainer(1).run()
    failing = False
    lite.drainer(1).run()
    assert len(lite.bad()) == 1
    assert len(lite.rows("event", "id")) == 1


def test_without_tables_everything_waits(database_url: str, tmp_path: Path) -> None:
    """Before the migration has run nothing is lost or put aside; afterwards all of it arrives."""
    store = Store(database_url, tmp_path / "spool")
    try:
        records = day(store)
        store.put(*records)
        for _ in range(2):
            with pytest.raises(SQLAlchemyError):
                store.drain.run()
        store.drain.try_run()
        assert sorted(missing_tables(store.database)) == sorted(table.name for table in Base.metadata.sorted_tables)
        Base.metadata.create_all(store.database.engine)
        assert missing_tables(store.database) == []
        assert store.drain.run() == len(records)
        assert store.bad() == []
    finally:
        for engine in store.engines:
            engine.dispose()


def test_while_the_database_fails_everything_waits(lite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operational error is the server's trouble: no record is put aside for it, and none is announced."""
    lite.put(*day(lite))

    def fail(batch: Batch, records: Any) -> list[Record]:
        raise OperationalError("INSERT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "write", fail)
        with pytest.raises(OperationalError):
            lite.drain.run()
        lite.drain.try_run()
    assert (lite.bad(), lite.told.records) == ([], [])
    assert lite.drain.run() == 13


def test_a_mistake_of_ours_does_not_reach_a_reader(lite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in the drain that a hit sets off, the hit is answered, and the row is put aside."""
    lite.put(lite.message())

    def fail(batch: Batch, records: Any) -> list[Record]:
        raise AttributeError("a mistake")

    monkeypatch.setattr(Batch, "write", fail)
    assert lite.drain.try_run() == 0
    assert [bad["reason"] for bad in lite.bad()] == ["a mistake"]


def test_signals_come_after_the_commit(store: Store) -> None:
    """Whoever is told of a record finds its row, on another connection."""
    seen: list[bool] = []
    other = store.connect()

    def announce(record: Record) -> None:
        if isinstance(record, Hit):
            seen.append(bool(other.rows(sa.select(other.event.c.id).where(other.event.c.id == record.id))))

    store.put(*day(store))
    Drain(store.spools, Tables(Writer(store.database), Told(announce))).run()
    assert seen == [True] * 8


def test_signals_come_again_rather_than_never(lite: Store) -> None:
    """A process that dies while it announces leaves the rest to the next one."""
    lite.put(*day(lite))

    def announce(record: Record) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        Drain(lite.spools, Tables(Writer(lite.database), Told(announce)), batch=500).run()
    lite.drain.run()
    assert len(lite.told.records) == 13


def test_a_signal_tells_what_the_row_says(lite: Store) -> None:
    """The list of a one-click unsubscribe and the name of a link, which only the tables know, are in the record."""
    records = day(lite)
    lite.put(*records)
    lite.drain.run()
    hits = [record for record in lite.told.records if isinstance(record, Hit)]
    assert [hit.list_id for hit in hits if hit.type == EventType.UNSUBSCRIBED] == ["news", ""]
    assert [hit.link_name for hit in hits if hit.type == EventType.CLICKED] == ["hero", "hero"]
    assert [hit.id for hit in hits] == lite.rows("event", "id")


def test_opting_out_and_in_again(store: Store) -> None:
    """Out, in, out: each is an event, and what stands is the last."""
    message = store.message()
    store.put(message)
    for kind, standing in [
        (EventType.UNSUBSCRIBED, {ADA: {OptOutKind.UNSUBSCRIBE}}),
        (EventType.SUBSCRIBED, {}),
        (EventType.UNSUBSCRIBED, {ADA: {OptOutKind.UNSUBSCRIBE}}),
        (EventType.DECLINED, {ADA: {OptOutKind.UNSUBSCRIBE, OptOutKind.TRACKING}}),
        (EventType.SUBSCRIBED, {ADA: {OptOutKind.TRACKING}}),
        (EventType.ACCEPTED, {}),
    ]:
        store.put(store.hit(message, kind))
        assert store.refused() == standing
    assert len(store.rows("event", "id")) == 6
    assert store.state("unsubscribed_at") is not None


@pytest.mark.parametrize("batch", [1, 500])
def test_a_second_press_is_no_second_event(lite: Store, batch: int) -> None:
    """A mail provider that posts twice, or a person who undoes twice, is counted once."""
    message = lite.message()
    lite.put(message)
    out, back = EventType.UNSUBSCRIBED, EventType.SUBSCRIBED
    lite.put(*(lite.hit(message, kind) for kind in (out, out, out, back, back)))
    lite.drainer(batch).run()
    assert lite.rows("event", "type") == ["unsubscribed", "subscribed"]
    assert lite.rows("optout") == []


@pytest.mark.parametrize("batch", [2, 500])
def test_a_reason_given_afterwards_is_kept(store: Store, batch: int) -> None:
    """The reason from the page lands in the event and the opt-out that stand, and in no older one."""
    message = store.message()
    out = EventType.UNSUBSCRIBED
    store.put(message, store.hit(message, out), store.hit(message, EventType.SUBSCRIBED), store.hit(message, out))
    store.put(store.hit(message, out, reason="too_often", comment="daily!"))
    store.drainer(batch).run()
    assert store.rows("event", "type", "reason", "comment") == [
        ("unsubscribed", "", ""),
        ("subscribed", "", ""),
        ("unsubscribed", "too_often", "daily!"),
    ]
    assert store.rows("optout", "reason", "comment") == [("too_often", "daily!")]


def test_an_opt_out_without_its_message_is_honoured(lite: Store) -> None:
    """When the message row is gone, the reference in the token stands for the address, for every list."""
    lite.put(lite.hit(new_id(), EventType.UNSUBSCRIBED, ref="r" * 16))
    assert lite.refused(refs={ADA: "r" * 16}) == {ADA: {OptOutKind.UNSUBSCRIBE}}
    assert lite.refused(refs={ADA: "s" * 16}) == {}
    assert lite.rows("optout", "recipient", "list_id") == [("ref:" + "r" * 16, "")]


def test_an_opt_out_that_came_before_its_message_can_be_undone(store: Store) -> None:
    """The undo on the page works although the row is known by now, and the opt-out is under another name."""
    message = store.message()
    store.put(store.hit(message, EventType.UNSUBSCRIBED, ref="r" * 16))
    store.drain.run()
    store.put(message, store.hit(message, EventType.SUBSCRIBED, ref="r" * 16))
    assert store.refused(refs={ADA: "r" * 16}) == {}


def test_an_opt_out_finds_the_message_that_was_sent_before_it(lite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail sent and unsubscribed while a drain is under way is still about its list, not about everything."""
    lite.put(lite.message())
    late = lite.message(recipient="late@example.com")
    empty = Drain._empty

    def meanwhile(drain: Drain, segments: Any, patient: bool) -> int:
        moved = empty(drain, segments, patient)
        if not late_is_out:
            late_is_out.append(True)
            lite.put(late, lite.hit(late, EventType.UNSUBSCRIBED, ref="r" * 16))
        return moved

    late_is_out: list[bool] = []
    monkeypatch.setattr(Drain, "_empty", meanwhile)
    lite.drain.run()
    lite.drain.run()
    assert lite.rows("optout", "recipient", "list_id") == [("late@example.com", "news")]


@pytest.mark.parametrize("batch", [1, 500])
def test_a_late_journal_does_not_undo_a_later_choice(lite: Store, tmp_path: Path, batch: int) -> None:
    """What another machine wrote earlier but drains later changes nothing that it does not name."""
    out = lite.message()
    back = lite.message(recipient="bob@example.com")
    early = [lite.hit(out, EventType.SUBSCRIBED), lite.hit(back, EventType.UNSUBSCRIBED)]
    late = [lite.hit(out, EventType.UNSUBSCRIBED), lite.hit(back, EventType.SUBSCRIBED)]
    lite.put(out, back, *late)
    lite.drainer(batch).run()
    lite.put(*early)
    lite.drainer(batch).run()
    assert lite.refused(ADA, "bob@example.com") == {ADA: {OptOutKind.UNSUBSCRIBE}}
    assert lite.rows("event", "type") == ["unsubscribed", "unsubscribed"]


def test_many_rows_of_one_batch_are_counted(store: Store) -> None:
    """More messages than one query takes are locked and counted in pieces."""
    messages = [store.message(recipient=f"r{n}@example.com") for n in range(620)]
    store.put(*messages, *(store.hit(message) for message in messages), *(store.hit(m) for m in messages[:610]))
    store.drainer(5_000).run()
    assert store.rows("message", "open_count") == [2] * 610 + [1] * 10


def test_the_same_key_twice_in_one_batch(store: Store) -> None:
    """A record that is in a batch twice is one row, also on MySQL with a key of several columns."""
    message = store.message()
    hit = store.hit(message)
    link = LinkTarget("l" * 16, "https://example.com/")
    store.put(message, link, hit, message, link, hit)
    store.drain.run()
    assert [len(store.rows(table)) for table in ("message", "link", "event")] == [1, 1, 1]
    row = {
        "recipient": ADA,
        "list_id": "",
        "kind": "unsubscribe",
        "created_at": START,
        "comment": "",
        "message_id": None,
    }
    rows = [row | {"method": method, "reason": ""} for method in ("first", "second")]
    for _ in range(2):
        with store.database.transaction() as connection:
            store.database.add(connection, store.database.optout, rows)
    assert store.rows("optout", "recipient", "method") == [(ADA, "first")]


def test_counting_again_changes_nothing(store: Store) -> None:
    """The state of a message can be rebuilt from its events at any time."""
    store.put(*day(store))
    store.drain.run()
    before = store.rows("message")
    table = store.database.message
    with store.database.transaction() as connection:
        store.database.recount(connection, store.rows("message", "id"))
    assert store.rows("message") == before
    with store.database.transaction() as connection:
        connection.execute(sa.update(table).values(open_count=99, opened_at=None, machine_count=99))
        store.database.recount(connection, store.rows("message", "id"))
    assert store.rows("message") == before


def test_a_message_with_many_events_is_added_to(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits on a link that was followed hundreds of times are counted once each, as a rebuild counts them."""
    message = store.message(tracks_clicks=True, link_count=3)
    store.put(message)
    first = [store.hit(message, EventType.CLICKED, link=0) for _ in range(300)]
    store.put(*first)
    store.drain.run()
    columns = ("opened_at", "clicked_at", "unsubscribed_at", "open_count", "click_count", "machine_count")
    monkeypatch.setattr(Database, "recount", lambda *_: None)
    more = [
        store.hit(message, EventType.CLICKED, link=1, occurred_at=START),
        store.hit(message, verdict=Verdict.PROXY, provider="apple"),
        store.hit(message, verdict=Verdict.UNKNOWN),
        store.hit(message, occurred_at=START + timedelta(days=1)),
        store.hit(message, EventType.UNSUBSCRIBED),
    ]
    for _ in range(2):
        store.put(*first, *more)
        store.drain.run()
    found = store.rows("message", *columns)
    monkeypatch.undo()
    Recount(store.database).run()
    assert found == store.rows("message", *columns)
    assert found[0][3:] == (1, 301, 1)


def test_a_receiver_that_asks_for_a_drain_is_not_in_its_way(lite: Store) -> None:
    """A signal receiver that flushes, or sends a mail, neither waits for itself nor drains twice."""
    moved: list[int] = []
    lite.put(*day(lite))
    drain = Drain(lite.spools, Tables(Writer(lite.database), Told(lambda record: moved.append(drain.run()))), batch=2)
    assert drain.run() == 13
    assert moved == [0] * 13


def test_a_receiver_that_sends_a_mail_sees_the_last_opt_outs(lite: Store) -> None:
    """A follow-up sent from a signal honours the unsubscribe that this very run has not come to yet."""
    message = lite.message()
    seen: list[Any] = []
    lite.put(message, lite.hit(message, EventType.CLICKED), lite.hit(message, EventType.UNSUBSCRIBED))

    def follow_up(record: Record) -> None:
        lite.drain = drain
        seen.append(lite.refused())

    drain = Drain(lite.spools, Tables(Writer(lite.database), Told(follow_up)), batch=1)
    drain.run()
    assert seen == [{ADA: {OptOutKind.UNSUBSCRIBE}}] * 3
    assert lite.rows("event", "type") == ["clicked", "unsubscribed"]


def test_one_drain_at_a_time(lite: Store) -> None:
    """A drainer that is not wanted to wait leaves the work to the one that has it."""
    lite.put(lite.message())
    with election(lite.directory, wait=True):
        assert lite.drain.run(wait=False) == 0
    assert lite.drain.run(wait=False) == 1


def test_the_thread_drains_and_ends_with_the_drain(lite: Store) -> None:
    """Rows arrive without anybody asking, and a dropped app takes its thread with it."""
    arrived = threading.Event()
    drain: Drain | None = Drain(
        lite.spools, Tables(Writer(lite.database), Told(lambda record: arrived.set())), batch=500
    )
    lite.put(lite.message())
    assert drain is not None
    thread: DrainThread | None = DrainThread(drain, 0.01)
    assert thread is not None
    known = set(threading.enumerate())
    thread.wake()
    thread.wake()
    (started,) = [t for t in set(threading.enumerate()) - known if t.name == "mailtrack-drain"]
    assert arrived.wait(10)
    with election(lite.directory, wait=True):  # so it is not in the middle of a run
        del drain, thread
    started.join(10)
    assert not started.is_alive()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_has_a_thread_of_its_own(lite: Store) -> None:
    """A worker that is forked off a process with a drain thread does not rely on the thread that it left behind."""
    thread = DrainThread(lite.drain, 3600)
    thread.wake()
    child = os.fork()
    if child == 0:
        thread.wake()
        os._exit([each.name for each in threading.enumerate()].count("mailtrack-drain"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def places(lite: Store, tmp_path: Path) -> tuple[list[Spool], Drain]:
    """Spools of two more directories beside the first, and a drain over all of them."""
    more = [Spool(tmp_path / name, stream, "off") for stream in ("events", "optouts") for name in ("second", "older")]
    return more, Drain(
        [*lite.spools[:1], *more[:2], lite.spools[1], *more[2:]], Tables(Writer(lite.database)), batch=500
    )


def test_every_directory_is_emptied(lite: Store, tmp_path: Path) -> None:
    """What the first directory could not take, and what an earlier version left, arrives in one order with the rest."""
    more, drain = places(lite, tmp_path)
    message = lite.message()
    lite.put(lite.hit(message, EventType.UNSUBSCRIBED, ref="r" * 16))
    more[0].append(to_json(message))
    more[1].append(to_json(lite.hit(message)))
    more[3].append(to_json(lite.hit(message, EventType.DECLINED)))
    assert drain.run() == 4
    assert lite.rows("optout", "recipient", "list_id", "kind") == [(ADA, "", "tracking"), (ADA, "news", "unsubscribe")]
    assert lite.state("open_count") == 1
    assert not any(spool.pending() for spool in (*lite.spools, *more))


def test_a_directory_that_fails_does_not_stop_the_others(lite: Store, tmp_path: Path) -> None:
    """A read-only directory keeps its rows, and the rows of the other arrive; the failure is not hidden."""
    more, drain = places(lite, tmp_path)
    message = lite.message()
    lite.put(message)
    more[0].append(to_json(lite.hit(message)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lite.spools[0], "take", lambda: _raise(OSError(30, "Read-only file system")))
        with pytest.raises(OSError, match="Read-only"):
            drain.run()
        assert drain.try_run() is None
    assert (lite.rows("event", "type"), lite.rows("message")) == (["opened"], [])
    assert drain.progress.read().error == "OSError"
    assert drain.try_run() == 1
    assert lite.state("open_count") == 1


def _raise(error: Exception) -> Any:
    raise error


def test_a_drainer_that_never_ends_is_not_waited_for_for_ever(lite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A send that wants the last opt-outs gives up, rather than hang, while another process hangs in its drain."""
    monkeypatch.setattr("flask_mailtrack.storage.journal.segment.PATIENCE_SECONDS", 0.05)
    lite.put(lite.hit(lite.message(), EventType.UNSUBSCRIBED))
    with election(lite.directory, wait=True), pytest.raises(OptOutsUnavailable):
        lite.refused()
    assert lite.refused(refs={ADA: ""}) is not None


def test_how_the_last_run_went_is_known_to_every_process(lite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor in one process learns of what a drain in another has met, by type, and of its success."""
    lite.put(lite.message())
    other = lite.drainer()
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "write", lambda *_: _raise(OperationalError("INSERT", {"a": ADA}, Exception(ADA))))
        assert other.try_run() is None
    runs = lite.drain.progress.read()
    assert (runs.error, runs.succeeded_at) == ("OperationalError", 0)
    assert ADA not in "".join(path.read_text() for path in lite.directory.glob("drain.*"))
    assert other.try_run() == 1
    runs = lite.drain.progress.read()
    assert (runs.error, runs.succeeded_at > 0, 0 <= runs.lag_seconds < 60) == ("", True, True)
    (lite.directory / "drain.json").write_text('{"at": [1]}')
    assert lite.drain.progress.read().at == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_table_without_statistics_is_not_read_whole(store: Store) -> None:
    """PostgreSQL counts the events of a batch by its index also right after a table was filled."""
    messages = [store.message() for _ in range(200)]
    store.put(*messages, *(store.hit(message) for message in messages for _ in range(10)))
    store.drain.run()
    with store.database.transaction() as connection:
        query = store.database._state().params(store.database._asked([message.id for message in messages[:100]]))
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = connection.exec_driver_sql(f"EXPLAIN {text}".replace("%", "%%")).scalars().all()
    assert not [line for line in plan if "Seq Scan on mailtrack_event" in line], plan


def test_records_are_written_in_one_line_each(lite: Store) -> None:
    """What the ledger and the recorder hand over is what the drain reads: the format has one owner."""
    message = lite.message()
    lite.put(message)
    (path,) = lite.directory.glob("events-*")
    assert path.read_bytes() == encode(to_json(message))
