"""``flask mailtrack stats|preview|inspect``: figures of mails, a look at changes, and the meaning of a token."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import IO

import click
from flask.cli import with_appcontext

from flask_mailtrack.errors import TokenError
from flask_mailtrack.events import Kind, born
from flask_mailtrack.outgoing.explanation import preview_of
from flask_mailtrack.reporting.stats import Stats, Tally
from flask_mailtrack.state import current_state
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.tokens import Signer, Token

from .terminal import TIME, printable

_NOTES = {
    "malformed": "not well-formed (RFC 3986); it is kept byte for byte",
    "unreachable": "the public cannot reach this host",
    "malformed, unreachable": "not well-formed (RFC 3986), and the public cannot reach this host",
}


@click.command("stats")
@click.option("--tag", help="Only messages with this tag.")
@click.option("--list", "list_id", help="Only messages of this list.")
@click.option("--since", type=TIME, help="Of mail that was sent at or after this moment, UTC.")
@click.option("--until", type=TIME, help="Of mail that was sent before this moment, UTC.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@with_appcontext
def stats(tag: str | None, list_id: str | None, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Show the figures of the mails, by people.

    Example: flask mailtrack stats --tag welcome --since 2026-05-01
    """
    figures = current_state().reports.stats(tag=tag, list_id=list_id, since=since, until=until)
    click.echo(json.dumps(dataclasses.asdict(figures)) if as_json else _table(figures))


@click.command("inspect")
@click.argument("token")
@with_appcontext
def inspect(token: str) -> None:
    """Say what a TOKEN, or a whole link, stands for.

    Example: flask mailtrack inspect https://links.example.com/m/c/…
    """
    state = current_state()
    try:
        found, url = _read(state.signer, token)
    except TokenError as error:
        raise click.ClickException(f"{error}. Was it signed with another SECRET_KEY?") from None
    about = _row(state.database, found, url)
    sent = born(found.message_id).isoformat(timespec="seconds")
    for name, value in {
        "kind": found.kind.value,
        "message": f"{found.message_id}, made {sent}",
        "key": "the newest" if found.key == 0 else f"number {found.key + 1} of {len(state.settings.secret_keys)}",
        "link": f"{found.link}, reference {found.ref}" if found.kind == Kind.CLICK else "",
        **about,
    }.items():
        if value:
            click.echo(f"{name + ':':12}{printable(value)}")


@click.command("preview")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--list", "list_id", help="The list of the mail.")
@click.option("--sender", default="", help="The sender of the mail; default: any sender of the account.")
@with_appcontext
def preview(file: IO[str], list_id: str | None, sender: str) -> None:
    """Show the changes that tracking would make in an HTML FILE ("-": standard input). Exit code 1 if none.

    Example: flask mailtrack preview --list news newsletter.html
    """
    # Line ends are left as they are, because the preview must be of the bytes that would be sent.
    found = preview_of(current_state().office.preparer, file.read(), list_id, sender)
    for change in found.changes:
        click.echo(f"line {change.line}")
        if change.reason:
            click.secho(printable(f"  {change.before}  ({change.reason})"), fg="yellow")
        else:
            click.secho(printable(f"- {change.before}"), fg="red")
            click.secho(printable(f"+ {change.after}"), fg="green")
        if change.note:
            click.secho(f"! {_NOTES[change.note]}", fg="yellow")
    for said in found.staying:
        click.secho(printable(f"placeholder stays as it is: {said}"), fg="yellow", err=True)
    if found.dead_end:
        click.secho("no link in this part leads out of the list", fg="yellow", err=True)
    if found.failure:
        click.secho(f"The mail would go out as written, untracked: {found.failure}", fg="red", err=True)
        raise SystemExit(1)
    tracked = sum(not change.reason for change in found.changes)
    pixel = "a pixel" if found.pixel else "no pixel"
    click.echo(f"{tracked} links tracked, {len(found.changes) - tracked} left alone, {pixel}; nothing else changes")
    for switch in found.switches:
        click.echo(printable(f"{switch.key:14}{switch.text}"))


def _read(signer: Signer, text: str) -> tuple[Token, str | None]:
    """Read a token by trying each kind. Only the last parts of a link are read, because any path may stand before."""
    path = "/".join(text.split("?")[0].rstrip("/").split("/")[-2:])
    last = TokenError("kind")
    for kind in Kind:
        try:
            return (signer.read_click(path)) if kind == Kind.CLICK else (signer.read(kind, path), None)
        except TokenError as error:
            last = error
    raise last


def _row(database: Database, token: Token, url: str | None) -> dict[str, str]:
    """Return the facts that only the database has, above all the destination of a damaged click link."""
    found = {"leads to": url or ""}
    try:
        if token.kind == Kind.CLICK and url is None:
            found["leads to"] = database.link_url(token.ref) or "nobody knows any more"
        about = database.message_about(token.message_id)
    except Exception as error:
        return found | {"row": f"the database cannot be asked: {type(error).__name__}"}
    return found | {name: about.get(name, "") for name in ("recipient", "subject", "status")}


def _table(figures: Stats) -> str:
    lines = [f"{name:14}{getattr(figures, name):>10}" for name in ("sent", "failed", "unknown", "suppressed")]
    for name in ("opened", "clicked", "unsubscribed"):
        tally: Tally = getattr(figures, name)
        rate = "no rate" if tally.rate is None else f"{tally.rate:.1%}"
        lines.append(f"{name:14}{tally.unique:>10}  {rate} of {tally.of}, {tally.total} in all{_aggregate(tally)}")
    others = [f"{'by machines':14}{figures.machine:>10}", f"{'by unknown':14}{figures.unidentified:>10}"]
    return "\n".join([*lines, *others])


def _aggregate(tally: Tally) -> str:
    return f", {tally.aggregate} of them of {tally.aggregate_of} copies in aggregate" if tally.aggregate_of else ""
