"""Text in which only the placeholders are filled in: plain text, and HTML that must not be touched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import text_links


@dataclass(frozen=True, slots=True)
class AsWritten:
    """A body of which nothing but the placeholders changes."""

    source: str
    slots: re.Pattern[str]
    has_slots: bool = field(init=False)
    """Most bodies have none, and then need not be searched again for each copy."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_slots", self.slots.search(self.source) is not None)

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return it with the placeholders replaced; there are no links of ours in it."""
        return fill_in(self.source, self.slots, fill) if self.has_slots else self.source


@dataclass(frozen=True, slots=True)
class Filled(AsWritten):
    """A plain-text body with tracked links."""

    template: text_links.TextTemplate

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return it with links and placeholders replaced."""
        body = self.source if urls is None else self.template.render(urls)
        return fill_in(body, self.slots, fill) if self.has_slots else body


_SEALED = re.compile(r"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)


def is_sealed(body: str) -> bool:
    """Say whether *body* is signed or encrypted (RFC 9580, section 6): any change would break the seal."""
    return "-----BEGIN PGP" in body and _SEALED.search(body) is not None


def slots_in(body: str, slots: re.Pattern[str]) -> frozenset[str]:
    """Return the names of the placeholders in *body*."""
    return frozenset(match.lastgroup or "" for match in slots.finditer(body))


def fill_in(body: str, slots: re.Pattern[str], fill: Mapping[str, str]) -> str:
    """Return *body* with each placeholder replaced; one without a value disappears."""
    return slots.sub(lambda match: fill.get(match.lastgroup or "", ""), body)


def plain(part: Any, charset: str = "utf-8") -> Any:
    """Return *part* as a ``str`` and no subclass of it: bytes in *charset*, lazy and marked strings too.

    Bytes that are not of *charset* are kept as lone surrogates (PEP 383).
    """
    if part is None or type(part) is str:
        return part
    if isinstance(part, bytes | bytearray):
        return part.decode(charset, "surrogateescape")
    return str.__str__(part if isinstance(part, str) else str(part))


def with_footer(body: str, footer: str) -> str:
    """Return *body* with *footer* on lines of its own."""
    return f"{body.rstrip()}\n\n{footer}" if footer else body
