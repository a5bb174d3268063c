"""How text parts are encoded."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

import pytest
from conftest import MakeSite, Site

TEXT = "Grüße, = and a full stop\n.\nFrom here \n"
PARTS: dict[str, Any] = {
    "html": "<p>Grüße = <b>x</b> \u2028</p>\n",
    "body": TEXT,
    "alts": {"x-amp-html": "<p>ü</p>\n"},
    "attachments": [],
}


def encodings(sent: Any) -> dict[str, str]:
    """Return the encoding of each text part of a mail, which says what the author wrote."""
    mail = cast("EmailMessage", message_from_bytes(sent.as_bytes(), policy=policy.default))
    parts = [part for part in mail.walk() if not part.is_multipart()]
    assert [part.get_content().replace("\r\n", "\n") for part in parts if part.get_content_type() == "text/plain"] == [
        TEXT
    ]
    return {part.get_content_type(): part["Content-Transfer-Encoding"] for part in parts}


KINDS = ["text/plain", "text/html", "text/x-amp-html"]


def test_the_default_is_flask_mails_own(site: Site) -> None:
    """Who asks for nothing gets the encoding that Flask-Mail chooses."""
    assert encodings(site.send(**PARTS)) == dict.fromkeys(KINDS, "8bit")


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", None])
def test_a_whole_app_can_ask_for_quoted_printable(make_site: MakeSite, charset: str | None) -> None:
    """Every text part of every mail is encoded so, tracked or not, and reads as the author wrote it."""
    site = make_site(MAILTRACK_ENCODING="quoted-printable")
    parts = PARTS | {"html": "<p>Grüße</p>", "charset": charset}
    for options in ({}, {"opens": False, "clicks": False}, {"list_id": "news"}, {"store": False}):
        told = dict(options)
        if "list_id" in told:
            told["unsubscribe"] = False
        assert encodings(site.send(**parts, **told)) == dict.fromkeys(KINDS, "quoted-printable")


@pytest.mark.parametrize("by", ["track", "block", "header"])
def test_a_message_can_ask_for_quoted_printable(site: Site, by: str) -> None:
    """One message asks for it, in each of the ways in which options are given."""
    if by == "track":
        sent = site.send(**PARTS, encoding="quoted-printable")
    elif by == "header":
        sent = site.send(**PARTS, extra_headers={"X-Mailtrack": "encoding=quoted-printable"})
    else:
        with site.mailtrack.options(encoding="quoted-printable"):
            sent = site.send(**PARTS)
    assert encodings(sent) == dict.fromkeys(KINDS, "quoted-printable")


def test_a_message_can_have_flask_mails_own_again(make_site: MakeSite) -> None:
    """An empty encoding overrules the setting for one message."""
    site = make_site(MAILTRACK_ENCODING="quoted-printable")
    assert encodings(site.send(**PARTS, encoding="")) == dict.fromkeys(KINDS, "8bit")
