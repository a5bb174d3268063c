"""Text that is no HTML, or must not be changed as HTML: its links and its placeholders.

URLs in plain text have no marks, and every mail client guesses where a URL begins and ends. URLs in angle brackets
follow RFC 3986, appendix C. Bare URLs follow the rules that clients share; the text converter of Thunderbird
(``mozTXTToHTMLConv``) and the extended autolinks of GitHub's Markdown are public. If clients disagree so much that a
tracked URL could lead elsewhere, the author's text stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from .placeholders import Slot

__all__ = ["TextLink", "TextTemplate", "compile", "find"]

# White space and controls of any script, and characters that are invisible or turn the direction. The joiners
# U+200C and U+200D are not among them, because Persian and Hindi words need them.
_BLANK = (
    r"\x00-\x20\x7f-\xa0\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f\u2060\u2066-\u2069\u3000\ufeff"
)
# Chinese and Japanese put no blank between a URL and their punctuation.
_FULL_WIDTH = "、。〈〉《》「」『』【】〔〕〖〗！（），．：；？［］｛｝｡､｢｣"
_STOP = rf'{_BLANK}<>"`{_FULL_WIDTH}'
_QUOTES = "’‘‚”“„«»‹›"

_TRAILING = f".,:;!?'*|…‥،؛؟।{_QUOTES}"
"""Marks that end a sentence, a quotation, bold text or a table cell. Tokens end in ``_``, ``-``, ``=`` and ``/``."""
_EMPHASIS = "_~"
"""Marks of emphasis. Many tokens end in them, so they end a URL only if emphasis has begun before it."""
_QUOTED = {"''", "’’", "‘’", "‚’", "‚‘", "“”", "„“", "„”", "«»", "»«", "‹›", "›‹"}
"""Marks that begin a quotation before a URL, each with the mark that ends it."""
_OPENING = {")": "(", "]": "[", "}": "{"}

# The letters of alphabets that put blanks between words (Latin, Greek, Cyrillic), and the characters of a scheme.
_LETTER = r"0-9a-z\xc0-\xd6\xd8-\xf6\xf8-\u024f\u0370-\u052f\u1e00-\u1fff"
_HTTP = "(?ai:https?://)"  # ASCII, because ſ would count as an s
_START = re.compile(
    rf"""<(?:url:)?[ \t\r\n]*+(?P<angle>(?={_HTTP}))
       # Directly behind one of these a URL is part of a longer one.
       | (?P<inside>[?&][\w.~-]*+=|[/?&#%@\\])?
         # A word is read from where it begins: ``xhttps://``, ``git+https://`` and ``me.https://`` are others.
         (?<![{_LETTER}+._-])[+._-]*+
         (?:(?P<url>{_HTTP})|[{_LETTER}][{_LETTER}+._-]*+://|mailto:|www\.)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_SEGMENT = rf'[^{_BLANK}<>"]++'
_BREAK = r"[ \t]*+\r?\n[ \t]*+"
_DELIMITED = re.compile(
    rf"(?P<url>{_HTTP}{_SEGMENT}(?>(?:{_BREAK}(?!{_HTTP}){_SEGMENT})*))(?:(?P<broken>{_BREAK})|[ \t]*+)>"
)
_UNCLEAR = re.compile(r'(?>(?:[^<>"\n]|\n(?![ \t\r]*+\n))*)>')
# Clients disagree on the characters after a host, and read them in another way after a path, which a tracked URL has.
# A top-level domain that is only half ASCII means that the author wrote on without a blank.
_ODD_HOST = re.compile(
    rf"(?>(?:\[[0-9a-fA-F:.]+])?)[^/?#([{{,;!'*|…{_QUOTES}]*+[^/?#]|(?>(?:[^/?#.]*+\.)*)[a-zA-Z]++[^\0-\x7f]"
)
_NOTABLE = re.compile(rf"[{_STOP}()[\]{{}}|'{_QUOTES}]")
_ANOTHER = re.compile(_HTTP)
# Variables of template languages begin with these. If one stands at the end of a URL, the real end is not known.
_VARIABLE = re.compile(r"<%|\*\|")
_NEAR = 200
"""Characters before a URL that are read for its context. Without a limit, the time would grow with the square."""


@dataclass(frozen=True, slots=True)
class TextLink:
    """A URL in a text."""

    start: int
    end: int
    """``body[start:end]`` is replaced: in angle brackets, everything between them, with line breaks."""
    url: str
    """The destination. The lines of a wrapped URL are joined."""


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text cut open at its links. It is immutable, so threads may share it."""

    links: tuple[str, ...]
    """The distinct destinations, in the order of their first occurrence."""
    _parts: tuple[str, ...]
    """The author's text at even places, and a gap for a URL at odd places."""
    _gaps: tuple[int | str, ...]
    """For each gap, the number of its URL, or the name of its slot."""

    def render(self, urls: Sequence[str], fill: Mapping[str, str] = MappingProxyType({})) -> str:
        """Write the text for one recipient.

        :param urls: ``urls[k]`` replaces each occurrence of ``links[k]``, as it is. Given ``links``, the text
            comes back as it was, but for the white space of URLs that were wrapped in angle brackets.
        :param fill: the values of the slots; a slot without a value disappears.
        :raises ValueError: there is not one URL for each link.
        """
        if len(urls) != len(self.links):
            raise ValueError(f"This text has {len(self.links)} links, but {len(urls)} URLs were given.")
        parts = list(self._parts)
        parts[1::2] = [urls[gap] if isinstance(gap, int) else fill.get(gap, "") for gap in self._gaps]
        return "".join(parts)


def compile(body: str, refuse: Callable[[str], str | None], slots: Sequence[tuple[int, int, str]] = ()) -> TextTemplate:
    """Prepare a text for any number of recipients.

    :param body: the text as the author wrote it.
    :param refuse: given a URL, returns None to track it, else a reason; asked once for each distinct URL.
    :param slots: start, end and name of each placeholder, in order; one without a name stays as it is. A URL
        that contains or touches a placeholder is left alone.
    """
    verdicts: dict[str, str | None] = {}
    places: dict[str, int] = {}
    cuts: list[tuple[int, int, int | str]] = [slot for slot in slots if slot[2]]
    next_slot = 0
    for link in find(body):
        while next_slot < len(slots) and slots[next_slot][1] < link.start:
            next_slot += 1
        if next_slot < len(slots) and slots[next_slot][0] <= link.end:
            continue
        if link.url not in verdicts:
            verdicts[link.url] = refuse(link.url)
        if verdicts[link.url] is None:
            cuts.append((link.start, link.end, places.setdefault(link.url, len(places))))
    parts: list[str] = []
    gaps: list[int | str] = []
    position = 0
    for start, end, gap in sorted(cuts, key=itemgetter(0)):
        parts += (body[position:start], "")
        gaps.append(gap)
        position = end
    return TextTemplate(tuple(places), (*parts, body[position:]), tuple(gaps))


def find(body: str) -> Iterator[TextLink]:
    """Find the http and https URLs of a text, in order. The time grows with the length of the text only.

    A URL in angle brackets, also as ``<URL:…>``, is all the text between them; white space around a line break is
    ignored (RFC 3986, appendix C). A bare URL ends before a blank, one of ``<>"``, a backtick, full-width punctuation
    or a closing bracket that the URL did not open. Trailing punctuation is not part of it. URLs within other words
    and within other URLs do not count.
    """
    position = 0
    while match := _START.search(body, position):
        link: TextLink | None = None
        start = match.end()
        if match["angle"] is not None:
            link, position = _delimited(body, start)
        elif match["url"] and not match["inside"]:
            link, position = _bare(body, match.start("url"), start)
        else:
            position = _latest_end(body, start, "", False)
        if link:
            yield link


def _delimited(body: str, start: int) -> tuple[TextLink | None, int]:
    """Read the URL behind ``<``. Return the URL, and the position to go on from."""
    match = _DELIMITED.match(body, start)
    if not match:
        # A blank within a line: Thunderbird reads the rest as part of the URL, other clients do not.
        if unclear := _UNCLEAR.match(body, start):
            return None, unclear.end()
        return None, start  # the bracket is not closed, so a bare URL begins here
    if match["broken"] and body.startswith(">", body.rfind("\n", 0, start) + 1):
        return None, match.end()  # the ">" on the next line is a mark of quotation
    return TextLink(start, match.end("url"), "".join(match["url"].split())), match.end()


def _bare(body: str, start: int, host: int) -> tuple[TextLink | None, int]:
    """Read a URL without delimiters. Return the URL, and the position to go on from."""
    before = body[max(0, start - _NEAR) : start].rpartition("\n")[2]
    in_table = " |" in before or before.startswith("|") or before.endswith("|")
    stop = _latest_end(body, host, before[-1:], in_table)
    end = _without_trailing(body, stop, before)
    if end == host or _ODD_HOST.match(body, host, end) or _VARIABLE.search(body, end, stop + 2):
        return None, stop
    return TextLink(start, end, body[start:end]), stop


def _latest_end(body: str, position: int, before: str, in_table: bool) -> int:
    """Return the latest possible end of a URL.

    :param before: the character before the URL, which may begin a quotation.
    :param in_table: whether the URL is in a table cell, which a ``|`` ends.
    """
    depth = {"(": 0, "[": 0, "{": 0}
    for match in _NOTABLE.finditer(body, position):
        character, here = match.group(), match.start()
        if character in depth:
            if _ANOTHER.match(body, here + 1):  # "text(https://…)"
                return here
            depth[character] += 1
        elif opening := _OPENING.get(character):
            if not depth[opening]:
                return here
            depth[opening] -= 1
        elif character == "|":
            if in_table:
                return here
        elif character == "'" or character in _QUOTES:
            apostrophe = character in "'’" and body[here + 1 : here + 2].isalnum()  # 'https://…/it's'
            if before + character in _QUOTED and not apostrophe:
                return here
        else:
            return here
    return len(body)


def _without_trailing(body: str, stop: int, before: str) -> int:
    """Return the end of a URL without trailing punctuation and marks of emphasis.

    The slashes of the scheme always belong to the URL.
    """
    emphasis: dict[str, int] = {}
    end = stop
    while (last := body[end - 1]) in _TRAILING or last in _EMPHASIS:
        if last in _EMPHASIS:
            if last not in emphasis:
                emphasis[last] = _opened(before, last)
            if not emphasis[last]:
                break
            emphasis[last] -= 1
        end -= 1
    return end


def _opened(before: str, mark: str) -> int:
    """Return the number of marks that begin the emphasis around a URL, given the line before the URL."""
    after = before.rfind(mark) + 1
    first = len(before[:after].rstrip(mark))
    apart = before[first - 1 : first].isalnum() or before[after : after + 1].isspace()
    return 0 if apart else after - first


@dataclass(frozen=True, slots=True)
class AsWritten:
    """A body in which only placeholders change. It is cut open at the placeholders once, for all copies."""

    source: str
    slots: Sequence[Slot] = ()
    """The slots in order. One without a name stays."""
    _parts: list[str] = field(init=False)
    """The author's text at even places, and the name of a slot at odd places."""

    def __post_init__(self) -> None:
        parts: list[str] = []
        position = 0
        for slot in self.slots:
            if slot.name:
                parts += (self.source[position : slot.start], slot.name)
                position = slot.end
        object.__setattr__(self, "_parts", [*parts, self.source[position:]])

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return the body with its placeholders replaced. One without a value disappears. Links stay as they are."""
        if len(self._parts) == 1:
            return self.source
        parts = list(self._parts)
        parts[1::2] = [fill.get(name, "") for name in parts[1::2]]
        return "".join(parts)

    @property
    def names(self) -> frozenset[str]:
        """The names of the slots."""
        return frozenset(self._parts[1::2])

    @property
    def rest(self) -> str:
        """The text that is the same in every copy."""
        return "".join(self._parts[::2])


@dataclass(frozen=True, slots=True)
class Filled(AsWritten):
    """A plain-text body with tracked links."""

    template: TextTemplate = field(kw_only=True)

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return the text with links and placeholders replaced."""
        # super() needs the name here: a dataclass with slots is a new class, which super() alone does not find.
        return AsWritten.render(self, None, fill) if urls is None else self.template.render(urls, fill)


_SEALED = re.compile(r"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)


def is_sealed(body: str) -> bool:
    """Say whether *body* is signed or encrypted (RFC 9580, section 6). Any change would break the seal."""
    return "-----BEGIN PGP" in body and _SEALED.search(body) is not None


def plain(part: Any, charset: str = "utf-8") -> Any:
    """Return *part* as a plain ``str``: from bytes in *charset*, from a lazy string, or from markup.

    Bytes that are not of *charset* are kept as lone surrogates (PEP 383).
    """
    if part is None or type(part) is str:
        return part
    if isinstance(part, bytes | bytearray):
        return part.decode(charset, "surrogateescape")
    return str.__str__(part if isinstance(part, str) else str(part))


def with_footer(body: str, footer: str) -> str:
    """Return *body* with *footer* on lines of its own."""
    return f"{body.rstrip()}\n\n{footer}" if footer else body
