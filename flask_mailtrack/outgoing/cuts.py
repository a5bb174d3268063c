"""The cuts of a body: which stretches of the source are replaced, and the text that stays between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask_mailtrack.errors import RewriteError

from .attributes import OWN
from .scan import Page

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


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of the source that is not sent as it stands."""

    start: int
    end: int
    value: Link | str | None = None
    """What comes instead: the URL of a link, the value of that name, or nothing."""
    quoted: bool = True
    """False for an attribute value without quotes, which gains a pair."""


def own_attributes(page: Page) -> Iterator[Cut]:
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
    for cut in sorted(cuts, key=lambda cut: (cut.start, cut.end)):
        if not ordered or cut.start >= ordered[-1].end:
            ordered.append(cut)
        elif cut.end > ordered[-1].end or cut.value == END:
            raise RewriteError("unverified", "a slot reaches across a tag")
    return ordered


def split(source: str, cuts: Iterable[Cut]) -> tuple[list[str], list[Cut]]:
    """Cut the source open.

    :returns: the stretches of text that stay, one more than there are gaps, and the cuts that leave a gap.
    """
    stretches: list[list[str]] = [[]]
    gaps: list[Cut] = []
    position = 0
    for cut in cuts:
        stretches[-1].append(source[position : cut.start])
        if cut.value is not None:
            quote = "" if cut.quoted else '"'
            stretches[-1].append(quote)
            gaps.append(cut)
            stretches.append([quote])
        position = cut.end
    stretches[-1].append(source[position:])
    return ["".join(pieces) for pieces in stretches], gaps
