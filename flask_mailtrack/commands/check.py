"""``flask mailtrack check|status``: how a set-up, its spool and its drain are, and what operators have decided."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from flask_mailtrack.destination import host_of
from flask_mailtrack.reporting.check import Finding, domain_findings, findings, switch_findings
from flask_mailtrack.reporting.live import live_findings
from flask_mailtrack.state import State, current_state
from flask_mailtrack.storage.journal.signatures import CAUSE

from .terminal import COLOURS, printable


@click.command("check")
@click.option("--live", is_flag=True, help="Also ask the public addresses, over the network.")
@with_appcontext
def check(live: bool) -> None:
    """Look for what would keep tracking from working; exit code 1 if there is an error."""
    state = current_state()
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    failed = False
    found = findings(app, state.settings, state.database, state.journals, state.stream, state.unwatched)
    for finding in chain(found, decided(state), live_findings(state.settings) if live else ()):
        click.secho(f"{finding.level:8}", fg=COLOURS[finding.level], nl=False)
        click.echo(f"{finding.code}  {finding.text}")
        failed |= finding.level == "error"
    click.get_current_context().exit(1 if failed else 0)


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@with_appcontext
def status(as_json: bool) -> None:
    """Show what waits, how the drain goes, and what operators have decided; exit code 1 if that is not well."""
    state = current_state()
    # First: what cannot be read is then known to the health.
    found = list(decided(state))
    health = state.health()
    figures = dataclasses.asdict(health) | {"ok": health.ok}
    if as_json:
        figures |= {"decided": [dataclasses.asdict(each) for each in found]}
        click.echo(json.dumps(figures, default=datetime.isoformat))
    else:
        for name, value in figures.items():
            click.echo(f"{name.replace('_', ' '):16}{_shown(value)}")
        for each in found:
            click.echo(f"{'decided':16}{printable(each.text)}")
        if health.bad_signatures:
            click.echo(CAUSE)
    click.get_current_context().exit(0 if health.ok else 1)


def decided(state: State) -> Iterator[Finding]:
    """Yield what operators have decided in an app: switches and tracking domains."""
    found = state.administration
    # Asked first, so that what is said of the reading is said of this one.
    scopes, rows = found.settings.overview(), found.in_use.now()
    yield from switch_findings(scopes, found.switches.snapshot.trouble(), paused=found.settings.paused)
    configured = set(map(host_of, state.settings.base_urls()))
    yield from domain_findings(rows, configured, found.in_use.snapshot.trouble(), can_check=found.domains.can_check)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}"
    if isinstance(value, tuple):
        return printable("; ".join(value)) or "-"
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
