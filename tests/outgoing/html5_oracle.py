"""The independent reader of the rewriting tests: html5lib, and the invariants every rewritten body must keep.

html5lib is a literal implementation of the HTML Standard that shares no line with the scanner or with
libxml2. It is slow, which does not matter here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import html5lib

from flask_mailtrack.outgoing.attributes import OWN, browser_url, opts_out, strip_url
from flask_mailtrack.outgoing.rewrite import Template, compile
from flask_mailtrack.outgoing.scan import scan

TRACKER = "https://t.test/"
PIXEL = '<img src="https://t.test/pixel" alt="">'
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
    return isinstance(tag, str) and (tag in ("a", "area") or tag.startswith("v:"))


def links(html: str) -> list[tuple[str, dict[str, str]]]:
    """Return URL and attributes of every link that HTML5's tokenizer sees."""
    parser = _Recorder()
    parser.parse(html)
    found = [(strip_url(data["href"]), data) for name, data in parser.start_tags if is_link(name) and data.get("href")]
    return [(url, data) for url, data in found if url]


def tree(html: str) -> ElementTree.Element:
    """Return the document that a browser without scripts would build."""
    root: ElementTree.Element = _Recorder().parse(html)
    return root


def render(template: Template) -> str:
    """Render with one recognisable URL for each link, and the pixel."""
    return template.render([f"{TRACKER}{k}/" for k in range(len(template.links))], {"end": PIXEL})


def assert_invariants(html: str) -> Template:
    """Compile, render, and hold the result against every promise of the rewriter."""
    template = compile(html, refuse=refuse)
    sent = render(template)
    assert render(template) == sent, "rendering twice gives two results"
    assert undo(html, sent, template) == html, "undoing the changes does not give the input"
    assert compile(html, clicks=False, refuse=refuse).render([], {}) == html, "nothing to do, yet a change"
    _assert_links(html, sent)
    _assert_same_tree(html, sent)
    assert compile(sent, refuse=refuse).links == (), "a tracked link would be tracked again"
    return template


def undo(html: str, sent: str, template: Template) -> str:
    """Put the source back, reading each value from the input as HTML delimits it."""
    before, _, after = sent.partition(PIXEL)
    pieces = _TRACKED.split(before + after)
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
    parents = {child: parent for parent in after.iter() for child in parent}
    pixels = [node for node in parents if node.get("src") == f"{TRACKER}pixel"]
    assert len(pixels) == 1, "the pixel is not shown exactly once"
    path = [pixels[0]]
    while path[-1] in parents:
        path.append(parents[path[-1]])
    assert not {"head", "title", "style"}.intersection(node.tag for node in path), "the pixel is not shown"
    page = scan(html)
    if not sent.endswith(PIXEL) and (page.pixel_point == page.unclosed or _is_fostered(path)):
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
        if is_link(node.tag) and "href" in data:
            url = strip_url(data["href"])
            data["href"] = "tracked" if refuse(url) in (None, "own_link") else url
        text = node.text or ""
        if not isinstance(node.tag, str) and text[:3].lower() == "[if":
            text = "what Outlook reads is compared byte by byte"
        yield str(node.tag), tuple(sorted(data.items(), key=str)), text, node.tail or ""
