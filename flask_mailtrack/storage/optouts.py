"""Who has refused what: asked before each send, and before a hit is stored."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import or_, select

from flask_mailtrack.consent import Consent, Purpose
from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.events import BY_LINK, EVERYTHING, EventType, Hit, OptOutKind, Standing, Suppression

from .database import Database

REF = "ref:"
"""Prefix of an opt-out whose message row is gone, so that only the token's reference is left."""

OPT_OUTS = {
    EventType.UNSUBSCRIBED: (OptOutKind.UNSUBSCRIBE, True),
    EventType.SUBSCRIBED: (OptOutKind.UNSUBSCRIBE, False),
    EventType.DECLINED: (OptOutKind.TRACKING, True),
    EventType.ACCEPTED: (OptOutKind.TRACKING, False),
}

# One statement for ten thousand people under two keys. SQLite takes 32,766 parameters, PostgreSQL 65,535.
_CHUNK = 30_000

Change = Hit | Suppression


@dataclass(frozen=True, slots=True)
class _Refusal:
    method: str
    since: datetime


_Standing = dict[tuple[str, str, OptOutKind], _Refusal]
"""By address, list and kind."""


class OptOuts:
    """The standing refusals, pending ones included.

    :param database: where they are.
    :param refs: returns the references of an address under each signing key.
    :param waiting: returns the choices that are in the spool still; it is asked before the database,
        which has what is moved in between.
    :param consent: what the host knows of consent.
    :param catch_up: tries to move what people have just asked for from the spool to the database.
    :param remember: seconds for which :meth:`silent` remembers that nobody at all has declined.
    """

    def __init__(
        self,
        database: Database,
        refs: Callable[[str], Iterable[str]],
        waiting: Callable[[], Sequence[Change]] = list,
        consent: Consent | None = None,
        catch_up: Callable[[], object] = list,
        remember: float = 0,
    ) -> None:
        self._database = database
        self._refs = refs
        self._catch_up = catch_up
        self._waiting = waiting
        self._consent = consent or Consent(None, True)
        self._remember = remember
        self._nobody_until = 0.0

    def among(self, addresses: Collection[str], list_id: str) -> dict[str, set[OptOutKind]]:
        """Return what each of *addresses* has refused, as far as mail of *list_id* is concerned.

        :param addresses: normalised.
        :raises OptOutsUnavailable: it cannot be known.
        """
        try:
            self._catch_up()
            standing = self._standing(addresses, self._waiting())
        except Exception as error:
            raise OptOutsUnavailable(f"the opt-outs of list {list_id!r} cannot be read") from error
        refused: dict[str, set[OptOutKind]] = {}
        for address, found, kind in standing:
            if found in ("", list_id):
                refused.setdefault(address, set()).add(kind)
        return self._with_consent(addresses, refused)

    def silent(self, addresses: Collection[str]) -> dict[str, set[OptOutKind]]:
        """Return who of *addresses* does not want to be measured, for mail that nobody can leave.

        As long as nobody at all has said so, the database is asked every few seconds only: most hosts
        never have such a row, and a single mail should not cost a query. What is said to this
        process counts at once, what is said to another a few seconds later.

        :param addresses: normalised.
        :raises OptOutsUnavailable: it cannot be known.
        """
        refused: dict[str, set[OptOutKind]] = {}
        try:
            if time.monotonic() >= self._nobody_until:
                self._catch_up()
                pending = self._waiting()
                if self._anybody(pending):
                    refused = {address: {OptOutKind.TRACKING} for address in self._declined(addresses, pending)}
                else:
                    self._nobody_until = time.monotonic() + self._remember
        except Exception as error:
            raise OptOutsUnavailable("who does not want to be measured cannot be read") from error
        return self._with_consent(addresses, refused)

    def declined(self, addresses: Collection[str]) -> dict[str, datetime]:
        """Return who of *addresses* has declined to be measured on the pages, and since when.

        :param addresses: normalised.
        :raises SQLAlchemyError: it cannot be known now.
        """
        pending = self._waiting()
        return self._declined(addresses, pending) if self._anybody(pending) else {}

    def forget(self) -> None:
        """Ask the database again: somebody has just made a choice."""
        self._nobody_until = 0.0

    def standing(self, message_id: uuid.UUID, ref: str, about: str = "") -> Standing:
        """Return whom a message went to and what they have refused.

        :param ref: from the token; all that is left if the message row is gone.
        :param about: the list that the token names, if no mail was sent.
        """
        message, table = self._database.message, self._database.optout
        sent = self._database.rows(select(message.c.recipient, message.c.list_id).where(message.c.id == message_id))
        recipient, list_id = sent[0] if sent else ("", "")
        whose = or_(table.c.recipient.in_([recipient or REF + ref, REF + ref]), table.c.ref == ref)
        columns = (table.c.list_id, table.c.kind, table.c.method, table.c.message_id)
        rows = self._database.rows(select(*columns).where(whose, table.c.kind.in_(list(OptOutKind))))
        if not sent:  # purged: what this very link has done tells the list
            list_id = about or next((row[0] for row in rows if row[3] == message_id), "")
        refused = {(found, OptOutKind(kind)): method for found, kind, method, _ in rows}
        here = {(list_id, OptOutKind.UNSUBSCRIBE), ("", OptOutKind.UNSUBSCRIBE)}
        return Standing(
            recipient=recipient,
            list_id=list_id,
            left=frozenset(found for found, kind in refused if kind == OptOutKind.UNSUBSCRIBE),
            measured=("", OptOutKind.TRACKING) not in refused,
            locked=any(key in here and method not in BY_LINK for key, method in refused.items()),
        )

    def _with_consent(
        self, addresses: Collection[str], refused: dict[str, set[OptOutKind]]
    ) -> dict[str, set[OptOutKind]]:
        for address in self._consent.denied(addresses, *Purpose):
            refused.setdefault(address, set()).add(OptOutKind.TRACKING)
        return refused

    def _anybody(self, pending: Sequence[Change]) -> bool:
        if pending:
            return True
        table = self._database.optout
        return bool(self._database.rows(select(table.c.recipient).where(table.c.kind == OptOutKind.TRACKING).limit(1)))

    def _declined(self, addresses: Collection[str], pending: Sequence[Change]) -> dict[str, datetime]:
        standing = self._standing(addresses, pending)
        return {a: said.since for (a, list_id, kind), said in standing.items() if (list_id, kind) == _UNMEASURED}

    def _standing(self, addresses: Collection[str], pending: Sequence[Change]) -> _Standing:
        table = self._database.optout
        owners = {a: a for a in addresses} | {REF + ref: a for a in addresses for ref in self._refs(a)}
        spellings = list(owners)
        found: _Standing = {}
        for start in range(0, len(spellings), _CHUNK):
            columns = (table.c.recipient, table.c.list_id, table.c.kind, table.c.method, table.c.created_at)
            query = select(*columns).where(table.c.recipient.in_(spellings[start : start + _CHUNK]))
            for spelling, list_id, kind, method, since in self._database.rows(query):
                if spelling in owners:  # some collations find more than was asked for
                    key = (owners[spelling], list_id, OptOutKind(kind))
                    said = _Refusal(method, since if since.tzinfo else since.replace(tzinfo=UTC))
                    if key not in found or found[key].method in BY_LINK:  # what no link can undo is what counts
                        found[key] = said
        if pending:
            self._add(pending, owners, found)
        return found

    def _add(self, pending: Sequence[Change], owners: dict[str, str], found: _Standing) -> None:
        """Let the choices that are still in the spool count, in the order in which they were made."""
        mine = [c for c in pending if any(spelling in owners for spelling in _spellings(c))]
        lists = self._lists({c.message_id for c in mine if isinstance(c, Hit)})
        for change in sorted(mine, key=lambda change: change.occurred_at):
            owner = next(owners[spelling] for spelling in _spellings(change) if spelling in owners)
            list_id, kind, out = _meaning(change, lists)
            key = (owner, list_id, kind)
            if out:
                found.setdefault(key, _Refusal(change.method, change.occurred_at))
            elif key in found and _lifts(change, found[key]):
                del found[key]

    def _lists(self, message_ids: set[uuid.UUID]) -> dict[uuid.UUID, str]:
        if not message_ids:
            return {}
        table, some = self._database.message, list(message_ids)[:_CHUNK]
        rows = self._database.rows(select(table.c.id, table.c.list_id).where(table.c.id.in_(some)))
        return {row[0]: row[1] for row in rows}


_UNMEASURED = ("", OptOutKind.TRACKING)


def _lifts(change: Change, refusal: _Refusal) -> bool:
    by_right = isinstance(change, Suppression) or refusal.method in BY_LINK
    # What another machine has been told may be older than what stands.
    return by_right and refusal.since <= change.occurred_at


def _spellings(change: Change) -> list[str]:
    return [REF + change.ref] if isinstance(change, Hit) else [change.recipient, *(REF + ref for ref in change.refs)]


def _meaning(change: Change, lists: dict[uuid.UUID, str]) -> tuple[str, OptOutKind, bool]:
    """Return list, kind and direction; the list of an unknown message is taken for everything, to be safe."""
    if isinstance(change, Suppression):
        return change.list_id, change.kind, change.out
    kind, out = OPT_OUTS[change.type]
    named = "" if change.list_id == EVERYTHING or kind == OptOutKind.TRACKING else change.list_id
    about_message = not change.list_id and kind == OptOutKind.UNSUBSCRIBE
    return (lists.get(change.message_id, "") if about_message else named), kind, out
