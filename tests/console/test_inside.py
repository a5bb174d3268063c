"""Machines, health and the live page."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor, words

from flask_mailtrack.console import inside
from flask_mailtrack.phrases import foreign
from flask_mailtrack.reporting import check, decisions, waiting_check
from flask_mailtrack.reporting.remedies import Finding
from flask_mailtrack.scope import Scope
from flask_mailtrack.state import State
from flask_mailtrack.testing import APPLE, SCANNER, Reader


def test_each_rule_is_told_in_words_with_its_counts(site: Site) -> None:
    """The page says who came, by what each was known, how often, and of when the list of networks is."""
    sent = site.send('<a href="https://example.net/">Read</a>')
    Reader(site.app.test_client(), sent).open()
    Reader(site.app.test_client(), sent, APPLE).open()
    Reader(site.app.test_client(), sent, SCANNER).click("Read")
    seen = Visitor(site)
    page = words(seen.get("/machines"))
    assert "It was a browser, and nothing spoke against a person. Person ua_browser 1" in page
    assert "By machines ? 66.7% Opens and clicks: 2 of 3" in page
    assert re.search(r"The list of networks of machines is of \d+ \w+", page)
    lines = seen.get("/machines?format=csv").splitlines()
    assert lines[0] == "verdict,rule,in words,opens,clicks,people,machines,unknown"
    assert len(lines) == 4
    seen.scope = Scope(tags={"another"})
    assert "Nobody has opened or clicked in this period." in seen.get("/machines")


def test_health_says_what_the_check_says(site: Site) -> None:
    """Each finding of the command stands on the page, under what it is about, with its code."""
    seen = Visitor(site)
    page = words(seen.get("/health"))
    assert "✓ Nothing is lost Everything is stored." in page
    for told in ("links are built on https://links.example.com/m C10", "the tables are there, and take rows C30"):
        assert told in page
    codes = {code for _, codes in inside._GROUPS for code in codes}
    sources = "".join(Path(str(each.__file__)).read_text() for each in (check, waiting_check, decisions))
    assert set(re.findall(r"\"(C\d\d)\"", sources)) == codes


def test_health_stands_without_the_database(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a database that is away or hangs the page comes, and says so; what comes in is on disk."""
    site = make_site(tables=False)
    seen = Visitor(site)
    assert "no table" in words(seen.get("/health"))
    release = threading.Event()

    def hangs(*_: Any) -> Iterator[Finding]:
        release.wait(10)
        yield Finding("C30", "ok", foreign("in the end"))

    monkeypatch.setattr(inside, "findings", hangs)
    monkeypatch.setattr(inside, "LOOK_SECONDS", 0.01)
    page = words(seen.get("/health"))
    assert "Most likely the database does not answer." in page
    assert "Waiting 0 records on disk" in page
    release.set()
    for thread in [each for each in threading.enumerate() if each.name.startswith("mailtrack-health")]:
        thread.join()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lost": 3}, "Something is lost or refused."),
        ({"last_error": "OperationalError", "rows": 5}, "failed (OperationalError); what came in waits on disk"),
        ({"oldest_seconds": 400.0, "rows": 5}, "The database is behind."),
        ({"rows": 5}, "Everything is on disk, and on its way to the database."),
        ({"refused_optouts": 2, "bad": 2}, "2 of them opt-outs, whose people get no list mail"),
        ({"streamed": 7}, "Redis 7 records wait there"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_health_says_what_is_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], told: str
) -> None:
    """One sentence at the top, and the figures with what they mean."""
    sick = dataclasses.replace(site.mailtrack.health(), **change)
    monkeypatch.setattr(State, "health", lambda state: sick)
    assert told in words(Visitor(site).get("/health"))


def test_a_tenant_learns_no_path_and_no_host(site: Site) -> None:
    """The health of a shared app is told without what it is made of."""
    seen = Visitor(site, scope=Scope(sender_domains={"one.example"}))
    page = seen.get("/health")
    assert "Nothing is lost" in page
    assert "spool" not in page
    assert "links.example.com" not in page


def test_the_live_page_shows_what_has_just_happened(site: Site) -> None:
    """The newest comes first, leads to its message, and names nobody, whoever looks."""
    sent = site.send('<a href="https://example.net/?for=ada@example.com&x=bob%40example.com">Read</a>')
    site.send(subject="For ada@example.com")
    reader = Reader(site.app.test_client(), sent)
    reader.open()
    reader.click("Read")
    seen = Visitor(site)
    page = seen.get("/live")
    told = words(page)
    assert told.index("Clicked Read by a person") < told.index("Opened by a person")
    assert page.count('href="/mt/messages/') == 2
    assert "@example.com" not in page


def test_the_live_page_stops(site: Site) -> None:
    """It looks again by itself for ten minutes, whatever its address says, and then asks whether to go on."""
    seen = Visitor(site)
    page = seen.get("/live")
    (again,) = re.findall(r'<noscript><meta http-equiv="refresh" content="5; url=(/mt/live\?until=\d+)">', page)
    assert again in seen.get(again.removeprefix("/mt"))
    for odd in ("1", "99999999999", "x", "-5", "9" * 50, "٣"):
        page = seen.get(f"/live?until={odd}")
        assert "http-equiv" not in page
        assert '<a href="/mt/live">Go on</a>' in page
