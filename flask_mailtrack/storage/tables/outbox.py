"""The outbox of webhooks: filled in the transaction of the events, and emptied by whoever comes first.

A delivery is claimed by a short transaction, made outside of any, and settled by another one. A claim ends by itself,
so the deliveries of a process that dies come back. Two processes that choose the same rows do not both get them: the
second one waits for the commit of the first, and finds the rows claimed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, false, func, select, update

from flask_mailtrack.endpoints import OPEN, RELEASED, SUPPRESSED, Endpoint, type_of
from flask_mailtrack.events import Hit, SentMessage, Suppression, new_id, now
from flask_mailtrack.modes import NOT_TURNED
from flask_mailtrack.storage.records import Record, batched
from flask_mailtrack.webhook import DeliveryState

from . import counts, envelope
from .database import Database, chunked
from .engine import is_made, reading
from .envelope import Envelope

TRIED_FOR = timedelta(days=3)
KEPT_FOR = timedelta(days=1)
"""How long a delivered row stays, without its body."""
DEAD_FOR = timedelta(days=30)
"""How long at most a dead row stays, and one that waits for an endpoint that nobody asks any more."""
_HASHED = NOT_TURNED - 1
"""The bits of a hash. What stands before them is of the id of a message or an event, which may be a UUIDv8."""
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """One delivery, as a process has claimed it."""

    id: uuid.UUID
    webhook_id: str
    type: str
    body: str
    attempts: int
    """Attempts that were made before."""
    ends_at: datetime
    claim: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """The deliveries of one endpoint in one state."""

    endpoint: str
    state: DeliveryState
    number: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class DeadDelivery:
    """A delivery that is put aside."""

    id: uuid.UUID
    endpoint: str
    type: str
    attempts: int
    status: int | None
    error: str
    created_at: datetime


class WebhookOutbox:
    """The deliveries in one database.

    :param endpoints: the receivers; without any, nothing is written, and the table need not be there.
    :param dead_for: how long a dead delivery stays: no longer than the rows that it tells of.
    :param clock: returns the present moment.
    """

    def __init__(
        self,
        database: Database,
        endpoints: Collection[Endpoint],
        dead_for: timedelta = DEAD_FOR,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.endpoints: dict[str, Endpoint] = {each.key: each for each in endpoints}
        self._database = database
        self._table = database.delivery
        self._dead_for = dead_for
        self._clock = clock

    def known(self, connection: Connection, records: Iterable[Record]) -> set[str]:
        """Return the ids of records, and of messages with a fate, that are stored already: replays are not announced.

        This is asked before they are written. The events and their deliveries are written in one transaction, so a
        stored event has its deliveries.
        """
        if not self.endpoints:
            return set()
        ids: dict[type, set[uuid.UUID]] = {SentMessage: set(), Hit: set(), Suppression: set()}
        for record in records:
            if type(record) in ids:
                ids[type(record)].add(record.id)  # type: ignore[union-attr]
        if connection.dialect.name == "sqlite":  # what has read may not write any more when another one has written
            connection.execute(update(self._table).where(false()).values(claimed_by=""))
        message, audit = self._database.message.c, self._database.audit.c
        settled = select(message.id).where(message.status.not_in(OPEN))
        found = counts.stored(self._database, connection, ids[Hit])
        for some in chunked(ids[SentMessage]):
            found |= set(connection.execute(settled.where(message.id.in_(some))).scalars())
        for some in chunked(ids[Suppression]):
            found |= set(connection.execute(select(audit.id).where(audit.id.in_(some))).scalars())
        return {str(each) for each in found}

    def enqueue(self, connection: Connection, records: Iterable[Record], known: Collection[str]) -> None:
        """Write a row for each endpoint that wants to be told of a record, unless the record is *known*."""
        if not self.endpoints:
            return
        wanted = frozenset[str]().union(*(each.events for each in self.endpoints.values()))
        fresh: dict[str, Any] = {}
        for record in records:
            key = str(getattr(record, "id", ""))
            if _type(record) in wanted and key not in known:
                fresh.setdefault(key, record)  # the first fate is final, as in the table
        about = {each.message_id if isinstance(each, Hit) else each.id for each in fresh.values()}
        messages = self._messages(connection, about)
        rows = [row for record in fresh.values() for row in self._rows(record, messages)]
        for some in batched(rows, _AT_ONCE):
            self._database.add(connection, self._table, some)

    def claim(self, endpoint: str, most: int, length: timedelta) -> list[ClaimedDelivery]:
        """Return deliveries that are due, and keep other processes from them.

        :param endpoint: the key of the endpoint.
        :param length: after this time they are anybody's again.
        """
        table, moment, name = self._table.c, self._clock(), new_id().hex[-16:]
        mine = (table.endpoint == endpoint, table.state == DeliveryState.WAITING, table.due_at <= moment)
        chosen = select(table.id).where(*mine).order_by(table.due_at).limit(most)
        ids = [key for (key,) in self._database.rows(chosen)]
        if not ids:
            return []
        claimed = update(self._table).where(table.id.in_(ids), *mine)
        taken = (table.id, table.webhook_id, table.type, table.body, table.attempts, table.ends_at)
        with self._database.transaction() as connection:
            connection.execute(claimed.values(claimed_by=name, due_at=moment + length))
            rows = connection.execute(select(*taken).where(table.id.in_(ids), table.claimed_by == name)).all()
        return [ClaimedDelivery(*row, claim=name) for row in rows]

    def delivered(self, deliveries: Sequence[ClaimedDelivery]) -> int:
        """Note that the endpoint took deliveries, and return how many of them were this process's still."""
        moment = self._clock()
        done = {
            "state": DeliveryState.DELIVERED,
            "body": "",
            "error": "",
            "due_at": moment,
            "ends_at": moment + KEPT_FOR,
        }
        return self._settle(deliveries, **done, status=None, attempts=self._table.c.attempts + 1)

    def failed(
        self, delivery: ClaimedDelivery, wait: timedelta, status: int | None, error: str, *, final: bool
    ) -> bool:
        """Note that an attempt failed, and when the next one is due: at the last moment at the latest.

        :param final: no attempt has a chance any more.
        :return: whether the delivery waits still; after the last moment it is dead.
        """
        moment = self._clock()
        told = {"attempts": delivery.attempts + 1, "status": status, "error": error[:255]}
        if final or moment >= delivery.ends_at:
            self._settle([delivery], **told, state=DeliveryState.DEAD, due_at=moment, ends_at=moment + self._dead_for)
            return False
        self._settle([delivery], **told, due_at=min(moment + wait, delivery.ends_at))
        return True

    def give_back(self, deliveries: Sequence[ClaimedDelivery]) -> None:
        """Leave deliveries that were not tried to whoever comes first."""
        self._settle(deliveries, due_at=self._clock())

    def is_made(self) -> bool:
        """Say whether the database has the table."""
        with reading(self._database.file) as connection:
            return is_made(connection, self._table)

    def backlogs(self) -> list[Backlog]:
        """Return how many deliveries wait or are dead, by endpoint."""
        table, open_still = self._table.c, (DeliveryState.WAITING, DeliveryState.DEAD)
        numbers = (func.count().label("n"), func.min(table.created_at).label("oldest"))
        query = select(table.endpoint, table.state, *numbers).where(table.state.in_(open_still))
        query = query.group_by(table.endpoint, table.state)
        rows = self._database.rows(query.order_by(table.endpoint, table.state))
        return [Backlog(endpoint, DeliveryState(state), int(n), oldest) for endpoint, state, n, oldest in rows]

    def dead(self, most: int) -> list[DeadDelivery]:
        """Return deliveries that are put aside, the newest first."""
        names = ("id", "endpoint", "type", "attempts", "status", "error", "created_at")
        table = self._table.c
        query = select(*(table[name] for name in names)).where(table.state == DeliveryState.DEAD)
        return [DeadDelivery(*row) for row in self._database.rows(query.order_by(table.id.desc()).limit(most))]

    def retry(self, endpoint: str = "", ids: Collection[uuid.UUID] = ()) -> int:
        """Have deliveries that are put aside tried again, for another three days, and return how many.

        :param endpoint: only those of this one; empty: of all that are configured.
        :param ids: only these.
        """
        table, moment = self._table.c, self._clock()
        mine = [table.state == DeliveryState.DEAD, table.endpoint.in_([endpoint] if endpoint else [*self.endpoints])]
        if ids:
            mine.append(table.id.in_(list(ids)))
        again = {"state": DeliveryState.WAITING, "attempts": 0, "due_at": moment, "ends_at": moment + TRIED_FOR}
        with self._database.transaction() as connection:
            return int(connection.execute(update(self._table).where(*mine).values(**again, claimed_by="")).rowcount)

    def sweep(self) -> int:
        """Delete what is over: delivered or dead for long, or for an endpoint that is gone; return how many rows."""
        table, moment, gone = self._table.c, self._clock(), 0
        over = [table.state.in_((DeliveryState.DELIVERED, DeliveryState.DEAD)), table.ends_at < moment]
        lost = [table.state == DeliveryState.WAITING, table.ends_at < moment - self._dead_for]
        for conditions in (over, lost):
            while ids := [key for (key,) in self._database.rows(select(table.id).where(*conditions).limit(_AT_ONCE))]:
                with self._database.transaction() as connection:
                    gone += int(connection.execute(self._table.delete().where(table.id.in_(ids))).rowcount)
        return gone

    def _settle(self, deliveries: Sequence[ClaimedDelivery], **values: Any) -> int:
        """Change deliveries of one claim that are this process's still: a slow one must not undo what others did."""
        if not deliveries:
            return 0
        table, ids = self._table.c, [each.id for each in deliveries]
        mine = update(self._table).where(table.id.in_(ids), table.claimed_by == deliveries[0].claim)
        with self._database.transaction() as connection:
            return int(connection.execute(mine.values(claimed_by="", **values)).rowcount)

    def _messages(self, connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Mapping[str, Any]]:
        table = self._database.message.c
        query = select(*(table[name] for name in envelope.OF_MESSAGE))
        found = (row for some in chunked(ids) for row in connection.execute(query.where(table.id.in_(some))))
        return {row.id: dict(row._mapping) for row in found}

    def _rows(self, record: Record, messages: Mapping[uuid.UUID, Mapping[str, Any]]) -> list[dict[str, Any]]:
        told, moment = _envelope(record, messages), self._clock()
        return [
            {
                "id": _id(record.id, told.webhook_id, each.key),  # type: ignore[union-attr]
                "endpoint": each.key,
                **told._asdict(),
                "state": DeliveryState.WAITING,
                "attempts": 0,
                "due_at": moment,
                "created_at": moment,
                "ends_at": moment + TRIED_FOR,
            }
            for each in self.endpoints.values()
            if told.type in each.events
        ]


def forget(database: Database, connection: Connection, about: Sequence[str]) -> None:
    """Delete the deliveries about messages, by their ids, or about a person, by the references.

    A host that has not made the table yet has no deliveries.
    """
    table = database.delivery
    if is_made(connection, table):
        for some in batched(about, _AT_ONCE):
            connection.execute(table.delete().where(table.c.about.in_(some)))


def of_person(database: Database, about: Sequence[str]) -> list[dict[str, str]]:
    """Return which events about a person others were told of, or will be, ready for JSON.

    :param about: as of :func:`forget`.
    """
    table = database.delivery
    with reading(database.file) as connection:
        if not is_made(connection, table):
            return []
    query = select(table.c.created_at, table.c.type, table.c.state, table.c.webhook_id).order_by(table.c.id)
    rows = [row for some in batched(about, _AT_ONCE) for row in database.rows(query.where(table.c.about.in_(some)))]
    return [{"created_at": at.isoformat(), "type": kind, "state": state, "id": name} for at, kind, state, name in rows]


def _type(record: Record) -> str:
    """Return the type of the event that a record is; empty: it is none."""
    if isinstance(record, Hit):
        return type_of(record.type.value)
    if isinstance(record, SentMessage):
        return "" if record.status in OPEN else type_of(record.status.value)
    return _of_suppression(record) if isinstance(record, Suppression) else ""


def _of_suppression(change: Suppression) -> str:
    return SUPPRESSED if change.out else RELEASED


def _envelope(record: Record, messages: Mapping[uuid.UUID, Mapping[str, Any]]) -> Envelope:
    if isinstance(record, Hit):
        return envelope.of_hit(record, messages.get(record.message_id, {}))
    if isinstance(record, SentMessage):
        row = messages.get(record.id)
        # The fate may come after the person was forgotten. Then the row says so, and the record does not.
        return envelope.of_message(record if row is None or row["recipient"] else record._replace(**envelope.NOBODY))
    return envelope.of_suppression(record)  # type: ignore[arg-type]


def _id(record: uuid.UUID, webhook_id: str, endpoint: str) -> uuid.UUID:
    """Return the key of a row: in order of time as the id of the event is, and the same if the event comes again."""
    hashed = int.from_bytes(blake2b(f"{webhook_id} {endpoint}".encode(), digest_size=8).digest()) & _HASHED
    return uuid.UUID(int=record.int & ~_HASHED | NOT_TURNED | hashed)
