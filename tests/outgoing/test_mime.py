"""A mail as bytes: only what tracking changes is changed."""

from __future__ import annotations

import base64
import email
import email.policy
import re
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.headers import MAX_LINE
from flask_mailtrack.outgoing.mime import Mime

MIXED = b"""\
Received: from a by b;
\tFri, 27 Nov 2026 10:00:00 +0000
Received: from b by c
subject:no space behind the colon
From: Ada <ada@example.org>
To: bob@example.com,
  cyd@example.com
bcc: secret@example.com
MIME-Version: 1.0
Content-Type: multipart/mixed;
  boundary="outer ="

preamble
--outer =\t
Content-Type: multipart/related; boundary=inner

--inner
Content-Type: multipart/alternative; boundary="inner2"

--inner2
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe
--inner2
Content-Type: text/html; charset="utf-8"
Content-Transfer-Encoding: base64

PHA+R3LDvMOfZTwvcD4=
--inner2--
--inner
Content-Type: image/png
Content-ID: <logo>
Content-Transfer-Encoding: base64

AAAA
AAAA
--inner--
epilogue
--outer =
Content-Type: text/html; name="report.html"
Content-Disposition: attachment; filename="report.html"

<a href="https://example.org/">not the mail</a>
--outer =--
""".replace(b"\n", b"\r\n")


def of(body: str, subtype: str = "html", charset: str = "utf-8", cte: str = "8bit") -> bytes:
    """A mail of one part."""
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.com", "Hello"
    message.set_content(body, subtype=subtype, charset=charset, cte=cte)
    return message.as_bytes()


def test_a_mail_that_nobody_changes_is_the_same_but_for_bcc() -> None:
    """Also headers without a space, folds, spaces behind a boundary, a preamble, and a base64 part that is short."""
    mime = Mime(MIXED)
    expected = MIXED.replace(b"bcc: secret@example.com\r\n", b"")
    assert mime.written({kind: part.text for kind, part in mime.parts.items()}, mime.headers) == expected


def test_the_bodies_are_those_that_a_reader_sees() -> None:
    """An attached page is none of them."""
    assert {kind: part.text for kind, part in Mime(MIXED).parts.items()} == {"plain": "Grüße", "html": "<p>Grüße</p>"}


def test_only_the_body_that_changes_is_written_anew() -> None:
    """All other lines are those of the author, and each part keeps charset and encoding."""
    mime = Mime(MIXED)
    raw = mime.written({"html": "<p>Grüße!</p>"}, mime.headers)
    new = base64.b64encode("<p>Grüße!</p>".encode())
    assert raw == MIXED.replace(b"bcc: secret@example.com\r\n", b"").replace(b"PHA+R3LDvMOfZTwvcD4=", new)
    again = Mime(mime.written({"plain": "Grüße\n€"}, mime.headers))
    assert (again.parts["plain"].text, again.parts["plain"].charset) == ("Grüße\n€", "utf-8")
    assert again.parts["html"] == again.parts["html"]


def test_a_letter_that_a_page_cannot_say_becomes_a_reference() -> None:
    """The charset of the page is the author's."""
    mime = Mime(of("<p>ü</p>", charset="iso-8859-1", cte="quoted-printable"))
    part = Mime(mime.written({"html": "<p>ü 中</p>\n"}, mime.headers)).parts["html"]
    assert (part.text, part.charset) == ("<p>ü &#20013;</p>\n", "iso-8859-1")


@pytest.mark.parametrize("cte", ["7bit", "8bit", "quoted-printable", "base64"])
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=200))
@example(text="x" * 1200)
@example(text=".\n.\nFrom me\n")
def test_any_text_comes_back_as_it_was_given(cte: str, text: str) -> None:
    """Whatever the part's encoding was; no line is longer than SMTP allows, and each ends in CRLF."""
    mime = Mime(of("Hello\nyou\n", "plain", cte=cte))
    raw = mime.written({"plain": text}, mime.headers)
    assert Mime(raw).parts["plain"].text.replace("\r\n", "\n") == text
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert max(map(len, raw.split(b"\r\n"))) <= MAX_LINE


@given(text=st.text(max_size=60), cte=st.sampled_from(["quoted-printable", "base64"]))
def test_line_ends_of_every_kind_come_back(text: str, cte: str) -> None:
    """Where the encoding can say them."""
    octets = text.encode("utf-8", "replace")
    body = base64.encodebytes(octets) if cte == "base64" else b"".join(b"=%02X" % octet for octet in octets)
    raw = b"From: a@example.org\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: %s\r\n\r\n"
    mime = Mime(raw % cte.encode() + body)
    if "plain" in mime.parts:
        part = mime.parts["plain"]
        again = Mime(mime.written({"plain": part.text + "!"}, mime.headers)).parts["plain"]
        assert (again.text.removesuffix("!"), again.wrapped) == (part.text, part.wrapped)


@given(st.binary(max_size=300), st.binary(max_size=40))
@example(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a\r\n--a--", b"")
@example(b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n--\r\n", b"")
@example(b"\n", b"")
def test_octets_that_are_no_mail_come_back(raw: bytes, boundary: bytes) -> None:
    """Nothing that a stranger hands in stops the send."""
    for octets in (
        raw,
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" + boundary + b"\n--x\n" + raw + b"\n--x--",
    ):
        mime = Mime(octets)
        secret = {name for name in mime.headers if name.lower() in ("bcc", "resent-bcc")}
        if not secret:
            assert mime.written({}, mime.headers) == mime.raw


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: multipart/signed; boundary=a\n\n--a\nContent-Type: text/html\n\n<p>1</p>\n--a--\n",
        b"Content-Type: multipart/encrypted; boundary=a\n\n--a\nContent-Type: text/html\n\n<p>1</p>\n--a--\n",
        b"Content-Type: text/html; charset=unheard-of\n\n<p>1</p>",
        b"Content-Type: text/html; charset=us-ascii\n\n<p>\xfc</p>",
        b"Content-Type: text/html\nContent-Transfer-Encoding: x-uuencode\n\n<p>1</p>",
        b"Content-Type: text/plain; format=flowed; delsp=yes\n\nhttps://exam \nple.org/",
        b"Content-Type: text/html; charset=utf-16\n\n<\x00p\x00>\x00",
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nAAAA",
        b"Content-Type: message/rfc822\n\nContent-Type: text/html\n\n<p>1</p>",
        b"Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: x\n\nHello\n--a--\n",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: text/plain\n--a--\n",
        b"Content-Type: multipart/mixed; boundary*=utf-8''%C3%BC\n\n--a\n\nx\n--a--\n",
        b"Content-Type: text/html; charset*=a''%00\n\n<p>1</p>",
        b"Content-Type: multipart/report; boundary=a\n\n--a\nContent-Type: text/html\n\n<p>1</p>\n--a--\n",
    ],
)
def test_what_cannot_be_written_back_is_left_alone(raw: bytes) -> None:
    """Signed and encrypted mail, a report, a charset that does not come back, and a text whose lines are joined."""
    assert Mime(raw).parts == {}


def test_parts_inside_parts_end_somewhere() -> None:
    """A stranger's mail of a thousand levels does not fill the stack."""
    raw = b"Content-Type: text/html\r\n\r\n<p>1</p>"
    for level in range(1000):
        boundary = b"b%d" % level
        raw = b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n%s" % (boundary, boundary, raw)
    assert Mime(raw).parts == {}


def test_headers_are_changed_in_their_place() -> None:
    """A header that goes is taken out with its folds, one that changes keeps its place, a new one comes last."""
    raw = b"X-Mailtrack: tag=a;\r\n\topens=off\r\nSubject: One\r\nX-SMTPAPI: {}\r\nTo: b@example.com\r\n\r\nHello"
    mime = Mime(raw)
    headers = {"Subject": "One", "X-SMTPAPI": '{"a": 1}', "To": "b@example.com", "X-New": "yes"}
    expected = b'Subject: One\r\nX-SMTPAPI: {"a": 1}\r\nTo: b@example.com\r\nX-New: yes\r\n\r\nHello'
    assert mime.written({}, headers) == expected


def test_words_in_headers_are_read() -> None:
    """Encoded words (RFC 2047), UTF-8 as it stands (RFC 6532), and nonsense as it is."""
    assert Mime(b"Subject: =?utf-8?B?R3LDvMOfZQ==?=\n\n").legible("Subject") == "Grüße"
    assert Mime("Subject: Grüße\n\n".encode()).legible("Subject") == "Grüße"
    assert Mime(b"Subject: =?nonsense?B?R3?=\n\n").legible("Subject") == "=?nonsense?B?R3?="
    assert Mime(b"\n\n").legible("Subject") == ""


@pytest.mark.parametrize("start", ["<root>", "root"])
def test_the_root_of_related_parts_is_the_page(start: str) -> None:
    """Mail programs write its id with angle brackets and without."""
    raw = (
        f'Content-Type: multipart/related; boundary=a; start="{start}"\n\n--a\nContent-Type: text/plain\n\nno\n'
        "--a\nContent-Type: text/html\nContent-ID: <root>\n\n<p>yes</p>\n--a--\n"
    )
    assert [part.text for part in Mime(raw.encode()).parts.values()] == ["<p>yes</p>"]


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a@x.y\nX Broken line\nBcc: secret@x.y\n\nbody",
        b"From: a@x.y\nBcc : secret@x.y\n\nbody",
        b">From x\nBcc: secret@x.y\n\nbody",
        b"Bcc: secret@x.y\nbcc:\n secret@x.y\n\nbody",
    ],
)
def test_bcc_is_taken_out_wherever_it_stands(raw: bytes) -> None:
    """Also below a line that is no header, where Python reads no more."""
    mime = Mime(raw)
    written = mime.written({}, mime.headers)
    assert b"secret" not in written
    assert written.endswith(b"\r\nbody")


def test_a_header_behind_headers_that_end_without_a_line_end() -> None:
    """The last header and the new one have a line each."""
    mime = Mime(b"To: z@x.org\nSubject: hi")
    assert mime.written({}, {**mime.headers, "X-New": "1"}) == b"To: z@x.org\r\nSubject: hi\r\nX-New: 1\r\n"


def test_octets_of_a_binary_part_stay() -> None:
    """There a line end may mean something."""
    raw = (
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Transfer-Encoding: binary\r\n"
        b"Content-Type: application/octet-stream\r\n\r\n\0\n\r\1\r\n--a--\r\n"
    )
    mime = Mime(raw)
    assert mime.written({}, mime.headers) == raw


@pytest.mark.parametrize("label", ["gb2312", "shift_jis", "big5", "euc-kr"])
def test_letters_beyond_the_name_of_a_charset_are_read(label: str) -> None:
    """Mail programs write the wider charset under the old name; the octets come back as they were."""
    wider = {"gb2312": "gb18030", "shift_jis": "cp932", "big5": "big5hkscs", "euc-kr": "cp949"}[label]
    text = {"gb2312": "朱镕基", "shift_jis": "①㈱", "big5": "嘅", "euc-kr": "펲"}[label]
    raw = f"Content-Type: text/html; charset={label}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
    mime = Mime(raw + text.encode(wider))
    assert mime.parts["html"].text == text
    assert mime.written({"html": text + "!"}, mime.headers) == raw + (text + "!").encode(wider)


def test_hostile_headers_and_parts_take_little_time() -> None:
    """Their number is limited, or the time grows with it and not with its square: this would take minutes."""
    Mime(b"Subject: " + b"=?utf-8?B?YQ==?= " * 200_000 + b"\n\n").legible("Subject")
    mime = Mime(b"Bcc: a@x.y\n" * 200_000 + b"\n")
    assert mime.written({}, mime.headers) == b"\r\n"
    assert Mime(b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n\n" * 500_000).parts != 0
    assert Mime(b"From: " + b"(" * 5000 + b"\n\n").addresses("From") == []
    assert Mime(b"Subject: =?utf-8?B?abcde?=\n\n").legible("Subject") == "=?utf-8?B?abcde?="
