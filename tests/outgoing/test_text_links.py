"""Links in plain text: found as a mail client finds them, replaced without touching anything else."""

from __future__ import annotations

import re
import string
import time
import unicodedata
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
from cpu_time import cpu_seconds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from thorough import some

from flask_mailtrack.destination import refusal
from flask_mailtrack.outgoing.placeholders import Placeholders
from flask_mailtrack.outgoing.text import TextLink, TextTemplate, compile, find

PLACEHOLDERS = Placeholders(lambda word: ["a" * 26])
URLS, EVERY = PLACEHOLDERS.urls, PLACEHOLDERS.every
WHITE_SPACE = re.compile(r"[ \t\r\n]+")


def accept(url: str) -> None:
    """Track everything."""


def urls(body: str) -> list[str]:
    """Return the destinations in a text."""
    return [link.url for link in find(body)]


def sent(body: str, refuse: Callable[[str], str | None] = accept, slots: re.Pattern[str] | None = None) -> str:
    """Render with ⟦0⟧, ⟦1⟧, … for the links."""
    found = slots.finditer(body) if slots else ()
    template = compile(body, refuse, [(*match.span(), "") for match in found])
    return template.render([f"⟦{k}⟧" for k in range(len(template.links))])


E = "https://example.org/with/"
MAUTIC = {  # the 17 endings of UrlHelperTest::testGetUrlsFromPlaintextWithSymbols
    "square brackets": ("the square brackets [{}]", f"{E}square/brackets"),
    "brackets, slash and comma": ("with a slash and a comma [{}],", f"{E}slash/and/comma/"),
    "parentheses": ("or parentheses ({}),", f"{E}parentheses"),
    "braces": ("or braces {{{}}}", f"{E}braces"),
    "greater than": ("or angle brackets <{}>", f"{E}greater-than-symbol"),
    "comma": ("even with just a comma: {},", f"{E}comma"),
    "dot": ("or with a dot: {}.", f"{E}dot"),
    "colon": ("{}: It is cool!", f"{E}colon"),
    "semicolon": ("This website {}; Very awesome!", f"{E}semi-colon"),
    "single quotes": ("A single example '{}'", f"{E}simple-quotes"),
    "double quotes": ('A double example "{}"', f"{E}double-quotes"),
    "exclamation": ("Thanks for this {}!", f"{E}exclamation"),
    "curly quotes": ("Someone said “{}”", f"{E}quotation"),
    "query and dot": ("Check out my UTM tags {}.", f"{E}query?utm_campaign=hello"),
    "token in the query": ("What about {}.", f"{E}tokenized-query?foo={{contactfield=bar}}&bar=foo"),
    "token at the end": ("What happens with this {}?", f"{E}just-tokenized-query?foo={{contactfield=bar}}"),
    "underscores": ("Underscore test {}", f"{E}query?utm_campaign=_hello#_underscore-test"),
}
WHOLE = {
    "host only": "https://e.org",
    "one label": "http://localhost",
    "port": "https://e.org:8443",
    "no slash before the query": "https://e.org?x=1",
    "no slash before the fragment": "https://e.org#x",
    "upper case": "HTTPS://E.ORG/X",
    "mixed case": "hTtP://e.org/x",
    "ends in a slash": "https://e.org/a/",
    "ends in padding": "https://e.org/?t=YQ==",
    "ends in a hyphen": "https://e.org/reset/aB3-",
    "ends in an underscore": "https://e.org/reset/aB3_",
    "ends in a tilde": "https://e.org/~",
    "ends in an ampersand": "https://e.org/?a=1&",
    "sub-delimiters": "https://e.org/@a,b!c*d$e|f'g(h)i[j]k{l}m;n:o.p",
    "escapes and entities as they are": "https://e.org/%20?a=1&copy=2&reg=eu&lt=3&amp;b=4",
    "parentheses": "https://en.wikipedia.org/wiki/A_(b)",
    "nested parentheses": "https://e.org/a_(b_(c))",
    "parentheses in the middle": "https://e.org/(S(abc))/x.aspx",
    "square brackets": "https://e.org/?a[]=1&b[c]=2",
    "host with a hyphen": "http://my-host/x",
    "host with a tilde": "http://my~host/x",
    "no slash before a query with brackets": "https://e.org?a[]=1&b=(c)",
    "no slash before a fragment with brackets": "https://e.org#a(1)",
    "IPv6": "http://[2001:db8::1]:80/x",
    "IPv6 in upper case": "http://[2001:DB8::A]/x",
    "IPv4 in IPv6": "http://[::ffff:192.0.2.1]/x",
    "IDN": "https://bücher.example/straße",
    "IDN that is not Latin": "https://пример.испытание/путь",
    "non-ASCII path": "https://ja.wikipedia.org/wiki/電子メール・ニュース",
    "emoji": "https://e.org/😀",
    "joiner": "https://e.org/می‌خواهم",
    "non-ASCII fragment": "https://e.org/#größe",
    "apostrophe": "https://e.org/it's",
    "curly apostrophe": "https://e.org/it’s",
    "half a URL in parentheses": "https://e.org/x(https:/y)",
    "no URL in parentheses": "https://e.org/x(httpſ://y)",
    "URL in the path": "https://web.archive.org/web/2020/https://e.org/x",
    "URL in the query": "https://e.org/?u=https://f.org/&v=http://g.org",
    "userinfo": "https://ada:x@e.org/",
    "hyphens": "https://e.org/a--b-",
}
AROUND = {
    "alone": "{}",
    "blanks": "  {}  ",
    "tabs": "\t{}\t",
    "lines": "x\n{}\ny",
    "CRLF": "x\r\n{}\r\ny",
    "flowed": "see {} \nand more",
    "no-break blanks": "\xa0{}\xa0",
    "ideographic blanks": "\u3000{}\u3000",
    "zero-width blank": "{}\u200bx",
    "blank of the width of an m": "\u2003{}\u2003",
    "directional marks": "\u202b{}\u202c",
    "quoted reply": "> {}",
    "quoted twice": ">>{}",
    "quoted in angle brackets": "> <{}>",
    "signature": "Hello\n\n-- \nAda\n{}",
    "list": "- {}",
    "list without blank": "-{}",
    "numbered": "1. {}",
    "after a colon": "Link:{}",
    "after dots": "...{}",
    "assignment": "BASE_URL={}",
    "full stop": "{}.",
    "ellipsis": "{}…",
    "three dots": "{}...",
    "question": "({}?)",
    "several": "{}?!.,;:",
    "German quotes": "„{}“, sagte sie",
    "German quotes without blank": "„{}“sagte",
    "guillemets": "«{}»",
    "inverted guillemets": "»{}«.",
    "single curly quotes": "‘{}’,",
    "quotes, then a letter": '"{}"x',
    "curly quotes, then a letter": "“{}”x",
    "curly quotes behind a word, then a letter": "said “{}”x",
    "list in quotes": "'{}','x'",
    "guillemet after": "{}» x",
    "parentheses": "({})",
    "parentheses and stop": "(see {}).",
    "parentheses, then a letter": "({})x",
    "mixed brackets": "[({})]",
    "smiley": "{} :)",
    "angle brackets": "<{}>",
    "angle brackets and text": "x<{}>y",
    "angle brackets and blanks": "< {} >",
    "open angle bracket": "{}<x",
    "unclosed angle bracket": "<{}",
    "appendix C prefix": "<URL:{}>",
    "appendix C prefix in lower case": "<url: {}>",
    "Outlook": "Click here<{}>",
    "Markdown": "[text]({})",
    "Markdown, then a letter": "[text]({})x",
    "Markdown in brackets": "[{}](/x)",
    "Markdown in angle brackets": "[text](<{}>)",
    "Markdown title": '[text]({} "title")',
    "Markdown reference": "[1]: {}",
    "Markdown bold": "**{}**",
    "Markdown bold with text": "**See {}** now",
    "Markdown italic": "_{}_",
    "Markdown italic with text": "_See {}_, now",
    "Markdown double underscores": "__{}__",
    "Markdown struck": "~~{}~~",
    "Markdown code": "`{}`",
    "Markdown code, then a letter": "`{}`s",
    "star alone": "*{}*",
    "table": "| {} | x |",
    "tight table": "|{}|x|",
    "tight table with text": "|see {}|x|",
    "table without border": "a |{}|b",
    "table with one blank": "a | {}|b",
    "table without blanks": "a|{}|b",
    "bar behind": "{}| x",
    "Chinese full stop": "{}。详细",
    "Chinese comma": "请访问{}，谢谢",
    "full-width parentheses": "（{}）です",
    "corner brackets": "「{}」",
    "half-width full stop": "{}｡",
    "two-dot leader": "{}‥",
    "Chinese quotes": "“{}”是",
    "glued to kana before": "はこちら{} です",
    "Arabic comma": "{}، x",
    "danda": "{}।",
    "HTML attribute": '<a href="{}">x</a>',
    "URL in brackets behind": "{}(https://f.org)",
    "variable of a template language behind a blank": "{} <%= x %>",
    "NUL": "\0{}\0",
}


@pytest.mark.parametrize(("text", "url"), MAUTIC.values(), ids=MAUTIC)
def test_endings_that_mautic_tests(text: str, url: str) -> None:
    """The punctuation around a URL that a peer checks stays outside of it."""
    body = text.format(url)
    assert urls(body) == [url]
    assert sent(body) == text.format("⟦0⟧")


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("url", ["https://e.org/x", "http://e.org/?a=b&c=d/", "https://e.org", "https://e.org/a_(b)"])
def test_what_stands_around_a_url_stays_as_it_was(around: str, url: str) -> None:
    """Only the URL is replaced, in whatever text, quotation, list or markup it stands."""
    assert urls(around.format(url))[0] == url
    assert sent(around.format(url)) == around.format("⟦0⟧").replace("https://f.org", "⟦1⟧")


@pytest.mark.parametrize("url", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("around", ["{}", "see {} now", "{}.", "({})", "{}\r\n", "<{}>", '"{}"', "[x]({})", "> {},"])
def test_url_is_found_whole(url: str, around: str) -> None:
    """No character that belongs to a URL is lost, also at its end, and none of the text around it is taken."""
    assert urls(around.format(url)) == [url]
    assert sent(around.format(url)) == around.format("⟦0⟧")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no link",
        "https://",
        "https:// ",
        "https://.",
        "https://)",
        "https://…",
        "https://。",
        "<https://>",
        "https:/e.org",
        "https:e.org",
        "e.org",
        "www.e.org/x",
        "ftp://e.org/x",
        "mailto:ada@e.org",
        "xhttps://e.org",
        "1https://e.org",
        "éhttps://e.org",
        "жhttps://e.org",
        "foo_https://e.org",
        "me.https://e.org",
        "git+https://e.org/x.git",
        "https+notrack://e.org/x",
        "httpſ://e.org",
        "me@https://e.org",
        "ada.https://x@e.org",
        "mailto:ada@e.org?subject=x&body=https://e.org/x",
        "ftp://e.org/https://e.org/x",
        "www.e.org/?u=https://f.org/",
        "e.org/?u=https://f.org/",
        "e.org/login?a=b&next=https://f.org/",
        "e.org/?a.b=https://f.org/",
        "e.org/?a-b=https://f.org/",
        "e.org/?a~b=https://f.org/",
        "e.org/?=https://f.org/",
        "e.org/?https://f.org/",
        "/https://f.org/",
        "%https://f.org/",
        "ftp://e.org/x,https://f.org/",
        "git+ssh://e.org/x,https://f.org/",
        "a.b://e.org/x,https://f.org/",
        "a_b://e.org/x,https://f.org/",
        "a-b://e.org/x,https://f.org/",
        "x://e.org/x,https://f.org/",
        "+www.e.org/x,https://f.org/",
        "www.e.org/x|https://f.org/",
        "www.e.org/x,https://f.org/",
        "mailto:ada@e.org?subject=x:https://f.org/",
        "#https://f.org/",
    ],
)
def test_what_is_no_url_or_part_of_another_word_is_left_alone(body: str) -> None:
    """Other schemes, addresses, bare hosts and URLs inside other words and URLs are none of ours."""
    assert urls(body) == []
    assert sent(body) == body


@pytest.mark.parametrize(
    "body",
    [
        "<https://e.org/a b>",
        "<https://e.org/a is our site>",
        "<https://e.org/a\n  or here>",
        "<https://e.org/a\xa0b>",
        "<https://e.org/a\rb>",
        "<https://e.org/\nhttps://f.org/>",
        "> <https://e.org/aaa\n> bbb>",
        "\n> <https://e.org/a\n>",
        "https://e.org,https://f.org",
        "https://e.org(see there)",
        "https://e.org!x",
        "https://e.org's page",
        "https://e.org[1]",
        "https://ada,x@e.org/",
        "https://e.org|x y",
        "https://e.orgをご覧ください",
        "HTTPS://E.ORGをご覧ください",
        "https://localhostをご覧ください",
        "https://e..orgを",
        "https://e.orgを/x.html",
        "https://e.orgを?x.html",
        "https://e.orgを#x.html",
        "http://[]/",
        "http://[fe80::1%25en0]/",
    ],
)
def test_where_mail_clients_disagree_the_text_stays(body: str) -> None:
    """A URL that one client ends here and another there is not tracked: it must lead nowhere else."""
    assert urls(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "https://{{ host }}/x",
        "https://e.{{ host }}/x",
        "https://e.org/{{ x }}/y",
        "https://e.org/{{x}}",
        "https://e.org/?x={% url %}",
        "https://e.org/<%= x %>",
        "https://e.org/a.<%x%>",
        "https://e.org/%%x%%",
        "https://e.org/%% x %%",
        "https://e.org/*|X|*",
        "https://e.org/*| X |*",
        "https://e.org*|X|*",
        "https://e.org[[x]]",
        "https://e.org{$x}",
        "https://e.org/[[x]]",
        "https://e.org/[% x %]",
        "https://e.org/${ x }",
        "https://$UNSUB$",
    ],
)
def test_variable_of_a_template_language_keeps_a_url_from_being_tracked(body: str) -> None:
    """What somebody else is going to fill in is neither tracked nor cut in two."""
    assert sent(body, refusal) == body


@pytest.mark.parametrize(
    ("body", "url", "rendered"),
    [
        ("<https://e.org/a\nb>", "https://e.org/ab", "<⟦0⟧>"),
        ("<https://e.org/a\r\n  b\r\n\tc>", "https://e.org/abc", "<⟦0⟧>"),
        ("<https://e.org/a \nb>.", "https://e.org/ab", "<⟦0⟧>."),
        ("<URL:https://e.org/a-\nb>", "https://e.org/a-b", "<URL:⟦0⟧>"),
        ("<\n https://e.org/a\n>", "https://e.org/a", "<\n ⟦0⟧\n>"),
        ("> x\n<https://e.org/a\n> y", "https://e.org/a", "> x\n<⟦0⟧\n> y"),
        ("<\r\nhttps://e.org/a\r\nb>", "https://e.org/ab", "<\r\n⟦0⟧>"),
        ("<https://e.org/a\t\nb>", "https://e.org/ab", "<⟦0⟧>"),
        ("<https://e.org/a\n>", "https://e.org/a", "<⟦0⟧\n>"),
        ("<https://e.org/a.\t>", "https://e.org/a.", "<⟦0⟧\t>"),
        ("<\n https://e.org/a\nb>", "https://e.org/ab", "<\n ⟦0⟧>"),
        ("<\thttps://e.org/a\nb>", "https://e.org/ab", "<\t⟦0⟧>"),
        ("x\n> x\n<https://e.org/a\n> y", "https://e.org/a", "x\n> x\n<⟦0⟧\n> y"),
        ("<https://e.org/a.>", "https://e.org/a.", "<⟦0⟧>"),
        ("<https://e.org/a),>", "https://e.org/a),", "<⟦0⟧>"),
        ("<https://e.org/a。>", "https://e.org/a。", "<⟦0⟧>"),
    ],
)
def test_angle_brackets_delimit_exactly(body: str, url: str, rendered: str) -> None:
    """Between angle brackets all is URL, and one that was wrapped is joined (RFC 3986, appendix C)."""
    assert urls(body) == [url]
    assert sent(body) == rendered


@pytest.mark.parametrize(
    ("body", "rendered"),
    [
        ("https://e.org/a \nb", "⟦0⟧ \nb"),
        ("https://e.org/a\nb", "⟦0⟧\nb"),
        ("(https://e.org/a\nb)", "(⟦0⟧\nb)"),
        ('"https://e.org/a\nb"', '"⟦0⟧\nb"'),
        ("<https://e.org/a\n\nb>", "<⟦0⟧\n\nb>"),
        ("<https://e.org/a\n \r\nb>", "<⟦0⟧\n \r\nb>"),
        ("<https://e.org/a\n\t\nb>", "<⟦0⟧\n\t\nb>"),
        ("<https://e.org/a<b>", "<⟦0⟧<b>"),
        ('<https://e.org/a"b>', '<⟦0⟧"b>'),
        ("<https://e.org/a b <https://e.org/a>", "<⟦0⟧ b <⟦0⟧>"),
        ('<https://e.org/a" b>', '<⟦0⟧" b>'),
    ],
)
def test_lines_are_joined_nowhere_else(body: str, rendered: str) -> None:
    """A soft break, a paragraph or an unclosed bracket ends a URL: what follows may be a word."""
    assert sent(body) == rendered


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ("set FOO_BAR at https://e.org/t_", "https://e.org/t_"),
        ("of a_b at https://e.org/t_", "https://e.org/t_"),
        ("Xmas at https://e.org/X", "https://e.org/X"),
        ("a _ https://e.org/t_", "https://e.org/t_"),
        ("_ a https://e.org/t_", "https://e.org/t_"),
        ("a _https://e.org/t__", "https://e.org/t_"),
        ("_Hi Ada_ https://e.org/t_", "https://e.org/t_"),
        ("_Hi Ada\nhttps://e.org/t_", "https://e.org/t_"),
        ("_https://e.org/t__", "https://e.org/t_"),
        ("_see https://e.org/t._", "https://e.org/t"),
        ("_see https://e.org/t_.", "https://e.org/t"),
        (f"_{'x' * 198} https://e.org/t_", "https://e.org/t"),
        (f"_{'x' * 199} https://e.org/t_", "https://e.org/t_"),
        (f"_{'x ' * 200}https://e.org/t_", "https://e.org/t_"),
        ("https://e.org/t*", "https://e.org/t"),
    ],
)
def test_underscore_at_the_end_belongs_to_the_url_unless_it_ends_emphasis(body: str, url: str) -> None:
    """One in 64 base64url tokens ends in an underscore: a reset link must not lose it."""
    assert urls(body) == [url]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[https://a.org](https://b.org)", ["https://a.org", "https://b.org"]),
        ("https://a.org/x(https://b.org)", ["https://a.org/x", "https://b.org"]),
        ("https://a.org/x[https://b.org]", ["https://a.org/x", "https://b.org"]),
        ("https://a.org/x<https://b.org>", ["https://a.org/x", "https://b.org"]),
        ("|https://a.org|https://b.org/x|", ["https://a.org", "https://b.org/x"]),
        ("'https://a.org/x','https://b.org'", ["https://a.org/x", "https://b.org"]),
        ('"https://a.org","https://b.org"', ["https://a.org", "https://b.org"]),
        ("https://a.org/x|y https://b.org/x|y", ["https://a.org/x|y", "https://b.org/x|y"]),
        ("https://a.org/,https://b.org/", ["https://a.org/,https://b.org/"]),
        ("'https://a.org/it's'", ["https://a.org/it's"]),
        ("https://a.org/x(HTTPS://B.org)", ["https://a.org/x", "HTTPS://B.org"]),
        ("C:/a,https://b.org", ["https://b.org"]),
        ("mailto,https://b.org", ["https://b.org"]),
        ("www,https://b.org", ["https://b.org"]),
        ("awww.a.org,https://b.org", ["https://b.org"]),
        ("a+www.a.org,https://b.org", ["https://b.org"]),
        ("a.www.a.org,https://b.org", ["https://b.org"]),
        ("a_www.a.org,https://b.org", ["https://b.org"]),
        ("a-www.a.org,https://b.org", ["https://b.org"]),
        ("https://e.org/a:)", ["https://e.org/a"]),
        ("https://e.org/(a]b", ["https://e.org/(a"]),
        (
            "https://e.org/x https://e.org/x?y https://e.org/X/y",
            ["https://e.org/x", "https://e.org/x?y", "https://e.org/X/y"],
        ),
    ],
)
def test_neighbours_are_told_apart(body: str, expected: list[str]) -> None:
    """Two URLs without a blank between them are two if any markup says so."""
    assert urls(body) == expected


CHARACTERS = [chr(k) for k in (*range(0x3100), *range(0xFE00, 0x10000))]
BLANKS = {c for c in CHARACTERS if unicodedata.category(c) in ("Cc", "Zs", "Zl", "Zp")} | set(
    "\u061c\u180e\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
FULL_WIDTH = set("、。〈〉《》「」『』【】〔〕〖〗！（），．：；？［］｛｝｡､｢｣")
QUOTES = set("’‘‚”“„«»‹›")
ENDING = {*BLANKS, *FULL_WIDTH, *'<>"`)]}'}
AFTER_A_HOST = {*QUOTES, *"!'(*,;[{|"}
LETTERS = {
    *string.ascii_letters,
    *string.digits,
    *map(chr, (*range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2000))),
} - {*"×÷"}


@pytest.mark.parametrize(
    ("body", "expected", "characters"),
    [
        ("https://e.org/x{}y", ["https://e.org/x"], ENDING),
        ("https://e.org/x{}", ["https://e.org/x"], {*ENDING, *QUOTES, *".,:;!?'*|…‥،؛؟।"}),
        ("{}https://e.org/x", [], {*LETTERS, *"/?&#%@\\"}),
        ("https://пример{}x/", [], {*AFTER_A_HOST, "…"}),
        ("https://e.org{}x/", [], {*AFTER_A_HOST, *(c for c in CHARACTERS if not c.isascii())} - ENDING),
    ],
    ids=["end a URL", "end one at the end", "make one part of a word", "are odd behind a host", "behind a Latin host"],
)
def test_each_character_has_its_part(body: str, expected: list[str], characters: set[str]) -> None:
    """It is these characters, and no others, that end a URL, are cut off, or keep one from being tracked."""
    assert {c for c in CHARACTERS if urls(body.replace("{}", c)) == expected} == characters


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        *[("'", "'"), ("’", "’"), ("‘", "’"), ("‚", "’‘"), ("“", "”"), ("„", "“”")],
        *[("«", "»"), ("»", "«"), ("‹", "›"), ("›", "‹"), ("”", ""), (" ", "")],
    ],
)
def test_a_quotation_ends_as_it_began(opening: str, closing: str) -> None:
    """A URL ends at the mark that closes the quotation in which it stands; other marks within are part of it."""
    marks = {mark for mark in QUOTES | {"'"} if urls(f"{opening}https://e.org/x{mark}/") == ["https://e.org/x"]}
    assert marks == set(closing)


def test_one_destination_is_one_link() -> None:
    """A destination that occurs three times, once of them wrapped, is one link, replaced three times."""
    asked: list[str] = []
    body = "https://e.org/ab <https://e.org/a\nb> https://f.org (https://e.org/ab)"
    template = compile(body, lambda url: asked.append(url))
    assert template.links == ("https://e.org/ab", "https://f.org")
    assert asked == ["https://e.org/ab", "https://f.org"]
    assert template.render(["A", "B"]) == "A <A> B (A)"


def test_refused_url_is_left_as_written() -> None:
    """What the caller declines stays, wrapped as it was, and the others keep their places."""
    body = "https://a.org <https://b.org/\nx> https://c.org"
    template = compile(body, lambda url: "no" if "b.org" in url else None)
    assert template.links == ("https://a.org", "https://c.org")
    assert template.render(["A", "C"]) == "A <https://b.org/\nx> C"


def test_span_says_what_is_replaced() -> None:
    """The span of a wrapped URL holds its line break, that of a bare one no full stop."""
    assert list(find("<https://e.org/\na> http://f.org.")) == [
        TextLink(1, 17, "https://e.org/a"),
        TextLink(19, 31, "http://f.org"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        URLS["unsubscribe"],
        f"{URLS['unsubscribe']}.",
        f"<{URLS['preferences']}>",
        f"{URLS['unsubscribe']}?x=1",
        f"https://e.org/?u={URLS['unsubscribe']}&v",
        "https://e.org/?u=%%user_defined_unsubscribe_link%%",
        "https://e.org/?u={{ unsubscribe }}",
        "<https://e.org/?u={{ unsubscribe }}>",
        "<https://e.org/?u=%unsubscribe_url%\nx>",
        "https://e.org/<%asm_group_unsubscribe_raw_url%>",
        "[unsubscribe_url]https://e.org/",
        "%unsubscribe_url% https://e.org/?u=%unsubscribe_url%",
    ],
)
def test_url_with_a_placeholder_is_left_alone(body: str) -> None:
    """A placeholder differs from reader to reader, so a URL that holds or touches one cannot be one link."""
    assert sent(body, accept, EVERY) == body
    around = sent(f"https://a.org {body} https://b.org", accept, EVERY)
    assert around == f"⟦0⟧ {body} ⟦1⟧"


def test_placeholder_nearby_does_no_harm() -> None:
    """A URL between two placeholders, each behind a blank, is tracked."""
    body = "%unsubscribe_url% https://e.org/ %unsubscribe_url%"
    assert sent(body, accept, EVERY) == "%unsubscribe_url% ⟦0⟧ %unsubscribe_url%"


def test_placeholder_right_behind_a_url_is_part_of_it() -> None:
    """Where nothing stands between a URL and a placeholder, the URL goes on with what fills it."""
    assert sent("https://e.org/<x> https://e.org/ <x>", accept, re.compile("(?P<x><x>)")) == "https://e.org/<x> ⟦0⟧ <x>"


def test_number_of_urls_must_fit() -> None:
    """Rendering with a URL too few or too many is a mistake of the caller, and says so."""
    with pytest.raises(ValueError, match="has 1 links, but 2 URLs"):
        compile("https://e.org", accept).render(["a", "b"])


def test_template_cannot_be_changed() -> None:
    """Threads may share a template."""
    template: TextTemplate = compile("https://e.org", accept)
    with pytest.raises(FrozenInstanceError):
        template.links = ()  # type: ignore[misc]


def test_lone_surrogates_survive() -> None:
    """Text that no encoding can carry comes back as it came, and is not tracked by the real policy."""
    assert sent("\ud800 https://e.org/\ud800 https://e.org", refusal) == "\ud800 https://e.org/\ud800 ⟦0⟧"


PIECES = [
    *[
        "https://e.org/x",
        "http://e.org",
        "HTTPS://f.org/?a=b",
        "https://",
        "http",
        "://",
        "www.",
        "mailto:a@b",
        "ftp://x/",
    ],
    *["<", ">", "<URL:", "(", ")", "[", "]", "](", "{", "}", "{{", "*|", "|", "<%", "%%", '"', "'", "`", "“", "”", "»"],
    *[" ", "\n", "\r\n", "\r", "\t", "\n\n", "\n> ", "\xa0", "\u3000", "\u200b", "\0", "。", "）", "，", "を"],
    *[
        ".",
        ",",
        ":",
        ";",
        "!",
        "?",
        "…",
        "/",
        "#",
        "&",
        "=",
        "@",
        "_",
        "__",
        "*",
        "**",
        "~",
        "-",
        "+",
        "a",
        "ab c",
        "é",
        "😀",
    ],
]
soup = st.one_of(st.lists(st.sampled_from(PIECES), max_size=24).map("".join), st.text(max_size=60))
TRACKED = "https://t.example/m/c/abc{}"


@settings(deadline=None, max_examples=some(1_500))
@given(soup)
@example("<https://e.org/a\r\n b> https://e.org")
@example("x<https://e.org/x<https://e.org/x>")
def test_spans_are_in_order_and_hold_no_white_space(body: str) -> None:
    """In any text, spans are apart, and a URL is its span, without the white space of a wrapped one."""
    position = 0
    for link in find(body):
        assert position <= link.start < link.end <= len(body)
        position = link.end
        assert link.url == WHITE_SPACE.sub("", body[link.start : link.end])
        assert not re.search(r"\s", link.url)
        assert re.match(r"https?://\S", link.url, re.IGNORECASE | re.ASCII)
        if link.url != body[link.start : link.end]:
            assert re.search(r"<(url:)?\s*$", body[: link.start], re.IGNORECASE)
            assert re.match(r"\s*>", body[link.end :])


@settings(deadline=None, max_examples=some(1_500))
@given(soup)
@example("<https://e.org/a\r\n b> https://e.org")
def test_rendering_with_the_same_urls_gives_the_text_back(body: str) -> None:
    """Byte for byte the same text, but for white space inside the span of a URL wrapped in angle brackets."""
    template = compile(body, accept)
    expected, position = [], 0
    for link in find(body):
        expected += [body[position : link.start], WHITE_SPACE.sub("", body[link.start : link.end])]
        position = link.end
    assert template.render(template.links) == "".join([*expected, body[position:]])
    assert compile(body, lambda url: "no").render([]) == body
    if not re.search(r"<(url:)?[ \t\r\n]*http", body, re.IGNORECASE):
        assert template.render(template.links) == body


@settings(deadline=None, max_examples=some(1_500))
@given(soup)
@example("https://e.org'x https://e.org,https://f.org")
@example("_https://e.org_ 'https://e.org/it's'")
def test_tracked_urls_are_found_where_the_original_ones_were(body: str) -> None:
    """A client that reads as we do finds each tracked URL whole, and nothing of the text has grown onto it."""
    template = compile(body, accept)
    tracked = [TRACKED.format(k) for k in range(len(template.links))]
    replaced = [tracked[template.links.index(link.url)] for link in find(body)]
    assert urls(template.render(tracked)) == replaced


ADVERSARIAL = [
    *["(", "[", "{", "((]", "()", "a", ".", "_", "*", "?", "&a", "+.-", "\n", " ", "<", "\n>", '"', "'"],
    *["http://", "https://a ", "https://a,", "https://a(", "https://a/(", "https://a/x)", "https://a/_", "https://a_ "],
    *["<http://a", "<http://a ", "<http://a\n", "<http://a\r", "<http://a\n>", "<URL:", "<URL: ", "< ", "<\n", "\t\n"],
    *["www.", "mailto:", "x://", "http://a.<%", "'http://a'", "http://a|", "|", "http://a@", "http://a,@", "a.", "é"],
]


@pytest.mark.parametrize("pattern", ADVERSARIAL)
@pytest.mark.parametrize("opening", ["", "http://e.org/", "<http://e.org/", "_'http://e.org/"])
def test_no_text_makes_the_search_slow(pattern: str, opening: str) -> None:
    """Eight times the text costs about eight times the work, even if it was written to hurt; never 64 times."""
    short, long = (opening + pattern * (size // len(pattern)) for size in (8_000, 64_000))
    assert cpu_seconds(lambda: sent(long)) < 24 * cpu_seconds(lambda: sent(short)) + 0.005


def test_a_megabyte_without_a_blank_is_one_url() -> None:
    """One endless URL is found whole, and at once."""
    url = "https://e.org/" + "x(y)" * 250_000
    start = time.process_time()
    assert urls(f"({url}).") == [url]
    assert time.process_time() - start < 10
