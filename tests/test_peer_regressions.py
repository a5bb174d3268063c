"""Cases that other packages test or have been told of, and that no other file here covers. Numbers: ``peers.tsv``."""

from __future__ import annotations

import codecs
import email
import email.policy
import html
import json
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import html5lib
import pytest
import sqlalchemy as sa
from browser_view import hrefs, html_of, normal_newlines, path_of, pixels
from conftest import BASE_URL, Inbox, MakeSite, Site
from flask import render_template_string
from flask_mail import Attachment, Message
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_mailtrack.testing import BROWSER, Reader

LINK = '<p><a href="https://example.com/">go</a></p>'
CLICK = f"{BASE_URL}/m/c/"


@pytest.fixture(name="real")
def _real(make_site: MakeSite, smtp: Inbox) -> Site:
    """A site that sends over SMTP."""
    return over(make_site, smtp)


def over(make_site: MakeSite, smtp: Inbox, **config: Any) -> Site:
    """Return a site that sends to *smtp*."""
    return make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port, **config)


def parsed(content: bytes) -> EmailMessage:
    """Return a message as a mail program reads it."""
    return email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.SMTP)


def followed(site: Site, url: str) -> str:
    """Follow a tracked link as a person, and return where it leads."""
    assert url.startswith(CLICK), f"{url} is not tracked"
    answer = site.client.get(path_of(url), headers=BROWSER)
    assert answer.status_code == 302
    return str(answer.headers["Location"])


def clicked(site: Site) -> list[Any]:
    """Return the rows of all clicks."""
    return [event for event in site.rows("Event") if event.type == "clicked"]


# --- what is not a web link -------------------------------------------------------------------------------------

LEFT_ALONE = {
    "11 an app's scheme": "fb://profile/1",
    "10 mail": "mailto:ada@example.com?subject=a&body=https://example.com/",
    "ftp": "ftp://example.com/file",
    "12 no scheme": "example.org",
    "12 no scheme, with a path": "example.org/offer?a=1",
    "118 scheme-relative": "//example.org/offer",
    "118 a blank inside": "https://example.org/my file.pdf",
    "118 userinfo and port": "https://ada:secret@example.org:8443/x",
    "157 sixteen kilobytes": "https://example.org/?t=" + "x" * 16_384,
}


@pytest.mark.parametrize("url", LEFT_ALONE.values(), ids=list(LEFT_ALONE))
def test_a_link_that_is_not_surely_a_web_address_leaves_as_written(real: Site, smtp: Inbox, url: str) -> None:
    """Cases 10, 11, 12, 118 and 157: such a link reaches the reader untouched, beside one that is tracked."""
    real.send(f'<p><a href="{html.escape(url)}">x</a> <a href="https://example.com/">go</a></p>')
    first, second = hrefs(html_of(smtp.envelopes[0].content))
    assert first == url
    assert followed(real, second) == "https://example.com/"


# --- URLs -------------------------------------------------------------------------------------------------------

ODD = [
    "https://example.org/@,!*$|'()[]{}",
    "https://example.org/a@b,c/(d)/[e]/{f}/it's!",
    "https://example.org?x=1",
    "https://example.org/?a=1&b=2#c&d",
    "https://example.org/?a=1&copy=2&reg=eu&lt=3",
]


@pytest.mark.parametrize("url", ODD)
@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "raw"])
def test_odd_signs_in_a_path_arrive(real: Site, smtp: Inbox, url: str, escaped: bool) -> None:
    """Cases 101 and 137 to 139: signs that other rewriters stumble over arrive at the author's server as they are."""
    real.send(f'<p><a href="{html.escape(url, quote=False) if escaped else url}">go</a></p>')
    (href,) = hrefs(html_of(smtp.envelopes[0].content))
    assert followed(real, href) == url
    assert [event.url for event in clicked(real)] == [url]


ONCE = {
    "twice": ("https://example.org/?a=1&amp;amp;b=2", "https://example.org/?a=1&amp;b=2"),
    "three kinds": ("https://example.org/?a&amp;b&#38;c&#x26;d&e", "https://example.org/?a&b&c&d&e"),
    "number, twice": ("https://example.org/?a=1&amp;#38;b=2", "https://example.org/?a=1&#38;b=2"),
    "another one": ("https://example.org/?q=&quot;x&quot;", 'https://example.org/?q="x"'),
}


@pytest.mark.parametrize(("written", "meant"), ONCE.values(), ids=list(ONCE))
def test_references_are_resolved_once(site: Site, written: str, meant: str) -> None:
    """Case 117: an address is decoded once, as a browser does it, and never a second time."""
    (link,) = Reader(site.client, site.send(f'<p><a href="{written}">go</a></p>')).links
    assert hrefs(f'<a href="{written}">') == [meant]
    assert followed(site, link.url) == meant


SHARED_BASE = [
    "https://example.org/x",
    "https://example.org/x?foo=bar",
    "https://example.org/x?foo=bar&baz=1",
    "https://example.org/x/bar",
    "https://example.org/",
    "https://example.org",
]


def test_addresses_that_begin_alike_are_told_apart(make_site: MakeSite) -> None:
    """Case 112: where one address is the beginning of another, each leads to its own place, in both parts."""
    site = make_site(MAILTRACK_TEXT_CLICKS=True)
    page = " ".join(f'<a href="{html.escape(url)}">{n}</a>' for n, url in enumerate(SHARED_BASE))
    sent = site.send(f"<p>{page}</p>", body="\n".join(SHARED_BASE))
    assert [followed(site, url) for url in hrefs(sent.html)] == SHARED_BASE
    assert [followed(site, url) for url in sent.body.split("\n")] == SHARED_BASE
    assert {(event.part, event.link, event.url) for event in clicked(site)} == {
        (part, n, url) for part in ("html", "text") for n, url in enumerate(SHARED_BASE)
    }


def test_an_address_in_the_text_of_a_page_is_no_link(make_site: MakeSite) -> None:
    """Case 114: an address that HTML only shows stays as it is, and the same one in the plain text is tracked."""
    site = make_site(MAILTRACK_TEXT_CLICKS=True)
    page = "<p>See https://example.com/a</p>"
    sent = site.send(page, body="See https://example.com/a")
    assert sent.html.startswith(page.removesuffix("</p>"))
    assert CLICK not in sent.html
    assert followed(site, sent.body.removeprefix("See ")) == "https://example.com/a"


def test_one_destination_has_one_row_in_all_mails(site: Site) -> None:
    """Cases 100 and 109: the same address, however escaped, in a link, in an image map and in the next mail, is one."""
    page = (
        '<p><a href="https://example.com/?a=1&amp;b=2">x</a></p>'
        '<map name="m"><area href="https://example.com/?a=1&#38;b=2" alt=""></map>'
    )
    for address in ("ada@example.com", "bob@example.com"):
        link, area = hrefs(site.send(page, to=address).html)
        assert link == area
        assert followed(site, link) == "https://example.com/?a=1&b=2"
    assert [row.url for row in site.rows("Link")] == ["https://example.com/?a=1&b=2"]


def test_two_links_to_one_place_can_be_named_apart(site: Site) -> None:
    """Case 156: one address twice counts as one link, unless the author gives the two names; then rows tell which."""
    url, name = "https://example.com/", 'data-mailtrack-name="{}"'
    twice = site.send(f'<a href="{url}">top</a> <a href="{url}">bottom</a>')
    assert len(set(hrefs(twice.html))) == 1
    named = site.send(f'<a href="{url}" {name.format("top")}>x</a> <a href="{url}" {name.format("bottom")}>x</a>')
    top, bottom = hrefs(named.html)
    assert followed(site, bottom) == url
    assert [(event.link, event.link_name) for event in clicked(site)] == [(1, "bottom")]
    assert followed(site, top) == url
    assert {(event.link, event.link_name) for event in clicked(site)} == {(0, "top"), (1, "bottom")}


def test_utm_parameters_are_in_the_row(make_site: MakeSite) -> None:
    """Case 17: what is added to a link is where the reader arrives, and what the row says of the click."""
    site = make_site(MAILTRACK_UTM={"source": "mailer", "medium": "email"})
    (href,) = hrefs(site.send(LINK, utm={"campaign": "spring"}).html)
    arrived = followed(site, href)
    assert arrived == "https://example.com/?utm_campaign=spring&utm_medium=email&utm_source=mailer"
    assert [event.url for event in clicked(site)] == [arrived]


# --- markup -----------------------------------------------------------------------------------------------------

INSIDE = {
    "19 an image": '<img src="https://example.org/i.png" alt="Our offer">',
    "20 a table": "<table><tr><td>Our</td><td>offer</td></tr></table>",
    "20 a heading": "<div><h2>Our</h2><p>offer</p></div>",
}


@pytest.mark.parametrize("inside", INSIDE.values(), ids=list(INSIDE))
def test_what_stands_inside_a_link_stays_inside(real: Site, smtp: Inbox, inside: str) -> None:
    """Cases 19 and 20: a link around an image or a table is still around it, and no doctype comes with it."""
    body = f'<body><a href="https://example.com/">{inside}</a></body>'
    real.send(body)
    sent = html_of(smtp.envelopes[0].content)
    link = html5lib.parse(sent, namespaceHTMLElements=False).find("body/a")
    assert link is not None
    tags = [element.tag for element in link.iter()]
    assert tags == [e.tag for e in html5lib.parse(body, namespaceHTMLElements=False).find("body/a").iter()]
    assert inside in sent
    assert sent.startswith('<body><a href="https://links.example.com/m/c/')
    assert followed(real, link.get("href")) == "https://example.com/"


FRAME = """<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">
<html lang="en"><head><meta charset="utf-8"><title>A &amp; B</title>
<style>p { color: #333 } a { background: url(https://example.org/bg.png) }</style></head>
<body style="margin: 0; background-color: #fafafa" class="x">
"""


def test_the_frame_of_a_page_is_kept(real: Site, smtp: Inbox) -> None:
    """Cases 22 to 24, 81 and 113: doctype, head, style sheet and the body's own style leave as they were written."""
    real.send(f"{FRAME}{LINK}</body></html>")
    sent = normal_newlines(html_of(smtp.envelopes[0].content))
    assert sent.startswith(FRAME)
    assert sent.rstrip("\n").endswith("></body></html>")
    assert len(pixels(sent, BASE_URL)) == 1


def test_only_links_that_a_reader_follows_are_tracked(real: Site, smtp: Inbox) -> None:
    """Case 142: style sheets, the base address and attributes that only look like ``href`` are not touched."""
    head = (
        '<html><head><base href="https://example.org/"><link rel="stylesheet" href="https://example.org/x.css"></head>'
    )
    body = '<body><p data-href="https://example.org/p">x</p><a data-href="https://example.org/a" href="'
    real.send(f'{head}{body}https://example.com/">go</a></body></html>')
    sent = html_of(smtp.envelopes[0].content)
    assert sent.startswith(head + body)
    assert sent.count(CLICK) == 1
    assert [followed(real, href) for href in hrefs(sent)] == ["https://example.com/"]


@pytest.mark.parametrize(("opens", "clicks"), [(True, False), (False, True), (True, True), (False, False)])
def test_pixel_and_links_are_independent(real: Site, smtp: Inbox, opens: bool, clicks: bool) -> None:
    """Cases 37, 81 and 96: no pixel means no new image, no clicks means no new address, and the row knows."""
    page = f'<p><img src="https://example.org/i.png" alt=""></p>{LINK}<a href="mailto:ada@example.com">write</a>'
    real.send(page, opens=opens, clicks=clicks)
    sent = html_of(smtp.envelopes[0].content)
    assert sent.count("<img") == 1 + opens
    assert len(pixels(sent, BASE_URL)) == opens
    web, mail = hrefs(sent)
    assert (web.startswith(CLICK), web == "https://example.com/", mail) == (
        clicks,
        not clicks,
        "mailto:ada@example.com",
    )
    assert [(row.tracks_opens, row.tracks_clicks) for row in real.rows("Message")] == [(opens, clicks)]


DOCUMENTS = {
    "text alone": "Read on",
    "a fragment": LINK,
    "no body": f"<html><head><title>x</title></head>{LINK}</html>",
    "upper case": f"<HTML><BODY>{LINK}</BODY></HTML>",
    "two ends": f"<html><body>{LINK}</body><p>more</p></body></html>",
    "an end in a comment": f"<html><body>{LINK}<!-- </body> --></body></html>",
    "a body in a comment": f"<!-- <body> -->{LINK}",
    "an end in a script": f"<body><script>var x = '</body>'</script>{LINK}</body>",
    "no end": f"<html><body>{LINK}",
}


@pytest.mark.parametrize("place", ["top", "bottom"])
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=list(DOCUMENTS))
def test_one_pixel_is_shown_in_any_document(make_site: MakeSite, smtp: Inbox, document: str, place: str) -> None:
    """Case 145: whole, in part or odd, a page gets one pixel where a browser shows it, and the rest is as written."""
    site = over(make_site, smtp, MAILTRACK_PIXEL=place)
    site.send(document)
    sent = html_of(smtp.envelopes[0].content)
    (pixel,) = pixels(sent, BASE_URL)
    shown = html5lib.parse(sent, namespaceHTMLElements=False).find("body")
    assert pixel in [image.get("src") for image in shown.iter("img")]
    without = re.sub(rf'<img src="{re.escape(pixel)}"[^>]*>', "", sent).rstrip("\r\n")
    for href in hrefs(sent):
        without = without.replace(href, followed(site, href))
    assert without == document


def test_a_mail_is_built_from_the_same_body_each_time(site: Site) -> None:
    """Case 148: Flask-Mail builds the MIME anew whenever it is asked to, and finds the same links and pixel."""
    sent = site.send(LINK, body="Hi\n")
    first, second = (html_of(sent.as_bytes()) for _ in range(2))
    assert first == second
    assert (first.count(CLICK), first.count("/m/o/")) == (1, 1)
    assert len(site.rows("Message")) == 1


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("own", [True, False, None])
def test_a_default_holds_until_a_message_says_otherwise(make_site: MakeSite, default: bool, own: bool | None) -> None:
    """Cases 13 and 27: tracking is on or off for all, and a condition of the host's own decides on one message."""
    site = make_site(MAILTRACK_OPENS=default, MAILTRACK_CLICKS=default)
    sent = site.send(LINK, opens=own, clicks=own)
    expected = default if own is None else own
    assert (CLICK in sent.html, "/m/o/" in sent.html) == (expected, expected)
    assert [(row.tracks_opens, row.tracks_clicks) for row in site.rows("Message")] == [(expected, expected)]


def test_the_last_word_about_a_message_holds(site: Site) -> None:
    """Case 21: of two calls of ``track`` the later one wins where both speak, and the earlier one where it does not."""
    message = Message("Hello", recipients=["ada@example.com"], html=LINK)
    site.mailtrack.track(message, tag="first", clicks=False, metadata={"a": 1, "b": 1})
    site.mailtrack.track(message, tag="last", metadata={"b": 2})
    with site.mail.record_messages() as outbox:
        site.mail.send(message)
    assert CLICK not in outbox[0].html
    assert [(row.tag, row.tracks_clicks, row.details) for row in site.rows("Message")] == [
        ("last", False, {"a": 1, "b": 2})
    ]


def test_a_message_that_is_never_sent_leaves_nothing(site: Site) -> None:
    """Case 26: to say how a message is tracked, and then not to send it, is no error and no row."""
    message = site.mailtrack.track(Message("Hello", recipients=["ada@example.com"], html=LINK), tag="never")
    site.mailtrack.flush()
    assert message.html == LINK
    assert site.rows("Message") == site.rows("Link") == []


def test_metadata_may_be_nested_and_foreign(site: Site) -> None:
    """Cases 30, 76 and 77: metadata of any depth, under keys in any script, is on the row and in no address."""
    metadata = {"größe": {"日本": [1, {"x": None}], "": True}, "😀": "ok"}
    sent = site.send(LINK, metadata=metadata)
    assert [row.details for row in site.rows("Message")] == [metadata]
    assert followed(site, hrefs(sent.html)[0]) == "https://example.com/"


@pytest.mark.parametrize("value", ["", "1", "anything"])
def test_a_foreign_switch_is_for_all_recipients(make_site: MakeSite, smtp: Inbox, value: str) -> None:
    """Case 54: with two people in To, ``X-No-Track`` leaves the mail as written, one for both, and does not go out."""
    site = over(make_site, smtp, MAILTRACK_FOREIGN_HEADERS=True)
    site.send(LINK, to=["ada@example.com", "bob@example.com"], extra_headers={"X-No-Track": value})
    assert [set(envelope.recipients) for envelope in smtp.envelopes] == [{"ada@example.com", "bob@example.com"}]
    for envelope in smtp.envelopes:
        assert html_of(envelope.content).rstrip("\r\n") == LINK
        assert "X-No-Track" not in parsed(envelope.content)
    assert [(row.status, row.tracks_opens, row.tracks_clicks) for row in site.rows("Message")] == [
        ("sent", False, False)
    ] * 2


# --- people -----------------------------------------------------------------------------------------------------


def test_everybody_on_a_mail_is_known_apart(real: Site, smtp: Inbox) -> None:
    """Cases 50 and 149: two in To, one in Cc and one in Bcc have a row each, and only who opens has opened."""
    real.send(LINK, to=["ada@example.com", "Bob <bob@example.com>"], cc=["cy@example.com"], bcc=["dee@example.com"])
    people = ["ada@example.com", "bob@example.com", "cy@example.com", "dee@example.com"]
    assert sorted(row.recipient for row in real.rows("Message")) == people
    assert len({row.batch_id for row in real.rows("Message")}) == 1
    assert [envelope.recipients for envelope in smtp.envelopes] == [[address] for address in people]
    copy = html_of(smtp.envelopes[2].content)
    (pixel,) = pixels(copy, BASE_URL)
    real.client.get(path_of(pixel), headers=BROWSER)
    followed(real, hrefs(copy)[0])
    counts = {row.recipient: (row.open_count, row.click_count) for row in real.rows("Message")}
    assert counts == {address: (int(address == "cy@example.com"),) * 2 for address in people}


def test_an_open_and_a_click_are_apart(site: Site) -> None:
    """Cases 57, 97 and 99: an open is not taken for a click, nor a click for an open: each is only what was seen."""
    Reader(site.client, site.send(LINK, to="ada@example.com")).open()
    Reader(site.client, site.send(LINK, to="bob@example.com")).click("go")
    seen = {row.recipient: (row.opened_at is not None, row.clicked_at is not None) for row in site.rows("Message")}
    assert seen == {"ada@example.com": (True, False), "bob@example.com": (False, True)}


def test_the_figures_of_two_mails_and_three_clicks(site: Site) -> None:
    """Case 32: two sent, one person who clicks three times: three in all, one person, one in two; elsewhere nothing."""
    reader, _ = (Reader(site.client, site.send(LINK, to=f"{name}@example.com", tag="spring")) for name in "ab")
    for _ in range(3):
        reader.click("go")
    figures = site.mailtrack.stats(tag="spring")
    assert (figures.sent, figures.clicked.total, figures.clicked.unique, figures.clicked.rate) == (2, 3, 1, 0.5)
    nothing = site.mailtrack.stats(tag="autumn")
    assert (nothing.sent, nothing.clicked.total, nothing.clicked.rate) == (0, 0, None)


# --- the mail around the HTML -----------------------------------------------------------------------------------

PNG = bytes.fromhex("89504e470d0a1a0a") + bytes(range(256))


def leaves(message: EmailMessage) -> list[tuple[str, str | None, str | None, str | None, bytes]]:
    """Return type, disposition, name, content id and content of each part that has one, but the text of the HTML."""
    return [
        (
            part.get_content_type(),
            part.get_content_disposition(),
            part.get_filename(),
            part["Content-ID"],
            b"" if part.get_content_type() == "text/html" else part.get_payload(decode=True),
        )
        for part in message.walk()
        if not part.is_multipart()
    ]


PAGE = '<p>Hi <img src="cid:logo" alt=""> <a href="https://example.com/">go</a></p>'
PDF = Attachment("Bericht für März.pdf", "application/pdf", b"%PDF-1.7\r\n\0\xff\n")
INLINE = Attachment("logo.png", "image/png", PNG, "inline", {"Content-ID": "<logo>"})
SHAPES: dict[str, dict[str, Any]] = {
    "alternative": {"html": PAGE, "body": "Hi, go to https://example.com/\n"},
    "pdf": {"html": PAGE, "body": "Hi\n", "attachments": [PDF]},
    "inline image and pdf": {"html": PAGE, "body": "Hi\n", "attachments": [INLINE, PDF]},
    "HTML alone and an image": {"html": PAGE, "attachments": [INLINE]},
    "text alone and a pdf": {"html": None, "body": "Hi\n", "attachments": [PDF]},
    "text alone": {"html": None, "body": "Grüße,\n-- \nAda\n"},
    "AMP beside HTML": {"html": PAGE, "body": "Hi\n", "alts": {"x-amp-html": "<html ⚡4email></html>"}},
}


@pytest.mark.parametrize("parts", SHAPES.values(), ids=list(SHAPES))
def test_every_part_of_a_mail_arrives(real: Site, smtp: Inbox, parts: dict[str, Any]) -> None:
    """Cases 52 and 53: attachments, inline images and plain text leave as they would without us, and there is a row."""
    real.send(**parts)
    untracked = Message("Hello", recipients=["ada@example.com"], sender="news@example.org", **parts)
    theirs = parsed(untracked.as_bytes())
    ours = parsed(smtp.envelopes[0].content)
    assert [part.get_content_type() for part in ours.walk()] == [part.get_content_type() for part in theirs.walk()]
    assert leaves(ours) == leaves(theirs)
    assert [row.status for row in real.rows("Message")] == ["sent"]
    if parts["html"] is not None:
        assert followed(real, hrefs(html_of(smtp.envelopes[0].content))[0]) == "https://example.com/"


def test_headers_of_any_length_arrive(real: Site, smtp: Inbox) -> None:
    """Case 65: a long header, one with colons and JSON in it, and nine Cc addresses are read back as they were set."""
    data = json.dumps({"campaign": "a: b", "ids": list(range(40)), "url": "https://example.com/?a=1&b=2"})
    cc = [f"Reader Number {n} <reader.number.{n}@a-rather-long-name.example.com>" for n in range(9)]
    headers = {"X-Data": data, "X-Long": " ".join(f"word{n}" for n in range(60)), "X-Time": "12:30:00"}
    real.send(LINK, cc=cc, extra_headers=headers, list_id="news")
    assert len(smtp.envelopes) == 10
    for envelope in smtp.envelopes:
        message = parsed(envelope.content)
        assert {name: str(message[name]) for name in headers} == headers
        assert json.loads(str(message["X-Data"])) == json.loads(data)
        assert sorted(str(address) for address in message["Cc"].addresses) == cc
        assert all(len(line) <= 998 for line in envelope.content.split(b"\r\n"))


def test_the_message_id_is_that_of_the_header(real: Site, smtp: Inbox) -> None:
    """Case 61: the row holds the Message-ID that left, so that a bounce or a log of the server can be matched."""
    real.send(LINK)
    assert [row.header_message_id for row in real.rows("Message")] == [
        str(parsed(smtp.envelopes[0].content)["Message-ID"])
    ]


# --- leaving ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["List-Unsubscribe", "list-unsubscribe", "LIST-UNSUBSCRIBE"])
def test_an_authors_own_way_out_is_the_only_one(real: Site, smtp: Inbox, name: str) -> None:
    """Cases 40, 103 and 104: a web address that the author set is there once, and one-click is not promised for it."""
    value = "<https://example.org/leave?a=1>"
    real.send(LINK, list_id="news", extra_headers={name: value})
    message = parsed(smtp.envelopes[0].content)
    assert [str(each) for each in message.get_all("List-Unsubscribe", [])] == [value]
    assert "List-Unsubscribe-Post" not in message


@pytest.mark.parametrize("name", ["List-Unsubscribe", "list-unsubscribe", "LIST-UNSUBSCRIBE"])
def test_an_authors_own_mailbox_comes_after_our_button(real: Site, smtp: Inbox, name: str) -> None:
    """Cases 103 and 120: a mailbox that the author set follows our address, in the one header that there is."""
    real.send(LINK, list_id="news", extra_headers={name: "<mailto:leave@example.org>"})
    message = parsed(smtp.envelopes[0].content)
    (value,) = map(str, message.get_all("List-Unsubscribe", []))
    assert re.fullmatch(r"<https://links\.example\.com/m/u/[a-z2-7]{68}>, <mailto:leave@example\.org>", value)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("options", [{"unsubscribe": False}, {"transactional": True}], ids=repr)
def test_headers_can_be_switched_off(real: Site, smtp: Inbox, options: dict[str, bool]) -> None:
    """Cases 41, 102 and 119: a message that offers no way out, or is transactional, has neither of the two headers."""
    real.send(LINK, **({} if "transactional" in options else {"list_id": "news"}), **options)
    real.send(LINK, list_id="news")
    without, with_both = (parsed(envelope.content) for envelope in smtp.envelopes)
    names = ("List-Unsubscribe", "List-Unsubscribe-Post")
    assert [name in without for name in names] == [False, False]
    assert [name in with_both for name in names] == [True, True]


def test_the_form_that_is_shown_unsubscribes(site: Site) -> None:
    """Cases 43 and 105: looking leaves a reader subscribed; the page's own form, sent as a browser does, works."""
    sent = site.send(LINK, list_id="news")
    path = urlsplit(str(sent.extra_headers["List-Unsubscribe"]).strip("<>")).path
    page = html5lib.parse(site.client.get(path, headers=BROWSER).text, namespaceHTMLElements=False)
    assert site.rows("OptOut") == []
    (form,) = page.iter("form")
    (button,) = form.iter("button")
    assert (form.get("method"), form.get("action")) == ("post", None)
    answer = site.client.post(path, data={button.get("name"): button.get("value")}, headers=BROWSER)
    assert answer.status_code == 200
    assert [(row.recipient, row.list_id) for row in site.rows("OptOut")] == [("ada@example.com", "news")]
    assert site.send(LINK, to=["ada@example.com"], list_id="news") == []


@pytest.mark.parametrize("list_id", ["news", ""])
def test_an_opt_out_that_the_host_imports_holds(site: Site, list_id: str) -> None:
    """Cases 46 and 47: a row that the host writes itself, such as one of a former service, stops the next list mail."""
    opt_out = site.mailtrack.models.OptOut
    row = opt_out(
        recipient="ada@example.com", list_id=list_id, kind="unsubscribe", method="import", created_at=datetime.now(UTC)
    )
    site.db.session.add(row)
    site.db.session.commit()
    sent = site.send(LINK, to=["Ada <ADA@example.com>", "bob@example.com"], list_id="news")
    assert [message.send_to for message in sent] == [{"bob@example.com"}]
    assert len(site.send(LINK, to=["ada@example.com"])) == 1


def test_a_stranger_is_answered_like_a_reader(site: Site) -> None:
    """Case 106: whoever's mail has been deleted is told the same as somebody whose mail is there."""
    known, unknown = (site.send(LINK, to=f"{name}@example.com", list_id="news") for name in ("ada", "bob"))
    message = site.mailtrack.models.Message
    site.db.session.execute(sa.delete(message).where(message.recipient == "bob@example.com"))
    site.db.session.commit()
    answers = [Reader(site.client, mail).unsubscribe() for mail in (known, unknown)]
    assert len({(answer.status_code, answer.data, str(answer.headers)) for answer in answers}) == 1


def test_a_way_out_of_a_transactional_mail_leads_somewhere(site: Site) -> None:
    """Case 108: a template's unsubscribe link is a working one in every mail, so no reader meets an empty address."""
    page = render_template_string('<p><a href="{{ unsubscribe_url() }}">leave</a></p>')
    (href,) = hrefs(site.send(page, transactional=True).html)
    assert site.client.get(path_of(href), headers=BROWSER).status_code == 200


# --- the public routes ------------------------------------------------------------------------------------------


def rot13(token: str) -> str:
    """Turn the letters of a token as some scanners do."""
    return codecs.encode(token, "rot13")


DAMAGE: dict[str, tuple[Callable[[str], str], bool]] = {
    "cut": (lambda token: token[:40], False),
    "ROT13": (rot13, False),
    "encoded twice": (lambda token: f"%25{ord(token[0]):02x}{token[1:]}", False),
    "reversed": (lambda token: token[::-1], False),
    "upper case": (str.upper, True),
    "padded": (lambda token: token + "==", True),
    "encoded once": (lambda token: f"%{ord(token[0]):02x}{token[1:]}", True),
}


@pytest.mark.parametrize(("damage", "repaired"), DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_token_is_repaired_or_refused(site: Site, damage: Callable[[str], str], repaired: bool) -> None:
    """Case 151: what can be read beyond doubt is; all else is a 404, for the pixel an image, and never a 500."""
    sent = site.send(LINK, list_id="news")
    token = {path[3]: path[5:73] for path in map(path_of, [*hrefs(sent.html), *pixels(sent.html, BASE_URL)])}
    expected = {"c": 302, "u": 200, "o": 200} if repaired else {"c": 404, "u": 404, "o": 200}
    assert {letter: site.client.get(f"/m/{letter}/{damage(token[letter])}").status_code for letter in "cuo"} == expected
    assert sorted(event.type for event in site.rows("Event")) == (["clicked", "opened"] if repaired else [])


@pytest.mark.parametrize("good", [True, False], ids=["good token", "bad token"])
def test_nothing_is_fetched_for_a_pixel(site: Site, monkeypatch: pytest.MonkeyPatch, good: bool) -> None:
    """Case 93: an address handed to the pixel is not looked at, whether the token is ours or not."""
    (pixel,) = pixels(site.send(LINK).html, BASE_URL)
    path = path_of(pixel) if good else "/m/o/invalid.gif"
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    answer = site.client.get(path, query_string={"src": "http://169.254.169.254/latest/meta-data"})
    assert (answer.status_code, answer.mimetype) == (200, "image/gif")
    assert len(site.rows("Event")) == good


FORWARDED = {
    "one proxy": ("203.0.113.77", "203.0.113.0"),
    "a chain, in which only the last is believed": ("198.51.100.9, 203.0.113.77", "203.0.113.0"),
    "a private address": ("10.1.2.3", "10.1.2.0"),
}


@pytest.mark.parametrize(("forwarded", "kept"), FORWARDED.values(), ids=list(FORWARDED))
def test_a_proxy_that_the_host_declares_is_believed(make_site: MakeSite, forwarded: str, kept: str) -> None:
    """Cases 82 and 127: with Werkzeug's ``ProxyFix`` the reader's address is the one that the host's proxy saw."""
    site = make_site()
    site.app.wsgi_app = ProxyFix(site.app.wsgi_app, x_for=1)  # type: ignore[method-assign]
    (href,) = hrefs(site.send(LINK).html)
    headers = {**BROWSER, "X-Forwarded-For": forwarded, "X-Real-IP": "192.0.2.1"}
    site.client.get(path_of(href), headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert [(event.ip, event.user_agent) for event in clicked(site)] == [(kept, BROWSER["User-Agent"])]


def test_the_hosts_own_routes_are_not_touched(site: Site) -> None:
    """Case 94: next to our routes the host answers as before, under our paths' names too, with its own headers."""
    site.app.add_url_rule("/c/<name>", "own", lambda name: f"own {name}")
    answer = site.client.get("/c/abc")
    assert (answer.status_code, answer.text) == (200, "own abc")
    assert not re.search("no-store|noindex|no-referrer", str(answer.headers))
    assert site.client.get("/o/abc").status_code == 404
