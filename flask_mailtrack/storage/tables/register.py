"""The register of refusals. A refusal enters by its id, and is lifted by its id.

Machines have clocks of their own, and their rows arrive in any order, twice or late. So no time decides between a
refusal and an undo. An undo names the refusals that its page showed, and lifts only these. A named refusal that arrives
later is marked as lifted already. In the end, the refusals stand that have entered and were never lifted, in any order
of arrival. The host's suppressions, one at a time or by the million, follow the same rule. Each change leaves an audit
row with its time, its way and the wording of the page.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Executable, bindparam, false, select, update

from flask_mailtrack.events import BY_LINK, EventType, Hit, OptOutKind, Suppression, new_id, now
from flask_mailtrack.lists import folded
from flask_mailtrack.notified import COMPLAINT
from flask_mailtrack.storage.records import batched

from .database import Database, chunked
from .optouts import MARKED, held, mark, marks_on
from .refused import REF, Change

CHANGES = {
    (OptOutKind.UNSUBSCRIBE, True): EventType.UNSUBSCRIBED,
    (OptOutKind.UNSUBSCRIBE, False): EventType.SUBSCRIBED,
    (OptOutKind.TRACKING, True): EventType.DECLINED,
    (OptOutKind.TRACKING, False): EventType.ACCEPTED,
}
"""The names of the changes of each kind, off and on."""
ERASED = "erased"
BY_MESSAGE = "message:"
"""What stands before the id of the message in the source of a change by a link."""


def of_hit(hit: Hit) -> dict[str, Any]:
    """Return the audit row of a change by a link."""
    return {
        "id": hit.id,
        "ref": hit.ref,
        "change": hit.type,
        "list_id": hit.list_id,
        "method": hit.method,
        "source": f"{BY_MESSAGE}{hit.message_id}",
        "wording": hit.wording,
        "occurred_at": hit.occurred_at,
        "actor": None,
    }


def of_suppression(change: Suppression) -> dict[str, Any]:
    """Return the audit row of a change by the host."""
    return {
        "id": change.id,
        "ref": change.refs[0],
        "change": CHANGES[change.kind, change.out],
        "list_id": change.list_id,
        "method": change.method,
        "source": change.source,
        "wording": "",
        "occurred_at": change.occurred_at,
        "actor": change.actor or None,
    }


def note_erasure(database: Database, connection: Connection, recipient: str, refs: Sequence[str], by: str) -> None:
    """Leave an audit row of an erasure, which names the operator and nobody else."""
    # The host's function is asked for the host's columns, and may have to know the person.
    said = Suppression(new_id(), recipient, now(), tuple(refs), method="erase", source="erase", actor=by)
    row = of_suppression(said) | {"change": ERASED}
    database.add(connection, database.audit, database.host.complete(database.audit, [row], [said], {}))


def gone_messages(
    database: Database, refs: Sequence[str], read: Callable[[Executable], Sequence[Any]]
) -> list[uuid.UUID]:
    """Return the messages whose rows are gone, but by whose links a person has changed something.

    Nothing else leads from a person to the events of such a message.

    :param refs: the references of the person, under each signing key.
    :param read: runs a query and returns its rows.
    """
    audit, message = database.audit, database.message
    changes = read(select(audit.c.source).where(audit.c.ref.in_(refs), audit.c.source.startswith(BY_MESSAGE)))
    acted = {uuid.UUID(row[0].removeprefix(BY_MESSAGE)) for row in changes}
    there = {row[0] for ids in chunked(acted) for row in read(select(message.c.id).where(message.c.id.in_(ids)))}
    return sorted(acted - there)


MOST = 16
"""The most refusals of one way, by link or by the host, in one row. Each of them refused again."""

_KEY = ("recipient", "list_id", "kind")
_CHUNK = 500
_ATTEMPTS = 5


class Register:
    """The opt-outs, inside one transaction.

    :param connection: the connection of the transaction.
    """

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._seen: set[uuid.UUID] = set()
        if (
            connection.dialect.name == "sqlite"
        ):  # SQLite locks nothing when it reads, so take the lock of a writer first
            connection.execute(database.optout.delete().where(false()))

    def seen(self, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Return the *ids* whose change is made already, so that a replay changes nothing."""
        column = self._database.audit.c.id
        wanted, found = sorted(set(ids) - self._seen), self._seen.intersection(ids)
        for some in batched(wanted, _CHUNK):
            query = select(column).where(column.in_(some))
            found |= set(self._connection.execute(query).scalars())
        self._seen |= found
        return found

    def is_lifted(self, refusal: Change, list_id: str) -> bool:
        """Say whether an earlier undo has named *refusal*.

        :param list_id: the list of the refusal, as stored.
        """
        return bool(self.seen(marks_on(refusal, list_id)))

    def enter(self, row: dict[str, Any], refusal: uuid.UUID) -> Any:
        """Enter *refusal*, with the columns of *row* if nothing stands yet, and return the row that stood before."""
        mine, key, ours = refusal.hex, (row["recipient"], row["list_id"], str(row["kind"])), False
        for _ in range(_ATTEMPTS):  # another machine may add or lift the row between our statements
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
        """Return the ids of refusals without a recorded change. They may arrive later, or again."""
        ids = [uuid.UUID(name) for name in named]
        return sorted(each.hex for each in set(ids) - self.seen(ids))

    def lift(
        self, rows: ColumnElement[bool], named: Collection[str], about: Callable[[Any], bool], by_host: bool = False
    ) -> bool:
        """Lift the *named* refusals, and say whether a row has gone.

        :param rows: a condition for the rows to look at.
        :param about: says whether the undo is about a row.
        :param by_host: also lift refusals that no link can lift.
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
        """Mark refusals as lifted that may arrive later, or again. The marks name nobody.

        :param undo: the record that lifts them.
        :param messages: the messages with the values for the host's columns.
        """
        said = {"list_id": folded(undo.list_id), "method": undo.method, "occurred_at": undo.occurred_at}
        same = {"ref": ref, "change": MARKED, "source": "", "wording": ""} | said
        rows = [{"id": each} | same for each in ids]
        whole = self._database.host.complete(self._database.audit, rows, [undo] * len(rows), messages)
        self._database.add(self._connection, self._database.audit, whole)

    def settle(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add *rows* of the host's refusals. A row that another machine has added meanwhile is joined."""
        self._database.add(self._connection, self._database.optout, rows)
        found = self.standing({row["recipient"] for row in rows})
        for row in rows:
            stands = found.get((row["recipient"], row["list_id"], str(row["kind"])))
            for name in row["refusals"] if stands is None else row["refusals"].keys() - held(stands):
                self.enter(row, uuid.UUID(name))

    def standing(self, recipients: Collection[str]) -> dict[tuple[str, str, str], Any]:
        """Return the rows of *recipients*, by recipient, folded list and kind. They are locked.

        Of two rows whose lists fold alike, the host's is returned, which no link can lift.
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
        """Join refusals, each with its way and reason, to the standing rows. The stronger one says way and reason."""
        table = self._database.optout
        after: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row, refusal, method, reason in changes:
            key = tuple(getattr(row, name) for name in _KEY)
            was = after.get(key, {"refusals": held(row), "method": row.method, "reason": row.reason})
            stronger = _is_stronger(method, reason, was["method"], was["reason"])
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
    """Return a function that says whether a row is about a list."""
    return lambda row: folded(row.list_id) == list_id


def _is_stronger(method: str, reason: str, other_method: str, other_reason: str) -> bool:
    """Say whether a refusal is stronger than another: the host's than a person's, and a complaint than all else."""
    if method in BY_LINK or other_method in BY_LINK:
        return method not in BY_LINK
    return reason == COMPLAINT and other_reason != COMPLAINT


def _joined(before: Mapping[str, str], refusal: str, method: str) -> dict[str, str]:
    """Return *before* with one more refusal. The oldest of its way is dropped: an undo of the newest covers it."""
    alike = [name for name, way in before.items() if (way in BY_LINK) == (method in BY_LINK)]
    spare = alike[: max(0, len(alike) - MOST + 1)]
    return {name: way for name, way in before.items() if name not in spare} | {refusal: method}


log: logging.Logger = logging.getLogger("flask_mailtrack.drain")

_PAGE = 10_000


def write(
    database: Database, connection: Connection, changes: Sequence[Suppression], *, fresh: bool = False
) -> list[Suppression]:
    """Store *changes* in one transaction, and return those that were news.

    A refusal that a person made by a link becomes the host's, so that no link can undo it any more. A change that
    lifts names the refusals that stood when the host made it, and lifts only these.

    :param fresh: the changes are certainly no replay.
    """
    register = Register(database, connection)
    known = set() if fresh else register.seen([change.id for change in changes])
    standing = register.standing({change.recipient for change in changes})
    added: dict[tuple[str, str, str], dict[str, Any]] = {}
    joined: list[tuple[Any, UUID, str, str]] = []
    news: list[Suppression] = []
    for change in changes:
        if change.id in known or (change.out and not fresh and register.is_lifted(change, folded(change.list_id))):
            continue
        key = (change.recipient, folded(change.list_id), str(change.kind))
        if not change.out:
            _write(register, added, joined)
            happened = _lift(database, register, change)
            standing = register.standing({change.recipient for change in changes})
        elif key in added:
            row = added[key]
            row["refusals"][change.id.hex] = change.method
            if happened := _is_stronger(change.method, change.reason, row["method"], row["reason"]):
                row |= {"method": change.method, "reason": change.reason}
        elif key not in standing:
            row = _row(change)
            (added[key],) = database.host.complete(database.optout, [row], [change], {})
            happened = True
        else:
            joined.append((standing[key], change.id, change.method, change.reason))
            happened = _is_stronger(change.method, change.reason, standing[key].method, standing[key].reason)
        if happened:
            news.append(change)
    _write(register, added, joined)
    proofs = database.host.complete(database.audit, list(map(of_suppression, news)), news, {})
    database.add(connection, database.audit, proofs)
    return news


def agree(database: Database, register: Register, changes: Sequence[Suppression]) -> None:
    """Match refusals and undos that were written at the same moment; see :meth:`.Batch.agree`."""
    table = database.optout
    for change in changes:
        on = folded(change.list_id)
        if not change.out and change.lifts:
            _lift(database, register, change)
        elif change.out and register.is_lifted(change, on):
            mine = (table.c.recipient == change.recipient) & (table.c.kind == change.kind)
            register.lift(mine, [change.id.hex], about_list(on), by_host=True)


def _write(
    register: Register, added: dict[tuple[str, str, str], dict[str, Any]], joined: list[tuple[Any, UUID, str, str]]
) -> None:
    register.settle(list(added.values()))
    register.join(joined)
    added.clear()
    joined.clear()


def pages(database: Database, list_id: str | None = None) -> Iterator[list[dict[str, Any]]]:
    """Yield all opt-outs, some thousands at a time, ordered by recipient.

    :param list_id: only opt-outs of this list; ``""`` is everything.
    """
    table = database.optout
    names: list[str] = ["recipient", "list_id", "kind", "method", "reason", "created_at"]
    query = select(*(table.c[name] for name in names)).order_by(table.c.recipient).limit(_PAGE)

    def of_it(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in some if list_id is None or folded(row["list_id"]) == folded(list_id)]

    last = ""
    while True:
        rows = [dict(zip(names, row, strict=True)) for row in database.rows(query.where(table.c.recipient >= last))]
        if len(rows) < _PAGE:
            yield of_it(rows)
            return
        # The last recipient may have more rows than this page holds.
        last = rows[-1]["recipient"]
        whole = [row for row in rows if row["recipient"] != last]
        if not whole:
            raise ValueError(f"one recipient has {_PAGE} opt-outs or more")
        yield of_it(whole)


def _row(change: Suppression) -> dict[str, Any]:
    when: datetime = change.created_at or change.occurred_at
    return {
        "recipient": change.recipient,
        "list_id": folded(change.list_id),
        "kind": change.kind,
        "method": change.method,
        "reason": change.reason,
        "comment": "",
        "message_id": None,
        "created_at": when,
        "ref": change.refs[0] if change.refs else "",
        "refusals": {change.id.hex: change.method},
    }


def _lift(database: Database, register: Register, change: Suppression) -> bool:
    if not change.lifts:
        log.warning("a suppression is not lifted: the record of it names none, as it is of an earlier version")
        return False
    table, on = database.optout, folded(change.list_id)
    names = [change.recipient, *(REF + ref for ref in change.refs)]
    rows = table.c.recipient.in_(names) & (table.c.kind == change.kind)
    gone = register.lift(rows, change.lifts, about_list(on), by_host=True)
    for ref in change.refs:
        marks = [mark(name, ref, True, change.kind, on) for name in register.unseen(change.lifts)]
        register.mark(marks, change, ref, {})
    return gone
