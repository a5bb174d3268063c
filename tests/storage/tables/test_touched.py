"""The sums are those that the rows give, whatever comes in whatever order."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import sums
from sqlalchemy.orm import DeclarativeBase
from thorough import some

from flask_mailtrack.events import EventType, Hit, SentMessage, Status, Verdict, first_id, new_id
from flask_mailtrack.models import models_for
from flask_mailtrack.modes import Mode
from flask_mailtrack.notified import NOTIFIED
from flask_mailtrack.reporting.reports import Reports
from flask_mailtrack.storage.records import Record, decode, encode, to_json
from flask_mailtrack.storage.tables import census, counts, rebuild
from flask_mailtrack.storage.tables.batch import EVENT_COLUMNS, Batch, event_row
from flask_mailtrack.storage.tables.consequences import SUPPRESSING, Consequences
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.rebuild import Rebuild
from flask_mailtrack.storage.tables.rollup import Rollup
from flask_mailtrack.storage.tables.second_look import Hindsight
from flask_mailtrack.storage.tables.touched import Touched
from flask_mailtrack.storage.tables.writer import Writer
from flask_mailtrack.thresholds import DEFAULTS
from flask_mailtrack.tokens import Signer

NOW = datetime.now(UTC).replace(microsecond=0)
SIGNER = Signer(["a secret that is long enough for anybody"])


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class _Host:
    Model = Base


MODELS = models_for(_Host())


class Store:
    """A database, and what drains into it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engines: list[sa.Engine] = []
        self.database, self.writer = self.another()
        Base.metadata.create_all(self.database.engine)

    def another(self) -> tuple[Database, Writer]:
        """The same database, as another machine has it."""
        # On a busy machine three writers of SQLite wait for each other longer than its five seconds.
        patience = {"timeout": 120} if self.url.startswith("sqlite") else {}
        engine = sa.create_engine(self.url, connect_args=patience)
        self.engines.append(engine)
        database = Database(engine, MODELS)
        return database, Writer(database, hindsight=Hindsight(DEFAULTS), signer=SIGNER)

    def put(self, *records: Record, writer: Writer | None = None) -> None:
        """Store records as one batch."""
        refused: list[Any] = []
        (writer or self.writer).store(
            [decode(encode(to_json(record))) for record in records], lambda body, why: refused.append(why)
        )
        assert refused == []

    def rebuild(self, **options: Any) -> int:
        """Make the sums anew."""
        return Rebuild(self.database, SIGNER, **options).run()

    def check(self) -> None:
        """The sums are those of the rows."""
        expected = sums.Expected(
            self.database,
            lambda url, name, part: SIGNER.link_refs(url, name, part)[0],
            lambda subject: SIGNER.subject_refs(subject)[0],
        )
        assert sums.figures(self.database) == sums.without_zeros(expected.figures)
        assert sums.breakdowns(self.database) == sums.without_zeros(expected.breakdowns)


@pytest.fixture(name="store")
def _store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    for engine in store.engines:
        engine.dispose()


def message(draw: random.Random) -> SentMessage:
    """A mail that is on its way."""
    made = NOW - timedelta(seconds=draw.randrange(200_000))
    key = uuid.UUID(int=first_id(made).int | new_id().int & (1 << 76) - 1)
    about = {
        "tag": draw.choice(["", "welcome", "news"]),
        "list_id": draw.choice(["", "news"]),
        "link_count": draw.choice([None, 3]),
    }
    mode = draw.choice([Mode.INDIVIDUAL] * 5 + [Mode.AGGREGATE])
    if mode == Mode.AGGREGATE and draw.random() < 0.5:
        return SentMessage(key, key, "", "@example.org", "", "", made, Status.COUNTER, mode=mode, shared=True, **about)
    who = draw.choice(["ada@gmail.com", "bob@lovelace.example", "eve@web.de"])
    sender, subject = draw.choice(["a@example.org", "b@Example.net"]), draw.choice(["Hello", "News of May"])
    flags = {"tracks_opens": draw.random() < 0.8, "tracks_clicks": draw.random() < 0.8, "shared": draw.random() < 0.1}
    return SentMessage(key, new_id(), who, sender, subject, "<1@x>", made, mode=mode, **flags, **about)


def hit(draw: random.Random, about: SentMessage) -> Hit:
    """Something that somebody, or a machine, did with a mail."""
    usual = [EventType.OPENED] * 4 + [EventType.CLICKED] * 4
    kind = draw.choice([*usual, EventType.UNSUBSCRIBED, EventType.TRAPPED, EventType.DEFERRED, *NOTIFIED])
    at = about.created_at + timedelta(seconds=draw.choice([1, 2, 3, draw.randrange(200_000)]))
    verdict = draw.choice([*Verdict, Verdict.HUMAN, Verdict.HUMAN])
    values: dict[str, Any] = {"verdict": verdict, "verdict_reasons": (f"{verdict}_reason",)}
    values["provider"] = draw.choice(["", "apple", "google"]) if verdict == Verdict.PROXY else ""
    if kind == EventType.CLICKED:
        at_link = draw.choice([0, 1, 2, None])
        values |= {"link": at_link, "url": f"https://example.org/{at_link}", "part": draw.choice(["html", "text"])}
    if kind == EventType.UNSUBSCRIBED:
        values |= {"method": "page", "reason": draw.choice(["", "too_many"]), "ref": "r" * 16}
    if kind == EventType.BOUNCED:
        values |= {"method": "webhook", "reason": draw.choice(["hard", "soft"])}
    about_client = {"client": draw.choice(["", "Gmail"]), "os": draw.choice(["iOS", "Windows"]), "country": "DE"}
    return Hit(new_id(), about.id, kind, at, ip=f"203.0.113.{draw.randrange(3)}", **values, **about_client)


def history(draw: random.Random, mails: int, hits: int) -> list[Record]:
    """What is written of some mails, each record up to twice, in an order in which nobody would write it."""
    sent = [message(draw) for _ in range(mails)]
    done = [
        each._replace(status=draw.choice([Status.SENT, Status.SENT, Status.FAILED, Status.UNKNOWN]))
        for each in sent
        if each.status == Status.SENDING and draw.random() < 0.8
    ]
    records: list[Record] = [*sent, *done, *(hit(draw, draw.choice(sent)) for _ in range(hits))]
    records += draw.sample(records, len(records) // 3)
    draw.shuffle(records)
    return records


def batches(draw: random.Random, records: list[Record]) -> Iterator[list[Record]]:
    """*records* in batches of all sizes; now and then a batch comes once more, as after a crash."""
    while records:
        size = draw.choice([1, 2, 5, 30])
        batch, records = records[:size], records[size:]
        yield batch
        if draw.random() < 0.3:
            yield batch


@pytest.mark.parametrize("crowded", [200, 2], ids=["few events", "many events"])
@pytest.mark.parametrize("seed", range(some(4)))
def test_the_sums_are_those_of_the_rows(store: Store, seed: int, crowded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records come in any order, twice, before the mail that they are about, and are corrected: the sums are right."""
    monkeypatch.setattr(counts, "CROWDED", crowded)
    draw = random.Random(seed)
    for batch in batches(draw, history(draw, 8, 60)):
        store.put(*batch)
    store.check()


@pytest.mark.parametrize("seed", range(some(3, 3)))
def test_machines_that_drain_at_once_count_everything_once(store: Store, seed: int) -> None:
    """Three machines drain the records of the same mails at the same time: the sums are those of the rows."""
    draw = random.Random(seed)
    records = history(draw, 10, 150)
    shares = [records[number::3] for number in range(3)]
    errors: list[BaseException] = []

    def drain(share: list[Record], seed: int) -> None:
        try:
            _, writer = store.another()
            for batch in batches(random.Random(seed), share):
                store.put(*batch, writer=writer)
        except BaseException as error:  # shown by the test
            errors.append(error)

    threads = [threading.Thread(target=drain, args=(share, number)) for number, share in enumerate(shares)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    store.check()


# MariaDB's second transaction waits for the first one.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("crash", [False, True], ids=["at once", "after a crash"])
def test_an_event_and_its_mail_that_two_machines_drain_at_the_same_moment(
    store: Store, crash: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither machine sees what the other one writes; the event is counted all the same, once."""
    mail = message(random.Random(1))._replace(mode=Mode.INDIVIDUAL, status=Status.SENT)
    opened = Hit(new_id(), mail.id, EventType.OPENED, NOW, verdict=Verdict.HUMAN)
    other = store.another()[1]
    write, catch_up = Touched.write, Batch.catch_up
    waiting = [mail]

    def meanwhile(self: Touched, *about: Any) -> None:
        write(self, *about)
        while waiting:
            store.put(waiting.pop(), writer=other)

    monkeypatch.setattr(Touched, "write", meanwhile)
    if crash:

        def die(*_: Any) -> None:
            raise sa.exc.SQLAlchemyError("the connection is gone")

        monkeypatch.setattr(Batch, "catch_up", die)
        with pytest.raises(sa.exc.SQLAlchemyError):
            store.put(opened)
        monkeypatch.setattr(Batch, "catch_up", catch_up)
    store.put(opened)
    store.check()
    assert sum(row.get("opens_people", 0) for row in sums.figures(store.database).values()) > 0


# MariaDB's second transaction waits for the first one.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_event_that_is_looked_after_before_its_mail_is_committed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine of the event looks for the mail before there is one to see; so that of the mail looks again, too."""
    mail = message(random.Random(1))._replace(mode=Mode.INDIVIDUAL, status=Status.SENT)
    opened = Hit(new_id(), mail.id, EventType.OPENED, NOW, verdict=Verdict.HUMAN)
    other, write, waiting = store.another()[1], Touched.write, [opened]

    def meanwhile(self: Touched, *about: Any) -> None:
        write(self, *about)
        while waiting:
            store.put(waiting.pop(), writer=other)

    monkeypatch.setattr(Touched, "write", meanwhile)
    store.put(mail)
    store.check()
    (state,) = store.database.rows(sa.select(store.database.message.c.open_count))
    assert state == (1,)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_mail_whose_row_comes_while_its_event_is_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row came too late to be locked; its fate waits until the event is counted, or the event for its fate."""
    mail = message(random.Random(1))._replace(mode=Mode.INDIVIDUAL, status=Status.SENDING)
    opened = Hit(new_id(), mail.id, EventType.OPENED, NOW, verdict=Verdict.HUMAN)
    lock, read, done = Database.lock, Touched.read, threading.Event()
    waiting = [mail]

    def just_before(self: Database, *about: Any) -> set[uuid.UUID]:
        found = lock(self, *about)
        while waiting:
            store.put(waiting.pop(), writer=store.another()[1])
        return found

    def settle() -> None:
        store.put(mail._replace(status=Status.SENT), writer=store.another()[1])
        done.set()

    thread = threading.Thread(target=settle)

    def meanwhile(self: Touched, *about: Any) -> None:
        read(self, *about)
        if not (self.new or thread.ident):
            thread.start()
            done.wait(0.5)

    monkeypatch.setattr(Database, "lock", just_before)
    monkeypatch.setattr(Touched, "read", meanwhile)
    store.put(opened)
    thread.join()
    assert done.is_set()
    store.check()


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("with_mail", ["first", "second"])
def test_one_event_that_two_machines_drain_one_of_them_with_its_mail(
    store: Store, with_mail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either the event waits and is found, or its machine sees that the mail has come, and looks again: one open."""
    mail = message(random.Random(1))._replace(mode=Mode.INDIVIDUAL, status=Status.SENT)
    opened = Hit(new_id(), mail.id, EventType.OPENED, NOW, verdict=Verdict.HUMAN)
    both = [[mail, opened], [opened]] if with_mail == "first" else [[opened], [mail, opened]]
    other, write, done = store.another()[1], Touched.write, threading.Event()

    def drain() -> None:
        store.put(*both[1], writer=other)
        done.set()

    thread = threading.Thread(target=drain)

    def meanwhile(self: Touched, *about: Any) -> None:
        if not thread.ident:
            thread.start()
            assert not done.wait(0.5)
        write(self, *about)

    monkeypatch.setattr(Touched, "write", meanwhile)
    store.put(*both[0])
    thread.join()
    assert done.is_set()
    store.check()


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_waiting_event_that_is_corrected_while_its_mail_is_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first, the verdict that stands is the one that is counted."""
    mail = message(random.Random(1))._replace(mode=Mode.INDIVIDUAL, status=Status.SENT, link_count=9)
    click = Hit(
        new_id(), mail.id, EventType.CLICKED, NOW, link=1, url="https://a.example", ip="203.0.113.1", part="html"
    )
    click = click._replace(verdict=Verdict.HUMAN)
    again = click._replace(id=new_id(), link=2, url="https://b.example")
    store.put(click)
    other, write, done = store.another()[1], Touched.write, threading.Event()

    def send() -> None:
        store.put(mail, writer=other)
        done.set()

    thread = threading.Thread(target=send)

    def meanwhile(self: Touched, hits: Any, corrected: Any) -> None:
        write(self, hits, corrected)
        if corrected and not thread.ident:
            thread.start()
            done.wait(0.5)

    monkeypatch.setattr(Touched, "write", meanwhile)
    store.put(again)
    thread.join()
    assert done.is_set()
    store.check()


def test_a_sender_whose_domain_is_too_long_is_in_the_sums_of_every_scope(store: Store) -> None:
    """Such an address is no one's, but it may stand in From: each sum belongs to a cohort that has a row."""
    draw = random.Random(3)
    store.put(message(draw)._replace(sender=f"a@{'x' * 300}", status=Status.SENT))
    figure, cohort = store.database.figure.c, store.database.cohort.c
    assert {row[0] for row in store.database.rows(sa.select(figure.cohort_id))} == {
        row[0] for row in store.database.rows(sa.select(cohort.id))
    }


def test_a_status_that_no_mail_has_any_more_is_in_no_report(store: Store) -> None:
    """Its sums are zero, and the moments beside them are of mail that has gone on to another status."""
    mail = message(random.Random(1))._replace(mode=Mode.INDIVIDUAL, status=Status.SENDING, tag="welcome")
    store.put(mail)
    store.put(mail._replace(status=Status.SENT))
    reports = Reports(store.database, SIGNER.subject_refs, SIGNER.link_refs)
    assert reports.campaigns(status="sending").lines == ()
    (line,) = reports.campaigns().lines
    assert (line.totals.first_at, line.totals.last_at) == (mail.created_at, mail.created_at)


@pytest.mark.parametrize("held", [100_000, 10], ids=["at once", "in pieces"])
@pytest.mark.parametrize("seed", range(2))
def test_a_rebuild_makes_the_same_sums(store: Store, seed: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost sums, and messages from before there were any, come back from the rows; what is drained later is added."""
    monkeypatch.setattr(census, "_HELD", held)
    monkeypatch.setattr(rebuild, "_PAGE", held)
    draw = random.Random(seed)
    records = history(draw, 8, 60)
    store.put(*records[:50])
    with store.database.transaction() as connection:
        connection.execute(sa.delete(store.database.figure))
        connection.execute(sa.delete(store.database.breakdown))
        some = sa.func.length(store.database.message.c.subject) > 5
        connection.execute(sa.update(store.database.message).where(some).values(cohort_id=None, recipient_domain=""))
    store.put(*records[50:60])
    assert store.rebuild() == len(store.database.rows(sa.select(store.database.message.c.id)))
    store.check()
    store.put(*records[60:])
    store.check()


@pytest.mark.parametrize("keep_days", [{}, {"events": 400.0}], ids=repr)
def test_mail_from_before_there_were_sums_is_in_all_of_them_once_it_has_a_cohort(
    store: Store, keep_days: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by what happened when, where rows may be purged; and when the rebuild dies half way."""
    store.put(*history(random.Random(4), 8, 60))
    with store.database.transaction() as connection:
        for table in (store.database.figure, store.database.breakdown, store.database.cohort):
            connection.execute(sa.delete(table))
        connection.execute(sa.update(store.database.message).values(cohort_id=None, recipient_domain=""))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Rebuild, "_clear", die)
        with pytest.raises(KeyboardInterrupt):
            store.rebuild(keep_days=keep_days)
    store.check()
    store.rebuild(keep_days=keep_days)
    store.check()


@pytest.mark.parametrize("keep_days", [{}, {"events": 400.0}], ids=repr)
def test_cohorts_whose_rows_are_gone_are_entered_again(store: Store, keep_days: dict[str, float]) -> None:
    """Messages name them, and their sums are in no report without them."""
    store.put(*history(random.Random(8), 8, 60))
    with store.database.transaction() as connection:
        connection.execute(sa.delete(store.database.cohort))
    store.rebuild(keep_days=keep_days)
    store.check()


@pytest.mark.parametrize("keep_days", [{}, {"events": 400.0}], ids=repr)
def test_a_cohort_whose_subject_is_erased_is_entered_without_it(store: Store, keep_days: dict[str, float]) -> None:
    """Nobody knows the subject any more; the sums of the tag, and all wider ones, are what they were."""
    store.put(*history(random.Random(8), 8, 60))
    before = without_subjects(sums.figures(store.database))
    with store.database.transaction() as connection:
        connection.execute(sa.delete(store.database.cohort))
        connection.execute(sa.update(store.database.message).values(subject=""))
    store.rebuild(keep_days=keep_days)
    assert without_subjects(sums.figures(store.database)) == before


def without_subjects(of: sums.Sums) -> sums.Sums:
    """Sums over all subjects."""
    found: sums.Sums = {}
    for key, values in of.items():
        total = found.setdefault((*key[:4], *key[5:]), {})
        for name, number in values.items():
            total[name] = total.get(name, 0) + number
    return found


@pytest.mark.parametrize(
    "options", [{}, {"keep_days": {"events": 400.0}}, {"since": NOW - timedelta(days=1)}], ids=["all", "kept", "since"]
)
@pytest.mark.parametrize("crowded", [200, 2], ids=["few events", "many events"])
def test_a_rebuild_counts_what_waits_for_a_mail_that_is_there(
    store: Store, options: dict[str, Any], crowded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that died has stored the events and counted them nowhere: a rebuild counts them in all sums."""
    monkeypatch.setattr(counts, "CROWDED", crowded)
    draw = random.Random(9)
    mails = [message(draw) for _ in range(6)]
    early = [hit(draw, draw.choice(mails)) for _ in range(40)]
    store.put(*early[:20])
    waiting = {}
    with store.database.transaction() as connection:
        for table in (store.database.event, store.database.early_event):
            waiting[table] = [dict(row._mapping) for row in connection.execute(sa.select(table))]
            connection.execute(sa.delete(table))
    store.put(*mails)
    store.put(*early[20:])
    with store.database.transaction() as connection:
        for table, rows in waiting.items():
            connection.execute(sa.insert(table), rows)
    store.rebuild(**options)
    store.check()
    assert store.database.rows(sa.select(store.database.early_event)) == []


def test_an_event_that_is_purged_while_it_waits_is_no_matter_for_its_mail(store: Store) -> None:
    """The mail is stored and counted as if there had been no such event."""
    draw = random.Random(10)
    mail = message(draw)._replace(mode=Mode.INDIVIDUAL, status=Status.SENT)
    store.put(hit(draw, mail)._replace(type=EventType.OPENED))
    with store.database.transaction() as connection:
        connection.execute(sa.delete(store.database.event))
    store.put(mail)
    store.check()


def test_a_rebuild_holds_no_list_of_the_events_of_a_counter(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter has the opens and clicks of a campaign of millions, which are added up as they are read."""
    draw = random.Random(6)
    counter = message(draw)._replace(status=Status.COUNTER, mode=Mode.AGGREGATE, recipient="")
    store.put(counter, *(hit(draw, counter) for _ in range(40)))
    whole, held = Rollup.whole, []

    def watched(self: Rollup, sent: Any, events: Any, sign: int = 1) -> None:
        held.append(len(events))
        whole(self, sent, events, sign)

    monkeypatch.setattr(Rollup, "whole", watched)
    with store.database.transaction() as connection:
        connection.execute(sa.update(store.database.message).values(cohort_id=None))
        connection.execute(sa.delete(store.database.figure))
        connection.execute(sa.delete(store.database.breakdown))
    store.rebuild()
    assert held == [0]
    store.check()


def test_a_rebuild_leaves_alone_what_may_be_purged(store: Store) -> None:
    """Sums of days whose rows may be gone stay as they are; later days are made anew, by the time of sending."""
    draw = random.Random(5)
    store.put(*history(draw, 12, 80))
    before = sums.figures(store.database)
    days = 1.0
    oldest = (NOW - timedelta(days=days)).date() + timedelta(days=1)
    first = int(datetime(oldest.year, oldest.month, oldest.day, tzinfo=UTC).timestamp()) // 900
    with store.database.transaction() as connection:
        connection.execute(sa.update(store.database.figure).values(copies=store.database.figure.c.copies + 100))
    store.rebuild(keep_days={"events": days})
    for key, row in sums.figures(store.database).items():
        remade = key[6] == "sent" and key[8] >= first
        assert row.get("copies", 0) == before.get(key, {}).get("copies", 0) + (0 if remade else 100)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_drain_waits_for_a_rebuild(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that drains during a rebuild adds to the new sums: nothing is lost, and nothing counts twice."""
    draw = random.Random(7)
    records = history(draw, 8, 60)
    store.put(*records[:40])
    with store.database.transaction() as connection:  # else the rows themselves are what a drain waits for
        connection.execute(sa.delete(store.database.figure))
        connection.execute(sa.delete(store.database.breakdown))
    other, done = store.another()[1], threading.Event()
    clear = Rebuild._clear

    def drain() -> None:
        store.put(*records[40:], writer=other)
        done.set()

    thread = threading.Thread(target=drain)

    def meanwhile(self: Rebuild, connection: sa.Connection) -> None:
        clear(self, connection)
        thread.start()
        assert not done.wait(0.5)

    monkeypatch.setattr(Rebuild, "_clear", meanwhile)
    store.rebuild()
    thread.join()
    assert done.is_set()
    store.check()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("again", [False, True], ids=["with a hit", "looking again"])
def test_a_complaint_that_is_committed_meanwhile_has_its_consequence(
    store: Store, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its mail while another batch about the mail is written: that batch counts it, and suppresses."""
    database, mail = store.database, message(random.Random(1))._replace(mode=Mode.INDIVIDUAL, status=Status.SENT)
    mail = mail._replace(shared=False)
    opened = Hit(new_id(), mail.id, EventType.OPENED, NOW, verdict=Verdict.HUMAN)
    waiting = [Hit(new_id(), mail.id, EventType.COMPLAINED, NOW)]
    store.put(mail)
    read = Touched.read

    def wait(connection: sa.Connection, event: Hit) -> None:
        database.pour(connection, database.event, EVENT_COLUMNS, [event_row(event)])
        database.add(connection, database.early_event, [{"id": event.id, "message_id": event.message_id}])

    def meanwhile(self: Touched, *about: Any) -> None:
        read(self, *about)
        while waiting:
            wait(self._connection, waiting.pop())

    monkeypatch.setattr(Touched, "read", meanwhile)
    with database.transaction() as connection:
        batch = Batch(database, connection, consequences=Consequences(SIGNER, SUPPRESSING))
        if again:
            wait(connection, opened)
            batch.catch_up({mail.id})
        else:
            batch.write([opened])
    store.check()
    assert database.rows(sa.select(database.optout.c.recipient, database.optout.c.reason)) == [
        (mail.recipient, "complaint")
    ]
