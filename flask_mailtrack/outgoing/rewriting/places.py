"""Where a body begins to be shown."""

from __future__ import annotations

from .attributes import lower
from .scan import Page
from .syntax import COMMENT_END, TOKEN, raw_text_end

_BLANKS = " \t\n\f\r"
# What HTML5 reads before a body without opening one (HTML Standard, 13.2.6.4.1 to 6).
_BEFORE_BODY = frozenset(("html", "head", "base", "basefont", "bgsound", "link", "meta", "noscript"))
_CELLS = frozenset(("caption", "tbody", "td", "tfoot", "th", "thead", "tr"))
_RAW_IN_HEAD = frozenset(("noframes", "script", "style", "title"))
_OPENS_BODY_AT_ITS_END = frozenset(("body", "html", "br"))


def start_points(page: Page) -> list[int]:
    """Return where an image may be put so that it is shown first of all, the best place first.

    Behind the first ``<body>``; without one before the first content, or before the blanks before it.
    """
    blanks, content = _content(page.text)
    points = (page.body_start, content, blanks)
    return list(dict.fromkeys(point for point in points if point is not None))


def in_open_link(page: Page) -> int | None:
    """Return where the link begins that the author never closed and that the end of the body would stand in."""
    end = len(page.text) if page.unclosed is None else page.unclosed
    for tag in reversed(page.tags):
        if tag.name == "a" and not tag.hidden:
            href = tag.href
            if href is None or tag.inside_end < end or _cell_ends(page.text, tag.inside_start, page.pixel_point):
                return None
            return href.start
    return None


def _cell_ends(text: str, position: int, end: int) -> bool:
    """Tell whether the table cell ends in which *position* is: with it ends a link (HTML Standard, 13.2.4.3)."""
    depth = 0
    for token in TOKEN.finditer(text, position, end):
        name = lower(token["name"] or "")
        if name == "table":
            depth += -1 if token["slash"] else 1
        if depth < 0 or (depth == 0 and name in _CELLS):
            return True
    return False


def _content(text: str) -> tuple[int, int]:
    """Return where the blanks before the first content begin, and where they end."""
    position = 0
    while True:
        blanks = position
        while position < len(text) and text[position] in _BLANKS:
            position += 1
        behind = _behind_construct(text, position)
        if behind is None:
            return blanks, position
        position = behind


def _behind_construct(text: str, position: int) -> int | None:
    """Return the end of what stands here if it is no content."""
    if not (token := TOKEN.match(text, position)):
        return None
    if token["comment"]:
        inside = token.end()
        if text.startswith((">", "->"), inside):
            return text.index(">", inside) + 1
        closing = COMMENT_END.search(text, inside)
        return closing.end() if closing else None
    if token["bogus"]:
        return text.find(">", position) + 1 or None
    name = lower(token["name"])
    if not token["end"]:
        return None
    if token["slash"]:
        return None if name in _OPENS_BODY_AT_ITS_END else token.end()
    if name in _RAW_IN_HEAD:
        return raw_text_end(name, text, token.end(), len(text))
    return token.end() if name in _BEFORE_BODY else None
