"""Where a record is written down: in the first directory that takes it, else in the log.

A directory that fails is left alone for a while, one second at first and a minute in the end, so
that a full disk does not cost each hit an attempt. A record that no directory took is one line of the log. The line
is JSON, of ASCII alone, so that it survives any handler, and carries the checksum that it had in the spool. It holds
what the row would hold, addresses included: the logger ``flask_mailtrack.spool.lost`` is there for a handler of its
own.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.records import decode, encode

from .spool import Spool

last_log: logging.Logger = logging.getLogger("flask_mailtrack.spool.lost")

_MARK = '{"mailtrack":"lost"'
_MARKED = re.compile(re.escape(_MARK))
_ESCAPED = re.compile(re.escape(_MARK.replace('"', '\\"')))
_SPOOLED = re.compile(r"[0-9a-f]{8} \{")


@dataclass(frozen=True, slots=True)
class Found:
    """A line that holds a record, or should."""

    number: int
    """From 1."""
    body: dict[str, Any] | None
    """Nothing, if the line is damaged."""


def tell(records: Iterable[Mapping[str, Any]]) -> None:
    """Write *records* to the log, each as a line."""
    for record in records:
        checksum, _, text = encode(record).rstrip().partition(b" ")
        last_log.critical('%s,"crc32":"%s","record":%s}', _MARK, checksum.decode(), text.decode())


def find(lines: Iterable[bytes]) -> Iterator[Found]:
    """Yield the records among *lines*: of a log, of a quarantine, or of a spool; other lines are passed over."""
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "replace").strip()
        spooled = _spooled(text)
        if spooled is None:
            continue
        try:
            yield Found(number, decode(spooled))
        except ValueError:
            yield Found(number, None)


def _spooled(text: str) -> bytes | None:
    """Return the line of the spool that is in a line of something; nothing if there is none."""
    if _SPOOLED.match(text):
        return text.encode() + b"\n"
    if text.startswith('{"reason"'):
        return _quarantined(text)
    if marked := _MARKED.search(text):
        return _told(text[marked.start() :])
    if _ESCAPED.search(text):  # a log that is JSON itself
        return _told_within(text)
    return None


def _told(text: str) -> bytes:
    try:
        # What a handler puts behind it is passed over.
        said, _ = json.JSONDecoder().raw_decode(text)
        # Encoded as it was, its checksum is the one that it had.
        line = encode(said["record"])
        return line if line[:8].decode() == said["crc32"] else b""
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""


def _told_within(text: str) -> bytes:
    try:
        outer = json.loads(text[text.index("{") :])
        inner = next(value for value in outer.values() if isinstance(value, str) and _MARK in value)
    except (ValueError, AttributeError, StopIteration, RecursionError):
        return b""
    return _told(inner[inner.index(_MARK) :])


def _quarantined(text: str) -> bytes:
    try:
        line = json.loads(text)["line"]
        return line.encode() if isinstance(line, str) else b""
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""


log: logging.Logger = logging.getLogger("flask_mailtrack.spool")

LONGEST_SECONDS = 60.0


class Listener(Protocol):
    """Who is woken when something has been written."""

    def wake(self) -> object:
        """Look at once, or soon: something is on the disk."""
        ...


class Copies(Protocol):
    """Where other machines look for what has been written here."""

    def copy(self, records: Iterable[Mapping[str, Any]]) -> object:
        """Have the others know *records*, as soon as they are on the disk here. Never raises."""
        ...


class Journal:
    """One stream of records over several directories.

    :param first: where records belong.
    :param second: where they go while the first cannot be written.
    :param older: where an earlier version wrote them; drained, never written.
    :param last_resort: write what neither takes to the log, for ``flask mailtrack recover``.
    :param copies: told of all that is written, before :meth:`append` returns.
    :param clock: monotonic, in seconds.
    """

    def __init__(
        self,
        first: Spool,
        second: Spool,
        older: Sequence[Spool] = (),
        *,
        last_resort: bool = True,
        copies: Copies | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spools: tuple[Spool, ...] = (first, second, *older)
        self.fallbacks: int = 0
        """Records that the first directory did not take, since this process began."""
        self.lost: int = 0
        """Records that are only in the log, since this process began."""
        self.doubtful: Sequence[Path] = ()
        """Directories with rows of which nothing says whose they are."""
        self.lease: object = None
        """Shows others that we live there, as long as it is held."""
        self.announcer: Announcer | None = None
        """Tells the host of what could not be written."""
        self.listeners: Sequence[Listener] = ()
        """Who is woken, in this order."""
        self._last_resort = last_resort
        self._copies = copies
        self._clock = clock
        self._delay = 0.0
        self._retry_at = 0.0

    @property
    def directory(self) -> Path:
        """Where records belong."""
        return self.spools[0].directory

    def append(self, *records: Mapping[str, Any], sync: bool = False) -> None:
        """Write *records*, all with one write; all of them or none.

        :param sync: wait for the disk whatever the setting says.
        :raises SpoolError: no directory took them; if this journal has a last resort, they are in the log.
        """
        last = SpoolError("there is no directory")
        for spool in self._choice():
            try:
                spool.append(*records, sync=sync)
            except SpoolError as error:
                if isinstance(error.__cause__, TypeError | ValueError):
                    raise  # no directory, and no log, could hold it
                last = error
                self._rest(spool, error)
            else:
                self._wrote(spool, len(records))
                if self._copies is not None:
                    self._copies.copy(records)
                return
        if self._last_resort:
            self.lost += len(records)
            tell(records)
        raise last

    def keep(self, *records: Mapping[str, Any], sync: bool = False) -> bool:
        """Write *records* as :meth:`append` does, and say whether that went well: whoever sends or reads is served."""
        try:
            self.append(*records, sync=sync)
        except Exception as error:
            log.exception("records could not be written")
            self.failed("spool", error)
            return False
        return True

    def wake(self) -> None:
        """Wake who listens. All is on the disk, so what fails now is logged, and no trouble of the caller's."""
        for listener in self.listeners:
            try:
                listener.wake()
            except Exception:
                log.exception("what has been written waits")

    def failed(self, reason: str, error: Exception) -> None:
        """Tell the host that something could not be recorded. Never raises."""
        if self.announcer is not None:
            self.announcer.failed(reason, error)

    def pending(self) -> bool:
        """Say whether any process of this machine has written what nobody has drained."""
        return any(spool.pending() for spool in self.spools)

    def size(self) -> int:
        """Return the number of bytes that wait to be drained."""
        return sum(spool.size() for spool in self.spools)

    def _choice(self) -> tuple[Spool, ...]:
        # All is well but for rare moments, so the clock is asked in those alone.
        resting = self._delay and self._clock() < self._retry_at
        return self.spools[1::-1] if resting else self.spools[:2]

    def _rest(self, spool: Spool, error: SpoolError) -> None:
        if spool is not self.spools[0]:
            return
        if not self._delay:
            cause = type(error.__cause__).__name__
            log.error("%s: records go to %s until it can be written (%s)", spool.directory, self._second, cause)
        self._delay = min(LONGEST_SECONDS, self._delay * 2 or 1.0)
        self._retry_at = self._clock() + self._delay

    def _wrote(self, spool: Spool, count: int) -> None:
        if spool is not self.spools[0]:
            self.fallbacks += count
        elif self._delay:
            self._delay = self._retry_at = 0.0
            log.info("%s can be written again", spool.directory)

    @property
    def _second(self) -> Path:
        return self.spools[1].directory
