"""Kept bodies in the tables: one row whoever writes it, gone with the last message and with the person it is about."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site

from flask_mailtrack.events import new_id, now
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables import body_shelf
from flask_mailtrack.storage.tables.retention import Retention

LINK = '<p>Hello</p><a href="https://example.com/a">Read on</a>'


@pytest.fixture(name="keeping")
def _keeping(database_url: str, make_site: MakeSite) -> Site:
    """A host that keeps bodies, on each kind of database."""
    return make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_KEEP_BODIES=True)


def test_bodies_in_the_tables(keeping: Site) -> None:
    """A body is one row however often it comes, is read back whole, and goes with its last message and its person."""
    database = keeping.mailtrack._state_of(keeping.app).database
    large = f"{LINK}{''.join(f'<p>{token_hex()}</p>' for _ in range(3_000))}"  # more than MariaDB's smallest kind takes
    keeping.send(large, ["ada@example.com", "bob@example.com"], tag="spring")
    keeping.send("<p>Dear Ada</p>", "ada@example.com", subject="To Ada", tag="spring")
    common, own = sorted(keeping.rows("Body"), key=lambda row: row.subject)
    assert len(common.content) > 65_535
    first, second, third = keeping.rows("Message")
    assert [m.body_id for m in (first, second, third)] == [common.id, common.id, own.id]
    seen = body_shelf.mail_of(database, first.id)
    assert seen is not None
    assert (seen.recipient, seen.subject, seen.body.html, seen.tracked) == ("ada@example.com", "Hello", large, True)
    with pytest.raises(LookupError):
        body_shelf.mail_of(database, new_id())
    exported = keeping.mailtrack.export("ada@example.com")
    assert {each["html"] for each in exported["bodies"]} == {large, "<p>Dear Ada</p>"}

    keeping.mailtrack.erase("ada@example.com")
    assert [row.id for row in keeping.rows("Body")] == [common.id]
    assert [m.body_id for m in keeping.rows("Message")] == [None, common.id, None]
    assert body_shelf.mail_of(database, first.id) is None

    keep = Retention(database, {"messages": 10})
    overdue = keep.limits()[0]
    old = now() - timedelta(days=30)
    age(keeping, old)
    keep.purge(overdue)
    assert [row.id for row in keeping.rows("Body")] == [common.id]  # its message is young by its id
    with database.transaction() as connection:
        connection.execute(sa.delete(database.message))
    keep.purge(overdue)
    assert keeping.rows("Body") == []


def test_a_body_that_names_a_person_goes_with_the_person(make_site: MakeSite) -> None:
    """An archive that got Ada's mail, too, keeps nothing with her address in it; what only looks alike stays."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    both = ["ada@example.com", "archive@example.com"]
    for html, subject in (
        ("<p>Dear Ada@Example.com</p>", "in the text"),
        ("<p>Dear ada&#64;example.com</p>", "in an escape"),
        ('<a href="https://example.com/?to=ada%40example.com">Read on</a>', "in a link"),
        (LINK, "to ada@example.com"),
        ("<p>Dear canada@example.com</p>", "somebody else's"),
    ):
        site.send(html, both, subject=subject, tag="spring")
    database = site.mailtrack._state_of(site.app).database
    site.send("<p>Damaged</p>", both, subject="damaged", tag="spring")
    with database.transaction() as connection:
        connection.execute(sa.update(database.body).where(database.body.c.subject == "damaged").values(content=b"?"))
    site.mailtrack.erase("ada@example.com")
    (row,) = site.rows("Body")
    assert row.subject == "somebody else's"
    pointing = [m for m in site.rows("Message") if m.body_id is not None]
    assert [(m.recipient, m.body_id) for m in pointing] == [("archive@example.com", row.id)]


def test_a_body_outside_a_scope_stays_there(make_site: MakeSite) -> None:
    """One tenant who forgets Ada takes no body from the archive of another, though it names her."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    for list_id in ("red", "blue"):
        site.send("<p>ada@example.com</p>", ["ada@example.com", "archive@example.com"], tag="spring", list_id=list_id)
    site.mailtrack.erase("ada@example.com", within=Scope(lists=("red",)))
    (row,) = site.rows("Body")
    assert [m.list_id for m in site.rows("Message") if m.body_id == row.id] == ["blue", "blue"]
    site.mailtrack.erase("ada@example.com")
    assert site.rows("Body") == []


def age(site: Site, moment: Any) -> None:
    """Make all rows old."""
    database = site.mailtrack._state_of(site.app).database
    with database.transaction() as connection:
        connection.execute(sa.update(database.body).values(created_at=moment))
        connection.execute(sa.update(database.message).values(created_at=moment))


def test_a_young_body_waits_for_its_messages(make_site: MakeSite) -> None:
    """A purge leaves a body alone whose messages may still be on their way."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    site.send(LINK, tag="spring")
    database = site.mailtrack._state_of(site.app).database
    with database.transaction() as connection:
        connection.execute(sa.delete(database.message))
    keep = Retention(database, {"messages": 10})
    keep.purge(keep.limits()[0])
    assert len(site.rows("Body")) == 1


def test_a_damaged_record_is_put_aside_alone(make_site: MakeSite) -> None:
    """A body that is no base64 costs neither the mail nor the drain anything."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    events = site.mailtrack._state_of(site.app).journals[0]
    line = {"k": "body", "id": str(new_id()), "tag": "", "subject": "", "created_at": now().isoformat(), "content": "§"}
    events.append(line)
    site.send(LINK, tag="spring")
    assert len(site.rows("Body")) == len(site.rows("Message")) == 1
