"""The opt-outs: asked before each send, and before a hit is stored."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy import or_, select

from flask_mailtrack.consent import Consent, Purpose
from flask_mailtrack.errors import OptOutsUnavailable, StreamError
from flask_mailtrack.events import BY_LINK, EVERYTHING, Hit, OptOutKind, Standing, Suppression
from flask_mailtrack.lists import folded
from flask_mailtrack.storage.records import batched
from flask_mailtrack.tokens import Signer

from .database import Database, missing_tables
from .refused import OPT_OUTS, REF, Change, Refused

# One statement for ten thousand people under two keys. SQLite takes 32,766 parameters, PostgreSQL 65,535.
_CHUNK = 30_000

MARKED = "lifted"
"""A mark in the audit, not a change: the refusal is lifted, even if it arrives later or again."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    method: str
    since: datetime
    early: bool = False
    """The refusal was stored before the row of its message. It is about everything, but may be meant for one list."""


_Standing = dict[tuple[str, str, OptOutKind], dict[str, _Refusal]]
"""Refusals by address, list and kind, and then by id."""


class Pending(Protocol):
    """The choices that are not in the database yet."""

    def read(self) -> Sequence[Change]:
        """Return the choices. Called before the database is asked, so that moved choices are not missed."""
        ...

    def elsewhere(self) -> Sequence[Change]:
        """Return the choices that only other machines have, for the pages."""
        ...

    def catch_up(self) -> object:
        """Try to move waiting choices to the database."""
        ...


class _NothingPending:
    """Stands for no pending choices, for callers that ask the database only."""

    def read(self) -> Sequence[Change]:
        """Return nothing."""
        return ()

    elsewhere = catch_up = read


_NOTHING = _NothingPending()


class OptOuts:
    """The standing refusals, pending ones included.

    :param database: holds the opt-outs.
    :param signer: makes the references of an address under each signing key.
    :param pending: the choices that are still in a journal.
    :param consent: the host's knowledge of consent.
    :param refused: holds the refusals that the database did not take as they are.
    :param remember: seconds for which :meth:`silent` remembers that nobody has declined.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        pending: Pending = _NOTHING,
        consent: Consent | None = None,
        remember: float = 0,
        refused: Refused | None = None,
    ) -> None:
        self._database = database
        self._refs = signer.recipient_refs
        self._pending = pending
        self._consent = consent or Consent(None, True)
        self._remember = remember
        self._refused = refused
        self._nobody_until = 0.0

    def among(self, addresses: Collection[str], list_id: str) -> dict[str, set[OptOutKind]]:
        """Return the refusals of each of *addresses* that matter for mail of *list_id*.

        :param addresses: normalised.
        :raises OptOutsUnavailable: the opt-outs cannot be read.
        """
        try:
            self._pending.catch_up()
            standing = self._standing(addresses, self._pending.read())
        except Exception as error:
            raise OptOutsUnavailable(f"the opt-outs of list {list_id!r} cannot be read{self._cure(error)}") from error
        refused: dict[str, set[OptOutKind]] = {}
        for address, found, kind in standing:
            if found in ("", folded(list_id)):
                refused.setdefault(address, set()).add(kind)
        return self._with_consent(addresses, refused)

    def silent(self, addresses: Collection[str]) -> dict[str, set[OptOutKind]]:
        """Return the *addresses* that do not want to be measured, for mail that nobody can leave.

        As long as nobody has declined, the database is asked every few seconds only. Most hosts never have such
        a row, and a single mail should not cost a query. A refusal in this process counts at once, and a refusal
        in another process a few seconds later.

        :param addresses: normalised.
        :raises OptOutsUnavailable: the opt-outs cannot be read.
        """
        refused: dict[str, set[OptOutKind]] = {}
        try:
            if time.monotonic() >= self._nobody_until:
                self._pending.catch_up()
                pending = self._pending.read()
                if self._anybody(pending):
                    refused = {address: {OptOutKind.TRACKING} for address in self._declined(addresses, pending)}
                else:
                    self._nobody_until = time.monotonic() + self._remember
        except Exception as error:
            raise OptOutsUnavailable(f"who does not want to be measured cannot be read{self._cure(error)}") from error
        return self._with_consent(addresses, refused)

    def declined(self, addresses: Collection[str]) -> dict[str, datetime]:
        """Return the *addresses* that have declined to be measured on the pages, with the time.

        :param addresses: normalised.
        :raises SQLAlchemyError: the database cannot tell now.
        """
        pending = self._pending.read()
        return self._declined(addresses, pending) if self._anybody(pending) else {}

    def _cure(self, error: Exception) -> str:
        """Return the cure if only the tables are missing. A database that hangs is not asked again."""
        if not any(word in str(getattr(error, "orig", "")) for word in ("no such table", "exist")):
            return ""
        try:
            missing = missing_tables(self._database)
        except Exception:  # the database is away
            return ""
        return f": no table {', '.join(missing)}; run db.create_all() or a migration" if missing else ""

    def wake(self) -> None:
        """Ask the database at the next call, because somebody has just made a choice."""
        self._nobody_until = 0.0

    def standing(self, message_id: uuid.UUID, ref: str, about: str = "") -> Standing:
        """Return the recipient of a message and the recipient's refusals, as far as any machine knows.

        :param ref: the reference from the token; nothing else is left if the message row is gone.
        :param about: the list that the token names, if no mail was sent.
        """
        pending, sure = self._known()
        message, table = self._database.message, self._database.optout
        sent = self._database.rows(select(message.c.recipient, message.c.list_id).where(message.c.id == message_id))
        recipient, list_id = (sent[0][0], folded(sent[0][1])) if sent else ("", "")
        names = {REF + ref, *((recipient, *(REF + each for each in self._refs(recipient))) if recipient else ())}
        whose = or_(table.c.recipient.in_(sorted(names)), table.c.ref == ref)
        columns = [table.c[name] for name in _COLUMNS]
        rows = self._database.rows(select(*columns).where(whose, table.c.kind.in_(list(OptOutKind))))
        if not sent:  # the row was purged, and the refusals of this same link tell the list
            list_id = folded(about) or next((folded(row[1]) for row in rows if row[5] == message_id), "")
        found: _Standing = {}
        owners = dict.fromkeys((*names, *(row[0] for row in rows)), "")
        _read(rows, owners, found, by_id=True)
        self._add(self._with_refused(pending, owners), owners, found)
        refused = {(about, kind): refusals for (_, about, kind), refusals in found.items()}
        here = [refused.get((about, OptOutKind.UNSUBSCRIBE), {}) for about in (list_id, "")]
        return Standing(
            recipient=recipient,
            list_id=list_id,
            left=frozenset(about for about, kind in refused if kind == OptOutKind.UNSUBSCRIBE),
            measured=_UNMEASURED not in refused,
            locked=any(refusal.method not in BY_LINK for refusals in here for refusal in refusals.values()),
            refusals={
                key: tuple(name for name, refusal in refusals.items() if refusal.method in BY_LINK)
                for key, refusals in refused.items()
            },
            sure=sure,
        )

    def named(self, address: str, list_id: str, kind: OptOutKind) -> tuple[str, ...]:
        """Return the ids of all standing refusals of a person for exactly one list, so that the host can lift them.

        :param address: normalised.
        :param list_id: folded.
        :raises OptOutsUnavailable: the opt-outs cannot be read.
        """
        try:
            found = self._standing([address], self._pending.read(), by_id=True)
        except Exception as error:
            raise OptOutsUnavailable("what stands against somebody cannot be read, so nothing was lifted") from error
        return tuple(found.get((address, list_id, kind), ()))

    def _known(self) -> tuple[list[Change], bool]:
        """Return the choices that are not in the database yet, and whether all machines could be asked."""
        try:
            others, sure = list(self._pending.elsewhere()), True
        except StreamError:
            others, sure = [], False
        return list({change.id: change for change in (*others, *self._pending.read())}.values()), sure

    def _with_refused(self, pending: Sequence[Change], names: Iterable[str]) -> Sequence[Change]:
        """Return *pending* with the refusals of these people that the database did not take, of all machines."""
        if self._refused is None:
            return pending
        more = self._refused.of(name.removeprefix(REF) for name in names if name.startswith(REF))
        return list({change.id: change for change in (*more, *pending)}.values()) if more else pending

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
        declined = select(table.c.recipient).where(table.c.kind == OptOutKind.TRACKING).limit(1)
        return bool(self._database.rows(declined) or (self._refused is not None and self._refused.any()))

    def _declined(self, addresses: Collection[str], pending: Sequence[Change]) -> dict[str, datetime]:
        standing = self._standing(addresses, pending)
        return {
            address: min(refusal.since for refusal in refusals.values())
            for (address, list_id, kind), refusals in standing.items()
            if (list_id, kind) == _UNMEASURED
        }

    def _standing(self, addresses: Collection[str], pending: Sequence[Change], by_id: bool = False) -> _Standing:
        """Return the standing refusals of *addresses*.

        :param by_id: read the ids of the refusals, too; they are also read if an undo may wait.
        """
        table = self._database.optout
        owners = {a: a for a in addresses} | {REF + ref: a for a in addresses for ref in self._refs(a)}
        spellings = list(owners)
        pending = self._with_refused(pending, spellings)
        found: _Standing = {}
        by_id = by_id or bool(pending)
        columns = [table.c[name] for name in (_COLUMNS if by_id else _COLUMNS[:5])]
        for some in batched(spellings, _CHUNK):
            query = select(*columns).where(table.c.recipient.in_(some))
            _read(self._database.rows(query), owners, found, by_id)
        if pending:
            self._add(pending, owners, found)
        return found

    def _add(self, pending: Sequence[Change], owners: dict[str, str], found: _Standing) -> None:
        """Apply the choices that are still in the spool, in any order."""
        mine = [c for c in pending if any(spelling in owners for spelling in _spellings(c))]
        lists = self._lists({c.message_id for c in mine if isinstance(c, Hit)})
        meant = {c.id: _meaning(c, lists) for c in mine}
        # The pending refusal may be a copy of one that was moved, and perhaps lifted, meanwhile.
        done = self._done([(c, meant[c.id][0]) for c in mine if meant[c.id][2]])
        undone: list[tuple[str, Change]] = []
        for change in mine:
            owner = next(owners[spelling] for spelling in _spellings(change) if spelling in owners)
            list_id, kind, out = meant[change.id]
            if not out:
                undone.append((owner, change))
            elif change.id not in done:
                early = isinstance(change, Hit) and change.message_id not in lists
                refusal = _Refusal(change.method, change.occurred_at, early)
                found.setdefault((owner, list_id, kind), {}).setdefault(change.id.hex, refusal)
        for owner, change in undone:
            list_id, kind, _ = meant[change.id]
            _lift(found, (owner, list_id, kind), change)
            if isinstance(change, Hit) and list_id:
                _lift(found, (owner, "", kind), change, early=True)

    def _done(self, refusals: Sequence[tuple[Change, str]]) -> set[uuid.UUID]:
        """Return the ids of pending refusals that have been in the database, or were lifted before they came."""
        marks = {c.id: {c.id, *marks_on(c, list_id)} for c, list_id in refusals}
        wanted = sorted({mark for each in marks.values() for mark in each})
        column, found = self._database.audit.c.id, set()
        for some in batched(wanted, _CHUNK):
            rows = self._database.rows(select(column).where(column.in_(some)))
            found |= {row[0] for row in rows}
        return {each for each, its in marks.items() if its & found}

    def _lists(self, message_ids: set[uuid.UUID]) -> dict[uuid.UUID, str]:
        if not message_ids:
            return {}
        table, some = self._database.message, list(message_ids)[:_CHUNK]
        rows = self._database.rows(select(table.c.id, table.c.list_id).where(table.c.id.in_(some)))
        return {row[0]: folded(row[1]) for row in rows}


_UNMEASURED = ("", OptOutKind.TRACKING)
_COLUMNS = ("recipient", "list_id", "kind", "method", "created_at", "message_id", "refusals")


def held(row: Any) -> dict[str, str]:
    """Return the refusals behind a row of the table: the way of each, by its id.

    A row from before refusals had ids, or one that was written by hand, is one refusal. Its id is made from the row.
    """
    if row.refusals:  # Flask-Admin writes an empty value for NULL
        return dict(row.refusals)
    since = row.created_at.isoformat()
    return {uuid.uuid5(_ROWS, f"{row.list_id}\0{row.kind}\0{since}\0{row.message_id}").hex: row.method}


def marks_on(refusal: Change, list_id: str) -> list[uuid.UUID]:
    """Return the audit ids that show whether *refusal* was lifted before it arrived. One of them is enough.

    :param list_id: the list of the refusal, as stored.
    """
    if isinstance(refusal, Suppression):
        return [mark(refusal.id.hex, ref, True, refusal.kind, list_id) for ref in refusal.refs]
    kind = OPT_OUTS[refusal.type][0]
    scopes = [list_id] if refusal.list_id else [list_id, f"message:{refusal.message_id}"]
    return [mark(refusal.id.hex, refusal.ref, by_host, kind, scope) for by_host in (False, True) for scope in scopes]


def mark(refusal: str, ref: str, by_host: bool, kind: str, scope: str) -> uuid.UUID:
    """Return the audit id that records that a person has lifted one of their refusals.

    The id binds person, kind and list, so a link that names another person's refusal lifts nothing.

    :param refusal: the id of the refusal.
    :param scope: the list; or the message, for a choice that is about the list of its message.
    """
    return uuid.uuid5(_ROWS, f"{refusal}\0{ref}\0{by_host}\0{kind}\0{scope}")


_ROWS = uuid.UUID("5b0c1c5e-6f0f-5c0e-9d9b-3c9d0f2f6f11")


def _read(rows: Iterable[tuple[Any, ...]], owners: dict[str, str], found: _Standing, by_id: bool) -> None:
    """Put the refusals in the table into *found*."""
    for row in rows:
        if row[0] not in owners:  # some collations find more rows than were asked for
            continue
        named = _Row._make(row if by_id else (*row, None, None))
        refusals = found.setdefault((owners[named.recipient], folded(named.list_id), OptOutKind(named.kind)), {})
        early, since = named.recipient.startswith(REF), named.created_at
        ways = held(named) if by_id else {f"{named.recipient}/{named.list_id}": named.method}
        refusals |= {name: _Refusal(way, since, early) for name, way in ways.items()}


class _Row(NamedTuple):
    recipient: str
    list_id: str
    kind: str
    method: str
    created_at: datetime
    message_id: uuid.UUID | None
    refusals: dict[str, str] | None


def _lift(found: _Standing, key: tuple[str, str, OptOutKind], undo: Change, early: bool = False) -> None:
    """Take the refusals that *undo* names out of *found*, as far as it may lift them."""
    refusals = found.get(key, {})
    for name in undo.lifts:
        refusal = refusals.get(name)
        by_right = refusal and (isinstance(undo, Suppression) or refusal.method in BY_LINK)
        if refusal and by_right and (refusal.early or not early):
            del refusals[name]
    if not refusals:
        found.pop(key, None)


def _spellings(change: Change) -> list[str]:
    return [REF + change.ref] if isinstance(change, Hit) else [change.recipient, *(REF + ref for ref in change.refs)]


def _meaning(change: Change, lists: dict[uuid.UUID, str]) -> tuple[str, OptOutKind, bool]:
    """Return list, kind and direction. For safety, the list of an unknown message counts as everything."""
    if isinstance(change, Suppression):
        return folded(change.list_id), change.kind, change.out
    kind, out = OPT_OUTS[change.type]
    named = "" if change.list_id == EVERYTHING or kind == OptOutKind.TRACKING else folded(change.list_id)
    about_message = not change.list_id and kind == OptOutKind.UNSUBSCRIBE
    return (lists.get(change.message_id, "") if about_message else named), kind, out
