"""Marks: what stands in a copy of the body where it will differ, for the judge to find."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from .syntax import decode, read_attributes
from .template import END, START, Cut

# Drawn anew for each process, so no author can know it; the judge looks for it in the body all the same.
PREFIX = f"https://{secrets.token_hex(20)}.invalid/"

_QUOTES = ('"', "'")
_ANYWHERE = re.compile(rf'("?)({re.escape(PREFIX)}\d+\.)("?)')


@dataclass(frozen=True, slots=True)
class Marks:
    """URLs that stand for nothing but their own place in the marked copy."""

    hrefs: dict[str, str]
    """The source text that each mark replaces, in document order."""
    unquoted: frozenset[str] = frozenset()
    """Marks of values that stood without quotes, and gain a pair in the copy."""
    points: tuple[str, ...] = (END,)
    """Names of the places where an image is inserted."""
    added: tuple[str, str] | None = None
    """Name and value of the attribute that marked links gain."""

    @classmethod
    def for_cuts(cls, source: str, gaps: Sequence[Cut], attribute: str = "") -> Marks:
        """Make one mark for each link and each point that is cut out.

        :param attribute: the markup that tracked links gain.
        """
        links = [cut for cut in gaps if isinstance(cut.value, int)]
        marks = [f"{PREFIX}{number}." for number in range(len(links))]
        added = [
            (a.name, decode(attribute[a.value_start : a.value_end]))
            for a in read_attributes(attribute, 0, len(attribute))
        ]
        return cls(
            hrefs={mark: source[cut.start : cut.end] for mark, cut in zip(marks, links, strict=True)},
            unquoted=frozenset(mark for mark, cut in zip(marks, links, strict=True) if not cut.quoted),
            points=tuple(cut.value for cut in gaps if isinstance(cut.value, str) and cut.value in (START, END)),
            added=added[0] if added else None,
        )

    @staticmethod
    def probe(point: str) -> str:
        """Return the comment that may stand before an image: it shows where a parser is at that moment."""
        return f"<!--{PREFIX}{point}-->"

    @staticmethod
    def image(point: str) -> str:
        """Return the image that stands where one will be inserted."""
        return f'<img src="{PREFIX}{point}">'

    def write(self, source: str, texts: Sequence[str], gaps: Sequence[Cut]) -> str:
        """Fill the gaps of a body: marks for its links, probe and image at its points, slots as they were."""
        mark = iter(self.hrefs)
        copy = [texts[0]]
        for cut, text in zip(gaps, texts[1:], strict=True):
            if isinstance(cut.value, int):
                copy.append(next(mark))
            elif cut.value in (START, END):
                copy.append(self.probe(cut.value) + self.image(cut.value))
            else:
                copy.append(source[cut.start : cut.end])
            copy.append(text)
        return "".join(copy)

    def without_probes(self, copy: str) -> str:
        """Return the copy as recipients would get it, with nothing at its points but the images."""
        for point in self.points:
            copy = copy.replace(self.probe(point), "")
        return copy

    def undo(self, text: str) -> str:
        """Put the source back into a marked text."""
        if PREFIX not in text:
            return text

        def source(match: re.Match[str]) -> str:
            before, mark, after = match.groups()
            written = self.hrefs[mark]
            return written if mark in self.unquoted else before + written + after

        return _ANYWHERE.sub(source, text)

    def undo_in_quotes(self, text: str) -> str | None:
        """Take out probes and images, and put back what stood behind a quote and holds none like it.

        It looks from the end, which takes half of the time: only then is no table made of what is sought.

        :returns: None if that is not so for every mark, or if an image might stand within a token.
        """
        for point in self.points:
            inserted = self.probe(point) + self.image(point)
            start = text.rfind(inserted)
            end = start + len(inserted)
            # After ">" nothing is pending, and "<" ends whatever is.
            if start < 0 or not (text.endswith(">", 0, start) or text.startswith("<", end) or end == len(text)):
                return None
            text = text[:start] + text[end:]
        before, *others = text.rsplit(PREFIX)
        if len(others) != len(self.hrefs):
            return None
        pieces = [before]
        for (mark, written), other in zip(self.hrefs.items(), others, strict=True):
            quote = before[-1:]
            end = len(mark) - len(PREFIX)
            if quote not in _QUOTES or quote in written or not other.startswith(mark[len(PREFIX) :] + quote):
                return None
            before = other[end:]
            pieces += (written, before)
        return "".join(pieces)
