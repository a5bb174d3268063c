"""What may be shown on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return *text* without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
