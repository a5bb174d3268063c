"""The fate of a mail, explained: by the operator, the configuration, a block, a header, or the mail itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flask_mailtrack.config import Settings
from flask_mailtrack.phrases import foreign
from flask_mailtrack.storage.tables.switches import SWITCHES, Decision, SwitchStatus, status_of

from . import options
from .bodies import Preview
from .delivery import compared
from .headers import take_switches
from .prepare import Preparer
from .text import plain


def preview_of(preparer: Preparer, written: Any, list_id: str | None, sender: str) -> Preview:
    """Return the changes that tracking would make in a body, and the switches for the mail.

    :param written: HTML, or a whole message with options, headers and a sender.
    :param list_id: the list, if *written* does not name one.
    :param sender: an address, if *written* does not name one; empty: any sender of the account.
    """
    settings, operator = preparer.settings, preparer.operator
    given = dict(getattr(written, "extra_headers", None) or {})
    header = "; ".join(str(value) for name, value in given.items() if name.lower() == options.HEADER.lower())
    foreign = take_switches(given) if settings.foreign_headers else {}
    own: options.Options | None = getattr(written, options.ATTRIBUTE, None)
    if list_id:
        own = (own or options.Options()).within(options.Options(list_id=list_id))
    said = sender or getattr(written, "sender", None)
    address = compared(said) if said else "@"
    domain = address.rpartition("@")[2]
    choice = options.choose(settings, domain, header, own, foreign, operator.decisions(address))
    choice = replace(choice, base_url=operator.base_url(address))
    shown = preparer.bodies.preview(plain(getattr(written, "html", written)) or "", choice)
    places = options.places(header, own, foreign)
    return replace(shown, switches=explain(settings, domain, operator.explained(address), choice, places))


def explain(
    settings: Settings,
    domain: str,
    decided: Mapping[str, Decision],
    choice: options.Tracking,
    places: Sequence[tuple[str, options.Options]],
) -> tuple[SwitchStatus, ...]:
    """Return the state of each switch for one mail, and the reason.

    :param domain: the sender's domain.
    :param decided: the operator's settings, by switch.
    :param choice: the decision that follows from all places.
    :param places: the options of narrower places, as :func:`.options.places` returns them.
    """
    return tuple(_explained(settings, key, domain, decided[key], choice, places) for key in SWITCHES)


def _explained(
    settings: Settings,
    key: str,
    domain: str,
    decision: Decision,
    choice: options.Tracking,
    places: Sequence[tuple[str, options.Options]],
) -> SwitchStatus:
    wide, holds = status_of(settings, key, decision, domain), bool(getattr(choice, key))
    if holds == wide.enabled:
        return wide
    named = [place for place, said in places if getattr(said, key) is holds]
    if named:
        return SwitchStatus.because(key, holds, foreign(f"{'on' if holds else 'off'} by {named[-1]}"))
    return SwitchStatus.because(key, holds, foreign(_consequence(choice)))


def _consequence(choice: options.Tracking) -> str:
    """Return the cause that switches something off without naming it."""
    if choice.transactional:
        return "the mail is transactional"
    return "the mail names no list" if choice.store else "the mail is not to be kept"
