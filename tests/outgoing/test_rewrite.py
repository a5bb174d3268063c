"""One body in, one body per recipient out: what changes, what never does, and when the rewriter declines."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import pytest
from lxml import etree

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing import rewrite
from flask_mailtrack.outgoing.judge import Marks, check
from flask_mailtrack.outgoing.rewrite import Limits, Link, Skipped, Template, compile
from flask_mailtrack.outgoing.scan import Attribute, LinkTag, Page, scan
from tests.outgoing.html5_oracle import assert_invariants, refuse

SLOTS = re.compile(
    r"(?P<unsubscribe>https://unsubscribe\.mailtrack\.invalid/)"
    r"|(?P<foreign>%%user_defined_unsubscribe_link%%)"
    r'|(?P<pixel><img src="https://pixel\.mailtrack\.invalid/"[^>]*>)'
)


def reason(html: str, **options: object) -> str:
    """Return the word with which a body is declined, or nothing."""
    try:
        compile(html, refuse=refuse, **options)  # type: ignore[arg-type]
    except RewriteError as error:
        return error.reason
    return ""


def sent(html: str, **fill: str) -> str:
    """Render with /0, /1, … for the links."""
    template = compile(html, refuse=refuse, slots=SLOTS)
    return template.render([f"/{k}" for k in range(len(template.links))], fill)


def promises(html: str) -> Template:
    """Check all invariants; before 2.14 libxml2 was no HTML5 parser, and the judge rightly declines more."""
    try:
        return assert_invariants(html)
    except RewriteError:
        if etree.LIBXML_VERSION < (2, 14):
            pytest.skip("this libxml2 reads the document in another way than HTML5")
        raise


VALUES = {
    "escaped ampersand": ('"https://x.test/?a=1&amp;b=2"', "https://x.test/?a=1&b=2"),
    "raw ampersand": ('"https://x.test/?a=1&b=2"', "https://x.test/?a=1&b=2"),
    "looks like an entity": ('"https://x.test/?a&copy=1&region=2"', "https://x.test/?a&copy=1&region=2"),
    "is an entity": ('"https://x.test/?a&lang;b"', "https://x.test/?a⟨b"),
    "half an entity": ('"https://x.test/?a&notit;"', "https://x.test/?a&notit;"),
    "numbers": ('"https://x.test/?&#38;&#x26&#0;&#150;"', "https://x.test/?&&\ufffd\u2013"),
    "blanks and newlines": ('" \n https://x.\r\ntest/a b\t "', "https://x.test/a b"),
    "non-ASCII": ('"https://bücher.test/ß😀"', "https://bücher.test/ß😀"),
    "mustache": ('"https://x.test/{{ x }}"', "https://x.test/{{ x }}"),
    "star bar": ('"https://x.test/*|X|*"', "https://x.test/*|X|*"),
    "percent": ('"https://x.test/%%x%%"', "https://x.test/%%x%%"),
    "asp": ('"https://x.test/<%x%>"', "https://x.test/<%x%>"),
    "brackets": ('"https://x.test/[[x]]"', "https://x.test/[[x]]"),
    "upper-case scheme": ('"HTTP://X.test"', "HTTP://X.test"),
    "the other quote": ("'https://x.test/\"x\"'", 'https://x.test/"x"'),
    "unquoted": ("https://x.test/", "https://x.test/"),
    "8 KB": (f'"https://x.test/{"x" * 8192}"', f"https://x.test/{'x' * 8192}"),
}

STRUCTURES = {
    "fragment": "{0}",
    "text first": "hello {0}",
    "Outlook button and its twin": '<!--[if mso]><v:roundrect href="https://x.test/">{0}<![endif]-->{0}',
    "revealed": "<!--[if !mso]><!-->{0}<!--<![endif]-->",
    "revealed with a blank": "<!--[if !mso]><!-- -->{0}<!-- <![endif]-->",
    "downlevel": "<![if !mso]>{0}<![endif]>",
    "office": "<xml><o:OfficeDocumentSettings/></xml><o:p>&nbsp;</o:p>{0}<w:anchorlock/>"
    '<v:rect href="https://x.test/">x</v:rect>',
    "several </body>": "<body>{0}</body>{0}</body>",
    "</body> in a comment": "<body>{0}<!-- </body> --><script>'</body>'</script>",
    "after </html>": "<html><body>{0}</body></html>{0}",
    "two documents": "<html><body>{0}</body></html><!doctype html><html><body>{0}</body></html>",
    "unclosed comment": "<body>{0}<!-- x",
    "unclosed Outlook comment": '<body>{0}<!--[if mso]><a href="https://x.test/">',
    "link in a link": '<a href="https://y.test/">{0}</a>',
    "link across cells": '<table><tr><a href="https://y.test/"><td>{0}</td></a></tr></table>',
    "nested deeper than libxml2's default": 300 * "<div>" + "{0}" + 300 * "</div>",
    "missing </table>": "<table><tr><td>{0}",
    "XHTML": '<?xml version="1.0" encoding="iso-8859-1"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">'
    '<html><head><meta charset="koi8-r"/></head><body>{0}<td/></body></html>',
    "upper case": "<HTML><BODY>{0}</BODY></HTML>",
    "unknown in head": "<html><head><o:x></o:x><title>x</title></head><body>{0}</body></html>",
    "noscript": "<noscript>{0}</noscript>",
    "preheader": "<div>&nbsp;&zwnj;&#847; 😀 \u05d0</div>{0}",
    "CRLF": "<p>\r\n{0}\r\n</p>\r\n",
    "lone CR and mixed": "<p>\r{0}\n\r</p>\r\n",
    "BOM": "\ufeff<p>{0}</p>",
    "NUL": "<p>\0{0}</p>",
    "noncharacter": "<p>\ufffe{0}</p>",
    "data URI": f'<img src="data:image/png;base64,{"A" * 1_000_000}">{{0}}',
}


@pytest.mark.parametrize(("value", "url"), VALUES.values(), ids=VALUES)
def test_url_is_what_a_browser_would_open(value: str, url: str) -> None:
    """However the author wrote the address, it is recorded as a browser reads it, and comes back."""
    html = f"<p><a href={value} title=x>x</a></p>"
    assert promises(html).links == (Link(url, ""),)


@pytest.mark.parametrize(
    "url",
    [
        "//host/x",
        "mailto:x@x.test",
        "tel:1",
        "sms:1",
        "cid:x",
        "data:,x",
        "javascript:x",
        "#x",
        "x.html",
        "https+notrack://x",
    ],
)
def test_what_the_policy_refuses_is_sent_as_written(url: str) -> None:
    """A link that the caller refuses stays untouched, and the reason is on record."""
    html = f'<a href="{url}">x</a>'
    template = assert_invariants(html)
    assert template.links == ()
    assert template.skipped == (Skipped(url, "not_http"),)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("link", ['<a href="https://x.test/">x</a>', "<A\nHREF = https://x.test/ >x</A>"])
def test_every_kind_of_document_keeps_all_promises(structure: str, link: str) -> None:
    """Only links and the pixel change, in whole mails and fragments, tidy or not."""
    assert Link("https://x.test/", "") in promises(structure.format(link)).links


def test_lone_surrogates_in_text_survive() -> None:
    """Text that no encoding can carry is still returned as it came."""
    assert sent('<p>\ud800<a href="https://x.test/">x</a></p>') == '<p>\ud800<a href="/0">x</a></p>'


def test_one_destination_is_one_link() -> None:
    """Fifty times the same address, once of them for Outlook, count as one link."""
    button = '<a href="https://x.test/?a&amp;b">x</a>'
    template = compile("<!--[if mso]><v:rect href='https://x.test/?a&b'><![endif]-->" + 50 * button, refuse=refuse)
    assert template.links == (Link("https://x.test/?a&b", ""),)
    assert template.render(["/t"], {}).count("/t") == 51


def test_outlook_button_shares_the_name_of_its_twin() -> None:
    """The button that only Outlook shows is the same link as the named button that all others show."""
    html = (
        '<!--[if mso]><v:rect href="https://x.test/"><![endif]-->'
        '<a href="https://x.test/" data-mailtrack-name="button">x</a><a href="https://x.test/">y</a>'
    )
    template = compile(html, refuse=refuse)
    assert template.links == (Link("https://x.test/", "button"), Link("https://x.test/", ""))
    assert template.render(["/0", "/1"], {}) == (
        '<!--[if mso]><v:rect href="/0"><![endif]--><a href="/0">x</a><a href="/1">y</a>'
    )


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="https://x.test/" data-mailtrack="off">', '<a href="https://x.test/">'),
        ('<a data-mailtrack="off" href="https://x.test/">', '<a href="https://x.test/">'),
        ("<a\n  DATA-MailTrack = off\n  href=https://x.test/>", "<a\n  href=https://x.test/>"),
        ('<a data-mailtrack="off"href="https://x.test/">', '<a href="https://x.test/">'),
        ('<a href=https://x.test/ data-mailtrack="off"/>', "<a href=https://x.test/ />"),
        ('<a/data-mailtrack="off"/href=https://x.test/>', "<a//href=https://x.test/>"),
        ('<a href="https://x.test/"data-mailtrack=off>', '<a href="https://x.test/">'),
        ('<a href="https://x.test/" data-mailtrack="off" data-mailtrack-name="n">', '<a href="https://x.test/">'),
        ('<area href="https://x.test/" data-mailtrack="off">', '<area href="https://x.test/">'),
        ('<a href="https://x.test/" data-mailtrack-name=" n ">', '<a href="/0">'),
        ('<a href="https://x.test/" data-mailtrack-name>', '<a href="/0">'),
        ('<a data-mailtrack-name=n href=https://x.test/>', '<a href="/0">'),
        ('<a href="https://x.test/" data-mailtrack="on">', '<a href="/0">'),
        ('<p data-mailtrack="off">', '<p data-mailtrack="off">'),
        ('<a href="https://x.test/" clicktracking=off>', '<a href="https://x.test/" clicktracking=off>'),
        (
            '<!--[if mso]><a href="https://x.test/" data-mailtrack="off"><![endif]-->x',
            '<!--[if mso]><a href="https://x.test/" data-mailtrack="off"><![endif]-->x',
        ),
        (
            '<!--[if mso]><a href="https://x.test/" data-mailtrack-name="n"><![endif]-->x',
            '<!--[if mso]><a href="/0" data-mailtrack-name="n"><![endif]-->x',
        ),
    ],
)  # fmt: skip
def test_our_attributes_are_obeyed_and_taken_out(html: str, expected: str) -> None:
    """What the author tells us on a link never reaches the reader, and nothing around it moves."""
    assert sent(html) == expected


def test_opted_out_links_are_on_record() -> None:
    """The report can tell a link that must not be tracked from one that cannot be."""
    html = '<a href="https://x.test/" data-mailtrack="off">x</a><a href="https://y.test/" data-pm-no-track>y</a>'
    template = compile(2 * html, refuse=refuse)
    assert template.links == ()
    assert template.skipped == (
        Skipped("https://x.test/", "opted_out"),
        Skipped("https://y.test/", "opted_out"),
    )


def test_link_may_be_tracked_here_and_left_alone_there() -> None:
    """An opt-out is about one link, not about its destination."""
    html = '<a href="https://x.test/" data-mailtrack="off">x</a><a href="https://x.test/">y</a>'
    assert sent(html) == '<a href="https://x.test/">x</a><a href="/0">y</a>'


def test_many_removed_attributes_cost_no_more_than_their_length() -> None:
    """A body full of our attributes is prepared as fast as any other."""
    html = "<a data-mailtrack=off>x</a>" * 40_000
    start = time.process_time()
    assert compile(html, refuse=refuse).render([], {}) == "<a>x</a>" * 40_000
    assert time.process_time() - start < 10


def test_slots_are_filled_wherever_they_stand() -> None:
    """A placeholder is replaced in links, text and comments, exactly as given, and never tracked."""
    html = (
        '<a href="https://unsubscribe.mailtrack.invalid/">x</a> https://unsubscribe.mailtrack.invalid/?a'
        "<!-- https://unsubscribe.mailtrack.invalid/ --><a href=%%user_defined_unsubscribe_link%%>y</a>"
    )
    template = compile(html, refuse=refuse, slots=SLOTS)
    assert template.slots == {"unsubscribe", "foreign"}
    assert template.links == ()
    assert [skipped.reason for skipped in template.skipped] == ["has_slot", "has_slot"]
    assert template.render([], {"unsubscribe": "U&", "foreign": "F"}) == (
        '<a href="U&">x</a> U&?a<!-- U& --><a href=F>y</a>'
    )


def test_slot_inside_a_longer_address_keeps_it_from_being_tracked() -> None:
    """An address that differs per recipient cannot be one link in the report."""
    html = '<a href="https://x.test/?u=%%user_defined_unsubscribe_link%%&amp;a">x</a><a href="https://y.test/">y</a>'
    template = compile(html, refuse=refuse, slots=SLOTS)
    assert template.links == (Link("https://y.test/", ""),)
    assert template.skipped[0].reason == "has_slot"
    body = template.render(["/0"], {"foreign": "F"})
    assert body == '<a href="https://x.test/?u=F&amp;a">x</a><a href="/0">y</a>'


def test_authors_own_place_for_the_pixel_is_a_slot() -> None:
    """An author may place the pixel; the end of the body then stays empty."""
    html = '<p>x</p><img src="https://pixel.mailtrack.invalid/" alt=""><p>y</p></body>'
    assert sent(html, pixel="<img>") == "<p>x</p><img><p>y</p></body>"


def test_slot_at_the_very_end_does_not_disturb_the_pixel() -> None:
    """A placeholder right before </body> is filled, and the end comes after it."""
    html = "<p>%%user_defined_unsubscribe_link%%</body>"
    assert sent(html, foreign="F", end="<img>") == "<p>F<img></body>"


def test_slot_in_a_removed_attribute_goes_with_it() -> None:
    """A placeholder that the reader will never get need not be filled."""
    html = '<a href="https://x.test/" data-mailtrack-name="%%user_defined_unsubscribe_link%%">x</a>'
    assert compile(html, refuse=refuse, slots=SLOTS).slots == frozenset()
    assert sent(html) == '<a href="/0">x</a>'


def test_slot_that_reaches_across_tags_is_declined() -> None:
    """A placeholder must not swallow half a link or the place of the pixel."""
    assert reason("<p>x</body>", slots=re.compile("(?P<x>x</b)")) == "unverified"
    assert reason('<a data-mailtrack="off" href=y>x', slots=re.compile('(?P<x>off" h)')) == "unverified"


def test_slot_without_a_value_is_an_error() -> None:
    """A recipient never gets a placeholder by mistake."""
    with pytest.raises(KeyError, match="foreign"):
        sent("<p>%%user_defined_unsubscribe_link%%</p>")


def test_without_clicks_only_slots_and_the_end_are_served() -> None:
    """A body may carry the pixel alone."""
    html = '<p><a href="https://x.test/" data-mailtrack=off>x</a>%%user_defined_unsubscribe_link%%</p>'
    template = compile(html, clicks=False, refuse=refuse, slots=SLOTS)
    assert (template.links, template.skipped) == ((), ())
    assert template.render([], {"foreign": "F", "end": "<img>"}) == '<p><a href="https://x.test/">x</a>F</p><img>'


def test_body_without_links_or_pixel_is_returned_unchanged() -> None:
    """Nothing to do means nothing done."""
    html = "<p>x &nbsp; <b>y</p>"
    assert compile(html, refuse=refuse).render([], {}) == html


def test_urls_are_escaped_where_they_need_it() -> None:
    """No URL can end its attribute or open a tag, in quotes of either kind or of none."""
    html = "<a href=\"https://1.test\"><a href='https://2.test'><a href=https://3.test>"
    template = compile(html, refuse=refuse)
    nasty = "/?a&b\"c'd<e>f g`h\n"
    safe = "/?a&#38;b&#34;c&#39;d&#60;e&#62;f&#32;g&#96;h&#10;"
    assert template.render([nasty, "/1", nasty], {}) == f'<a href="{safe}"><a href=\'/1\'><a href="{safe}">'


@pytest.mark.parametrize("count", [0, 2])
def test_wrong_number_of_urls_is_an_error(count: int) -> None:
    """A template never guesses which URL belongs to which link."""
    template = compile('<a href="https://x.test/">x</a>', refuse=refuse)
    with pytest.raises(ValueError, match="1 links"):
        template.render(["/"] * count, {})


@pytest.mark.parametrize(
    "html",
    [
        "",
        " \n\t ",
        "<!-- x -->",
        "<!doctype html>",
        "<!--[if mso]><a href='https://x.test/'><![endif]-->",
        "</p>",
    ],
)
def test_body_that_shows_nothing_is_declined(html: str) -> None:
    """There is no sense in tracking a mail without content."""
    assert reason(html) == "empty"


@pytest.mark.parametrize(
    "html",
    [
        "<title/><a href='https://x.test/'>x</a>",
        "<script/><a href='https://x.test/'>x</a>",
        "<style/><p>x</p>",
        "<frameset><frame src=x></frameset>",
        "<select><option>x",
        "<template><p>x",
        "<svg><text>x",
        "<p><a href='https://x.test/\ud800'>x</a>",
    ],
)
def test_doubtful_body_is_declined(html: str) -> None:
    """Where parsers disagree, or no image is shown, the mail goes out as written."""
    assert reason(html) == "unverified"


def test_link_in_the_title_of_a_drawing_is_left_alone() -> None:
    """A known limit: such a link counts in HTML5 alone, so it is never tracked."""
    html = "<svg><title><a href='https://x.test/'>x</a></title></svg><p>y</p>"
    try:
        assert compile(html, refuse=refuse).render([], {}) == html
    except RewriteError as error:
        if error.reason != "unverified":
            raise


def test_deepest_nesting_is_tracked_or_declined() -> None:
    """Where libxml2 gives up on depth, the mail goes out as written; a link is never lost unnoticed."""
    html = "<div>" * 5000 + "<a href='https://x.test/'>x</a>"
    try:
        assert compile(html, refuse=refuse).links == (Link("https://x.test/", ""),)
    except RewriteError as error:
        if error.reason != "unverified":
            raise


def test_amp_mail_is_declined() -> None:
    """A plain image would make an AMP mail invalid."""
    assert reason("<!doctype html><html ⚡4email><body>x</body></html>") == "amp"


def test_limits_are_kept() -> None:
    """A body beyond the limits is declined before any work is done, a body at the limit is not."""
    html = '<a href="https://x.test/">x</a><a href="https://y.test/">y</a>'
    assert reason(html, limits=Limits(max_bytes=len(html) - 1)) == "too_big"
    assert reason(html, limits=Limits(max_links=1)) == "too_many_links"
    assert reason(html, limits=Limits(max_bytes=len(html), max_links=2)) == ""


def test_mistake_in_the_policy_declines_the_body() -> None:
    """A policy that fails does not stop the mail; the cause is kept."""
    with pytest.raises(RewriteError) as caught:
        compile('<a href="https://[x/">x</a>', refuse=lambda url: str(1 // 0))
    assert caught.value.reason == "unverified"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_template_cannot_be_changed() -> None:
    """A template may be kept and shared."""
    template = compile("<p>x", refuse=refuse)
    with pytest.raises(FrozenInstanceError):
        template.links = ()  # type: ignore[misc]


def test_template_may_be_rendered_by_many_threads() -> None:
    """Recipients never see each other's links."""
    template = compile('<p><a href="https://x.test/">x</a></p>' * 20, refuse=refuse)
    urls = [f"/{n}" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda url: template.render([url], {"end": url}), urls))
    assert bodies == [f'<p><a href="{url}">x</a></p>' * 20 + url for url in urls]


@pytest.mark.parametrize(
    "pattern",
    [
        "<a href='https://x.test/' ",
        "<p>x",
        "<a href=https://x.test/>x</a>",
        "<!--[if a]><a href=h>-->",
        "&amp",
    ],
)
def test_no_text_makes_the_whole_slow(pattern: str) -> None:
    """Sixteen times the text costs about sixteen times the work, the judge included; never 256 times."""
    times = []
    for size in (40_000, 640_000):
        start = time.process_time()
        reason("<p>x</p>" + pattern * (size // len(pattern)))
        times.append(time.process_time() - start)
    assert times[1] < 48 * times[0] + 0.05


class TestJudge:
    """The judge catches a scanner that is wrong in any way we could think of."""

    HTML = (
        '<p title="https://x.test/6"><a href="https://x.test/1">one</a> '
        "<!--[if mso]><v:rect href='https://x.test/2'><![endif]--><!-- <a href=\"https://x.test/3\"> --> "
        '<script>"<a href=https://x.test/4>"</script><a href="https://x.test/5">five</a></p>'
    )

    def broken(self, monkeypatch: pytest.MonkeyPatch, tags: tuple[LinkTag, ...]) -> str:
        """Compile with a scanner that reports these tags."""
        page = scan(self.HTML)
        wrong = Page(page.text, tags, page.body_end, page.html_end, page.unclosed, page.amp)
        monkeypatch.setattr(rewrite, "scan", lambda text: wrong)
        return reason(self.HTML)

    @staticmethod
    def tag(start: int, end: int, *, hidden: bool = False) -> LinkTag:
        """Make a link out of any stretch of text."""
        return LinkTag((Attribute("href", start, end, start, end, True),), hidden)

    def test_right_scanner_is_believed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The very same set-up passes when nothing is wrong."""
        assert self.broken(monkeypatch, scan(self.HTML).tags) == ""

    @pytest.mark.parametrize("lost", [0, 2])
    def test_missed_link_is_caught(self, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
        """A link that would go out untracked, unnoticed, stops the rewriting."""
        tags = scan(self.HTML).tags
        assert self.broken(monkeypatch, tags[:lost] + tags[lost + 1 :]) == "unverified"

    @pytest.mark.parametrize("k", [0, 1, 2])
    @pytest.mark.parametrize(("left", "right"), [(-1, 0), (1, 0), (0, -1), (0, 1)])
    def test_span_off_by_one_is_caught(self, monkeypatch: pytest.MonkeyPatch, k: int, left: int, right: int) -> None:
        """One character too many or too few would break a link or a tag."""
        tags = list(scan(self.HTML).tags)
        href = tags[k].href
        assert href is not None
        tags[k] = self.tag(href.value_start + left, href.value_end + right, hidden=tags[k].hidden)
        assert self.broken(monkeypatch, tuple(tags)) == "unverified"

    @pytest.mark.parametrize("decoy", ["https://x.test/3", "https://x.test/4", "https://x.test/6"])
    def test_url_that_is_no_link_is_caught(self, monkeypatch: pytest.MonkeyPatch, decoy: str) -> None:
        """Text in a comment, a script or another attribute is never rewritten, whatever the scanner says."""
        start = self.HTML.index(decoy)
        tags = (*scan(self.HTML).tags, self.tag(start, start + len(decoy)))
        assert self.broken(monkeypatch, tags) == "unverified"

    def test_mark_must_be_found_exactly_once(self) -> None:
        """A mark that no parser sees as a link proves nothing."""
        html = "<p>x</p><!-- y -->"
        marks = Marks.for_text(html, [("y", True)])
        with pytest.raises(RewriteError, match="not where the scanner saw it"):
            check(html, html + marks.pixel, marks, lambda url, attributes: True)

    def test_changed_text_is_caught(self) -> None:
        """Anything but a link that differs stops the rewriting."""
        html = "<p>x</p>"
        marks = Marks.for_text(html, [])
        with pytest.raises(RewriteError, match="another document"):
            check(html, "<p>y</p>" + marks.pixel, marks, lambda url, attributes: True)

    def test_changed_outlook_text_is_caught(self) -> None:
        """What only Outlook reads may not differ either."""
        html = "<p>x</p><!--[if mso]><b>y</b><![endif]-->"
        marks = Marks.for_text(html, [])
        with pytest.raises(RewriteError, match="conditional comment"):
            check(html, html.replace("y", "z") + marks.pixel, marks, lambda url, attributes: True)

    @pytest.mark.parametrize("place", ["<title>{0}</title><p>x", "<p>x<!-- {0} -->", "<p>x{0}{0}", "<p>x"])
    def test_pixel_must_be_shown_exactly_once(self, place: str) -> None:
        """A pixel that is not an image, or two, would falsify the count of opens."""
        html = place.format("")
        marks = Marks.for_text(html, [])
        with pytest.raises(RewriteError):
            check(html, place.format(marks.pixel), marks, lambda url, attributes: True)


def test_golden_mail() -> None:
    """The whole of it at a glance: a small mail before and after."""
    html = """<!DOCTYPE html>
<html><head><title>Hi</title></head><body>
<!--[if mso]><v:roundrect href='https://shop.test/?a=1&amp;b=2'>Buy</v:roundrect><![endif]-->
<a href="https://shop.test/?a=1&amp;b=2" data-mailtrack-name="buy">Buy&nbsp;now</a>
<a href="https://shop.test/terms" data-mailtrack="off">Terms</a> <a href="mailto:hi@shop.test">Mail</a>
<a href="https://unsubscribe.mailtrack.invalid/">Unsubscribe</a>
</body></html>
"""
    template = compile(html, refuse=refuse, slots=SLOTS)
    body = template.render(["https://t.test/0/"], {"unsubscribe": "https://t.test/u", "end": '<img src="p">'})
    assert (
        body
        == """<!DOCTYPE html>
<html><head><title>Hi</title></head><body>
<!--[if mso]><v:roundrect href='https://t.test/0/'>Buy</v:roundrect><![endif]-->
<a href="https://t.test/0/">Buy&nbsp;now</a>
<a href="https://shop.test/terms">Terms</a> <a href="mailto:hi@shop.test">Mail</a>
<a href="https://t.test/u">Unsubscribe</a>
<img src="p"></body></html>
"""
    )
    assert template.links == (Link("https://shop.test/?a=1&b=2", "buy"),)
