"""What the address of a page asks for."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.console.look import FILTERS, PERIODS, Look, look_of
from flask_mailtrack.time_zones import zone_of

NOW = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)


def looked(tz: str = "UTC", **args: str) -> Look:
    """Return the look of an address."""
    return look_of({name.removesuffix("_"): value for name, value in args.items()}, zone_of(tz), tz, NOW)


@pytest.mark.parametrize(("tz", "today"), [("UTC", date(2026, 3, 29)), ("Europe/Berlin", date(2026, 3, 30))])
def test_a_period_ends_today_where_the_host_is(tz: str, today: date) -> None:
    """Seven days are today and the six before, by the calendar of the host's time zone."""
    look = looked(tz, period="7d")
    assert (look.until, look.days) == (today, 7)
    assert look.sent.end is not None
    assert look.sent.end.astimezone(zone_of(tz)).isoformat()[:16] == f"{today.replace(day=today.day + 1)}T00:00"


def test_days_may_be_written() -> None:
    """Both written days are included, and stand for the period in every link."""
    look = looked(from_="2026-03-01", to="2026-03-02")
    assert (look.days, look.period) == (2, "")
    assert look.query() == {"from": "2026-03-01", "to": "2026-03-02"}
    assert look.query(period="7d") == {"period": "7d"}


@pytest.mark.parametrize(
    "args",
    [
        {"period": "7x"},
        {"who": "humans"},
        {"status": "eaten"},
        {"tag": "\0"},
        {"tag": "x" * 501},
        {"from_": "2026-02-30"},
        {"from_": "2026-03-02", "to": "2026-03-01"},
        {"to": "0001-01-01"},
        {"from_": "9999-12-31", "to": "9999-12-31"},
    ],
    ids=str,
)
def test_what_is_not_understood_is_said(args: dict[str, str]) -> None:
    """A value that cannot be meant narrows nothing, and the page tells which it was."""
    look = looked(**args)
    assert (look.period, look.who, look.filters) == ("28d", "people", {})
    assert len(look.ignored) == len(args)
    assert all(len(told) < 60 for told in look.ignored)


@given(
    st.dictionaries(
        st.sampled_from([*FILTERS, "period", "from", "to", "who", "page"]),
        st.text(max_size=30)
        | st.sampled_from(sorted(PERIODS))
        | st.dates().map(str)
        | st.sampled_from(["all", "sent", "opened"]),
    )
)
def test_one_look_has_one_address(args: dict[str, str]) -> None:
    """Whatever an address holds, it gives a look, and the address of that look gives the same look again."""
    look = look_of(args, zone_of("Europe/Berlin"), "Europe/Berlin", NOW)
    again = look_of(look.query(), look.zone, look.tz, NOW)
    assert again.ignored == ()
    assert (again.since, again.until, again.who, again.filters) == (look.since, look.until, look.who, look.filters)
    assert again.query() == look.query()
    assert look.sent.start is not None
    assert look.happened.filters().keys() >= {"basis", "since", "until"}


def test_a_chip_takes_its_own_filter_away() -> None:
    """Each filter in force is shown, with a link to the same look without it."""
    look = looked(tag="spring", list="news", who="all")
    assert list(look.chips()) == [
        ("tag", "spring", {"list": "news", "who": "all"}),
        ("list", "news", {"tag": "spring", "who": "all"}),
    ]
