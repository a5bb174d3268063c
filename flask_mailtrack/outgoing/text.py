"""Text in which only the placeholders are filled in: plain text, and HTML that must not be touched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import text_links


@dataclass(frozen=True, slots=True)
class AsWritten:
    """A body of which nothing but the placeholders changes."""

    source: str
    slots: re.Pattern[str]

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return it with the placeholders replaced; there are no links of ours in it."""
        return fill_in(self.source, self.slots, fill)


@dataclass(frozen=True, slots=True)
class Filled:
    """A plain-text body with tracked links."""

    source: str
    template: text_links.TextTemplate
    slots: re.Pattern[str]

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return it with links and placeholders replaced."""
        return fill_in(self.source if urls is None else self.template.render(urls), self.slots, fill)


_SEALED = re.compile(r"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)


def is_sealed(body: str) -> bool:
    """Say whether *body* is signed or encrypted (RFC 9580, section 6): any change would break the seal."""
    return bool(_SEALED.search(body))


def slots_in(body: str, slots: re.Pattern[str]) -> frozenset[str]:
    """Return the names of the placeholders in *body*."""
    return frozenset(match.lastgroup or "" for match in slots.finditer(body))


def fill_in(body: str, slots: re.Pattern[str], fill: Mapping[str, str]) -> str:
    """Return *body* with each placeholder replaced; one without a value disappears."""
    return slots.sub(lambda match: fill.get(match.lastgroup or "", ""), body)


def with_footer(body: str, footer: str) -> str:
    """Return *body* with *footer* on lines of its own."""
    return f"{body.rstrip()}\n\n{footer}" if footer else body
