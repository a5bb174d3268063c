"""Messages one by one in the console: found, filtered, explained."""

from __future__ import annotations

import csv
import io
import re
import uuid
from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import ALL, Visitor, words
from query_count import MOST, queries

from flask_mailtrack.console.messages import GONE
from flask_mailtrack.scope import Scope
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://shop.example.com/one">One</a> <a href="https://shop.example.com/two">Two</a></p>'
WICKED = "\"><script>alert(1)</script><b a='"
LONG = f"{'l' * 64}@{'d' * 60}.example.org"
RTL = "\u202eevil@\u05d3\u05d5\u05d2\u05de\u05d4.example"


def ids(site: Site) -> list[uuid.UUID]:
    return [row.id for row in site.rows("Message")]


def test_somebody_who_opened_a_mail_is_found_by_address_and_never_named_in_a_url(site: Site) -> None:
    """A search for an address is a form; the answer leads to the id of a row, and shows that person's mail alone."""
    for name in ("ada", "bob"):
        Reader(site.client, site.send(HTML, f"{name}@example.com", subject=f"To {name}", tag="news")).open()
    seen = Visitor(site)
    found = seen.submit("/messages", "/messages/search", q="  Ada@Example.com ")
    assert "ada" not in found.lower()
    page = seen.get(found.removeprefix(seen.prefix))
    assert "Opened" in words(page)
    assert "1 message " in words(page)
    assert "To bob" not in page
    assert "nobody" not in seen.submit("/messages", "/messages/search", 200, q="nobody@example.com")
    by_subject = seen.submit("/messages", "/messages/search", q="to BOB", tag="news", activity="opened")
    assert by_subject.endswith("/messages?tag=news&activity=opened&search=to+BOB")
    assert "bob@<wbr>" not in seen.get(by_subject.removeprefix(seen.prefix))
    assert re.search(r"bob(<wbr>)?@", seen.get(by_subject.removeprefix(seen.prefix)))
    assert "No message fits." in words(seen.get("/messages?search=ada@example.com&tag=x"))


def test_nothing_yet_and_not_measured_never_look_alike(site: Site) -> None:
    """A cell says whether nothing happened, or why nothing can show."""
    site.mailtrack.suppress("dina@example.com", tracking=True)
    site.mailtrack.suppress("gone@example.com", "news")
    site.send(HTML, "ada@example.com", list_id="news")
    site.send(HTML, "dina@example.com", list_id="news")
    site.send(HTML, "gone@example.com", list_id="news")
    site.send(HTML, "off@example.com", opens=False, clicks=False)
    site.send(None, "text@example.com", body="Hello")
    seen = Visitor(site)
    page = seen.get("/messages")
    rows = {row.split(" ")[0]: row for row in (words(each) for each in re.findall(r"<tr.*?</tr>", page, re.DOTALL)[1:])}
    assert "Nothing yet" in rows["ada"]
    assert "Not measured: declined" in rows["dina"]
    assert "Held back Had unsubscribed" in rows["gone"]
    assert "Not measured: switched off, or text only" in rows["off"]
    assert "Not measured: switched off, or text only" in rows["text"]
    assert "1 message " in words(seen.get("/messages?activity=nothing"))
    assert "1 message " in words(seen.get("/messages?status=suppressed"))
    assert "We ignored status=odd, activity=odd." in words(seen.get("/messages?activity=odd&status=odd"))


def test_a_timeline_folds_the_visit_of_a_machine_and_says_how_it_is_known(site: Site) -> None:
    """Six clicks of a mail filter are one line with its reason; a person's click has a line of its own."""
    reader = Reader(site.client, site.send(HTML, subject="Winter", tag="winter", list_id="news"))
    scanner = reader.as_scanner()
    for _ in range(3):
        scanner.click(0)
        scanner.click(1)
    seen = Visitor(site)
    (key,) = ids(site)
    page = seen.get(f"/messages/{key}")
    told = words(page)
    assert "Clicked by a machine 6 times" in told
    assert "How we know" in told
    assert "shop.example.com/ two" in told
    assert page.count("<summary>How we know") == 1
    assert "With a pixel and tracked links." in told
    assert f"/people/{key}" in page
    assert "tag=winter" in page


def test_the_page_says_why_a_mail_was_not_opened(site: Site) -> None:
    """Where nothing was recorded, the page says why in a sentence."""
    site.mailtrack.suppress("ada@example.com", tracking=True)
    site.send(HTML, list_id="news")
    (key,) = ids(site)
    told = words(Visitor(site).get(f"/messages/{key}"))
    assert "The person has declined measuring on" in told
    assert "No opens can show: the mail has no pixel." in told


def test_a_strange_id_is_told_in_one_sentence(site: Site) -> None:
    """An id that nobody has, one of a tenant's neighbour, and one that was erased answer alike."""
    site.send(HTML, sender="one@one.example")
    site.send(HTML, sender="two@two.example")
    one, two = ids(site)
    seen = Visitor(site, scope=Scope(sender_domains={"two.example"}))
    assert GONE in words(seen.get(f"/messages/{one}", 404))
    assert GONE in words(seen.get(f"/messages/{uuid.uuid4()}", 404))
    seen.get(f"/messages/{two}")
    assert "1 message " in words(seen.get("/messages"))
    assert GONE in words(seen.get(f"/messages?person={one}", 404))
    assert GONE in words(seen.get("/messages?person=nobody", 404))


@pytest.mark.parametrize("permissions", [("view",), ("view", "export", "manage")])
def test_no_page_shows_a_whole_address_without_the_permission(site: Site, permissions: Any) -> None:
    """Addresses are masked in cells, subjects, answers of servers, links and files."""
    reader = Reader(
        site.client,
        site.send(
            '<p><a href="https://shop.example.com/?for=ada@example.com">One</a></p>',
            subject="Welcome, ada@example.com",
        ),
    )
    reader.open()
    reader.click(0)
    (key,) = ids(site)
    seen = Visitor(site, permissions)
    paths = ["/messages", f"/messages/{key}", f"/messages?person={key}"]
    paths += ["/messages?format=csv", f"/messages/{key}?format=csv"] if "export" in permissions else []
    for path in paths:
        page = seen.get(path)
        assert not re.search(r"ada(<wbr>)?(@|%40|&#64;)example", page), path
        assert "Welcome, •••@e•••.com" in page or "a•••@e•••.com" in page, path


def test_whatever_stands_in_a_mail_is_text_on_a_page(site: Site) -> None:
    """A subject, a tag, a list, a link, a program and an address that try to be HTML or formulas are shown as text."""
    sent = site.send(
        f'<p><a href="https://shop.example.com/?q={WICKED!r}" data-mailtrack-name="<i>x</i>">One</a></p>',
        LONG,
        subject=f"=1+1 {WICKED}",
        tag=f"@{WICKED}",
        list_id=WICKED,
    )
    Reader(site.client, sent, {"User-Agent": f"Mozilla/5.0 {WICKED}", "Accept-Language": "en"}).open()
    site.send(HTML, RTL, subject="\u202eevil")
    seen = Visitor(site)
    for path in ("/messages", *(f"/messages/{key}" for key in ids(site))):
        page = seen.get(path)
        assert "<script>alert" not in page
        assert "<i>x</i>" not in page
        assert "<b a=" not in page
    assert "<bdi>\u202eevil</bdi>" in page
    table = list(csv.DictReader(io.StringIO(seen.get("/messages?format=csv"))))
    assert {row["subject"][:2] for row in table} == {"'=", "\u202ee"}


def test_a_page_of_fifty_is_small_and_asks_little(make_site: MakeSite) -> None:
    """Fifty rows are one page below 60 KB and eight queries; the next page begins where the first ends."""
    site = make_site()
    site.send(HTML, [f"person{number:02}@example.com" for number in range(60)], tag="news", list_id="news")
    seen = Visitor(site)
    for path in ("/messages", "/messages?search=hello&tag=news&activity=nothing", f"/messages/{ids(site)[0]}"):
        seen.get(path)
        with queries(site) as asked:
            page = seen.get(path)
        assert len(asked) <= MOST, asked
        assert len(page.encode()) < 60_000
    first = seen.get("/messages")
    older = re.search(r'href="([^"]*)" rel="next"', first)
    assert older
    rest = seen.get(older[1].replace("&amp;", "&").removeprefix(seen.prefix))
    names = [set(re.findall(r"person\d\d", page)) for page in (first, rest)]
    assert [len(each) for each in names] == [50, 10]
    assert not names[0] & names[1]
    assert len(seen.get("/messages?format=csv").splitlines()) == 61
    seen.get("/messages?page=nonsense", 400)


def test_huge_input_is_cut_or_refused(site: Site) -> None:
    """A search of a million letters does no harm, and a form that is far too long is not read."""
    seen = Visitor(site)
    token = seen.fields("/messages", "/messages/search")
    data = {name: value for name, value in token.items() if name != "@action"}
    long = seen.client.post("/mt/messages/search", data=data | {"q": "x" * 100_000})
    assert len(long.headers["Location"]) < 500
    assert seen.client.post("/mt/messages/search", data=data | {"q": "x" * 1_000_000}).status_code == 413
    seen.get(f"/messages?search={'x' * 5_000}&tag={'y' * 5_000}")


@pytest.mark.parametrize("left_out", ALL)
def test_a_page_needs_its_permission(site: Site, left_out: str) -> None:
    """Without `view` there is no page; without `export` no file; the others take nothing from reading."""
    site.send(HTML)
    (key,) = ids(site)
    seen = Visitor(site, [each for each in ALL if each != left_out])
    for path in ("/messages", f"/messages/{key}"):
        page = seen.get(path, 404 if left_out == "view" else 200)
        assert ("format=csv" in page) == (left_out not in ("view", "export") and path == "/messages")
        seen.get(f"{path}?format=csv", 404 if left_out in ("view", "export") else 200)
    assert seen.client.post("/mt/messages/search", data={"q": "x"}).status_code == (404 if left_out == "view" else 400)
