"""The register of who has refused what: a refusal enters by its id, and is lifted by its id.

Machines have clocks of their own, and their rows arrive in any order, twice or late. So no time decides
between a refusal and an undo. An undo names the refusals that its page showed, and lifts these and no
other; one that it names, and that arrives later, is marked as lifted already. What stands in the end is
what has entered and was never lifted, in whatever order it came.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, false, select, update

from flask_mailtrack.events import BY_LINK
from flask_mailtrack.lists import folded
from flask_mailtrack.storage.database import Database
from flask_mailtrack.storage.optouts import MARKED, held, marks_on
from flask_mailtrack.storage.refused import Change

MOST = 16
"""Refusals of one way, by link or by the host, that one row remembers; each of them made the row stand anew."""

_KEY = ("recipient", "list_id", "kind")
_CHUNK = 500
_ATTEMPTS = 5


class Register:
    """The opt-outs, inside one transaction.

    :param connection: of the transaction.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._seen: set[uuid.UUID] = set()
        if connection.dialect.name == "sqlite":  # it locks nothing when it reads: take the lock of a writer first
            connection.execute(database.optout.delete().where(false()))

    def seen(self, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Return those of *ids* whose change is made already, so that a replay makes it no second time."""
        column = self._database.audit.c.id
        wanted, found = sorted(set(ids) - self._seen), self._seen.intersection(ids)
        for start in range(0, len(wanted), _CHUNK):
            query = select(column).where(column.in_(wanted[start : start + _CHUNK]))
            found |= set(self._connection.execute(query).scalars())
        self._seen |= found
        return found

    def is_lifted(self, refusal: Change, list_id: str) -> bool:
        """Say whether an undo that came earlier has named *refusal*.

        :param list_id: that it is about, as stored.
        """
        return bool(self.seen(marks_on(refusal, list_id)))

    def enter(self, row: dict[str, Any], refusal: uuid.UUID) -> Any:
        """Have *refusal* stand, with the columns of *row* if nothing stands yet, and return what stood before."""
        mine, key, ours = refusal.hex, (row["recipient"], row["list_id"], str(row["kind"])), False
        for _ in range(_ATTEMPTS):  # another machine may add the row, or lift it, between our statements
            stands = self.standing([row["recipient"]]).get(key)
            if stands is not None:
                if mine not in held(stands):
                    self.join([(stands, refusal, row["method"], row["reason"])])
                return None if ours else stands
            ours = True
            new = row | {"refusals": {mine: row["method"]}}
            self._database.add(self._connection, self._database.optout, [new])
        raise RuntimeError("an opt-out that was added is not there")

    def unseen(self, named: Collection[str]) -> list[str]:
        """Return those ids of refusals by which nothing is known to have changed: they may yet arrive, or again."""
        ids = [uuid.UUID(name) for name in named]
        return sorted(each.hex for each in set(ids) - self.seen(ids))

    def lift(
        self, rows: ColumnElement[bool], named: Collection[str], about: Callable[[Any], bool], by_host: bool = False
    ) -> bool:
        """Lift the refusals that are *named*, and say whether anything stands no more.

        :param rows: among which they are.
        :param about: says of one of them whether the undo is about it.
        :param by_host: also those that no link can lift.
        """
        table, gone = self._database.optout, False
        for row in filter(about, self._connection.execute(select(table).where(rows).with_for_update()).all()):
            before = held(row)
            left = {name: way for name, way in before.items() if name not in named or not (by_host or way in BY_LINK)}
            own = [table.c[name] == getattr(row, name) for name in _KEY]
            if not left:
                self._connection.execute(table.delete().where(*own))
                gone = True
            elif left != before:
                method = next((way for way in left.values() if way not in BY_LINK), next(iter(left.values())))
                self._connection.execute(update(table).where(*own).values(refusals=left, method=method))
        return gone

    def mark(self, ids: Iterable[uuid.UUID], undo: Change, ref: str, messages: Mapping[uuid.UUID, Any]) -> None:
        """Remember that refusals are lifted which may yet arrive, or arrive again. The marks name nobody.

        :param undo: that lifts them.
        :param messages: from which the host's columns are taken.
        """
        said = {"list_id": folded(undo.list_id), "method": undo.method, "occurred_at": undo.occurred_at}
        same = {"ref": ref, "change": MARKED, "source": "", "wording": ""} | said
        rows = [{"id": each} | same for each in ids]
        whole = self._database.host.complete(self._database.audit, rows, [undo] * len(rows), messages)
        self._database.add(self._connection, self._database.audit, whole)

    def settle(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add *rows* of the host's refusals, and join each to what another machine has added meanwhile."""
        self._database.add(self._connection, self._database.optout, rows)
        found = self.standing({row["recipient"] for row in rows})
        for row in rows:
            stands = found.get((row["recipient"], row["list_id"], str(row["kind"])))
            for name in row["refusals"] if stands is None else row["refusals"].keys() - held(stands):
                self.enter(row, uuid.UUID(name))

    def standing(self, recipients: Collection[str]) -> dict[tuple[str, str, str], Any]:
        """Return the rows of *recipients*, by recipient, folded list and kind; nobody else changes them meanwhile.

        Of two rows whose lists fold alike it is the host's, which no link can lift.
        """
        table = self._database.optout
        found: dict[tuple[str, str, str], Any] = {}
        if recipients:
            query = select(table).where(table.c.recipient.in_(sorted(recipients))).order_by(*table.primary_key.columns)
            for row in self._connection.execute(query.with_for_update()):
                key = (row.recipient, folded(row.list_id), row.kind)
                if key not in found or found[key].method in BY_LINK:
                    found[key] = row
        return found

    def join(self, changes: Sequence[tuple[Any, uuid.UUID, str, str]]) -> None:
        """Join refusals, each with its way and reason, to the rows that stand. The host's word is the stronger one."""
        table = self._database.optout
        after: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row, refusal, method, reason in changes:
            key = tuple(getattr(row, name) for name in _KEY)
            was = after.get(key, {"refusals": held(row), "method": row.method, "reason": row.reason})
            stronger = was["method"] in BY_LINK and method not in BY_LINK
            said = {"method": method, "reason": reason} if stronger else {}
            after[key] = was | said | {"refusals": _joined(was["refusals"], refusal.hex, method)}
        if after:
            own = [table.c[name] == bindparam(f"its_{name}") for name in _KEY]
            new = {
                name: bindparam(f"new_{name}", type_=table.c[name].type) for name in ("refusals", "method", "reason")
            }
            rows = [
                {f"its_{name}": value for name, value in zip(_KEY, key, strict=True)}
                | {f"new_{name}": value for name, value in values.items()}
                for key, values in after.items()
            ]
            self._connection.execute(update(table).where(*own).values(new), rows)


def about_list(list_id: str) -> Callable[[Any], bool]:
    """Return what says of a row whether it is about a list."""
    return lambda row: folded(row.list_id) == list_id


def _joined(before: Mapping[str, str], refusal: str, method: str) -> dict[str, str]:
    """Return *before* with one more. The oldest of its way goes first: whoever lifts the newest has seen it."""
    alike = [name for name, way in before.items() if (way in BY_LINK) == (method in BY_LINK)]
    spare = alike[: max(0, len(alike) - MOST + 1)]
    return {name: way for name, way in before.items() if name not in spare} | {refusal: method}
