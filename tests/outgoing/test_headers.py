"""The headers by which a mail client shows its unsubscribe button."""

from __future__ import annotations

import copy
import email
import pickle
import re
from email import policy
from email.mime.text import MIMEText
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import MakeSite
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.events import Kind
from flask_mailtrack.outgoing.headers import Unfolded, bad_header, for_list

URL = "https://links.example.com/m/u/token"
POST = "List-Unsubscribe=One-Click"


MAILTO = "mailto:leave@example.com?subject=unsubscribe%20token"
OURS = {"List-Unsubscribe": f"<{URL}>", "List-Unsubscribe-Post": POST}
ID = {"List-Id": "<news.example.org>"}


@pytest.mark.parametrize(
    ("url", "list_id", "mailto", "expected"),
    [
        (URL, "", "", OURS),
        (URL, "news", "", OURS | ID),
        (URL, "", MAILTO, OURS | {"List-Unsubscribe": f"<{URL}>, <{MAILTO}>"}),
        ("http://x.example/u", "", "", {"List-Unsubscribe": "<http://x.example/u>"}),
        ("http://x.example/u", "", MAILTO, {"List-Unsubscribe": f"<http://x.example/u>, <{MAILTO}>"}),
    ],
)
def test_a_list_message_can_be_left(url: str, list_id: str, mailto: str, expected: dict[str, str]) -> None:
    """A mail client finds the URL first, one-click over https only, then the mailbox, and which list it is."""
    assert for_list(url, list_id, "example.org", {"X-Other": "kept"}, mailto) == {"X-Other": "kept"} | expected


@pytest.mark.parametrize(
    "own",
    [
        {"list-unsubscribe": "<https://own.example>"},
        {"List-Unsubscribe": "<mailto:a@b.c>, <HTTPS://own.example>", "list-unsubscribe-post": POST},
        {"LIST-UNSUBSCRIBE": "< http://own.example >"},
        {"List-Unsubscribe": "write to us"},
    ],
)
def test_an_authors_own_web_address_stays_alone(own: dict[str, str]) -> None:
    """One-click needs exactly one web address, so an author's own, or what nobody can read, leaves ours out."""
    headers = for_list(URL, "news", "example.org", own, MAILTO)
    (value,) = (value for name, value in own.items() if name.lower() == "list-unsubscribe")
    post = {name: text for name, text in own.items() if name.lower() == "list-unsubscribe-post"}
    assert headers == {"List-Unsubscribe": value} | post | ID


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"List-Unsubscribe": "<mailto:a@b.c>"}, f"<{URL}>, <mailto:a@b.c>"),
        ({"LIST-UNSUBSCRIBE": "<mailto:a@b.c> (by hand)"}, f"<{URL}>, <mailto:a@b.c> (by hand)"),
        ({"list-unsubscribe": "<mailto:a@b.c>,\r\n <tel:1>"}, f"<{URL}>, <mailto:a@b.c>, <tel:1>"),
        ({"list-unsubscribe": "<mailto:a@b.c>", "List-Unsubscribe": "<tel:1>"}, f"<{URL}>, <mailto:a@b.c>, <tel:1>"),
        ({"list-unsubscribe": "<mailto:ü@b.c>"}, f"<{URL}>, <mailto:%C3%BC@b.c>"),
        ({"list-unsubscribe": f"<mailto:{'a' * 990}@b.c>"}, f"<{URL}>"),
        ({"list-unsubscribe": " "}, f"<{URL}>, <{MAILTO}>"),
    ],
)
def test_an_authors_own_mailbox_follows_ours(own: dict[str, str], expected: str) -> None:
    """Where the author has a mailbox only, our button comes first, and the author's mailbox in place of ours."""
    assert for_list(URL, "", "example.org", own, MAILTO) == OURS | {"List-Unsubscribe": expected}


def test_an_authors_own_list_id_and_post_are_kept() -> None:
    """What the author says of a list, in any case of letters, is not said a second time."""
    own = {"list-id": "<x.y>", "LIST-UNSUBSCRIBE-POST": POST}
    assert for_list(URL, "news", "example.org", own) == own | {"List-Unsubscribe": f"<{URL}>"}


URIS = st.sampled_from(
    ["<mailto:a@b.c>", "<https://own.example/x>", "<http://own.example>", "(a note)", "<tel:1>", "x"]
)
NAMES = st.sampled_from(["List-Unsubscribe", "list-unsubscribe", "LIST-UNSUBSCRIBE-POST", "List-ID", "X-Other"])
VALUES = st.lists(URIS | st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])), max_size=12).map(
    ", ".join
)


@given(st.dictionaries(NAMES, VALUES), st.sampled_from(["", MAILTO]))
def test_whatever_the_author_sets_there_is_one_way_out(own: dict[str, str], mailto: str) -> None:
    """No header is there twice, none leaves its lines, and one-click is promised for one https address only."""
    headers = for_list(URL, "news", "example.org", own, mailto)
    names = [name.lower() for name in headers]
    others = {name for name in own if name.lower() != "list-unsubscribe"}
    assert names.count("list-unsubscribe") == 1
    assert {name: headers[name] for name in others} == {name: own[name] for name in others}
    message = MIMEText("Hello", "plain", "utf-8")
    message["List-Unsubscribe"] = headers["List-Unsubscribe"]
    message["X-Last"] = "x"
    message.policy = policy.SMTP  # what Flask-Mail does
    raw = message.as_bytes()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert email.message_from_bytes(raw, policy=policy.default)["X-Last"] == "x"
    if "List-Unsubscribe-Post" in headers:
        assert headers["List-Unsubscribe"].startswith(f"<{URL}>")
        assert len(re.findall(r"<\s*https?:", headers["List-Unsubscribe"], re.IGNORECASE)) == 1
        assert f"List-Unsubscribe: <{URL}>".encode() in raw


def test_each_of_several_urls_has_a_line() -> None:
    """A long header is folded between its URLs, where any mail client puts it together again."""
    message = as_sent(for_list(URL, "", "example.org", {"List-Unsubscribe": "<mailto:a@b.c>"})["List-Unsubscribe"])
    assert f"List-Unsubscribe: <{URL}>,\r\n <mailto:a@b.c>\r\n".encode() in message.as_bytes()


def test_a_mail_that_unsubscribes_can_be_matched(make_site: MakeSite) -> None:
    """Whoever reads the mailbox finds the token in the subject, and the token says whose it is."""
    site = make_site(MAILTRACK_UNSUBSCRIBE_MAILTO="leave+{us}@example.com")
    header = site.send("<p>x</p>", list_id="news").extra_headers["List-Unsubscribe"]
    address = urlsplit(re.findall("<([^<>]*)>", header)[1])
    assert (address.scheme, address.path) == ("mailto", "leave+%7Bus%7D@example.com")
    (subject,) = parse_qs(address.query)["subject"]
    token = site.mailtrack._state().signer.read(Kind.UNSUBSCRIBE, subject)
    assert token.message_id == site.rows("Message")[0].id
    assert token.ref == site.mailtrack._state().signer.recipient_refs("ada@example.com")[0]


@pytest.mark.parametrize("options", [{"transactional": True}, {"unsubscribe": False}, {}])
def test_mail_that_cannot_be_left_has_none_of_them(make_site: MakeSite, options: dict[str, bool]) -> None:
    """A password reset offers nothing to unsubscribe from, and the author's own headers stay as they are."""
    site = make_site(MAILTRACK_UNSUBSCRIBE_MAILTO="leave@example.com")
    sent = site.send("<p>x</p>", **options, **({"list_id": "news"} if "unsubscribe" in options else {}))
    assert sent.extra_headers is None
    own = {"List-Unsubscribe": "<mailto:a@b.c>"}
    assert site.send("<p>x</p>", extra_headers=own, **options).extra_headers == own


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
