"""The register: an undo lifts the refusals that it names and no other, in whatever order the records come."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase
from thorough import some

from flask_mailtrack.events import EventType, Hit, OptOutKind, SentMessage, Suppression, new_id
from flask_mailtrack.models import models_for
from flask_mailtrack.storage.records import Record, decode, encode, from_json, to_json
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.optouts import OptOuts
from flask_mailtrack.storage.tables.refused import Change
from flask_mailtrack.storage.tables.register import MOST
from flask_mailtrack.storage.tables.writer import Writer

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ADA, REF = "ada@example.com", "r" * 16


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class _Host:
    """Stands for the host's ``db``."""

    Model = Base


MODELS = models_for(_Host())
MAIL = SentMessage(new_id(), new_id(), ADA, "", "", "", NOW, list_id="news")


def fresh() -> Database:
    """An empty database with the tables."""
    database = Database(sa.create_engine("sqlite://"), MODELS)
    Base.metadata.create_all(database.engine)
    return database


def leave(clock: int = 0) -> Hit:
    """A refusal by the link of a mail of ``news``, on a machine whose clock is that many seconds ahead."""
    return Hit(new_id(), MAIL.id, EventType.UNSUBSCRIBED, NOW + timedelta(seconds=clock), method="page", ref=REF)


def undo(*refusals: Change, clock: int = 0) -> Hit:
    """An undo of what a page showed."""
    names = tuple(refusal.id.hex for refusal in refusals)
    moment = NOW + timedelta(seconds=clock)
    return Hit(new_id(), MAIL.id, EventType.SUBSCRIBED, moment, method="page", ref=REF, lifts=names)


def host(out: bool, *refusals: Change) -> Suppression:
    """What the host says, about ``news``."""
    names = tuple(refusal.id.hex for refusal in refusals)
    return Suppression(new_id(), ADA, NOW, (REF,), "news", out=out, lifts=names)


SIGNER = SimpleNamespace(recipient_refs=lambda address: [REF] if address == ADA else [])


def store(database: Database, *records: Change | SentMessage) -> list[object]:
    """Write *records*, as they come from a journal, and return what is told of them."""
    refused: list[object] = []
    told = Writer(database).store(
        [decode(encode(to_json(record))) for record in records], lambda *why: refused.append(why)
    )
    assert refused == []
    return list(told)


def off(database: Database, *waiting: Change) -> bool:
    """Say whether Ada gets no mail of ``news``, with what waits in a journal."""
    pending = SimpleNamespace(read=lambda: list(waiting), catch_up=lambda: None)
    question = OptOuts(database, SIGNER, pending)  # type: ignore[arg-type]
    return OptOutKind.UNSUBSCRIBE in question.among([ADA], "news").get(ADA, set())


def test_a_clock_that_is_ahead_lifts_nothing_that_it_has_not_seen() -> None:
    """Unsubscribed, undone where the clock is a minute ahead, unsubscribed elsewhere: no mail."""
    database, first, second = fresh(), leave(), leave(clock=1)
    store(database, MAIL, first)
    store(database, undo(first, clock=60))
    assert not off(database)
    store(database, second)
    assert off(database)
    assert not off(database, undo(second, clock=-60))
    store(database, undo(second, clock=-60))
    assert not off(database)


@settings(max_examples=some(60), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_the_order_of_the_records_decides_nothing(data: st.DataObject) -> None:
    """What stands in the end is what was refused and is named by no undo, however often and late each comes."""
    links = [leave(clock) for clock in data.draw(st.lists(st.integers(-90, 90), min_size=1, max_size=4))]
    hard = [host(True) for _ in range(data.draw(st.integers(0, 2)))]
    undone = data.draw(st.lists(st.lists(st.sampled_from([*links, *hard]), min_size=1), min_size=1, max_size=3))
    lifted = data.draw(st.lists(st.lists(st.sampled_from([*links, *hard])), max_size=2))
    undos = [undo(*each, clock=data.draw(st.integers(-90, 90))) for each in undone]
    lifts = [host(False, *each) for each in lifted]
    by_link, by_host = {c.id for each in undone for c in each}, {c.id for each in lifted for c in each}
    stands = {c.id for c in links} - by_link - by_host or {c.id for c in hard} - by_host
    every = [*links, *hard, *undos, *lifts]
    shuffled = data.draw(st.permutations([*every, *data.draw(st.lists(st.sampled_from(every), max_size=4))]))
    assert off(fresh_with_mail(), *shuffled) == bool(stands)
    database, cut = fresh_with_mail(), data.draw(st.integers(0, len(shuffled)))
    store(database, *shuffled[:cut])
    assert off(database, *shuffled[cut:], *shuffled[:cut]) == bool(stands)
    for change in shuffled[cut:]:
        store(database, change)
    assert off(database) == bool(stands)


def life(number: int, draw: random.Random) -> tuple[list[SentMessage], list[Change], set[str]]:
    """A person's mails, what they and the host say in some order, and the ids of what stands in the end."""
    ref, address = str(number) * 16, f"r{number}@example.com"
    mails = [MAIL._replace(id=new_id(), recipient=address) for _ in range(6)]

    def by(change: Hit) -> Hit:  # any of the mails: what locks one of them does not lock the person
        return change._replace(message_id=draw.choice(mails).id, ref=ref)

    links = [by(leave(draw.randint(-90, 90))) for _ in range(12)]
    hard = [host(True)._replace(recipient=address, refs=(ref,)) for _ in range(draw.choice([0, 6]))]
    every = [*links, *hard]
    undone = [draw.sample(every, len(every) // 3) for _ in range(4)]
    lifted = [draw.sample(every, len(every) // 4) for _ in range(2 if hard else 0)]
    said: list[Change] = [by(undo(*some, clock=draw.randint(-90, 90))) for some in undone]
    said += [host(False, *some)._replace(recipient=address, refs=(ref,)) for some in lifted]
    by_link, by_host = ({each.id for some in several for each in some} for several in (undone, lifted))
    stands = {each.id for each in links} - by_link - by_host | {each.id for each in hard} - by_host
    return mails, [*every, *said], {each.hex for each in stands}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("by_host", [False, True])
@pytest.mark.parametrize("undo_first", [False, True])
def test_an_undo_and_what_it_lifts_are_written_at_the_same_moment(
    database_url: str, by_host: bool, undo_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines are in a transaction each, and neither sees what the other writes: in the end the undo holds."""
    machines = [Database(sa.create_engine(database_url), MODELS) for _ in range(2)]
    Base.metadata.create_all(machines[0].engine)
    other = MAIL._replace(id=new_id())
    store(machines[0], MAIL, other)
    refusal: Change = host(True) if by_host else leave()
    taken_back: Change = host(False, refusal) if by_host else undo(refusal)._replace(message_id=other.id)
    outer, inner = (taken_back, refusal) if undo_first else (refusal, taken_back)
    meanwhile, write = [inner], Batch.write

    def interrupted(self: Batch, records: Sequence[Record]) -> list[Record]:
        written = write(self, records)
        if meanwhile:
            store(machines[1], meanwhile.pop())
        return written

    monkeypatch.setattr(Batch, "write", interrupted)
    store(machines[0], outer)
    assert meanwhile == []
    assert not off(machines[0])
    for machine in machines:
        machine.engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("seed", range(4))
def test_several_drainers_at_once_agree(database_url: str, seed: int) -> None:
    """Four machines write the choices of the same people at once, and twice: just what was not lifted stands."""
    draw, drainers = random.Random(seed), 4
    lives = [life(number, draw) for number in range(3)]
    once = [change for _, said, _ in lives for change in said]
    changes = [*once, *draw.sample(once, len(once) // 2)]
    draw.shuffle(changes)
    machines = [Database(sa.create_engine(database_url), MODELS) for _ in range(drainers)]
    Base.metadata.create_all(machines[0].engine)
    store(machines[0], *(mail for mails, _, _ in lives for mail in mails))
    together = threading.Barrier(drainers)

    def drain(number: int) -> None:
        for start in range(0, len(changes), 3 * drainers):
            together.wait(60)
            store(machines[number], *changes[start + number : start + 3 * drainers : drainers])

    with ThreadPoolExecutor(drainers) as pool:
        list(pool.map(drain, range(drainers)))
    table = machines[0].optout
    stand = {row[0]: set(row[1]) for row in machines[0].rows(sa.select(table.c.recipient, table.c.refusals))}
    assert stand == {mails[0].recipient: stands for mails, _, stands in lives if stands}
    for machine in machines:
        machine.engine.dispose()


def fresh_with_mail() -> Database:
    """A database that knows the mail."""
    database = fresh()
    store(database, MAIL)
    return database


def test_an_undo_leaves_what_it_has_not_seen() -> None:
    """Two refusals stand, one of them is named: the other one stands on."""
    database, first, second = fresh_with_mail(), leave(), leave()
    store(database, first, second)
    store(database, undo(first, clock=60))
    assert off(database)
    assert off(fresh_with_mail(), first, second, undo(first, clock=60))


def test_an_undo_may_come_before_what_it_lifts() -> None:
    """The machine of the undo drains first: nobody who was told "subscribed again" is off for ever."""
    database, refusal, hard = fresh_with_mail(), leave(), host(True)
    store(database, undo(refusal), host(False, hard))
    store(database, refusal, hard)
    assert not off(database)
    store(database, refusal, hard)
    assert not off(database, refusal, hard)


def test_an_undo_of_another_person_lifts_nothing() -> None:
    """Whoever names the id of somebody else's refusal lifts it neither now nor before it arrives."""
    mine = leave()
    other = SentMessage(new_id(), new_id(), "eve@example.com", "", "", "", NOW, list_id="news")
    theirs = undo(mine)._replace(message_id=other.id, ref="e" * 16)
    for order in ([mine, theirs], [theirs, mine]):
        database = fresh()
        store(database, MAIL, other)
        for change in order:
            store(database, change)
        assert off(database)


def test_an_undo_of_before_there_were_ids_lifts_nothing() -> None:
    """A record that names no refusal leaves the person off the list: in doubt the refusal wins."""
    database, refusal = fresh_with_mail(), leave()
    old = {key: value for key, value in to_json(undo(refusal)).items() if key != "lifts"}
    record = from_json(old)
    assert isinstance(record, Hit)
    store(database, refusal, record)
    assert off(database)


def test_a_row_of_before_there_were_ids_can_be_undone() -> None:
    """A page shows an old row under an id that is made of it, and its undo lifts that row."""
    database, refusal = fresh_with_mail(), leave()
    store(database, refusal)
    with database.transaction() as connection:
        connection.execute(sa.update(database.optout).values(refusals=None, list_id="News "))
    pages = OptOuts(database, SIGNER)  # type: ignore[arg-type]
    shown = pages.standing(MAIL.id, REF).shown.split()
    assert off(database)
    told = store(database, undo()._replace(lifts=tuple(shown)))
    assert not off(database)
    assert [record.type for record in told if isinstance(record, Hit)] == [EventType.SUBSCRIBED]


def test_who_goes_on_unsubscribing_fills_no_table() -> None:
    """A row remembers the last refusals only, and the newest of them is always among these."""
    database, presses = fresh_with_mail(), [leave() for _ in range(3 * MOST)]
    store(database, *presses)
    (held,) = database.rows(sa.select(database.optout.c.refusals))
    assert list(held[0]) == [press.id.hex for press in presses[-MOST:]]
    store(database, undo(*presses[:-1]))
    assert off(database)
    store(database, undo(*presses[-MOST:]))
    assert not off(database)


def test_an_undo_that_changes_nothing_is_told_to_nobody() -> None:
    """Whoever never left a list is not subscribed to it again."""
    database = fresh_with_mail()
    assert store(database, undo()) == []
    assert store(database, undo()._replace(lifts=(uuid.uuid4().hex,))) == []
