"""``flask mailtrack report``: every question from a shell."""

from __future__ import annotations

import csv
import importlib
import io
import json
import sys

import pytest
from click.testing import Result
from conftest import Site
from reporting.test_reports import newsletter

report = importlib.import_module("flask_mailtrack.commands.report")  # the command has its name, too


def run(site: Site, *args: str) -> Result:
    return site.app.test_cli_runner().invoke(args=["mailtrack", "report", *args])


@pytest.mark.parametrize("name", [name for name in report._NAMES if name not in ("links", "timeline", "person")])
@pytest.mark.parametrize("form", ["", "--csv", "--json"])
def test_every_report_has_its_name(site: Site, name: str, form: str) -> None:
    """Each comes as a table, CSV and JSON."""
    newsletter(site)
    options = ["--since", "2026-01-01"] if name == "compare" else ["--tag", "x"] if name == "attention" else []
    result = run(site, name, *options, *([form] if form else []))
    assert result.exit_code == 0, result.output
    if form == "--json":
        json.loads(result.stdout)
    elif name == "campaigns" and form == "--csv":
        (row,) = csv.DictReader(io.StringIO(result.stdout))
        assert (row["name"], row["sent"], row["opened_unique"]) == ("spring", "4", "2")
    elif name == "totals":
        assert "opened_unique" in result.output


def test_what_is_asked_about_is_named(site: Site) -> None:
    """The links of a tag, the timeline of a message, and a person."""
    newsletter(site)
    assert json.loads(run(site, "links", "spring", "--json").stdout)["rows"][0]["name"] == "first"
    assert run(site, "links", "--tag", "spring").exit_code == 0
    (row, *_) = site.rows("Message")
    assert "Opened by a person" in run(site, "timeline", str(row.id)).output
    assert json.loads(run(site, "person", "a@gmail.com", "--json").stdout)["messages"] == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["links"], "links needs the TAG"),
        (["person"], "person needs the EMAIL"),
        (["totals", "x"], "totals takes no 'x'"),
        (["totals", "--since", "soon"], "since is 'soon'. Write a datetime"),
        (["series", "--by", "year"], "by is 'year'. Write one of"),
        (["timeline", "x"], "message_id is 'x'"),
        (["sums"], "'sums' is not one of"),
    ],
)
def test_a_mistake_is_a_sentence(site: Site, args: list[str], said: str) -> None:
    """What cannot be meant is told with the cure, without a traceback."""
    result = run(site, *args)
    assert result.exit_code != 0
    assert said in result.output


def test_attention_fails_when_there_is_any(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor sees by the exit code whether there is anything to look at."""
    assert run(site, "attention").exit_code == 0
    found = report.Reports.totals
    monkeypatch.setitem(report._PLAIN, "attention", lambda reports, about: (found(reports, about),))
    assert run(site, "attention").exit_code == 1


def test_a_bar_is_for_a_terminal_only(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe there is nothing but the rows; on a terminal a bar says how far it is."""
    newsletter(site)
    result = run(site, "messages", "--csv")
    assert (len(list(csv.reader(io.StringIO(result.stdout)))), result.stderr) == (5, "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    reports = site.mailtrack.reports
    assert report._expected(reports, reports.selection(), "messages") == 4
    assert list(report._watched([(1,), (2,)], 2)) == [(1,), (2,)]
    assert "rows" in capsys.readouterr().err


def test_the_help_has_examples(site: Site) -> None:
    """Whoever asks for help sees each name, and what to write."""
    output = run(site, "--help").output
    assert "flask mailtrack report totals --tag welcome --since 2026-05-01\n" in output
    assert all(name in " ".join(output.split()) for name in report._NAMES)
