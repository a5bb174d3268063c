"""Consent: the host says who may be measured.

The host is asked twice: before a mail is prepared, and again before a hit is stored. So a later "no"
also holds for mails that are out already. A choice of a person on the preferences page is an opt-out,
and stands above the host's answer.
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
    """The purpose that a person is asked to agree to."""

    OPEN = "open"
    CLICK = "click"


class Answer(StrEnum):
    """The host's knowledge of a person's consent."""

    GRANTED = "granted"
    DENIED = "denied"
    UNKNOWN = "unknown"
    """The person was not asked, or has not answered. ``MAILTRACK_TRACK_WHEN_UNKNOWN`` decides."""
    EXEMPT = "exempt"
    """The law of the host does not ask for consent."""


Consulted = Callable[[Collection[str], str], Mapping[str, Any]]
"""A function of the host. It gets normalised addresses and ``"open"`` or ``"click"``, and returns an
:class:`Answer`, or the word of one, for each address. A missing address is unknown. The function is called
in an app context, for many people at a time, and must not rely on a request.
"""


@dataclass(frozen=True, slots=True)
class ConsentColumn:
    """Two columns of a model of the host. Made by :func:`consent_from`."""

    email: Any
    consent: Any


def consent_from(email: Any, consent: Any) -> ConsentColumn:
    """Read consent from the host's own table, for both purposes: ``consent_from(User.email, User.tracking)``.

    Addresses are compared without regard to case, so an index on ``lower(email)`` makes the query quick. If an
    address has several rows, a "no" in any of them counts.

    :param email: the column with the address.
    :param consent: a boolean column, or one with the words of :class:`Answer`; NULL is unknown.
    """
    return ConsentColumn(email, consent)


class Consent:
    """Finds the people who must not be measured.

    :param ask: the host's function; ``None`` if the host has none and everybody may be measured.
    :param when_unknown: whether to measure people of whom the host knows nothing.
    :param temporary: errors that pass. They are raised, so that a hit waits for the answer.
    """

    def __init__(self, ask: Consulted | None, when_unknown: bool, temporary: tuple[type[Exception], ...] = ()) -> None:
        self._ask = ask
        self._when_unknown = when_unknown
        self._temporary = temporary

    def denied(self, addresses: Collection[str], *purposes: Purpose, patient: bool = False) -> set[str]:
        """Return the *addresses* that must not be measured for one of *purposes*. A failing function says no.

        :param addresses: normalised.
        :param patient: raise errors that pass.
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
