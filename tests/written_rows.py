"""Rows as the drain would have written them, for reports to be asked about."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any

from conftest import Site
from figures_oracle import an_id
from sqlalchemy.event import listen

from flask_mailtrack.events import EventType, Status, Verdict, new_id

_NUMBERS = count()


def message(site: Site, at: datetime, **columns: Any) -> Any:
    """Write a message, and return its id."""
    values = {"status": Status.SENT, "recipient": "a@b.example", "sender": "n@one.example", "subject": "Hello"}
    values |= {"tracks_opens": True, "tracks_clicks": True, "created_at": at, "batch_id": new_id()} | columns
    return _written(site, site.mailtrack.models.Message, at, values)


def event(site: Site, about: Any, at: datetime, kind: EventType = EventType.OPENED, **columns: Any) -> Any:
    """Write an event of a message, and return its id."""
    values: dict[str, Any] = {"verdict": Verdict.HUMAN, "verdict_reasons": ["ua_browser"]} | columns
    values |= {"message_id": about, "type": kind, "occurred_at": at}
    return _written(site, site.mailtrack.models.Event, at, values)


def summed(site: Site) -> None:
    """Have the rows counted, as a drain counts what it writes."""
    site.db.session.commit()
    done = site.app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
    assert done.exit_code == 0, done.output


def asked(site: Site) -> list[str]:
    """Return a list that grows by each question that the database is asked from now on."""
    found: list[str] = []
    cursors: list[Any] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        # An engine with options of its own tells the one that it was made of, too.
        if not statement.startswith("PRAGMA") and not any(cursor is each for each in cursors):
            cursors.append(cursor)
            found.append(statement)

    for engine in {site.db.engine, site.mailtrack._state_of(site.app).database.engine}:
        listen(engine, "before_cursor_execute", note)
    return found


def _written(site: Site, model: Any, at: datetime, values: dict[str, Any]) -> Any:
    row = model(id=an_id(at, next(_NUMBERS)), **values)
    site.db.session.add(row)
    return row.id
