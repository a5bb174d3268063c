"""Who gets a copy: the addresses of a message, without those who have left, or have got the mail of its send key."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flask_mailtrack.events import OptOutKind, SentCopy
from flask_mailtrack.storage.tables.claims import Claims, Held
from flask_mailtrack.storage.tables.optouts import OptOuts

from .delivery import Address, Letter, compared
from .options import Tracking

log: logging.Logger = logging.getLogger("flask_mailtrack.send")


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address, in the author's spelling and in the spelling for comparisons."""

    written: Address
    address: str
    refused: frozenset[OptOutKind] = frozenset()

    @property
    def silent(self) -> bool:
        """Whether the person does not want to be measured."""
        return OptOutKind.TRACKING in self.refused

    @property
    def gone(self) -> bool:
        """Whether the person has left."""
        return OptOutKind.UNSUBSCRIBE in self.refused


def recipients_of(letter: Letter, choice: Tracking, optouts: OptOuts, way_out: bool) -> list[Recipient]:
    """Return each person once, in the author's order.

    :param way_out: whether the mail carries a way to leave.
    :raises OptOutsUnavailable: the opt-outs of a list mail cannot be read.
    """
    # A host's own Message class may name other recipients than its headers. Its send_to counts.
    wanted = set(letter.send_to)
    named = [*letter.recipients, *letter.cc, *letter.bcc]
    found: dict[str, Address] = {}
    for written in [*(w for w in named if w in wanted), *wanted.difference(named)]:
        found.setdefault(compared(written), written)
    refused = _refused(list(found), choice, optouts, way_out)
    return [Recipient(w, address, frozenset(refused.get(address, ()))) for address, w in found.items()]


def _refused(addresses: list[str], choice: Tracking, optouts: OptOuts, way_out: bool) -> Mapping[str, set[OptOutKind]]:
    # The switch for unsubscribe is about headers and footer. People who have left get no mail in any case.
    if not choice.transactional and (choice.list_id or way_out):
        return optouts.among(addresses, choice.list_id)
    if not choice.opens and not choice.clicks:
        return {}
    try:
        return optouts.silent(addresses)
    except Exception as error:
        # Without the opt-outs nobody may be measured, but the mail itself must go out.
        log.warning("the message goes out untracked: %s", error)
        log.debug("why the opt-outs cannot be read", exc_info=True)
        return {address: {OptOutKind.TRACKING} for address in addresses}


def held_for(
    claims: Claims, choice: Tracking, recipients: Sequence[Recipient], named: Callable[[uuid.UUID], uuid.UUID]
) -> tuple[Held, list[SentCopy]]:
    """Claim the send key of a message, if it has one; return the claims, and the copies of earlier calls.

    :param named: makes the id of a message row of that of a claim.
    :raises KeyNotClaimed: the claims cannot be written.
    """
    if not choice.key:
        return Held(), []
    held = claims.hold(choice.key, {r.address: not r.gone for r in recipients}, choice.retry_unknown)
    if held.others:
        log.info("%d of %d have got the mail of the key %r already", len(held.others), len(recipients), choice.key)
    return held, [SentCopy(named(each.message_id), address, each.status) for address, each in held.others.items()]
