"""What goes in and comes out of the preparation: a letter, its addresses, and the copies of one mailing.

Addresses are read as Flask-Mail reads them, and compared in one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache
from typing import Any, Protocol

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.events import LinkTarget, SentMessage
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


class Letter(Protocol):
    """What is read of a Flask-Mail message."""

    subject: str
    sender: Any
    recipients: list[Address]
    cc: list[Address]
    bcc: list[Address]
    body: str | None
    html: str | None
    alts: dict[str, str]
    extra_headers: dict[str, str] | None
    charset: str | None
    msgId: str  # noqa: N815 - Flask-Mail's name

    @property
    def send_to(self) -> set[Address]:
        """The envelope."""
        ...


@dataclass(frozen=True, slots=True)
class Copy:
    """What one envelope carries.

    ``rows`` are the message rows of the recipients in the envelope; none of a mail that is not to be kept.
    """

    recipients: tuple[Address, ...]
    rows: tuple[SentMessage, ...]
    html: str | None
    body: str | None
    alts: dict[str, str]
    extra_headers: dict[str, str]
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Mailing:
    """Everything that one send call leads to."""

    copies: Iterator[Copy]
    """Each is made when it is asked for, so that a newsletter is never in memory as a whole."""
    suppressed: list[SentMessage]
    common: tuple[LinkTarget | SentMessage, ...]
    """What the copies share: where the links lead, and the counter in aggregate mode."""
    failures: list[RewriteError]
    """Why the HTML goes out as the author wrote it, if it does; or that its end will not be seen.

    Complete when all copies have been made."""
