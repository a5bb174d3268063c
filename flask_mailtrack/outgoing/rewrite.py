"""HTML in, HTML out: compile a body once, render it for each recipient.

Only three things ever change: the ``href`` values that are tracked, our own ``data-mailtrack``
attributes (taken out), and one insertion point at the end. Every other character is a slice of the
author's text. :mod:`.scan` finds the places, :mod:`.cuts` opens them, :mod:`.judge` has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flask_mailtrack.errors import RewriteError

from .attributes import browser_url, opts_out
from .cuts import END, Cut, Link, in_order, own_attributes, split
from .judge import Marks, check
from .scan import Attribute, LinkTag, Page, scan

__all__ = ["Limits", "Link", "Skipped", "Template", "compile"]

Refuse = Callable[[str], str | None]

# Blanks too: in a quoted value they are harmless, but no client should have to know that.
_UNSAFE = "&\"'<>` \t\n\f\r\v"
_REFERENCES = str.maketrans({character: f"&#{ord(character)};" for character in _UNSAFE})


@dataclass(frozen=True, slots=True)
class Skipped:
    """A link that is sent as written."""

    url: str
    reason: str
    """``opted_out``, ``has_slot``, or the word with which ``refuse`` declined it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bodies beyond these bounds go out untracked."""

    max_bytes: int = 2_000_000
    """Counted in characters of the decoded body."""
    max_links: int = 2_000
    """Distinct tracked links."""


@dataclass(frozen=True, slots=True)
class Template:
    """A body cut open at the places that differ per recipient; immutable, so threads may share it."""

    links: tuple[Link, ...]
    """Distinct, in document order; ``render`` takes one URL for each."""
    skipped: tuple[Skipped, ...]
    """Distinct, in document order."""
    slots: frozenset[str]
    """Names of the slots that occur in the body."""
    _fills: tuple[str, ...]
    """Names of the values that follow the URLs: the end, then the slots."""
    _parts: tuple[str, ...]
    """Source text at even places; at odd places a gap for a value."""
    _gaps: tuple[int, ...]
    """For each gap, which value belongs there."""

    def render(self, urls: Sequence[str], fill: Mapping[str, str]) -> str:
        """Write the body for one recipient.

        :param urls: ``urls[k]`` replaces each occurrence of ``links[k]``; escaped where it needs to be.
        :param fill: markup by slot name, inserted as it is, and ``"end"`` (default: nothing), which
            goes to the end of the body.
        :raises ValueError: there is not one URL for each link.
        :raises KeyError: a slot is left without a value.
        """
        if len(urls) != len(self.links):
            raise ValueError(f"This body has {len(self.links)} links, but {len(urls)} URLs were given.")
        values = _escape(urls)
        values.append(fill.get(END, ""))
        for name in self._fills[1:]:
            values.append(fill[name])
        parts = list(self._parts)
        parts[1::2] = [values[gap] for gap in self._gaps]
        return "".join(parts)


def _escape(urls: Sequence[str]) -> list[str]:
    """Make URLs fit for an attribute with quotes of either kind."""
    # Tracked URLs are plain ASCII that needs nothing; twelve looks at one text prove it in under 1 µs.
    together = "".join(urls)
    if not any(character in together for character in _UNSAFE):
        return list(urls)
    return [url.translate(_REFERENCES) for url in urls]


def compile(
    html: str,
    *,
    clicks: bool = True,
    refuse: Refuse,
    slots: re.Pattern[str] | None = None,
    limits: Limits = Limits(),
) -> Template:
    """Prepare a body for any number of recipients, and prove that nothing else in it changes.

    :param html: the body as the author wrote it.
    :param clicks: whether links are tracked; slots and the end of the body are served anyway.
    :param refuse: given a URL as a browser reads it, returns None to track it, else a short reason.
    :param slots: each match is a place that :meth:`Template.render` fills, named by its group
        (``lastgroup``). A link that contains a slot is never tracked.
    :param limits: bounds beyond which the body is refused.
    :raises RewriteError: the body must go out as written. The reason is ``too_big``,
        ``too_many_links``, ``amp``, ``empty`` or ``unverified``. Nothing else is ever raised.
    """
    try:
        return _compile(html, clicks, refuse, slots, limits)
    except RewriteError:
        raise
    except Exception as error:  # the one guarded boundary: a mail must never fail because of tracking
        raise RewriteError("unverified", f"{type(error).__name__}: {error}") from error


def _compile(html: str, clicks: bool, refuse: Refuse, slots: re.Pattern[str] | None, limits: Limits) -> Template:
    if len(html) > limits.max_bytes:
        raise RewriteError("too_big", f"{len(html)} characters, allowed are {limits.max_bytes}")
    page = scan(html)
    if page.amp:
        raise RewriteError("amp", "an AMP mail may not contain a plain image")
    slot_cuts = list(_slot_cuts(html, slots))
    choice = _Choice(page, refuse, slot_cuts)
    link_cuts = choice.links() if clicks else []
    links = tuple(dict.fromkeys(cut.value for cut in link_cuts if isinstance(cut.value, Link)))
    if len(links) > limits.max_links:
        raise RewriteError("too_many_links", f"{len(links)} links, allowed are {limits.max_links}")
    end_cut = Cut(page.pixel_point, page.pixel_point, END)
    cuts = in_order([*slot_cuts, *link_cuts, *own_attributes(page), end_cut])
    _prove(page, cuts, choice if clicks else None)
    return _template(html, cuts, links, tuple(choice.skipped))


def _slot_cuts(html: str, slots: re.Pattern[str] | None) -> Iterator[Cut]:
    for match in slots.finditer(html) if slots else ():
        if match.lastgroup and match.group():
            yield Cut(match.start(), match.end(), match.lastgroup)


class _Choice:
    """Which links are tracked, and why the others are not."""

    def __init__(self, page: Page, refuse: Refuse, slot_cuts: Sequence[Cut]) -> None:
        self.skipped: dict[Skipped, None] = {}
        self._page = page
        self._refuse = refuse
        self._slot_cuts = slot_cuts
        self._with_slot: set[str] = set()

    def links(self) -> list[Cut]:
        """Cut out every ``href`` that is to be tracked, in document order."""
        chosen: list[tuple[LinkTag, Attribute, Link]] = []
        next_slot = 0
        for tag in self._page.tags:
            if (href := tag.href) is None:
                continue
            while next_slot < len(self._slot_cuts) and self._slot_cuts[next_slot].end <= href.value_start:
                next_slot += 1
            slotted = next_slot < len(self._slot_cuts) and self._slot_cuts[next_slot].start < href.value_end
            if link := self._link(tag, href, slotted):
                chosen.append((tag, href, link))
        names = {link.url: link.name for tag, _, link in reversed(chosen) if not tag.hidden}
        return [
            Cut(href.value_start, href.value_end, _as_seen(tag, link, names), href.quoted) for tag, href, link in chosen
        ]

    def _link(self, tag: LinkTag, href: Attribute, slotted: bool) -> Link | None:
        url = browser_url(self._page.text[href.value_start : href.value_end])
        values = self._page.values(tag)
        if slotted:
            self._with_slot.add(url)
        reason = self._reason(url, values)
        if reason is None:
            return Link(url, values.get("data-mailtrack-name", "").strip())
        if url:
            self.skipped[Skipped(url, reason)] = None
        return None

    def _reason(self, url: str, attributes: Mapping[str, str]) -> str | None:
        if url in self._with_slot:
            return "has_slot"
        if opts_out(attributes):
            return "opted_out"
        return self._refuse(url) if url else "empty"

    def leaves_alone(self, url: str, attributes: Mapping[str, str]) -> bool:
        """Tell the judge whether it is right that this link was not tracked."""
        return self._reason(url, attributes) is not None


def _as_seen(tag: LinkTag, link: Link, names: Mapping[str, str]) -> Link:
    """Give Outlook's copy of a button the name of the button that everybody else sees."""
    return Link(link.url, names.get(link.url, "")) if tag.hidden and not link.name else link


def _prove(page: Page, cuts: Sequence[Cut], choice: _Choice | None) -> None:
    """Let the judge compare the original with a copy cut in just the same way."""
    html = page.text
    texts, gaps = split(html, cuts)
    hrefs = [cut for cut in gaps if isinstance(cut.value, Link)]
    marks = Marks.for_text(html, [(html[cut.start : cut.end], cut.quoted) for cut in hrefs])
    mark = iter(marks.hrefs)
    copy = [texts[0]]
    for cut, text in zip(gaps, texts[1:], strict=True):
        if isinstance(cut.value, Link):
            copy.append(next(mark))
        else:
            copy.append(marks.pixel if cut.value == END else html[cut.start : cut.end])
        copy.append(text)
    check(html, "".join(copy), marks, choice.leaves_alone if choice else lambda url, attributes: True)


def _template(html: str, cuts: Sequence[Cut], links: tuple[Link, ...], skipped: tuple[Skipped, ...]) -> Template:
    texts, gaps = split(html, cuts)
    names = dict.fromkeys(cut.value for cut in gaps if isinstance(cut.value, str) and cut.value != END)
    fills = (END, *names)
    values: list[Link | str | None] = [*links, *fills]
    place = {value: k for k, value in enumerate(values)}
    parts = [text for pair in zip(texts, [""] * len(texts), strict=True) for text in pair][:-1]
    return Template(
        links=links,
        skipped=skipped,
        slots=frozenset(names),
        _fills=fills,
        _parts=tuple(parts),
        _gaps=tuple(place[cut.value] for cut in gaps),
    )
