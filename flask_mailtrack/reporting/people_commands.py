"""``flask mailtrack purge|export|erase|audit``: what is kept about people, and for how long."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from flask_mailtrack.storage.tables.retention import Retention

from .terminal import printable


def purge_command(extension: Any) -> click.Command:
    """Return the command.

    :param extension: the app's :class:`~flask_mailtrack.Mailtrack`.
    """

    @click.command("purge")
    @click.option("--dry-run", is_flag=True, help="Only say what would go.")
    def command(dry_run: bool) -> None:
        """Delete what is older than MAILTRACK_KEEP_DAYS says. Opt-outs and their audit stay."""
        state = extension.state()
        if not state.settings.keep_days:
            click.echo("Everything is kept: MAILTRACK_KEEP_DAYS is not set.")
        retention = Retention(state.database, state.settings.keep_days)
        for overdue in retention.overdue():
            day = overdue.before.date().isoformat()
            if dry_run:
                click.echo(f"{overdue.rows} {overdue.table} before {day} would go")
                continue
            with click.progressbar(length=overdue.rows, label=overdue.table, file=sys.stderr) as bar:
                gone = retention.purge(overdue, bar.update)
            click.echo(f"{gone} {overdue.table} before {day} deleted")

    return command


def export_command(extension: Any) -> click.Command:
    """Return the command."""

    @click.command("export")
    @click.argument("email")
    def command(email: str) -> None:
        """Write all that is kept about EMAIL as JSON."""
        click.echo(json.dumps(extension.export(email), indent=2))

    return command


def erase_command(extension: Any) -> click.Command:
    """Return the command."""

    @click.command("erase")
    @click.argument("email")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def command(email: str, yes: bool) -> None:
        """Forget EMAIL: counts stay, what names the person goes, and opt-outs stay under a hash."""
        if not yes:
            click.confirm(f"Forget {printable(email)} for good?", abort=True)
        rows = asdict(extension.erase(email))
        click.echo(", ".join(f"{number} {name}" for name, number in rows.items()))

    return command


def audit_command(extension: Any) -> click.Command:
    """Return the command."""

    @click.command("audit")
    @click.argument("email")
    @click.option("--json", "as_json", is_flag=True, help="For machines.")
    def command(email: str, as_json: bool) -> None:
        """Show when, how and by what wording EMAIL has changed what they get."""
        rows = extension.state().people.audit(email)
        if as_json:
            click.echo(json.dumps(rows, indent=2))
            return
        for row in rows:
            about = (
                row["occurred_at"][:19],
                row["change"],
                row["list_id"] or "everything",
                row["method"],
                row["source"],
            )
            click.echo("  ".join(map(printable, about)))
            if row["wording"]:
                click.echo(printable(f"    {row['wording']}"))
        if not rows:
            click.echo("nothing is known")

    return command
