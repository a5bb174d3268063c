"""``flask mailtrack classify`` and ``flask mailtrack networks``: who is taken for a machine, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flask_mailtrack import networks
from flask_mailtrack.events import EventType, now

_SHOWN = 20


def classify_command(extension: Any) -> click.Command:
    """Return the command that judges one request."""

    @click.command("classify")
    @click.argument("user_agent", metavar="UA")
    @click.option("--click/--open", "clicked", default=True, help="What the request is for.  [default: --click]")
    @click.option("--ip", help="The address that it comes from.")
    @click.option("--after", type=float, metavar="SECONDS", help="How long after the mail.")
    @click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Another header; repeatable.")
    def command(user_agent: str, clicked: bool, ip: str | None, after: float | None, headers: tuple[str, ...]) -> None:
        """Say who a request with the User-Agent UA is taken for, and why."""
        given = {}
        for header in headers:
            name, colon, value = header.partition(":")
            if not colon or not name.strip():
                raise click.BadParameter(f"{header!r} is not 'Name: value'.", param_hint="--header")
            given[name.strip()] = value.strip()
        kind = EventType.CLICKED if clicked else EventType.OPENED
        hit = extension.classify(user_agent, kind=kind, ip=ip, age=after, headers=given)
        shown = hit._asdict() | {"reasons": ", ".join(hit.verdict_reasons)}
        for name in ("verdict", "reasons", "provider", "client", "os", "device", "country"):
            if shown[name]:
                click.echo(f"{name + ':':10}{shown[name]}")

    return command


def networks_command(extension: Any) -> click.Command:
    """Return the commands about the list of networks."""
    group = click.Group("networks", help="The list of networks that machines come from.")

    @group.command("update")
    @click.argument("file", type=click.File("rb"))
    def update(file: Any) -> None:
        """Take a downloaded FILE ("-": standard input) over into the file that MAILTRACK_NETWORKS names.

        FILE is Apple's egress-ip-ranges.csv, which replaces the section [apple], or a list in the format of
        the package's own, which replaces everything. Running processes see it when they start again.
        """
        path = extension.state().settings.networks
        if not path:
            raise click.ClickException("Set MAILTRACK_NETWORKS to the path of a file that this command may write.")
        try:
            text = file.read().decode("utf-8", "replace")
            sections = networks.merged(networks.load(path), text, now().date())
            networks.write(Path(path), sections)
        except networks.BadNetworks as error:
            for number, problem in error.problems[:_SHOWN]:
                click.echo(f"line {number}: {problem}", err=True)
            raise click.ClickException(f"{len(error.problems)} bad lines; {path} stays as it is.") from None
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
        for kind, part in sections.items():
            click.echo(f"{kind + ':':10}{len(part.blocks):>8} networks, {part.day}")

    return group
