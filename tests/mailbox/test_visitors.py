"""The world outside, as the mailbox acts it: what each visitor leaves behind."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import MakeSite, Site

HTML = '<body><a href="https://example.com/a">One</a> <a href="https://example.com/b">Two</a></body>'


@pytest.fixture(name="room")
def _room(make_site: MakeSite) -> Site:
    # Addresses in full, to tell the visitors apart.
    site = make_site(MAILTRACK_IP="full", MAILTRACK_HONEYPOT=True)
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/mailbox")
    return site


def act(room: Site, what: str) -> str:
    """Press a button beside the newest mail, and return the sentence that the page says."""
    mail = re.findall(r'href="(/mailbox/[0-9a-f-]{36})"', room.client.get("/mailbox/").text)[0]
    page = room.client.post(f"{mail}/act", data={"what": what, "view": "raw"}, follow_redirects=True)
    assert page.status_code == 200
    assert page.request.args["view"] == "raw"
    (said,) = re.findall(r'role="status" tabindex[^>]*>([^<]+)<', page.text)
    return str(said)


def events(room: Site) -> list[tuple[Any, ...]]:
    return [(event.type, event.verdict, event.ip) for event in room.rows("Event")]


@pytest.mark.parametrize(
    ("what", "seen", "said"),
    [
        ("person", ("opened", "human", "192.0.2.10"), "that is an open"),
        ("apple", ("opened", "proxy", ""), "Nobody has read anything"),
        ("gmail", ("opened", "proxy", ""), "while a person looks"),
        ("provider", ("unsubscribed", "unknown", "203.0.113.99"), "The recipient has left the list"),
    ],
)
def test_each_visitor_is_taken_for_what_it_is(room: Site, what: str, seen: tuple[str, ...], said: str) -> None:
    """A person, the proxies of Apple and Gmail, and a mail provider each leave the event of the real one."""
    room.send(HTML, list_id="news")
    assert said in act(room, what)
    ((kind, verdict, ip),) = events(room)
    assert (kind, ip) == (seen[0], seen[2])
    if what != "provider":
        assert verdict == seen[1]


def test_a_gateway_follows_every_link_and_unsubscribes_nobody(room: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Pixel, links, unsubscribe page and honeypot are asked for, and all of it is a machine's."""
    sent = room.send(HTML, list_id="news")
    assert "https://links.example.com/m/c/" in sent.html, caplog.text
    assert "Links followed: 4." in act(room, "gateway"), caplog.text
    found = events(room)
    assert sorted(kind for kind, _, _ in found) == ["clicked", "clicked", "opened", "trapped", "trapped"]
    assert {(verdict, ip) for _, verdict, ip in found} == {("scanner", "198.51.100.25")}
    assert room.rows("OptOut") == []
    assert [row.machine_count for row in room.rows("Message")] == [3]


@pytest.mark.parametrize("what", ["bounce", "complaint"])
def test_a_suppressed_address_gets_no_more_until_it_is_lifted(room: Site, what: str) -> None:
    """A bounce and a complaint do what a host's own handler would; the page says so, and takes it back."""
    room.send(HTML, list_id="news")
    assert f"mailtrack.suppress(address, reason=&#34;{what}&#34;)" in act(room, what)
    assert room.send(HTML, list_id="news") == []
    assert [(row.reason, row.method) for row in room.rows("OptOut")] == [(what, "mailbox")]
    assert "mail goes out to the address again" in act(room, "lift")
    assert room.send(HTML, list_id="news") != []


def test_what_a_mail_lacks_is_said(room: Site) -> None:
    """Without a pixel nobody can open, and without a list no provider has anywhere to send its POST."""
    room.send(None, body="Only text", subject="Text")
    assert "this mail has no pixel" in act(room, "person")
    assert "no address of this app to send a POST to" in act(room, "provider")
    room.send(HTML, extra_headers={"List-Unsubscribe": "<https://elsewhere.example/leave>"})
    assert "no address of this app to send a POST to" in act(room, "provider")
    assert events(room) == []


def test_an_app_that_fails_is_not_the_pages_failure(room: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit that raises, and a change that cannot be written, are said in a sentence."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no")

    room.send(HTML, list_id="news")
    people = type(room.mailtrack._state_of(room.app).people)
    monkeypatch.setattr(people, "change", broken)
    assert "answered this visit with an error" in act(room, "bounce")
