"""Records that no directory took: one line of the log each, and their way back.

The line is JSON, of ASCII alone, so that it survives any handler, and carries the checksum that it
had in the spool. It holds what the row would hold, addresses included: the logger
``flask_mailtrack.spool.lost`` is there for a handler of its own.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask_mailtrack.storage.records import decode, encode

log = logging.getLogger("flask_mailtrack.spool.lost")

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
        log.critical('%s,"crc32":"%s","record":%s}', _MARK, checksum.decode(), text.decode())


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
