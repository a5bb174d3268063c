"""Who has refused what: asked before each send."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable

from sqlalchemy import select

from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.events import OptOutKind, Standing

from .database import Database

REF = "ref:"
"""Prefix of an opt-out whose message row is gone, so that only the token's reference is left."""

_CHUNK = 1_000


class OptOuts:
    """The standing refusals, pending ones included.

    :param database: where they are.
    :param refs: returns the references of an address under each signing key.
    :param catch_up: moves what people have just asked for from the spool to the database.
    :param remember: seconds for which :meth:`silent` remembers that nobody at all has declined.
    """

    def __init__(
        self,
        database: Database,
        refs: Callable[[str], Iterable[str]],
        catch_up: Callable[[], object],
        remember: float = 0,
    ) -> None:
        self._database = database
        self._refs = refs
        self._catch_up = catch_up
        self._remember = remember
        self._nobody_until = 0.0

    def among(self, addresses: Collection[str], list_id: str) -> dict[str, set[OptOutKind]]:
        """Return what each of *addresses* has refused, as far as mail of *list_id* is concerned.

        :param addresses: normalised.
        :raises OptOutsUnavailable: it cannot be known.
        """
        try:
            self._catch_up()
            return self._ask(list(addresses), list_id)
        except Exception as error:
            raise OptOutsUnavailable(f"the opt-outs of list {list_id!r} cannot be read") from error

    def silent(self, addresses: Collection[str]) -> dict[str, set[OptOutKind]]:
        """Return who of *addresses* does not want to be measured, for mail that nobody can leave.

        As long as nobody at all has said so, the database is asked every few seconds only: most hosts
        never have such a row, and a single mail should not cost a query. What is said to this
        process counts at once, what is said to another a few seconds later.

        :param addresses: normalised.
        :raises OptOutsUnavailable: it cannot be known.
        """
        try:
            if time.monotonic() < self._nobody_until:
                return {}
            self._catch_up()
            table = self._database.optout
            anybody = select(table.c.recipient).where(table.c.kind == OptOutKind.TRACKING).limit(1)
            if not self._database.rows(anybody):
                self._nobody_until = time.monotonic() + self._remember
                return {}
            return {a: kinds for a, kinds in self._ask(list(addresses), "").items() if OptOutKind.TRACKING in kinds}
        except Exception as error:
            raise OptOutsUnavailable("who does not want to be measured cannot be read") from error

    def forget(self) -> None:
        """Ask the database again: somebody has just made a choice."""
        self._nobody_until = 0.0

    def standing(self, message_id: uuid.UUID, ref: str) -> Standing:
        """Return whom a message went to and what they have refused.

        :param ref: from the token; all that is left if the message row is gone.
        """
        message, table = self._database.message, self._database.optout
        sent = self._database.rows(select(message.c.recipient, message.c.list_id).where(message.c.id == message_id))
        recipient, list_id = sent[0] if sent else ("", "")
        query = select(table.c.list_id, table.c.kind).where(table.c.recipient.in_([recipient, REF + ref]))
        refused = {(found, OptOutKind(kind)) for found, kind in self._database.rows(query)}
        return Standing(
            recipient=recipient,
            list_id=list_id,
            left=frozenset(found for found, kind in refused if kind == OptOutKind.UNSUBSCRIBE),
            measured=("", OptOutKind.TRACKING) not in refused,
        )

    def _ask(self, addresses: list[str], list_id: str) -> dict[str, set[OptOutKind]]:
        table = self._database.optout
        owners = {a: a for a in addresses} | {REF + ref: a for a in addresses for ref in self._refs(a)}
        spellings = list(owners)
        refused: dict[str, set[OptOutKind]] = {}
        for start in range(0, len(spellings), _CHUNK):
            query = select(table.c.recipient, table.c.list_id, table.c.kind).where(
                table.c.recipient.in_(spellings[start : start + _CHUNK]), table.c.list_id.in_(["", list_id])
            )
            for spelling, found, kind in self._database.rows(query):
                if spelling in owners and found in ("", list_id):  # some collations find more than was asked for
                    refused.setdefault(owners[spelling], set()).add(OptOutKind(kind))
        return refused
