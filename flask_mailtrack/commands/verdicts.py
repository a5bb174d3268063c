"""``flask mailtrack classify`` and ``flask mailtrack networks``: who is taken for a machine, and why."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click
from flask.cli import AppGroup, with_appcontext

from flask_mailtrack.events import EventType, now
from flask_mailtrack.incoming.verdict import Evidence, hit_of
from flask_mailtrack.networks import BadNetworks, load, merged, write
from flask_mailtrack.state import current_state

networks: AppGroup = AppGroup("networks", help="The list of networks that machines come from.")

_SHOWN = 20


@click.command("classify")
@click.argument("user_agent", metavar="UA")
@click.option("--click/--open", "clicked", default=True, help="What the request is for.  [default: --click]")
@click.option("--ip", help="The address that it comes from.")
@click.option("--after", type=float, metavar="SECONDS", help="How long after the mail.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Another header; repeatable.")
@with_appcontext
def classify(user_agent: str, clicked: bool, ip: str | None, after: float | None, headers: tuple[str, ...]) -> None:
    """Say who a request with the User-Agent UA is taken for, and why."""
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
    for name in ("verdict", "reasons", "provider", "client", "os", "device", "country"):
        if shown[name]:
            click.echo(f"{name + ':':10}{shown[name]}")


@networks.command("update")
@click.argument("file", type=click.File("rb"))
def update(file: IO[bytes]) -> None:
    """Take a downloaded FILE ("-": standard input) over into the file that MAILTRACK_NETWORKS names.

    FILE is Apple's egress-ip-ranges.csv, which replaces the section [apple], or a list in the format of
    the package's own, which replaces everything. Running processes see it when they start again.
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
