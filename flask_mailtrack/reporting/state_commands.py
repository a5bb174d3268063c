"""``flask mailtrack rebuild``: the state on the messages, from their events."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from flask_mailtrack.storage.tables.counts import Recount

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


def rebuild_command(extension: Any) -> click.Command:
    """Return the command.

    :param extension: the app's :class:`~flask_mailtrack.Mailtrack`.
    """

    @click.command("rebuild")
    @click.option("--since", type=_TIME, help="Only messages created at or after this moment, UTC.")
    def command(since: datetime | None) -> None:
        """Count opens and clicks on the messages again, from their events. Messages with purged events keep theirs."""
        state = extension.state()
        recount = Recount(state.database, state.settings.keep_days.get("events", 0), since)
        with click.progressbar(length=recount.total(), label="messages", file=sys.stderr) as bar:
            done = recount.run(bar.update)
        click.echo(f"{done} messages recounted")

    return command
