"""Time zones by their names, as the IANA database has them."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


@lru_cache(64)
def zone_of(name: str) -> tzinfo:
    """Return a time zone.

    :param name: such as ``Europe/Berlin``; ``UTC`` needs no database.
    :raises ValueError: there is none of that name on this machine.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"{name!r} is no time zone") from error
