"""A link leads where the author's link led, or it was never tracked."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from thorough import some
from werkzeug import Response
from werkzeug.test import create_environ

from flask_mailtrack.destination import MAX_LENGTH, Blocked, host_of, location, refusal

NEVER = {
    "23 other schemes": (
        "not_http",
        [
            "javascript:alert(1)",
            "JaVaScRiPt:x",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://x/1",
        ],
    ),
    "23 other uses of a link": ("not_http", ["", "#top", "/path", "?a=1", "mailto:a@b.c", "tel:+1", "sms:1", "cid:x"]),
    "24 no host of its own": (
        "not_http",
        ["https:\\\\evil.com", "//evil.com", "/\\evil.com", "\\\\evil.com", "https:evil.com", "https:/evil.com"],
    ),
    "24 an empty host": (
        "unsafe",
        ["https://", "http:///evil.com", "https://?a", "https://#a", "https://.", "https://../"],
    ),
    "25 userinfo and backslashes": (
        "unsafe",
        [
            "https://good.com\\@evil.com",
            "https://good.com@evil.com",
            "https://good.com:pw@evil.com/",
            "https://good.com\\evil",
            "https://good.com/\\evil.com",
            "https://@evil.com",
        ],
    ),
    "26 control characters and blanks": (
        "unsafe",
        [f"https://good.com/{c}x" for c in "\t\n\r\0\x0b\x0c\x1b\x7f\x85\xa0\u2028\u2029\u3000 "]
        + [
            "https://go\tod.com",
            "https://good.com\n",
            "https://good.com ",
            "https://good .com",
            "https://good\u3000.com",
        ],
    ),
    "27 a header of its own": ("unsafe", ["https://good.com/\r\nSet-Cookie: a=1", "https://good.com\r\n\r\n<script>"]),
    "28 hosts that are none": (
        "unsafe",
        [
            "https://[::1",
            "https://::1]/",
            "https://[::1]x/",
            "https://[evil]/",
            "https://good.com:99999/",
            "https://good.com:123456/",
            "https://good.com:80:80/",
            "https://good.com:x/",
            "https://good.com:/",
            "https://g%6fod.com/",
            "https://good.com%2f.evil.com/",
            "https://<b>/",
            "https://{host}/",
            "https://a|b/",
            "https://a^b/",
            "https://a..b/",
            "https://.a/",
            "https://[:::]/",
            "https://[1.2.3.4]/",
            "https://[.]/",
            "https://exa℀mple.com/",
            "https://exa¨mple.com/",
            "https://％41.com/",
            f"https://{'a' * 64}.com/",
            f"https://{'例' * 8}.com/",
            "https://\ud800.com/",
            "https://good.com/\udfff",
        ],
    ),
    "94 other people's placeholders": (
        "placeholder",
        [
            "https://x.com/{{ id }}",
            "https://x.com/{{",
            "https://x.com/}}",
            "https://x.com/{% url %}",
            "https://x.com/<%= id %>",
            "https://x.com/%%id%%",
            "https://x.com/*|ID|*",
            "https://x.com/[[id]]",
            "https://x.com/[%id%]",
            "https://x.com/${id}",
            "https://{{ host }}/",
            "https://$UNSUB$",
        ],
    ),
    "157 too long": (
        "too_long",
        ["https://x.com/" + "a" * 9_000, "https://x.com/" + "a" * (MAX_LENGTH - 13), "https://x.com/" + "é" * 3_994],
    ),
}


@pytest.mark.parametrize("attack", NEVER)
def test_what_is_not_certain_is_not_tracked(attack: str) -> None:
    """Attacks 23 to 28: such a link stays as it was written, and if it is signed by old data it is not followed."""
    reason, urls = NEVER[attack]
    for url in urls:
        assert refusal(url) == reason, url


ALWAYS = {
    "134 any case": ["HTTPS://EXAMPLE.ORG/A", "Http://Example.Org"],
    "137 odd paths": ["https://e.org/@,!*$|'()[]{}", "https://e.org/~a;b=c+d&e", 'https://e.org/"<>`^'],
    "138 no slash": ["https://e.org?x=1", "https://e.org#top", "https://e.org"],
    "139 what looks like entities": ["https://e.org/?a=1&copy=2&reg=eu&lt=3", "https://e.org/?a&amp;b"],
    "140 foreign letters": ["https://e.org/#é", "https://e.org/日本?q=ü&e=😀", "https://e.org/%E2%82%AC%"],
    "141 and 28 hosts": [
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://例え。テスト/",
        "https://[2001:db8::1]:8080/",
        "https://[::ffff:192.0.2.1]/",
        "https://127.0.0.1:65535/",
        "https://localhost",
        "https://a_b.example./",
        f"https://{'a' * 63}.{'例' * 7}.com/",
        "https://e.org:0080/",
    ],
    "96 one in another": ["https://e.org/?u=https://other.example/?a=1#b", "https://e.org/https://other.example"],
    "at the limit": ["https://x.com/" + "a" * (MAX_LENGTH - 14), "https://x.com/" + "é" * 3_993],
}


@pytest.mark.parametrize("sort", ALWAYS)
def test_ordinary_links_are_tracked(sort: str) -> None:
    """Whatever a browser reads in one way only may be a destination."""
    for url in ALWAYS[sort]:
        assert refusal(url) is None, url


@pytest.mark.parametrize("sort", ALWAYS)
def test_an_ascii_url_is_not_changed(sort: str) -> None:
    """A destination in plain ASCII is sent to the browser byte for byte."""
    for url in ALWAYS[sort]:
        if url.isascii():
            assert location(url) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://e.org/é", "https://e.org/%C3%A9"),
        ("https://e.org/%C3%A9?é=%E9#é", "https://e.org/%C3%A9?%C3%A9=%E9#%C3%A9"),
        ("https://bücher.example/", "https://b%C3%BCcher.example/"),
        ("https://例え。テスト", "https://%E4%BE%8B%E3%81%88%E3%80%82%E3%83%86%E3%82%B9%E3%83%88"),
        ("https://e.org/😀", "https://e.org/%F0%9F%98%80"),
        ("https://e.org/\u202ex\u200b", "https://e.org/%E2%80%AEx%E2%80%8B"),
    ],
)
def test_foreign_letters_are_percent_encoded(url: str, expected: str) -> None:
    """What ASCII cannot hold is written as UTF-8 in percent signs, and nothing else is."""
    assert refusal(url) is None
    assert location(url) == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.ORG:443/x", "example.org"),
        ("http://[2001:DB8::1]/", "[2001:db8::1]"),
        ("https://bücher.example", "bücher.example"),
        ("https://example.org/a\nb", "example.org"),
        ("https://good.com@evil.com/", ""),
        ("https://good.com\\@evil.com/", ""),
        ("mailto:ada@example.org", ""),
        ("", ""),
    ],
)
def test_the_host_is_the_one_a_browser_goes_to(url: str, host: str) -> None:
    """A link has a host, in lower case, or none where programs would disagree."""
    assert host_of(url) == host


pieces = st.sampled_from(
    [
        "https://",
        "HTTP://",
        "good.com",
        "@",
        ":",
        "/",
        "\\",
        "?",
        "#",
        "[",
        "]",
        "::1",
        "%",
        "%2f",
        "é",
        "。",
        ".",
        "\r\n",
        "\t",
        " ",
        "\0",
        "\ud800",
        "\u2028",
        ":80",
        "evil.com",
        "xn--",
        "$",
        "{",
        "|",
    ]
)
any_url = (
    st.text(st.characters())
    | st.lists(pieces | st.text(st.characters(), max_size=2), max_size=10).map("".join)
    | st.text(st.characters(), max_size=40).map("https://example.com/".__add__)
    | st.text(st.characters(), max_size=20).map("https://".__add__)
)


@settings(max_examples=some(600))
@given(url=any_url)
@example(url="https://" + "a" * 100_000)
def test_every_accepted_url_is_a_location(url: str) -> None:
    """Any text is refused with a word or fits a Location header, in ASCII, on one line, for Werkzeug too."""
    if (reason := refusal(url)) is not None:
        assert reason in ("not_http", "placeholder", "too_long", "unsafe")
        return
    header = location(url)
    assert header.isascii()
    assert header.isprintable()
    assert " " not in header
    assert Response(status=302, headers={"Location": header}).get_wsgi_headers(create_environ())["Location"]
    assert header == url or not url.isascii()
    assert location(header) == header
    assert host_of(url)


@pytest.mark.parametrize("sign", [*'@\\[]%<>"^`{|} \t\r\n', "\u3000", "\u2028"])
def test_a_host_with_a_doubtful_sign_is_none(sign: str) -> None:
    """What programs read in different ways is no host, in letters or as an IPv6 address, and never tracked."""
    for url in (f"https://a{sign}b/", f"https://[1{sign}2]/", f"https://a{sign}", f"https://{sign}b:80?x"):
        assert host_of(url) == ""
        assert refusal(url) == "unsafe"


@pytest.mark.parametrize("sign", [*"/?#;=ABFG_gz-~é", "::"])
def test_an_ipv6_address_has_hexadecimal_digits_only(sign: str) -> None:
    """Between brackets only what can be an address has a host."""
    assert host_of(f"https://[1{sign}2]/") == (f"[1{sign}2]".lower() if sign in "ABF::" else "")
    assert refusal(f"https://[1{sign}2]/") == (None if sign == "::" else "unsafe")


@pytest.mark.parametrize(
    ("port", "expected"), [("65535", None), ("65536", "unsafe"), ("00080", None), ("000080", "unsafe")]
)
def test_a_port_has_five_digits_at_most(port: str, expected: str | None) -> None:
    """A port is a number that a port can have."""
    assert refusal(f"https://e.org:{port}") == refusal(f"https://e.org:{port}/?x") == expected


def test_the_longest_destination_has_8000_bytes() -> None:
    """The limit does not move unnoticed: links that are out were judged by it."""
    assert refusal("https://x.com/".ljust(8_000, "a")) is None
    assert refusal("https://x.com/".ljust(8_001, "a")) == "too_long"


@pytest.mark.parametrize("sign", [*'/?#@\\:[]%<>"^`{|}'])
def test_a_wide_sign_in_a_host_is_the_sign_that_it_looks_like(sign: str) -> None:
    """A browser folds the full-width forms of signs, so none of them may stand in a host."""
    assert refusal(f"https://good.com{chr(ord(sign) + 0xFEE0)}evil.com/") == "unsafe"


@pytest.mark.parametrize(
    "rest", ["/$a", "//$a", "/:$", "/{a}", "/a}{", "/%7B%7B", "/a%2", "/<a", "/a*b|c", "/[a]", "/a:/$"]
)
def test_a_sign_of_a_placeholder_alone_makes_none(rest: str) -> None:
    """Signs that other people's placeholders are made of may stand in an ordinary address."""
    assert refusal(f"https://e.org{rest}") is None


@pytest.mark.parametrize(
    ("entry", "blocked"),
    [
        ("evil.example", True),
        ("www.evil.example", True),
        ("example", True),
        ("https://www.Evil.example/x", True),
        ("00000000-0000-0000-0000-000000000007", True),
        ("a.www.evil.example", False),
        ("vil.example", False),
        ("https://www.Evil.example/", False),
        ("00000000-0000-0000-0000-000000000008", False),
    ],
)
def test_a_link_is_blocked_by_host_by_address_or_by_message(entry: str, blocked: bool) -> None:
    """A host is blocked with all that is below it, an address and a message as they are, and nothing else is."""
    link = (UUID(int=7), "https://www.Evil.example/x")
    assert Blocked(["other.example", entry])(*link) is blocked
    assert Blocked([])(*link) is False


SPELLINGS = [
    ("evil.example", "https://evil.example./x"),
    ("evil.example.", "https://EVIL.example"),
    ("ＥＶＩＬ.example", "https://evil.example/"),
    ("evil.example", "https://ｅｖｉｌ.example/"),
    ("evil.example", "https://evil。example"),
    ("evil.example", "https://ev\u00adil.example"),
    ("evil.example", "https://a.evil.example:8443/"),
    ("https://evil.example/x", "https://evil.example:443/x"),
    ("https://evil.example:443/x#f", "https://evil.example/x"),
    ("http://evil.example", "http://evil.example:80/#a"),
    ("https://evil.example/x", "https://evil.example./x#top"),
    ("https://evil.example/x", "https://evil.example/%78"),
    ("https://evil.example/x", "https://evil.example/a/../x?"),
    ("https://evil.example/ü%2f", "https://evil.example/%c3%bc%2F"),
    ("127.0.0.1", "http://2130706433/"),
    ("127.0.0.1", "http://0x7f.1"),
    ("127.0.0.1", "http://0177.0.0.1./"),
    ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
    ("2130706433", "http://１２７.0.0.1"),
    ("[::1]", "http://[0:0::1]:8080/"),
    ("bücher.example", "https://xn--bcher-kva.example/a"),
    ("xn--bcher-kva.example", "https://BÜCHER.example"),
    ("XN--BCHER-KVA.example", "https://www.bu\u0308cher.example"),
]


@pytest.mark.parametrize(("entry", "url"), SPELLINGS)
def test_no_spelling_walks_round_a_block(entry: str, url: str) -> None:
    """A blocked host or URL stays blocked in each form that a browser takes for the same."""
    assert Blocked([entry])(UUID(int=7), url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("0.0.1", "http://127.0.0.1/"),
        ("127.0.0.1", "http://127.0.0.2/"),
        ("https://evil.example/x", "http://evil.example/x"),
        ("https://evil.example/x", "https://evil.example:444/x"),
        ("https://evil.example/x", "https://evil.example/X"),
        ("https://evil.example/a/b", "https://evil.example/a%2Fb"),
        ("https://evil.example/x", "https://evil.example/x?y"),
        ("bucher.example", "https://bücher.example/"),
    ],
)
def test_a_block_is_of_no_other_address(entry: str, url: str) -> None:
    """What is another host, port, path or query to a browser is not blocked."""
    assert not Blocked([entry])(UUID(int=7), url)


@given(st.text(), st.text())
def test_blocks_are_total(entry: str, url: str) -> None:
    """Whatever is written in the list, and wherever a link leads, the question has an answer."""
    assert Blocked([entry])(UUID(int=7), url) in (True, False)
    assert Blocked(["evil.example"])(UUID(int=7), f"https://{url}") in (True, False)
