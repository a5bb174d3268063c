"""Lists of rows, and ids in place of addresses."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site
from reporting.test_reports import HTML, NOON, event, message

from flask_mailtrack import Scope
from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import EventType, OptOutKind, new_id
from flask_mailtrack.reporting.suppressions import handle
from flask_mailtrack.testing import BROWSER, Reader


def pages(ask: Any, **asked: Any) -> list[Any]:
    """All rows of a list, a page at a time."""
    page = ask(**asked)
    found = list(page.rows)
    while page.next:
        page = ask(page=page.next, **asked)
        found += page.rows
    return found


def test_who_left_is_told(database_url: str, make_site: MakeSite) -> None:
    """By whichever mail, list, reason and time; the newest first, in pages; a second click is no second departure."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    for number in range(5):
        sent = site.send(HTML, to=f"p{number}@b.example", list_id="news", tag="even" if number % 2 == 0 else "odd")
        path = "/m/u/" + str(sent.extra_headers["List-Unsubscribe"]).partition("/m/u/")[2].partition(">")[0]
        for _ in range(2):
            site.client.post(path, data={"List-Unsubscribe": "One-Click"}, headers=BROWSER)
    site.client.post(path, data={"action": "reason", "reason": "too_often", "comment": "=1+1"})
    site.mailtrack.suppress("p9@b.example", "news")
    ask = site.mailtrack.reports.departures
    found = pages(ask, size=2)
    assert [(each.address, each.tag, each.list_id, each.method) for each in found] == [
        (f"p{number}@b.example", "even" if number % 2 == 0 else "odd", "news", "one_click")
        for number in (4, 3, 2, 1, 0)
    ]
    assert [each.message_id for each in found] == [row.id for row in site.rows("Message")][::-1]
    (told,) = ask(reason="too_often").rows
    assert (told.address, told.comment, told.id) == ("p4@b.example", "=1+1", site.rows("Event")[-1].id)
    assert [each.address for each in ask(tag="odd").rows] == ["p3@b.example", "p1@b.example"]
    assert ask(until=found[-1].at - timedelta(days=1)).rows == ()
    assert len(ask(basis="happened", since=found[1].at, until=found[0].at).rows) == 1
    with pytest.raises(ReportError, match="page is"):
        ask(page="2")


def test_what_operators_have_set_is_told(database_url: str, make_site: MakeSite, tmp_path: Any) -> None:
    """Suppressions with their actor, in pages that name nobody; of equal age each stands on one page."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    file = tmp_path / "list.csv"
    lines = [f"i{number}@b.example,2026-01-01" for number in range(5)]
    file.write_text("\n".join(["email,created", *lines]))
    run = site.app.test_cli_runner()
    assert run.invoke(args=["mailtrack", "suppress", "import", str(file), "--by", "Ben"]).exit_code == 0
    site.mailtrack.suppress("ada@example.com", "news", reason="complaint", by="Mara")
    site.mailtrack.suppress("bob@example.com", reason="bounce")
    site.mailtrack.suppress("cyd@example.com", tracking=True)
    Reader(site.client, site.send(HTML, to="dan@example.com", list_id="news")).unsubscribe()
    site.mailtrack.suppress("gone@example.com")
    site.mailtrack.erase("gone@example.com")
    ask = site.mailtrack.reports.suppressions
    found = pages(ask, size=2)
    assert [(each.address, each.list_id, each.reason, each.actor) for each in found[:3]] == [
        ("", "", "", ""),
        ("bob@example.com", "", "bounce", ""),
        ("ada@example.com", "news", "complaint", "Mara"),
    ]
    assert sorted((each.address, each.method, each.actor) for each in found[3:]) == [
        (f"i{number}@b.example", "import", "Ben") for number in range(5)
    ]
    assert (ask(size=1).count.number, ask().count.exact) == (8, True)
    assert not any("@" in ask(size=size).next for size in range(1, 8))
    assert [each.address for each in ask(search="ADA@example.com").rows] == ["ada@example.com"]
    assert len(ask(search="B.EXAMPLE").rows) == 5
    assert [each.address for each in ask(reason="bounce").rows] == ["bob@example.com"]
    (added,) = {each.address for each in ask(own=True).rows} - {each.address for each in found}
    assert (added, len(ask(own=True).rows)) == ("dan@example.com", 9)
    for row in found:
        assert site.mailtrack.reports.address_of(row.id) == (row.address or None)
    assert len({row.id for row in found}) == len(found)
    with pytest.raises(ReportError, match="page is"):
        ask(page="2")


def test_an_id_stands_for_an_address(site: Site) -> None:
    """The id of a message, event or opt-out leads to its person, and a person to such an id; a scope is a wall."""
    key = message(site, recipient="ada@b.example", tag="a")
    newer = message(site, NOON + timedelta(days=1), recipient="ada@b.example", tag="b")
    event(site, key, NOON)
    site.mailtrack.suppress("bob@b.example", "news")
    reports = site.mailtrack.reports
    assert reports.handle_of(" Ada <ADA@b.example>") == newer
    for each in (key, str(newer), site.rows("Event")[0].id):
        assert reports.address_of(each) == "ada@b.example"
    handle_ = reports.handle_of("bob@b.example")
    assert handle_ is not None
    assert reports.address_of(handle_) == "bob@b.example"
    assert handle_.version == 8  # so it is neither a message nor an event
    assert (reports.handle_of("nobody@b.example"), reports.handle_of("x"), reports.address_of(new_id())) == (
        None,
        None,
        None,
    )
    narrowed = reports.within(Scope(tags={"a"}))
    assert (narrowed.handle_of("ada@b.example"), narrowed.address_of(newer)) == (key, None)
    assert (narrowed.address_of(handle_), narrowed.handle_of("bob@b.example")) == (None, None)
    assert handle("", "news", OptOutKind.UNSUBSCRIBE) != handle("no base32 !", "", OptOutKind.UNSUBSCRIBE)
    with pytest.raises(ReportError, match="handle is"):
        reports.address_of("ada@b.example")


def test_the_newest_events_are_told(site: Site) -> None:
    """What has just happened, whoever it was, with the sentence of the timeline."""
    reader = Reader(site.client, site.send(HTML, tag="spring", subject="Tea", list_id="news"))
    reader.open()
    Reader(site.client, reader.message, {**BROWSER, "Sec-Purpose": "prefetch"}).click("a")
    reader.unsubscribe()
    site.send(HTML, tag="other")
    left, clicked, opened = site.mailtrack.reports.latest()
    assert [each.by for each in (left, clicked, opened)] == ["people", "machine", "people"]
    assert (left.text, left.tag, left.subject) == ("Unsubscribed from news.", "spring", "Tea")
    assert (clicked.url, clicked.type) == ("https://example.com/a", "clicked")
    assert opened.text == site.mailtrack.reports.timeline(opened.message_id).events[0].text
    assert site.mailtrack.reports.latest(1) == (left,)
    assert site.mailtrack.reports.within(Scope(tags={"spring"})).latest(1) == (left,)
    assert site.mailtrack.reports.within(Scope(tags={"other"})).latest() == ()


def test_messages_are_counted_as_they_are_listed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count agrees with the list, exactly up to its limit, and says so beyond."""
    for number in range(5):
        message(site, NOON + timedelta(days=number), tag="a" if number else "b", opened_at=NOON if number < 2 else None)
    reports = site.mailtrack.reports
    asked: list[dict[str, Any]] = [{}, {"tag": "a"}, {"activity": "opened"}, {"search": "hell"}]
    asked += [{"search": "a@b.example"}, {"since": NOON + timedelta(days=3)}, {"sender_domain": "one.example"}]
    for about in asked:
        counted = reports.count(**about)
        assert (counted.number, counted.exact) == (len(reports.messages(**about).rows), True), about
    monkeypatch.setattr("flask_mailtrack.reporting.listings.COUNTED", 3)
    assert (reports.count().number, reports.count().exact) == (3, False)
    with pytest.raises(ReportError, match="activity is"):
        reports.count(activity="read")


def test_a_quiet_tenant_is_found_among_many_events(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not among the newest events of all is looked for where the sums say that something happened."""
    monkeypatch.setattr("flask_mailtrack.reporting.feed._LOOKED_AT", 1)
    monkeypatch.setattr("flask_mailtrack.reporting.departures._FIRST", 1)
    for name in ("quiet", "busy", "busy"):
        reader = Reader(
            site.client, site.send(HTML, to=f"{name}@b.example", sender=f"n@{name}.example", list_id="news")
        )
        reader.open()
        if name == "quiet":
            reader.unsubscribe()
    reports = site.mailtrack.reports.within(Scope({"quiet.example"}))
    assert [each.type for each in reports.latest()] == ["unsubscribed", "opened"]
    assert [each.type for each in reports.latest(1)] == ["unsubscribed"]
    assert [each.address for each in reports.departures().rows] == ["quiet@b.example"]


def mailing(site: Site, subject: str, day: int, opened: int, **about: Any) -> None:
    """Fifty copies of a mail, some of them opened."""
    at, models = NOON + timedelta(days=day), site.mailtrack.models
    same = {"status": "sent", "sender": "n@one.example", "tracks_opens": True, "tracks_clicks": True, "created_at": at}
    copies = [models.Message(id=new_id(), batch_id=new_id(), subject=subject, **same, **about) for _ in range(50)]
    seen = {"type": "opened", "occurred_at": at, "verdict": "human", "verdict_reasons": []}
    events = [models.Event(id=new_id(), message_id=copy.id, **seen) for copy in copies[:opened]]
    site.db.session.add_all([*copies, *events])
    site.db.session.commit()


def test_a_campaign_is_compared_with_those_before(site: Site) -> None:
    """The medians of the five before on the same list, whatever their tags; the same tag, where there is no list."""
    for day, opened in enumerate((50, 40, 10, 20, 30, 5)):
        mailing(site, f"Issue {day}", day, opened, list_id="news", tag=f"issue-{day}")
    mailing(site, "Offer", 3, 50, list_id="offers", tag="offer")
    mailing(site, "Now", 9, 1, list_id="news", tag="now")
    mailing(site, "After", 12, 50, list_id="news", tag="after")
    usual = site.mailtrack.reports.usual(tag="now")
    assert (usual.count, usual.opened, usual.clicked, usual.unsubscribed) == (5, 0.4, 0.0, 0.0)
    assert [(each.subject, each.totals.opened.unique) for each in usual.newest] == [
        ("Issue 5", 5),
        ("Issue 4", 30),
        ("Issue 3", 20),
    ]
    first = site.mailtrack.reports.usual(tag="offer")
    assert (first.count, first.opened, first.newest) == (0, None, ())
    assert site.mailtrack.reports.usual(tag="nothing").count == 0
    assert site.mailtrack.reports.within(Scope(tags={"now", "issue-0"})).usual(tag="now").count == 1
    mailing(site, "Old", 1, 25, tag="weekly")
    mailing(site, "New", 2, 1, tag="weekly")
    assert site.mailtrack.reports.usual(tag="weekly", subject="New").opened == 0.5


def test_an_export_names_the_actor(site: Site) -> None:
    """What is handed over says who has changed a person's standing."""
    site.mailtrack.suppress("ada@example.com", by="Mara")
    (row,) = json.loads(json.dumps(site.mailtrack.export("ada@example.com")))["audit"]
    assert row["actor"] == "Mara"
    assert row["change"] == EventType.UNSUBSCRIBED
