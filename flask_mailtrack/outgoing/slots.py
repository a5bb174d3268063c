"""The slots of a body: which of its placeholders are filled in, and where they stand.

A placeholder is filled in only as a whole: the whole value of an attribute, or a whole word of text. In
a longer URL, ``https://example.com/?u=…`` for instance, the recipient's link would go to a stranger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import NamedTuple

from .placeholders import FOREIGN, LEADS_OUT, Placeholders, hinted, readable
from .rewriting.stretches import Stretch, stretches

# Blanks and what ends a word in any script; Chinese and Japanese put no blank before their punctuation.
_STOP = re.compile(
    r'[\s\x00-\x20\xa0\u200b\u2060\ufeff<>"`\u3001-\u3003\u3008-\u3011\u3014-\u301b！（），．：；？［］｛｝｡､｢｣]'
)
_IN_URL = frozenset("/?&#%=@\\.+")
_BEHIND = re.compile(r"[.,:;!?'*|…‥،؛؟।’‘‚”“„«»‹›)\]}_~–—-]*(?:\Z|(?<=[)\]}'’”»›]))")
_NEAR = 400
"""As far around a placeholder its word is read; in a longer word it is not filled in."""


class Slot(NamedTuple):
    """A placeholder in a body."""

    start: int
    end: int
    name: str
    """What it stands for; empty: it stays as it is."""
    leads_out: bool = False
    """Whether a reader can leave a list by it."""
    said: str = ""
    """What stays, as its author wrote it; empty where nobody need be told."""


class Slots:
    """Finds the slots of bodies.

    :param others: whether the placeholders of other services are looked for.
    :param url: returns what people are shown in place of a placeholder of ours.
    """

    def __init__(self, placeholders: Placeholders, others: bool, url: Callable[[str], str]) -> None:
        self._placeholders = placeholders
        self._pattern = placeholders.every if others else placeholders.own
        self._url = url

    def in_text(self, text: str, foreign: bool) -> list[Slot]:
        """Return the slots of a plain text, in order.

        :param foreign: whether the placeholders of other services are filled in; else they stay.
        """
        if not hinted(text):
            return []
        return list(self._in_words(text, Stretch(0, len(text)), foreign, escaped=False))

    def in_html(self, html: str, foreign: bool) -> list[Slot]:
        """Return the slots of an HTML text, in order; see :meth:`in_text`."""
        if not hinted(html):
            return []
        found: list[Slot] = []
        for stretch in stretches(html):
            if found and stretch.start < found[-1].end:  # inside the markup of a pixel
                continue
            if stretch.attribute:
                found += self._in_value(html, stretch, foreign)
            else:
                found += self._in_words(html, stretch, foreign, escaped=True)
        return found

    def _in_value(self, html: str, stretch: Stretch, foreign: bool) -> Iterator[Slot]:
        for match in self._pattern.finditer(html, stretch.start, stretch.end):
            around = html[stretch.start : match.start()] + html[match.end() : stretch.end]
            whole = not unescape(around).strip()
            if match.lastgroup == "pixel":
                whole = whole and (stretch.name, stretch.attribute) == ("img", "src")
                yield self._slot(match, stretch.tag if whole else match.span(), whole, foreign)
            elif match.lastgroup == FOREIGN:
                # A template language may be in any attribute; only of an address we know what to put there.
                whole = whole and stretch.attribute == "href"
                yield self._slot(match, match.span(), whole, foreign, stretch.followable)
            else:
                yield self._slot(match, match.span(), whole, foreign, stretch.followable)

    def _in_words(self, text: str, stretch: Stretch, foreign: bool, escaped: bool) -> Iterator[Slot]:
        images = [Slot(*match.span(), "pixel") for match in self._images(text, stretch)]
        for match in self._pattern.finditer(text, stretch.start, stretch.end):
            while images and images[0].end <= match.start():
                yield images.pop(0)
            if images and images[0].start < match.end():
                continue
            before, behind = _around(text, stretch, match, escaped)
            whole = _is_word(before, behind) and match.lastgroup != "pixel"
            slot = self._slot(match, match.span(), whole, foreign, not escaped)
            in_prose = match.lastgroup == FOREIGN and not whole and "://" not in before
            yield slot._replace(said="") if in_prose else slot
        yield from images

    def _images(self, text: str, stretch: Stretch) -> Iterator[re.Match[str]]:
        return self._placeholders.images.finditer(text, stretch.start, stretch.end)

    def _slot(
        self, match: re.Match[str], span: tuple[int, int], whole: bool, foreign: bool, followable: bool = False
    ) -> Slot:
        name = match.lastgroup or ""
        if whole and (foreign or name != FOREIGN):
            return Slot(*span, name, followable and name in LEADS_OUT)
        return Slot(*span, "", said=self._placeholders.shown(readable(match[0]), self._url))


def _around(text: str, stretch: Stretch, match: re.Match[str], escaped: bool) -> tuple[str, str]:
    """Return what stands in the same word before and behind a match."""
    before = text[max(stretch.start, match.start() - _NEAR) : match.start()]
    behind = text[match.end() : min(stretch.end, match.end() + _NEAR)]
    if escaped:
        before, behind = unescape(before), unescape(behind)
    if match.start() - stretch.start > _NEAR and not _STOP.search(before):
        before = f"/{before}"  # nobody knows what it is the end of
    return _STOP.split(before)[-1], _STOP.split(behind, maxsplit=1)[0]


def _is_word(before: str, behind: str) -> bool:
    last = before[-1:]
    if (last.isalnum() and last < "\u2e80") or not _IN_URL.isdisjoint(before):
        return False
    return _BEHIND.match(behind) is not None
