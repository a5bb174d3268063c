"""Opt-outs: who may not be mailed is known before each send, or the send does not happen."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import PREFERENCES, MakeSite
from sqlalchemy.orm import DeclarativeBase

from flask_mailtrack.errors import OptOutsUnavailable, SpoolError
from flask_mailtrack.events import OptOutKind, Standing, Suppression
from flask_mailtrack.models import models_for
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.optouts import Change, OptOuts
from flask_mailtrack.storage.tables.refused import REF
from flask_mailtrack.tokens import Signer

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ADA, BOB = "ada@example.com", "bob@example.com"
GONE, QUIET = OptOutKind.UNSUBSCRIBE, OptOutKind.TRACKING
NEW, OLD = "a new secret that is long enough", "an old secret that is long enough"


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class _Host:
    """Stands for the host's ``db``."""

    Model = Base


MODELS = models_for(_Host())


@pytest.fixture(name="database")
def _database(database_url: str) -> Iterator[Database]:
    """Each kind of database with the tables."""
    database = Database(sa.create_engine(database_url), MODELS)
    Base.metadata.create_all(database.engine)
    yield database
    database.engine.dispose()


@pytest.fixture(name="lite")
def _lite() -> Iterator[Database]:
    """An SQLite database with the tables."""
    database = Database(sa.create_engine("sqlite://"), MODELS)
    Base.metadata.create_all(database.engine)
    yield database
    database.engine.dispose()


def pending(*changes: Change, catch_up: Callable[[], object] = list) -> Any:
    """What waits in a journal."""
    return SimpleNamespace(read=lambda: list(changes), catch_up=catch_up)


def optouts(database: Database, *secrets: str) -> OptOuts:
    """The question, with nothing pending."""
    return OptOuts(database, Signer(secrets or [NEW]))


def refuse(database: Database, *rows: tuple[str, str, OptOutKind]) -> None:
    """Store refusals by recipient, list and kind."""
    rest = {"method": "", "reason": "", "comment": "", "message_id": None, "created_at": NOW, "ref": None}
    with database.transaction() as connection:
        keys = [dict(zip(("recipient", "list_id", "kind"), row, strict=True)) for row in rows]
        database.add(connection, database.optout, [rest | key for key in keys])


def sent(database: Database, recipient: str, list_id: str) -> uuid.UUID:
    """Store a message and return its id."""
    message_id = uuid.uuid4()
    row: dict[str, Any] = {"id": message_id, "batch_id": uuid.uuid4(), "recipient": recipient, "list_id": list_id}
    with database.transaction() as connection:
        connection.execute(sa.insert(database.message).values(row | {"created_at": NOW, "status": "sent"}))
    return message_id


def test_a_refusal_is_of_one_list_or_of_everything(database: Database) -> None:
    """Who has left one list gets the others; who has left everything gets none; who has not, gets all."""
    refuse(database, (ADA, "news", GONE), (BOB, "", GONE), ("c@example.com", "News", GONE))
    people = [ADA, BOB, "c@example.com", "dora@example.com"]
    assert optouts(database).among(people, "news") == {ADA: {GONE}, BOB: {GONE}, "c@example.com": {GONE}}
    assert optouts(database).among(people, "offers") == {BOB: {GONE}}
    assert optouts(database).among([], "news") == {}


def test_kinds_are_apart(database: Database) -> None:
    """Not to be measured and not to be mailed are two refusals, and one person may have both."""
    refuse(database, (ADA, "", QUIET), (BOB, "", QUIET), (BOB, "news", GONE))
    assert optouts(database).among([ADA, BOB], "news") == {ADA: {QUIET}, BOB: {QUIET, GONE}}


def test_addresses_are_compared_byte_by_byte(database: Database) -> None:
    """No collation of a server takes one person for another."""
    refuse(database, ("jürgen@example.com", "news", GONE), ("ada@example.com", "nëws", GONE))
    assert optouts(database).among(["jurgen@example.com", ADA], "news") == {}


def test_a_reference_stands_for_an_address(database: Database) -> None:
    """An opt-out whose message row was gone is found by the address, also after the keys have been rotated."""
    old = Signer([OLD]).recipient_refs(ADA)[0]
    refuse(database, (REF + old, "", GONE))
    assert optouts(database, OLD).among([ADA, BOB], "news") == {ADA: {GONE}}
    assert optouts(database, NEW, OLD).among([ADA, BOB], "news") == {ADA: {GONE}}
    assert optouts(database, NEW).among([ADA], "news") == {}


def test_refusals_under_several_names_add_up(lite: Database) -> None:
    """One person's refusals by address and under each key are one answer."""
    refs = Signer([NEW, OLD]).recipient_refs(ADA)
    refuse(lite, (ADA, "", QUIET), (REF + refs[0], "", GONE), (REF + refs[1], "", QUIET))
    assert optouts(lite, NEW, OLD).among([ADA], "news") == {ADA: {QUIET, GONE}}


def test_a_choice_that_waits_does_not_undo_a_later_one(lite: Database) -> None:
    """What another machine was told, and has not moved yet, may be older than the refusal that stands."""
    refuse(lite, (ADA, "news", GONE))
    lifting = {"id": uuid.uuid4(), "recipient": ADA, "refs": (), "list_id": "news", "kind": GONE, "out": False}
    stands = optouts(lite).named(ADA, "news", GONE)
    for names, refused in (((), {ADA: {GONE}}), (("0" * 32,), {ADA: {GONE}}), (stands, {})):
        behind = NOW - timedelta(minutes=1)  # the clock of that machine, which decides nothing
        change = Suppression(**lifting, method="api", source="api", occurred_at=behind, lifts=names)
        question = OptOuts(lite, Signer([NEW]), pending(change))
        assert question.among([ADA], "news") == refused


@pytest.mark.parametrize(("people", "secrets", "queries"), [(1, 1, 1), (15_000, 1, 1), (20_000, 1, 2), (20_000, 2, 2)])
def test_many_addresses_take_few_queries(lite: Database, people: int, secrets: int, queries: int) -> None:
    """Thirty thousand spellings are asked for at a time, and nobody is left out at the seams."""
    addresses = [f"r{number}@example.com" for number in range(people)]
    leaving = addresses[::7]
    refuse(lite, *((address, "news", GONE) for address in leaving))
    asked: list[str] = []
    sa.event.listen(lite.engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    assert optouts(lite, *[NEW, OLD][:secrets]).among(addresses, "news") == {address: {GONE} for address in leaving}
    assert len([query for query in asked if not query.startswith("PRAGMA")]) == queries


def test_ten_thousand_recipients_take_ten_queries_at_most(database: Database) -> None:
    """Against many suppressions, under three keys, and by the index of the primary key."""
    signer = Signer([NEW, OLD, NEW + OLD])
    refuse(database, *((f"r{number}@example.com", "", GONE) for number in range(0, 20_000, 2)))
    asked: list[tuple[str, Any]] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    found = OptOuts(database, signer).among([f"r{number}@example.com" for number in range(10_000)], "news")
    assert len(found) == 5_000
    assert len([query for query, _ in asked if query.startswith("SELECT mailtrack")]) <= 10
    with database.engine.connect() as connection:
        connection.exec_driver_sql({"mysql": "ANALYZE TABLE mailtrack_optout"}.get(connection.dialect.name, "ANALYZE"))
        few = sa.select(database.optout.c.kind).where(database.optout.c.recipient.in_(["a@b.c", "r2@example.com"]))
        declined = sa.select(database.optout.c.kind).where(database.optout.c.kind == QUIET)
        for query in (few, declined):
            text = str(query.compile(database.engine, compile_kwargs={"literal_binds": True}))
            explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
            plan = repr(connection.exec_driver_sql((explain + text).replace("%", "%%")).all())
            assert "Seq Scan" not in plan
            assert "SCAN mailtrack_optout" not in plan
            assert "'ALL'" not in plan


def test_pending_opt_outs_are_moved_first(lite: Database) -> None:
    """What has just been asked for is in the answer."""
    question = OptOuts(lite, Signer([NEW]), pending(catch_up=lambda: refuse(lite, (ADA, "news", GONE))))
    assert question.among([ADA], "news") == {ADA: {GONE}}


def test_without_the_table_nobody_is_mailed(database_url: str) -> None:
    """If the refusals cannot be read, that is raised with its cause, and never taken for a yes."""
    database = Database(sa.create_engine(database_url), MODELS)
    with pytest.raises(OptOutsUnavailable, match="'news'") as caught:
        optouts(database).among([ADA], "news")
    assert isinstance(caught.value.__cause__, sa.exc.DBAPIError)
    database.engine.dispose()


@pytest.mark.parametrize("error", [SpoolError("disk"), sa.exc.OperationalError("", {}, Exception()), KeyError("x")])
def test_if_the_pending_ones_cannot_be_moved_nobody_is_mailed(lite: Database, error: Exception) -> None:
    """An opt-out that is still in the spool may be anybody's."""

    def catch_up() -> None:
        raise error

    with pytest.raises(OptOutsUnavailable) as caught:
        OptOuts(lite, Signer([NEW]), pending(catch_up=catch_up)).among([ADA], "news")
    assert caught.value.__cause__ is error


def test_what_stands_is_told_for_the_pages(database: Database) -> None:
    """A page knows whom its link was for and what they have refused, of the list and of everything."""
    message_id = sent(database, ADA, "news")
    ask = optouts(database).standing
    assert ask(message_id, "r") == Standing(ADA, "news")
    refuse(database, (ADA, "news", GONE))
    assert ask(message_id, "r") == Standing(ADA, "news", frozenset({"news"}))
    refuse(database, (ADA, "", QUIET), (ADA, "", GONE), (BOB, "offers", GONE))
    assert ask(message_id, "r") == Standing(ADA, "news", frozenset({"news", ""}), measured=False)


def test_what_stands_is_told_without_the_message(lite: Database) -> None:
    """When the message row is gone, the reference of the token is enough for the page."""
    assert optouts(lite).standing(uuid.uuid4(), "r") == Standing()
    refuse(lite, (REF + "r", "", GONE))
    standing = optouts(lite).standing(uuid.uuid4(), "r")
    assert (standing.recipient, standing.everything, standing.unsubscribed) == ("", True, True)


def test_nobody_silent_is_remembered_until_somebody_speaks(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody has declined, a mail of no list costs no query; a choice made here counts at once."""
    site = make_site()
    optouts = site.mailtrack._state().optouts
    queries: list[object] = []
    rows = optouts._database.rows

    def counted(query: Any) -> list[tuple[Any, ...]]:
        queries.append(query)
        return rows(query)

    monkeypatch.setattr(optouts._database, "rows", counted)
    monkeypatch.setattr(optouts, "_remember", 60)
    assert optouts.silent(["ada@example.com"]) == {}
    queries.clear()
    assert optouts.silent(["ada@example.com"]) == {}
    assert queries == []
    sent = site.send(f'<a href="{PREFERENCES}">choices</a>')
    path = sent.html.split('href="https://links.example.com')[1].split('"')[0]
    site.client.post(path, data={"action": "decline"})
    assert optouts.silent(["ada@example.com", "bob@example.com"]) == {"ada@example.com": {OptOutKind.TRACKING}}
    assert "/m/o/" not in site.send("<p>x</p>").html
