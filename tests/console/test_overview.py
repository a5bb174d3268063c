"""The overview and the list of campaigns: each figure is what the reports say and what is behind its link."""

from __future__ import annotations

import csv
import re
from datetime import timedelta
from typing import Any

import lxml.html
import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor, words
from written_rows import asked, mail, message, rows_behind, summed

from flask_mailtrack.events import Status, now

MOST_QUESTIONS = 8
MOST_BYTES = 60_000
TZ = "Asia/Kathmandu"
"""Days begin at a quarter past an hour of UTC: no period is made of whole days there."""


def links(page: str) -> dict[str, str]:
    """Return where each link of the page leads, by its text."""
    tree: Any = lxml.html.fromstring(page)
    return {re.sub(r"\s+", " ", each.text_content()).strip(): each.get("href") for each in tree.iter("a")}


def cells(page: str) -> list[list[str]]:
    """Return the texts of the table of campaigns."""
    tree: Any = lxml.html.fromstring(page)
    (table,) = tree.find_class("sort")
    return [[re.sub(r"\s+", " ", cell.text_content()).strip() for cell in row] for row in table.find("tbody")]


@pytest.fixture(name="seeded")
def _seeded(make_site: MakeSite) -> tuple[Site, Visitor]:
    """Two mails of this period, and one of the period before."""
    site = make_site(MAILTRACK_TIMEZONE=TZ)
    mail(site, now() - timedelta(days=40), "winter", 60, 20, 5)
    mail(site, now() - timedelta(days=9), "spring", 60, 30, 12)
    mail(site, now() - timedelta(days=2), "", 3, 1, subject="No tag", sender="me@two.example", list_id="")
    message(site, now() - timedelta(days=2), tag="spring", status=Status.FAILED, tracks_opens=False, list_id="news")
    message(site, now() - timedelta(days=2), tag="spring", tracks_opens=False, tracks_clicks=False, list_id="news")
    summed(site)
    return site, Visitor(site)


def test_each_figure_is_what_the_reports_say(seeded: tuple[Site, Visitor]) -> None:
    """Four figures with what they are of, compared with the period before; each number leads to as many messages."""
    site, seen = seeded
    page = seen.get("/")
    totals = site.mailtrack.reports.totals(since=(now() - timedelta(days=27, hours=12)).date(), tz=TZ)
    assert (totals.out, totals.tried, totals.opened.unique, totals.opened.of) == (64, 65, 31, 63)
    for text in ("64", "of 65 tried", "31 of 63 with a pixel", "12 of 63 with tracked links", "1 of 61 on a list"):
        assert text in words(page)
    assert "up 6.7%" in words(page)  # of 60 in the period before
    assert "up 15.9 points" in words(page)
    assert "1 message went out without a pixel." in words(page)
    there = links(page)
    for text, number in (("64", 64), ("of 65 tried", 65), ("49.2%", 31), ("19.0%", 12), ("1.6%", 1), ("1 refused", 1)):
        assert rows_behind(site, there[text], TZ) == number, text
    assert rows_behind(site, there["See which were not measured"], TZ) == 1
    assert "Opened by machines" in words(seen.get("/?who=machines"))


def test_the_table_is_sorted_and_is_a_file(seeded: tuple[Site, Visitor]) -> None:
    """A heading sorts the table and says how it is sorted; the file has the same lines in the same order."""
    site, seen = seeded
    page = seen.get("/")
    rows = cells(page)
    assert {row[0] for row in rows} == {"spring 2 subjects", "Mail without a tag No tag"}
    tree: Any = lxml.html.fromstring(page)
    assert [each.get("aria-sort") for each in tree.iter("th") if each.get("aria-sort")] == ["descending"]
    by_sent = seen.get(links(page)["Sent"].removeprefix("/mt"))
    assert [row[0][:6] for row in cells(by_sent)] == ["spring", "Mail w"]
    assert 'aria-sort="descending"><a href="/mt/?sort=sent">Sent' in by_sent
    upwards = seen.get("/?sort=sent")
    assert [row[0][:6] for row in cells(upwards)] == ["Mail w", "spring"]
    for href in (each.get("href") for each in tree.find_class("sort")[0].iter("a") if "/messages" in each.get("href")):
        text = next(each.text_content() for each in tree.iter("a") if each.get("href") == href)
        assert rows_behind(site, href, TZ) == int(text.split(" of ")[0]), href
    lines = list(csv.DictReader(seen.get(links(upwards)["CSV"].removeprefix("/mt")).splitlines()))
    assert [(line["name"], line["tried"], line["opened_unique"]) for line in lines] == [
        ("", "3", "1"),
        ("spring", "62", "30"),
    ]
    seen.permissions = ("view",)
    seen.get("/?format=csv", status=404)
    assert "CSV" not in links(seen.get("/"))


def test_a_sender_narrows_all_of_it(seeded: tuple[Site, Visitor]) -> None:
    """Figures, chart and table are of one sender domain, until its chip is pressed; unknown values are told."""
    _, seen = seeded
    assert "<option>two.example</option>" in seen.get("/")
    page = seen.get("/?sender=two.example")
    assert "of 3 tried" in words(page)
    assert len(cells(page)) == 1
    assert links(page)["two.example ×remove"] == "/mt/"
    assert "We ignored period=7x." in words(seen.get("/?period=7x"))


def test_thirteen_weeks_are_thirteen_weeks(seeded: tuple[Site, Visitor]) -> None:
    """The trend of a quarter has a step for each week, whose numbers are those of the days in it."""
    _, seen = seeded
    page = seen.get("/?period=90d&step=week")
    tree: Any = lxml.html.fromstring(page)
    table = next(each for each in tree.iter("table") if "Opens and clicks" in each.text_content())
    steps = [[int(cell.text_content()) for cell in row.findall("td")] for row in table.find("tbody")]
    assert 13 <= len(steps) <= 14
    assert [sum(each) for each in zip(*steps, strict=True)] == [51, 17, 3]
    assert sum(1 for each in tree.find_class("x")[0] if each.text_content()) in (2, 3, 4)
    for step in ("hour", "day", "month", "never"):
        assert len(seen.get(f"/?step={step}")) < MOST_BYTES
    assert "Opens and clicks an hour" in words(seen.get("/?period=7d&from=2026-01-01&to=2026-01-02&step=hour"))
    assert len(seen.get("/?from=1990-01-01&to=2026-01-02&step=hour")) < MOST_BYTES


def test_a_concern_leads_to_what_is_behind_it(make_site: MakeSite) -> None:
    """What needs attention stands there with a link; where nothing does, the page says so."""
    site = make_site()
    seen = Visitor(site)
    page = words(seen.get("/"))
    assert "No mail was sent in this period." in page
    assert "Nothing needs you." in page
    mail(site, now() - timedelta(days=9), "spring", 60, 30, 12)
    for _ in range(4):
        message(site, now() - timedelta(days=9), tag="spring", subject="About spring", list_id="news", status="failed")
    summed(site)
    page = seen.get("/")
    assert "6.2% of 64 copies of “About spring” failed." in words(page)
    assert rows_behind(site, links(page)["See the messages: About spring"]) == 4
    assert "failed." not in words(seen.get("/?period=7d"))


def test_a_page_asks_little_and_weighs_little(make_site: MakeSite) -> None:
    """Overview and list ask eight questions at most and stay under 60 KB with 200 campaigns of long names."""
    site = make_site(MAILTRACK_TIMEZONE=TZ)
    for number in range(200):
        message(site, now() - timedelta(days=1 + number % 80), tag=f"{number:03} " + "ü" * 60, subject="x" * 90)
    summed(site)
    seen = Visitor(site)
    questions = asked(site)
    for path in ("/?period=90d", "/?period=90d&step=day", "/campaigns?period=90d", "/campaigns?period=90d&sort=name"):
        questions.clear()
        page = seen.get(path)
        assert len(questions) <= MOST_QUESTIONS, questions
        assert len(page.encode()) <= MOST_BYTES
    names = [row[0][:3] for row in cells(page)]
    while following := links(page).get("Next"):
        page = seen.get(following.removeprefix("/mt"))
        names += [row[0][:3] for row in cells(page)]
    assert names == [f"{number:03}" for number in range(200)]
    assert links(seen.get("/?period=90d"))["All 200 campaigns"].startswith("/mt/campaigns?")
    assert "No mail was sent" in words(seen.get("/campaigns?from=2020-01-01&to=2020-01-02"))
