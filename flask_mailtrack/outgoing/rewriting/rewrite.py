"""HTML in, HTML out: compile a body once, render it for each recipient.

Only these things ever change: the ``href`` values that are tracked, our own ``data-mailtrack``
attributes (taken out), an attribute before the ``href`` if the caller wants one, and what is inserted
at the start and the end. Every other character is a slice of the author's text. :mod:`.scan` finds the
places, :mod:`.choice` picks, :mod:`.cuts` opens, :mod:`.judge` has the last word, :mod:`.template` renders.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flask_mailtrack.errors import RewriteError

from .link_picker import LinkPicker, Refuse, RefuseText
from .marks import Marks
from .proof import check, proves
from .scan import Deadline, ScannedHtml, in_open_link, scan, start_points
from .template import (
    END,
    START,
    Cut,
    Link,
    Place,
    Skipped,
    Template,
    added_attribute,
    assemble,
    attribute_names,
    in_order,
    own_attributes,
    split,
)

__all__ = ["Limits", "Link", "Place", "Skipped", "Template", "compile"]


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
