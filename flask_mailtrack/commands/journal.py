"""``flask mailtrack drain|recover|rebuild``: the journal by hand, and the counts of messages."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import click
from flask.cli import with_appcontext

from flask_mailtrack.errors import StreamError
from flask_mailtrack.state import State, current_state
from flask_mailtrack.storage.drain.drain import Backoff, Drain
from flask_mailtrack.storage.drain.recovery import Recovered, recover_quarantine, recover_stream
from flask_mailtrack.storage.drain.recovery import recover as recover_lines
from flask_mailtrack.storage.journal.directory import bad_files
from flask_mailtrack.storage.tables.counts import Recount
from flask_mailtrack.storage.tables.rebuild import Rebuild

from .terminal import TIME, printable, told_to_end


@click.command("drain")
@click.option("--watch", is_flag=True, help="Go on until SIGINT or SIGTERM.")
@with_appcontext
def drain(watch: bool) -> None:
    """Move the records in the spool to the database.

    Example: flask mailtrack drain --watch
    """
    state = current_state()
    if watch:
        with told_to_end() as over:
            _watch(state, over)
        return
    try:
        click.echo(f"{state.drain.run()} records moved")
    except Exception as error:
        _complain(error)
        raise SystemExit(1) from None


@click.command("recover")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--quarantine", is_flag=True, help="Also all records that the app has put aside, on disk and in Redis.")
@with_appcontext
def recover(files: tuple[str, ...], quarantine: bool) -> None:
    """Store the records in FILES: logs ("-": standard input), or files bad-….jsonl of a spool.

    Rows that are stored already stay as they are. Stored records are removed from a file bad-….jsonl.

    Example: flask mailtrack recover --quarantine
    """
    state = current_state()
    places = {spool.directory.resolve() for journal in state.journals for spool in journal.spools}
    kept = [path for place in sorted(places) for path in bad_files(place)] if quarantine else []
    if not files and not quarantine:
        raise click.UsageError("Name a FILE, or --quarantine.")
    failed = False
    for name in dict.fromkeys([*files, *map(str, kept)]):
        failed |= not _recovered(name, partial(_recover, state.drain, name, places))
    if quarantine and state.stream is not None:
        name = f"Redis at {state.stream.where}"
        failed |= not _recovered(name, partial(recover_stream, state.drain, state.stream))
    click.get_current_context().exit(1 if failed else 0)


@click.command("rebuild")
@click.option("--since", type=TIME, help="Only messages created at or after this moment, UTC.")
@with_appcontext
def rebuild(since: datetime | None) -> None:
    """Count opens and clicks again, from their events: on the messages, and in the sums behind the reports.

    Messages whose events were purged keep their counts. Days whose rows may be purged keep their sums. The drain waits
    while the sums are made, and the journal keeps the records that come meanwhile.

    Example: flask mailtrack rebuild --since 2026-05-01
    """
    state = current_state()
    recount = Recount(state.database, state.settings.keep_days.get("events", 0), since)
    with click.progressbar(length=recount.total(), label="messages", file=sys.stderr) as bar:
        done = recount.run(bar.update)
    click.echo(f"{done} messages recounted")
    anew = Rebuild(state.database, state.signer, state.settings.keep_days, since)
    with click.progressbar(length=done, label="sums", file=sys.stderr) as bar:
        summed = anew.run(bar.update)
    click.echo(f"{summed} messages summed")


def _watch(state: State, over: threading.Event) -> None:
    backoff = Backoff(state.settings.drain_seconds)
    silent, chores = True, state.chores()
    while True:
        moved = state.drain.try_run(watched=True)
        if moved:
            click.echo(f"{moved} records moved")
        elif moved is None and silent:
            click.secho(f"the database does not take them: {state.drain.progress.read().error}", fg="red", err=True)
        silent = moved is not None
        chores.wake()
        if over.wait(backoff.after(moved is not None)):
            return


def _recover(drain: Drain, name: str, places: set[Path], progress: Callable[[Recovered], None]) -> Recovered:
    path = Path(name)
    if name != "-" and path.name.startswith("bad-") and path.parent.resolve() in places:
        return recover_quarantine(drain, path, progress)
    with click.open_file(name, "rb") as lines:
        return recover_lines(drain, lines, progress)


def _recovered(name: str, recover_it: Callable[[Callable[[Recovered], None]], Recovered]) -> bool:
    """Recover one file or stream, print the result, and return whether all records are stored."""
    try:
        result = recover_it(_progress(name))
    except Exception as error:
        _complain(error)
        return False
    for number in result.damaged:
        click.secho(f"{name}:{number}: damaged", fg="red", err=True)
    for number, reason in result.refused:
        click.secho(f"{name}:{number}: refused: {printable(reason)}", fg="red", err=True)
    bad = len(result.damaged) + len(result.refused)
    click.echo(f"{name}: {len(result.stored)} records stored, {bad} not")
    return not bad


def _progress(name: str) -> Callable[[Recovered], None]:
    if not os.isatty(2):
        return lambda result: None
    return lambda result: click.echo(f"\r{name}: {len(result.stored)} records", nl=False, err=True)


def _complain(error: Exception) -> None:
    # The text of a database error may hold rows, so only its type is shown. A system error holds a path.
    if isinstance(error, OSError):
        click.secho(f"a file or directory cannot be used: {printable(str(error))}", fg="red", err=True)
    elif isinstance(error, StreamError):
        click.secho(printable(str(error)), fg="red", err=True)
    else:
        click.secho(f"the database does not take them: {type(error).__name__}", fg="red", err=True)
