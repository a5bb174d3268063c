"""Which links of a body are tracked, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from .attributes import APP, NAME, NO, TELLING, UTM, browser_url, opts_out
from .cuts import Cut, Link
from .link_text import link_text, shorten
from .scan import Attribute, LinkTag, Page
from .template import Skipped

Refuse = Callable[[str], str | None]
"""Given a URL as a browser reads it: None to track it, else a short reason."""

RefuseText = Callable[[str, str], str | None]
"""The same, given also what the reader sees of the link."""


class Choice:
    """The choice among the links of one page; :attr:`skipped` fills up as :meth:`links` looks at them."""

    def __init__(self, page: Page, refuse: Refuse, refuse_text: RefuseText | None, slot_cuts: Sequence[Cut]) -> None:
        self.skipped: dict[Skipped, None] = {}
        self.tags: list[tuple[LinkTag, Attribute]] = []
        """The tags of the tracked links."""
        self._page = page
        self._refuse = refuse
        self._refuse_text = refuse_text
        self._slot_cuts = slot_cuts
        self._with_slot: set[str] = set()
        self._refused_by_text: Counter[str] = Counter()

    def links(self) -> list[Cut]:
        """Cut out every ``href`` that is to be tracked, in document order."""
        chosen: list[Link] = []
        next_slot = 0
        for tag in self._page.tags:
            if (href := tag.href) is None:
                continue
            while next_slot < len(self._slot_cuts) and self._slot_cuts[next_slot].end <= href.value_start:
                next_slot += 1
            slotted = next_slot < len(self._slot_cuts) and self._slot_cuts[next_slot].start < href.value_end
            if link := self._link(tag, href, slotted):
                chosen.append(link)
                self.tags.append((tag, href))
        pairs = list(zip(self.tags, chosen, strict=True))
        seen = {link.url: link for (tag, _), link in reversed(pairs) if not tag.hidden}
        return [
            Cut(href.value_start, href.value_end, _as_seen(tag, link, seen), href.quoted) for (tag, href), link in pairs
        ]

    def _link(self, tag: LinkTag, href: Attribute, slotted: bool) -> Link | None:
        values = self._page.values(tag, TELLING)
        url = browser_url(self._page.text[href.value_start : href.value_end])
        if slotted:
            self._with_slot.add(url)
        reason = self._reason(url, values)
        if reason is None:
            text = link_text(self._page, tag)
            reason = self._refuse_text(url, text) if self._refuse_text else None
            if reason is None:
                return Link(
                    url, values.get(NAME, "").strip(), shorten(text), values.get(UTM, "").strip(), _is_for_app(values)
                )
            self._refused_by_text[url] += 1
        if url:
            self.skipped.setdefault(Skipped(url, reason, href.value_start))
        return None

    def _reason(self, url: str, attributes: Mapping[str, str]) -> str | None:
        if url in self._with_slot:
            return "has_slot"
        if opts_out(attributes):
            return "opted_out"
        return self._refuse(url) if url else "empty"

    def leaves_alone(self, links: Iterable[tuple[str, Mapping[str, str]]]) -> bool:
        """Tell the judge whether it is right that exactly these links were not tracked."""
        others = Counter(url for url, attributes in links if self._reason(url, attributes) is None)
        return others == self._refused_by_text


def _is_for_app(attributes: Mapping[str, str]) -> bool:
    return attributes.get(APP, "no").strip().lower() not in NO


def _as_seen(tag: LinkTag, link: Link, seen: Mapping[str, Link]) -> Link:
    """Give Outlook's copy of a button the name of the button that everybody else sees."""
    if tag.hidden and not link.name and not link.utm and (twin := seen.get(link.url)):
        return Link(link.url, twin.name, link.text, twin.utm, twin.app)
    return link
