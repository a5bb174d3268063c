"""Attacks that no room has to itself. ``sNN``: attack NN of the list in ``security.tsv``."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site

from flask_mailtrack.events import EventType, Hit, Verdict, new_id, now
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/here">go</a></p>'


def hit(site: Site) -> Hit:
    """A click on the only mail of *site*."""
    (message,) = site.rows("Message")
    return Hit(new_id(), message.id, EventType.CLICKED, now(), url="https://example.com/here", verdict=Verdict.HUMAN)


def test_ten_thousand_parameters_change_nothing(site: Site) -> None:
    """s21: a query string of any length, with names twice over, is passed over."""
    reader = Reader(site.client, site.send(HTML))
    path = urlsplit(reader.links[0].url).path
    answer = site.client.get(path + "?" + "&".join(f"t={n}" for n in range(10_000)))
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://example.com/here")
    assert [event.url for event in site.rows("Event")] == ["https://example.com/here"]


BLOCKED = {
    "a host": (["EXAMPLE.com"], 410),
    "a host above": (["com"], 410),
    "the URL": (["https://example.com/here"], 410),
    "another host": (["ample.com", "www.example.com"], 302),
    "another URL": (["https://example.com/"], 302),
}


@pytest.mark.parametrize(("entries", "status"), BLOCKED.values(), ids=list(BLOCKED))
def test_a_destination_can_be_switched_off(make_site: MakeSite, entries: list[str], status: int) -> None:
    """s30: links to a host or URL that is blocked show a page, in any mail; others lead where they led."""
    site = make_site(MAILTRACK_BLOCKED=entries)
    answer = Reader(site.client, site.send(HTML)).click("go")
    assert answer.status_code == status
    assert ("This link has been turned off" in answer.text) == (status == 410)
    assert len(site.rows("Event")) == (status == 302)


def test_the_links_of_one_message_can_be_switched_off(make_site: MakeSite) -> None:
    """s30: a message that should never have left loses its links, and no other message does."""
    first = make_site()
    mails = [first.send(HTML), first.send(HTML)]
    wrong = first.rows("Message")[0].id
    site = make_site(MAILTRACK_BLOCKED=[wrong])
    assert [Reader(site.client, mail).click("go").status_code for mail in mails] == [410, 302]


def test_the_first_of_two_events_with_one_id_holds(site: Site) -> None:
    """s110: a record that comes again under the same id, with another content, changes no row."""
    site.send(HTML)
    first = hit(site)
    spool = site.mailtrack._state().journals[0]
    spool.append(to_json(first))
    site.mailtrack.flush()
    spool.append(to_json(first._replace(url="https://evil.example/", verdict=Verdict.BOT)))
    site.mailtrack.flush()
    (event,) = site.rows("Event")
    (message,) = site.rows("Message")
    assert (event.url, event.verdict, message.click_count) == ("https://example.com/here", "human", 1)


def test_what_a_database_cannot_hold_never_gets_there(database_url: str, make_site: MakeSite) -> None:
    """s111: NUL in an option is the programmer's to hear of, in a header it is taken out; emoji and numbers arrive."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    poo = "\N{PILE OF POO}"
    with pytest.raises(ValueError, match="NUL"):
        site.send(HTML, metadata={"text": "a\x00b"})
    mail = site.send(HTML, subject=f"Hello {poo}", tag=poo, metadata={"n": 2**70, poo: [poo]})
    Reader(site.client, mail, {"User-Agent": f"a\x00{poo}"}).open()
    site.mailtrack.flush()
    (message,) = site.rows("Message")
    (event,) = site.rows("Event")
    assert (message.subject, message.tag, message.details) == (f"Hello {poo}", poo, {"n": 2**70, poo: [poo]})
    assert "\x00" not in event.user_agent


def test_a_migration_that_has_half_run_loses_nothing(site: Site) -> None:
    """s113: while a column is missing, readers are served and rows wait; when it is there, they arrive."""
    reader = Reader(site.client, site.send(HTML))
    table = site.mailtrack.models.Event.__tablename__
    with site.db.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN city"))
    assert reader.click("go").location == "https://example.com/here"
    with pytest.raises(sa.exc.OperationalError):
        site.mailtrack.flush()
    with site.db.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN city TEXT"))
    site.mailtrack.flush()
    assert [event.type for event in site.rows("Event")] == ["clicked"]
