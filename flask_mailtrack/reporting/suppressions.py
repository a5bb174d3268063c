"""The opt-outs that stand, one by one, and the handles by which pages name people without an address."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import BY_LINK, OptOutKind
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.privacy import normalise
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.optouts import held
from flask_mailtrack.storage.tables.refused import REF
from flask_mailtrack.storage.tables.tenants import optouts_inside

from .messages import check_size
from .selection import text_of

COUNTED = 10_000
"""Rows up to which a number is exact: to count more takes longer than a page may."""
_COLUMNS = ("recipient", "list_id", "kind", "method", "reason", "created_at", "message_id", "ref", "refusals")
_REF_BYTES = 10


@dataclass(frozen=True, slots=True)
class Number:
    """How many rows there are."""

    number: int
    exact: bool
    """Off: there are more than this."""


@dataclass(frozen=True, slots=True)
class StandingSuppression:
    """An opt-out that stands against mail to somebody."""

    id: uuid.UUID
    """Names the opt-out in a URL; made of the keyed hash of the address, and of the list."""
    address: str
    """Empty if the person is forgotten."""
    list_id: str
    """Empty: everything."""
    kind: str
    reason: str
    method: str
    """Its way: ``api``, ``cli``, ``import``, or a word of the host's; by a link ``one_click``, ``page`` and so on."""
    created_at: datetime
    actor: str
    """Who made it, if that was said."""


@dataclass(frozen=True, slots=True)
class SuppressionPage:
    """Some opt-outs, the newest first."""

    rows: tuple[StandingSuppression, ...]
    next: str
    """What the next page is asked with; empty: there is none."""
    count: Number
    """Of all pages together."""


def suppressions_of(
    database: Database, within: Scope | None, *, search: str, reason: str, own: bool, page: str, size: int
) -> SuppressionPage:
    """Return some of the standing opt-outs; see :meth:`.Reports.suppressions`."""
    check_size(size)
    text_of("search", search)
    text_of("reason", reason)
    table = database.optout.c
    # Not the kind itself: a database would look that up, and sort all that it finds.
    mine: list[ColumnElement[bool]] = [table.kind != OptOutKind.TRACKING, *optouts_inside(database, within)]
    if not own:
        mine.append(table.method.not_in(BY_LINK))
    if reason:
        mine.append(table.reason == reason)
    if "@" in search:
        mine.append(table.recipient == normalise(search))
    elif search:
        mine.append(func.lower(table.recipient).contains(search.lower(), autoescape=True))
        mine.append(table.recipient.not_like(f"{REF}%"))
    some = select(table.recipient).where(*mine).limit(COUNTED + 1).subquery()
    ((number,),) = database.rows(select(func.count()).select_from(some))
    # In the order of the index; a moment alone would not do, as a file is imported with days.
    order = (table.created_at.desc(), table.ref.desc(), table.list_id.desc())
    query = select(*(table[name] for name in _COLUMNS)).where(*mine, *_after(table, page)).order_by(*order)
    found = [SimpleNamespace(**dict(zip(_COLUMNS, row, strict=True))) for row in database.rows(query.limit(size + 1))]
    actors = _actors(database, found[:size])
    rows = tuple(_told(row, actors) for row in found[:size])
    return SuppressionPage(
        rows, _page_after(found[size - 1]) if len(found) > size else "", Number(min(number, COUNTED), number <= COUNTED)
    )


def handle(ref: str, list_id: str, kind: str) -> uuid.UUID:
    """Return the handle of an opt-out: the keyed hash of its address, and some bits for list and kind.

    :param ref: of the opt-out. Without one, as in a row that somebody has written by hand, nothing leads back.
    """
    try:
        whose = base64.b32decode(ref.upper())
    except ValueError:
        whose = b""
    about = blake2b(f"{list_id}\0{kind}".encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return uuid.UUID(bytes=_unlike_time(whose.rjust(_REF_BYTES, b"\0")[:_REF_BYTES], about))


def owner_of(database: Database, asked: uuid.UUID, within: Scope | None) -> str | None:
    """Return whose opt-out has a handle; ``None``: nobody's, or somebody's who is forgotten."""
    table = database.optout.c
    ref = _ref_in(asked)
    mine = (table.kind.in_(list(OptOutKind)), table.ref == ref, *optouts_inside(database, within))
    for recipient, list_id, kind in database.rows(select(table.recipient, table.list_id, table.kind).where(*mine)):
        if handle(ref, list_id, kind) == asked and not recipient.startswith(REF):
            return str(recipient)
    return None


def handle_for(database: Database, recipient: str, within: Scope | None) -> uuid.UUID | None:
    """Return the handle of one of the opt-outs of a person; ``None``: there is none."""
    table = database.optout.c
    mine = (table.recipient == recipient, table.ref.is_not(None), *optouts_inside(database, within))
    query = select(table.ref, table.list_id, table.kind).where(*mine).order_by(table.created_at.desc()).limit(1)
    found = database.rows(query)
    return handle(*found[0]) if found else None


def _told(row: Any, actors: dict[str, str]) -> StandingSuppression:
    newest_first = sorted(held(row), reverse=True)
    return StandingSuppression(
        id=handle(row.ref or "", row.list_id, row.kind),
        address="" if row.recipient.startswith(REF) else row.recipient,
        list_id=row.list_id,
        kind=row.kind,
        reason=row.reason,
        method=row.method,
        created_at=row.created_at,
        actor=next((actors[name] for name in newest_first if actors.get(name)), ""),
    )


def _actors(database: Database, rows: Sequence[Any]) -> dict[str, str]:
    """Return who made refusals, by their ids, which are those of their audit rows."""
    table = database.audit.c
    refusals = sorted({uuid.UUID(name) for row in rows for name in held(row)})
    if not refusals:
        return {}
    found = database.rows(select(table.id, table.actor).where(table.id.in_(refusals), table.actor.is_not(None)))
    return {key.hex: str(actor) for key, actor in found}


def _page_after(row: Any) -> str:
    return f"{row.created_at.isoformat()}_{row.ref or ''}_{row.list_id}"


def _after(table: Any, page: str) -> list[ColumnElement[bool]]:
    if not page:
        return []
    try:
        said, ref, list_id = page.split("_", 2)
        moment = datetime.fromisoformat(said).astimezone(UTC)
        text_of("page", page)
    except (ValueError, AttributeError, OverflowError):
        text = Phrase("page is %(value)s. Write `next` of the page before, or leave it out.", value=repr(page))
        raise ReportError(text) from None
    later = and_(table.ref == ref, table.list_id < list_id)
    return [table.created_at <= moment, or_(table.created_at < moment, table.ref < ref, later)]


def _unlike_time(whose: bytes, about: bytes) -> bytes:
    """Return 16 bytes of a UUID of version 8, which no message and no event has.

    Version and variant take six bits, at fixed places, so the bytes of the hash stand around them.
    """
    bits = int.from_bytes(whose + about, "big") >> 6
    high, middle, low = bits >> 74, bits >> 62 & 0xFFF, bits & (1 << 62) - 1
    return (high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low).to_bytes(16, "big")


def _ref_in(asked: uuid.UUID) -> str:
    whole = asked.int
    bits = (whole >> 80) << 74 | (whole >> 64 & 0xFFF) << 62 | whole & (1 << 62) - 1
    return base64.b32encode((bits << 6).to_bytes(16, "big")[:_REF_BYTES]).decode().lower()
