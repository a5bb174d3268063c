"""Who left, and why, in the console."""

from __future__ import annotations

import csv
import io
import re
from urllib.parse import urlsplit

import pytest
from conftest import Site
from console_visitor import ALL, Visitor, words
from query_count import MOST, queries

from flask_mailtrack.testing import Reader

WICKED = "=1+1 <script>alert(1)</script> bob@example.com"


def leave(site: Site, to: str, tag: str, reason: str = "", comment: str = "") -> None:
    """Leave by the page of a mail's footer."""
    sent = site.send("<p>Hello</p>", to, tag=tag, list_id="news", subject=f"About {tag}")
    (link,) = re.findall(r"<(https://[^>]+)>", sent.extra_headers["List-Unsubscribe"])
    path = urlsplit(link).path
    assert site.client.post(path, data={"action": "unsubscribe"}).status_code < 400
    if reason:
        said = {"action": "reason", "reason": reason, "comment": comment}
        assert site.client.post(path, data=said).status_code < 400


def test_the_reasons_of_one_campaign_are_bars_with_the_rows_behind_them(site: Site) -> None:
    """Each reason is told in words with its number, which leads to who gave it; one campaign shows its own."""
    leave(site, "ada@example.com", "winter", "too_often", WICKED)
    leave(site, "bob@example.com", "winter")
    leave(site, "eve@example.com", "summer", "not_relevant")
    seen = Visitor(site)
    page = seen.get("/unsubscribes?tag=winter")
    told = words(page)
    assert re.search(r"Who left a list from .* to .*: 2 ", told)
    assert "Too many emails 1 of 2" in told
    assert "No reason given 1 of 2" in told
    assert "Not relevant" not in told
    assert page.count('class="k"') == 1
    assert "“ =1+1 <script>alert(1)</script> bob@example.com ”" in told
    assert "<script>alert" not in page
    assert "First of its kind" in told
    only = words(seen.get("/unsubscribes?reason=too_often")).partition("Who left")[2]
    assert "ada" in only
    assert "bob @example.com" not in only
    table = list(csv.DictReader(io.StringIO(seen.get("/unsubscribes?tag=winter&format=csv"))))
    assert [row["comment"][:2] for row in table] == ["", "'="]
    assert "Nobody left. Good." in words(seen.get("/unsubscribes?tag=nothing"))


def test_a_mail_by_which_far_more_left_than_usual_is_marked(site: Site) -> None:
    """Beside its rate, a mail says how many times the usual rate that is, if mails before it tell."""
    people = [f"person{number}@example.com" for number in range(60)]
    for tag, gone in (("first", 1), ("second", 5)):
        outbox = site.send("<p>Hello</p>", people, tag=tag, list_id="news", subject=f"About {tag}")
        for message in outbox[:gone]:
            Reader(site.client, message).unsubscribe()
        people = [person for person in people if f"<{person}>" not in str(outbox[:gone])]
    told = words(Visitor(site).get("/unsubscribes"))
    assert re.search(r"second About second 5 8\.\d% ▲ [45]\.\d× usual", told), told
    assert "first About first 1 1.7% First of its kind" in told


@pytest.mark.parametrize("left_out", ALL)
def test_a_viewer_sees_what_their_permissions_allow(site: Site, left_out: str) -> None:
    """Without `addresses` people are masked, and what they wrote is hidden, in the file as well."""
    leave(site, "ada@example.com", "winter", "other", WICKED)
    seen = Visitor(site, [each for each in ALL if each != left_out])
    page = seen.get("/unsubscribes", 404 if left_out == "view" else 200)
    if left_out == "addresses":
        for text in (page, seen.get("/unsubscribes?format=csv")):
            assert "alert(1)" not in text
            assert not re.search(r"ada(<wbr>)?@example", text)
            assert "a•••@e•••.com" in text
    seen.get("/unsubscribes?format=csv", 404 if left_out in ("view", "export") else 200)


def test_a_page_of_fifty_is_small_and_asks_little(site: Site) -> None:
    """Fifty who left are one page below 60 KB and eight queries."""
    for message in site.send("<p>Hello</p>", [f"person{n}@example.com" for n in range(55)], tag="w", list_id="news"):
        Reader(site.client, message).unsubscribe()
    seen = Visitor(site)
    seen.get("/unsubscribes")
    with queries(site) as asked:
        page = seen.get("/unsubscribes")
    assert len(asked) <= MOST, asked
    assert len(page.encode()) < 60_000
    assert 'rel="next"' in page
