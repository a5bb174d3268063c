"""Refusals that the database does not take, in a minimal form that other machines can read.

A column of the host, a CHECK or a trigger may refuse an opt-out, or its proof. The record is then in the quarantine of
one machine. To let all other machines obey it, the opt-out also stands in the table of settings, under a keyed hash,
until it is stored.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from flask_mailtrack.events import EventType, Hit, OptOutKind, Suppression

from .database import Database, missing_tables

REF = "ref:"
"""Prefix of the name of an opt-out whose message row is gone, so that only the token's reference is left."""

OPT_OUTS = {
    EventType.UNSUBSCRIBED: (OptOutKind.UNSUBSCRIBE, True),
    EventType.SUBSCRIBED: (OptOutKind.UNSUBSCRIBE, False),
    EventType.DECLINED: (OptOutKind.TRACKING, True),
    EventType.ACCEPTED: (OptOutKind.TRACKING, False),
}

Change = Hit | Suppression

SCOPE = "refusal"
"""Scope in the table of settings. Such a row is marked as replaced at once, so it is in force as no setting."""
_ROWS = uuid.UUID("0c0f1f5a-86c1-5d0a-a3f0-3a1c1a5f7c2e")
_CHUNK = 1_000


def refuses(change: Change) -> bool:
    """Say whether *change* refuses something, and does not lift a refusal."""
    return change.out if isinstance(change, Suppression) else OPT_OUTS[change.type][1]


class Refused:
    """Keeps and returns the opt-outs that the database has refused.

    :param remember: seconds for which an empty result is remembered. The result is nearly always empty, and a send
        should not cost a query for it.
    """

    def __init__(self, database: Database, remember: float = 0) -> None:
        self._database = database
        self._remember = remember
        self._nothing_until = 0.0

    def keep(self, change: Change, patient: bool = True) -> None:
        """Publish a refusal that has just been put aside here to the other machines.

        :raises ValueError: the refusal holds nothing by which its person could be found.
        :raises SQLAlchemyError: the database does not take it in this form, either.
        """
        if isinstance(change, Hit):
            ref, about, message = change.ref, str(change.type), change.message_id.hex
        else:
            ref, about, message = "".join(change.refs[:1]), str(change.kind), ""
        if not ref:
            raise ValueError("a refusal without a reference")
        row = {"id": _row_of(change.id), "scope": SCOPE, "subject": ref, "key": change.id.hex, "value": about}
        row["changed_by"] = f"{change.method}:{message}:{change.list_id}"
        row |= dict.fromkeys(("changed_at", "replaced_at"), change.occurred_at)
        table = self._database.setting
        (whole,) = self._database.host.complete(table, [row], [change], {})
        with self._database.transaction(patient) as connection:
            self._database.add(connection, table, [whole])
        self._nothing_until = 0.0

    def of(self, refs: Iterable[str]) -> list[Change]:
        """Return the refusals of the people behind *refs*, their references.

        :raises SQLAlchemyError: the database cannot tell.
        """
        if not self.any():
            return []
        table, rest, found = self._database.setting, iter(refs), list[Change]()
        columns = (table.c.key, table.c.subject, table.c.value, table.c.changed_by, table.c.changed_at)
        while some := list(islice(rest, _CHUNK)):
            query = select(*columns).where(table.c.scope == SCOPE, table.c.subject.in_(some))
            found += (_change(*row) for row in self._database.rows(query))
        return found

    def any(self) -> bool:
        """Say whether anything at all is refused.

        :raises SQLAlchemyError: the database cannot tell.
        """
        if time.monotonic() < self._nothing_until:
            return False
        table = self._database.setting
        try:
            found = bool(self._database.rows(select(table.c.id).where(table.c.scope == SCOPE).limit(1)))
        except DBAPIError:
            if table.fullname not in missing_tables(self._database):
                raise
            found = False  # without the table, no refusal was kept in it
        if not found:
            self._nothing_until = time.monotonic() + self._remember
        return found

    def stored(self, ids: Collection[uuid.UUID]) -> None:
        """Forget refusals that the database has taken now.

        :raises SQLAlchemyError: not now. This does no harm: a refusal that was in the database does not count here.
        """
        if ids and self.any():
            column = self._database.setting.c.id
            with self._database.transaction() as connection:
                connection.execute(self._database.setting.delete().where(column.in_([_row_of(each) for each in ids])))


def bare(body: Mapping[str, Any], recipient: str, ref: str) -> dict[str, Any] | None:
    """Return the part of a refusal in quarantine that stays after an erasure: the hash; ``None`` for other records.

    :param body: the record.
    :param recipient: the erased person, normalised.
    :param ref: the newest reference of the person.
    """
    kind = body.get("k")
    if kind == "hit" and body.get("type") in {str(each) for each, (_, out) in OPT_OUTS.items() if out}:
        return {name: value for name, value in body.items() if name not in ("ip", "user_agent", "comment")}
    if kind == "suppression" and body.get("out", True):
        mine = body.get("recipient") == recipient
        named = {"recipient": REF + ref, "refs": body.get("refs") or [ref]} if mine else {}
        return {name: value for name, value in body.items() if name not in ("source", "reason")} | named
    return None


def _row_of(refusal: uuid.UUID) -> uuid.UUID:
    return uuid.uuid5(_ROWS, refusal.hex)


def _change(key: str, ref: str, value: str, said: str, at: Any) -> Change:
    method, message_id, list_id = said.split(":", 2)
    when = at
    if message_id:
        link = uuid.UUID(message_id)
        return Hit(uuid.UUID(key), link, EventType(value), when, list_id=list_id, method=method, ref=ref)
    kind = OptOutKind(value)
    return Suppression(uuid.UUID(key), REF + ref, when, (ref,), list_id=list_id, kind=kind, method=method)
