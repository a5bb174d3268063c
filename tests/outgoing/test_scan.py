"""Where the scanner sees links, and where it rightly sees none."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from flask_mailtrack.outgoing.attributes import browser_url, decode, opts_out
from flask_mailtrack.outgoing.scan import Page, scan
from tests.outgoing.html5_oracle import links as html5_links

SEEN = {
    "upper case": ("<A HREF=x>", ["x"]),
    "blanks around =": ('<a href = "x">', ["x"]),
    "newlines between and inside": ('<a\n\thref\n=\r\n"x\ny">', ["xy"]),
    "slash for a blank": ('<a/href="x">', ["x"]),
    "quote inside an unquoted value": ('<a title=x"y href=z>', ["z"]),
    "the other quote": ('<a b=\'"\' href="x">', ["x"]),
    "no blank between attributes": ('<a href="x"title="y">', ["x"]),
    "bare": ("<a href>", []),
    "no value": ("<a href=>", []),
    "empty value": ('<a href="">', []),
    "the first of two": ('<a href="x" href="y">', ["x"]),
    "an empty first of two": ('<a href="" href="y">', []),
    "= opens a name": ('<a =href="x">', []),
    "= opens a value": ('<a href=="x">', ['="x"']),
    "slash ends an unquoted value": ("<a href=foo/>", ["foo/"]),
    "vertical tab is no blank": ('<a\x0bhref="x">', []),
    "form feed is a blank": ('<a\x0chref="x">', ["x"]),
    "names that end alike": ('<a data-href="x" xlink:href="y">', []),
    "tags that begin alike": ('<abbr href="x"><link href="y"><base href="z">', []),
    "area": ('<area href="x">', ["x"]),
    "tag inside a tag": ("<a <b href=x>", ["x"]),
    "unclosed tag": ('<a href="x"', []),
    "unclosed quote": ('<a href="x>y</a>', []),
    "link in an attribute": ("<img alt=\"<a href='x'>\"><a href=y>", ["y"]),
    "href in an attribute": ("<a title='href=\"x\"' href=y>", ["y"]),
    "text": ('href="x" http://x', []),
    "style": ("<style><a href=x></style><a href=y>", ["y"]),
    "script": ("<script><a href=x></script><a href=y>", ["y"]),
    "textarea": ("<textarea><a href=x></textarea ><a href=y>", ["y"]),
    "title": ("<title><a href=x></TITLE><a href=y>", ["y"]),
    "xmp": ("<xmp><a href=x></xmpx></xmp><a href=y>", ["y"]),
    "iframe": ("<iframe><a href=x></iframe><a href=y>", ["y"]),
    "noembed": ("<noembed><a href=x></noembed><a href=y>", ["y"]),
    "noframes": ("<noframes><a href=x></noframes><a href=y>", ["y"]),
    "plaintext": ("<a href=y><plaintext><a href=x></plaintext>", ["y"]),
    "noscript is content": ("<noscript><a href=x></noscript>", ["x"]),
    "script in an escaped script": ("<script><!--<script></script><a href=x>--></script><a href=y>", ["y"]),
    "escape that closes itself": ("<script><!--><script></script><a href=y>", ["y"]),
    "unclosed escape": ("<script><!--></script><a href=y>", ["y"]),
    "comment": ("<!-- <a href=x> --><a href=y>", ["y"]),
    "shortest comments": ("<!--><a href=x><!---><a href=y>", ["x", "y"]),
    "comment ended by --!>": ("<!-- <a href=x> --!><a href=y>", ["y"]),
    "comment not ended by -- >": ("<!-- -- ><a href=x> --><a href=y>", ["y"]),
    "comment in a comment": ("<!--<!--><a href=x>", ["x"]),
    "php": ("<?php echo '<a href=x>' ?><a href=y>", ["y"]),
    "asp": ("<% x %><a href=y>", ["y"]),
    "broken end tags": ("</ x></><a href=y>", ["y"]),
    "declaration ends at the first >": ('<!foo "<a href=x>"><a href=y>', ["y"]),
    "blank before the value": ('<a href=" x ">', ["x"]),
    "table without end": ("<table><tr><td><a href=x><p><a href=y>", ["x", "y"]),
    "after the end": ("</body></html><a href=x>", ["x"]),
    "frameset": ("<frameset></frameset><a href=x>", ["x"]),
    "template": ("<template><a href=x></template>", ["x"]),
    "VML outside comments": ("<v:rect href='x'><v:fill/></v:rect>", ["x"]),
    "Kelvin sign is no k": ("<a href=y \u212a=x><\u212a href=x>", ["y"]),
    "long s is no s": ("<style></\u017ftyle><a href=x></style><a href=y>", ["y"]),
}

HIDDEN = {
    "mso": ("<!--[if mso]><v:roundrect href='x'><![endif]-->", ["x"]),
    "versions": ("<!--[if gte mso 9]><a href=x><![endif]-->", ["x"]),
    "alternatives": ("<!--[if (gte mso 9)|(IE)]><area href=x><![endif]-->", ["x"]),
    "upper case": ("<!--[IF mso | IE]><V:RECT HREF=x><![ENDIF]-->", ["x"]),
    "never closed": ("<!--[if mso]><a href=x>", ["x"]),
    "blank before [if": ("<!-- [if mso]><a href=x>-->", []),
    "condition never closed": ("<!--[if mso <a href=x>-->", []),
    "two comments": ("<!--[if mso]><v:rect href=x><![endif]--><!--[if mso]></v:rect><![endif]-->", ["x"]),
    "--> in VML text": ("<!--[if mso]><v:rect href=x>--><v:rect href=y>", ["x"]),
    "raw text inside": ("<!--[if mso]><style><a href=x></style><a href=y><![endif]-->", ["y"]),
    "tag cut off": ("<!--[if mso]><a href=x --><b>", []),
}

REVEALED = [
    "<!--[if !mso]><!--><a href=x><!--<![endif]-->",
    "<!--[if !mso]><!-- --><a href=x><!-- <![endif]-->",
    "<![if !mso]><a href=x><![endif]>",
]


def urls(page: Page, *, hidden: bool) -> list[str]:
    """Read the links of a page as a browser, or as Outlook behind its conditions."""
    hrefs = [tag.href for tag in page.tags if tag.hidden is hidden]
    return [browser_url(page.text[href.value_start : href.value_end]) for href in hrefs if href]


@pytest.mark.parametrize(("html", "expected"), SEEN.values(), ids=SEEN)
def test_links_are_those_that_html5_defines(html: str, expected: list[str]) -> None:
    """The scanner sees exactly the links that the HTML Standard sees, decoys of every kind excluded."""
    assert urls(scan(html), hidden=False) == expected
    assert [url for url, _ in html5_links(html)] == expected


@pytest.mark.parametrize(("html", "expected"), HIDDEN.values(), ids=HIDDEN)
def test_outlook_links_are_found_in_conditional_comments(html: str, expected: list[str]) -> None:
    """A link that only Outlook reads is found, but never in an ordinary comment."""
    assert urls(scan(html), hidden=True) == expected


@pytest.mark.parametrize("html", REVEALED)
def test_revealed_conditions_hold_ordinary_links(html: str) -> None:
    """What everybody but Outlook reads is ordinary markup."""
    assert urls(scan(html), hidden=False) == ["x"]
    assert urls(scan(html), hidden=True) == []


@pytest.mark.parametrize(
    ("html", "rest"),
    [
        ("<p>x</p>", ""),
        ("", ""),
        ("<body>x</body></html>", "</body></html>"),
        ("<body></body>y</BODY >z", "</BODY >z"),
        ("<p>x</html> ", "</html> "),
        ("<p>x<!-- </body> ", "<!-- </body> "),
        ("<p>x</body><!-- </body> -->", "</body><!-- </body> -->"),
        ("<p>x</body><!--[if mso]></body><![endif]-->", "</body><!--[if mso]></body><![endif]-->"),
        ("<script>'</body>'</script>", ""),
        ("<p>x<title>y", "<title>y"),
        ("<p>x<style>y</styl", "<style>y</styl"),
        ("<p>x<script>y", "<script>y"),
        ("<p>x<plaintext>y", "<plaintext>y"),
        ("<p>x<a href='y", "<a href='y"),
        ("<p>x</", "</"),
        ("<p>x<!", "<!"),
        ("<p>x <", ""),
    ],
)
def test_pixel_goes_where_it_is_shown_last(html: str, rest: str) -> None:
    """The pixel stands before the last real </body>, or before what the document breaks off in."""
    assert html[scan(html).pixel_point :] == rest


@pytest.mark.parametrize("tag", ["<html ⚡4email>", "<HTML AMP4EMAIL lang=en>", "<html lang=en \u26a1\ufe0f4email>"])
def test_amp_pages_are_recognised(tag: str) -> None:
    """An AMP mail says so in its first tag, with the word or the sign."""
    assert scan(f"<!doctype html>{tag}<body>x").amp
    assert not scan("<html lang=en><body amp4email>x").amp


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("?a=1&amp;b=2", "?a=1&b=2"),
        ("?a=1&b=2", "?a=1&b=2"),
        ("?a&copy=1&copyx&copy", "?a&copy=1&copyx©"),
        ("?a&copy;=1", "?a©=1"),
        ("?a&copy.x", "?a©.x"),
        ("&region=1&lang;&notit;&notin;", "&region=1⟨&notit;∉"),
        ("&#38;&#x26&#0;&#150;&#1;&#xD800;", "&&\ufffd\u2013\x01\ufffd"),
        ("&#" + "9" * 5000 + ";&#" + "0" * 5000 + "65;", "\ufffdA"),
        ("&" + "a" * 50, "&" + "a" * 50),
        ("&#;&#x;&;& ", "&#;&#x;&;& "),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_references_are_decoded_as_in_an_attribute(value: str, decoded: str) -> None:
    """A query string that looks like an entity stays a query string; real references are resolved."""
    assert decode(value) == decoded


@pytest.mark.parametrize(
    "attribute",
    [
        'data-mailtrack="off"',
        "DATA-MAILTRACK=OFF",
        "data-mailtrack='&#111;ff'",
        'clicktracking="off"',
        "clicktracking=off",
        'data-msys-clicktrack="0"',
        "ses:no-track",
        'ses:no-track="true"',
        "data-pm-no-track",
        'disable-tracking="true"',
        "mc:disable-tracking",
        'data-mautic-disable-tracking="true"',
        "mautic:disable-tracking",
        "data-alidm-traceoff",
        'class="button untracked"',
        "class=inf-track-no",
        'autotrack="false"',
        "mb_dontconvertlink",
        "cm_dontconvertlink",
        'data-skip-click="true"',
        'data-disable-tracking="true"',
        "data-smtpd-no-track",
        'data-msys-unsubscribe="1"',
    ],
)
def test_every_dialect_of_leave_this_link_alone_is_understood(attribute: str) -> None:
    """An author who moves here from another service need not rewrite the links that must not be tracked."""
    page = scan(f"<a href=x {attribute}>")
    assert opts_out(page.values(page.tags[0]))


@pytest.mark.parametrize(
    "attribute",
    [
        'data-mailtrack="on"',
        "clicktracking=on",
        "class=tracked",
        'class="untracked-x"',
        "title=off",
        'ses:no-track="false"',
    ],
)
def test_other_attributes_do_not_opt_out(attribute: str) -> None:
    """A link is left alone only where the author says so."""
    page = scan(f"<a href=x {attribute}>")
    assert not opts_out(page.values(page.tags[0]))


ADVERSARIAL = [
    *[
        "<a ",
        "<a b ",
        "<a =",
        "<a/",
        "<a href='",
        '<a href="',
        "<a href=",
        "<a b=c ",
        "<a         ",
        "<v:a ",
        "=",
    ],
    *[
        "<",
        "<!--",
        "<!",
        "</",
        "--!",
        "<!-- -->",
        "<title>",
        "</title",
        "<plaintext>",
        "<script>",
        "<script><!--",
    ],
    *["<!--[if ", "<!--[if mso]>", "<!--[if mso]><a ", "<!--[if a]>-->", "<a href=x data-mailtrack>"],
    *["&", "&a", "&#1", "<a href='&am"],
]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Time a call in CPU time of this process, so that neighbours on the machine do not count."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("pattern", ADVERSARIAL)
@pytest.mark.parametrize("opening", ["", "<a href=x ", "<!--[if mso]>", "<a href='"])
def test_no_text_makes_the_scanner_slow(pattern: str, opening: str) -> None:
    """Eight times the text costs about eight times the work, even if it was written to hurt; never 64 times."""
    short, long = (opening + pattern * (size // len(pattern)) for size in (8_000, 64_000))
    assert cpu_seconds(lambda: scan(long)) < 24 * cpu_seconds(lambda: scan(short)) + 0.005


@pytest.mark.parametrize("pattern", ["a", "&a", "&#1", "&amp", "&amp;", "&#x", "&notit"])
def test_no_reference_makes_decoding_slow(pattern: str) -> None:
    """An address full of references, or one endless name, is decoded in time that grows with its length."""
    short, long = ("&" + pattern * (size // len(pattern)) for size in (20_000, 160_000))
    assert cpu_seconds(lambda: decode(long)) < 24 * cpu_seconds(lambda: decode(short)) + 0.005
