"""``flask mailtrack suppress …``: who gets no mail."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from flask_mailtrack.events import OptOutKind
from flask_mailtrack.lists import folded
from flask_mailtrack.storage.people.suppression_list import BadRow, ImportProgress, SuppressionFile, load
from flask_mailtrack.storage.tables import register

from .terminal import printable

if TYPE_CHECKING:
    from flask_mailtrack.storage.people.people import People

_SHOWN = 20
_FIELDS = ("recipient", "list_id", "kind", "method", "reason", "created_at")
_HEADER = ("email", "list_id", "kind", "method", "reason", "created")


def suppress_commands(extension: Any) -> click.Group:
    """Return the group.

    :param extension: the app's :class:`~flask_mailtrack.Mailtrack`.
    """
    group = click.Group("suppress", help="Who gets no mail: of a list, or of any.")
    for command in (_add, _remove, _list, _import, _export):
        group.add_command(command(extension))
    return group


_LIST = click.option("--list", "list_id", default="", help="The list; default: all lists.")
_TRACKING = click.option("--tracking", is_flag=True, help="Not the mail, but the measuring of it.")


def _add(extension: Any) -> click.Command:
    @click.command("add")
    @click.argument("email")
    @_LIST
    @_TRACKING
    @click.option("--reason", default="", help="A word, such as complaint.")
    def command(email: str, list_id: str, tracking: bool, reason: str) -> None:
        """Send EMAIL no more mail of a list, or of any list. No link can undo it."""
        _change(extension.state().people, email, True, list_id, tracking, reason)
        click.echo(f"{printable(email)} is suppressed from {_called(list_id)}")

    return command


def _remove(extension: Any) -> click.Command:
    @click.command("remove")
    @click.argument("email")
    @_LIST
    @_TRACKING
    def command(email: str, list_id: str, tracking: bool) -> None:
        """Lift what stands against EMAIL, by whomever it was set."""
        _change(extension.state().people, email, False, list_id, tracking, "")
        click.echo(f"{printable(email)} is not suppressed from {_called(list_id)} any more")

    return command


def _list(extension: Any) -> click.Command:
    @click.command("list")
    @click.argument("email", required=False)
    @click.option("--list", "list_id", help="Only of this list.")
    def command(email: str | None, list_id: str | None) -> None:
        """Show what stands, of one EMAIL or of everybody."""
        extension.flush()
        found = 0
        if email:
            rows = extension.export(email)["optouts"]
            pages: Iterable[list[Any]] = [
                [row for row in rows if list_id is None or folded(row["list_id"]) == folded(list_id)]
            ]
        else:
            pages = register.pages(extension.state().database, list_id)
        for page in pages:
            for row in page:
                found += 1
                about = [str(row[name])[:19] if name == "created_at" else str(row[name]) for name in _FIELDS]
                click.echo("  ".join(printable(cell or "-") for cell in about))
        if not found:
            click.echo("nothing stands")

    return command


def _import(extension: Any) -> click.Command:
    @click.command("import")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False))
    @_LIST
    @click.option("--reason", default="", help="For rows that give none.")
    @click.option("--from-line", type=click.IntRange(1), default=1, help="Go on there after a stop.")
    def command(file: str, list_id: str, reason: str, from_line: int) -> None:
        """Import a CSV FILE of SendGrid, Mailgun, Postmark, SES, Mailchimp, SparkPost, or of our own export.

        Rows that cannot be used are written to FILE.rejected.csv. It can be run again at any time.
        """
        try:
            source = SuppressionFile(file)
        except (OSError, ValueError) as error:
            raise click.ClickException(printable(f"{file} {error}")) from None
        columns = ", ".join(f"{name} in {source.header[at]!r}" for name, at in source.columns.items())
        told = "no header" if source.headless else columns
        click.echo(printable(f"read as {source.encoding.upper()}; {told}"), err=True)
        done = _imported(extension.state().people, source, list_id, reason, from_line)
        click.echo(f"{done.added} added, {done.known} stood already, {done.bad} rejected")
        if done.bad:
            click.secho(printable(f"the rejected rows are in {file}.rejected.csv"), fg="yellow", err=True)

    return command


def _export(extension: Any) -> click.Command:
    @click.command("export")
    @click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
    @click.option("--list", "list_id", help="Only of this list.")
    def command(file: Any, list_id: str | None) -> None:
        """Write what stands to a CSV FILE that `import` takes."""
        extension.flush()
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for page in register.pages(extension.state().database, list_id):
            for row in page:
                writer.writerow([_cell(row[name]) for name in _FIELDS])

    return command


def _imported(people: People, source: SuppressionFile, list_id: str, reason: str, from_line: int) -> ImportProgress:
    last = ImportProgress(line=from_line - 1)
    with click.progressbar(length=source.lines(), label="importing", file=sys.stderr) as bar:

        def told(now: ImportProgress, bad: list[BadRow]) -> None:
            for row in bad[: max(0, _SHOWN - last.bad)]:
                click.secho(printable(f"line {row.line} {row.problem}"), fg="yellow", err=True)
            bar.update(now.line - last.line)
            last.line, last.bad = now.line, now.bad

        try:
            return load(people, source, list_id=list_id, reason=reason, from_line=from_line, told=told)
        except BaseException:
            click.secho(f"stopped; go on with --from-line {last.line + 1}", fg="red", err=True)
            raise


def _change(people: People, email: str, out: bool, list_id: str, tracking: bool, reason: str) -> None:
    kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
    try:
        people.change(email, out=out, list_id=list_id, kind=kind, reason=reason, method="cli")
    except ValueError as error:
        raise click.ClickException(printable(str(error))) from None


def _called(list_id: str) -> str:
    return f"the list {printable(list_id)}" if list_id else "all lists"


def _cell(value: Any) -> str:
    """Return a cell that no spreadsheet takes for a formula; `import` takes the mark off again."""
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
