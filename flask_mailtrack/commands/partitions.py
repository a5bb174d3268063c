"""``flask mailtrack partitions``: the events by month, for those who have very many."""

from __future__ import annotations

from datetime import timedelta

import click
from flask.cli import with_appcontext

from flask_mailtrack.events import now
from flask_mailtrack.state import current_state
from flask_mailtrack.storage.tables.partitions import AHEAD, Partitions

from .terminal import printable


@click.command("partitions")
@click.option(
    "--convert", is_flag=True, help="Cut the table by months; while that goes on, events wait in the journal."
)
@click.option(
    "--ahead", type=click.IntRange(0, 60), default=AHEAD, show_default=True, help="Months made before they come."
)
@with_appcontext
def partitions(convert: bool, ahead: int) -> None:
    """Keep events by month on PostgreSQL: make months ahead, and drop those that MAILTRACK_KEEP_DAYS names.

    Example: flask mailtrack partitions --convert
    """
    state = current_state()
    parts = Partitions(state.database)
    there = parts.there()
    if not there and (problem := parts.obstacle()):
        raise click.ClickException(printable(problem))
    if not there and not convert:
        click.echo("The events are in one table. --convert cuts the table by months.")
        return
    try:
        if not there:
            parts.convert(ahead)
        parts.make_ahead(ahead)
        if days := state.settings.keep_days.get("events"):
            click.echo(f"about {parts.drop_before(now() - timedelta(days=days)):,} events dropped")
    except Exception as error:  # its text may hold rows
        cause = getattr(error, "orig", None) or error
        raise click.ClickException(f"The database does not do it: {type(cause).__name__}.") from None
    for part in parts.all():
        click.echo(f"{f'{part.first:%Y-%m}' if part.first else 'rest':8}about {part.rows:,} events")
