"""Links whose destination is too long to be carried: they go by reference, and lead where they should all the same."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, MakeSite, Site

from flask_mailtrack.destination import MAX_CARRIED
from flask_mailtrack.storage.journal.directory import SHELF
from flask_mailtrack.storage.tables import references
from flask_mailtrack.testing import Reader

LONG = "https://example.com/a?q=".ljust(3_000, "x")


def path_of(site: Site, url: str = LONG, **options: Any) -> str:
    """Send a mail with one link, and return the path of the link in it."""
    copy = site.send(f'<a href="{url}">go</a>', **options)
    return str(Reader(site.client, copy).links[0].url).removeprefix(BASE_URL)


@pytest.mark.parametrize("length", [MAX_CARRIED, MAX_CARRIED + 1, 1_401, 3_000])
def test_a_link_of_any_length_leads_where_it_should(site: Site, length: int) -> None:
    """Long links are short in the mail, lead to every byte of their destination, and are counted."""
    url = LONG[:length]
    path = path_of(site, url)
    assert len(path) < 1_000
    assert (len(path) == 73) == (length > MAX_CARRIED)
    assert site.client.get(path).headers["Location"] == url
    site.mailtrack.flush()
    assert [event.url for event in site.rows("Event")] == [url]


def test_another_process_finds_it_on_disk(site: Site) -> None:
    """A process that has never seen the mail follows its long links while the database is away."""
    path = path_of(site)
    site.mailtrack._state().references._remembered.clear()
    site.db.drop_all()
    assert site.client.get(path).headers["Location"] == LONG


def shelf(site: Site) -> Path:
    """The file in which the processes of a machine share long links."""
    return site.mailtrack._state().journals[0].directory / SHELF


def test_another_machine_finds_it_in_the_database(site: Site) -> None:
    """Without memory and file the database is asked, once; then the machine knows it."""
    path = path_of(site)
    site.mailtrack.flush()
    site.mailtrack._state().references._remembered.clear()
    shelf(site).unlink()
    assert site.client.get(path).headers["Location"] == LONG
    site.db.drop_all()
    assert site.client.get(path).headers["Location"] == LONG


def test_a_database_that_hangs_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second the reader is asked to come again; nothing leads elsewhere."""
    path = path_of(site)
    known = site.mailtrack._state().references
    known._remembered.clear()
    shelf(site).unlink()
    monkeypatch.setattr(references, "SECONDS", 0.05)
    monkeypatch.setattr(known, "_asked", lambda *about: time.sleep(0.5))
    answer = site.client.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")


def test_a_damaged_file_costs_no_link(site: Site) -> None:
    """A file that cannot be read is begun anew, and the database knows where links lead."""
    path = path_of(site)
    site.mailtrack.flush()
    site.mailtrack._state().references._remembered.clear()
    shelf(site).write_bytes(b"no database" * 999)
    assert site.client.get(path).headers["Location"] == LONG
    with sqlite3.connect(shelf(site)) as connection:
        assert connection.execute("SELECT url FROM link").fetchall() == [(LONG,)]
    connection.close()


def test_without_a_row_in_the_journal_the_link_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it cannot be written down where a long link leads, the author's own link goes out; others are tracked."""
    monkeypatch.setattr(site.mailtrack._state().office.ledger, "keep", lambda links: False)
    copy = site.send(f'<a href="{LONG}">go</a> <a href="https://example.com/b">there</a>')
    assert f'"{LONG}"' in copy.html
    assert Reader(site.client, copy).click("there").location == "https://example.com/b"


def test_an_erased_address_leaves_a_long_link_that_leads_somewhere(site: Site) -> None:
    """Of a long link that names a person the page stays, without what names them, and purging takes no link."""
    path = path_of(site, f"https://example.com/page?mail=ada@example.com&q={'x' * 900}")
    site.mailtrack.flush()
    site.mailtrack.erase("ada@example.com")
    assert b"ada@example.com" not in shelf(site).read_bytes()
    assert site.client.get(path).headers["Location"] == "https://example.com/page"


def test_a_link_of_a_young_mail_may_still_be_on_its_way(make_site: MakeSite) -> None:
    """Where the rows are still in another machine's journal, the reader is asked to come again, and then led."""
    site = make_site(MAILTRACK_DRAIN="manual")
    path = path_of(site)
    site.mailtrack._state().references._remembered.clear()
    shelf(site).unlink()
    assert site.client.get(path).status_code == 503
    site.mailtrack.flush()
    assert site.client.get(path).headers["Location"] == LONG
    assert site.db.session.execute(sa.select(sa.func.count()).select_from(site.mailtrack.models.Link)).scalar() == 1
