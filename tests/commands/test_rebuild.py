"""``flask mailtrack rebuild``: the state on the messages, from their events."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site

from flask_mailtrack.events import first_id, now
from flask_mailtrack.storage.tables import counts
from flask_mailtrack.testing import Reader
from tests.storage.people.test_people import unsubscribe_path

HTML = '<p><a href="https://example.com/a">a</a></p>'
STATE = ("opened_at", "clicked_at", "unsubscribed_at", "open_count", "click_count", "machine_count")
WRONG = {"opened_at": None, "clicked_at": None, "unsubscribed_at": None}
WRONG |= {"open_count": 7, "click_count": 7, "machine_count": 7}  # type: ignore[dict-item]


def spoil(site: Site) -> None:
    """Put wrong counts on every message."""
    with site.mailtrack._state_of(site.app).database.transaction() as connection:
        connection.execute(sa.update(site.mailtrack._state_of(site.app).database.message).values(**WRONG))


def states(site: Site) -> list[tuple[Any, ...]]:
    """What stands on the messages, in the order in which they were sent."""
    return [tuple(getattr(row, name) for name in STATE) for row in site.rows("Message")]


def rebuild(site: Site, *arguments: str) -> str:
    """Run the command, and return what it says."""
    done = site.app.test_cli_runner().invoke(args=["mailtrack", "rebuild", *arguments])
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_state_is_made_again_from_the_events(
    database_url: str, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands on the messages, afterwards it is what the drain would have written, page after page."""
    monkeypatch.setattr(counts, "_BATCH", 2)
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    for number in range(5):
        sent = site.send(HTML, list_id="news")
        reader = Reader(site.client, sent)
        for _ in range(number + 1):
            reader.open()
        reader.click("a")
    site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"})
    right = states(site)
    assert [state[3] for state in right] == [1, 2, 3, 4, 5]
    assert right[-1][2] is not None
    spoil(site)
    assert "5 messages recounted" in rebuild(site)
    assert states(site) == right


def test_a_message_with_purged_events_keeps_its_counts(make_site: MakeSite) -> None:
    """What stands on it is all that is left, also where only some of its events are gone."""
    site = make_site(MAILTRACK_KEEP_DAYS={"events": 10})
    for _ in range(2):
        Reader(site.client, site.send(HTML)).open()
    state = site.mailtrack._state_of(site.app)
    old = uuid.UUID(int=first_id(now() - timedelta(days=11)).int + 1)
    with state.database.transaction() as connection:
        message, event = state.database.message, state.database.event
        about = connection.execute(sa.select(message.c.id).order_by(message.c.id).limit(1)).scalar_one()
        connection.execute(sa.update(message).where(message.c.id == about).values(id=old))
        connection.execute(sa.update(event).where(event.c.message_id == about).values(message_id=old))
    spoil(site)
    assert "1 messages recounted" in rebuild(site)
    assert [counts[3] for counts in states(site)] == [7, 1]


def test_a_message_without_events_is_left_alone(site: Site) -> None:
    """They may have been purged when less was kept than now."""
    site.send(HTML)
    spoil(site)
    rebuild(site)
    assert [counts[3] for counts in states(site)] == [7]


def test_only_newer_messages_on_request(site: Site) -> None:
    """Older ones are not even looked at."""
    Reader(site.client, site.send(HTML)).open()
    spoil(site)
    tomorrow = (now() + timedelta(days=1)).date().isoformat()
    assert "0 messages recounted" in rebuild(site, "--since", tomorrow)
    assert states(site)[0][3] == 7
    assert "1 messages recounted" in rebuild(site, "--since", now().date().isoformat())
    assert states(site)[0][3] == 1
