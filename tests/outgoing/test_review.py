"""What a stranger found when reading the send path, each held by a round trip."""

from __future__ import annotations

import threading
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from typing import Any

import pytest
from conftest import BASE_URL, PREFERENCES, UNSUBSCRIBE, Inbox, MakeSite, Site
from flask import Response
from flask_mail import BadHeaderError, Message

from flask_mailtrack.errors import OptOutsUnavailable, RewriteError
from flask_mailtrack.events import LinkTarget, SentMessage, new_id, now
from flask_mailtrack.outgoing import delivery
from flask_mailtrack.outgoing.rewriting import rewrite
from flask_mailtrack.storage.journal.spool import Spool

HTML = '<a href="https://example.com/">x</a>'


def leave(site: Site, address: str, list_id: str = "news") -> None:
    """Unsubscribe somebody by a real mail."""
    sent = site.send(HTML, to=address, list_id=list_id)
    site.client.post(sent.extra_headers["List-Unsubscribe"].strip("<>").removeprefix(BASE_URL))


def test_apps_of_one_instance_folder_keep_their_rows_apart(make_site: MakeSite, tmp_path: Any) -> None:
    """Two apps on two databases share a folder, and neither takes the other's opt-outs."""
    sites = []
    for name in "ab":
        url = f"sqlite:///{tmp_path / name}.sqlite3"
        config = {"TESTING": False, "MAILTRACK_DRAIN": "manual", "MAILTRACK_APP_ID": name}
        site = make_site(MAIL_SUPPRESS_SEND=True, SQLALCHEMY_DATABASE_URI=url, **config)
        sites.append(site.mailtrack._state_of(site.app).journals[0].directory.name)
    assert sites[0] != sites[1]
    assert all(name.startswith("mailtrack-") for name in sites)


def test_a_personal_link_is_never_in_a_copy_for_several(make_site: MakeSite) -> None:
    """With splitting off, a mail that has a link to somebody's preferences is split all the same."""
    site = make_site(MAILTRACK_SPLIT=False)
    together = site.send(HTML, to=["ada@example.com", "bob@example.com"])
    assert [copy.send_to for copy in together] == [{"ada@example.com", "bob@example.com"}]
    apart = site.send(f'<a href="{PREFERENCES}">x</a>', to=["ada@example.com", "bob@example.com"])
    assert [copy.send_to for copy in apart] == [{"ada@example.com"}, {"bob@example.com"}]


def test_threads_that_send_many_links_lose_no_mail(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the memory of links is full, sending from several threads goes on."""
    monkeypatch.setattr(delivery, "_REMEMBERED", 5)
    monkeypatch.setattr(Spool, "append", lambda *args, **kwargs: None)
    book = site.mailtrack._state().office.ledger
    row = SentMessage(new_id(), new_id(), "a@example.com", "", "", "", now())
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for n in range(300):
                book.page([LinkTarget(f"{number}-{n}", "https://example.com/")], [row])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_without_a_thread_to_be_had_mail_goes_out_and_rows_are_kept(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives no more threads, the mail leaves once, and its rows are on disk."""
    site = make_site(TESTING=False, MAIL_SUPPRESS_SEND=True)
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert "/m/c/" in site.send(HTML).html
    assert site.mailtrack._state().journals[0].size() > 0
    monkeypatch.setattr(threading.Thread, "start", start)
    site.send(HTML)
    assert "mailtrack-drain" in {thread.name for thread in threading.enumerate()}
    site.mailtrack.flush()
    assert [row.status for row in site.rows("Message")] == ["sent", "sent"]


def test_a_message_that_says_to_whom_it_goes_is_believed(site: Site) -> None:
    """A staging guard that overrides send_to keeps real customers out of the envelope, with us as without."""

    class SafeMessage(Message):
        @property
        def send_to(self) -> set[Any]:
            return {"dev@example.com"}

    with site.mail.record_messages() as outbox:
        site.mail.send(SafeMessage("Hi", recipients=["customer@example.com"], html=HTML))
    assert [copy.send_to for copy in outbox] == [{"dev@example.com"}]
    assert [row.recipient for row in site.rows("Message")] == ["dev@example.com"]


@pytest.mark.parametrize("written", ["ada@example.com <bob@example.com>", "ada@example.com, Bob <bob@example.com>"])
def test_the_address_that_is_asked_is_the_address_that_is_mailed(
    make_site: MakeSite, smtp: Inbox, written: str
) -> None:
    """However an address is written, the row and the opt-out are those of whoever is in the envelope."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)
    site.mail.send(Message("Hi", recipients=[written], html=HTML))
    for envelope, row in zip(smtp.envelopes, site.rows("Message"), strict=True):
        assert envelope.recipients == [row.recipient]


def test_one_person_named_twice_gets_one_copy(site: Site) -> None:
    """To, Cc and Bcc may name the same person in three ways; the mail comes once."""
    site.send(HTML, to=["ada@example.com"], cc=["Ada <ada@example.com>"], bcc=["ADA@example.com"])
    assert [row.recipient for row in site.rows("Message")] == ["ada@example.com"]


def test_a_list_mail_that_cannot_be_prepared_is_not_sent_blindly(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If even the opt-outs were not asked, a list mail raises instead of reaching who has left."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("flask_mailtrack.outgoing.options.choose", broken)
    with site.mail.record_messages() as outbox, pytest.raises(OptOutsUnavailable):
        site.mail.send(site.mailtrack.track(Message("Hi", recipients=["ada@example.com"], html=HTML), list_id="news"))
    assert outbox == []


def test_a_plain_copy_still_has_its_way_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our footer fails, the list mail goes out as written, with List-Unsubscribe and working placeholders."""

    def broken(part: str, url: str) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(site.mailtrack._state().office.preparer, "footer", broken)
    sent = site.send("<p>x</p>", body=f"leave: {UNSUBSCRIBE}", list_id="news")
    assert sent.html == "<p>x</p>"
    assert f"{BASE_URL}/m/u/" in sent.body
    assert f"{BASE_URL}/m/u/" in sent.extra_headers["List-Unsubscribe"]


@pytest.mark.parametrize(
    "parts",
    [
        {"extra_headers": {"References": "<1@example.com>\r\n <2@example.com>"}},
        {"extra_headers": {"References": "<1@example.com>\n\t<2@example.com>"}},
        {"subject": "Grüße\u2028Welt"},
        {"sender": ("Müller\u2028Co", "me@example.org")},
    ],
)
def test_headers_that_are_legal_pass(site: Site, parts: dict[str, Any]) -> None:
    """A folded header, as a reply carries it, and a pasted line break in an encoded one are no attack."""
    assert site.send(HTML, **parts) is not None


@pytest.mark.parametrize(
    "parts",
    [
        {"subject": "hi\x0bBcc: evil@example.org"},
        {"cc": [("E", "c@example.com\r\nX-Evil: 1")]},
        {"cc": [("E", "c@example.com>\r\n\r\nfake body")]},
        {"cc": [("E\x0bX-Evil: 1", "c@example.com")]},
        {"bcc": [("E", "c@example.com>\x0bX-Evil: 1")]},
    ],
)
def test_headers_that_break_out_are_refused(site: Site, parts: dict[str, Any]) -> None:
    """No name, address or subject of a message can begin a header of its own."""
    with pytest.raises(BadHeaderError):
        site.send(HTML, **parts)
    assert site.rows("Message") == []


def test_a_slow_moment_is_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that took too long once is tried again with the next mail."""
    compile_ = rewrite.compile
    calls: list[str] = []

    def slow_once(html: str, **options: Any) -> rewrite.Template:
        calls.append(html)
        if len(calls) == 1:
            raise RewriteError("too_slow")
        return compile_(html, **options)

    monkeypatch.setattr(rewrite, "compile", slow_once)
    assert site.send(HTML).html == HTML
    assert "/m/c/" in site.send(HTML).html


@pytest.mark.parametrize("charset", ["shift_jis", "euc-jp", "iso-2022-jp", "utf-8"])
def test_long_lines_in_any_charset_can_be_read(make_site: MakeSite, smtp: Inbox, charset: str) -> None:
    """A long Japanese line arrives as it was written, whatever charset it leaves in."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)
    text = "こんにちは世界" * 200
    site.mail.send(Message("Hi", recipients=["ada@example.com"], body=text, charset=charset))
    content = smtp.envelopes[0].content
    assert max(map(len, content.split(b"\r\n"))) <= 998
    parsed = BytesParser(EmailMessage, policy=SMTP).parsebytes(content)
    assert parsed.get_content().strip() == text


def test_placeholders_in_other_alternatives_are_filled(site: Site) -> None:
    """An AMP part stays as it is, but its link to leave is the recipient's own."""
    amp = f'<html ⚡4email><a href="{UNSUBSCRIBE}">leave</a> <a href="https://example.com/">x</a>'
    sent = site.send(HTML, alts={"x-amp-html": amp}, list_id="news")
    start, end = amp.split(UNSUBSCRIBE)
    assert sent.alts["x-amp-html"].startswith(f"{start}{BASE_URL}/m/u/")
    assert sent.alts["x-amp-html"].endswith(end)


def test_an_apps_own_well_known_file_is_served_on_its_own_host(make_site: MakeSite) -> None:
    """On www the app's own assetlinks.json answers; on the tracking host ours does."""
    site = make_site(MAILTRACK_ASSETLINKS=[{"ours": True}])
    site.app.add_url_rule("/.well-known/assetlinks.json", "own", lambda: Response("own"))
    assert site.client.get("/.well-known/assetlinks.json", base_url="https://www.example.com").data == b"own"
    assert site.client.get("/.well-known/assetlinks.json", base_url=BASE_URL).json == [{"ours": True}]


def test_who_left_stays_out_after_all_of_this(site: Site) -> None:
    """An unsubscribe by a real mail holds for every way in which the address is written next."""
    leave(site, "ada@example.com")
    sent = site.send(HTML, to=["Ada <ADA@example.com>", "bob@example.com"], cc=["ada@example.com"], list_id="news")
    assert [copy.send_to for copy in sent] == [{"bob@example.com"}]


def test_one_thread_drains_for_both_sides(make_site: MakeSite) -> None:
    """A process that sends mail and serves its readers moves rows with one thread, not one for each side."""

    def drains() -> int:
        return sum(thread.name == "mailtrack-drain" for thread in threading.enumerate())

    before = drains()
    site = make_site(TESTING=False, MAIL_SUPPRESS_SEND=True)
    sent = site.send(HTML)
    site.client.get(sent.html.split(BASE_URL)[1].split('"')[0])
    assert drains() == before + 1
