"""The consumer: moves what is in the stream to the database, exactly once in effect.

A batch is committed, then announced by signals, then its entries are acknowledged and deleted. A crash
in between leaves them to be claimed by another consumer, and the primary keys ignore what is there.

JOIN: The relay: a drain whose way to the database leads through a stream.

What is in the journals of this box is shipped to the stream, batch by batch, and its segments are deleted;
what is in the stream, from any box, is moved to the database. Without a Redis that can be trusted, this box
moves its rows to the database itself, so that nothing depends on Redis but the speed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from flask_mailtrack.errors import StreamError, StreamFull
from flask_mailtrack.events import SentMessage, Status, Suppression, born, now
from flask_mailtrack.storage.journal.backlog import Waiting
from flask_mailtrack.storage.journal.segment import Segment, chunks
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import Record, decode, encode
from flask_mailtrack.storage.redis import CLAIM_SECONDS, EVENTS, OPTOUTS, Entry, Refused, Stream
from flask_mailtrack.storage.tables.refused import OPT_OUTS
from flask_mailtrack.storage.tables.writer import Refuse, Writer

from .drain import Drain, taken

log = logging.getLogger("flask_mailtrack.drain")

CURE = "give each app that shares this Redis a MAILTRACK_APP_ID, then: flask mailtrack recover --quarantine"
FOREIGN = "it is of an app with another key or database"


class Consumer:
    """One of any number of readers of a stream, in any process that has the database.

    :param stream: to read.
    :param writer: of the database.
    :param batch: rows in one transaction.
    :param announce: called with each record after it is committed; must not raise.
    """

    def __init__(self, stream: Stream, writer: Writer, batch: int, announce: Callable[[Record], None]) -> None:
        self._stream = stream
        self._writer = writer
        self._batch = batch
        self._announce = announce
        self._warned = False

    def run(self, patient: bool = True) -> int:
        """Move all events that are in the stream now, but what others are working on, and abandoned opt-outs.

        :return: the number of records moved.
        :raises StreamError: Redis is away.
        :raises SQLAlchemyError: the database did not take them; they stay in the stream.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        """
        moved = 0
        try:
            for stream in filter(None, (self._stream, self._stream.former)):
                moved += self._run(stream, patient)
        finally:  # no other row may hold an opt-out up
            moved += self._adopt(patient)
        return moved

    def apply(self, patient: bool = True) -> None:
        """Have all opt-outs that any box has been told take effect; their own boxes announce those of readers.

        :raises StreamError: Redis is away, and one may be waiting there.
        :raises SQLAlchemyError: the database did not take them.
        """
        for record in self._store(self._stream.told().values(), [], patient):
            if isinstance(record, Suppression):  # a replay is no news, so nobody else will
                self._announce(record)

    def _run(self, stream: Stream, patient: bool) -> int:
        moved, waiting = 0, stream.length(EVENTS)
        while waiting > 0 and (entries := stream.take(self._batch)):
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
                self._announce(record)
        mine = stream.done(entries, bad)
        # A fate is told of by whoever deletes its entry: a batch that took long has been claimed by another, too.
        told = {_fate(line) for (_, line), deleted in zip(entries, mine, strict=True) if deleted}
        for record in stored:
            if isinstance(record, SentMessage) and (str(record.id), record.status) in told:
                self._announce(record)
        return len(stored)

    def _warn(self) -> None:
        """Name another app once, not with each of its rows."""
        if not self._warned:
            log.error(
                "rows of an app with another key or database came through %s, and are kept: %s", self._stream.name, CURE
            )
            self._warned = True

    def _adopt(self, patient: bool) -> int:
        """Move opt-outs whose own box has not, for so long that it may never do it."""
        oldest = now() - timedelta(seconds=CLAIM_SECONDS)
        copies = {i: line for i, line in self._stream.told().items() if _born(i) < oldest}
        bad: list[Refused] = []
        stored = self._store(copies.values(), bad, patient)
        for record in stored:
            self._announce(record)
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

        batches = chunks(bodies, self._batch)
        return [record for batch in batches for record in self._writer.store(batch, refuse, patient=patient)]


def _fate(line: bytes) -> tuple[Any, Any]:
    """Return which message a line tells of, and what."""
    try:
        body = decode(line)
    except ValueError:
        return None, None
    return body.get("id"), body.get("status", Status.SENDING)


def _born(event_id: bytes) -> datetime:
    try:
        return born(UUID(event_id.decode()))
    except ValueError:  # not ours
        return datetime.min.replace(tzinfo=UTC)


AWAY_SECONDS = 5.0


class Relay(Drain):
    """Empties the spools of one box into a stream, and the stream into the database.

    :param stream: where the rows of all boxes meet.
    """

    def __init__(
        self,
        spools: Sequence[Spool],
        writer: Writer,
        batch: int,
        announce: Callable[[Record], None],
        failed: Callable[[Exception], None] = lambda error: None,
        *,
        stream: Stream,
    ) -> None:
        super().__init__(spools, writer, batch, announce, failed)
        self._stream = stream
        self._consumer = Consumer(stream, writer, batch, announce)
        self._away_until = 0.0
        self._said: set[str] = set()
        self._made_room = 0

    def settle(self) -> None:
        """Have the database know what is known of people here, in Redis, and by the opt-outs of all boxes."""
        self.run()
        self._consumer.apply()

    def waiting(self) -> Waiting:
        """Return what waits here and, within 100 ms or so, in Redis. Never raises."""
        here = super().waiting()
        try:
            rows, oldest, bad, refused = self._stream.waiting()
        except StreamError as error:
            return replace(here, troubles=(*here.troubles, str(error)))
        oldest, refused = max(here.oldest_seconds, oldest), max(here.refused_optouts, refused)
        return replace(here, streamed=rows, oldest_seconds=oldest, bad=here.bad + bad, refused_optouts=refused)

    def store(self, bodies: Sequence[dict[str, Any]], refuse: Refuse, *, patient: bool = True) -> int:
        """Store one batch as a drain does, and tell the other boxes of the opt-outs in it that the database refuses."""
        refused: dict[str | bytes, bytes] = {}

        def note(body: Mapping[str, Any], reason: str) -> None:
            refused[str(body.get("id"))] = self._stream.line(body)
            refuse(body, reason)

        moved = super().store(bodies, note, patient=patient)
        choices = {str(body.get("id")) for body in bodies if _is_choice(body)}
        with suppress(StreamError):  # then the copies are adopted later, and change nothing
            self._stream.untell(choices, refused={i: line for i, line in refused.items() if i in choices})
        return moved

    def _pending(self) -> bool:
        return super()._pending() or self._stream.busy()

    def _move(self, spools: list[Spool], patient: bool, troubles: list[OSError]) -> int:
        # Sealed first: the messages that these opt-outs are about are in the spool by now.
        late = [list(taken(spool, troubles)) for spool in spools if spool in self._late]
        moved, self._made_room = 0, 0
        try:
            moved = sum(self._empty(taken(s, troubles), patient) for s in spools if s not in self._late)
        except StreamFull as error:
            self._say(f"rows wait in the spool: {error}")
        try:
            moved += self._consumer.run(patient)
        except StreamError as error:
            self._say(f"rows of other machines wait: {error}")
            raise
        finally:  # an opt-out does not wait for Redis
            moved += sum(self._empty(segments, patient) for segments in late)
        return moved + self._made_room

    def _hand_over(self, segment: Segment, batch: Sequence[dict[str, Any]], patient: bool) -> int:
        if segment.stream == OPTOUTS:
            return super()._hand_over(segment, batch, patient)
        # What was shipped is not in the database yet, so nothing of it is announced.
        return 0 if self._ship(batch, patient) else super()._hand_over(segment, batch, patient)

    def _ship(self, batch: Sequence[dict[str, Any]], patient: bool) -> bool:
        if time.monotonic() < self._away_until:
            return False
        lines = [self._stream.line(body) for body in batch]
        try:
            try:
                self._stream.add(lines)
            except StreamFull:  # a segment may be longer than the stream: make room, and go on with it
                self._made_room += self._consumer.run(patient)
                self._stream.add(lines)
        except StreamFull:
            raise
        except StreamError as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            self._say(f"rows go straight to the database: {error}")
            return False
        self._said.clear()
        return True

    def _say(self, trouble: str) -> None:
        """Log what is wrong once, not with each batch, until rows pass through Redis again."""
        if trouble not in self._said:
            log.warning("%s", trouble)
            self._said.add(trouble)


def _is_choice(body: Mapping[str, Any]) -> bool:
    return body.get("k") == "suppression" or body.get("type") in OPT_OUTS


class Express(Spool):
    """The spool of opt-outs, of each of which other boxes have a copy when :meth:`append` returns, if Redis answers.

    The journal keeps the original; the copy is there because the very next send of any box has to know.
    """

    def __init__(self, directory: str | Path, stream: str, sync: str, to: Stream) -> None:
        super().__init__(directory, stream, sync)
        self._to = to

    def append(self, *records: Mapping[str, Any], sync: bool = False) -> None:
        """Write *records*, then tell the other boxes, which takes 100 ms at most if Redis is away."""
        super().append(*records, sync=sync)
        with suppress(StreamError):
            self._to.tell({str(record["id"]): self._to.line(record) for record in records if "id" in record})
