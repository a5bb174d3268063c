"""What a page of the console is made with: its addresses, its filters and its files."""

from __future__ import annotations

import re
from html import unescape

import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor, words

from flask_mailtrack.scope import Scope

HTML = '<p><a href="https://shop.example.com/">One</a></p>'


def links(page: str, ending: str) -> list[str]:
    """Return where the links of a page lead whose path ends like that."""
    found = map(unescape, re.findall(r'href="([^"]+)"', page))
    return [href for href in found if href.partition("?")[0].endswith(ending)]


def test_what_narrows_rows_narrows_no_figures(site: Site) -> None:
    """The overview counts all mail, also for who comes from rows that were narrowed, and its numbers lead to all."""
    site.send(HTML, tag="news")
    seen = Visitor(site)
    for query in ("activity=opened", "status=sent"):
        for path in ("/", "/campaigns"):
            page = seen.get(f"{path}?{query}")
            assert links(page, "/messages") != []
            assert [href for href in links(page, "/messages") if href.count("activity=") > 1] == []
            assert [href for href in links(page, "/messages") if href.count("status=") > 1] == []
    assert "1 of 1" in words(seen.get("/?activity=opened")) or "of 1 tried" in words(seen.get("/?activity=opened"))
    assert "of 1 tried" in words(seen.get("/campaign?tag=news&subject=Another"))


@pytest.mark.parametrize(
    "query", ["_method=FOO", "endpoint=x", "_external=1&_scheme=ftp", "self=1&changes=2&_anchor=a"]
)
def test_no_name_in_an_address_means_anything_to_the_app(site: Site, query: str) -> None:
    """A stranger's link can add nothing to the links of a page but what stands behind their question mark."""
    page = Visitor(site).get(f"/messages?{query}")
    assert all(href.startswith("/mt/messages") for href in links(page, "/messages"))


def test_days_narrow_the_mail_of_a_person(site: Site) -> None:
    """Without days the mail of a person is all there is, so 28 days have to be said."""
    site.send(HTML)
    key = site.rows("Message")[0].id
    page = Visitor(site).get(f"/messages?person={key}&period=7d")
    assert f"/mt/messages?person={key}&period=28d" in {unescape(href) for href in re.findall(r'href="([^"]+)"', page)}


def test_a_tenant_learns_no_list_of_others(make_site: MakeSite) -> None:
    """Only who sees all mail is offered the lists of the configuration."""
    site = make_site(MAILTRACK_LISTS={"news": {"title": "News"}, "secret": {"title": "Secret"}})
    site.send(HTML, list_id="news", sender="a@one.example")
    seen = Visitor(site)
    assert '"secret"' in seen.get("/messages")
    seen.scope = Scope(sender_domains={"one.example"})
    assert "secret" not in seen.get("/messages")


def test_a_file_that_cannot_be_read_is_no_empty_file(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Where the database is in trouble, there is no file, and not one that says that there is no mail."""
    site.send(HTML)
    seen = Visitor(site)
    assert seen.get("/messages?format=csv").count("\n") == 2
    site.db.session.execute(site.db.text("ALTER TABLE mailtrack_message RENAME TO gone"))
    site.db.session.commit()
    assert "Not available" in words(seen.get("/messages?format=csv", 503))
    assert "the page messages of the console fails" in caplog.text


def test_a_page_that_answers_a_form_leads_on(site: Site) -> None:
    """What a refused form shows has the links of the page that the form stands on."""
    page = Visitor(site).submit("/suppressions", "/suppressions/search", 200, q="nobody@example.com")
    assert "Nothing stands against this address." in words(page)
    assert "/mt/suppressions?format=csv" in page
    assert "suppressions/search?" not in page


@pytest.mark.parametrize("method", ["LOCK", "FOO", "MKCOL"])
def test_no_method_gives_a_closed_console_away(site: Site, method: str) -> None:
    """A method that nobody knows is answered as for any address that is not there."""
    seen = Visitor(site, ())
    for path in ("/messages", "/settings/pause", "/nothing"):
        assert seen.client.open(f"/mt{path}", method=method).status_code == 404
    seen.permissions = ("view",)
    assert seen.client.open("/mt/messages", method=method).status_code == 405
