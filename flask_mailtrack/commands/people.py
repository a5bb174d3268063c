"""``flask mailtrack suppress|purge|export|erase|audit``: opt-outs, and the data that is kept about people."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import IO, Any

import click
from flask.cli import AppGroup, with_appcontext

from flask_mailtrack.administration.operator_settings import by_whom
from flask_mailtrack.events import OptOutKind
from flask_mailtrack.lists import folded
from flask_mailtrack.reporting.exports import cell
from flask_mailtrack.state import current_state
from flask_mailtrack.storage.people.people import People
from flask_mailtrack.storage.people.suppression_list import BadRow, ImportProgress, SuppressionFile, load
from flask_mailtrack.storage.tables import register
from flask_mailtrack.storage.tables.retention import Retention

from .terminal import printable

suppress: AppGroup = AppGroup("suppress", help="The people who get no mail: of a list, or of any list.")

_SHOWN = 20
_FIELDS = ("recipient", "list_id", "kind", "method", "reason", "created_at")
_HEADER = ("email", "list_id", "kind", "method", "reason", "created")
_LIST = click.option("--list", "list_id", default="", help="The list; default: all lists.")
_BY = click.option("--by", default="", help="Your name, for the audit; default: your user name.")
_TRACKING = click.option("--tracking", is_flag=True, help="Stop the measuring, not the mail.")


@suppress.command("add")
@click.argument("email")
@_LIST
@_TRACKING
@click.option("--reason", default="", help="A word, such as complaint.")
@_BY
def add(email: str, list_id: str, tracking: bool, reason: str, by: str) -> None:
    """Send EMAIL no more mail of a list, or of any list. No link can undo this.

    Example: flask mailtrack suppress add ada@example.com --list news --reason complaint
    """
    _change(email, True, list_id, tracking, reason, by)
    click.echo(f"{printable(email)} is suppressed from {_called(list_id)}")


@suppress.command("remove")
@click.argument("email")
@_LIST
@_TRACKING
@_BY
def remove(email: str, list_id: str, tracking: bool, by: str) -> None:
    """Lift the opt-out of EMAIL, no matter who made it.

    Example: flask mailtrack suppress remove ada@example.com --list news
    """
    _change(email, False, list_id, tracking, "", by)
    click.echo(f"{printable(email)} is not suppressed from {_called(list_id)} any more")


@suppress.command("list")
@click.argument("email", required=False)
@click.option("--list", "list_id", help="Only of this list.")
def list_(email: str | None, list_id: str | None) -> None:
    """Show the opt-outs of one EMAIL or of everybody.

    Example: flask mailtrack suppress list ada@example.com
    """
    state = current_state()
    state.drain.run()
    found = 0
    if email:
        rows = state.people.export(email)["optouts"]
        pages: Iterable[list[Any]] = [
            [row for row in rows if list_id is None or folded(row["list_id"]) == folded(list_id)]
        ]
    else:
        pages = register.pages(state.database, list_id)
    for page in pages:
        for row in page:
            found += 1
            about = [str(row[name])[:19] if name == "created_at" else str(row[name]) for name in _FIELDS]
            click.echo("  ".join(printable(text or "-") for text in about))
    if not found:
        click.echo("nothing stands")


@suppress.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@_LIST
@click.option("--reason", default="", help="The reason for rows without one.")
@click.option("--from-line", type=click.IntRange(1), default=1, help="Continue there after a stop.")
@_BY
def import_(file: str, list_id: str, reason: str, from_line: int, by: str) -> None:
    """Import a CSV FILE of SendGrid, Mailgun, Postmark, SES, Mailchimp, SparkPost, or of our own export.

    Rows that cannot be used are written to FILE.rejected.csv. The import can be run again at any time.

    Example: flask mailtrack suppress import unsubscribes.csv
    """
    try:
        source = SuppressionFile(file)
    except (OSError, ValueError) as error:
        raise click.ClickException(printable(f"{file} {error}")) from None
    columns = ", ".join(f"{name} in {source.header[at]!r}" for name, at in source.columns.items())
    told = "no header" if source.headless else columns
    click.echo(printable(f"read as {source.encoding.upper()}; {told}"), err=True)
    about = {"list_id": list_id, "reason": reason, "by": by_whom(by)}
    done = _imported(current_state().people, source, from_line, about)
    click.echo(f"{done.added} added, {done.known} stood already, {done.bad} rejected")
    if done.bad:
        click.secho(printable(f"the rejected rows are in {file}.rejected.csv"), fg="yellow", err=True)


@suppress.command("export")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@click.option("--list", "list_id", help="Only of this list.")
def export_suppressed(file: IO[str], list_id: str | None) -> None:
    """Write the opt-outs to a CSV FILE that `import` can read.

    Example: flask mailtrack suppress export suppressions.csv
    """
    state = current_state()
    state.drain.run()
    writer = csv.writer(file)
    writer.writerow(_HEADER)
    for page in register.pages(state.database, list_id):
        for row in page:
            # `import` removes the mark again.
            writer.writerow([cell(str(row[name])) for name in _FIELDS])


@click.command("purge")
@click.option("--dry-run", is_flag=True, help="Only count the rows.")
@with_appcontext
def purge(dry_run: bool) -> None:
    """Delete rows that are older than MAILTRACK_KEEP_DAYS allows. Opt-outs and their audit stay.

    Example: flask mailtrack purge
    """
    state = current_state()
    if not state.settings.keep_days:
        click.echo("Everything is kept: MAILTRACK_KEEP_DAYS is not set.")
    retention = Retention(state.database, state.settings.keep_days)
    for overdue in retention.overdue():
        day = overdue.before.date().isoformat()
        if dry_run:
            click.echo(f"{overdue.rows} {overdue.table} before {day} would go")
            continue
        with click.progressbar(length=overdue.rows, label=overdue.table, file=sys.stderr) as bar:
            gone = retention.purge(overdue, bar.update)
        click.echo(f"{gone} {overdue.table} before {day} deleted")


@click.command("export")
@click.argument("email")
@with_appcontext
def export(email: str) -> None:
    """Write all rows about EMAIL as JSON.

    Example: flask mailtrack export ada@example.com
    """
    click.echo(json.dumps(current_state().people.export(email), indent=2))


@click.command("erase")
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_BY
@with_appcontext
def erase(email: str, yes: bool, by: str) -> None:
    """Forget EMAIL: personal data goes, counts stay, and opt-outs stay under a hash.

    Example: flask mailtrack erase ada@example.com --by support
    """
    if not yes:
        click.confirm(f"Forget {printable(email)} for good?", abort=True)
    rows = asdict(current_state().people.erase(email, by=by_whom(by)))
    click.echo(", ".join(f"{number} {name}" for name, number in rows.items()))


@click.command("audit")
@click.argument("email")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@with_appcontext
def audit(email: str, as_json: bool) -> None:
    """Show each opt-out of EMAIL and each change of it, with time, way and wording.

    Example: flask mailtrack audit ada@example.com
    """
    rows = current_state().people.audit(email)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        about = [row["occurred_at"][:19], row["change"], row["list_id"] or "everything", row["method"], row["source"]]
        about += [f"by {row['actor']}"] if row["actor"] else []
        click.echo("  ".join(map(printable, about)))
        if row["wording"]:
            click.echo(printable(f"    {row['wording']}"))
    if not rows:
        click.echo("nothing is known")


def _imported(people: People, source: SuppressionFile, from_line: int, about: dict[str, str]) -> ImportProgress:
    last = ImportProgress(line=from_line - 1)
    with click.progressbar(length=source.lines(), label="importing", file=sys.stderr) as bar:

        def told(now: ImportProgress, bad: list[BadRow]) -> None:
            for row in bad[: max(0, _SHOWN - last.bad)]:
                click.secho(printable(f"line {row.line} {row.problem}"), fg="yellow", err=True)
            bar.update(now.line - last.line)
            last.line, last.bad = now.line, now.bad

        try:
            return load(people, source, from_line=from_line, told=told, **about)
        except BaseException:
            click.secho(f"stopped; go on with --from-line {last.line + 1}", fg="red", err=True)
            raise


def _change(email: str, out: bool, list_id: str, tracking: bool, reason: str, by: str) -> None:
    kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
    about = {"list_id": list_id, "reason": reason, "method": "cli", "by": by_whom(by)}
    try:
        current_state().people.change(email, out=out, kind=kind, **about)
    except ValueError as error:
        raise click.ClickException(printable(str(error))) from None


def _called(list_id: str) -> str:
    return f"the list {printable(list_id)}" if list_id else "all lists"
