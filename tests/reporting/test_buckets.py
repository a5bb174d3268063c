"""How a period is cut."""

from __future__ import annotations

from bisect import bisect
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.errors import ReportError
from flask_mailtrack.figures import slot_of
from flask_mailtrack.reporting.buckets import STEPS, Buckets, moment_of_slot, slot_from
from flask_mailtrack.time_zones import zone_of

ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo", "Australia/Lord_Howe", "America/St_Johns"]
MOMENTS = st.datetimes(datetime(2015, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(moment=MOMENTS, step=st.sampled_from(STEPS), name=st.sampled_from(ZONES))
def test_each_moment_is_in_one_bucket(moment: datetime, step: str, name: str) -> None:
    """The bucket of a moment begins at or before it and ends after it, also where clocks are changed."""
    buckets = Buckets(step, zone_of(name))
    start = buckets.start(moment)
    end = buckets.after(start)
    assert start.astimezone(UTC) <= moment < end.astimezone(UTC)
    assert buckets.start(start) == start
    assert buckets.start(end) == end
    assert list(buckets.between(moment, moment + timedelta(microseconds=1))) == [(start, end)]


@given(moment=MOMENTS, step=st.sampled_from(STEPS), name=st.sampled_from(ZONES), days=st.integers(0, 2500))
def test_a_numbered_piece_is_in_the_bucket_of_its_slots(moment: datetime, step: str, name: str, days: int) -> None:
    """What the database adds up by number is put where each of its quarter hours belongs."""
    buckets = Buckets(step, zone_of(name))
    first = slot_of(moment)
    pieces = buckets.pieces(first, first + 96 * days + 1)
    for slot in (first, first + 13 * days, first + 96 * days):
        shift = next(ahead for until, ahead in pieces.shifts if slot < until)
        number = bisect(pieces.begins, slot) - 1 if pieces.begins else (slot + shift) // pieces.width
        assert buckets.of_piece(number, pieces) == buckets.of_slot(slot)


@given(moment=MOMENTS)
def test_slots_are_quarter_hours(moment: datetime) -> None:
    """A slot begins at or before its moments; the first slot from a moment on does not begin before it."""
    assert moment_of_slot(slot_of(moment)) <= moment < moment_of_slot(slot_of(moment) + 1)
    assert moment_of_slot(slot_from(moment) - 1) < moment <= moment_of_slot(slot_from(moment))


def test_an_hour_that_there_is_twice_is_two_buckets() -> None:
    """A day on which clocks are set back has 25 hours, one on which they are set forward 23."""
    berlin = zone_of("Europe/Berlin")
    for day, hours in ((datetime(2026, 10, 25), 25), (datetime(2026, 3, 29), 23)):
        start = day.replace(tzinfo=berlin)
        end = (day + timedelta(days=1)).replace(tzinfo=berlin)
        assert len(list(Buckets("hour", berlin).between(start, end.astimezone(UTC)))) == hours


def test_a_wrong_step_is_explained() -> None:
    """A step that there is not, and one that is too fine, are refused with the cure."""
    with pytest.raises(ReportError, match="by is 'year'"):
        Buckets("year", UTC)
    start = datetime(2000, 1, 1, tzinfo=UTC)
    with pytest.raises(ReportError, match="coarser step"):
        list(Buckets("hour", UTC).between(start, start + timedelta(days=3650)))
