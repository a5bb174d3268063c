"""Kept bodies in the tables: one row whoever writes it, gone with the last message and with the person it is about."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site

from flask_mailtrack.events import new_id, now
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
