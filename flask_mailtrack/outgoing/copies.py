"""What goes in and comes out of the preparation: a letter, the opt-outs to ask, copies, a batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.events import LinkTarget, OptOutKind, SentMessage

from .addresses import Address


class OptOuts(Protocol):
    """What is asked before a send; both may raise ``OptOutsUnavailable``."""

    def among(self, addresses: Collection[str], list_id: str) -> Mapping[str, set[OptOutKind]]:
        """Return what each address has refused of a list."""

    def silent(self, addresses: Collection[str]) -> Mapping[str, set[OptOutKind]]:
        """Return who does not want to be measured."""


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
class Batch:
    """Everything that one send call leads to."""

    copies: Iterator[Copy]
    """Each is made when it is asked for, so that a newsletter is never in memory as a whole."""
    suppressed: list[SentMessage]
    common: tuple[LinkTarget | SentMessage, ...]
    """What the copies share: where the links lead, and the counter in aggregate mode."""
    failures: list[RewriteError]
    """Why the HTML goes out as the author wrote it, if it does; or that its end will not be seen.

    Complete when all copies have been made."""
