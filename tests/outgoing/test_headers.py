"""The headers by which a mail client shows its unsubscribe button."""

from __future__ import annotations

import copy
import email
import pickle
import re
from email import policy
from email.mime.text import MIMEText

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.headers import Unfolded, bad_header, for_list

URL = "https://links.example.com/m/u/token"
POST = "List-Unsubscribe=One-Click"


@pytest.mark.parametrize(
    ("url", "list_id", "given_headers", "expected"),
    [
        (URL, "", {}, {"List-Unsubscribe": f"<{URL}>", "List-Unsubscribe-Post": POST}),
        ("http://x.example/u", "", {}, {"List-Unsubscribe": "<http://x.example/u>"}),
        (
            URL,
            "news",
            {},
            {"List-Unsubscribe": f"<{URL}>", "List-Unsubscribe-Post": POST, "List-Id": "<news.example.org>"},
        ),
        (URL, "", {"List-Unsubscribe": "<mailto:a@b.c>"}, {}),
        (URL, "", {"LIST-UNSUBSCRIBE": "<mailto:a@b.c>"}, {}),
        (URL, "", {"list-unsubscribe": "<https://own.example>", "list-unsubscribe-post": POST}, {}),
        (URL, "news", {"list-unsubscribe": "<https://own.example>", "LIST-ID": "<x.y>"}, {}),
        (URL, "news", {"List-unsubscribe": "<https://own.example>"}, {"List-Id": "<news.example.org>"}),
        (URL, "", {"list-unsubscribe-post": POST}, {"List-Unsubscribe": f"<{URL}>"}),
        (URL, "news", {"list-id": "<x.y>"}, {"List-Unsubscribe": f"<{URL}>", "List-Unsubscribe-Post": POST}),
    ],
)
def test_a_list_message_can_be_left(
    url: str, list_id: str, given_headers: dict[str, str], expected: dict[str, str]
) -> None:
    """One-click is offered over https only, and what the author wrote, in any case of letters, is never spoken for."""
    assert for_list(url, list_id, "example.org", given_headers) == expected


@pytest.mark.parametrize(
    ("list_id", "domain", "expected"),
    [
        ("news", "example.org", "<news.example.org>"),
        ("Weekly News!", "example.org", "<weekly-news.example.org>"),
        ("a..b", "example.org", "<a.b.example.org>"),
        (".-a-.-b-.", "example.org", "<a.b.example.org>"),
        ("news>\r\nBcc: x", "example.org", "<news-bcc-x.example.org>"),
        ("x" * 119 + ".y", "example.org", f"<{'x' * 119}.example.org>"),
        ("news", "", "<news.localhost>"),
        ("news", "example..org", "<news.localhost>"),
        ("news", "example.org>", "<news.localhost>"),
        ("news", "bücher.example", "<news.localhost>"),
        ("news", "x" * 300, "<news.localhost>"),
        ("news", "xn--bcher-kva.example", "<news.xn--bcher-kva.example>"),
    ],
)
def test_a_list_has_an_id(list_id: str, domain: str, expected: str) -> None:
    """A list is known by its name under the sender's domain."""
    assert for_list(URL, list_id, domain, {})["List-Id"] == expected


def test_lists_in_other_scripts_are_told_apart() -> None:
    """Two lists whose names have no Latin letter have different ids, and always the same ones."""
    ids = [for_list(URL, name, "example.org", {})["List-Id"] for name in ("Новости", "Акции", "Новости")]
    assert ids[0] == ids[2] != ids[1]


@given(list_id=st.text(st.characters(), min_size=1), domain=st.text(st.characters()) | st.just("x" * 130 + ".org"))
def test_every_list_id_is_well_formed(list_id: str, domain: str) -> None:
    """Whatever a list and a domain are called, the id is a dot-atom of at most 255 octets (RFC 2919)."""
    value = for_list(URL, list_id, domain, {})["List-Id"]
    assert re.fullmatch(r"<[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+>", value, re.ASCII)
    assert len(value) <= 257


def as_sent(value: str) -> MIMEText:
    """A message built the way Flask-Mail builds one."""
    message = MIMEText("Hello", "plain", "utf-8")
    message["Subject"] = "Hello"
    message["List-Unsubscribe"] = value
    message["X-Last"] = "x"
    message.policy = policy.SMTP  # what Flask-Mail does
    return message


@pytest.mark.parametrize("length", [*range(60, 100), 200, 434, 900])
def test_a_long_url_stays_on_its_line(length: int) -> None:
    """A mail client finds the URL as it is, however long, in bytes and in text."""
    value = f"<{URL}{'a' * (length - len(URL))}>"
    message = as_sent(Unfolded("List-Unsubscribe", value))
    line = f"List-Unsubscribe: {value}"
    assert line.encode() in message.as_bytes().split(b"\r\n")
    assert line in message.as_string().splitlines()
    assert len(line) <= 998
    parsed = email.message_from_bytes(message.as_bytes(), policy=policy.default)
    assert parsed["List-Unsubscribe"] == value
    assert parsed["X-Last"] == "x"


def test_a_plain_string_would_be_destroyed() -> None:
    """The reason for all this: Python turns a long URL into words that no mail client reads."""
    assert b"=?utf-8?q?" in as_sent(f"<{URL}{'a' * 60}>").as_bytes()


def test_a_header_can_be_copied() -> None:
    """A message with our headers can be copied and pickled, as task queues and tests do."""
    value = Unfolded("List-Id", "<a.b>")
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301 - our own
        assert (type(twin), twin, twin.name) == (Unfolded, "<a.b>", "List-Id")


BREAKS = "\r\n\0\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.mark.parametrize("character", BREAKS)
def test_a_value_cannot_leave_its_line(character: str) -> None:
    """Attack 100: a value with anything that Python writes as a new line is found out."""
    assert bad_header({"X-Good": "x", "X-Bad": f"x{character}Bcc: victim@example.org"}) == "X-Bad"
    assert bad_header({"X-Bad": f"x{character}"}) == "X-Bad"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_passes_stays_one_header(value: str) -> None:
    """A value that is let through never becomes two headers in the mail."""
    if bad_header({"X-Test": value}) is None:
        message = MIMEText("Hello")
        message["X-Test"] = value
        message["X-Last"] = "x"
        message.policy = policy.SMTP  # what Flask-Mail does
        head = message.as_string().split("\r\n\r\n")[0]
        names = [line.split(":")[0] for line in head.split("\r\n") if not line.startswith((" ", "\t"))]
        assert names[-2:] == ["X-Test", "X-Last"]


@pytest.mark.parametrize(
    "name", ["", "X Bad", "X-Bad:", "X:Bad", "X-Bäd", "X-Bad\r\nBcc", "X-Bad\0", "X-Bad\t", "X\x7f"]
)
def test_a_bad_name_is_found_out(name: str) -> None:
    """Attack 100: a name with a colon, a blank, a control or a foreign letter is found out."""
    assert bad_header({name: "x"}) == name


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Campaign": "welcome"},
        {"X-Ünïcode"[:2] + "Name": "Grüße 😀"},
        {"X-Tab": "a\tb"},
        {"X!#$%&'*+-.^_`|~": ""},
    ],
)
def test_ordinary_headers_are_let_through(headers: dict[str, str]) -> None:
    """Headers in any language, and names of any legal character, are no concern of ours."""
    assert bad_header(headers) is None
