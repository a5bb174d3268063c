"""``flask mailtrack doctor``: everything that the other commands find, on one page, each with its cure."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version

import click
from flask import current_app
from flask.cli import with_appcontext

from flask_mailtrack.phrases import foreign
from flask_mailtrack.reporting.check import findings
from flask_mailtrack.reporting.live import live_findings
from flask_mailtrack.reporting.remedies import REMEDIES, Finding
from flask_mailtrack.state import State, current_state
from flask_mailtrack.storage.drain.health import OLD_SECONDS, Health

from .check import decided
from .terminal import COLOURS, printable

SEVERITY = {"ok": 0, "unknown": 1, "warning": 1, "error": 2}
"""The exit code by the worst level, as monitors such as Nagios read it."""


@click.command("doctor")
@click.option("--offline", is_flag=True, help="Do not ask the public addresses.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@with_appcontext
def doctor(offline: bool, as_json: bool) -> None:
    """Look at everything, and print the cure of each finding.

    This is what check, check --live, status, domains list and settings show say, on one page. Exit code 0: all is
    well, 1: there are warnings, 2: there are errors. Example: flask mailtrack doctor --offline --json
    """
    found = [(place, each) for place, looks in _places(current_state(), offline) for each in looks]
    if as_json:
        rows = [dataclasses.asdict(each) | {"place": place, "cure": _cure(each)} for place, each in found]
        click.echo(json.dumps({"version": version("flask-mailtrack"), "findings": rows}))
    else:
        _print(found)
    click.get_current_context().exit(max(SEVERITY[each.level] for _, each in found))


def _places(state: State, offline: bool) -> Iterator[tuple[str, Iterator[Finding]]]:
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    parts = (state.settings, state.database, state.journals, state.stream, state.unwatched)
    yield "set-up", findings(app, *parts)
    if not offline:
        yield "from outside", live_findings(state.settings)
    # Asked before the health, which reports settings that cannot be read.
    choices = list(decided(state))
    yield "journal", iter([waiting(state.health())])
    yield "switches and domains", iter(choices)


def waiting(health: Health) -> Finding:
    """Return the finding about what waits for the database."""
    trouble = [*health.problems, *([f"the last run failed: {health.last_error}"] if health.last_error else [])]
    if health.lost:
        trouble.append(f"{health.lost} records are only in the log")
    if health.refused_optouts:
        trouble.append(f"{health.refused_optouts} opt-outs are in quarantine")
    if health.oldest_seconds > OLD_SECONDS:
        trouble.append(f"{health.rows} records wait, the oldest for {health.oldest_seconds:.0f} seconds")
    if trouble:
        return Finding("C70", "error", foreign("; ".join(trouble)))
    return Finding("C70", "ok", foreign(f"{health.rows} records wait for the database"))


def _cure(finding: Finding) -> str:
    """Return what to do about a finding; empty if there is nothing to do."""
    remedy = REMEDIES.get(finding.code)
    return remedy.cure if remedy and finding.level != "ok" else ""


def _print(found: list[tuple[str, Finding]]) -> None:
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    before = ""
    for place, each in found:
        if place != before:
            click.secho(f"{'' if not before else chr(10)}{place}", bold=True)
            before = place
        click.secho(f"{each.level:8}", fg=COLOURS[each.level], nl=False)
        click.echo(_wrapped(f"{each.code}  {printable(each.text)}", width))
        if cure := _cure(each):
            click.echo(f"{'':8}{_wrapped('cure: ' + cure.replace('`', ''), width)}")
    counts = Counter(SEVERITY[each.level] for _, each in found)
    worst = max(counts)
    colour = ("green", "yellow", "red")[worst]
    click.secho(f"\nerrors: {counts[2]}, warnings: {counts[1]}, as it should be: {counts[0]}", fg=colour, bold=True)


def _wrapped(text: str, width: int) -> str:
    """Return *text* in lines that begin behind the column of the levels."""
    lines = textwrap.wrap(text, max(width - 8, 40), break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * 8).join(lines)
