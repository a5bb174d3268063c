"""Suppressions: refusals that the host writes, one at a time or by the million, and lifts again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from flask_mailtrack.events import BY_LINK, Suppression
from flask_mailtrack.storage.database import Database
from flask_mailtrack.storage.optouts import REF

from . import audit

_PAGE = 10_000


def write(
    database: Database, connection: Connection, changes: Sequence[Suppression], *, fresh: bool = False
) -> list[Suppression]:
    """Make *changes* stand, in one transaction, and return those that were news.

    What is older than what stands changes nothing. A refusal that a person made by a link becomes the
    host's, so that a link cannot undo it any more.

    :param fresh: they are certainly no replay.
    """
    known = set() if fresh else _applied(database, connection, changes)
    standing = _standing(database, connection, {change.recipient for change in changes})
    added: dict[tuple[str, str, str], Suppression] = {}
    news: list[Suppression] = []
    for change in changes:
        if change.id in known:
            continue
        key = (change.recipient, change.list_id, str(change.kind))
        if not change.out:
            happened = added.pop(key, None) is not None
            happened |= _lift(database, connection, change)
            standing.pop(key, None)
        elif key not in standing:
            standing[key], happened = change.method, True
            added[key] = change
        else:
            happened = standing[key] in BY_LINK
            if happened:
                _harden(database, connection, change)
                standing[key] = change.method
        if happened:
            news.append(change)
    host, fresh_ones = database.host, list(added.values())
    rows = host.complete(database.optout, list(map(_row, fresh_ones)), fresh_ones, {})
    database.add(connection, database.optout, rows)
    proofs = host.complete(database.audit, list(map(audit.of_suppression, news)), news, {})
    database.add(connection, database.audit, proofs)
    return news


def pages(database: Database, list_id: str | None = None) -> Iterator[list[dict[str, Any]]]:
    """Yield all opt-outs, some thousands at a time, ordered by recipient.

    :param list_id: only of this list; ``""`` is everything.
    """
    table = database.optout
    names = ("recipient", "list_id", "kind", "method", "reason", "created_at")
    query = select(*(table.c[name] for name in names)).order_by(table.c.recipient).limit(_PAGE)
    if list_id is not None:
        query = query.where(table.c.list_id == list_id)
    last = ""
    while True:
        rows = [dict(zip(names, row, strict=True)) for row in database.rows(query.where(table.c.recipient >= last))]
        if len(rows) < _PAGE:
            yield rows
            return
        # The last recipient may have more rows than are on this page.
        last = rows[-1]["recipient"]
        whole = [row for row in rows if row["recipient"] != last]
        if not whole:
            raise ValueError(f"one recipient has {_PAGE} opt-outs or more")
        yield whole


def _applied(database: Database, connection: Connection, changes: Sequence[Suppression]) -> set[Any]:
    column = database.audit.c.id
    return set(connection.execute(select(column).where(column.in_([c.id for c in changes]))).scalars())


def _standing(database: Database, connection: Connection, recipients: set[str]) -> dict[tuple[str, str, str], str]:
    table = database.optout
    query = select(table.c.recipient, table.c.list_id, table.c.kind, table.c.method)
    found = connection.execute(query.where(table.c.recipient.in_(sorted(recipients))))
    return {(recipient, list_id, kind): method for recipient, list_id, kind, method in found}


def _row(change: Suppression) -> dict[str, Any]:
    when: datetime = change.created_at or change.occurred_at
    return {
        "recipient": change.recipient,
        "list_id": change.list_id,
        "kind": change.kind,
        "method": change.method,
        "reason": change.reason,
        "comment": "",
        "message_id": None,
        "created_at": when,
        "ref": change.refs[0],
    }


def _lift(database: Database, connection: Connection, change: Suppression) -> bool:
    table = database.optout
    names = [change.recipient, *(REF + ref for ref in change.refs)]
    gone = table.delete().where(
        table.c.recipient.in_(names),
        table.c.list_id == change.list_id,
        table.c.kind == change.kind,
        table.c.created_at <= change.occurred_at,
    )
    return bool(connection.execute(gone).rowcount)


def _harden(database: Database, connection: Connection, change: Suppression) -> None:
    table = database.optout
    own = (table.c.recipient == change.recipient, table.c.list_id == change.list_id, table.c.kind == change.kind)
    connection.execute(update(table).where(*own).values(method=change.method, reason=change.reason))
