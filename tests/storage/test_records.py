"""Records as lines: every record comes back as it was, and nothing else comes back at all."""

from __future__ import annotations

import json
import uuid
import zlib
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_mailtrack.events import EventType, Hit, LinkTarget, SentMessage, Status, Verdict, new_id
from flask_mailtrack.storage.records import _TYPES, Record, decode, encode, from_json, to_json

MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.builds(
    SentMessage,
    created_at=MOMENTS,
    sent_at=st.none() | MOMENTS,
    status=st.sampled_from(Status),
    details=st.dictionaries(st.text(), JSON, max_size=3),
    columns=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.dates() | st.uuids(), max_size=3),
)
HITS = st.builds(
    Hit,
    occurred_at=MOMENTS,
    type=st.sampled_from(EventType),
    verdict=st.sampled_from(Verdict),
    link=st.none() | st.integers(),
    verdict_reasons=st.lists(st.text(), max_size=3).map(tuple),
)
RECORDS: st.SearchStrategy[Record] = st.one_of(MESSAGES, HITS, st.builds(LinkTarget))
GOOD = {
    "k": "hit",
    "id": str(new_id()),
    "message_id": str(new_id()),
    "type": "opened",
    "occurred_at": "2026-01-01T00:00Z",
}


@settings(deadline=None)  # a busy machine is no failure
@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    """Message, hit and link survive the way through the file, with their kinds of values."""
    again = from_json(decode(encode(to_json(record))))
    assert again == record
    assert type(again) is type(record)


@settings(deadline=None)
@given(st.dictionaries(st.text() | st.sampled_from(sorted(GOOD)), JSON, max_size=6), RECORDS)
def test_junk_is_refused_as_such(junk: dict[str, Any], record: Record) -> None:
    """A JSON object that is no record raises ValueError and nothing else, also if it looks like one."""
    for body in (junk, json.loads(json.dumps(to_json(record) | junk, default=str)), GOOD | junk):
        try:
            found = from_json(body)
        except ValueError:
            continue
        assert isinstance(found, SentMessage | Hit | LinkTarget)


@settings(deadline=None)
@given(st.binary())
def test_a_line_of_any_bytes_is_refused_as_such(line: bytes) -> None:
    """Bytes that are not a line of ours raise ValueError and nothing else."""
    with pytest.raises(ValueError, match="checksum"):
        decode(line)


@settings(deadline=None)
@given(JSON)
def test_a_line_with_a_good_checksum_is_an_object_or_refused(value: Any) -> None:
    """A checksum does not make an object of a list or a number."""
    line = encode(value)
    if isinstance(value, dict):
        assert decode(line) == value
    else:
        with pytest.raises(ValueError, match="not an object"):
            decode(line)


def test_what_is_nested_too_deeply_is_refused() -> None:
    """A line made to exhaust the reader's stack is put aside like any other."""
    text = b"[" * 1_000_000
    with pytest.raises(ValueError, match="nested"):
        decode(b"%08x %b\n" % (zlib.crc32(text), text))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 5),
        ("id", "zzz"),
        ("message_id", None),
        ("type", "returned"),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2026-01-01T00:00:00"),
        ("occurred_at", "0001-01-01T00:00:00+14:00"),
        ("url", {"a": 1}),
        ("url", None),
        ("link", True),
        ("link", "1"),
        ("verdict_reasons", "abc"),
        ("verdict_reasons", [1]),
        ("ip", 5),
        ("k", []),
        ("k", "optout"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(field: str, value: Any) -> None:
    """The database never sees what its columns cannot hold: a driver's own error would stop the drain."""
    assert isinstance(from_json(dict(GOOD)), Hit)
    with pytest.raises(ValueError, match="not a record"):
        from_json(GOOD | {field: value})


@pytest.mark.parametrize("field", ["k", "id", "message_id", "type", "occurred_at"])
def test_a_missing_field_is_refused(field: str) -> None:
    """A record needs all that has no default."""
    with pytest.raises(ValueError, match="not a record"):
        from_json({name: value for name, value in GOOD.items() if name != field})


def test_a_field_of_a_later_version_is_passed_over() -> None:
    """During a deploy the older process drains what the newer one has written."""
    assert from_json(GOOD | {"weather": "fine"}) == from_json(dict(GOOD))


def test_moments_are_utc() -> None:
    """Databases that drop the zone must have dropped UTC."""
    hit = from_json(GOOD | {"occurred_at": "2026-01-01T02:00:00+02:00"})
    assert isinstance(hit, Hit)
    assert (hit.occurred_at, hit.occurred_at.tzinfo) == (datetime(2026, 1, 1, tzinfo=UTC), UTC)


def test_what_is_at_its_default_takes_no_room() -> None:
    """A plain open is a short line."""
    hit = Hit(new_id(), new_id(), EventType.OPENED, datetime.now(UTC))
    assert set(to_json(hit)) == set(GOOD)


def test_metadata_is_what_a_database_takes() -> None:
    """Any mapping is stored, and what JSON has no word for becomes null rather than a refused row."""
    details: Any = MappingProxyType({"n": float("nan"), "i": float("inf"), 1: "one"})
    id_ = uuid.uuid4()
    message = SentMessage(id_, id_, "a@b", "", "", "", datetime.now(UTC), details=details)
    again = from_json(decode(encode(to_json(message))))
    assert isinstance(again, SentMessage)
    assert again.details == {"n": None, "i": None, "1": "one"}


@pytest.mark.parametrize("kind", _TYPES.values(), ids=_TYPES)
def test_no_field_has_the_name_of_a_mark(kind: Any) -> None:
    """On its way through Redis a line also says whose it is, under names that no field may have."""
    assert {"k", "by", "db"}.isdisjoint(kind._fields)
