"""The cuts of a body: which stretches of the source are replaced, and the text that stays between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from flask_mailtrack.errors import RewriteError

from .attributes import OWN
from .scan import Attribute, LinkTag, Page
from .syntax import read_attributes

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
