"""A body need not be a str: what Flask-Mail sends is prepared like any other."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any

import flask_babel
import pytest
from conftest import BASE_URL, MakeSite, Site
from flask_mail import Message
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from flask_mailtrack.outgoing.text import plain
from flask_mailtrack.testing import Reader

HTML = '<p>Grüße <a href="https://example.com/?a=1&amp;b=2">Read on</a></p>'
TEXT = "Grüße, https://example.com/?a=1&b=2"


class Lazy:
    """A lazy string as speaklater makes them: nothing but a proxy of what it stands for."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_value"), name)

    def __str__(self) -> str:
        return self._value


class Marked(str):
    """A str with a class of its own."""


MAKERS: list[Any] = [
    Lazy,
    lambda value: flask_babel.LazyString(lambda: value),
    lambda value: value.encode(),
    lambda value: bytearray(value.encode()),
    Markup,
    Marked,
]
IDS = ["lazy", "babel", "bytes", "bytearray", "markup", "subclass"]


@pytest.mark.parametrize("make", MAKERS, ids=IDS)
@pytest.mark.parametrize("list_id", [None, "news"])
def test_every_kind_of_body_is_prepared(site: Site, make: Any, list_id: str | None) -> None:
    """Lazy strings, bytes and marked strings are tracked, and the links lead where they led."""
    sent = site.send(make(HTML), body=make(TEXT), alts={"x-amp-html": make(HTML)}, list_id=list_id)
    assert {type(part) for part in (sent.html, sent.body, *sent.alts.values())} == {str}
    assert f"{BASE_URL}/m/c/" in sent.html
    assert sent.body.startswith(TEXT)
    assert Reader(site.client, sent).click("Read on").location == "https://example.com/?a=1&b=2"
    assert site.rows("Message")[0].error == ""


@pytest.mark.parametrize("make", MAKERS, ids=IDS)
def test_the_message_of_the_host_keeps_its_bodies(site: Site, make: Any) -> None:
    """The object of the author is left with what was put into it, so that it can be sent again."""
    html, body = make(HTML), make(TEXT)
    message = Message("Hello", recipients=["ada@example.com"], html=html, body=body)
    site.mail.send(message)
    assert message.html is html
    assert message.body is body


@pytest.mark.parametrize("make", MAKERS, ids=IDS)
def test_a_marked_body_does_not_change_the_plain_one(site: Site, make: Any) -> None:
    """Equal bodies of two kinds are one in the cache; whichever came first, links of both lead to the same place."""
    for first in (make(HTML), HTML, make(HTML)):
        site.mailtrack.preview(first)
        sent = site.send(first)
        assert "&amp;amp;" not in sent.html
        assert Reader(site.client, sent).click("Read on").location == "https://example.com/?a=1&b=2"


def test_marked_utm_parameters_do_not_escape_the_url(site: Site) -> None:
    """A utm value that is a Markup is added as the text that it is."""
    for value in (Markup("a"), "a"):
        sent = site.send(HTML, utm={"source": value})
        wanted = "https://example.com/?a=1&b=2&utm_source=a"
        assert Reader(site.client, sent).click("Read on").location == wanted


def test_a_lazy_list_mail_still_asks_the_opt_outs(site: Site) -> None:
    """List mail with a lazy body goes to those who stayed, and to nobody who left."""
    site.mailtrack.suppress("ada@example.com", "news")
    sent = site.send(Lazy(HTML), to=["ada@example.com", "bob@example.com"], list_id="news")
    assert [each.send_to for each in sent] == [{"bob@example.com"}]


@pytest.mark.parametrize(("charset", "octets"), [(None, b"caf\xe9 \xff"), ("iso-8859-1", b"caf\xe9"), ("utf-8", b"ok")])
def test_bytes_leave_as_the_bytes_that_they_are(
    make_site: MakeSite, smtp: Any, charset: str | None, octets: bytes
) -> None:
    """Bytes that are not of the charset of the message reach the reader unchanged all the same."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_PORT=smtp.port)
    site.send(b"<p>" + octets + b"</p>", body=octets, charset=charset)
    message = message_from_bytes(smtp.envelopes[0].content, policy=policy.default)
    parts = {part.get_content_subtype(): part.get_payload(decode=True) for part in message.walk()}
    assert parts["plain"] == octets
    assert parts["html"].startswith(b"<p>" + octets + b"</p>")


@given(st.text() | st.binary())
def test_plain_is_a_str_of_the_same_text(part: str | bytes) -> None:
    """What becomes plain loses nothing."""
    made = plain(part)
    assert type(made) is str
    assert made == part if isinstance(part, str) else made.encode("utf-8", "surrogateescape") == part
    assert plain(Markup(made)) == made  # noqa: S704 - what is tested
