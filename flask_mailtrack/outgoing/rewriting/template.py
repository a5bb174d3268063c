"""A compiled body: what stays the same for everybody, and the gaps between.

The cuts of a body say which stretches of the source are replaced. Marks stand in the gaps of the copy that the proof
compares with the body: URLs that the proof can find again.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.syntax import OWN, decode, read_attributes

from .scan import Attribute, LinkTag, ScannedHtml

START = "start"
"""The name of the value that goes to the start of the body."""

END = "end"
"""The name of the value that goes to the end of the body."""

_BLANKS = " \t\n\f\r"


@dataclass(frozen=True, slots=True)
class Link:
    """A destination to be tracked; however often it occurs, it is one link."""

    url: str
    """As a browser reads the ``href``."""
    name: str
    """The author's ``data-mailtrack-name``, else empty."""
    text: str = field(default="", compare=False)
    """What a reader sees of it where it occurs first, shortened."""
    utm: str = ""
    """The author's ``data-mailtrack-utm``, else empty; ``none`` where it is there and empty."""
    app: bool = False
    """Whether the author marked it with ``data-mailtrack-app``."""


class Place(NamedTuple):
    """Where a link stands in the source: the value of its ``href``, without quotes."""

    offset: int
    end: int
    link: int
    """Its number among the links of the template."""


class Cut(NamedTuple):
    """A stretch of the source that is not sent as it stands."""

    start: int
    end: int
    value: int | str | None = None
    """What comes instead: the URL of the link of that number, the value of that name, or nothing."""
    quoted: bool = True
    """False for an attribute value without quotes, which gains a pair."""
    text: str = ""
    """Markup that stands there for every recipient."""


def attribute_names(markup: str) -> frozenset[str]:
    """Return the name of the attribute that links are to gain, if any.

    :param markup: one attribute and the blank behind it, or nothing.
    :raises ValueError: it is anything else.
    """
    names = frozenset(attribute.name for attribute in read_attributes(markup, 0, len(markup)))
    if markup and (len(names) != 1 or markup[-1] not in _BLANKS or set(markup) & set("<>")):
        raise ValueError(f"attribute is {markup!r}: give one attribute and a blank behind it.")
    return names


def added_attribute(tags: Iterable[tuple[LinkTag, Attribute]], markup: str) -> Iterator[Cut]:
    """Put an attribute before the ``href`` of tracked links, unless they have it; comments stay as they are.

    :param markup: one for which :func:`attribute_names` has no complaint; the tags were read with its name.
    """
    names = attribute_names(markup)
    for tag, href in tags if markup else ():
        if not tag.hidden and names.isdisjoint(attribute.name for attribute in tag.attributes):
            yield Cut(href.start, href.start, text=markup)


def own_attributes(page: ScannedHtml) -> Iterator[Cut]:
    """Take our attributes out, each with the blanks before it; comments stay as they are."""
    for tag in page.tags:
        for attribute in tag.attributes if not tag.hidden else ():
            if attribute.name in OWN:
                start = attribute.start
                # Where no blank follows, the one before must stay, or its neighbours grow together.
                if page.text[attribute.end] in _BLANKS + ">":
                    while page.text[start - 1] in _BLANKS:
                        start -= 1
                yield Cut(start, attribute.end)


def in_order(cuts: Iterable[Cut]) -> list[Cut]:
    """Sort the cuts; what lies inside a removed attribute or a slot goes with it.

    :raises RewriteError: two cuts overlap in any other way.
    """
    ordered: list[Cut] = []
    for cut in sorted(cuts, key=itemgetter(0, 1)):
        if not ordered or cut.start >= ordered[-1].end:
            ordered.append(cut)
        elif cut.end > ordered[-1].end or cut.value in (START, END):
            raise RewriteError("unverified", "a slot reaches across a tag")
    return ordered


def split(source: str, cuts: Iterable[Cut]) -> tuple[list[str], list[Cut]]:
    """Cut the source open.

    :returns: the stretches of text that stay, one more than there are gaps, and the cuts that leave a gap.
    """
    stretches: list[str] = []
    pieces: list[str] = []
    """Of the stretch that is being read."""
    gaps: list[Cut] = []
    position = 0
    for cut in cuts:
        pieces.append(source[position : cut.start])
        position = cut.end
        if cut.value is None:
            pieces.append(cut.text)
            continue
        quotes = [] if cut.quoted else ['"']
        stretches.append("".join(pieces + quotes))
        pieces = quotes
        gaps.append(cut)
    stretches.append("".join([*pieces, source[position:]]))
    return stretches, gaps


# Blanks too: in a quoted value they are harmless, but no client should have to know that.
_UNSAFE = "&\"'<>` \t\n\f\r\v"
_REFERENCES = str.maketrans({character: f"&#{ord(character)};" for character in _UNSAFE})


@dataclass(frozen=True, slots=True)
class Skipped:
    """A link that is sent as written."""

    url: str
    reason: str
    """``opted_out``, ``has_slot``, or the word with which ``refuse`` or ``refuse_text`` declined it."""
    offset: int = field(default=0, compare=False)
    """Where its ``href`` value stands first in the source."""


@dataclass(frozen=True, slots=True)
class Template:
    """A body cut open at the places that differ per recipient; immutable, so threads may share it."""

    links: tuple[Link, ...]
    """Distinct, in document order; ``render`` takes one URL for each."""
    skipped: tuple[Skipped, ...]
    """Distinct, in document order."""
    slots: frozenset[str]
    """Names of the slots that occur in the body."""
    pixel: bool
    """Whether an image may be inserted: not into an AMP page, nor where none is surely shown."""
    ends: bool
    """Whether it may stand at the end: not behind a link that the author never closed."""
    _points: tuple[str, ...]
    """Names of the values that follow the URLs, for the start and the end of the body."""
    _fills: tuple[str, ...]
    """Names of the values that follow those: the slots."""
    _parts: tuple[str, ...]
    """Source text at even places; at odd places a gap for a value."""
    _gaps: tuple[int, ...]
    """For each gap, which value belongs there."""
    _cuts: tuple[Cut, ...]
    """Where the gaps were in the source."""
    _source: str

    @property
    def places(self) -> tuple[Place, ...]:
        """Every stretch of the source that a URL replaces, in document order."""
        gaps = zip(self._cuts, self._gaps, strict=True)
        return tuple(Place(cut.start, cut.end, number) for cut, number in gaps if number < len(self.links))

    @property
    def starts(self) -> bool:
        """Whether it has the place ``start``."""
        return START in self._points

    @property
    def closes(self) -> bool:
        """Whether it has the place ``end``."""
        return END in self._points

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Write the body for one recipient.

        :param urls: ``urls[k]`` replaces each occurrence of ``links[k]``; escaped where it needs to be.
            ``None``: the links stay as the author wrote them.
        :param fill: markup by slot name, inserted as it is; also ``"start"`` and ``"end"`` (default:
            nothing), which go to the start and the end of the body, where it has these places.
        :raises ValueError: there is not one URL for each link.
        :raises KeyError: a slot is left without a value.
        """
        if urls is not None and len(urls) != len(self.links):
            raise ValueError(f"This body has {len(self.links)} links, but {len(urls)} URLs were given.")
        values = [""] * len(self.links) if urls is None else _escape(urls)
        for name in self._points:
            values.append(fill.get(name, ""))
        for name in self._fills:
            values.append(fill[name])
        parts = list(self._parts)
        if urls is None:
            written = map(self._as_written, self.places)
            parts[1::2] = [next(written) if gap < len(self.links) else values[gap] for gap in self._gaps]
        else:
            parts[1::2] = [values[gap] for gap in self._gaps]
        return "".join(parts)

    def _as_written(self, place: Place) -> str:
        """Return the author's value; one without quotes has gained a pair, which nothing in it must end."""
        value = self._source[place.offset : place.end]
        return value if self._source[place.offset - 1] in "\"'" else value.replace('"', "&#34;")


def _escape(urls: Sequence[str]) -> list[str]:
    """Make URLs fit for an attribute with quotes of either kind."""
    # Tracked URLs are plain ASCII that needs nothing; twelve looks at one text prove it in under 1 µs.
    together = "".join(urls)
    if not any(character in together for character in _UNSAFE):
        return list(urls)
    return [url.translate(_REFERENCES) for url in urls]


def assemble(
    source: str,
    texts: Sequence[str],
    gaps: Sequence[Cut],
    links: tuple[Link, ...],
    skipped: tuple[Skipped, ...],
    amp: bool,
    ends: bool,
) -> Template:
    """Make the template of a body that has been split.

    :param source: the body.
    :param texts: the stretches that stay, one more than there are gaps.
    :param amp: no image may be inserted.
    :param ends: an image may stand at the end, if it has a place there.
    """
    names = dict.fromkeys(cut.value for cut in gaps if isinstance(cut.value, str))
    points = tuple(name for name in names if name in (START, END))
    fills = tuple(name for name in names if name not in points)
    number: dict[int | str | None, int] = {value: k for k, value in enumerate((*range(len(links)), *points, *fills))}
    numbers = [number[cut.value] for cut in gaps]
    parts = [""] * (2 * len(gaps) + 1)
    parts[::2] = texts
    return Template(
        links=links,
        skipped=skipped,
        slots=frozenset(fills),
        pixel=not amp and (START in points or (ends and END in points)),
        ends=ends,
        _points=points,
        _fills=fills,
        _parts=tuple(parts),
        _gaps=tuple(numbers),
        _cuts=tuple(gaps),
        _source=source,
    )


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
