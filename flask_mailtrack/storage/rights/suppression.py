"""Suppressions: refusals that the host writes, one at a time or by the million, and lifts again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from flask_mailtrack.events import BY_LINK, Suppression
from flask_mailtrack.lists import folded
from flask_mailtrack.storage.database import Database
from flask_mailtrack.storage.optouts import mark
from flask_mailtrack.storage.refused import REF

from . import audit
from .register import Register, about_list

log = logging.getLogger("flask_mailtrack.drain")

_PAGE = 10_000


def write(
    database: Database, connection: Connection, changes: Sequence[Suppression], *, fresh: bool = False
) -> list[Suppression]:
    """Make *changes* stand, in one transaction, and return those that were news.

    A refusal that a person made by a link becomes the host's, so that a link cannot undo it any more. What
    lifts names the refusals that stood when the host said so, and lifts these and no other.

    :param fresh: they are certainly no replay.
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
            added[key]["refusals"][change.id.hex] = change.method
            happened = False
        elif key not in standing:
            row = _row(change)
            (added[key],) = database.host.complete(database.optout, [row], [change], {})
            happened = True
        else:
            joined.append((standing[key], change.id, change.method, change.reason))
            happened = standing[key].method in BY_LINK
        if happened:
            news.append(change)
    _write(register, added, joined)
    proofs = database.host.complete(database.audit, list(map(audit.of_suppression, news)), news, {})
    database.add(connection, database.audit, proofs)
    return news


def agree(database: Database, register: Register, changes: Sequence[Suppression]) -> None:
    """Let what lifts and what refuses find each other that was written at the same moment: see :meth:`.Batch.agree`."""
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

    :param list_id: only of this list; ``""`` is everything.
    """
    table = database.optout
    names = ("recipient", "list_id", "kind", "method", "reason", "created_at")
    query = select(*(table.c[name] for name in names)).order_by(table.c.recipient).limit(_PAGE)

    def of_it(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in some if list_id is None or folded(row["list_id"]) == folded(list_id)]

    last = ""
    while True:
        rows = [dict(zip(names, row, strict=True)) for row in database.rows(query.where(table.c.recipient >= last))]
        if len(rows) < _PAGE:
            yield of_it(rows)
            return
        # The last recipient may have more rows than are on this page.
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
