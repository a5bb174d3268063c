"""The judge: an independent parser decides whether the marked copy is still the same document.

The scanner says where the links are; here libxml2 is asked. Nothing it parses is ever serialised
into the mail: libxml2's tree is not HTML5's (no implied ``tbody``, several roots), but whatever it
reads in the original it must read in the copy. A disagreement is not repaired. The mail goes out
as written.

There are two ways to be sure. :func:`check` parses both texts and compares the trees. :func:`proves`
parses the copy alone and concludes what the original must be: quicker, and it only ever says yes
where the other would, for it says yes to less.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from lxml import etree

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.syntax import LEGACY, OWN, browser_url, strip_url

from .scan import CONDITION
from .template import PREFIX, Marks

_LINK_TAGS = etree.XPath('//*[self::a or self::area or starts-with(name(), "v:")]')
_SHAPE = re.compile(r"<([vV]:(?:\w+(?=[ \t\n\f\r/>]))?)", re.A)
_NOT_SHOWN = ("head", "math", "select", "svg", "template", "title")
"""Ancestors under which HTML5, unlike libxml2, drops an ``img``, moves it or never loads it."""
_HIDING = frozenset(("frameset", "math", "select", "svg", "template"))
"""In a document that has one of these, the short proof trusts in no image."""
_WORDS = "b br center code div em font h1 h2 h3 hr i li link meta script span strong style table tbody td th tr u ul"
_DULL = frozenset(_WORDS.split())
"""The most frequent tags that say nothing, and that no parser opens without being told."""
_BEFORE_BODY = frozenset(("html", "head", "title", "base"))
"""What else may come before the body. libxml2 leaves an unknown tag in the head, and then the body inside it."""
_HREF = re.compile("href", re.I | re.A)
_LITERAL = re.compile(
    rf"[!-%'-~]*+(?>(?:&(?:amp;|(?!{'|'.join(sorted(LEGACY))})[a-zA-Z][a-zA-Z0-9]*+(?!;))[!-%'-~]*+)*)"
)
"""In an attribute value: what no parser could read in another way."""

LinksSeen = Sequence[tuple[str, Mapping[str, str]]]
"""URL and attributes of links."""

LeftAlone = Callable[[LinksSeen], bool]
"""Given all links without a mark: is it right that exactly these were not tracked?"""


@dataclass(slots=True)
class _Finding:
    """What was seen of the marks."""

    marks: list[str] = field(default_factory=list)
    others: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Links that have none."""

    def judge(self, marks: Marks, left_alone: LeftAlone) -> None:
        if len(self.marks) != len(marks.hrefs) or set(self.marks) != marks.hrefs.keys():
            raise _unverified("a link is not where the scanner saw it")
        if not left_alone(self.others):
            raise _unverified("a link was missed")


def check(original: str, copy: str, marks: Marks, left_alone: LeftAlone, shown: bool = False) -> None:
    """Demand that two texts are one document, apart from the marks.

    :param original: the body as the author wrote it.
    :param copy: the body with each tracked ``href`` replaced by its mark, and with the images.
    :param marks: the marks that must be found, each exactly once.
    :param left_alone: asked about all links without a mark.
    :param shown: no marked link may be in what HTML5 does not show: a body without an image has no other witness.
    :raises RewriteError: ``empty`` if there is nothing to show, ``unverified`` if anything differs.
    """
    old = _parse(original)
    if old is None:
        raise RewriteError("empty", "nothing in the body is shown to the reader")
    new = _parse(copy)
    if new is None or PREFIX in original:
        raise _unverified("the marked copy cannot be told from the original")
    finding = _Finding()
    _compare_links(_links(old, original), _links(new, copy), marks, marks.added, finding)
    _compare_comments(list(_each(old, etree.Comment)), list(_each(new, etree.Comment)), marks, finding)
    finding.judge(marks, left_alone)
    if shown and any(_is_hidden(link) for link in _links(new, copy) if link.get("href") in marks.hrefs):
        raise _unverified("a link would stand where none is shown")
    for point in marks.points:
        _take_out_image(point, old, new)
    if _dump(old) != _dump(new):
        raise _unverified("the marked copy is another document")


def proves(original: str, copy: str, marks: Marks, left_alone: LeftAlone) -> bool:
    """Tell whether the copy alone proves that it is the original, apart from the marks.

    A parser reads from front to back. Where a mark is the whole of an attribute's value, between two
    quotes, and so the source it stands for holds none of them, the parser is in the same state behind
    either. Where an image directly follows a comment in an open body, it has opened nothing, and by the
    HTML Standard it closes nothing. And as both stand between two tokens, they part no tag or
    reference. Hence the original would be read as the copy was, without the images.

    :param copy: with a probe before each image.
    :returns: False if that does not settle it; then ask :func:`check`.
    """
    if original.rfind(PREFIX) != -1 or (marks.added and marks.hrefs) or marks.undo_in_quotes(copy) != original:
        return False
    witness = _parse(copy, _Witness())
    if witness.hides or witness.images != [PREFIX + point for point in marks.points]:
        return False
    finding = _Finding()
    for href, attributes in witness.links:
        _note(href, attributes, finding)
    # A URL with a ">" might end its comment early.
    if any(">" in marks.hrefs.get(mark, ">") for text in witness.conditional for mark in _note_hidden(text, finding)):
        return False
    try:
        finding.judge(marks, left_alone)
    except RewriteError:
        return False
    return _leads_where_it_did(marks)


class _Witness:
    """What libxml2 reads, told while it reads: that takes less time than building a tree."""

    def __init__(self) -> None:
        self.links: list[tuple[str, dict[str, str]]] = []
        """The ``href`` and all attributes of each link."""
        self.conditional: list[str] = []
        """What Outlook may read links in: the inside of conditional comments."""
        self.images: list[str] = []
        """Addresses of the images in the body that stand directly behind a probe of theirs."""
        self.hides = False
        """Whether an image may be in what is not shown."""
        self._probe = ""
        self._in_body = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Hear of a start tag, or of an element that libxml2 opens without one."""
        if tag in _DULL:
            return
        if not self._in_body and tag not in _BEFORE_BODY:
            self._in_body = tag == "body"
            self.hides = self.hides or not self._in_body
        if tag == "a" or tag == "area" or tag.startswith("v:"):
            if (href := attributes.get("href")) is not None:
                self.links.append((href, attributes))
        elif tag == "img":
            if self._probe.startswith(PREFIX) and attributes.get("src") == self._probe and self._in_body:
                self.images.append(self._probe)
        elif tag in _HIDING:
            self.hides = True
        self._probe = ""

    def comment(self, text: str) -> None:
        """Hear of a comment."""
        self._probe = text
        if text.startswith("[") and (condition := CONDITION.match(text)) and _HREF.search(text):
            self.conditional.append(text[condition.end() :])

    def close(self) -> _Witness:
        """Hear that this was all: what the parser returns."""
        return self


# lxml asks inspect each time how many arguments this takes: 22 µs, but 2 if the answer is that nobody knows.
vars(_Witness)["start"].__signature__ = ()


def _note(href: str, attributes: Mapping[str, str], finding: _Finding) -> None:
    if href.startswith(PREFIX):
        finding.marks.append(href)
    else:
        finding.others.append((strip_url(href), attributes))


def _note_hidden(text: str, finding: _Finding) -> list[str]:
    """Note the links of a conditional comment, and return its marks."""
    before = len(finding.marks)
    for href, attributes in _parse(text, _Witness()).links:
        _note(href, attributes, finding)
    return finding.marks[before:]


def _leads_where_it_did(marks: Marks) -> bool:
    """Tell whether libxml2, too, reads each replaced value as the URL that was taken from it."""
    doubtful = [source for source in dict.fromkeys(marks.hrefs.values()) if not _LITERAL.fullmatch(source)]
    if not doubtful:
        return True
    quotes = ["'" if '"' in source else '"' for source in doubtful]
    tags = [f"<a href={quote}{source}{quote}></a>" for quote, source in zip(quotes, doubtful, strict=True)]
    root = _parse("<p>" + "".join(tags))
    read = [strip_url(link.get("href") or "") for link in root.iter("a")] if root is not None else []
    return read == [browser_url(source) for source in doubtful]


def _unverified(detail: str) -> RewriteError:
    return RewriteError("unverified", detail)


def _parse(text: str, target: Any = None) -> Any:
    # Bytes and an explicit encoding: a <meta charset> or <?xml encoding?> that lies must not be believed.
    # huge_tree: without it libxml2 silently stops at 256 levels of nesting.
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, collect_ids=False, target=target)
    return etree.fromstring(text.encode("utf-8", "replace"), parser)


def _links(root: etree._Element, text: str) -> list[etree._Element]:
    """List what may carry a link, in document order."""
    shapes = _shapes(text)
    if shapes is not None:
        return list(_each(root, "a", "area", *shapes))
    found: Any = _LINK_TAGS(root)
    return list(found)


def _shapes(text: str) -> set[str] | None:
    """Name the shapes in a text; None if libxml2 might read one of the names in its own way."""
    if text.rfind("<v:") < 0 and text.rfind("<V:") < 0:  # looking from the end takes a quarter of the time
        return set()
    shapes = {name.lower() for name in _SHAPE.findall(text)}
    return None if "v:" in shapes else shapes


def _compare_links(
    before: Sequence[etree._Element],
    after: Sequence[etree._Element],
    marks: Marks,
    added: tuple[str, str] | None,
    finding: _Finding,
) -> None:
    """Note the links, and make those of both trees alike."""
    if len(before) != len(after):
        raise _unverified("links appear or vanish")
    for was, now in zip(before, after, strict=True):
        source, mark = was.get("href"), now.get("href")
        if source is not None and mark is not None and mark in marks.hrefs:
            if browser_url(marks.hrefs[mark]) != strip_url(source):
                raise _unverified("a link would lead elsewhere")
            if added and added[0] not in was.attrib:
                if now.get(added[0]) != added[1]:
                    raise _unverified("a link lacks the attribute that it should gain")
                del now.attrib[added[0]]
            # Not the other way round: the source may hold characters that lxml reads but will not write.
            was.set("href", mark)
            finding.marks.append(mark)
        elif source is not None:
            finding.others.append((strip_url(source), _attributes(was)))
        for name in OWN.intersection(was.attrib):
            del was.attrib[name]


def _attributes(element: etree._Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.attrib.items()}


def _compare_comments(
    before: Sequence[etree._Element], after: Sequence[etree._Element], marks: Marks, finding: _Finding
) -> None:
    """Note the links in conditional comments, and make the comments of both trees alike."""
    if len(before) != len(after):
        raise _unverified("comments appear or vanish")
    for was, now in zip(before, after, strict=True):
        source, marked = str(was.text), str(now.text)
        if condition := CONDITION.match(source):
            if marks.undo(marked) != source:
                raise _unverified("a conditional comment changes")
            if _HREF.search(source):
                old, new = source[condition.end() :], marked[condition.end() :]
                inside, marked_inside = _parse(old), _parse(new)
                if inside is not None and marked_inside is not None:
                    _compare_links(_links(inside, old), _links(marked_inside, new), marks, None, finding)
            was.text = now.text = "same"


def _take_out_image(point: str, old: etree._Element, new: etree._Element) -> None:
    """Remove one image from the marked copy, and the body that libxml2 made for it alone."""
    images = [img for img in _each(new, "img") if img.get("src") == PREFIX + point]
    parent = images[0].getparent() if len(images) == 1 else None
    if parent is None or any(True for _ in _each(old, "frameset")):
        raise _unverified("there is no place where a pixel is shown exactly once")
    if _is_hidden(images[0]):
        raise _unverified("the pixel would stand where no image is shown")
    images[0].tag = "mailtrack-pixel"
    etree.strip_elements(parent, "mailtrack-pixel", with_tail=False)
    owner = parent.getparent()
    empty = not len(parent) and not parent.text
    if owner is not None and parent.tag == "body" and empty and not any(True for _ in _each(old, "body")):
        owner.remove(parent)


def _is_hidden(element: etree._Element) -> bool:
    return next(element.iterancestors(*_NOT_SHOWN), None) is not None


def _each(root: etree._Element, *tags: Any) -> Iterator[etree._Element]:
    """Go through the elements and comments of some kinds, in document order."""
    # Not by XPath: its time grows with the square of the number of comments.
    return chain.from_iterable(node.iter(*tags) for node in _roots(root))


def _roots(root: etree._Element) -> list[etree._Element]:
    """List all roots: libxml2 puts markup that follows ``</html>`` beside the first one."""
    return [*reversed(list(root.itersiblings(preceding=True))), root, *root.itersiblings()]


def _dump(root: etree._Element) -> list[str]:
    return [etree.tostring(node, encoding="unicode") for node in _roots(root)]
