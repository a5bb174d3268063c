"""The frozen records of :mod:`flask_mailtrack.events` as lines of the spool, and back."""

from __future__ import annotations

import dataclasses
import json
import uuid
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from flask_mailtrack.events import (
    EventType,
    Hit,
    LinkTarget,
    OptOutKind,
    SentMessage,
    Status,
    Suppression,
    Verdict,
)
from flask_mailtrack.modes import Mode

Record = SentMessage | Hit | LinkTarget | Suppression

_TYPES: dict[str, type[Any]] = {"message": SentMessage, "hit": Hit, "link": LinkTarget, "suppression": Suppression}
_NAMES = {cls: name for name, cls in _TYPES.items()}


def _just(*kinds: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) not in kinds:
            raise ValueError(f"{value!r} is not {kinds[0].__name__}")
        return value

    return read


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)  # SQLite and MySQL drop the zone, so it must be this one


def _one_of(kind: type[StrEnum]) -> Callable[[Any], Any]:
    # Ten times as fast as to call the class, which the drain does twice for each row.
    members: dict[Any, StrEnum] = {member.value: member for member in kind}
    return members.__getitem__


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(_just(str), _just(list)(value)))


_READ: dict[str, Callable[[Any], Any]] = {
    "uuid.UUID": uuid.UUID,
    "datetime": _moment,
    "datetime | None": _moment,
    "Status": _one_of(Status),
    "EventType": _one_of(EventType),
    "Verdict": _one_of(Verdict),
    "OptOutKind": _one_of(OptOutKind),
    "Mode": _one_of(Mode),
    "tuple[str, ...]": _words,
    "Mapping[str, Any]": _just(dict),
    "int | None": _just(int, type(None)),
    "bool": _just(bool),
    "str": _just(str),
}
"""How a field is read, by its annotation: a new kind of field fails at import, not in the drain."""

_READERS = {cls: {f.name: _READ[str(f.type)] for f in dataclasses.fields(cls)} for cls in _NAMES}
# Most fields are text, and to call a function for each takes as long as all the rest.
_TEXTS = {cls: {name for name, read in readers.items() if read is _READ["str"]} for cls, readers in _READERS.items()}

_WRITE: dict[str, Callable[[Any], Any]] = {
    "uuid.UUID": str,
    "datetime": datetime.isoformat,
    "datetime | None": datetime.isoformat,
    "Mapping[str, Any]": dict,
}
"""How a field is written, by its annotation; others go to JSON as they are."""


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


_FIELDS = {cls: [(f.name, _default(f), _WRITE.get(str(f.type))) for f in dataclasses.fields(cls)] for cls in _NAMES}
# NaN and Infinity, which a host may have put into its metadata, are not JSON to a database.
_from_text = json.JSONDecoder(parse_constant=lambda name: None).raw_decode
_to_text = json.JSONEncoder(separators=(",", ":"), default=str).encode


def to_json(record: Record) -> dict[str, Any]:
    """Return *record* for the spool; what is at its default is left out."""
    cls = type(record)
    body: dict[str, Any] = {"k": _NAMES[cls]}
    for name, default, write in _FIELDS[cls]:
        value = getattr(record, name)
        if default is dataclasses.MISSING or value != default:
            body[name] = write(value) if write else value
    return body


def from_json(body: dict[str, Any], more: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda fields: {}) -> Record:
    """Return the record of a spool line. Fields that a later version has added are passed over.

    :param more: told of the fields, returns those to add: to change a record afterwards takes longer than to make it.
    :raises ValueError: it is not a record of ours, or a field is missing or of the wrong kind.
    """
    try:
        cls = _TYPES[body["k"]]
        texts, readers = _TEXTS[cls], _READERS[cls]
        fields: dict[str, Any] = {}
        for name, value in body.items():
            if name in texts and type(value) is str:
                fields[name] = value
            elif name in readers:
                fields[name] = readers[name](value)
        record: Record = cls(**(fields | more(fields)))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a record: {error!r}") from error
    return record


def encode(record: Mapping[str, Any]) -> bytes:
    """Return the line of *record*: a CRC-32 in eight hex digits, a space, JSON, a newline."""
    text = _to_text(record).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> dict[str, Any]:
    """Return the record of a line.

    :raises ValueError: the line is torn, altered, or not one of ours.
    """
    text = line[9:-1]
    if line[-1:] != b"\n" or b"%08x " % zlib.crc32(text) != line[:9]:
        raise ValueError("checksum")
    characters = text.decode()
    try:
        record, end = _from_text(characters)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if end != len(characters) or not isinstance(record, dict):
        raise ValueError("not an object")
    return record
