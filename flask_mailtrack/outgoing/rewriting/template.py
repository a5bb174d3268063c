"""A compiled body: what stays the same for everybody, and the gaps between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .cuts import END, START, Cut, Link, Place

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
