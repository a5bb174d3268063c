"""The host's transaction is the host's: whatever we do while it is open, it ends as the host says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site

from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/">go</a>'
METADATA = sa.MetaData()
NOTE = sa.Table("note", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String(20)))

pytestmark = [
    pytest.mark.parametrize(
        ("database_url", "memory"),
        [
            pytest.param("sqlite", False, id="sqlite-file"),
            pytest.param("sqlite", True, id="sqlite-memory"),
            pytest.param("postgresql", False, id="postgresql"),
        ],
        indirect=["database_url"],
    ),
]
commit_or_not = pytest.mark.parametrize("commit", [True, False], ids=["commit", "rollback"])


@pytest.fixture(name="host")
def _host(database_url: str, memory: bool, make_site: MakeSite) -> Site:
    """A site with a table of its own; on SQLite the host waits a second for locks."""
    url = "sqlite:///:memory:" if memory else database_url
    options = {"connect_args": {"timeout": 1}} if url.startswith("sqlite") else {}
    site = make_site(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=options)
    METADATA.create_all(site.db.engine)
    return site


def begin(host: Site) -> None:
    """The host writes a row and has not decided yet."""
    host.db.session.execute(sa.insert(NOTE).values(text="the host's"))


def end(host: Site, commit: bool) -> None:
    """The host decides, and gets what it asked for; then our rows arrive."""
    session = host.db.session()
    assert session.in_transaction()
    assert len(session.execute(sa.select(NOTE)).all()) == 1
    if commit:
        session.commit()
    else:
        session.rollback()
    with host.db.engine.connect() as other:
        assert len(other.execute(sa.select(NOTE)).all()) == commit
    host.mailtrack.flush()


@contextmanager
def soon(seconds: float = 2) -> Iterator[None]:
    """Fail if the block takes long."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@commit_or_not
def test_sending_a_mail_leaves_it_open(host: Site, commit: bool) -> None:
    """A mail sent in the middle of the host's transaction goes out, and is a row when that is over."""
    begin(host)
    with soon():
        sent = host.send(HTML, tag="welcome")
    assert "/m/c/" in sent.html
    end(host, commit)
    assert [(message.tag, message.status) for message in host.rows("Message")] == [("welcome", "sent")]


@commit_or_not
def test_many_mails_leave_it_open(host: Site, commit: bool) -> None:
    """A loop of mails does not pay for the host's lock with each of them."""
    begin(host)
    with soon(4):
        for number in range(10):
            host.send(HTML, to=f"r{number}@example.com")
    end(host, commit)
    assert len(host.rows("Message")) == 10


@commit_or_not
def test_a_hit_leaves_it_open(host: Site, commit: bool) -> None:
    """An open and a click that arrive meanwhile are answered as ever, and counted in the end."""
    reader = Reader(host.client, host.send(HTML))
    begin(host)
    with soon():
        assert reader.open().status_code == 200
        assert reader.click("go").location == "https://example.com/"
    end(host, commit)
    (message,) = host.rows("Message")
    assert (message.open_count, message.click_count) == (1, 1)


@commit_or_not
def test_asking_for_opt_outs_leaves_it_open(host: Site, commit: bool) -> None:
    """A list message in the middle of the host's transaction is held back from those who have left the list."""
    Reader(host.client, host.send(HTML, list_id="news")).unsubscribe()
    begin(host)
    with soon():
        sent = host.send(HTML, to=["ada@example.com", "bob@example.com"], list_id="news")
    assert [message.send_to for message in sent] == [{"bob@example.com"}]
    end(host, commit)
    assert sorted((m.recipient, m.status) for m in host.rows("Message")) == [
        ("ada@example.com", "sent"),
        ("ada@example.com", "suppressed"),
        ("bob@example.com", "sent"),
    ]


@commit_or_not
def test_an_opt_out_that_waits_for_it_is_not_overlooked(host: Site, commit: bool) -> None:
    """Who unsubscribes while SQLite is the host's alone is not mailed, though the database cannot take it yet."""
    reader = Reader(host.client, host.send(HTML, list_id="news"))
    begin(host)
    with soon():
        assert reader.unsubscribe().status_code == 200
    with soon(5):
        assert host.send(HTML, list_id="news") == []
    end(host, commit)
    assert host.send(HTML, list_id="news") == []
    assert [optout.recipient for optout in host.rows("OptOut")] == ["ada@example.com"]


@commit_or_not
def test_pages_and_reports_leave_it_open(host: Site, commit: bool) -> None:
    """A page that looks up its reader, and a report, read beside the host's transaction."""
    sent = host.send(HTML, list_id="news")
    page = str(sent.extra_headers["List-Unsubscribe"]).strip("<>")
    begin(host)
    with soon():
        assert "a•••@e•••.com" in Reader(host.client, sent).get(page).text
        assert host.mailtrack.stats().sent == 1
    end(host, commit)


@commit_or_not
def test_a_lock_on_our_own_row_is_not_waited_for(host: Site, commit: bool) -> None:
    """A host that is changing a message row itself still gets an answer for the hit on that very message."""
    reader = Reader(host.client, host.send(HTML))
    begin(host)
    message = host.mailtrack.models.Message.__table__
    host.db.session.execute(sa.update(message).values(subject="the host's"))
    with soon():
        assert reader.open().status_code == 200
        assert reader.click("go").status_code == 302
    end(host, commit)
    (row,) = host.rows("Message")
    assert (row.open_count, row.click_count) == (1, 1)
    assert row.subject == ("the host's" if commit else "Hello")
