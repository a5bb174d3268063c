"""A column of values as the text of a PostgreSQL array: one parameter, which every driver can send."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import JSON, Boolean, DateTime, Integer, String, Text

from flask_mailtrack.column_types import UUIDS


def array_of(kind: Any) -> Callable[[Sequence[Any]], str | None]:
    """Return what writes a column (PostgreSQL 15, 8.15.2); one that is all empty is NULL, which saves the way.

    :param kind: the type of the column, one of :data:`PLAIN`.
    """
    write = _WRITE[type(kind)]

    def array(held: Sequence[Any]) -> str | None:
        if is_empty(held):
            return None
        if write is _quoted and (text := _plain_texts(held)):
            return text
        return f"{{{','.join(['NULL' if value is None else write(value) for value in held])}}}"

    return array


def is_empty(held: Sequence[Any]) -> bool:
    """Say whether a column has no value but NULL and the empty text."""
    return not any(value is not None and value != "" for value in held)


def remembering(process: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return *process*, which knows the few tuples of words that stand in most rows."""
    known = lru_cache(256)(process)
    return lambda value: known(value) if type(value) is tuple else process(value)


def _plain_texts(held: Sequence[str | None]) -> str:
    """Write texts of which none needs an escape; else return nothing."""
    if None in held:
        return ""
    text = '","'.join(held)  # type: ignore[arg-type]
    return "" if "\\" in text or text.count('"') > 2 * len(held) - 2 else f'{{"{text}"}}'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_WRITE: dict[type, Callable[[Any], str]] = {
    Boolean: str,
    DateTime: lambda moment: f'"{moment.isoformat()}"',
    Integer: str,
    JSON: remembering(lambda value: _quoted(_to_json(value))),
    String: _quoted,
    Text: _quoted,
    **dict.fromkeys(UUIDS, attrgetter("hex")),
}

PLAIN = frozenset(_WRITE)
"""The types that are written so. A type of the host's may turn values into something else."""
