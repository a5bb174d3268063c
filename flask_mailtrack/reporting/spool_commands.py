"""``flask mailtrack drain|recover|status``: the spool by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from flask_mailtrack.errors import StreamError
from flask_mailtrack.storage.drain.drain import Backoff
from flask_mailtrack.storage.drain.health import Health
from flask_mailtrack.storage.drain.recovery import Recovered, recover, recover_quarantine, recover_stream
from flask_mailtrack.storage.journal.directory import bad_files
from flask_mailtrack.storage.journal.signatures import CAUSE

from .decisions import decided


def drain_command(extension: Any) -> click.Command:
    """Return ``flask mailtrack drain``."""

    @click.command("drain")
    @click.option("--watch", is_flag=True, help="Go on until interrupted, or told to end.")
    def command(watch: bool) -> None:
        """Move what is in the spool to the database."""
        if watch:
            with _told_to_end() as over:
                _watch(extension.state(), over)
            return
        try:
            click.echo(f"{extension.flush()} records moved")
        except Exception as error:
            _complain(error)
            raise SystemExit(1) from None

    return command


def recover_command(extension: Any) -> click.Command:
    """Return ``flask mailtrack recover``."""

    @click.command("recover")
    @click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
    @click.option("--quarantine", is_flag=True, help="Also all records that the app has put aside, in Redis, too.")
    def command(files: tuple[str, ...], quarantine: bool) -> None:
        """Store the records that are in FILES: logs ("-": standard input), or bad-….jsonl of a spool.

        What is stored already stays as it is. Of a bad-….jsonl, what is stored now is taken out.
        """
        state = extension.state()
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

    return command


def status_command(extension: Any) -> click.Command:
    """Return ``flask mailtrack status``."""

    @click.command("status")
    @click.option("--json", "as_json", is_flag=True, help="For machines.")
    def command(as_json: bool) -> None:
        """Show what waits, how the drain goes, and what operators have decided; exit code 1 if that is not well."""
        # First: what cannot be read is then known to the health.
        found = list(decided(extension.state()))
        health: Health = extension.health()
        figures = dataclasses.asdict(health) | {"ok": health.ok}
        if as_json:
            figures |= {"decided": [dataclasses.asdict(each) for each in found]}
            click.echo(json.dumps(figures, default=datetime.isoformat))
        else:
            for name, value in figures.items():
                click.echo(f"{name.replace('_', ' '):16}{_shown(value)}")
            for each in found:
                click.echo(f"{'decided':16}{_printable(each.text)}")
            if health.bad_signatures:
                click.echo(CAUSE)
        click.get_current_context().exit(0 if health.ok else 1)

    return command


@contextmanager
def _told_to_end() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, so that a batch is not cut in two."""
    over = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield over
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(*_: Any) -> None:
        over.set()
        restore()  # so that a second one ends also a run that hangs

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in usual:
        signal.signal(number, end)
    try:
        yield over
    finally:
        restore()


def _watch(state: Any, over: threading.Event) -> None:
    backoff = Backoff(state.settings.drain_seconds)
    silent = True
    while True:
        moved = state.drain.try_run(watched=True)
        if moved:
            click.echo(f"{moved} records moved")
        elif moved is None and silent:
            click.secho(f"the database does not take them: {state.drain.progress.read().error}", fg="red", err=True)
        silent = moved is not None
        state.administration.watch.wake()
        if over.wait(backoff.after(moved is not None)):
            return


def _recover(drain: Any, name: str, places: set[Path], progress: Callable[[Recovered], None]) -> Recovered:
    path = Path(name)
    if name != "-" and path.name.startswith("bad-") and path.parent.resolve() in places:
        return recover_quarantine(drain, path, progress)
    with click.open_file(name, "rb") as lines:
        return recover(drain, lines, progress)


def _recovered(name: str, recover_it: Callable[[Callable[[Recovered], None]], Recovered]) -> bool:
    """Recover one file or stream, say what became of it, and return whether all is well."""
    try:
        result = recover_it(_progress(name))
    except Exception as error:
        _complain(error)
        return False
    for number in result.damaged:
        click.secho(f"{name}:{number}: damaged", fg="red", err=True)
    for number, reason in result.refused:
        click.secho(f"{name}:{number}: refused: {_printable(reason)}", fg="red", err=True)
    bad = len(result.damaged) + len(result.refused)
    click.echo(f"{name}: {len(result.stored)} records stored, {bad} not")
    return not bad


def _progress(name: str) -> Callable[[Recovered], None]:
    if not os.isatty(2):
        return lambda result: None
    return lambda result: click.echo(f"\r{name}: {len(result.stored)} records", nl=False, err=True)


def _complain(error: Exception) -> None:
    # The text of a database's error may hold rows; that of the system's holds a path.
    if isinstance(error, OSError):
        click.secho(f"a file or directory cannot be used: {_printable(str(error))}", fg="red", err=True)
    elif isinstance(error, StreamError):
        click.secho(_printable(str(error)), fg="red", err=True)
    else:
        click.secho(f"the database does not take them: {type(error).__name__}", fg="red", err=True)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}"
    if isinstance(value, tuple):
        return _printable("; ".join(value)) or "-"
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
