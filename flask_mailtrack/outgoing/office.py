"""The office through which each mail of an app goes, whatever hands it in: Flask-Mail, or the host itself."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from flask_mailtrack.errors import STOPPING, KeyNotClaimed, OptOutsUnavailable
from flask_mailtrack.events import SentCopy

from .delivery import Copy, Delivery, Ledger, Letter, Mailing
from .dispatched import Dispatched, tell
from .options import HEADER, key_of, names_a_list
from .prepare import Preparer

log: logging.Logger = logging.getLogger("flask_mailtrack.send")
T = TypeVar("T")


@dataclass(frozen=True)
class SendServices:
    """The parts that are needed to send tracked mail; one object per app."""

    preparer: Preparer
    ledger: Ledger
    home: weakref.ref[Any]
    """The app. A reference to the app itself would keep it alive."""

    def mailing(self, letter: Letter) -> Mailing | None:
        """Return the copies of *letter*; ``None``: it goes out as its author wrote it.

        :raises OptOutsUnavailable: the letter names a list whose opt-outs cannot be read.
        :raises UnknownList: the letter names a list that is not in ``MAILTRACK_LISTS``.
        :raises UnknownTag: the tag is retired, or is not among the declared tags.
        :raises KeyNotClaimed: the send key of the letter cannot be claimed.
        """
        if not self.preparer.settings.enabled:
            return None
        return self.attempt(letter, lambda: self.preparer.prepare(letter))

    def attempt(self, letter: Any, work: Callable[[], T]) -> T | None:
        """Do something with *letter*, and return the result; ``None``: it failed, which is logged and signalled.

        The exceptions are those of :meth:`mailing`.
        """
        try:
            return work()
        except STOPPING:
            raise
        except Exception as error:
            if names_a_list(letter):
                raise OptOutsUnavailable("the message could not be prepared, so nobody was asked") from error
            if key := key_of(letter):
                raise KeyNotClaimed(key, "the message could not be prepared", "The cause is chained.") from error
            log.exception("a message goes out untracked")
            self.ledger.journal.failed("prepare", error)
            return None

    def send(
        self,
        mailing: Mailing,
        connection: Any,
        transmit: Callable[[T], None],
        written: Callable[[Copy], T],
        author: Any,
    ) -> dict[str, tuple[int, bytes]]:
        """Send all copies over one connection, note the fate of each, and return the answers to refused recipients.

        :param transmit: sends what *written* has made of a copy.
        :param author: the message as the host has it, which :func:`sent_copies` is asked for.
        :raises Exception: the error that the host would have seen without Mailtrack, after all copies were tried.
        """
        page = self.ledger.page(mailing.common, mailing.suppressed)
        page.known.update({copy.id: copy for copy in mailing.repeated})
        delivery = Delivery(connection, transmit, page, mailing.held)
        try:
            for copy in mailing.copies:
                made = written(copy)
                page.begin(copy.rows)
                delivery.send(made, copy)
        finally:
            page.close()
            mailing.held.close()
            self.ledger.journal.wake()
            self.tell(mailing)
            remember(author, page.known)
        delivery.report()
        return delivery.refused

    def left(self, make: Callable[[], Dispatched]) -> None:
        """Tell whoever listens that a mail has left, by a door that is not Flask-Mail's."""
        tell(self.home(), make)

    def tell(self, mailing: Mailing) -> None:
        """Log and signal the reasons for which a part of *mailing* went out as its author wrote it."""
        for failure in mailing.failures:
            reason = failure.reason if failure.reason in ("clipped", "prepare") else "rewrite"
            what = {"clipped": "HTML too long", "unreadable": "a part goes out as written"}
            log.warning("%s: %s", what.get(failure.reason, "HTML goes out as written"), failure)
            self.ledger.journal.failed(reason, failure)


def without_ours(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the author's headers without the one that tells us options: no mail leaves with it."""
    return {name: value for name, value in headers.items() if name.lower() != HEADER.lower()}


_sent: dict[int, tuple[weakref.ref[Any], Mapping[UUID, SentCopy]]] = {}
"""The copies of each message that somebody still holds. The message itself stays as its author made it."""


def remember(message: Any, copies: Mapping[UUID, SentCopy]) -> None:
    """Remember the copies of *message* for as long as somebody holds the message."""
    key = id(message)  # a message has no hash
    with suppress(TypeError):  # bytes, or a class of the host's, may have no room for a weak reference
        _sent[key] = weakref.ref(message, lambda _: _sent.pop(key, None)), copies


def sent_copies(message: Any) -> tuple[SentCopy, ...]:
    """Return the copies of the last send of *message*, in the order of their ids; empty: not sent, or untracked."""
    of, copies = _sent.get(id(message), (None, {}))
    return tuple(sorted(copies.values())) if of is not None and of() is message else ()
