"""Messages one by one: a list with filters, and what happened to one of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from itertools import groupby
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.errors import ReportError
from flask_mailtrack.reporting.exports import every, table_of
from flask_mailtrack.reporting.selection import Selection
from flask_mailtrack.reporting.timeline import MessageLine
from flask_mailtrack.wording import seconds

from .desk import Desk
from .look import PERIODS
from .outcomes import ACTIVITIES, STATUSES, outcome, unmeasured
from .route import Route
from .visits import TimelineLine, visits

GONE = "There is no such message, or it was erased."
_LONGEST = 320
_HEADER = (
    *("id", "recipient", "sender", "subject", "tag", "list_id", "status", "error", "created_at", "sent_at"),
    *("tracks_opens", "tracks_clicks", "shared", "mode", "opened_at", "clicked_at", "unsubscribed_at"),
    *("open_count", "click_count", "machine_count"),
)


def messages(desk: Desk) -> ResponseReturnValue:
    """Show messages, newest first."""
    about, search = _asked(desk)
    activity = desk.look.filters.get("activity", "")
    if desk.wants_csv:
        return desk.csv("messages", _HEADER, _rows(desk, about, search, activity))
    page = request.args.get("page", "")
    found = desk.reports.messages(about, search=search, activity=activity, page=page)
    return desk.page(
        "messages.html",
        rows=found.rows,
        next=found.next,
        page=page,
        count=desk.reports.count(about, search=search, activity=activity),
        person=request.args.get("person", ""),
        address=search if "@" in search else "",
        search="" if "@" in search else search,
        outcomes=outcomes(desk, found.rows),
        statuses=STATUSES,
        activities=ACTIVITIES,
        dated=_dated(),
        tags=sorted({row.tag for row in found.rows if row.tag and desk.linkable(row.tag)}),
        lists=sorted({row.list_id for row in found.rows if row.list_id}.union(_configured_lists(desk))),
    )


def _configured_lists(desk: Desk) -> Iterable[str]:
    return desk.state.settings.lists.keys() if desk.scope is None else ()


def messages_search(desk: Desk) -> ResponseReturnValue:
    """Lead to the messages that a form describes. An address becomes the id of a row: no log shall have it."""
    said = {name: request.form.get(name, "").strip()[:_LONGEST] for name in ("q", *_FIELDS)}
    wanted = said.pop("q")
    query = {name: value for name, value in said.items() if value and desk.linkable(value)}
    if "@" in wanted:
        handle = desk.reports.handle_of(wanted)
        if handle is None:
            return desk.page("people.html", unknown=True)
        query["person"] = str(handle)
    elif wanted:
        query["search"] = wanted
    if "from" in query or "to" in query:
        query.pop("period", None)
    return desk.back("messages", **query)


def message(desk: Desk, key: uuid.UUID) -> ResponseReturnValue:
    """Show what happened to one message, and why nothing did."""
    try:
        found = desk.reports.timeline(key)
    except ReportError:
        desk.missing(GONE)
    if desk.wants_csv:
        header, rows = table_of(found)
        cells = ([_event_cell(desk, *cell) for cell in zip(header, row, strict=True)] for row in rows)
        return desk.csv("timeline", header, cells)
    lines = list(visits(found.events))
    return desk.page(
        "message.html",
        row=found.message,
        notes=found.notes,
        days=_by_day(desk, lines[:_MOST_LINES]),
        more=max(0, len(lines) - _MOST_LINES),
        since=partial(seconds, t=desk.t),
        outcome=outcome(found.message, desk.state.optouts.declined(unmeasured([found.message]))),
        statuses=STATUSES,
        recent=any((desk.now - event.at).total_seconds() < _UNSETTLED for event in found.events),
    )


def outcomes(desk: Desk, rows: Sequence[MessageLine]) -> dict[uuid.UUID, Any]:
    """Return what became of each of some messages."""
    people = unmeasured(rows)
    declined = desk.state.optouts.declined(people) if people else {}
    return {row.id: outcome(row, declined) for row in rows}


_MOST_LINES = 50
"""Of a timeline; the file has all."""
_UNSETTLED = 15 * 60
"""Seconds in which later hits may still correct a verdict."""
_FIELDS = ("tag", "untagged", "list", "sender", "subject", "status", "activity", "from", "to", "period")


def _asked(desk: Desk) -> tuple[Selection, str]:
    """Return which messages are asked for, and what is searched: a person's are shown whenever they were sent."""
    person = request.args.get("person", "")
    if not person:
        search = request.args.get("search", "")[:_LONGEST]
        return desk.look.sent, "" if "@" in search else search
    try:
        address = desk.reports.address_of(uuid.UUID(person))
    except ValueError:
        address = None
    if address is None or "@" not in address:
        desk.missing(GONE)
    return desk.look.sent if _dated() else desk.look.always, address


def _dated() -> bool:
    """Say whether the address of the page names days."""
    return any(request.args.get(name) for name in ("from", "to")) or request.args.get("period") in PERIODS


def _rows(desk: Desk, about: Selection, search: str, activity: str) -> Iterator[Sequence[Any]]:
    for row in every(partial(desk.reports.messages, about, search=search, activity=activity)):
        yield [_cell(desk, name, getattr(row, name)) for name in _HEADER]


def _cell(desk: Desk, name: str, value: Any) -> Any:
    if name in ("recipient", "sender"):
        return desk.plain_address(value)
    return desk.text(value) if isinstance(value, str) and name in ("subject", "error") else value


def _event_cell(desk: Desk, name: str, value: Any) -> Any:
    if name == "ip" and not desk.may("addresses"):
        return ""
    return desk.text(value) if isinstance(value, str) else value


def _by_day(desk: Desk, lines: Sequence[TimelineLine]) -> list[tuple[date, list[TimelineLine]]]:
    days = groupby(lines, lambda line: line.first.at.astimezone(desk.zone).date())
    return [(day, list(each)) for day, each in days]


ROUTES = (
    Route("/messages", "messages", "view", messages),
    Route("/messages/search", "messages_search", "view", messages_search, ("POST",)),
    Route("/messages/<uuid:key>", "message", "view", message),
)
