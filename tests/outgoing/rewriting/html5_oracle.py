"""The independent reader of the rewriting tests: html5lib, and the invariants every rewritten body must keep.

html5lib is a literal implementation of the HTML Standard that shares no line with the scanner or with
libxml2. It is slow, which does not matter here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import html5lib

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.rewriting import proof, rewrite
from flask_mailtrack.outgoing.rewriting.rewrite import Template, compile
from flask_mailtrack.outgoing.rewriting.scan import scan
from flask_mailtrack.outgoing.rewriting.template import Marks
from flask_mailtrack.syntax import OWN, browser_url, opts_out, strip_url

TRACKER = "https://t.test/"
PIXEL = '<img src="https://t.test/pixel" alt="">'
FIRST = '<img src="https://t.test/first" alt="">'
ADDED = 'data-added="1" '
_TRACKED = re.compile(r"https://t\.test/(\d+)/")
# What HTML5 opens again around an image that stands behind an unclosed <b> or <a>; empty, they show nothing.
_REOPENED = frozenset(("a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"))


class _Recorder(html5lib.HTMLParser):  # type: ignore[misc]
    """A parser that keeps the start tags its tokenizer emits, for a tree may clone or drop them."""

    def __init__(self) -> None:
        super().__init__(html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
        self.start_tags: list[tuple[str, dict[str, str]]] = []

    def mainLoop(self) -> None:  # noqa: N802
        tokenizer = self.tokenizer
        emit = tokenizer.emitCurrentToken

        def emit_and_note() -> None:
            emit()
            token: dict[str, Any] = tokenizer.currentToken
            if token["type"] == html5lib.constants.tokenTypes["StartTag"]:
                self.start_tags.append((token["name"], dict(token["data"])))

        tokenizer.emitCurrentToken = emit_and_note
        super().mainLoop()


def refuse(url: str) -> str | None:
    """Track everything that is http, except what is tracked already: the policy of these tests."""
    if not url.lower().startswith(("http://", "https://")):
        return "not_http"
    return "own_link" if url.startswith(TRACKER) else None


def is_link(tag: object) -> bool:
    """Tell whether a tag name is one that carries links in a mail."""
    name = tag.rpartition("}")[2] if isinstance(tag, str) else ""
    return name in ("a", "area") or name.startswith("v:")


def links(html: str) -> list[tuple[str, dict[str, str]]]:
    """Return URL and attributes of every link that HTML5's tokenizer sees."""
    parser = _Recorder()
    parser.parse(html)
    found = [(strip_url(data["href"]), data) for name, data in parser.start_tags if is_link(name) and data.get("href")]
    return [(url, data) for url, data in found if url]


def tree_links(html: str) -> set[str]:
    """Return the URLs of all links in the document that a browser would build."""
    return {strip_url(node.get("href", "")) for node in tree(html).iter() if is_link(node.tag)} - {""}


def tree(html: str) -> ElementTree.Element:
    """Return the document that a browser without scripts would build."""
    root: ElementTree.Element = _Recorder().parse(html)
    return root


def render(template: Template) -> str:
    """Render with one recognisable URL for each link, and the pixels."""
    urls = [f"{TRACKER}{k}/" for k in range(len(template.links))]
    return template.render(urls, {"start": FIRST, "end": PIXEL if template.ends else ""})


def compile_twice_judged(html: str, **options: Any) -> Template:
    """Compile, and let the long comparison look at whatever the short proof believes."""
    overruled: list[str] = []

    def proves(original: str, copy: str, marks: Marks, left_alone: proof.LeftAlone) -> bool:
        believed = proof.proves(original, copy, marks, left_alone)
        if believed:
            try:
                proof.check(original, marks.without_probes(copy), marks, left_alone)
            except RewriteError as error:
                overruled.append(str(error))
        return believed

    with patch.object(rewrite, "proves", proves):
        # The clock stands still: how long a busy machine takes is no promise of the rewriter.
        template = compile(html, refuse=refuse, clock=lambda: 0.0, **options)
    assert overruled == [], "the short proof believes what the long comparison does not"
    return template


def assert_invariants(html: str, *, start: bool = False, attribute: str = "") -> Template:
    """Compile, render, and hold the result against every promise of the rewriter."""
    template = compile_twice_judged(html, start=start, attribute=attribute)
    sent = render(template)
    assert render(template) == sent, "rendering twice gives two results"
    images = (template.pixel and template.starts, template.pixel and template.ends)
    assert (FIRST in sent, PIXEL in sent) == images, "an image too many or too few"
    assert undo(html, sent, template) == html, "undoing the changes does not give the input"
    assert compile_twice_judged(html, clicks=False).render([], {}) == html, "nothing to do, yet a change"
    _assert_places(html, template)
    _assert_links(html, sent)
    _assert_same_tree(html, sent)
    assert compile(sent, refuse=refuse, clock=lambda: 0.0).links == (), "a tracked link would be tracked again"
    return template


def _assert_places(html: str, template: Template) -> None:
    for place in template.places:
        assert browser_url(html[place.offset : place.end]) == template.links[place.link].url
    for skipped in template.skipped:
        rest = html[skipped.offset :]
        # Up to the quote, if there is one; else the value ends at a blank or a bracket.
        ends = [html[skipped.offset - 1]] if html[skipped.offset - 1] in "\"'" else [*" \t\n\f\r>"]
        value = rest[: min(rest.index(end) for end in ends if end in rest)]
        assert browser_url(value) == skipped.url


def undo(html: str, sent: str, template: Template) -> str:
    """Put the source back, reading each value from the input as HTML delimits it."""
    pieces = _TRACKED.split(sent.replace(PIXEL, "").replace(FIRST, "").replace(ADDED, ""))
    restored = pieces[0]
    for number, text in zip(pieces[1::2], pieces[2::2], strict=True):
        quote = restored[-1]
        if html.startswith(restored):
            raw = html[len(restored) : html.index(quote, len(restored))]
        else:  # an unquoted value gained a pair of quotes
            restored, text = restored[:-1], text[1:]
            assert quote == '"'
            found = re.compile(r"[^ \t\n\f\r>]+").match(html, len(restored))
            assert found is not None
            raw = found[0]
        assert browser_url(raw) == template.links[int(number)].url
        restored += raw + text
    return restored


def _assert_links(html: str, sent: str) -> None:
    page = scan(html)
    hrefs = [tag.href for tag in page.tags if not tag.hidden]
    urls = [browser_url(html[href.value_start : href.value_end]) for href in hrefs if href]
    expected = links(html)
    assert [url for url in urls if url] == [url for url, _ in expected], "another set of links than HTML5's"
    for (was, data), (now, _) in zip(expected, links(sent), strict=True):
        tracked = refuse(was) is None and not opts_out(data)
        assert now.startswith(TRACKER) if tracked else now == was


def _assert_same_tree(html: str, sent: str) -> None:
    before, after = tree(html), tree(sent)
    for image in (FIRST, PIXEL):
        parents = {child: parent for parent in after.iter() for child in parent}
        images = [node for node in parents if node.get("src") == image.split('"')[1]]
        if image not in sent:
            assert images == []
            continue
        assert len(images) == 1, "the pixel is not shown exactly once"
        path = [images[0]]
        while path[-1] in parents:
            path.append(parents[path[-1]])
        assert not {"head", "title", "style"}.intersection(node.tag for node in path), "the pixel is not shown"
        page = scan(html)
        fostered = page.pixel_point == page.unclosed or _is_fostered(path)
        if image == PIXEL and not sent.endswith(PIXEL) and fostered:
            # What the document breaks off in, or what follows an open table, may move along; nobody sees it.
            return _assert_same_tree(html[: page.pixel_point], sent[: sent.index(PIXEL) + len(PIXEL)])
        _remove(path[1], path[0])
    _drop_reopened(before)
    _drop_reopened(after)
    assert list(_events(before)) == list(_events(after)), "the document differs in more than its links"


def _is_fostered(path: list[ElementTree.Element]) -> bool:
    """Tell whether HTML5 moved the pixel out of a table that is never closed."""
    for node, parent in pairwise(path):
        following = list(parent)[list(parent).index(node) + 1 :]
        if following and following[0].tag == "table":
            return True
    return False


def _remove(parent: ElementTree.Element, child: ElementTree.Element) -> None:
    place = list(parent).index(child)
    parent.remove(child)
    if place:
        parent[place - 1].tail = (parent[place - 1].tail or "") + (child.tail or "")
    else:
        parent.text = (parent.text or "") + (child.tail or "")


def _drop_reopened(parent: ElementTree.Element) -> None:
    for child in list(parent):
        _drop_reopened(child)
        if child.tag in _REOPENED and not len(child) and not child.text:
            _remove(parent, child)


def _events(root: ElementTree.Element) -> Iterator[tuple[object, ...]]:
    """Flatten a tree, with tracked links taken for what they stand for."""
    for node in root.iter():
        data = {name: value for name, value in node.attrib.items() if name not in OWN or not is_link(node.tag)}
        data.pop("data-added", None)
        if is_link(node.tag) and "href" in data:
            url = strip_url(data["href"])
            data["href"] = "tracked" if refuse(url) in (None, "own_link") else url
        text = node.text or ""
        if not isinstance(node.tag, str) and text[:3].lower() == "[if":
            text = "what Outlook reads is compared byte by byte"
        yield str(node.tag), tuple(sorted(data.items(), key=str)), text, node.tail or ""
