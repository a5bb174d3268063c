"""Text in which only the placeholders are filled in: plain text, and HTML that must not be touched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import text_links
from .slots import Slot


@dataclass(frozen=True, slots=True)
class AsWritten:
    """A body of which nothing but the placeholders changes; it is cut open at these once, for all copies."""

    source: str
    slots: Sequence[Slot] = ()
    """In order; one without a name stays."""
    _parts: list[str] = field(init=False)
    """The author's text at even places; at odd places the name of a slot."""

    def __post_init__(self) -> None:
        parts: list[str] = []
        position = 0
        for slot in self.slots:
            if slot.name:
                parts += (self.source[position : slot.start], slot.name)
                position = slot.end
        object.__setattr__(self, "_parts", [*parts, self.source[position:]])

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return it with the placeholders replaced, one without a value by nothing; no link of ours is in it."""
        if len(self._parts) == 1:
            return self.source
        parts = list(self._parts)
        parts[1::2] = [fill.get(name, "") for name in parts[1::2]]
        return "".join(parts)

    @property
    def names(self) -> frozenset[str]:
        """What the slots stand for."""
        return frozenset(self._parts[1::2])

    @property
    def rest(self) -> str:
        """What is the same in every copy."""
        return "".join(self._parts[::2])


@dataclass(frozen=True, slots=True)
class Filled(AsWritten):
    """A plain-text body with tracked links."""

    template: text_links.TextTemplate = field(kw_only=True)

    def render(self, urls: Sequence[str] | None, fill: Mapping[str, str]) -> str:
        """Return it with links and placeholders replaced."""
        # By name: a dataclass with slots is made anew, and super() alone does not find it.
        return AsWritten.render(self, None, fill) if urls is None else self.template.render(urls, fill)


_SEALED = re.compile(r"^-----BEGIN PGP (?:SIGNED )?MESSAGE-----", re.MULTILINE)


def is_sealed(body: str) -> bool:
    """Say whether *body* is signed or encrypted (RFC 9580, section 6): any change would break the seal."""
    return "-----BEGIN PGP" in body and _SEALED.search(body) is not None


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
