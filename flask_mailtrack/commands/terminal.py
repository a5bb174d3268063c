"""Shared parts of the commands: messages about mistakes, and text that is safe to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
