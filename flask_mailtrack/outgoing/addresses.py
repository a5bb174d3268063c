"""The addresses of a message: as Flask-Mail reads them, and as they are compared."""

from __future__ import annotations

import re
from email.utils import parseaddr
from functools import lru_cache

from flask_mailtrack.privacy import normalise

Address = str | tuple[str, str]

_ATOMS = r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*"
_BARE = re.compile(rf"{_ATOMS}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


def is_bare(written: Address) -> bool:
    """Say whether *written* is nothing but a usual address, as most are: then it need not be parsed."""
    return isinstance(written, str) and _BARE.fullmatch(written) is not None


def name_and_address(written: Address) -> tuple[str, str]:
    """Return what Flask-Mail takes for the name and for the address."""
    if isinstance(written, str):
        return ("", written) if is_bare(written) else _parsed(written)
    return written


def compared(written: Address) -> str:
    """Return the address that Flask-Mail will use, in the spelling in which addresses are compared."""
    if is_bare(written):
        return str(written).lower()
    bare = written[1] if isinstance(written, tuple) else _parsed(str(written or ""))[1]
    return normalise(bare or str(written or ""))


@lru_cache(256)  # a host writes to many people, but as few senders
def _parsed(written: str) -> tuple[str, str]:
    try:
        return parseaddr(written)
    except RecursionError:  # thousands of brackets
        return "", ""
