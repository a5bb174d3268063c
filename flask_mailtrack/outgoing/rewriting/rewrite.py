"""HTML in, HTML out: compile a body once, render it for each recipient.

Only these things ever change: the ``href`` values that are tracked, our own ``data-mailtrack``
attributes (taken out), an attribute before the ``href`` if the caller wants one, and what is inserted
at the start and the end. Every other character is a slice of the author's text. :mod:`.scan` finds the
places, here links are picked, by what a reader sees of each, too, :mod:`.proof` has the last word, and
:mod:`.template` renders.
"""

from __future__ import annotations

import functools
import html
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.syntax import (
    APP,
    ATTRIBUTES,
    NAME,
    NO,
    NO_UTM,
    TELLING,
    UTM,
    Attributes,
    browser_url,
    decode,
    lower,
    opts_out,
)

from .proof import check, proves
from .scan import Attribute, Deadline, LinkTag, ScannedHtml, in_open_link, scan, start_points
from .template import (
    END,
    START,
    Cut,
    Link,
    Marks,
    Skipped,
    Template,
    added_attribute,
    assemble,
    attribute_names,
    in_order,
    own_attributes,
    split,
)

__all__ = ["Limits", "Link", "Skipped", "Template", "compile"]

LOOK_AHEAD = 2_000
"""Characters of the source that are read behind a link's start tag."""
LENGTH = 80
"""Characters of the text that is kept with a link."""

# Each alternative takes all that is left if its end is missing: that keeps the whole linear.
_MARKUP = re.compile(
    r"<(?:!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|(?P<raw>(?ai:script|style|title|iframe|noembed|noframes))(?=[ \t\n\f\r/>])"
    r".*?(?:(?=</(?ai:(?P=raw))[ \t\n\f\r/>])|\Z)"
    rf"|/?(?P<name>[a-zA-Z][^ \t\n\f\r/>]*+)(?:(?P<attributes>{ATTRIBUTES})>|.*)"
    r"|[!?/][^>]*+(?:>|\Z))",
    re.DOTALL,
)
_ALT = Attributes(frozenset(("alt",)))
_WORDS = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q s samp small span strike"
    " strong sub sup time tt u var wbr"
)
_INLINE = frozenset(_WORDS.split())
"""Tags that stand within a word; all others part words."""


def link_text(page: ScannedHtml, tag: LinkTag) -> str:
    """Return the visible text of a link, or what stands for it: the ``alt`` of its first image.

    :returns: white space collapsed; at most :data:`LOOK_AHEAD` characters of the source are read.
    """
    if tag.name == "area":
        return _clean(page.values(tag, ("alt",)).get("alt", "")[:LOOK_AHEAD])
    return _shown(page.text[tag.inside_start : min(tag.inside_end, tag.inside_start + LOOK_AHEAD)])


@functools.lru_cache(1_024)  # as with addresses
def _shown(source: str) -> str:
    if "<" not in source:
        return _clean(html.unescape(source))
    pieces = []
    alternative = ""
    seen_image = False
    position = 0
    for markup in _MARKUP.finditer(source):
        pieces.append(html.unescape(source[position : markup.start()]))
        position = markup.end()
        name = lower(markup["name"] or "")
        if name and name not in _INLINE:
            pieces.append(" ")
        if name == "img" and not seen_image and source[markup.start() + 1] != "/":
            seen_image = True
            alternative = _alt(source, *markup.span("attributes"))
    pieces.append(html.unescape(source[position:]))
    return _clean("".join(pieces)) or _clean(alternative)


def shorten(text: str) -> str:
    """Cut a text to the length that is kept."""
    return text[:LENGTH].rstrip()


def _alt(source: str, start: int, end: int) -> str:
    for attribute in _ALT.read(source, start, end):  # of a tag that is cut off there are none
        return decode(source[attribute.value_start : attribute.value_end])
    return ""


def _clean(text: str) -> str:
    text = " ".join(text.replace("\0", "").split())
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a character: joined with its other half, else replaced, for no database takes it.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


Refuse = Callable[[str], str | None]
"""Given a URL as a browser reads it: None to track it, else a short reason."""

RefuseText = Callable[[str, str], str | None]
"""The same, given also what the reader sees of the link."""

_NONE: Mapping[str, str] = {}


class LinkPicker:
    """The choice among the links of one page; all of it fills up as :meth:`cuts` looks at them."""

    def __init__(
        self, page: ScannedHtml, refuse: Refuse, refuse_text: RefuseText | None, slot_cuts: Sequence[Cut]
    ) -> None:
        self.links: list[Link] = []
        """What is tracked, each destination once, in document order."""
        self.tags: list[tuple[LinkTag, Attribute]] = []
        """The tags of the tracked links."""
        self.skipped: dict[Skipped, None] = {}
        self._page = page
        self._refuse = refuse
        self._refuse_text = refuse_text
        self._slot_cuts = slot_cuts
        self._with_slot: set[str] = set()
        self._refused_by_text: Counter[str] = Counter()
        self._numbers: dict[tuple[str, str, str, bool], int] = {}
        self._reasons: dict[str, str | None] = {}

    def cuts(self) -> list[Cut]:
        """Cut out every ``href`` that is to be tracked, in document order."""
        chosen: list[int] = []
        for tag, href, slotted in self._hrefs():
            if (number := self._number(tag, href, slotted)) is not None:
                chosen.append(number)
                self.tags.append((tag, href))
        if any(tag.hidden for tag, _ in self.tags):
            chosen = self._as_seen(chosen)
        return [
            Cut(href.value_start, href.value_end, number, href.quoted)
            for (_, href), number in zip(self.tags, chosen, strict=True)
        ]

    def _hrefs(self) -> Iterator[tuple[LinkTag, Attribute, bool]]:
        """Pair each link with its ``href``, and tell whether a slot is in it."""
        next_slot = 0
        for tag in self._page.tags:
            if (href := tag.href) is None:
                continue
            while next_slot < len(self._slot_cuts) and self._slot_cuts[next_slot].end <= href.value_start:
                next_slot += 1
            yield tag, href, next_slot < len(self._slot_cuts) and self._slot_cuts[next_slot].start < href.value_end

    def _number(self, tag: LinkTag, href: Attribute, slotted: bool) -> int | None:
        """Return which of the links this is, or None if it is not tracked."""
        values = self._page.values(tag, TELLING) if len(tag.attributes) > 1 else _NONE
        url = browser_url(self._page.text[href.value_start : href.value_end])
        if slotted:
            self._with_slot.add(url)
        reason = self._reason(url, values)
        if reason is None and self._refuse_text and (reason := self._refuse_text(url, link_text(self._page, tag))):
            self._refused_by_text[url] += 1
        if reason is None:
            return self._destination(tag, url, values)
        if url:
            self.skipped.setdefault(Skipped(url, reason, href.value_start))
        return None

    def _destination(self, tag: LinkTag, url: str, values: Mapping[str, str]) -> int:
        """Return the number of the link that leads there; it has the text of its first occurrence."""
        name, utm, app = "", "", False
        if values:
            name, app = values.get(NAME, "").strip(), _is_for_app(values)
            utm = values[UTM].strip() or NO_UTM if UTM in values else ""
        key = (url, name, utm, app)
        if (number := self._numbers.get(key)) is None:
            number = self._numbers[key] = len(self.links)
            self.links.append(Link(url, name, shorten(link_text(self._page, tag)), utm, app))
        return number

    def _as_seen(self, chosen: Sequence[int]) -> list[int]:
        """Give Outlook's copy of a button the name of the button that everybody else sees."""
        links = [self.links[number] for number in chosen]
        hidden = [tag.hidden for tag, _ in self.tags]
        seen = {link.url: link for link, out in zip(reversed(links), reversed(hidden), strict=True) if not out}
        numbers: dict[Link, int] = {}
        for k, link in enumerate(links):
            if hidden[k] and not link.name and not link.utm and (twin := seen.get(link.url)):
                links[k] = Link(link.url, twin.name, link.text, twin.utm, twin.app)
            numbers.setdefault(links[k], len(numbers))
        self.links = list(numbers)
        return [numbers[link] for link in links]

    def _reason(self, url: str, attributes: Mapping[str, str]) -> str | None:
        if url in self._with_slot:
            return "has_slot"
        if attributes and opts_out(attributes):
            return "opted_out"
        if url not in self._reasons:  # asked once, although the judge will ask again
            self._reasons[url] = self._refuse(url) if url else "empty"
        return self._reasons[url]

    def leaves_alone(self, links: Iterable[tuple[str, Mapping[str, str]]]) -> bool:
        """Tell the judge whether it is right that exactly these links were not tracked."""
        others = [url for url, attributes in links if self._reason(url, attributes) is None]
        return Counter(others) == self._refused_by_text if others or self._refused_by_text else True


def _is_for_app(attributes: Mapping[str, str]) -> bool:
    return attributes.get(APP, "no").strip().lower() not in NO


@dataclass(frozen=True, slots=True)
class Limits:
    """Bodies beyond these bounds go out untracked."""

    max_bytes: int = 2_000_000
    """Counted in characters of the decoded body."""
    max_links: int = 2_000
    """Distinct tracked links."""
    max_seconds: float = 2.0
    """Time to prepare a body, looked at between two steps of the work."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What the caller wants."""

    clicks: bool
    refuse: Refuse
    refuse_text: RefuseText | None
    slots: Sequence[tuple[int, int, str]]
    limits: Limits
    start: bool
    attribute: str
    deadline: Deadline


def compile(
    html: str,
    *,
    clicks: bool = True,
    refuse: Refuse,
    refuse_text: RefuseText | None = None,
    slots: Sequence[tuple[int, int, str]] = (),
    limits: Limits = Limits(),
    start: bool = False,
    attribute: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Template:
    """Prepare a body for any number of recipients, and prove that nothing else in it changes.

    :param html: the body as the author wrote it.
    :param clicks: whether links are tracked; slots, start and end of the body are served anyway.
    :param refuse: given a URL as a browser reads it, returns None to track it, else a short reason.
    :param refuse_text: the same for one occurrence of a link, given also its visible text (up to 2,000
        characters of the source are read); asked only where ``refuse`` has no reason.
    :param slots: start, end and name of each place that :meth:`Template.render` fills, in order; one without
        a name stays as it is. A link that contains a slot is never tracked.
    :param limits: bounds beyond which the body is refused.
    :param start: whether the body gets a place ``start``, where it begins to be shown.
    :param attribute: one attribute and a blank, such as ``clicktracking="off" ``, put before the
        ``href`` of each tracked link that does not have it; never into comments for Outlook.
    :param clock: what tells the seconds.
    :raises RewriteError: the body must go out as written. The reason is ``too_big``,
        ``too_many_links``, ``too_slow``, ``empty`` or ``unverified``. Nothing else is ever raised.
    """
    try:
        deadline = Deadline(limits.max_seconds, clock)
        return _compile(html, _Order(clicks, refuse, refuse_text, slots, limits, start, attribute, deadline))
    except RewriteError:
        raise
    except Exception as error:  # the one guarded boundary: a mail must never fail because of tracking
        raise RewriteError("unverified", f"{type(error).__name__}: {error}") from error


def _compile(html: str, order: _Order) -> Template:
    if len(html) > order.limits.max_bytes:
        raise RewriteError("too_big", f"{len(html)} characters, allowed are {order.limits.max_bytes}")
    page = scan(html, order.deadline, attribute_names(order.attribute))
    slot_cuts = [Cut(start, end, name) for start, end, name in order.slots if name]
    choice = LinkPicker(page, order.refuse, order.refuse_text, [Cut(start, end) for start, end, _ in order.slots])
    link_cuts = choice.cuts() if order.clicks else []
    if len(choice.links) > order.limits.max_links:
        raise RewriteError("too_many_links", f"{len(choice.links)} links, allowed are {order.limits.max_links}")
    cuts = [*slot_cuts, *link_cuts, *added_attribute(choice.tags, order.attribute), *own_attributes(page)]
    order.deadline.check()
    texts, gaps = _proven(page, cuts, order, choice if order.clicks else None)
    ends = in_open_link(page) is None
    return assemble(html, texts, gaps, tuple(choice.links), tuple(choice.skipped), page.amp, ends)


def _proven(
    page: ScannedHtml, cuts: list[Cut], order: _Order, choice: LinkPicker | None
) -> tuple[list[str], list[Cut]]:
    """Split the body with its points where the judge accepts them."""
    if page.amp:
        return _prove(page, cuts, order, choice)
    error = None
    for points in _points(page, order.start, bool(choice and choice.links)):
        try:
            return _prove(page, [*cuts, *points], order, choice)
        except RewriteError as refused:
            if refused.reason != "unverified":
                raise
            error = refused
    raise error or RewriteError("unverified", "there is no place for a pixel")


def _points(page: ScannedHtml, start: bool, links: bool) -> Iterator[list[Cut]]:
    """Yield the places where images may stand, the best first; links are worth tracking without any."""
    end = [Cut(page.pixel_point, page.pixel_point, END)]
    opened = in_open_link(page)
    starts = [[Cut(point, point, START)] for point in start_points(page) if opened is None or point < opened]
    if start or opened is not None:
        yield from (at_start + end for at_start in starts)
    if not start:
        yield end
        if links:
            yield []


def _prove(page: ScannedHtml, cuts: list[Cut], order: _Order, choice: LinkPicker | None) -> tuple[list[str], list[Cut]]:
    """Let the judge compare the original with a copy cut in just the same way."""
    html = page.text
    texts, gaps = split(html, in_order(cuts))
    marks = Marks.for_cuts(html, gaps, order.attribute)
    copy = marks.write(html, texts, gaps)
    left_alone = choice.leaves_alone if choice else lambda links: True
    if not proves(html, copy, marks, left_alone):
        order.deadline.check()
        check(html, marks.without_probes(copy), marks, left_alone, shown=not page.amp and not marks.points)
    order.deadline.check()
    return texts, gaps
