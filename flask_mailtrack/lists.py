"""The names of lists. A name is stored and compared in one spelling, however it is written."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


def folded(name: str) -> str:
    """Return the stored form of a list's name: NFC, without blanks at its ends, and without case."""
    # Some letters decompose when they lose their case, so NFC comes last. Half a surrogate pair stays as it is.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the most similar of the *known* names; empty if none is similar."""
    spelled = {folded(each): each for each in known}
    close = difflib.get_close_matches(folded(name), spelled, 1)
    return spelled[close[0]] if close else ""
