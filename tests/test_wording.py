"""Numbers, times and addresses as the console writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from markupsafe import Markup

from flask_mailtrack.time_zones import zone_of
from flask_mailtrack.wording import Clock, breakable, number, percent, points, seconds, without_addresses

NOW = datetime(2026, 11, 27, 9, 40, tzinfo=UTC)
CLOCK = Clock(zone_of("Europe/Berlin"), NOW)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (number(14269), "14,269"),
        (number(None), "–"),
        (percent(0.43), "43.0%"),
        (percent(0.0084), "0.84%"),
        (percent(0), "0.0%"),
        (percent(1), "100.0%"),
        (percent(None), "–"),
        (points(-0.022), "2.2 points"),
        (points(0.0028), "0.28 points"),
        (seconds(timedelta(seconds=2)), "2 s"),
        (seconds(timedelta(minutes=14)), "14 min"),
        (seconds(timedelta(hours=47)), "47 h"),
        (seconds(timedelta(days=2)), "2 days"),
        (seconds(-timedelta(days=2)), "0 s"),
    ],
)
def test_numbers_read_as_people_write_them(written: str, meant: str) -> None:
    """Thousands are told apart, small rates keep two places, and nothing is a dash, never 0%."""
    assert written == meant


def test_a_time_is_that_of_the_host() -> None:
    """A time is written in the host's zone, with the exact one and its offset to be pointed at."""
    written = CLOCK.moment(datetime(2026, 11, 24, 8, 0, 7, tzinfo=UTC))
    assert written == Markup(
        '<time datetime="2026-11-24T09:00:07+01:00" title="2026-11-24 09:00:07+01:00, 3 days ago">24 Nov, 09:00</time>'
    )
    assert "09:00:07</time>" in CLOCK.moment(datetime(2026, 11, 24, 8, 0, 7, tzinfo=UTC), exact=True)
    assert CLOCK.moment(None) == "–"


def test_only_another_year_is_written_out() -> None:
    """A day of this year is told without the year."""
    assert [CLOCK.day(day) for day in (date(2026, 1, 2), date(2025, 12, 31), None)] == ["2 Jan", "31 Dec 2025", "–"]
    assert CLOCK.day(datetime(2025, 12, 31, 23, 30, tzinfo=UTC)) == "1 Jan"
    assert CLOCK.ago(NOW + timedelta(days=6)) == "in 6 days"


def test_what_is_masked_stays_as_it_is() -> None:
    """Each address in a text is masked, however it is written, and a second look changes nothing more."""
    masked = without_addresses("x ada@example.com bob%40example.com a@b.example eve%2540example.com")
    assert masked == "x a•••@e•••.com b•••@e•••.com •••@•••.example e•••@e•••.com"
    assert without_addresses(masked) == masked


def test_a_hostile_address_is_text() -> None:
    """What stands in an address or a URL is never read as HTML."""
    assert breakable("https://example.com/<b>") == "example.com/<wbr>&lt;b&gt;"
    assert breakable('"><script>@example.org') == "&#34;&gt;&lt;script&gt;<wbr>@example.org"
