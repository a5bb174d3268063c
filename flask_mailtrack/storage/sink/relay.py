"""The relay: a drain whose way to the database leads through a stream.

What is in the journals of this box is shipped to the stream, batch by batch, and its segments are deleted;
what is in the stream, from any box, is moved to the database. Without a Redis that can be trusted, this box
moves its rows to the database itself, so that nothing depends on Redis but the speed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask_mailtrack.errors import StreamError, StreamFull
from flask_mailtrack.storage.disk.gauge import Waiting
from flask_mailtrack.storage.disk.segment import Segment
from flask_mailtrack.storage.disk.spool import Spool
from flask_mailtrack.storage.drain import Drain, taken
from flask_mailtrack.storage.records import Record
from flask_mailtrack.storage.refused import OPT_OUTS
from flask_mailtrack.storage.writer import Refuse, Writer

from .consumer import Consumer
from .stream import OPTOUTS, Stream

log = logging.getLogger("flask_mailtrack.drain")

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
