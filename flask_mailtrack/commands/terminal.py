"""Shared parts of the commands: messages about mistakes, text that is safe to show, and the end of a long run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from flask_mailtrack.errors import MailtrackError

COLOURS = {"ok": "green", "warning": "yellow", "error": "red", "unknown": "yellow"}
"""The colours of the levels of findings."""
TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
"""The type of an option for a moment."""


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Show a mistake of the operator as a sentence instead of a traceback."""
    try:
        yield
    except MailtrackError as error:
        raise click.ClickException(str(error)) from None


def printable(text: str) -> str:
    """Return *text* without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def told_to_end() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, so that a batch is not cut in two."""
    over = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield over
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(*_: Any) -> None:
        over.set()
        restore()  # a second signal ends the process even if the run hangs

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in usual:
        signal.signal(number, end)
    try:
        yield over
    finally:
        restore()
