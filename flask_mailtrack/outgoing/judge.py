"""The judge: an independent parser decides whether the marked copy is still the same document.

The scanner says where the links are; here libxml2 is asked. Both texts are parsed, never serialised
into the mail: libxml2's tree is not HTML5's (no implied ``tbody``, several roots), but whatever it
reads in the original it must read in the copy. A disagreement is not repaired. The mail goes out
as written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from lxml import etree

from flask_mailtrack.errors import RewriteError

from .attributes import OWN, browser_url, strip_url
from .scan import CONDITION

_LINK_TAGS = etree.XPath('//*[self::a or self::area or starts-with(name(), "v:")]')
_PIXELS = etree.XPath("//img[@src=$src]")
_BODIES = etree.XPath("//body")
_FRAMESETS = etree.XPath("//frameset")
_NOT_SHOWN = ("head", "math", "select", "svg", "template", "title")
"""Ancestors under which HTML5, unlike libxml2, drops an ``img``, moves it or never loads it."""

LeftAlone = Callable[[str, Mapping[str, str]], bool]
"""Given a link's URL and attributes: is it right that it was not tracked?"""


@dataclass(frozen=True)
class Marks:
    """URLs that stand for nothing but their own place in the marked copy."""

    prefix: str
    hrefs: Mapping[str, str]
    """The source text that each mark replaces, in document order."""
    unquoted: frozenset[str]
    """Marks of values that stood without quotes, and gain a pair in the copy."""

    @classmethod
    def for_text(cls, text: str, replaced: Iterable[tuple[str, bool]]) -> Marks:
        """Make one mark for each replaced value, given as its source text and whether it had quotes."""
        # A text that contains its own hash cannot be written, so no mark can be forged.
        prefix = f"https://{sha256(text.encode('utf-8', 'replace')).hexdigest()[:40]}.invalid/"
        values = {f"{prefix}{number}.": value for number, value in enumerate(replaced)}
        return cls(
            prefix=prefix,
            hrefs={mark: source for mark, (source, _) in values.items()},
            unquoted=frozenset(mark for mark, (_, quoted) in values.items() if not quoted),
        )

    @property
    def pixel(self) -> str:
        """The image that is put where the open pixel will be."""
        return f'<img src="{self.prefix}">'

    def undo(self, text: str) -> str:
        """Put the source back into a marked text."""

        def source(match: re.Match[str]) -> str:
            before, mark, after = match.groups()
            written = self.hrefs[mark]
            return written if mark in self.unquoted else before + written + after

        return re.sub(rf'("?)({re.escape(self.prefix)}\d+\.)("?)', source, text)


def check(original: str, marked: str, marks: Marks, left_alone: LeftAlone) -> None:
    """Demand that two texts are one document, apart from the marks.

    :param original: the body as the author wrote it.
    :param marked: the body with each tracked ``href`` replaced by its mark, and with the pixel.
    :param marks: the marks that must be found, each exactly once.
    :param left_alone: called for every link without a mark.
    :raises RewriteError: ``empty`` if there is nothing to show, ``unverified`` if anything differs.
    """
    old = _parse(original)
    if old is None:
        raise RewriteError("empty", "nothing in the body is shown to the reader")
    new = _parse(marked)
    if new is None or marks.prefix in original:
        raise _unverified("the marked copy cannot be told from the original")
    seen = [
        *_compare_links(old, new, marks, left_alone),
        *_compare_comments(old, new, marks, left_alone),
    ]
    if sorted(seen) != sorted(marks.hrefs):
        raise _unverified("a link is not where the scanner saw it")
    _take_out_pixel(old, new, marks)
    if _dump(old) != _dump(new):
        raise _unverified("the marked copy is another document")


def _unverified(detail: str) -> RewriteError:
    return RewriteError("unverified", detail)


def _parse(text: str) -> etree._Element | None:
    # Bytes and an explicit encoding: a <meta charset> or <?xml encoding?> that lies must not be believed.
    # huge_tree: without it libxml2 silently stops at 256 levels of nesting.
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True)
    root: etree._Element | None = etree.fromstring(text.encode("utf-8", "replace"), parser)
    return root


def _elements(query: etree.XPath, root: etree._Element, **variables: str) -> list[etree._Element]:
    found = query(root, **variables)
    return [node for node in found if isinstance(node, etree._Element)] if isinstance(found, list) else []


def _compare_links(old: etree._Element, new: etree._Element, marks: Marks, left_alone: LeftAlone) -> Iterator[str]:
    """Yield the marks found on links, and make the links of both trees alike."""
    before, after = _elements(_LINK_TAGS, old), _elements(_LINK_TAGS, new)
    if len(before) != len(after):
        raise _unverified("links appear or vanish")
    for was, now in zip(before, after, strict=True):
        source, mark = was.get("href"), now.get("href")
        if source is not None and mark is not None and mark in marks.hrefs:
            if browser_url(marks.hrefs[mark]) != strip_url(source):
                raise _unverified("a link would lead elsewhere")
            # Not the other way round: the source may hold characters that lxml reads but will not write.
            was.set("href", mark)
            yield mark
        elif source is not None and not left_alone(strip_url(source), _attributes(was)):
            raise _unverified("a link was missed")
        for name in OWN.intersection(was.attrib):
            del was.attrib[name]


def _attributes(element: etree._Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.attrib.items()}


def _compare_comments(old: etree._Element, new: etree._Element, marks: Marks, left_alone: LeftAlone) -> Iterator[str]:
    """Yield the marks found in conditional comments, and make the comments of both trees alike."""
    before, after = _comments(old), _comments(new)
    if len(before) != len(after):
        raise _unverified("comments appear or vanish")
    for was, now in zip(before, after, strict=True):
        source, marked = was.text or "", now.text or ""
        if condition := CONDITION.match(source):
            if marks.undo(marked) != source:
                raise _unverified("a conditional comment changes")
            inside, marked_inside = _parse(source[condition.end() :]), _parse(marked[condition.end() :])
            if inside is not None and marked_inside is not None:
                yield from _compare_links(inside, marked_inside, marks, left_alone)
            was.text = now.text = "same"


def _take_out_pixel(old: etree._Element, new: etree._Element, marks: Marks) -> None:
    """Remove the one pixel from the marked copy, and the body that libxml2 made for it alone."""
    pixels = _elements(_PIXELS, new, src=marks.prefix)
    parent = pixels[0].getparent() if len(pixels) == 1 else None
    if parent is None or _elements(_FRAMESETS, old):
        raise _unverified("there is no place where a pixel is shown exactly once")
    if next(pixels[0].iterancestors(*_NOT_SHOWN), None) is not None:
        raise _unverified("the pixel would stand where no image is shown")
    pixels[0].tag = "mailtrack-pixel"
    etree.strip_elements(parent, "mailtrack-pixel", with_tail=False)
    owner = parent.getparent()
    empty = not len(parent) and not parent.text
    if owner is not None and parent.tag == "body" and empty and not _elements(_BODIES, old):
        owner.remove(parent)


def _roots(root: etree._Element) -> list[etree._Element]:
    """List all roots: libxml2 puts markup that follows ``</html>`` beside the first one."""
    return [*reversed(list(root.itersiblings(preceding=True))), root, *root.itersiblings()]


def _comments(root: etree._Element) -> list[etree._Element]:
    # Not by XPath: its time grows with the square of the number of comments.
    return [comment for node in _roots(root) for comment in node.iter(etree.Comment)]


def _dump(root: etree._Element) -> list[str]:
    return [etree.tostring(node, encoding="unicode") for node in _roots(root)]
