"""The consumer: moves what is in the stream to the database, exactly once in effect.

A batch is committed, then announced by signals, then its entries are acknowledged and deleted. A crash
in between leaves them to be claimed by another consumer, and the primary keys ignore what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask_mailtrack.events import Suppression, born, now
from flask_mailtrack.storage.disk.segment import chunks
from flask_mailtrack.storage.records import Record, decode, encode
from flask_mailtrack.storage.writer import Writer

from .stream import CLAIM_SECONDS, EVENTS, Entry, Refused, Stream


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

    def run(self, patient: bool = True) -> int:
        """Move all events that are in the stream now, but what others are working on, and abandoned opt-outs.

        :return: the number of records moved.
        :raises StreamError: Redis is away.
        :raises SQLAlchemyError: the database did not take them; they stay in the stream.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        """
        moved, waiting = 0, self._stream.length(EVENTS)
        try:
            while waiting > 0 and (entries := self._stream.take(self._batch)):
                moved += self._move(entries, patient)
                waiting -= len(entries)
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

    def _move(self, entries: Sequence[Entry], patient: bool) -> int:
        bad: list[Refused] = []
        try:
            stored = self._store([line for _, line in entries], bad, patient)
        except BaseException:
            self._stream.give_back(entries)
            raise
        for record in stored:
            self._announce(record)
        self._stream.done(entries, bad)
        return len(stored)

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
                bodies.append(decode(line))
            except ValueError as error:
                bad.append((line, str(error)))

        def refuse(body: Mapping[str, Any], reason: str) -> None:
            bad.append((encode(body), reason))

        batches = chunks(bodies, self._batch)
        return [record for batch in batches for record in self._writer.store(batch, refuse, patient=patient)]


def _born(event_id: bytes) -> datetime:
    try:
        return born(UUID(event_id.decode()))
    except ValueError:  # not ours
        return datetime.min.replace(tzinfo=UTC)
