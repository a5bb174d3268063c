"""What a reader sees of a link."""

from __future__ import annotations

import functools
import html
import re

from .attributes import decode, lower
from .scan import LinkTag, Page
from .syntax import ATTRIBUTES, Attributes

LOOK_AHEAD = 2_000
"""Characters of the source that are read behind a link's start tag."""
LENGTH = 80
"""Characters of the text that is kept with a link."""

# Each alternative takes all that is left if its end is missing: that keeps the whole linear.
_MARKUP = re.compile(
    r"<(?:!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|(?P<raw>(?ai:script|style|title|iframe|noembed|noframes))(?=[ \t\n\f\r/>])"
    r".*?(?:(?=</(?ai:(?P=raw))[ \t\n\f\r/>])|\Z)"
    rf"|/?(?P<name>[a-zA-Z][^ \t\n\f\r/>]*+)(?:(?P<attributes>{ATTRIBUTES})>|.*)"
    r"|[!?/][^>]*+(?:>|\Z))",
    re.DOTALL,
)
_ALT = Attributes(frozenset(("alt",)))
_WORDS = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q s samp small span strike"
    " strong sub sup time tt u var wbr"
)
_INLINE = frozenset(_WORDS.split())
"""Tags that stand within a word; all others part words."""


def link_text(page: Page, tag: LinkTag) -> str:
    """Return the visible text of a link, or what stands for it: the ``alt`` of its first image.

    :returns: white space collapsed; at most :data:`LOOK_AHEAD` characters of the source are read.
    """
    if tag.name == "area":
        return _clean(page.values(tag, ("alt",)).get("alt", "")[:LOOK_AHEAD])
    return _shown(page.text[tag.inside_start : min(tag.inside_end, tag.inside_start + LOOK_AHEAD)])


@functools.lru_cache(1_024)  # as with addresses
def _shown(source: str) -> str:
    if "<" not in source:
        return _clean(html.unescape(source))
    pieces = []
    alternative = ""
    seen_image = False
    position = 0
    for markup in _MARKUP.finditer(source):
        pieces.append(html.unescape(source[position : markup.start()]))
        position = markup.end()
        name = lower(markup["name"] or "")
        if name and name not in _INLINE:
            pieces.append(" ")
        if name == "img" and not seen_image and source[markup.start() + 1] != "/":
            seen_image = True
            alternative = _alt(source, *markup.span("attributes"))
    pieces.append(html.unescape(source[position:]))
    return _clean("".join(pieces)) or _clean(alternative)


def shorten(text: str) -> str:
    """Cut a text to the length that is kept."""
    return text[:LENGTH].rstrip()


def _alt(source: str, start: int, end: int) -> str:
    for attribute in _ALT.read(source, start, end):  # of a tag that is cut off there are none
        return decode(source[attribute.value_start : attribute.value_end])
    return ""


def _clean(text: str) -> str:
    text = " ".join(text.replace("\0", "").split())
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a character: joined with its other half, else replaced, for no database takes it.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
