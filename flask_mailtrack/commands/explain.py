"""``explain``: what the code of an error or a finding means, also while the app does not start."""

from __future__ import annotations

from collections.abc import Iterator

import click

from flask_mailtrack.reporting.mistakes import MISTAKES
from flask_mailtrack.reporting.remedies import REMEDIES


@click.command("explain")
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Say what CODE means, and what to do: an error (E…) or a finding of a check (C…). Without CODE, list all.

    An app that does not start has no commands. Then run python -m flask_mailtrack explain.

    Example: flask mailtrack explain E106
    """
    if code is None:
        click.echo("\n".join(f"{each}  {text}" for each, text in _all()))
        return
    name = code.strip("[]").upper()
    if name in MISTAKES:
        meaning, cure = MISTAKES[name]
        head = f"{name}, an error that stops the start"
    elif name in REMEDIES:
        subject, meaning, cure = REMEDIES[name]
        head = f"{name}, a finding of check and doctor: {subject}"
    else:
        raise click.ClickException(f"No error and no finding has the code {name}. Without a code, all are listed.")
    click.secho(head, bold=True)
    click.echo(_plain(f"Meaning: {meaning}\nCure: {cure}"))


def _all() -> Iterator[tuple[str, str]]:
    yield from ((code, _plain(each.cause)) for code, each in MISTAKES.items())
    yield from ((code, _plain(each.meaning)) for code, each in REMEDIES.items())


def _plain(text: str) -> str:
    return text.replace("`", "")
