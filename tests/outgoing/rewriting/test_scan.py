"""Where the scanner sees links, and where it rightly sees none."""

from __future__ import annotations

import random
from html import entities

import pytest
from cpu_time import cpu_seconds

from flask_mailtrack.outgoing.rewriting.scan import ScannedHtml, scan
from flask_mailtrack.syntax import browser_url, decode, opts_out
from tests.outgoing.rewriting.html5_oracle import links as html5_links

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
    "no comment without an exclamation mark": ("<--<title>--><a href=x></title>", []),
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
    "an i without its dot": ("<!--[\u0131f mso]><a href=x><![endif]-->", []),
}

REVEALED = [
    "<!--[if !mso]><!--><a href=x><!--<![endif]-->",
    "<!--[if !mso]><!-- --><a href=x><!-- <![endif]-->",
    "<![if !mso]><a href=x><![endif]>",
]


def urls(page: ScannedHtml, *, hidden: bool) -> list[str]:
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
        ("<p>x<!doctype", "<!doctype"),
        ("<p>x<?xml", "<?xml"),
        ("<p>x</1", "</1"),
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


def test_every_name_that_html_knows_is_decoded() -> None:
    """No named reference is overlooked, whatever letters and digits it has, and no other name is one."""
    for name in filter(lambda name: name.endswith(";"), entities.html5):
        assert decode(f"?&{name}a") == f"?{entities.html5[name]}a"
        assert decode(f"&_{name}") == f"&_{name}"


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
        "data-as-no-track",
        "nottracked",
        'class="big mktNoTrack"',
        "class=nottracked",
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


@pytest.mark.parametrize("names", [None, {"alt", "data-mailtrack"}])
def test_of_two_attributes_with_one_name_the_first_counts(names: set[str] | None) -> None:
    """As in a browser, whether all attributes are asked for or some, and no others than those are told."""
    page = scan("<a alt=1 data-mailtrack=no href=x alt=2 data-mailtrack=yes data-mailtrack-name=n>")
    told = {"alt": "1", "data-mailtrack": "no"}
    assert page.values(page.tags[0], names) == (told if names else told | {"href": "x", "data-mailtrack-name": "n"})


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
        " ",
        "/",
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
    *["<!-- -", "<!--a<b>-->", "<!-- <a", "<!x>", "<a><!--", "<a><b '", "<a>x<b>", "<a></a >"],
]


@pytest.mark.parametrize("pattern", ADVERSARIAL)
@pytest.mark.parametrize("opening", ["", "<a href=x ", "<!--[if mso]>", "<a href='"])
def test_no_text_makes_the_scanner_slow(pattern: str, opening: str) -> None:
    """Eight times the text costs about eight times the work, even if it was written to hurt; never 64 times."""
    short, long = (opening + pattern * (size // len(pattern)) for size in (8_000, 64_000))
    assert cpu_seconds(lambda: scan(long)) < 24 * cpu_seconds(lambda: scan(short)) + 0.005


@pytest.mark.parametrize("attribute", ["class='c' ", 'href="c" ', 'b="c" ', "b=c ", "b ", "data-mailtrack "])
def test_no_number_of_attributes_makes_a_link_slow(attribute: str) -> None:
    """A tag may have as many attributes as its author likes."""
    short, long = (f"<a {attribute * (size // len(attribute))}>" for size in (8_000, 64_000))
    assert cpu_seconds(lambda: scan(long)) < 24 * cpu_seconds(lambda: scan(short)) + 0.005


@pytest.mark.parametrize("pattern", ["a", "&a", "&#1", "&amp", "&amp;", "&#x", "&notit"])
def test_no_reference_makes_decoding_slow(pattern: str) -> None:
    """An address full of references, or one endless name, is decoded in time that grows with its length."""
    short, long = ("&" + pattern * (size // len(pattern)) for size in (20_000, 160_000))
    assert cpu_seconds(lambda: decode(long)) < 24 * cpu_seconds(lambda: decode(short)) + 0.005


CONTENTS = {
    "to its end": ("<a href=x>one</a>two", ["one"]),
    "to the next": ("<a href=x>one<a href=y>two</A >three", ["one", "two"]),
    "other tags are content": ("<a href=x>one</b><area href=y>two</a>", ["one</b><area href=y>two", ""]),
    "its end tag has a blank": ("<a href=x>one</a >two", ["one"]),
    "few tags in it": (f"<a href=x>{20 * '<b>'}</a>two", [20 * "<b>"]),
    "many tags in it": (f"<a href=x>{21 * '<b>'}</a>two", [21 * "<b>"]),
    "what looks like its end is a comment": ("<a href=x>one<!-- </a> -->two</a>", ["one<!-- </a> -->two"]),
    "what looks like its end is a value": ("<a href=x>one<b title='</a>'>two</a>", ["one<b title='</a>'>two"]),
    "an area has none": ("<area href=x>one<area href=y>two</area>", ["", ""]),
    "a slash closes no link": ("<a href=x />one</a>", ["one"]),
    "a slash closes a shape": ("<v:rect href='x'/>one</v:rect>", [""]),
    "a shape": ("<v:rect href='x'>one</v:rect>two", ["one"]),
    "a shape in a shape": ("<v:rect href=x>one<v:oval href=y>two</v:rect>", ["one<v:oval href=y>two", "two</v:rect>"]),
    "the document breaks off": ("<a href=x>one<b title='", ["one"]),
    "the document ends": ("<a href=x>one", ["one"]),
    "its condition ends": ("<!--[if mso]><a href=x>one--></a>two", ["one"]),
    "its condition breaks off": ("<!--[if mso]><a href=x>one", ["one"]),
}


@pytest.mark.parametrize(("html", "expected"), CONTENTS.values(), ids=CONTENTS)
def test_the_content_of_a_link_is_cut_out_exactly(html: str, expected: list[str]) -> None:
    """What stands between a link's own tags, or before whatever ends it, is its content, to the character."""
    page = scan(html)
    assert [html[tag.inside_start : tag.inside_end] for tag in page.tags] == expected
    assert all(html[tag.inside_start - 1] == ">" for tag in page.tags)


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\f", "\r", "/"])
@pytest.mark.parametrize(
    "html",
    [
        "<a|title|href=u|title=y>",
        "<a|title=\"x\"|href='u'|>",
        "<AREA|title='x'|href=u|>",
        "<p|class=x|title=>><a|href=u|>",
        "<td|class|x>y<a|href=u|>z</td|><a|href=w|>",
        "<title|><a href=x></title|><a href=u>",
        "<style|><a href=x></style|><a href=u>",
        "<script|><a href=x></script|><a href=u>",
        "<script><!--<script|></script|><a href=x>--></script|><a href=u>",
        "<body|class=x|><a href=u></body|>",
    ],
)
def test_every_blank_parts_words_in_a_tag(html: str, blank: str) -> None:
    """All five blanks of HTML, and a slash, part names and values alike, wherever the standard lets them."""
    written = html.replace("|", blank)
    assert urls(scan(written), hidden=False) == [url for url, _ in html5_links(written)] != []


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\f", "\r"])
@pytest.mark.parametrize("value", ["u", "'u'", '"u"'])
def test_every_blank_may_stand_around_a_value(value: str, blank: str) -> None:
    """The sign between a name and its value may stand alone."""
    assert urls(scan(f"<a title{blank}={blank}'>'{blank}href{2 * blank}={2 * blank}{value}>"), hidden=False) == ["u"]


@pytest.mark.parametrize("sign", ['"', "'", "[", "`", "<", "=", "&", "é"])
@pytest.mark.parametrize("html", ["<a b=x|c='><a href=u>'>", "<p b=x|c='><a href=u>'>", "<a x|c='><a href=y>'href=u>"])
def test_a_value_without_quotes_is_never_opened_by_one_inside(html: str, sign: str) -> None:
    """Only the first character of a value decides whether it has quotes, whatever signs follow."""
    written = html.replace("|", sign)
    assert urls(scan(written), hidden=False) == [url for url, _ in html5_links(written)] != []


def test_attributes_are_cut_out_exactly() -> None:
    """Every attribute is known to the character, with the quotes around its value or without them."""
    html = "<a a b=d e='f' G=\"h\"i = j\tk='' l=>"
    found = scan(html, names=frozenset("abegikl")).tags[0].attributes
    assert [(a.name, html[a.start : a.end], html[a.value_start : a.value_end], a.quoted) for a in found] == [
        ("a", "a", "", False),
        ("b", "b=d", "d", False),
        ("e", "e='f'", "f", True),
        ("g", 'G="h"', "h", True),
        ("i", "i = j", "j", False),
        ("k", "k=''", "", True),
        ("l", "l=", "", False),
    ]
    assert found[0].value_start == found[0].value_end == found[0].end


@pytest.mark.parametrize("first", sorted(set(map(chr, range(0x21, 0x7F))) - set("\"'>&")))
def test_a_value_may_begin_with_any_sign(first: str) -> None:
    """Nothing but a quote is taken off an address."""
    assert urls(scan(f"<a href={first}yz>"), hidden=False) == [f"{first}yz"]


@pytest.mark.parametrize("dull", ["<p>", "</p>", "< ", "<", "x<1", "<br/>", "<td class=x>y"])
@pytest.mark.parametrize("count", [999, 1_000, 1_001, 2_500])
def test_a_link_is_found_behind_anything(dull: str, count: int) -> None:
    """However much of the same stands before it, no link is lost."""
    assert urls(scan(f"{dull * count} <a href=u>"), hidden=False) == ["u"]


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\f", "\r", "/"])
@pytest.mark.parametrize("tag", ["p", "td", "table", "b", "body", "h1", "o:p", "a", "TITLEX"])
def test_a_quote_in_any_tag_hides_what_looks_like_a_link(tag: str, blank: str) -> None:
    """The value of an attribute is no markup, whatever tag it is in and whatever stands behind the tag's name."""
    html = f"<{tag}{blank}class='><a href=x>'{blank}title=\"><a href=y>\"><a href=u>"
    assert urls(scan(html), hidden=False) == [url for url, _ in html5_links(html)] == ["u"]


@pytest.mark.parametrize(
    "inside", ["<!-- script ", "<!-- /script ", "<!-- <scripts> ", "<!-- <script --> ", "script ", "<script> ", "-->"]
)
def test_a_script_ends_at_its_own_end(inside: str) -> None:
    """Only a whole tag in a comment of a script makes the script go on behind its end tag."""
    html = f"<script>{inside}</script><a href=u>"
    assert urls(scan(html), hidden=False) == [url for url, _ in html5_links(html)] == ["u"]


@pytest.mark.parametrize("attribute", ["clic\u212atracking=off", "data-mailtrac\u212a=off", "data-pm-no-trac\u212a"])
def test_a_letter_that_only_looks_like_another_opts_out_of_nothing(attribute: str) -> None:
    """HTML folds the case of ASCII alone, so a Kelvin sign in a name makes it another name."""
    page = scan(f"<a href=x {attribute}>")
    assert not opts_out(page.values(page.tags[0]))
    assert len(scan(f"<a href=x {attribute.replace(chr(0x212A), 'K')}>").tags[0].attributes) == 2


@pytest.mark.parametrize("number", [1, 8, 11, 14, 31, 0xFDD0, 0xFDEF, 0xFFFE, 0x1FFFF, 0x10FFFF])
def test_a_reference_by_number_is_the_character_of_that_number(number: int) -> None:
    """What is no proper character stands for itself all the same, in either way of counting."""
    for written in (f"&#{number};", f"&#x{number:x};", f"&#X{number:X};", f"&#000{number};", f"&#{number}"):
        assert decode(written) == chr(number)


def test_only_attributes_that_say_something_are_kept() -> None:
    """What nobody will ask about a link is not remembered of it."""
    attributes = scan("<a title=x href=y id=z CLASS=w data-x data-mailtrack-name=n>").tags[0].attributes
    assert [attribute.name for attribute in attributes] == ["href", "class", "data-mailtrack-name"]


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\f", "\r"])
@pytest.mark.parametrize("html", ["<a b=x|c='><a href=x>'><a href=u>", "<p b=fx|c='><a href=x>'><a href=u>"])
def test_a_value_without_quotes_ends_at_any_blank(html: str, blank: str) -> None:
    """What follows it may have quotes again, and hides what is between them."""
    written = html.replace("|", blank)
    assert urls(scan(written), hidden=False) == [url for url, _ in html5_links(written)] == ["u"]


def test_any_number_of_links_is_found_without_a_clock() -> None:
    """Who sets no time limit may have as many links as there are."""
    assert len(scan("<a href=u>x</a>" * 600).tags) == 600


def test_a_value_in_quotes_holds_no_attribute() -> None:
    """What looks like an address within another value is none, also at the end of a tag."""
    (tag,) = scan('<a id="x href=https://decoy.test/ y">x</a>').tags
    assert tag.attributes == ()


def test_half_a_comment_end_ends_no_script() -> None:
    """Only with two hyphens is a script within a comment over."""
    (tag,) = scan("<script><!--<script>-></script><a href=decoy>--></script><a href=x>").tags
    assert tag.attributes[0].value_start == len("<script><!--<script>-></script><a href=decoy>--></script><a href=")


def test_a_comment_ends_at_its_first_end() -> None:
    """What looks like the end of another comment behind it ends nothing."""
    assert urls(scan("<!-- x --><title>--><a href=decoy></title><a href=u>"), hidden=False) == ["u"]


SCRAPS = {
    "all": r"""< </ <a <A </a> <area <v:x <b <p <td <body </body> <html <textarea> <xmp> <title> </title <style>
        </style> <script> </script> <!--[if·a]> <![endif]--> <!-- --> <a·href=j· <a·href='k'> href= HREF='h' href="i"
        ref a-b="c" 1="y" b= a x = " ' > /> / · \t \n \f \r - -- --!> <! <? & &amp; \u212a é""",
    "scripts": r"""<script> <SCRIPT> <script· <script/ <script </script> </SCRIPT> </script· </script/ </script
        </scripts <scripts <!-- --> --!> <!--> <!---> - -- > < x <a·href=y> \n \t""",
    "comments": r"""<!-- <! <? <!> <!-> </1 </ [if· [IF· [if] [a]> [if·a ]> ] [ > --> --!> --· <![endif]--> <a·href=x>
        <A <b> <v:r·href=y> <V:x·href=z> - -- < · \n ! /""",
    "texts": r"""<noframes> </noframes> <noembed> </noembed> <iframe> </iframe> <xmp> </xmp> <title> </title> <style>
        </style> <textarea> </textarea> </TITLE· </title/ </titlex> <a·href=x> </ > x <TITLE> <title·x='>'> <iframe·""",
    "tags": r"""< </ p td tr table span br img P Td TABLE pa tda ar area body html v:x V:x v a A b B abbr article i s k
        u x T S I > /> · \t \n \f \r / = ·a="b" ·A-b="<a·href=q>" ·x='<a·href=r>' ·y=" ·href=z </a> <a·href=w>
        <a·href=w>x</a> <a·href=w><!--·y·--></A> é""",
    "attributes": r"""<a· <td· · \t \n \f \r / a href HREF href= href·= =· == = " ' "x" 'y' b="c" b='c' b=c - _ : 1 A K
        \u212a < ` & \0 é >""",
}
"""Pieces of markup by what they are about; ``·`` is a blank."""

ENDS = ("", "><a href=end>", "'><a href=end>", "--><a href=end>")


@pytest.mark.parametrize("about", SCRAPS)
def test_scraps_in_any_order_hold_the_links_that_html5_sees(about: str) -> None:
    """A thousand heaps of scraps of markup, the same in each run: no link is missed, and none is made up."""
    scraps = [scrap.encode("latin-1", "backslashreplace").decode("unicode_escape") for scrap in SCRAPS[about].split()]
    draw = random.Random(about)
    for _ in range(1_000):
        heap = "".join(draw.choices(scraps, k=draw.randint(2, 14))).replace("·", " ")
        html = draw.choice(("", "<p>", "<a ")) + heap + draw.choice(ENDS)
        assert [url for url in urls(scan(html), hidden=False) if url] == [url for url, _ in html5_links(html)], html
