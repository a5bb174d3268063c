"""The way to the database through a stream in Redis, for many machines.

The records in the journals of this machine are shipped to the stream, batch by batch, and their segments are deleted.
Records in the stream, from any machine, are moved to the database. Without a Redis that can be trusted, this machine
moves its rows to the database itself, so that only the speed depends on Redis. A batch from the stream is committed,
then announced by signals, and then its entries are acknowledged and deleted. After a crash in between, another consumer
claims the entries, and the primary keys ignore rows that are there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask_mailtrack.errors import StreamError, StreamFull
from flask_mailtrack.events import SentMessage, Status, Suppression, born, now
from flask_mailtrack.phrases import Phrase, foreign
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.journal.backlog import Waiting
from flask_mailtrack.storage.records import Record, batched, decode, encode
from flask_mailtrack.storage.redis import CLAIM_SECONDS, EVENTS, OPTOUTS, Entry, Refused, Stream
from flask_mailtrack.storage.tables.refused import OPT_OUTS
from flask_mailtrack.storage.tables.writer import Refuse, Writer

from . import drain
from .drain import Bodies, Tables

log: logging.Logger = logging.getLogger("flask_mailtrack.drain")

CURE = Phrase("give each app that shares this Redis a MAILTRACK_APP_ID, then: flask mailtrack recover --quarantine")
FOREIGN = "it is of an app with another key or database"


class Consumer:
    """A reader of a stream. There may be any number of them, in any process that has the database.

    :param stream: the stream to read.
    :param writer: writes to the database.
    :param announcer: tells the host of each record after it is committed.
    """

    def __init__(self, stream: Stream, writer: Writer, announcer: Announcer) -> None:
        self._stream = stream
        self._writer = writer
        self._announcer = announcer
        self._warned = False

    def run(self, patient: bool = True) -> int:
        """Move all events in the stream that no other consumer works on, and abandoned opt-outs.

        :return: the number of moved records.
        :raises StreamError: Redis is away.
        :raises SQLAlchemyError: the database did not take the records; they stay in the stream.
        :raises DatabaseBusy: the host is in a transaction; the records stay in the stream.
        """
        moved = 0
        try:
            for stream in filter(None, (self._stream, self._stream.former)):
                moved += self._run(stream, patient)
        finally:  # other rows must not delay an opt-out
            moved += self._adopt(patient)
        return moved

    def apply(self, patient: bool = True) -> None:
        """Store all opt-outs that any machine knows. Opt-outs of readers are announced by their own machines.

        :raises StreamError: Redis is away, and an opt-out may wait there.
        :raises SQLAlchemyError: the database did not take the opt-outs.
        """
        for record in self._store(self._stream.told().values(), [], patient):
            if isinstance(record, Suppression):  # its own machine meets it as a replay, and does not announce it
                self._announcer.announce(record)

    def _run(self, stream: Stream, patient: bool) -> int:
        moved, waiting = 0, stream.length(EVENTS)
        while waiting > 0 and (entries := stream.take(drain.BATCH)):
            moved += self._move(stream, entries, patient)
            waiting -= len(entries)
        return moved

    def _move(self, stream: Stream, entries: Sequence[Entry], patient: bool) -> int:
        bad: list[Refused] = []
        try:
            stored = self._store([line for _, line in entries], bad, patient)
        except BaseException:
            stream.give_back(entries)
            raise
        for record in stored:
            if not isinstance(record, SentMessage):
                self._announcer.announce(record)
        mine = stream.done(entries, bad)
        # The consumer that deletes an entry announces its fate. Another consumer may have claimed a slow batch, too.
        told = {_fate(line) for (_, line), deleted in zip(entries, mine, strict=True) if deleted}
        for record in stored:
            if isinstance(record, SentMessage) and (str(record.id), record.status) in told:
                self._announcer.announce(record)
        return len(stored)

    def _warn(self) -> None:
        """Log another app once, and not for each of its rows."""
        if not self._warned:
            log.error(
                "rows of an app with another key or database came through %s, and are kept: %s", self._stream.name, CURE
            )
            self._warned = True

    def _adopt(self, patient: bool) -> int:
        """Move opt-outs that their own machine has not moved for so long that it may never do so."""
        oldest = now() - timedelta(seconds=CLAIM_SECONDS)
        copies = {i: line for i, line in self._stream.told().items() if _born(i) < oldest}
        bad: list[Refused] = []
        stored = self._store(copies.values(), bad, patient)
        for record in stored:
            self._announcer.announce(record)
        refused = {line for line, _ in bad}
        self._stream.untell(copies, bad, {i: line for i, line in copies.items() if line in refused})
        return len(stored)

    def _store(self, lines: Iterable[bytes], bad: list[Refused], patient: bool) -> list[Record]:
        bodies: list[dict[str, Any]] = []
        for line in lines:
            try:
                body = decode(line)
            except ValueError as error:
                bad.append((line, str(error)))
                continue
            if self._stream.owns(body):
                bodies.append(body)
            else:
                bad.append((line, FOREIGN))
                self._warn()

        def refuse(body: Mapping[str, Any], reason: str) -> None:
            bad.append((encode(body), reason))

        batches = batched(bodies, drain.BATCH)
        return [record for batch in batches for record in self._writer.store(batch, refuse, patient=patient)]


def _fate(line: bytes) -> tuple[Any, Any]:
    """Return the message of a line, and the kind of its news."""
    try:
        body = decode(line)
    except ValueError:
        return None, None
    return body.get("id"), body.get("status", Status.SENDING)


def _born(event_id: bytes) -> datetime:
    try:
        return born(UUID(event_id.decode()))
    except ValueError:  # the line is not of this package
        return datetime.min.replace(tzinfo=UTC)


AWAY_SECONDS = 5.0


class RedisThenTables:
    """The target of a drain on many machines: a stream in Redis, and from there the tables.

    :param tables: the target of all records in the end, and of opt-outs at once.
    :param stream: the stream for the rows of all machines.
    :param consumer: reads the stream.
    """

    def __init__(self, tables: Tables, stream: Stream, consumer: Consumer) -> None:
        self._tables = tables
        self._stream = stream
        self._consumer = consumer
        self._away_until = 0.0
        self._said: set[str] = set()
        self._made_room = 0

    def busy(self) -> bool:
        """Say whether rows of any machine wait in Redis."""
        return self._stream.busy()

    def store(self, bodies: Bodies, refuse: Refuse, patient: bool) -> int:
        """Store one batch, and tell the other machines of the opt-outs in it that the database refuses."""
        refused: dict[str | bytes, bytes] = {}

        def note(body: Mapping[str, Any], reason: str) -> None:
            refused[str(body.get("id"))] = self._stream.line(body)
            refuse(body, reason)

        moved = self._tables.store(bodies, note, patient)
        choices = {str(body.get("id")) for body in bodies if _is_choice(body)}
        with suppress(StreamError):  # copies that stay are adopted later, and change nothing
            self._stream.untell(choices, refused={i: line for i, line in refused.items() if i in choices})
        return moved

    def accept(self, bodies: Bodies, stream: str, refuse: Refuse, patient: bool) -> int:
        """Ship one batch, and return 0, because shipped records are not in the tables yet. Opt-outs skip Redis.

        :raises SQLAlchemyError: Redis is away, and the database did not take the batch either.
        :raises StreamFull: the batch has to wait until Redis has room.
        """
        if stream != OPTOUTS and self._ship(bodies, patient):
            return 0
        return self.store(bodies, refuse, patient)

    def apply(self, bodies: Bodies, refuse: Refuse, patient: bool) -> None:
        """Store one batch."""
        self._tables.apply(bodies, refuse, patient)

    def stored_after_all(self, ids: Collection[UUID]) -> None:
        """Make the tables forget that they had refused the records."""
        self._tables.stored_after_all(ids)

    def finish(self, patient: bool) -> int:
        """Move the records in Redis to the tables.

        :raises StreamError: Redis is away.
        """
        made_room, self._made_room = self._made_room, 0
        try:
            return made_room + self._consumer.run(patient)
        except StreamError as error:
            self._say(f"rows of other machines wait: {error}")
            raise

    def settle(self) -> None:
        """Store the opt-outs of all machines in the tables."""
        self._consumer.apply()

    def waiting(self, here: Waiting) -> Waiting:
        """Return the backlog here and in Redis, which is asked for about 100 ms."""
        try:
            rows, oldest, bad, refused = self._stream.waiting()
        except StreamError as error:
            return replace(here, troubles=(*here.troubles, foreign(str(error))))
        oldest, refused = max(here.oldest_seconds, oldest), max(here.refused_optouts, refused)
        return replace(here, streamed=rows, oldest_seconds=oldest, bad=here.bad + bad, refused_optouts=refused)

    def _ship(self, bodies: Bodies, patient: bool) -> bool:
        if time.monotonic() < self._away_until:
            return False
        lines = [self._stream.line(body) for body in bodies]
        try:
            try:
                self._stream.add(lines)
            except StreamFull:  # a segment may be longer than the stream, so make room and go on with the segment
                self._made_room += self._consumer.run(patient)
                self._stream.add(lines)
        except StreamFull as error:
            self._say(f"rows wait in the spool: {error}")
            raise
        except StreamError as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            self._say(f"rows go straight to the database: {error}")
            return False
        self._said.clear()
        return True

    def _say(self, trouble: str) -> None:
        """Log a problem once, and not for each batch, until rows pass through Redis again."""
        if trouble not in self._said:
            log.warning("%s", trouble)
            self._said.add(trouble)


def _is_choice(body: Mapping[str, Any]) -> bool:
    return body.get("k") == "suppression" or body.get("type") in OPT_OUTS
