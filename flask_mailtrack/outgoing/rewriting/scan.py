"""Where things stand in an HTML text: a tokenizer after the HTML Standard, 13.2.5, in linear time.

It builds no tree. It walks from one telling ``<`` to the next and notes the exact position of the few
things a rewriter needs, so that everything else can be sent byte for byte as the author wrote it. It finds where the
body begins to be shown, and it watches the time that one body may take.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Container, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.syntax import (
    COMMENT_END,
    CONDITION,
    CONTENT,
    RAW_TEXT,
    STEP,
    TELLING,
    TOKEN,
    Attribute,
    Attributes,
    decode,
    lower,
    raw_text_end,
    read_attributes,
)


class Deadline:
    """A moment after which a body is sent as written.

    :param seconds: from now.
    :param clock: what tells the time.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def check(self) -> None:
        """Go on, or give up.

        :raises RewriteError: ``too_slow``.
        """
        if self._clock() > self._end:
            raise RewriteError("too_slow", f"more than {self._seconds} seconds")


_BLANKS = " \t\n\f\r"
# What HTML5 reads before a body without opening one (HTML Standard, 13.2.6.4.1 to 6).
_BEFORE_BODY = frozenset(("html", "head", "base", "basefont", "bgsound", "link", "meta", "noscript"))
_CELLS = frozenset(("caption", "tbody", "td", "tfoot", "th", "thead", "tr"))
_RAW_IN_HEAD = frozenset(("noframes", "script", "style", "title"))
_OPENS_BODY_AT_ITS_END = frozenset(("body", "html", "br"))


def start_points(page: ScannedHtml) -> list[int]:
    """Return where an image may be put so that it is shown first of all, the best place first.

    Behind the first ``<body>``; without one before the first content, or before the blanks before it.
    """
    blanks, content = _content(page.text)
    points = (page.body_start, content, blanks)
    return list(dict.fromkeys(point for point in points if point is not None))


def in_open_link(page: ScannedHtml) -> int | None:
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


__all__ = ["CONDITION", "Attribute", "LinkTag", "ScannedHtml", "scan"]

_AMP_MARKS = frozenset({"amp4email", "\u26a14email"})
_NAMES = TELLING | {"alt", "href"}
_BETWEEN_LOOKS = 256
"""Steps between two looks at the clock."""


class LinkTag(NamedTuple):
    """A start tag that may carry a link: ``a``, ``area`` or one of Outlook's ``v:`` shapes."""

    attributes: tuple[Attribute, ...]
    """Those that a rewriter looks at."""
    hidden: bool
    """Inside a conditional comment: Outlook reads it, an HTML parser does not."""
    name: str
    inside_start: int
    inside_end: int
    """Where the content ends: at its end tag, at the next link, or where the document breaks off."""

    @property
    def href(self) -> Attribute | None:
        """The first ``href``, the only one that counts, if it has a value."""
        for attribute in self.attributes:
            if attribute.name == "href":
                return attribute if attribute.value_start < attribute.value_end else None
        return None


@dataclass(frozen=True, slots=True)
class ScannedHtml:
    """What :func:`scan` found."""

    text: str
    tags: tuple[LinkTag, ...]
    """In document order."""
    body_end: int | None
    """The last ``</body>``."""
    html_end: int | None
    """The last ``</html>``."""
    unclosed: int | None
    """Start of a tag, comment or raw text that the document ends in."""
    amp: bool
    """The page declares itself AMP for e-mail, where a plain ``<img>`` is not valid."""
    body_start: int | None = None
    """Behind the first ``<body>``."""

    @property
    def pixel_point(self) -> int:
        """Where an image is shown last of all, without moving anything else."""
        for point in (self.body_end, self.html_end, self.unclosed):
            if point is not None:
                return point
        return len(self.text)

    def values(self, tag: LinkTag, names: Container[str] | None = None) -> dict[str, str]:
        """Return the decoded attributes of a tag, all or some; of two with one name the first counts."""
        values: dict[str, str] = {}
        for attribute in tag.attributes:
            if (names is None or attribute.name in names) and attribute.name not in values:
                values[attribute.name] = decode(self.text[attribute.value_start : attribute.value_end])
        return values


def scan(text: str, deadline: Deadline | None = None, names: Set[str] = frozenset()) -> ScannedHtml:
    """Read a document once, from front to back.

    :param names: further attributes of links to look at, in lower case.
    :raises RewriteError: ``too_slow``, if there is a deadline and it has passed.
    """
    scanner = _Scanner(text, deadline, _reader(_NAMES | names))
    unclosed = scanner.walk(0, len(text), hidden=False)
    return ScannedHtml(
        text=text,
        tags=tuple(map(LinkTag._make, scanner.tags)),
        body_end=scanner.last_end_tag.get("body"),
        html_end=scanner.last_end_tag.get("html"),
        unclosed=unclosed,
        amp=scanner.amp,
        body_start=scanner.body_start,
    )


_reader = functools.lru_cache(16)(Attributes)


class _UnclosedError(Exception):
    """The document ends inside the construct that starts at a position."""

    def __init__(self, position: int) -> None:
        self.position = position


class _Scanner:
    """The state of one walk; every ``_after_*`` method returns where the next token may start."""

    def __init__(self, text: str, deadline: Deadline | None, attributes: Attributes) -> None:
        self.text = text
        self.tags: list[list[Any]] = []
        """The fields of each :class:`LinkTag`; the last one is known when the tag is closed."""
        self.last_end_tag: dict[str, int] = {}
        self.body_start: int | None = None
        self.amp = False
        self._deadline = deadline
        self._attributes = attributes
        self._steps = 0

    def walk(self, position: int, end: int, *, hidden: bool) -> int | None:
        """Collect from a stretch of text; return the start of a construct that it cuts off."""
        opened: dict[str, list[Any]] = {}
        unclosed = None
        try:
            while position < end and (step := STEP.match(self.text, position, end)):
                self._steps += 1
                if self._deadline and self._steps % _BETWEEN_LOOKS == 0:
                    self._deadline.check()
                position = self._after(step, end, hidden, opened)
        except _UnclosedError as error:
            unclosed = error.position
        for tag in opened.values():
            tag[-1] = end if unclosed is None else unclosed
        return unclosed

    def _after(self, step: re.Match[str], end: int, hidden: bool, opened: dict[str, list[Any]]) -> int:
        kind = step.lastgroup
        if kind == "end":  # of a tag
            slash, name = step.group("slash", "name")
            name = lower(name)
            if not slash:
                return self._after_start_tag(step, name, end, hidden, opened)
            position = step.start("slash") - 1
            if tag := opened.pop(name, None):
                tag[-1] = position
            if not hidden:
                self.last_end_tag[name] = position
        elif kind == "comment":
            return self._after_comment(step.end(), end, hidden)
        elif kind == "bogus":
            return self._behind_next_bracket(step.start("bogus") - 1, end)
        elif kind:
            raise _UnclosedError(step.start("slash") - 1)
        return step.end()

    def _behind_next_bracket(self, start: int, end: int) -> int:
        bracket = self.text.find(">", start, end)
        if bracket < 0:
            raise _UnclosedError(start)
        return bracket + 1

    def _after_comment(self, inside: int, end: int, hidden: bool) -> int:
        start = inside - len("<!--")
        if self.text.startswith((">", "->"), inside, end):  # <!--> and <!---> close themselves
            return self._behind_next_bracket(start, end)
        closing = COMMENT_END.search(self.text, inside, end)
        stop = closing.start() if closing else end
        # Outlook reads on behind the condition; conditional comments do not nest.
        if not hidden and (condition := CONDITION.match(self.text, inside, stop)):
            self.walk(condition.end(), stop, hidden=True)
        if not closing:
            raise _UnclosedError(start)
        return closing.end()

    def _after_start_tag(
        self, token: re.Match[str], name: str, end: int, hidden: bool, opened: dict[str, list[Any]]
    ) -> int:
        behind = token.end()
        if name in ("a", "area") or name.startswith("v:"):
            return self._after_link(token, name, end, hidden, opened)
        if name == "script" or name in RAW_TEXT:
            closing = raw_text_end(name, self.text, behind, end)
            if closing is None:
                raise _UnclosedError(token.start("slash") - 1)
            return closing
        if name == "plaintext":
            raise _UnclosedError(token.start("slash") - 1)
        if name == "html" and not hidden:
            self.amp = self.amp or self._declares_amp(token)
        elif name == "body" and not hidden and self.body_start is None:
            self.body_start = behind
        return behind

    def _after_link(self, token: re.Match[str], name: str, end: int, hidden: bool, opened: dict[str, list[Any]]) -> int:
        behind = token.end()
        attributes = tuple(self._attributes.read(self.text, *token.span("attributes")))
        tag = [attributes, hidden, name, behind, behind]
        self.tags.append(tag)
        if before := opened.pop(name, None):
            before[-1] = token.start("slash") - 1
        if name == "a" and (content := CONTENT.match(self.text, behind, end)):
            tag[-1] = content.end()
            return content.end() + len("</a>")
        # <v:rect/> is XML, where the slash counts.
        if name != "area" and not (name != "a" and self.text[behind - 2] == "/"):
            opened[name] = tag
        return behind

    def _declares_amp(self, token: re.Match[str]) -> bool:
        names = (attribute.name for attribute in read_attributes(self.text, *token.span("attributes")))
        # An emoji keyboard adds U+FE0F to the lightning sign.
        return any(name.replace("\ufe0f", "") in _AMP_MARKS for name in names)
