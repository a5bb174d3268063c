"""View online: a reader sees their mail in a browser, and nothing is recorded, run, or shown of anybody else."""

from __future__ import annotations

import email
import logging
import re
from email.message import EmailMessage
from email.policy import default
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from conftest import Inbox, MakeSite, Site
from flask import render_template_string
from flask_mail import Message

from flask_mailtrack.events import new_id
from flask_mailtrack.tokens import Signer

HTML = (
    '<!DOCTYPE html><h1>Spring</h1><a href="https://example.com/a">Read on</a><script>alert(1)</script>'
    '<img src="https://cdn.example.com/a.png"><a href="{{ view_online_url() }}">In a browser</a>'
    ' <a href="{{ unsubscribe_url() }}">Leave</a> <a href="{{ preferences_url() }}">Choose</a>'
)


@pytest.fixture(name="keeping")
def _keeping(make_site: MakeSite) -> Site:
    return make_site(MAILTRACK_KEEP_BODIES=True)


def path_of(html: str, kind: str = "v") -> str:
    """The path of the first link of a kind in a mail or a page."""
    found = re.search(rf'"https://links\.example\.com(/m/{kind}/[^"]+)"', html)
    assert found, html
    return found[1]


def sent(site: Site, to: str = "ada@example.com", **options: Any) -> str:
    """The HTML that one person got."""
    options.setdefault("tag", "spring")
    return str(site.send(render_template_string(HTML), to, **options).html)


@pytest.mark.parametrize("front_door", [True, False])
def test_a_reader_sees_the_mail_in_a_browser(make_site: MakeSite, smtp: Inbox, front_door: bool) -> None:
    """Over SMTP and back: text, pictures and links of the reader's own, no pixel, no script, and no event."""
    server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": smtp.port, "MAIL_SUPPRESS_SEND": False}
    site = make_site(MAILTRACK_KEEP_BODIES=True, MAILTRACK_FRONT_DOOR=front_door, **server)
    html = render_template_string(HTML)
    message = Message("Spring", recipients=["ada@example.com", "bob@example.com"], html=html, body="Hello")
    site.mail.send(site.mailtrack.track(message, tag="spring", list_id="news"))
    mails = {}
    for envelope in smtp.envelopes:
        mail = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        part = mail.get_body(("html",))
        assert part is not None
        mails[envelope.recipients[0]] = str(part.get_content())
    pages = {}
    for address, written in mails.items():
        answer = site.client.get(path_of(written))
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none';")
        for rule in ("form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
            assert rule in policy
        assert "allow-" not in policy
        said = [answer.headers[name] for name in ("Referrer-Policy", "X-Robots-Tag", "Cache-Control")]
        assert said == ["no-referrer", "noindex", "no-store, private"]
        assert "Set-Cookie" not in answer.headers
        pages[address] = answer.text
    ada, bob = pages["ada@example.com"], pages["bob@example.com"]
    assert ada.startswith("<!DOCTYPE html><h1>Spring</h1>")
    assert '<img src="https://cdn.example.com/a.png">' in ada
    for gone in ("script", "/m/o/", "invalid", "@example.com"):
        assert gone not in ada
    assert site.rows("Event") == []
    assert site.client.head(path_of(mails["ada@example.com"])).status_code == 200
    assert site.client.post(path_of(mails["ada@example.com"])).status_code == 405
    assert site.rows("Event") == []
    # The links of the page are those of the mail.
    assert path_of(ada, "c") == path_of(mails["ada@example.com"], "c") != path_of(bob, "c")
    assert path_of(ada) == path_of(mails["ada@example.com"])
    assert site.client.get(path_of(ada, "c")).location == "https://example.com/a"
    first, _ = site.rows("Message")
    assert [(e.type, e.message_id) for e in site.rows("Event")] == [("clicked", first.id)]
    site.client.post(path_of(bob, "u"))
    assert [(o.recipient, o.list_id) for o in site.rows("OptOut")] == [("bob@example.com", "news")]


def test_a_page_that_is_passed_on_changes_one_list_only(make_site: MakeSite) -> None:
    """The choices behind the page are about the list of the mail, as behind an unsubscribe link."""
    site = make_site(
        MAILTRACK_KEEP_BODIES=True, MAILTRACK_LISTS={"news": {"title": "News"}, "other": {"title": "Other"}}
    )
    written = sent(site, list_id="news")
    page = site.client.get(path_of(written)).text
    assert "Other" in site.client.get(path_of(written, "p")).text
    assert "Other" not in site.client.get(path_of(page, "p")).text


def test_nothing_is_shown_of_somebody_who_is_forgotten(keeping: Site) -> None:
    """After an erasure the link shows no mail, also one that others still see."""
    ada, bob = sent(keeping), sent(keeping, "bob@example.com")
    keeping.mailtrack.erase("ada@example.com")
    assert "Spring" in keeping.client.get(path_of(bob)).text
    gone = keeping.client.get(path_of(ada))
    assert (gone.status_code, "This email cannot be shown" in gone.text, "Spring" in gone.text) == (404, True, False)
    keeping.mailtrack.erase("bob@example.com")
    assert keeping.client.get(path_of(bob)).status_code == 404
    assert keeping.rows("Body") == []


@pytest.mark.parametrize("options", [{"transactional": True}, {"store": False}, {"tag": ""}], ids=str)
def test_a_mail_that_is_not_kept_is_not_shown(
    keeping: Site, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The link is there all the same, says so kindly, and the log told the sender."""
    with caplog.at_level(logging.WARNING):
        written = sent(keeping, **options)
    assert "view_online_url() shows nothing in 'Hello'" in caplog.text
    answer = keeping.client.get(path_of(written), headers={"Accept-Language": "de"})
    assert answer.status_code == (503 if options.get("store") is False else 404)
    assert "Diese E-Mail kann nicht angezeigt werden" in answer.text


def test_a_purged_body_and_a_purged_mail(keeping: Site) -> None:
    """Once the body is purged, the page says kindly that it is not kept; so it does of an old mail without a row."""
    path = path_of(sent(keeping))
    database = keeping.mailtrack._state_of(keeping.app).database
    with database.transaction() as connection:
        connection.execute(sa.delete(database.body))
    assert keeping.client.get(path).status_code == 404
    old = new_id().int - (7_200_000 << 80)
    token = Signer([keeping.app.config["SECRET_KEY"]]).message(type(new_id())(int=old)).online()
    assert keeping.client.get(f"/m/v/{token}").status_code == 404


def test_the_page_waits_for_a_young_mail_and_a_database(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail whose row is on its way, or whose database is away, is shown later; its links work meanwhile."""
    site = make_site(MAILTRACK_KEEP_BODIES=True, MAILTRACK_DRAIN="manual")
    written = sent(site)
    answer = site.client.get(path_of(written))
    assert (answer.status_code, "Please try again in a few minutes." in answer.text) == (503, True)
    site.mailtrack.flush()
    assert site.client.get(path_of(written)).status_code == 200
    database = site.mailtrack._state_of(site.app).database
    monkeypatch.setattr(database, "rows", lambda query: 1 / 0)
    assert site.client.get(path_of(written)).status_code == 503
    assert site.client.get(path_of(written, "c")).location == "https://example.com/a"


def test_links_without_a_copy_of_their_own_are_plain(make_site: MakeSite) -> None:
    """In aggregate mode, and for who is not measured, the page leads straight to the destinations."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    site.mailtrack.suppress("bob@example.com", tracking=True)
    for to, options in (("ada@example.com", {"mode": "aggregate"}), ("bob@example.com", {})):
        page = site.client.get(path_of(sent(site, to, **options))).text
        assert 'href="https://example.com/a"' in page
        assert "/m/c/" not in page


def test_a_bad_link_and_a_switched_off_mail(make_site: MakeSite) -> None:
    """A token of another kind opens nothing, and a message that the host has blocked is gone."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    written = sent(site, list_id="news")
    token = urlsplit(path_of(written, "u")).path.rpartition("/")[2]
    assert site.client.get(f"/m/v/{token}").status_code == 404
    (message,) = site.rows("Message")
    blocking = make_site(MAILTRACK_KEEP_BODIES=True, MAILTRACK_BLOCKED=[str(message.id)])
    assert blocking.client.get(path_of(written)).status_code == 410


def test_the_statement_says_that_mails_are_kept(keeping: Site, make_site: MakeSite) -> None:
    """A person reads on the page about their data that the text of mails is kept, and only where that is so."""
    said = "We also keep the content of emails"
    for site, kept in ((keeping, True), (make_site(), False)):
        page = site.client.get(f"{path_of(sent(site), 'p')}?statement").text
        assert (said in page) is kept
