"""How much of the much is tried: a share in each run, all of it before a release.

Real mails, random edits and random inputs are many, and each one takes its time. A share finds what breaks a rule; what
breaks one mail in a thousand is found before a release, with ``MAILTRACK_THOROUGH=1``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

THOROUGH = bool(os.environ.get("MAILTRACK_THOROUGH"))

T = TypeVar("T")


def share(of: Sequence[T], nth: int = 5) -> Sequence[T]:
    """Return each *nth* of them, or all."""
    return of if THOROUGH else of[::nth]


def some(number: int, part: int = 4) -> int:
    """Return a part of a number of tries, or the whole number."""
    return number if THOROUGH else max(1, number // part)
