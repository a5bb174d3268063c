"""The names of lists: however somebody writes one, it is stored and compared in one spelling."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


def folded(name: str) -> str:
    """Return the stored form of a list's name: NFC, without blanks at its ends, and without case."""
    # Some letters come apart when they lose their case, and half a pair stays as it is.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of *known* names is most like *name*; empty if none is like it at all."""
    spelled = {folded(each): each for each in known}
    close = difflib.get_close_matches(folded(name), spelled, 1)
    return spelled[close[0]] if close else ""
