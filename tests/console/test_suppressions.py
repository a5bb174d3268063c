"""Addresses that get no mail, in the console."""

from __future__ import annotations

import csv
import io
import re

import pytest
from conftest import Site
from console_visitor import ALL, Visitor, words
from query_count import MOST, queries

from flask_mailtrack.console.suppressions import GONE
from flask_mailtrack.scope import Scope

ADA = "ada@example.com"
LONG = f"{'l' * 64}@example.com"


def remove_link(seen: Visitor, page: str = "/suppressions") -> str:
    found = re.search(r'href="([^"]*/remove[^"]*)"', seen.get(page))
    assert found
    return found[1].replace("&amp;", "&").removeprefix(seen.prefix)


def audit(site: Site) -> list[tuple[str, str, str | None]]:
    return [(row.change, row.source, row.actor) for row in site.rows("Audit")]


def test_an_address_is_added_found_and_removed_by_its_typed_name(site: Site) -> None:
    """A removal needs the address and a note, which stands in the log with who did it; no URL names anybody."""
    seen = Visitor(site, name="mara")
    assert "No address is suppressed." in words(seen.get("/suppressions"))
    form = {"address": "Ada@Example.com ", "note": "asked by phone, ada@example.com"}
    seen.submit("/suppressions", "/suppressions/add", **form)
    assert seen.submit("/suppressions", "/suppressions/add", **form).endswith("done=suppression_stood")
    assert audit(site) == [("unsubscribed", "console: asked by phone, a•••@e•••.com", "mara")]
    found = seen.submit("/suppressions", "/suppressions/search", q=ADA)
    assert "ada" not in found
    page = found.removeprefix(seen.prefix)
    assert "Suppressions: 1 " in words(seen.get(page))
    assert "By hand" in words(seen.get(page))
    link = remove_link(seen, page)
    assert "ada" not in link
    wrong = words(seen.submit(link, "/remove", 400, address="bob@example.com", note="why not"))
    assert "This is another address." in wrong
    assert "Write why." in words(seen.submit(link, "/remove", 400, address=ADA, note=" "))
    assert seen.submit(link, "/remove", address=ADA, note="a mistake").endswith("done=suppression_removed")
    assert audit(site)[1:] == [("subscribed", "console: a mistake", "mara")]
    assert GONE in words(seen.get(link, 404))
    nobody = seen.submit("/suppressions", "/suppressions/search", 200, q="nobody@example.com")
    assert "Nothing stands against this address." in words(nobody)


def test_a_complaint_cannot_be_removed(site: Site) -> None:
    """Who reported us as spam stays suppressed: there is no link, and no form that anybody could send does it."""
    site.mailtrack.suppress(ADA, reason="complaint")
    site.mailtrack.suppress("bob@example.com", reason="bounce")
    seen = Visitor(site, name="mara")
    page = seen.get("/suppressions?reason=complaint")
    assert "Reported us as spam" in words(page)
    assert "/remove" not in page
    (bob,) = re.findall(r"suppressions/([0-9a-f-]{36})/remove", seen.get("/suppressions?reason=bounce"))
    (ada,) = re.findall(r"people/([0-9a-f-]{36})", page)
    sent = seen.fields(f"/suppressions/{bob}/remove", "/remove") | {"address": ADA, "note": "please"}
    sent.pop("@action")
    answer = seen.client.post(f"/mt/suppressions/{ada}/remove", data=sent)
    assert answer.status_code == 400
    assert "They reported us as spam. This cannot be removed." in words(answer.get_data(as_text=True))
    assert len(site.rows("OptOut")) == 2


def test_what_is_no_address_comes_back_with_the_error_under_it(site: Site) -> None:
    """The form keeps what was typed, and says what is wrong with it."""
    seen = Visitor(site)
    page = seen.submit("/suppressions", "/suppressions/add", 400, address="<b>nobody", note="x" * 5_000)
    assert "This is not an address." in words(page)
    assert 'value="&lt;b&gt;nobody"' in page
    assert not site.rows("OptOut")


def test_a_file_has_what_stands_and_no_formula(site: Site) -> None:
    """The file has all rows of the filter, and an import takes it back."""
    site.mailtrack.suppress("=ada@example.com", reason="@SUM(1)")
    site.mailtrack.suppress(LONG, "news")
    table = list(csv.DictReader(io.StringIO(Visitor(site).get("/suppressions?format=csv"))))
    assert {(row["email"], row["reason"], row["list_id"]) for row in table} == {
        ("'=ada@example.com", "'@SUM(1)", ""),
        (LONG, "", "news"),
    }


def test_a_tenant_may_look_and_not_touch(site: Site) -> None:
    """What stops all mail to somebody is about all tenants, so within a scope there is no button and no route."""
    site.send("<p>Hello</p>", list_id="one")
    site.mailtrack.suppress(ADA, "one")
    seen = Visitor(site, name="mara")
    link = remove_link(seen)
    add = seen.fields("/suppressions", "/suppressions/add") | {"address": "bob@example.com"}
    seen.scope = Scope(lists={"one"})
    assert seen.client.post(add.pop("@action"), data=add).status_code == 404
    page = seen.get("/suppressions")
    assert "Suppressions: 1 " in words(page)
    assert "/remove" not in page
    assert "/suppressions/add" not in page
    seen.get(link, 404)
    seen.get("/suppressions/import", 404)
    seen.scope = Scope(lists={"two"})
    assert "No address is suppressed." in words(seen.get("/suppressions"))


@pytest.mark.parametrize("left_out", ALL)
def test_each_route_needs_its_permission(site: Site, left_out: str) -> None:
    """A missing permission hides the button, and its route answers 404; addresses are masked without `addresses`."""
    site.mailtrack.suppress(ADA, reason="by hand")
    seen = Visitor(site)
    link = remove_link(seen)
    seen.permissions = [each for each in ALL if each != left_out]
    page = seen.get("/suppressions", 404 if left_out == "view" else 200)
    assert ("/suppressions/add" in page) == (left_out not in ("view", "manage"))
    closed = 404 if left_out in ("view", "manage") else 200
    text = seen.get(link, closed)
    if left_out == "addresses":
        for each in (page, text, seen.get("/suppressions?format=csv")):
            assert not re.search(r"ada(<wbr>)?@example", each)
    for path in ("/suppressions/add", link.partition("?")[0], "/suppressions/import"):
        assert seen.client.post(f"/mt{path}").status_code == (closed if closed == 404 else 400)
    seen.get("/suppressions/import", closed)
    seen.get("/suppressions?format=csv", 404 if left_out in ("view", "export") else 200)


def test_a_page_of_fifty_is_small_and_asks_little(site: Site) -> None:
    """Fifty rows are one page below 60 KB and eight queries."""
    for number in range(55):
        site.mailtrack.suppress(f"person{number}@example.com", reason="bounce")
    seen = Visitor(site)
    seen.get("/suppressions")
    with queries(site) as asked:
        page = seen.get("/suppressions")
    assert len(asked) <= MOST, asked
    assert len(page.encode()) < 60_000
    assert 'rel="next"' in page
