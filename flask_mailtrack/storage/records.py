"""The records of :mod:`flask_mailtrack.events` as lines of the spool, and back."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar, get_type_hints

from flask_mailtrack.events import (
    EventType,
    Hit,
    LinkTarget,
    MailBody,
    OptOutKind,
    SentMessage,
    Status,
    Suppression,
    Verdict,
)
from flask_mailtrack.modes import Mode

Record = SentMessage | Hit | LinkTarget | MailBody | Suppression

_TYPES: dict[str, type[Any]] = {
    "message": SentMessage,
    "hit": Hit,
    "link": LinkTarget,
    "body": MailBody,
    "suppression": Suppression,
}
_NAMES = {cls: name for name, cls in _TYPES.items()}

T = TypeVar("T")


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
    # SQLite and MySQL drop the zone, so the moment must be in UTC.
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _one_of(kind: type[StrEnum]) -> Callable[[Any], Any]:
    # Ten times as fast as a call of the class, and the drain needs it twice for each row.
    members: dict[Any, StrEnum] = {member.value: member for member in kind}
    return members.__getitem__


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(_just(str), _just(list)(value)))


_uuid = lru_cache(4096)(uuid.UUID)  # several hits name the same message

_READ: dict[Any, Callable[[Any], Any]] = {
    uuid.UUID: _uuid,
    uuid.UUID | None: _uuid,
    datetime: _moment,
    datetime | None: _moment,
    Status: _one_of(Status),
    EventType: _one_of(EventType),
    Verdict: _one_of(Verdict),
    OptOutKind: _one_of(OptOutKind),
    Mode: _one_of(Mode),
    tuple[str, ...]: _words,
    Mapping[str, Any]: _just(dict),
    int | None: _just(int, type(None)),
    bool: _just(bool),
    str: _just(str),
}
"""The readers of fields, by type. A field of a new type fails at import, and not in the drain."""

_TYPES_OF = {cls: get_type_hints(cls) for cls in _NAMES}

_SPELLED: dict[str, tuple[type, Callable[[str], Any]]] = {
    "uuid": (uuid.UUID, uuid.UUID),
    "datetime": (datetime, datetime.fromisoformat),
    "date": (date, date.fromisoformat),
    "decimal": (Decimal, Decimal),
}
"""Values of a host's columns that JSON does not know. JSON holds a list of a word and a text for them."""


def _spelled(values: Mapping[str, Any]) -> dict[str, Any]:
    def spell(value: Any) -> Any:
        word = next((word for word, (kind, _) in _SPELLED.items() if isinstance(value, kind)), None)
        return [word, value.isoformat() if isinstance(value, date) else str(value)] if word else value

    return {name: spell(value) for name, value in values.items()}


def _read_columns(values: Any) -> dict[str, Any]:
    return {
        name: _SPELLED[value[0]][1](value[1]) if isinstance(value, list) else value
        for name, value in _just(dict)(values).items()
    }


_WRITE: dict[Any, Callable[[Any], Any]] = {
    uuid.UUID: str,
    uuid.UUID | None: str,
    datetime: datetime.isoformat,
    datetime | None: datetime.isoformat,
    Mapping[str, Any]: dict,
}
"""The writers of fields, by type. Other fields go to JSON as they are."""

DEEPEST = 200
"""Levels of JSON that are read. :func:`~flask_mailtrack.Mailtrack.track` accepts far fewer."""

_MISSING = object()
_BLANK = {cls: [cls._field_defaults.get(name, _MISSING) for name in cls._fields] for cls in _NAMES}
"""The default values of each type of record, by position. A required field has no default."""
_NEEDED = {cls: set(cls._fields) - set(cls._field_defaults) for cls in _NAMES}

_READERS = {
    # Most fields are text. A function call for each of them would take as long as all the rest.
    cls: {name: (place, _READ[kind], kind is str) for place, (name, kind) in enumerate(types.items())}
    for cls, types in _TYPES_OF.items()
}
_WRITERS = {
    cls: [(name, default, _WRITE.get(kind)) for (name, kind), default in zip(types.items(), _BLANK[cls], strict=True)]
    for cls, types in _TYPES_OF.items()
}
_READERS[SentMessage]["columns"] = (SentMessage._fields.index("columns"), _read_columns, False)
_WRITERS[SentMessage] = [
    (name, default, _spelled if name == "columns" else write) for name, default, write in _WRITERS[SentMessage]
]
# A host may put NaN and Infinity into its metadata, but databases do not accept them as JSON.
_from_text = json.JSONDecoder(parse_constant=lambda name: None).raw_decode
_to_text = json.JSONEncoder(separators=(",", ":"), default=str).encode


def to_json(record: Record) -> dict[str, Any]:
    """Return *record* for the spool, without the fields that have their defaults."""
    cls = type(record)
    body: dict[str, Any] = {"k": _NAMES[cls]}
    for (name, default, write), value in zip(_WRITERS[cls], record, strict=True):
        if value != default:
            body[name] = write(value) if write else value
    return body


def from_json(body: Mapping[str, Any]) -> Record:
    """Return the record of a spool line. Fields of a later version are ignored.

    :raises ValueError: the line is not a record of this package, or a field is missing or of the wrong type.
    """
    try:
        cls = _TYPES[body["k"]]
        readers, values = _READERS[cls], _BLANK[cls].copy()
        # Fields are passed by position. By name they would cost more, because names from JSON are not interned.
        for name, value in body.items():
            if known := readers.get(name):
                place, read, is_text = known
                values[place] = value if is_text and type(value) is str else read(value)
        if missing := _NEEDED[cls].difference(body):
            raise KeyError(*missing)
        record: Record = cls._make(values)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a record: {error!r}") from error
    return record


def is_deeper(value: Any, levels: int) -> bool:
    """Say whether lists and dicts in *value* are nested deeper than *levels*. Works without recursion."""
    level = [value]
    for _ in range(levels + 1):
        nested = [each for each in level if isinstance(each, Mapping | list | tuple)]
        if not nested:
            return False
        level = [inner for each in nested for inner in (each.values() if isinstance(each, Mapping) else each)]
    return True


def encode(record: Mapping[str, Any]) -> bytes:
    """Return the line of *record*: a CRC-32 in eight hex digits, a space, JSON, a newline."""
    text = _to_text(record).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> dict[str, Any]:
    """Return the record of a line.

    :raises ValueError: the line is torn, altered, or not of this package.
    """
    text = line[9:-1]
    if line[-1:] != b"\n" or b"%08x " % zlib.crc32(text) != line[:9]:
        raise ValueError("checksum")
    characters = text.decode()
    try:
        record, end = _from_text(characters)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # A value that can be read here might be too deep to be written again, from a few frames deeper.
    if characters.count("[") + characters.count("{") > DEEPEST and is_deeper(record, DEEPEST):
        raise ValueError("nested too deeply")
    if end != len(characters) or not isinstance(record, dict):
        raise ValueError("not an object")
    return record


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield *values* in lists of at most *size*, as ``itertools.batched`` does from Python 3.12 on."""
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch
