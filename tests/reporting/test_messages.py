"""Messages one by one: in pages, of one person, and what happened to one."""

from __future__ import annotations

import inspect
import re
import typing
from datetime import timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site
from reporting.test_reports import HTML, NOON, event, forget, message

from flask_mailtrack import agents
from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import EventType, Status, Verdict, now
from flask_mailtrack.incoming import verdict
from flask_mailtrack.reporting import messages, timeline
from flask_mailtrack.storage.tables.rebuild import Rebuild
from flask_mailtrack.testing import BROWSER, Reader


@pytest.mark.parametrize(
    "filters", [{}, {"tag": "a"}, {"list_id": "news"}, {"subject": "Hello"}, {"search": "HELL"}], ids=repr
)
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_follow_each_other(site: Site, filters: dict[str, Any], order: str) -> None:
    """Each message stands on one page, in order, also where several were made at one moment."""
    made = [message(site, NOON + timedelta(minutes=number // 3), tag="a", list_id="news") for number in range(10)]
    message(site, tag="b", subject="Other")
    page, found = site.mailtrack.reports.messages(order=order, size=3, status="sent", **filters), []
    while True:
        found += [row.id for row in page.rows if row.subject == "Hello"]
        if not page.next:
            break
        page = site.mailtrack.reports.messages(order=order, size=3, status="sent", page=page.next, **filters)
    assert found == (made if order == "oldest" else made[::-1])


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize(("turn", "branches", "activity"), [(1, 2, ""), (1, 2, "opened"), (2, 100, ""), (1, 0, "")])
def test_pages_of_many_mails_follow_each_other(
    database_url: str,
    make_site: MakeSite,
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    turn: int,
    branches: int,
    activity: str,
) -> None:
    """A text is in many subjects, of which each page reads a few: those that come first on the way."""
    monkeypatch.setattr(messages, "_FIRST_TURN", turn)
    monkeypatch.setattr(messages, "_BRANCHES", branches)
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    made = []
    for number in range(20):
        opened = {"opened_at": NOON} if number % 3 == 0 else {}
        about = {"tag": f"mail {number * 7 % 9}", "subject": f"Hello {number * 7 % 9}"}
        made.append((message(site, NOON + timedelta(minutes=number // 3), **about, **opened), bool(opened)))
        message(site, NOON + timedelta(minutes=number), tag="other", subject="Other")
    state = site.mailtrack._state()
    Rebuild(state.database, state.signer).run()
    wanted = [key for key, opened in made if opened or not activity]
    page, found = site.mailtrack.reports.messages(order=order, size=3, search="hello", activity=activity), []
    while page.rows:
        found += [row.id for row in page.rows]
        if not page.next:
            break
        about = {"order": order, "size": 3, "search": "hello", "activity": activity}
        page = site.mailtrack.reports.messages(page=page.next, **about)
    assert found == (wanted if order == "oldest" else wanted[::-1])


@pytest.mark.parametrize("search", ["Über", "über", "ÜBER UNS", "uns"])
def test_a_subject_is_found_by_letters_of_any_alphabet(database_url: str, make_site: MakeSite, search: str) -> None:
    """SQLite knows the cases of A to Z alone, and must find at least a text that is written as it stands."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    found = message(site, subject="Über uns")
    assert [row.id for row in site.mailtrack.reports.messages(search=search).rows] == [found]


def test_messages_are_found(database_url: str, make_site: MakeSite) -> None:
    """By a whole address, by a part of the subject, by sender, by status, by what people did, and by time."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    a = message(site, recipient="ada@example.com", subject="100 % tea", opened_at=NOON, open_count=1)
    b = message(site, recipient="bob@example.com", subject="100 people", machine_count=2, sender="x@Two.example")
    c = message(
        site, NOON + timedelta(days=1), status=Status.FAILED, subject="", tracks_opens=False, tracks_clicks=False
    )
    ask = site.mailtrack.reports.messages
    for filters, found in (
        ({"search": " ADA@Example.com"}, [a]),
        ({"search": "ada@example"}, []),
        ({"search": "100 %"}, [a]),
        ({"search": "PEOPLE"}, [b]),
        ({"sender_domain": "two.example"}, [b]),
        ({"status": "failed"}, [c]),
        ({"activity": "opened"}, [a]),
        ({"activity": "machines"}, [b]),
        ({"activity": "unmeasured"}, [c]),
        ({"activity": "nothing"}, []),
        ({"until": NOON + timedelta(seconds=1), "order": "oldest"}, [a, b]),
    ):
        assert [row.id for row in ask(**filters).rows] == found, filters


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"order": "best"}, "order is 'best'"),
        ({"activity": "read"}, "activity is 'read'"),
        ({"size": 0}, "size is 0"),
        ({"page": "2"}, "page is '2'"),
        ({"basis": "happened"}, "Leave basis out"),
    ],
)
def test_a_wrong_list_is_explained(site: Site, asked: dict[str, Any], said: str) -> None:
    """What cannot be listed is refused with the cure."""
    with pytest.raises(ReportError, match=said):
        site.mailtrack.reports.messages(**asked)


def test_a_timeline_explains_itself(site: Site) -> None:
    """Each event says who it was, and why we think so; a corrected one says what it was taken for at first."""
    reader = Reader(site.client, site.send(HTML, list_id="news"))
    reader.open()
    Reader(site.client, reader.message, {**BROWSER, "Sec-Purpose": "prefetch"}).click("a")
    reader.unsubscribe()
    (row,) = site.rows("Message")
    event(
        site,
        row.id,
        row.created_at + timedelta(hours=1),
        EventType.CLICKED,
        verdict=Verdict.SCANNER,
        first_verdict="human",
        verdict_reasons=["burst"],
        first_verdict_reasons=["ua_browser"],
        url="https://e.example/",
    )
    found = site.mailtrack.reports.timeline(str(row.id))
    assert [each.by for each in found.events] == ["people", "machine", "people", "machine"]
    assert found.events[0].text.startswith("Opened by a person, with ")
    assert found.events[1].text.startswith("Clicked first by a program that loads ahead")
    assert found.events[1].why == "The browser said that it loads the page ahead of its person."
    assert found.events[2].text == "Unsubscribed from news."
    assert found.events[3].corrected.startswith("First taken for a person. It was a browser")
    assert (found.message.recipient, found.notes) == ("ada@example.com", ())


def test_a_timeline_says_why_there_is_nothing(site: Site) -> None:
    """No pixel, nothing yet, declined, held back, and failed are told apart."""
    site.mailtrack.suppress("ada@example.com", tracking=True)
    for about, said in (
        ({}, "Nothing has happened yet."),
        ({"tracks_opens": False}, "No opens can show: the mail has no pixel."),
        ({"status": Status.FAILED, "error": "550 no such user"}, "Not sent: 550 no such user."),
        ({"status": Status.SUPPRESSED}, "Held back: the person had unsubscribed."),
        ({"mode": "deliverability"}, "Only the last day on which somebody was seen is kept (deliverability mode)."),
        ({"recipient": ""}, "The person is forgotten, and what happens from now on is not kept."),
        ({"recipient": "ada@example.com"}, "The person has declined measuring on "),
        ({"shared": True}, "Several people got this copy, so nobody can say who of them it was."),
    ):
        notes = site.mailtrack.reports.timeline(message(site, **about)).notes
        assert any(note.startswith(said) for note in notes), (about, notes)
    for wrong in ("x", "01977f9e-0000-7000-8000-000000000000", None):
        with pytest.raises(ReportError, match="message"):
            site.mailtrack.reports.timeline(typing.cast(Any, wrong))


def click(site: Site, key: Any, seconds: float, url: str, **about: Any) -> None:
    """A click by a browser, so long after a mail of noon."""
    said = {"url": url, "ip": "192.0.2.0", "user_agent": "Firefox"} | about
    event(site, key, NOON + timedelta(seconds=seconds), EventType.CLICKED, **said)


def test_a_person_in_a_hurry_is_thought_of(site: Site) -> None:
    """Two quick clicks of one visitor soon after the mail may be a person's, and the timeline says so."""
    robot = {"verdict": Verdict.SCANNER, "verdict_reasons": ["burst"], "first_verdict": "human"}

    def told(*clicks: tuple[float, str, dict[str, Any]]) -> list[str]:
        key = message(site)
        for seconds, url, about in clicks:
            click(site, key, seconds, url, **(robot | about))
        return [each for each in site.mailtrack.reports.timeline(key).notes if each.startswith("Two links")]

    (note,) = told((20, "a", {}), (23, "b", {}))
    assert note.startswith("Two links were followed within 3 seconds, 20 seconds after the mail. Mail filters do that")
    assert told((20, "a", {}), (23, "b", {}), (24, "c", {})) == []
    assert told((20, "a", {}), (23, "b", {"ip": "198.51.100.0"})) == []
    assert told((2_000, "a", {}), (2_003, "b", {})) == []
    assert told((20, "a", {"verdict_reasons": ["sweep"]}), (23, "b", {})) == []


def test_a_verdict_that_may_change_is_told(site: Site) -> None:
    """For a quarter hour, a later click may say that an earlier one was a machine's."""
    key, late = message(site, now()), "For 15 minutes, a click can still become"
    event(site, key, now() - timedelta(minutes=16), EventType.CLICKED)
    event(site, key, now(), EventType.OPENED)
    event(site, key, now(), EventType.CLICKED, verdict=Verdict.BOT)
    assert not any(note.startswith(late) for note in site.mailtrack.reports.timeline(key).notes)
    event(site, key, now() - timedelta(minutes=14), EventType.CLICKED)
    assert site.mailtrack.reports.timeline(key).notes[-1].startswith(late)


def test_every_reason_has_a_sentence() -> None:
    """No verdict that is given now stands there as a bare word."""
    given = set(
        re.findall(r'"((?:ua|ip|method|network|timing|proxy_on|verdicts)_[a-z_]+)"', inspect.getsource(verdict))
    )
    given |= set(re.findall(r'"(ua_[a-z_]+)"', inspect.getsource(agents)))
    assert given - set(timeline._WHY) == set(timeline._SIGNS) - {"header_no_accept_language"}
    assert {name for name, _ in verdict.WEAK_SIGNALS} == set(timeline._SIGNS)
    assert timeline.because(["weak:timing_window+x"]) == "Signs of a machine came together: soon after the mail, x."
    assert timeline.because(["of_long_ago"]) == "Rule of_long_ago."
    assert timeline.because([]) == ""


def test_a_person_is_all_that_is_known_of_them(site: Site) -> None:
    """Their mail, what they did with it, when they were seen last, and what stands against writing to them."""
    for reader in [Reader(site.client, site.send(HTML, list_id="news")) for _ in range(2)]:
        reader.open()
    reader.click("b")
    reader.unsubscribe()
    site.send(HTML, to="bob@example.com")
    person = site.mailtrack.reports.person(" Ada <ADA@example.com>", size=1)
    assert (person.address, person.messages, person.out, person.opened, person.clicked) == (
        "ada@example.com",
        2,
        2,
        2,
        1,
    )
    assert (person.unsubscribed, len(person.page.rows), bool(person.page.next)) == (1, 1, True)
    assert [(each.list_id, each.kind) for each in person.standing] == [("news", "unsubscribe")]
    assert person.last_seen == max(row.occurred_at for row in site.rows("Event") if row.type == "clicked")
    nobody = site.mailtrack.reports.person("nobody")
    assert (nobody.messages, nobody.page.rows, nobody.last_seen) == (0, (), None)


def test_a_list_by_subject_is_read_from_its_cohorts(site: Site) -> None:
    """With sums, a search by subject looks only where such mail is, and finds the same."""
    forget(site)
    made = [message(site, subject="Spring tea", tag=tag) for tag in ("a", "b")]
    message(site, subject="Autumn")
    ask = site.mailtrack.reports.messages
    before = [row.id for row in ask(search="SPRING").rows]
    assert before == made[::-1]
