"""``flask mailtrack check|status|classify|networks``: the health of a set-up, and the verdicts on visitors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any

import click
from flask import current_app
from flask.cli import AppGroup, with_appcontext

from flask_mailtrack.destination import host_of
from flask_mailtrack.events import EventType, now
from flask_mailtrack.incoming.verdict import Evidence, hit_of
from flask_mailtrack.networks import BadNetworks, load, merged, write
from flask_mailtrack.reporting.check import findings
from flask_mailtrack.reporting.decisions import domain_findings, switch_findings
from flask_mailtrack.reporting.live import live_findings
from flask_mailtrack.reporting.remedies import Finding
from flask_mailtrack.state import State, current_state
from flask_mailtrack.storage.journal.signatures import CAUSE

from .terminal import COLOURS, printable


@click.command("check")
@click.option("--live", is_flag=True, help="Also ask the public addresses, over the network.")
@with_appcontext
def check(live: bool) -> None:
    """Look for obstacles to tracking. Exit code 1 if there is an error.

    Example: flask mailtrack check --live
    """
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
    """Show the waiting records, the drain, and the decisions of operators. Exit code 1 if something is wrong.

    Example: flask mailtrack status --json
    """
    state = current_state()
    # Settings are read first, because the health reports settings that cannot be read.
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
    """Yield the decisions of operators in an app: switches and tracking domains."""
    found = state.administration
    # Asked first, so that the finding about unreadable settings is about this reading.
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


networks: AppGroup = AppGroup("networks", help="The list of networks of machines.")

_SHOWN = 20


@click.command("classify")
@click.argument("user_agent", metavar="UA")
@click.option("--click/--open", "clicked", default=True, help="The kind of request.  [default: --click]")
@click.option("--ip", help="The address of the visitor.")
@click.option("--after", type=float, metavar="SECONDS", help="Time since the mail was sent.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Another header; repeatable.")
@with_appcontext
def classify(user_agent: str, clicked: bool, ip: str | None, after: float | None, headers: tuple[str, ...]) -> None:
    """Say for what a request with the User-Agent UA is taken, and why.

    Example: flask mailtrack classify "Mozilla/5.0" --open --after 2 --header "Accept: image/*"
    """
    given = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{header!r} is not 'Name: value'.", param_hint="--header")
        given[name.strip()] = value.strip()
    state = current_state()
    kind = EventType.CLICKED if clicked else EventType.OPENED
    evidence = Evidence(kind, user_agent, given, after, network=state.networks.find(ip))
    hit = hit_of(evidence, ip, state.settings, state.enrichment)
    shown = hit._asdict() | {"reasons": ", ".join(hit.verdict_reasons)}
    for name in ("verdict", "reasons", "provider", "client", "os", "device", "country", "region", "city"):
        if shown[name]:
            click.echo(f"{name + ':':10}{shown[name]}")


@networks.command("update")
@click.argument("file", type=click.File("rb"))
def update(file: IO[bytes]) -> None:
    """Copy a downloaded FILE ("-": standard input) into the file that MAILTRACK_NETWORKS names.

    FILE is Apple's egress-ip-ranges.csv, or a list in the format of the package's own list. Apple's file replaces
    the section [apple]; a list replaces everything. Running processes read the new file when they start again.

    Example: flask mailtrack networks update egress-ip-ranges.csv
    """
    path = current_state().settings.networks
    if not path:
        raise click.ClickException("Set MAILTRACK_NETWORKS to the path of a file that this command may write.")
    try:
        text = file.read().decode("utf-8", "replace")
        sections = merged(load(path), text, now().date())
        write(Path(path), sections)
    except BadNetworks as error:
        for number, problem in error.problems[:_SHOWN]:
            click.echo(f"line {number}: {problem}", err=True)
        raise click.ClickException(f"{len(error.problems)} bad lines; {path} stays as it is.") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    for kind, part in sections.items():
        click.echo(f"{kind + ':':10}{len(part.blocks):>8} networks, {part.day}")
