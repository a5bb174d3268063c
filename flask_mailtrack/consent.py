"""Who may be measured: what the host knows of it, and what follows.

The question is asked twice, before a mail is prepared and again when a hit is about to be stored, so
that a later "no" also silences the mails that are out already. What people say themselves, on the
preferences page, is an opt-out and stands above all that is answered here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Answer", "ConsentColumn", "Purpose", "consent_from"]

log: logging.Logger = logging.getLogger("flask_mailtrack.consent")


class Purpose(StrEnum):
    """What somebody is asked to agree to."""

    OPEN = "open"
    CLICK = "click"


class Answer(StrEnum):
    """What is known of somebody's consent."""

    GRANTED = "granted"
    DENIED = "denied"
    UNKNOWN = "unknown"
    """Nobody has asked, or nobody has answered: ``MAILTRACK_TRACK_WHEN_UNKNOWN`` decides."""
    EXEMPT = "exempt"
    """No consent is needed, by the law that the host is under."""


Consulted = Callable[[Collection[str], str], Mapping[str, Any]]
"""A function of the host's: it gets normalised addresses and ``"open"`` or ``"click"``, and returns an
:class:`Answer`, or its word, for each address. Who is missing is unknown. It is called in an app
context, for many people at a time, and must not count on a request.
"""


@dataclass(frozen=True, slots=True)
class ConsentColumn:
    """Two columns of a model of the host's; made by :func:`consent_from`."""

    email: Any
    consent: Any


def consent_from(email: Any, consent: Any) -> ConsentColumn:
    """Read consent from the host's own table, for both purposes: ``consent_from(User.email, User.tracking)``.

    It is compared without regard to case, so an index on ``lower(email)`` makes it quick. Where one
    address has several rows, a "no" in any of them counts.

    :param email: the column with the address.
    :param consent: a boolean column, or one with the words of :class:`Answer`; NULL is unknown.
    """
    return ConsentColumn(email, consent)


class Consent:
    """Turns answers into who must not be measured.

    :param ask: the host's function; ``None`` if it has none, and everybody may be measured.
    :param when_unknown: whether people are measured of whom nothing is known.
    :param temporary: errors that will pass: they are raised, so that a hit waits for the answer.
    """

    def __init__(self, ask: Consulted | None, when_unknown: bool, temporary: tuple[type[Exception], ...] = ()) -> None:
        self._ask = ask
        self._when_unknown = when_unknown
        self._temporary = temporary

    def denied(self, addresses: Collection[str], *purposes: Purpose, patient: bool = False) -> set[str]:
        """Return who of *addresses* must not be measured for one of *purposes*. A failing function says no.

        :param addresses: normalised.
        :param patient: raise errors that will pass.
        """
        if self._ask is None or not addresses:
            return set()
        try:
            return {a for purpose in purposes for a in self._refusing(self._ask, addresses, purpose)}
        except self._temporary:
            if patient:
                raise
            log.warning("consent cannot be read: nobody is measured", exc_info=True)
        except Exception:
            log.exception("the host's consent function fails: nobody is measured")
        return set(addresses)

    def _refusing(self, ask: Consulted, addresses: Collection[str], purpose: Purpose) -> set[str]:
        answers = ask(addresses, purpose.value)
        allowed = {Answer.GRANTED, Answer.EXEMPT} | ({Answer.UNKNOWN} if self._when_unknown else set())
        return {a for a in addresses if Answer(answers.get(a, Answer.UNKNOWN)) not in allowed}
