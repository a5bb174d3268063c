"""Reports as files: CSV that no spreadsheet takes for formulas, and JSON; of any length in the same memory."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select

from flask_mailtrack.audience import by_people
from flask_mailtrack.events import Status

from .reports import Reports
from .rows import between
from .selection import Selection

_CHUNK = 2_000
_PAGE = 1_000
"""Rows of a list that are asked for at once: as many as any list gives."""
_MESSAGE = (
    *("id", "batch_id", "recipient", "sender", "subject", "header_message_id", "tag", "list_id", "status", "error"),
    *("created_at", "sent_at", "tracks_opens", "tracks_clicks", "shared", "mode", "opened_at", "clicked_at"),
    *("unsubscribed_at", "open_count", "click_count", "machine_count"),
    *("delivered_at", "bounced_at", "complained_at", "rejected_at"),
)
_EVENT = (
    *("id", "message_id", "type", "occurred_at", "url", "link", "link_name", "part", "ip", "user_agent", "client"),
    *("os", "device", "country", "verdict", "verdict_reasons", "provider", "list_id", "method", "reason", "comment"),
)
_RATES = ("rate", "out")
"""Properties that are written beside fields."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Rows = Iterable[Sequence[Any]]


def cell(text: str) -> str:
    """Return *text* as a cell that no spreadsheet takes for a formula (CWE-1236).

    Spreadsheets for East Asian languages read full-width signs as the plain ones.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_lines(header: Sequence[str], rows: Rows) -> Iterator[str]:
    """Yield the lines of a CSV file, each with its end (RFC 4180)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(header)
    yield _taken(buffer)
    for row in rows:
        writer.writerow([_written(value) for value in row])
        yield _taken(buffer)


def json_lines(header: Sequence[str], rows: Rows) -> Iterator[str]:
    """Yield the pieces of a JSON list of objects."""
    yield "["
    first = True
    for row in rows:
        start = "\n" if first else ",\n"
        first = False
        yield start + json.dumps(dict(zip(header, map(plain, row), strict=True)), ensure_ascii=False)
    yield "\n]\n"


def messages(reports: Reports, about: Selection) -> tuple[tuple[str, ...], Iterator[Sequence[Any]]]:
    """Return header and rows of all messages of a selection, in the order of their ids.

    By ``happened`` there is no such list: see :meth:`Reports.messages`.
    """
    table = reports.database.message
    mine = (*reports.conditions(about), between(table.c.created_at, about.start, about.end))
    query = select(*(table.c[name] for name in _MESSAGE)).where(*mine, table.c.status != Status.COUNTER)
    return _MESSAGE, _chunks(reports, query, table.c.id)


def events(reports: Reports, about: Selection) -> tuple[tuple[str, ...], Iterator[Sequence[Any]]]:
    """Return header and rows of all events of a selection by its audience, in the order of their ids."""
    event, message = reports.database.event, reports.database.message
    when = event.c.occurred_at if about.happened else message.c.created_at
    people = by_people(event)
    who = {"people": [people], "machines": [~people, event.c.verdict != "unknown"], "all": []}[about.audience]
    mine = (*reports.conditions(about), between(when, about.start, about.end), *who)
    names = (event.c[name] for name in _EVENT)
    joined = event.join(message, event.c.message_id == message.c.id)
    return _EVENT, _chunks(reports, select(*names).select_from(joined).where(*mine), event.c.id)


def _chunks(reports: Reports, query: Any, key: Any) -> Iterator[Sequence[Any]]:
    """Yield all rows of *query*, whose first column is *key*, some at a time: nothing is held open meanwhile."""
    page = ordered = query.order_by(key).limit(_CHUNK)
    while rows := reports.database.rows(page):
        yield from rows
        page = ordered.where(key > rows[-1][0])


def every(ask: Callable[..., Any]) -> Iterator[Any]:
    """Yield the rows of all pages of a list.

    :param ask: returns a page; is called with ``page`` and ``size``.
    """
    page = ""
    while True:
        found = ask(page=page, size=_PAGE)
        yield from found.rows
        if not (page := found.next):
            return


def table_of(answer: Any) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Return the header and the rows of an answer: its lines, if it has any, else itself in one row."""
    for name in ("lines", "points", "rows", "events"):
        if isinstance(found := getattr(answer, name, None), tuple):
            lines: Sequence[Any] = found
            break
    else:
        lines = answer if isinstance(answer, tuple) else [answer]
    flat = [dict(_flat(line)) for line in lines]
    header = tuple(flat[0]) if flat else ()
    return header, [tuple(row.values()) for row in flat]


def plain(value: Any) -> Any:
    """Return a value as JSON takes it: times as ISO 8601, rates beside what they are made of."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(each) for name, each in _fields(value)}
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    for each in dataclasses.fields(value):
        yield each.name, getattr(value, each.name)
    yield from (
        (name, getattr(value, name)) for name in _RATES if isinstance(getattr(type(value), name, None), property)
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Selection):
        yield name, json.dumps(plain(value.filters()))
    elif dataclasses.is_dataclass(value):
        for each, inner in _fields(value):
            yield from _flat(inner, each if not name or name == "totals" else f"{name}_{each}")
    elif isinstance(value, tuple) and not name:
        yield from (("value", value[0]), ("number", value[1]))
    else:
        yield name, value


def _written(value: Any) -> Any:
    if value is None:
        return ""
    value = plain(value)
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    return cell(value) if isinstance(value, str) else value


def _taken(buffer: io.StringIO) -> str:
    line = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return line


Export = Callable[[Reports, Selection], tuple[tuple[str, ...], Iterator[Sequence[Any]]]]
EXPORTS: dict[str, Export] = {"messages": messages, "events": events}
"""What is written row by row as it is read."""
