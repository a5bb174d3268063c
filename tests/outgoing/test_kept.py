"""Mail that is not to be kept, and options that are misspelt."""

from __future__ import annotations

import smtplib
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site
from flask_mail import Connection, Message

from flask_mailtrack import signals

HTML = '<p><a href="https://example.com/">go</a></p>'


def unkept(site: Site, by: str, **options: Any) -> list[Message]:
    """Send a mail that is not to be kept, as said in one of three ways."""
    if by == "track":
        return list(site.send(HTML, ["ada@example.com"], store=False, **options))
    if by == "header":
        return list(site.send(HTML, ["ada@example.com"], extra_headers={"X-Mailtrack": "store=off"}, **options))
    with site.mailtrack.options(store=False):
        return list(site.send(HTML, ["ada@example.com"], **options))


@pytest.mark.parametrize("by", ["track", "header", "block"])
@pytest.mark.parametrize("options", [{}, {"opens": True, "clicks": True}])
def test_mail_that_is_not_to_be_kept_leaves_nothing(site: Site, by: str, options: dict[str, Any]) -> None:
    """It goes out as the author wrote it, and no row says to whom or about what."""
    (sent,) = unkept(site, by, **options)
    assert sent.html == HTML
    site.mailtrack.flush()
    assert site.rows("Message") == []
    assert site.rows("Link") == []


@pytest.mark.parametrize("by", ["track", "header", "block"])
def test_who_has_left_gets_no_mail_that_is_not_to_be_kept_either(site: Site, by: str) -> None:
    """The opt-outs of its list are asked, and the refusal leaves no row with address and subject."""
    site.mailtrack.suppress("ada@example.com", list_id="news")
    assert unkept(site, by, list_id="news") == []
    site.mailtrack.flush()
    assert site.rows("Message") == []


def test_a_list_can_be_left_from_mail_that_is_not_kept(site: Site) -> None:
    """Its unsubscribe link works, though no row says of which list it is: the person leaves them all."""
    (sent,) = unkept(site, "track", list_id="news")
    url = str(sent.extra_headers["List-Unsubscribe"]).strip("<>")
    assert site.client.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert site.send(HTML, ["ada@example.com"], list_id="news") == []


@pytest.mark.parametrize("mode", ["individual", "aggregate", "deliverability"])
@pytest.mark.parametrize("parts", [{"html": HTML, "body": "Hi"}, {"html": None, "body": "https://example.com/"}])
def test_no_mode_and_no_part_keeps_something_of_it(make_site: MakeSite, mode: str, parts: dict[str, Any]) -> None:
    """Neither a counter, nor a link out of the text, nor a signal that names the person."""
    site = make_site(MAILTRACK_MODE=mode, MAILTRACK_TEXT_CLICKS=True, MAILTRACK_HONEYPOT=True)
    heard: list[Any] = []
    with signals.message_sent.connected_to(lambda app, event: heard.append(event)):
        (sent,) = site.send(to=["ada@example.com"], store=False, tag="t", metadata={"n": 1}, **parts)
        site.mailtrack.flush()
    assert (sent.html, sent.body) == (parts["html"], parts["body"])
    assert (site.rows("Message"), site.rows("Link"), heard) == ([], [], [])


def test_mail_that_is_not_kept_and_carries_nothing_leaves_as_one(site: Site) -> None:
    """It is no reason to make copies; what carries a way out of its own is one person's all the same."""
    assert len(site.send(HTML, ["ada@example.com", "bob@example.com"], store=False)) == 1
    assert len(site.send(HTML, ["ada@example.com", "bob@example.com"], store=False, list_id="news")) == 2


def test_the_narrowest_place_says_whether_it_is_kept(site: Site) -> None:
    """A message may be kept inside a block that keeps none, and the other way round."""
    with site.mailtrack.options(store=False):
        site.send(HTML, store=True, tag="kept")
    with site.mailtrack.options(store=True):
        site.send(HTML, store=False, tag="not kept")
        site.send(HTML, extra_headers={"X-Mailtrack": "store=off"})
    assert [row.tag for row in site.rows("Message")] == ["kept"]


@pytest.mark.parametrize("refused", [False, True])
def test_the_disk_does_not_see_it_either(
    make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """No line of the journal names the person or the subject, also if the server refuses the mail."""

    def refuse(*_: Any) -> None:
        raise smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"ada@example.com: no")})

    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_SPOOL_DIR=str(tmp_path / "spool"))
    if refused:
        monkeypatch.setattr(Connection, "send", refuse)
    message = Message("A secret subject", ["ada@example.com"], html=HTML)
    for kept in (False, True):
        try:
            site.mail.send(site.mailtrack.track(message, store=kept))
        except smtplib.SMTPRecipientsRefused:
            assert refused
        written = b"".join(path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file())
        assert (b"ada@example.com" in written, b"secret subject" in written) == (kept, kept)


@pytest.mark.parametrize(
    ("name", "nearest"), [("list", "list_id"), ("open", "opens"), ("Clicks", "clicks"), ("zzz", "Write one of opens")]
)
def test_a_misspelt_option_is_told_with_the_nearest(site: Site, name: str, nearest: str) -> None:
    """A wrong name is a TypeError where it is written, in a block, too."""
    wrong: dict[str, Any] = {name: "news"}
    with pytest.raises(TypeError, match=nearest):
        site.mailtrack.track(Message("Hi"), **wrong)
    with pytest.raises(TypeError, match=nearest):
        site.mailtrack.options(**wrong)


def test_a_misspelt_header_does_not_go_out_tracked(site: Site) -> None:
    """A library that asks for less, and misspells it, is not given more."""
    assert site.send(HTML, extra_headers={"X-Mailtrack": "open=off"}).html == HTML


@pytest.mark.parametrize("said", ["stor=off", "store=of", "Store = perhaps"])
def test_a_header_that_misspells_store_keeps_nothing(site: Site, said: str) -> None:
    """Whoever writes about keeping asks that it is not done."""
    assert site.send(HTML, extra_headers={"X-Mailtrack": said}).html == HTML
    assert site.rows("Message") == []


@pytest.mark.parametrize("name", ["X-Mailtrack", "x-mailtrack", "X-MAILTRACK"])
@pytest.mark.parametrize("said", ["off", "store=off", "open=off", "", " ; ", "tag=t; opens=on"])
def test_the_header_never_leaves(site: Site, name: str, said: str) -> None:
    """However it is written and whatever it says, readers do not get it; and two of them are one."""
    sent = site.send(HTML, extra_headers={name: said, "X-mailTrack": "clicks=off", "X-Own": "1"})
    assert sent.extra_headers == {"X-Own": "1"}
    assert "https://example.com/" in sent.html


def test_one_call_that_contradicts_itself_is_refused(site: Site) -> None:
    """Transactional mail has no tracked links; a wider place may have asked for them all the same."""
    with pytest.raises(ValueError, match="transactional"):
        site.mailtrack.track(Message("Hi"), transactional=True, clicks=True)
    with site.mailtrack.options(clicks=True):
        assert "https://example.com/" in site.send(HTML, transactional=True).html
