"""The mailbox in its reader's language: nothing that it says itself stays English."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from catalogues import MARKED, unmarked
from conftest import Site
from flask_mail import Message

from flask_mailtrack.mailbox import differences, letterbox, routes
from flask_mailtrack.mailbox.routes import VIEWS
from flask_mailtrack.mailbox.visitors import SAID, VISITORS
from flask_mailtrack.phrases import Phrase

HTML = """<p>1</p><a href="https://example.com/a" data-mailtrack-name="2">3</a>
<a href="https://example.com/verify?token=0123456789abcdef0123">4</a><a href="mailto:a@example.com">5</a>"""


@pytest.fixture(name="room")
def _room(site: Site) -> Site:
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/mailbox")
    return site


def paths(room: Site) -> list[str]:
    """Send mails of several kinds, act on one, and return the addresses of all pages."""
    for values in ({"html": HTML, "body": "6"}, {"body": "7"}, {"html": f"<p>{'8' * 5_000}</p>"}):
        message = Message("9", recipients=["ada@example.com"], sender="me@example.org", **values)
        message.attach("10", "image/png", b"11")
        room.mail.send(room.mailtrack.track(message, list_id="news"))
    found = re.findall(r'href="(/mailbox/[0-9a-f-]{36})"', room.client.get("/mailbox/").text)
    for what in ("person", "gateway"):
        room.client.post(f"{found[-1]}/act", data={"what": what})
    views = [f"{mail}?view={view}{more}" for mail in found for view in VIEWS for more in ("", "&images=1&phone=1")]
    done = [f"{found[-1]}?done={name}&number=3" for name in SAID]
    gone = "/mailbox/01a21ddd-b53d-732c-9515-80e33c9afd63"
    return ["/mailbox/", "/mailbox/?q=12", "/mailbox/list", gone, *views, *done, f"{found[-1]}/timeline"]


def test_every_text_is_handed_over_to_be_translated(room: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """On no page, in no view and after no button does a word of the mailbox escape the catalogues."""
    asked = paths(room)
    monkeypatch.setattr(routes, "_LONGEST", 2_000)
    monkeypatch.setattr(differences, "_COMPARED", 5_000)
    monkeypatch.setattr(routes, "reader_words", lambda babel, header: MARKED)
    assert {path: found for path in asked if (found := unmarked(room.client.get(path).text))} == {}
    refused = room.client.post("/mailbox/empty", headers={"Sec-Fetch-Site": "cross-site"})
    assert "⟦This form was sent from another site.⟧" in refused.text
    assert set(VISITORS) < set(SAID)
    monkeypatch.setattr(letterbox.directory, "intrusion", lambda folder: (Phrase("x"), Phrase("y")))
    assert unmarked(room.client.get("/mailbox/").text) == []


@pytest.mark.parametrize(
    ("language", "direction", "told"),
    [
        ("de", "ltr", "Geöffnet von einer Person, mit Firefox unter Linux."),
        ("ar", "rtl", "فُتحت الرسالة"),
        ("ja", "ltr", "開封"),
    ],
)
def test_a_reader_is_told_in_their_language(room: Site, language: str, direction: str, told: str) -> None:
    """The browser says the language, as for the console; its direction is that of the page."""
    mail = paths(room)[-1].removesuffix("/timeline")
    page = unescape(room.client.get(mail, headers={"Accept-Language": language}).text)
    assert f'<html lang="{language}" dir="{direction}">' in page
    assert told in page
    assert "A person opens it" not in page
    assert '<html lang="en" dir="ltr">' in room.client.get(mail).text


def test_what_a_page_says_is_what_the_mail_is(room: Site) -> None:
    """A subject that looks like a text of the mailbox is not translated."""
    room.send("<p>x</p>", subject="Headers")
    values: dict[str, Any] = {"headers": {"Accept-Language": "de"}}
    assert "<bdi>Headers</bdi>" in room.client.get("/mailbox/", **values).text
