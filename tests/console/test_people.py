"""People in the console: what they got, what they allow, and how they are forgotten."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from conftest import Site
from console_visitor import ALL, Visitor, words
from query_count import MOST, queries

from flask_mailtrack.console.people import GONE
from flask_mailtrack.scope import Scope
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://shop.example.com/one">One</a></p>'
ADA = "ada@example.com"
WICKED = '"><script>alert(1)</script>'


def key_of(site: Site, address: str = ADA) -> uuid.UUID:
    return next(row.id for row in site.rows("Message") if row.recipient == address)


def post(seen: Visitor, page: str, action: str, **changed: Any) -> Any:
    """Send a form with lists in it, as a browser does."""
    given = seen.fields(page, action) | changed
    path = given.pop("@action")
    return seen.client.post(path, data={name: value for name, value in given.items() if value is not None})


def audit(site: Site) -> list[tuple[str, str, str, str | None]]:
    return [(row.change, row.list_id, row.method, row.actor) for row in site.rows("Audit")]


def test_a_person_is_found_by_a_form_and_shown_with_all_that_is_known(site: Site) -> None:
    """The page has the mail, what they did, what they get and what was changed; its URL names nobody."""
    Reader(site.client, site.send(HTML, list_id="news", tag="winter", subject="First")).open()
    Reader(site.client, site.send(HTML, list_id="news", subject="Second")).unsubscribe()
    seen = Visitor(site, name="mara")
    found = seen.submit("/people", "/people/search", q=" ADA@example.com")
    assert "ada" not in found
    page = seen.get(found.removeprefix(seen.prefix))
    told = words(page)
    assert "ada @example.com" in told
    assert "Messages 2 2 sent Opened 1 of 2 sent" in told
    assert "Left news" in told
    assert "Mail program’s button" in told
    assert "Change this only when the person asked you to" in told
    unknown = seen.submit("/people", "/people/search", 200, q="nobody@example.com")
    assert "We have no mail to this address" in words(unknown)
    assert "nobody" not in unknown


def test_a_switch_is_turned_for_somebody_with_the_name_of_who_did_it(site: Site) -> None:
    """Only what was turned changes: not what changed elsewhere since the form was shown, and a second press nothing."""
    site.send(HTML, list_id="news")
    site.send(HTML, list_id="offers")
    seen = Visitor(site, name="mara")
    page = f"/people/{key_of(site)}"
    stale = seen.fields(page, "/choices")
    assert stale["was"] == ["1Lnews", "1Loffers", "1M"]
    assert post(seen, page, "/choices", on=["Loffers", "M"]).status_code == 303
    assert audit(site) == [("unsubscribed", "news", "console", "mara")]
    path = stale.pop("@action")
    for _ in range(2):  # the form still shows news as on, and says so
        seen.client.post(path, data=stale | {"on": ["Lnews", "Loffers"]})
    assert audit(site)[1:] == [("declined", "", "console", "mara")]
    seen.client.post(path, data=stale | {"on": ["Lnews", "Loffers", "M", "Lfake"], "was": ["0Lfake", "1M"]})
    assert len(audit(site)) == 2
    assert post(seen, page, "/choices", on=["Lnews", "Loffers", "M"]).status_code == 303
    assert {each[:2] for each in audit(site)} >= {("subscribed", "news"), ("accepted", "")}
    assert "mara" in words(seen.get(page))


def test_all_mail_to_somebody_is_stopped_and_a_complaint_is_never_taken_back(site: Site) -> None:
    """A button stops all mail; who reported us as spam has no button and no switch to change that."""
    site.send(HTML, list_id="news")
    seen = Visitor(site, name="mara")
    page = f"/people/{key_of(site)}"
    for _ in range(2):
        seen.submit(page, "/stop") if "Stop all mail" in seen.get(page) else None
    assert audit(site) == [("unsubscribed", "", "console", "mara")]
    assert f"{page}?" not in seen.get(page)
    assert "Allow mail again" in words(seen.get(page))
    site.mailtrack.suppress("bob@example.com", "news", reason="complaint")
    site.send(HTML, "bob@example.com", list_id="news")
    bob = f"/people/{key_of(site, 'bob@example.com')}"
    assert "They reported us as spam." in words(seen.get(bob))
    post(seen, bob, "/choices", on=["Lnews", "M"])
    assert len(audit(site)) == 2


def test_a_person_is_erased_only_by_their_typed_address(site: Site) -> None:
    """The page says what goes and what stays; another address erases nobody, and afterwards nothing leads to them."""
    Reader(site.client, site.send(HTML, list_id="news")).open()
    seen = Visitor(site, name="mara")
    page = f"/people/{key_of(site)}"
    told = words(seen.get(f"{page}/erase"))
    assert "from 1 message " in told
    assert "as a fingerprint" in told
    wrong = seen.submit(f"{page}/erase", "/erase", 400, address="bob@example.com")
    assert "This is another address." in words(wrong)
    assert site.rows("Message")[0].recipient == ADA
    done = seen.submit(f"{page}/erase", "/erase", address="Ada <ADA@example.com>")
    assert done.endswith("/people?done=person_erased")
    assert "The person is erased." in words(seen.get("/people?done=person_erased"))
    assert [row.recipient for row in site.rows("Message")] == [""]
    assert ("erased", "", "console", "mara") in audit(site) or "erased" in {each[0] for each in audit(site)}
    assert GONE in words(seen.get(page, 404))
    assert "The person was erased." in words(seen.get(page.replace("people", "messages")))


def test_a_tenant_sees_changes_and_erases_only_what_is_theirs(site: Site) -> None:
    """Within a scope there are only its messages and lists, no switch for all mail, and an erasure leaves the rest."""
    site.send(HTML, list_id="one", sender="one@one.example", subject="Mine")
    site.send(HTML, list_id="two", sender="two@two.example", subject="Theirs")
    one, two = (row.id for row in site.rows("Message"))
    site.mailtrack.suppress(ADA, "two")
    seen = Visitor(site, name="mara")
    stop = seen.fields(f"/people/{one}", "/stop")
    seen.scope = Scope(sender_domains={"one.example"})
    assert seen.client.post(stop.pop("@action"), data=stop).status_code == 404
    page = seen.get(f"/people/{one}")
    assert "Theirs" not in page
    assert "two" not in words(page)
    assert "Measuring" not in page
    assert "Stop all mail" not in page
    seen.get(f"/people/{two}", 404)
    fields = {"was": ["1Lone", "1Ltwo", "1M"], "on": []}
    seen.client.post(f"/mt/people/{one}/choices", data=seen.fields(f"/people/{one}", "/choices") | fields)
    assert audit(site)[1:] == [("unsubscribed", "one", "console", "mara")]
    content = json.loads(seen.get(f"/people/{one}/export"))
    assert [row["subject"] for row in content["messages"]] == ["Mine"]
    seen.submit(f"/people/{one}/erase", "/erase", address=ADA)
    assert [row.recipient for row in site.rows("Message")] == ["", ADA]


def test_everything_is_handed_over_as_json(site: Site) -> None:
    """Who may export and see addresses gets all rows of a person, in a file whose name does not name them."""
    Reader(site.client, site.send(HTML)).open()
    seen = Visitor(site)
    answer = seen.client.get(f"/mt/people/{key_of(site)}/export")
    assert answer.json
    assert {"messages", "events", "optouts", "audit"} <= answer.json.keys()
    assert "ada" not in answer.headers["Content-Disposition"]
    seen.permissions = ("view", "export", "manage")
    seen.get(f"/people/{key_of(site)}/export", 404)


@pytest.mark.parametrize("left_out", ALL)
def test_each_route_needs_its_permission(site: Site, left_out: str) -> None:
    """A missing permission hides the button, and its route answers 404; nobody sees an address without `addresses`."""
    site.send(HTML, list_id="news", subject=f"For {ADA} {WICKED}")
    site.mailtrack.suppress(ADA, reason="by hand")
    seen = Visitor(site, [each for each in ALL if each != left_out], name=ADA)
    page = f"/people/{key_of(site)}"
    for path in ("/people", page):
        text = seen.get(path, 404 if left_out == "view" else 200)
        assert "<script>alert" not in text
        if left_out == "addresses":
            assert not re.search(r"ada(<wbr>)?@example", text.replace(f"<bdi>{ADA}</bdi><br>", ""))
    if left_out == "manage":
        assert "<button" not in seen.get(page).partition("<main")[2].replace('class="q"', "")
    closed = left_out in ("view", "manage")
    assert seen.client.get(f"/mt{page}/erase").status_code == (404 if closed else 200)
    for action in ("choices", "stop", "erase"):
        assert seen.client.post(f"/mt{page}/{action}").status_code == (404 if closed else 400)
    closed = left_out in ("view", "export", "addresses")
    assert seen.client.get(f"/mt{page}/export").status_code == (404 if closed else 200)


def test_a_page_of_a_long_history_is_small_and_asks_little(site: Site) -> None:
    """Sixty messages are two pages, each below 60 KB and eight queries."""
    for number in range(60):
        site.send(HTML, subject=f"Number {number:02}", list_id="news", opens=False, clicks=False)
    seen = Visitor(site)
    page = f"/people/{key_of(site)}"
    seen.get(page)
    with queries(site) as asked:
        first = seen.get(page)
    assert len(asked) <= MOST, asked
    assert len(first.encode()) < 60_000
    older = re.search(r'href="([^"]*)" rel="next"', first)
    assert older
    rest = seen.get(older[1].replace("&amp;", "&").removeprefix(seen.prefix))
    assert [len(re.findall(r"Number \d\d", each)) for each in (first, rest)] == [50, 10]
