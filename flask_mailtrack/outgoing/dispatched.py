"""What has left the app, by whichever door: one signal, which the mailbox and the tests of a host hear."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from blinker import NamedSignal, Namespace

from .mime import Mime

log: logging.Logger = logging.getLogger("flask_mailtrack.send")

_left: NamedSignal = Namespace().signal("mail-left")
"""A mail has left. The sender is the app; ``make`` returns the :class:`Dispatched`."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A mail that a server has just taken, or would have taken if sending were not suppressed."""

    content: bytes
    sender: str
    subject: str
    rows: dict[str, UUID | None]
    """The recipients of the envelope, each with the id of the message row; ``None``: there is no row."""
    written: tuple[str | None, str | None] | None
    """The HTML and the text as the author wrote them; ``None``: Mailtrack did not prepare this mail."""

    @classmethod
    def of(
        cls, content: bytes, rows: Mapping[str, UUID | None], written: tuple[str | None, str | None] | None = None
    ) -> Dispatched:
        """Return the mail with this content. Sender and subject are those of its headers."""
        mime = Mime(content)
        sender = next(iter(mime.addresses("From")), "")
        return cls(content, sender, mime.legible("Subject"), dict(sorted(rows.items())), written)


def listen(app: Any, wanted: Callable[[], bool], hears: Callable[[Dispatched], None]) -> object:
    """Tell *hears* of each mail that has left *app*, once. An error is logged, and costs no mail.

    :param wanted: asked first, because it takes time to write a mail out once more.
    :returns: an object to hold. When nobody holds it any more, *hears* is told of nothing.
    """

    def receive(_: Any, make: Callable[[], Dispatched]) -> None:
        try:
            if wanted():
                hears(make())
        except Exception:
            log.exception("a mail that was sent is not shown")

    _left.connect(receive, app)
    return receive


def tell(app: Any, make: Callable[[], Dispatched]) -> None:
    """Tell whoever listens that a mail has left *app*. Each door calls this, once for each mail.

    :param make: is called only if somebody listens.
    """
    if app is not None:
        _left.send(app, make=make)
