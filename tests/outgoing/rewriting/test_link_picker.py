"""What a reader sees of a link: for the report, and to catch a text that names another address."""

from __future__ import annotations

import time

import pytest

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.rewriting.link_picker import LOOK_AHEAD, link_text
from flask_mailtrack.outgoing.rewriting.rewrite import Link, Skipped, compile
from flask_mailtrack.outgoing.rewriting.scan import scan
from tests.outgoing.rewriting.html5_oracle import refuse

TEXTS = {
    "plain": ("<a href=https://x.test/>Buy now</a> later", "Buy now"),
    "white space": ("<a href=https://x.test/>\n  Buy\t&nbsp;\n now </a>", "Buy now"),
    "references": ("<a href=https://x.test/>&lt;A&amp;B&gt; &copy2025 &#8364;5</a>", "<A&B> ©2025 €5"),
    "tags within a word": ("<a href=https://x.test/>exam<b>ple</b>.te<!-- x -->st</a>", "example.test"),
    "tags between words": ("<a href=https://x.test/>Buy<br>now<td>here</td>!</a>", "Buy now here !"),
    "an image": ("<a href=https://x.test/><img src=x alt=' Our &amp; shop '><img alt=y></a>", "Our & shop"),
    "text before its image": ("<a href=https://x.test/><img alt=logo>Shop</a>", "Shop"),
    "an image without alt": ("<a href=https://x.test/><img src=x><img alt=second></a>", ""),
    "an image in a comment": ("<a href=https://x.test/><!-- <img alt=no> --><img alt=yes></a>", "yes"),
    "an end tag of an image": ("<a href=https://x.test/></img alt=no><img alt=yes></a>", "yes"),
    "an image behind the link": ("<a href=https://x.test/></a><img alt=no>", ""),
    "nothing": ("<a href=https://x.test/></a>no", ""),
    "an image map": ("<map><area href=https://x.test/ alt=' North  pole '></map>", "North pole"),
    "a style inside": ("<a href=https://x.test/><style>b{}</style>Shop<script>'</a>'</script></a>", "Shop"),
    "Outlook's share": ("<a href=https://x.test/><!--[if mso]>no<![endif]-->Shop</a>", "Shop"),
    "revealed": ("<a href=https://x.test/><!--[if !mso]><!-->Shop<!--<![endif]--></a>", "Shop"),
    "never closed": ("<a href=https://x.test/>Shop", "Shop"),
    "closed by the next": ("<a href=https://x.test/>Shop <a href=#>no</a>", "Shop"),
    "breaks off in a tag": ("<a href=https://x.test/>Shop <b title='no", "Shop"),
    "a bracket that opens no tag": ("<a href=https://x.test/>1 < 2 <3</a>", "1 < 2 <3"),
    "decoys": ("<a href=https://x.test/ title='>no'>Shop<b title='</a>no'> on</b></a>", "Shop on"),
    "upper case": ("<A HREF=https://x.test/><IMG ALT=Shop></A>", "Shop"),
    "half a character": ("<a href=https://x.test/>a\ud800b \ud83d\ude00</a>", "a\ufffdb 😀"),
    "NUL": ("<a href=https://x.test/>a\0b&#0;</a>", "ab\ufffd"),
    "too long": (f"<a href=https://x.test/>{'😀' * 200}</a>", "😀" * 80),
    "cut at a blank": (f"<a href=https://x.test/>{'x' * 79} y</a>", "x" * 79),
    "a button for Outlook": (
        "<p>x<!--[if mso]><v:roundrect href='https://x.test/'><v:fill/><center>Buy</center></v:roundrect>no<![endif]-->",
        "Buy",
    ),
    "a shape that closes itself": ("<p>x<!--[if mso]><v:rect href='https://x.test/'/>no<![endif]-->", ""),
    "only markup": ("<a href=https://x.test/><b></b></a>", ""),
    "an arrow in a comment": (
        "<a href=https://x.test/>one<!-- x -> no -!> no -->two<!-- y --!>three</a>",
        "onetwothree",
    ),
    "a style in either case": ("<a href=https://x.test/><style>no</STYLE>Shop<TITLE>no</title></a>", "Shop"),
    "an empty comment": ("<a href=https://x.test/>one<!-->two-->three</a>", "onetwo-->three"),
    "no comment": ("<a href=https://x.test/>one<!- x>two</a>", "onetwo"),
    "a letter that is none of a tag": ("<a href=https://x.test/><ſtyle>x</ſtyle>y</a>", "<ſtyle>xy"),
    "a letter that ends no tag": ("<a href=https://x.test/><title>x</t\u0130tle>x</title>y</a>", "y"),
    "a map without a word": ("<map><area href=https://x.test/></map>", ""),
    "never closed, for Outlook": ("<p>x<!--[if mso]><a href='https://x.test/'>Buy<![endif]-->no", "Buy"),
}


@pytest.mark.parametrize(("html", "text"), TEXTS.values(), ids=TEXTS)
def test_text_is_what_a_reader_sees(html: str, text: str) -> None:
    """The report shows a link by the words that the reader clicked on, or by what its image shows."""
    assert [link.text for link in compile(html, refuse=refuse).links] == [text]


@pytest.mark.parametrize(
    "markup",
    [
        "<!-- {} -->",
        "<!-- > {} -->",
        "<!-- Z {} -->",
        "<script>{}</script>",
        "<script>Z{}</script>",
        "<!x {}>",
        "<b title='{}'>",
        "<b title='>{}'>",
        "<b{}>",
        "</ {}>",
    ],
)
def test_what_is_cut_off_shows_nothing(markup: str) -> None:
    """Only the beginning of a long link is read; markup that would end behind it is still no text."""
    long = f"<!--{'y' * (LOOK_AHEAD - 60)}-->one{markup.format('z' * 100)}two"
    html = f"<a href=https://x.test/>{long}</a>"
    assert [link.text for link in compile(html, refuse=refuse).links] == ["one"]


@pytest.mark.parametrize("start", ["<b", "<b ", "<img alt=x", "<img alt='>", "</", "</b", "<!", "<!--", "<style"])
def test_the_cut_may_fall_into_a_tag(start: str) -> None:
    """Where what is read breaks off in the name of a tag, or directly behind it, that is no text."""
    long = f"<!--{'y' * (LOOK_AHEAD - len(start) - len('<!---->one'))}-->one{start}"
    page = scan(f"<a href=https://x.test/>{long} x='>'>two</a>")
    assert link_text(page, page.tags[0]) == "one"


def test_a_link_has_the_text_of_its_first_occurrence() -> None:
    """One destination stays one link, whatever it is called, unless the author names it."""
    html = (
        "<a href=https://x.test/>one</a><a href=https://x.test/>two</a><a href=https://x.test/ data-mailtrack-name=n>c"
    )
    links = compile(html, refuse=refuse).links
    assert links == (Link("https://x.test/", ""), Link("https://x.test/", "n"))
    assert [link.text for link in links] == ["one", "c"]


def test_each_occurrence_may_be_refused_by_its_text() -> None:
    """A text that names another address keeps its own link as written, and no other."""
    long = "y" * 300
    html = f"<a href=https://x.test/>https://bank.test</a><a href=https://x.test/>{long}</a><!--[if mso]><a href='https://x.test/'>https://bank.test</a><![endif]-->"
    seen: list[tuple[str, str]] = []

    def refuse_text(url: str, text: str) -> str | None:
        seen.append((url, text))
        return "scam" if text.startswith("https://") else None

    template = compile(html, refuse=refuse, refuse_text=refuse_text)
    assert seen == [("https://x.test/", text) for text in ("https://bank.test", long, "https://bank.test")]
    assert template.skipped == (Skipped("https://x.test/", "scam"),)
    assert [skipped.offset for skipped in template.skipped] == [8]
    assert template.render(["/0"], {}) == html.replace(f"https://x.test/>{long}", f'"/0">{long}')


def test_text_is_asked_about_only_where_the_address_may_be_tracked() -> None:
    """What is left alone anyway keeps its first reason."""
    html = "<a href=mailto:x>x</a><a href=https://x.test/ data-mailtrack=off>x</a><p>x"
    template = compile(html, refuse=refuse, refuse_text=lambda url, text: "never")
    assert [skipped.reason for skipped in template.skipped] == ["not_http", "opted_out"]


@pytest.mark.parametrize("html", ["<area href=https://x.test/ alt={0}>", "<a href=https://x.test/>{0}</a>"])
def test_text_is_asked_about_up_to_its_limit(html: str) -> None:
    """The whole text is judged, not what the report shows of it, but a book is not read."""
    seen: list[str] = []
    compile(html.format(5_000 * "x"), refuse=refuse, refuse_text=lambda url, text: seen.append(text))
    assert seen == [2_000 * "x"]


def test_mistake_about_texts_declines_the_body() -> None:
    """A check of texts that fails does not stop the mail."""
    with pytest.raises(RewriteError, match="unverified"):
        compile("<a href=https://x.test/>x</a>", refuse=refuse, refuse_text=lambda url, text: str(1 // 0))


@pytest.mark.parametrize("inside", ["<b ", "<b '", "<!-- ", "<style>", "&", "<", "<a href=h>", "<img>", "</", "x<b>"])
def test_no_content_makes_the_text_slow(inside: str) -> None:
    """Links that are never closed are read no further than to the next one, and never far."""
    times = []
    for size in (20_000, 160_000):
        page = scan(("<a href=https://x.test/>" + inside * 20) * (size // 20 // len(inside)))
        start = time.process_time()
        for tag in page.tags:
            link_text(page, tag)
        times.append(time.process_time() - start)
    assert times[1] < 24 * times[0] + 0.05


@pytest.mark.parametrize("name", ["script", "STYLE", "title", "iframe", "noembed", "NoFrames"])
@pytest.mark.parametrize("blank", ["", " ", "\t", "\n", "\f", "\r", "/"])
def test_what_is_no_content_is_no_text(name: str, blank: str) -> None:
    """The inside of an element that shows nothing is not what a reader sees, up to its own end tag."""
    html = f"<a href=u><{name}{blank}>no</{name}x></b>no</{name}{blank}>Shop<{name}s>yes</{name}s></a>"
    page = scan(html)
    assert link_text(page, page.tags[0]) == "Shop yes"


_INLINE = "a abbr b big cite code del em font i ins kbd label mark nobr q s samp small span strike strong sub sup u wbr"


@pytest.mark.parametrize("name", _INLINE.split()[1:])
def test_a_tag_within_a_word_does_not_part_it(name: str) -> None:
    """A word with a bold letter is one word, and one with a cell in it is two."""
    for blank in ("", " ", "\t", "\n", "\f", "\r", "/"):
        html = f"<a href=u>exam<{name}{blank}class=x>ple</{name}{blank}>s<{name.upper()}x>on</{name.upper()}x></a>"
        page = scan(html.replace("class=x", "class=x" if blank else ""))
        assert link_text(page, page.tags[0]) == "examples on"


def test_a_declaration_in_a_link_is_no_text() -> None:
    """What HTML makes a comment of is not shown, and parts no word."""
    page = scan("<a href=u>exam<!x>ple<?x>.te</ x>st<![endif]>/<!>a</>b</a>")
    assert link_text(page, page.tags[0]) == "example.test/ab"
