"""The stretches of an HTML text: what is text, what is the value of an attribute, and what nobody sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

from .syntax import COMMENT_END, CONDITION, RAW_TEXT, TOKEN, Attribute, lower, raw_text_end, read_attributes

_END_OF_LINK = re.compile(r"</?a(?=[ \t\n\f\r/>])", re.IGNORECASE)
_SEEN = re.compile(r"<(?:img|amp-img|svg|button|input)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


class Stretch(NamedTuple):
    """A stretch of the source that a placeholder may stand in."""

    start: int
    end: int
    attribute: str = ""
    """The name of the attribute whose value it is, in lower case; empty: it is not inside a tag."""
    tag: tuple[int, int] = (0, 0)
    """Where the tag of that attribute stands."""
    name: str = ""
    """The name of the tag."""
    followable: bool = False
    """Whether it is the address of a link that a reader sees."""


def stretches(text: str, start: int = 0, end: int | None = None, *, hidden: bool = False) -> Iterator[Stretch]:
    """Read a document once, in time that grows with its length.

    :param hidden: inside a conditional comment: Outlook reads it, nobody else does.
    """
    position, end = start, len(text) if end is None else end
    while token := TOKEN.search(text, position, end):
        if position < token.start():
            yield Stretch(position, token.start())
        if token["comment"]:
            inside, position = _comment(text, token.end(), end)
            condition = None if hidden else CONDITION.match(text, token.end(), inside)
            if condition:
                yield from stretches(text, condition.end(), inside, hidden=True)
            else:
                yield Stretch(token.end(), inside)
        elif token["bogus"]:
            position = text.find(">", token.start(), end) + 1 or end
            yield Stretch(token.start(), position)
        elif not token["end"]:  # the document breaks off in a tag
            yield Stretch(token.start(), end)
            return
        else:
            position = token.end()
            if not token["slash"]:
                yield from _values(text, token, end, hidden)
                if raw := _raw_text(text, lower(token["name"]), position, end):
                    yield raw
                    position = raw.end
    if position < end:
        yield Stretch(position, end)


def _comment(text: str, inside: int, end: int) -> tuple[int, int]:
    """Return where the inside of a comment ends, and where the comment ends."""
    if text.startswith((">", "->"), inside, end):
        return inside, text.index(">", inside) + 1
    closing = COMMENT_END.search(text, inside, end)
    return closing.span() if closing else (end, end)


def _raw_text(text: str, name: str, position: int, end: int) -> Stretch | None:
    if name == "plaintext":
        return Stretch(position, end)
    if name != "script" and name not in RAW_TEXT:
        return None
    closing = raw_text_end(name, text, position, end)
    return Stretch(position, end if closing is None else closing)


def _values(text: str, token: re.Match[str], end: int, hidden: bool) -> Iterator[Stretch]:
    name = lower(token["name"])
    attributes = read_attributes(text, *token.span("attributes"))
    href = next((a for a in attributes if a.name == "href"), None) if name in ("a", "area") and not hidden else None
    for attribute in attributes:
        if attribute.value_start < attribute.value_end:
            followable = attribute is href and _is_seen(text, name, attributes, token.end(), end)
            place = (attribute.value_start, attribute.value_end, attribute.name)
            yield Stretch(*place, token.span(), name, followable)


def _is_seen(text: str, name: str, attributes: list[Attribute], position: int, end: int) -> bool:
    """Say whether a link shows anything that can be clicked."""
    for attribute in attributes:
        value = text[attribute.value_start : attribute.value_end]
        if attribute.name == "hidden" or (attribute.name == "style" and _HIDDEN.search(value)):
            return False
    if name == "area":
        return True
    closing = _END_OF_LINK.search(text, position, end)
    inside = text[position : closing.start() if closing else end]
    return bool(_SEEN.search(inside) or unescape(_TAG.sub("", inside)).strip())
