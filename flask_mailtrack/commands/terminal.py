"""What commands share: how a mistake is told, and what is safe to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from flask_mailtrack.errors import MailtrackError


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Show a mistake of the operator as a sentence, not as a traceback."""
    try:
        yield
    except MailtrackError as error:
        raise click.ClickException(str(error)) from None
