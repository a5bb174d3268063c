"""One campaign: compared, its links, the map of its clicks, and with what it was read."""

from __future__ import annotations

import csv
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import lxml.html
import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor, words
from written_rows import asked, event, mail, message, rows_behind, summed

from flask_mailtrack.events import Status, now
from flask_mailtrack.testing import Reader

MOST_QUESTIONS = 8
MOST_BYTES = 60_000
PAGES = ("/campaign", "/campaign/links", "/campaign/clients")
ODD = ("", 'a/b?c=d&e#f"<b>', "حملة الربيع", "🫖" * 63, "x" * 255, "' OR 1=1 --", "%2e%2e/%00", " two  words ")


def links(page: str) -> dict[str, str]:
    """Return where each link of the page leads, by its text."""
    tree: Any = lxml.html.fromstring(page)
    return {re.sub(r"\s+", " ", each.text_content()).strip(): each.get("href") for each in tree.iter("a")}


def of(path: str, tag: str, **more: str) -> str:
    """Return the address of a page of a campaign."""
    return f"{path}?{urlencode({'tag': tag, **more})}"


@pytest.fixture(name="seeded")
def _seeded(make_site: MakeSite) -> tuple[Site, Visitor]:
    """A list with five campaigns, one of them too small and one too young to say what is usual."""
    site = make_site()
    mail(site, now() - timedelta(days=60), "winter", 60, 12, 3)
    mail(site, now() - timedelta(days=50), "small", 3, 3, 3)
    mail(site, now() - timedelta(days=40), "spring", 60, 24, 6)
    mail(site, now() - timedelta(hours=30), "young", 60, 6, 6)
    mail(site, now() - timedelta(hours=20), "summer", 60, 30, 12)
    message(site, now() - timedelta(hours=20), tag="summer", list_id="news", status=Status.FAILED)
    summed(site)
    return site, Visitor(site)


def test_a_campaign_stands_beside_those_before_it(seeded: tuple[Site, Visitor]) -> None:
    """Four figures against the mail before on the list, three mails to compare, and the usual curve of large ones."""
    site, seen = seeded
    page = seen.get(of("/campaign", "summer"))
    text = words(page)
    for figure in ("of 61 tried", "30 of 60 with a pixel", "12 of 60 with tracked links", "1 of 60 on a list"):
        assert figure in text
    assert "compare with young , the mail before on this list." in text
    assert "up 40.0 points" in text
    assert "This mail: 50.0% after 20 h" in text
    assert (
        "Usual on this list: 30.0% by then" in text
    )  # the median of 20% and 40%: neither small nor young mail has a say
    tree: Any = lxml.html.fromstring(page)
    table = next(each for each in tree.iter("table") if "Compared with" in each.text_content())
    assert [row[0].text_content() for row in table.find("tbody")] == ["This one", "young", "spring", "small"]
    there = links(page)
    for name, number in (("50.0%", 30), ("20.0%", 12), ("1 refused", 1), ("of 61 tried", 61), ("Recipients", 61)):
        assert rows_behind(site, there[name]) == number, name
    assert "/mt/unsubscribes?" in there["Unsubscribes"]
    assert "First on this list" in words(seen.get(of("/campaign", "winter")))
    assert "No mail of this campaign" in words(seen.get(of("/campaign", "never"), 404))
    assert "No mail of this campaign" in words(seen.get(of("/campaign", "spring", period="7d"), 404))
    narrowed = seen.get(of("/campaign", "spring", period="90d"))
    assert "Only mail sent from" in words(narrowed)
    assert "from=" in links(narrowed)["Links"]


def test_mail_that_is_sent_all_the_time_has_days(make_site: MakeSite) -> None:
    """A confirmation has no growth and no mail before it: the page shows its days, and its subjects."""
    site = make_site()
    for days in range(9):
        key = message(site, now() - timedelta(days=days), tag="order", subject=f"Order in {'AB'[days % 2]}")
        event(site, key, now() - timedelta(days=days))
    summed(site)
    page = Visitor(site).get(of("/campaign", "order"))
    assert "sent all the time since" in words(page)
    assert "compared with no other" in words(page)
    assert rows_behind(site, links(page)["Order in A"]) == 5


def test_a_campaign_that_is_being_sent_loads_itself_again(make_site: MakeSite) -> None:
    """While copies are under way the page has a bar and a header; a process that has ended does not keep it going."""
    site = make_site()
    seen = Visitor(site)
    for age, status in ((30, Status.SENT), (20, Status.SENDING), (10, Status.SENDING)):
        message(site, now() - timedelta(seconds=age), tag="fresh", status=status)
    message(site, now() - timedelta(hours=1), tag="stalled", status=Status.SENDING)
    summed(site)
    answer = seen.client.get("/mt/campaign?tag=fresh")
    assert answer.headers["Refresh"] == "5"
    assert '<progress max="3" value="1"' in answer.text
    assert "Early: most opens are still to come." in words(answer.text)
    assert "Nobody has clicked yet." in words(seen.get("/campaign/links?tag=fresh"))
    assert "Nobody has opened it yet." in words(seen.get("/campaign/clients?tag=fresh"))
    answer = seen.client.get("/mt/campaign?tag=stalled")
    assert "Refresh" not in answer.headers
    assert "<progress" not in answer.text


def test_links_and_clients_are_what_the_reports_say(seeded: tuple[Site, Visitor]) -> None:
    """Each link has its share of people or of clicks; what a proxy hides is a bar of its own; both are files."""
    site, seen = seeded
    page = seen.get(of("/campaign/links", "summer"))
    assert "1 hero shop.example/ tea link 1, HTML part 12 100.0% 12 0" in words(page)
    assert rows_behind(site, links(page)["12 messages clicked by people"]) == 12
    assert "No copy of this mail is kept" in words(page)
    assert "of all 12 clicks" in words(seen.get(of("/campaign/links", "summer", count="clicks")))
    (line,) = csv.DictReader(seen.get(of("/campaign/links", "summer", format="csv")).splitlines())
    assert (line["url"], line["unique"], line["of"]) == ("https://shop.example/tea", "12", "12")
    page = seen.get(of("/campaign/clients", "summer"))
    for text in ("Firefox 100.0% 30", "Linux 96.7% 29", "Hidden by a proxy, or not known 3.3% 1", "desktop 100.0% 30"):
        assert text in words(page)
    assert "All other domains 60 30 12" in words(page)
    rows = list(csv.DictReader(seen.get(of("/campaign/clients", "summer", format="csv")).splitlines()))
    assert [(row["dimension"], row["value"], row["unique"]) for row in rows if row["dimension"] == "os"] == [
        ("os", "Linux", "29"),
        ("os", "", "1"),
    ]
    seen.permissions = ("view",)
    for path in PAGES:
        seen.get(of(path, "summer", format="csv"), 404)


def test_eight_clients_and_the_others(make_site: MakeSite) -> None:
    """Of many clients the eight largest stand there, and the others as one; no message is left out."""
    site = make_site()
    for number in range(12):
        event(site, message(site, now(), tag="a"), now(), client=f"Client {number:02}", country="DE")
    summed(site)
    text = words(Visitor(site).get(of("/campaign/clients", "a")))
    assert "Client 07" in text
    assert "Client 08" not in text
    assert "Other 33.3% 4" in text


def test_a_tag_may_be_anything(make_site: MakeSite) -> None:
    """Whatever a tag holds, its pages are there, ask little, weigh little, and their numbers lead to its messages."""
    site = make_site()
    for tag in ODD:
        mail(site, now() - timedelta(days=2), tag, 2, 1, 1, subject="One subject")
    summed(site)
    seen = Visitor(site)
    questions = asked(site)
    there = links(seen.get("/campaigns"))
    for tag in ODD:
        name = re.sub(r"\s+", " ", tag).strip() or "Mail without a tag"
        assert there[name] == "/mt" + of("/campaign", tag)
        for path in PAGES:
            fewest: list[str] | None = None
            for _ in range(4):  # on a slow machine, what is remembered for all pages is asked again now and then
                questions.clear()
                page = seen.get(of(path, tag))
                fewest = min(fewest or list(questions), list(questions), key=len)
            assert len(fewest or []) <= MOST_QUESTIONS, fewest
            assert len(page.encode()) <= MOST_BYTES
            assert tag in lxml.html.fromstring(page).findtext(".//h1/bdi", "") or not tag
            assert rows_behind(site, links(page)["Recipients"]) == 2
    for path in PAGES:
        assert "Leave out" in words(seen.get(f"{path}?tag=%00", 400)) or "NUL" in words(
            seen.get(f"{path}?tag=%00", 400)
        )


def test_the_clicks_stand_on_the_mail_itself(make_site: MakeSite) -> None:
    """The mail is shown in a frame that runs nothing and asks nobody, whatever headers the host sets for its pages."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)

    @site.app.after_request
    def widened(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = "default-src *"
        response.headers["X-Frame-Options"] = "DENY"
        return response

    html = '<body style="color:red"><a href="https://example.com/a" onclick="x()">A</a><script>alert(1)</script></body>'
    Reader(site.client, site.send(html, tag="spring")).click("A")
    site.send(html.replace("A</a>", "B</a>"), tag="spring", subject="Other")
    seen = Visitor(site)
    page = seen.get(of("/campaign/links", "spring"))
    assert "Other" in links(page)
    (frame,) = lxml.html.fromstring(seen.get(links(page)["Hello"].removeprefix("/mt"))).iter("iframe")
    assert frame.get("sandbox") == ""
    answer = seen.client.get(frame.get("src"))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert policy.endswith("frame-ancestors 'self'")
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert answer.headers["Cache-Control"].startswith("no-store")
    assert "1 · 100%" in words(answer.text)
    for danger in ("<script", "onclick", "href", "/m/"):
        assert danger not in answer.text
    assert "frame-ancestors 'none'" in seen.client.get("/mt/").headers["Content-Security-Policy"]
    assert "No copy of this mail is kept" in words(seen.get(of("/campaign/map", "never"), 404))
    seen.get(of("/campaign/map", "spring", body="no-id"), 400)
    questions = asked(site)
    seen.get(of("/campaign/links", "spring"))
    assert len(questions) <= MOST_QUESTIONS, questions
