"""Reports as files."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site
from reporting.test_reports import NOON, event, message

from flask_mailtrack.reporting import exports
from flask_mailtrack.reporting.selection import Selection


def lines(site: Site, name: str, **filters: Any) -> list[dict[str, str]]:
    """Read an export back."""
    header, rows = exports.EXPORTS[name](site.mailtrack.reports, Selection(**filters))
    return list(csv.DictReader(io.StringIO("".join(exports.csv_lines(header, rows)), newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(text: str) -> None:
    """CWE-1236: what a spreadsheet would run gets an apostrophe; numbers and other text stay."""
    (line,) = csv.reader(
        io.StringIO("".join(exports.csv_lines((), [(text, "a-b", -5)])).split("\r\n", 1)[1], newline="")
    )
    assert line == [f"'{text}", "a-b", "-5"]


def test_all_rows_are_written(database_url: str, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and events come in the order of their ids, all of a selection, with times as ISO 8601 in UTC."""
    monkeypatch.setattr(exports, "_CHUNK", 2)
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    for number in range(5):
        key = message(site, NOON + timedelta(hours=number), tag="a", subject=f"=SUM({number})\n“é”")
        event(site, key, NOON + timedelta(days=1, hours=number), verdict="human" if number else "bot")
    message(site, tag="b")
    rows = lines(site, "messages", tag="a")
    assert [row["subject"] for row in rows] == [f"'=SUM({number})\n“é”" for number in range(5)]
    assert (rows[0]["created_at"], rows[0]["sent_at"], rows[0]["tracks_opens"]) == (
        "2026-05-01T12:00:00+00:00",
        "",
        "True",
    )
    assert len(lines(site, "events", tag="a")) == 4
    assert len(lines(site, "events", tag="a", audience="all")) == 5
    assert [row["verdict_reasons"] for row in lines(site, "events", audience="machines")] == ['["ua_browser"]']
    assert len(lines(site, "events", since=NOON + timedelta(hours=25), basis="happened")) == 4
    assert lines(site, "events", tag="b") == []


def test_memory_stays_flat() -> None:
    """A line is written and forgotten before the next one is made."""
    rows = ((number, "x" * 100) for number in range(20_000))
    tracemalloc.start()
    try:
        total = sum(map(len, exports.csv_lines(("number", "text"), rows)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total > 2_000_000
    assert peak < 200_000


def test_json_is_whole(site: Site) -> None:
    """A list of objects, also of none, and answers with their rates."""
    message(site, subject="“é”")
    header, rows = exports.messages(site.mailtrack.reports, Selection())
    (row,) = json.loads("".join(exports.json_lines(header, rows)))
    assert (row["subject"], row["created_at"]) == ("“é”", "2026-05-01T12:00:00+00:00")
    assert json.loads("".join(exports.json_lines(("a",), []))) == []
    assert exports.plain(site.mailtrack.reports.totals())["opened"]["rate"] == 0.0
    assert exports.plain({"at": timedelta(hours=1), "when": datetime(2026, 5, 1, tzinfo=UTC)}) == {
        "at": 3600.0,
        "when": "2026-05-01T00:00:00+00:00",
    }


def test_answers_are_tables(site: Site) -> None:
    """The lines of an answer are rows, and figures inside of figures have names of both."""
    message(site, tag="a")
    header, rows = exports.table_of(site.mailtrack.reports.campaigns())
    row = dict(zip(header, rows[0], strict=True))
    assert (row["name"], row["sent"], row["opened_of"], row["opened_rate"]) == ("a", 1, 1, 0.0)
    header, rows = exports.table_of(site.mailtrack.reports.series(by="day"))
    assert (header[:2], len(rows)) == (("start", "end"), 1)
    assert exports.table_of(()) == ((), [])
