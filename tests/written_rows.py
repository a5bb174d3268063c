"""Rows as the drain would have written them, for reports to be asked about."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from conftest import Site
from figures_oracle import an_id
from sqlalchemy.event import listen

from flask_mailtrack.console.look import look_of
from flask_mailtrack.events import EventType, Status, Verdict, new_id, now
from flask_mailtrack.time_zones import zone_of

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


def mail(site: Site, at: datetime, tag: str, copies: int, opened: int = 0, clicked: int = 0, **columns: Any) -> None:
    """Write a mail to a list: people open and click it an hour later, the first of them leaves, a machine looks."""
    values = {"tag": tag, "list_id": "news", "subject": f"About {tag}"[:80]} | columns
    for number in range(copies):
        at += timedelta(seconds=1)
        done = at + timedelta(hours=1)
        marks: dict[str, Any] = {"opened_at": done} if number < opened else {}
        marks |= {"clicked_at": done} if number < clicked else {}
        marks |= {"unsubscribed_at": done} if number == 0 and opened and values["list_id"] else {}
        key = message(site, at, recipient=f"p{number}@example.com", **(values | marks))
        if number < opened:
            event(site, key, done, client="Firefox", os="Linux" if number else "", device="desktop")
        if number < clicked:
            link = {"url": "https://shop.example/tea", "link": 0, "link_name": "hero", "part": "html"}
            event(site, key, done, EventType.CLICKED, **link)
        if number == 0 and opened and values["list_id"]:
            event(site, key, done, EventType.UNSUBSCRIBED, reason="never", list_id=values["list_id"])
        if number == 1:
            event(site, key, done, verdict=Verdict.SCANNER)


def rows_behind(site: Site, href: str, tz: str = "UTC") -> int:
    """Return how many messages an address of the page of messages asks for."""
    query = dict(parse_qsl(urlsplit(href).query))
    look = look_of(query, zone_of(tz), tz, now())
    assert not look.ignored, look.ignored
    page = site.mailtrack.reports.messages(look.sent, activity=query.get("activity", ""), size=1000)
    return len(page.rows)


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
