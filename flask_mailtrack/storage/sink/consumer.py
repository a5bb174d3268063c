"""The consumer: moves what is in the stream to the database, exactly once in effect.

A batch is committed, then announced by signals, then its entries are acknowledged and deleted. A crash
in between leaves them to be claimed by another consumer, and the primary keys ignore what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask_mailtrack.events import SentMessage, Status, Suppression, born, now
from flask_mailtrack.storage.disk.segment import chunks
from flask_mailtrack.storage.records import Record, decode, encode
from flask_mailtrack.storage.writer import Writer

from .stream import CLAIM_SECONDS, EVENTS, Entry, Refused, Stream

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
