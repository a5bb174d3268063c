"""The journal: a record goes to the first directory that takes it, else to the log.

A directory that fails is left alone for a while, for one second at first and up to a minute, so that a full disk does
not cost each hit an attempt. A record that no directory took becomes one line of the log. The line is JSON in ASCII
only, so that it survives any handler, and carries the checksum from the spool. It holds the same data as the row,
addresses included. So the logger ``flask_mailtrack.spool.lost`` can have a handler of its own.
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
    """A line that holds a record, or should hold one."""

    number: int
    """From 1."""
    body: dict[str, Any] | None
    """The record; ``None`` if the line is damaged."""


def tell(records: Iterable[Mapping[str, Any]]) -> None:
    """Write *records* to the log, a line each."""
    for record in records:
        checksum, _, text = encode(record).rstrip().partition(b" ")
        last_log.critical('%s,"crc32":"%s","record":%s}', _MARK, checksum.decode(), text.decode())


def find(lines: Iterable[bytes]) -> Iterator[Found]:
    """Yield the records among *lines* of a log, a quarantine or a spool. Other lines are ignored."""
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
    """Return the spool line inside another line; ``None`` if there is none."""
    if _SPOOLED.match(text):
        return text.encode() + b"\n"
    if text.startswith('{"reason"'):
        return _quarantined(text)
    if marked := _MARKED.search(text):
        return _told(text[marked.start() :])
    if _ESCAPED.search(text):  # the log itself is JSON
        return _told_within(text)
    return None


def _told(text: str) -> bytes:
    try:
        # Text that a handler puts behind the record is ignored.
        said, _ = json.JSONDecoder().raw_decode(text)
        # The record is encoded as before, so its checksum is the same as before.
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
    """A part that is woken when something has been written."""

    def wake(self) -> object:
        """Look for new records, at once or soon."""
        ...


class Copies(Protocol):
    """The place where other machines look for records of this machine."""

    def copy(self, records: Iterable[Mapping[str, Any]]) -> object:
        """Copy *records*, which are on the disk here, for the other machines. Never raises."""
        ...


class Journal:
    """One stream of records over several directories.

    :param first: the spool for records.
    :param second: the spool for records while the first cannot be written.
    :param older: spools of earlier versions; drained, never written.
    :param last_resort: write records that neither spool takes to the log, for ``flask mailtrack recover``.
    :param copies: gets all records before :meth:`append` returns.
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
        """Number of records that the first directory did not take, since this process began."""
        self.lost: int = 0
        """Number of records that are only in the log, since this process began."""
        self.doubtful: Sequence[Path] = ()
        """Directories with rows of an unknown owner."""
        self.lease: object = None
        """Shows other processes that this one uses the directory."""
        self.announcer: Announcer | None = None
        """Tells the host of records that could not be written."""
        self.listeners: Sequence[Listener] = ()
        """The parts to wake, in this order."""
        self._last_resort = last_resort
        self._copies = copies
        self._clock = clock
        self._delay = 0.0
        self._retry_at = 0.0

    @property
    def directory(self) -> Path:
        """The directory of the first spool."""
        return self.spools[0].directory

    def append(self, *records: Mapping[str, Any], sync: bool = False) -> None:
        """Write *records*, all with one write; all of them or none.

        :param sync: wait for the disk whatever the setting says.
        :raises SpoolError: no directory took the records; if this journal has a last resort, they are in the log.
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
        """Write *records* as :meth:`append` does, and say whether they were written. Never raises."""
        try:
            self.append(*records, sync=sync)
        except Exception as error:
            log.exception("records could not be written")
            self.failed("spool", error)
            return False
        return True

    def wake(self) -> None:
        """Wake the listeners. The records are on disk, so an error here is logged and does not reach the caller."""
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
        """Say whether records of any process of this machine wait for a drain."""
        return any(spool.pending() for spool in self.spools)

    def size(self) -> int:
        """Return the number of bytes that wait to be drained."""
        return sum(spool.size() for spool in self.spools)

    def _choice(self) -> tuple[Spool, ...]:
        # Both directories are well nearly always, so the clock is read only if one of them has failed.
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
