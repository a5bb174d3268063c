"""The drain: moves what the spool holds into the database, in batches, exactly once in effect.

A batch is committed, then announced by signals, then its segment is deleted. A crash in between
only replays what the primary keys ignore.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from flask_mailtrack.errors import DatabaseBusy
from flask_mailtrack.events import EVERYTHING, EventType, Hit, LinkTarget, OptOutKind, SentMessage, Status

from .database import Database
from .optouts import REF
from .records import Record, encode, from_json
from .spool import Segment, Spool, chunks, election

log = logging.getLogger("flask_mailtrack.drain")

# ValueError and OverflowError: what a driver cannot even put on the wire.
_POISON = (DataError, IntegrityError, ValueError, OverflowError)
_ATTEMPTS = 3
_OPT_OUTS = {
    EventType.UNSUBSCRIBED: (OptOutKind.UNSUBSCRIBE, True),
    EventType.SUBSCRIBED: (OptOutKind.UNSUBSCRIBE, False),
    EventType.DECLINED: (OptOutKind.TRACKING, True),
    EventType.ACCEPTED: (OptOutKind.TRACKING, False),
}
_OPPOSITE = {
    EventType.UNSUBSCRIBED: EventType.SUBSCRIBED,
    EventType.DECLINED: EventType.ACCEPTED,
}


class Drain:
    """Empties the spools of one directory into one database.

    :param spools: in the order in which they are emptied: a message before its opt-outs.
    :param batch: rows in one transaction.
    :param announce: called with each record after it is committed; must not raise.
    """

    def __init__(
        self, spools: Sequence[Spool], database: Database, batch: int, announce: Callable[[Record], None]
    ) -> None:
        self._spools = spools
        self._database = database
        self._batch = batch
        self._announce = announce
        self._running = (0, 0)

    def run(self, *, wait: bool = True, patient: bool = True) -> int:
        """Move everything that is in the spools now.

        Called by a signal receiver, in the middle of a run, it only has the opt-outs take effect.

        :param wait: for another drainer to finish, rather than leave the work to it.
        :param patient: see :meth:`Database.transaction`.
        :return: the number of records moved.
        :raises SQLAlchemyError: the database did not take them; they stay in the spool.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        """
        me = (os.getpid(), threading.get_ident())
        if self._running == me:
            self._apply(self._spools[-1], patient)
            return 0
        with election(self._spools[0].directory, wait) as elected:
            if not elected:
                return 0
            self._running = me
            try:
                # Sealed first: the messages that these opt-outs are about are in the spool by now.
                last = list(self._spools[-1].take())
                moved = sum(self._empty(spool.take(), patient) for spool in self._spools[:-1])
                return moved + self._empty(last, patient)
            finally:
                self._running = (0, 0)

    def try_run(self, *, patient: bool = True) -> None:
        """Move what can be moved now; what cannot stays in the spool and is logged. Never raises."""
        try:
            self.run(wait=False, patient=patient)
        except DatabaseBusy:
            log.debug("rows wait for the host's transaction to end")
        except (SQLAlchemyError, OSError) as error:
            log.warning("rows wait in the spool: %s", type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
        except Exception:  # a mistake of ours must not end the thread, or fail a reader's click
            log.exception("rows wait in the spool")

    def _empty(self, segments: Iterable[Segment], patient: bool) -> int:
        moved = 0
        for segment in segments:
            for batch in chunks(segment.records(), self._batch):
                stored = self._store(segment, batch, patient)
                moved += len(stored)
                for record in stored:
                    self._announce(record)
            segment.delete()
        return moved

    def _apply(self, spool: Spool, patient: bool) -> None:
        """Store, and leave the rest to the run that we are in: it will meet these records again."""
        for segment in spool.take():
            for batch in chunks(segment.records(), self._batch):
                self._store(segment, batch, patient)

    def _store(self, segment: Segment, batch: list[dict[str, Any]], patient: bool) -> list[Record]:
        """Store one batch and return it; if its content is refused, find the rows that are to blame."""
        records: list[Record] = []
        for body in batch:
            try:
                records.append(from_json(body))
            except ValueError as error:
                segment.reject(encode(body), str(error))
        try:
            return self._write(records, patient)
        except _POISON as error:
            return self._bisect(segment, batch, patient, error)
        except StatementError as error:
            if type(error) is not StatementError:  # its subclasses are the server's trouble, not the row's
                raise
            return self._bisect(segment, batch, patient, error)

    def _write(self, records: list[Record], patient: bool) -> list[Record]:
        for attempt in range(_ATTEMPTS):
            try:
                with self._database.transaction(patient) as connection:
                    return Batch(self._database, connection).write(records)
            except DBAPIError as error:
                if attempt == _ATTEMPTS - 1 or not self._database.is_clash(error):
                    raise
        return []

    def _bisect(self, segment: Segment, batch: list[dict[str, Any]], patient: bool, error: Exception) -> list[Record]:
        if len(batch) == 1:
            segment.reject(encode(batch[0]), str(getattr(error, "orig", None) or error))
            log.error("a record was quarantined: the database refuses it (%s)", type(error).__name__)
            return []
        middle = len(batch) // 2
        return self._store(segment, batch[:middle], patient) + self._store(segment, batch[middle:], patient)


class Batch:
    """Writes one batch inside one transaction."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    def write(self, records: Sequence[Record]) -> list[Record]:
        """Write links, messages and hits, then what follows from them.

        :return: the records as they are stored, hits with the list and the link that they are about.
        """
        links = [r for r in records if isinstance(r, LinkTarget)]
        messages = [r for r in records if isinstance(r, SentMessage)]
        hits = [r for r in records if isinstance(r, Hit)]
        self._links(links)
        self._messages(messages)
        # Also those whose events came before them.
        touched = {m.id for m in messages} | {h.message_id for h in hits}
        self._database.lock(self._connection, touched)
        stored = self._hits(hits)
        self._database.recount(self._connection, touched)
        return [*links, *messages, *stored]

    def _links(self, links: list[LinkTarget]) -> None:
        rows = {k.ref: {"ref": k.ref, "url": k.url, "name": k.name, "part": k.part} for k in links}
        self._database.add(self._connection, self._database.link, list(rows.values()))

    def _messages(self, messages: list[SentMessage]) -> None:
        told: dict[Any, SentMessage] = {}
        for message in messages:  # the first fate is final, here as in the table
            if message.id not in told or told[message.id].status == Status.SENDING:
                told[message.id] = message
        self._database.add_messages(self._connection, [_message_row(m) for m in told.values()])

    def _hits(self, hits: list[Hit]) -> list[Hit]:
        message, link = self._database.message, self._database.link
        sent = self._rows(message.c.id, {h.message_id for h in hits if h.type in _OPT_OUTS})
        links = self._rows(link.c.ref, {h.ref for h in hits if h.type == EventType.CLICKED})
        stored = [_resolved(h, sent.get(h.message_id), links.get(h.ref)) for h in hits]
        table = self._database.event
        self._database.add(self._connection, table, [_hit_row(h) for h in stored if h.type not in _OPT_OUTS])
        for hit in stored:
            if hit.type in _OPT_OUTS and self._opt(hit, sent.get(hit.message_id)):
                self._database.add(self._connection, table, [_hit_row(hit)])
        # A second yes is no event, so nobody is told of it; a replay is told again.
        told = set(self._rows(table.c.id, {h.id for h in stored if h.type in _OPT_OUTS}))
        return [hit for hit in stored if hit.type not in _OPT_OUTS or hit.id in told]

    def _opt(self, hit: Hit, message: Any) -> bool:
        """Change what stands, and say whether that is news: a second yes is no event.

        What is older than what stands changes nothing, so that neither a replay nor the journal of
        another machine can undo a later choice.
        """
        kind, out = _OPT_OUTS[hit.type]
        table = self._database.optout
        recipient = REF + hit.ref if message is None else message.recipient
        key = {"recipient": recipient, "list_id": hit.list_id, "kind": kind}
        if not out:
            # An opt-out that came before the message row is under the reference, and about everything.
            early = (table.c.recipient == REF + hit.ref) & table.c.list_id.in_(["", hit.list_id])
            named = (table.c.recipient == recipient) & (table.c.list_id == hit.list_id)
            gone = table.delete().where(or_(named, early), table.c.kind == kind, table.c.created_at <= hit.occurred_at)
            return bool(self._connection.execute(gone).rowcount) or not self._told(hit, hit.type)
        same = [table.c[name] == value for name, value in key.items()]
        stands = self._connection.execute(select(table.c.message_id, table.c.created_at).where(*same)).first()
        if stands is None:
            if not self._told(hit, _OPPOSITE[hit.type], later=True):
                about = {name: getattr(hit, name) for name in ("method", "reason", "comment", "message_id")}
                self._database.add(self._connection, table, [key | about | {"created_at": hit.occurred_at}])
            return True
        if hit.reason:  # given after the unsubscribe, on the page that confirms it
            reason = {"reason": hit.reason, "comment": hit.comment}
            event = self._database.event
            mine = (event.c.message_id == stands.message_id, event.c.occurred_at == stands.created_at)
            self._connection.execute(update(table).where(*same).values(reason))
            self._connection.execute(update(event).where(*mine, event.c.type == hit.type).values(reason))
        return False

    def _told(self, hit: Hit, kind: EventType, later: bool = False) -> bool:
        """Say whether an event of *kind* is known about the message and list of *hit*."""
        event = self._database.event
        query = select(event.c.id).where(event.c.message_id == hit.message_id, event.c.list_id == hit.list_id)
        query = query.where(event.c.type == kind, *([event.c.occurred_at > hit.occurred_at] if later else []))
        return self._connection.execute(query.limit(1)).first() is not None

    def _rows(self, column: Any, keys: Iterable[Any]) -> dict[Any, Any]:
        wanted = list(keys)
        if not wanted:
            return {}
        rows = self._connection.execute(select(column.table).where(column.in_(wanted)))
        return {getattr(row, column.key): row for row in rows}


class DrainThread:
    """Runs the drain every few seconds, in whichever processes have written something.

    It ends with the drain, which it does not keep alive.
    """

    def __init__(self, drain: Drain, seconds: float) -> None:
        self._drain = drain
        self._seconds = seconds
        self._pid = 0

    def ensure(self) -> None:
        """Start the thread if this process does not have one yet; cheap enough for each hit."""
        if self._pid != os.getpid():
            drain, over = weakref.ref(self._drain), threading.Event()
            weakref.finalize(self._drain, over.set).atexit = False
            arguments = (drain, over, self._seconds)
            threading.Thread(target=_loop, args=arguments, name="mailtrack-drain", daemon=True).start()
            self._pid = os.getpid()
            atexit.register(_run_once, drain)


def _loop(drain: weakref.ref[Drain], over: threading.Event, seconds: float) -> None:
    while not over.wait(seconds):
        _run_once(drain)


def _run_once(drain: weakref.ref[Drain]) -> None:
    if (found := drain()) is not None:
        found.try_run()


def _message_row(message: SentMessage) -> dict[str, Any]:
    row = {field: getattr(message, field) for field in SentMessage.__slots__}
    return row | {"meta": dict(message.meta), "open_count": 0, "click_count": 0, "machine_count": 0}


def _hit_row(hit: Hit) -> dict[str, Any]:
    row = {field: getattr(hit, field) for field in Hit.__slots__ if field != "ref"}
    return row | {"reasons": list(hit.reasons)}


def _resolved(hit: Hit, message: Any, link: Any) -> Hit:
    """Return *hit* with what only the tables know: the list of an opt-out, the name of a link."""
    if hit.type in _OPT_OUTS:
        unnamed = str(message.list_id) if message is not None else ""
        about_all = hit.list_id == EVERYTHING or _OPT_OUTS[hit.type][0] == OptOutKind.TRACKING
        return replace(hit, list_id="" if about_all else hit.list_id or unnamed)
    return replace(hit, url=hit.url or link.url, link_name=link.name, part=link.part) if link is not None else hit
