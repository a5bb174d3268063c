"""What a question is about: read as it was meant, or refused with the cure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from flask_mailtrack.errors import ReportError
from flask_mailtrack.reporting.selection import Selection

MAY = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "tz", "meant"),
    [
        (MAY, "UTC", MAY),
        (datetime(2026, 5, 1), "Europe/Berlin", MAY),
        (datetime(2026, 5, 1, 2, tzinfo=timezone(timedelta(hours=2))), "UTC", MAY),
        (date(2026, 5, 1), "UTC", MAY),
        (date(2026, 5, 1), "Europe/Berlin", MAY - timedelta(hours=2)),
        ("2026-05-01", "Europe/Berlin", MAY - timedelta(hours=2)),
        ("2026-05-01T00:00:00Z", "Europe/Berlin", MAY),
        ("2026-05-01T00:00", "Europe/Berlin", MAY),
        ("2026-05-01T02:00+02:00", "UTC", MAY),
        (None, "UTC", None),
    ],
    ids=repr,
)
def test_a_moment_is_read(given: Any, tz: str, meant: datetime | None) -> None:
    """A naive time is UTC, a date is its first moment in the time zone, and ISO text is read."""
    about = Selection(since=given, until=given, tz=tz)
    assert about.start == about.end == meant


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"since": "yesterday"}, "'yesterday'"),
        ({"since": 1_777_000_000}, "1777000000"),
        ({"until": "2026-02-30"}, "'2026-02-30'"),
        ({"since": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))}, "out of range"),
        ({"since": MAY, "until": MAY - timedelta(seconds=1)}, "before since"),
        ({"basis": "delivered"}, "'delivered'. Write one of: sent, happened."),
        ({"audience": "humans"}, "'humans'. Write one of: people, machines, all."),
        ({"status": "counter"}, "'counter'. Write one of: sending"),
        ({"status": "lost"}, "'lost'"),
        ({"tz": "Berlin"}, "'Berlin'. Write a name such as 'Europe/Berlin'."),
        ({"tag": 7}, "tag is 7."),
        ({"list_id": b"news"}, "list_id is b'news'."),
    ],
    ids=repr,
)
def test_a_wrong_value_is_explained(filters: dict[str, Any], said: str) -> None:
    """What cannot be meant is a ValueError with the value and the cure."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        Selection(**filters)
    assert isinstance(caught.value, ReportError)
    assert said in str(caught.value)


def test_names_have_one_spelling() -> None:
    """A list is meant in any spelling, and a domain in any case; a tag is what is written."""
    about = Selection(list_id=" NEWS ", sender_domain="Example.COM", tag="Welcome")
    assert (about.list_id, about.sender_domain, about.tag) == ("news", "example.com", "Welcome")
    assert about.narrowed(tag="x").filters() == {"list_id": "news", "sender_domain": "example.com", "tag": "x"}
