"""``flask mailtrack report``: every report by its name, as a table, CSV or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click
from flask.cli import with_appcontext

from flask_mailtrack.reporting.exports import EXPORTS, csv_lines, json_lines, plain, table_of
from flask_mailtrack.reporting.reports import Reports
from flask_mailtrack.reporting.selection import AUDIENCES, BASES, Selection
from flask_mailtrack.state import current_state

from .terminal import mistakes_told, printable

_PLAIN: dict[str, Any] = {
    "totals": Reports.totals,
    "campaigns": Reports.campaigns,
    "lists": Reports.lists,
    "sender-domains": Reports.sender_domains,
    "subjects": Reports.subjects,
    "reasons": Reports.unsubscribe_reasons,
    "clients": Reports.clients,
    "systems": Reports.systems,
    "devices": Reports.devices,
    "countries": Reports.countries,
    "verdicts": Reports.verdicts,
    "domains": Reports.domains,
    "compare": Reports.compare,
    "click-to-open": Reports.click_to_open,
    "attention": Reports.attention,
}
_NAMES = (*_PLAIN, "series", "links", *EXPORTS, "timeline", "person")
_WIDEST = 40


@click.command("report")
@click.argument("name", type=click.Choice(_NAMES), metavar="NAME")
@click.argument("about", required=False)
@click.option("--tag", help="Only mail with this tag.")
@click.option("--list", "list_id", help="Only mail of this list.")
@click.option("--sender-domain", help="Only mail from this domain.")
@click.option("--subject", help="Only mail with this subject.")
@click.option("--status", help="Only mail that is sending, sent, failed, unknown or suppressed.")
@click.option("--since", help="From this moment or day on.")
@click.option("--until", help="Before this moment or day.")
@click.option(
    "--basis", type=click.Choice(BASES), help="What the period is about: when mail was sent, or what happened."
)
@click.option("--audience", type=click.Choice(AUDIENCES), help="Whose opens and clicks are counted.  [default: people]")
@click.option("--tz", help="Time zone of days and dates.  [default: MAILTRACK_TIMEZONE]")
@click.option("--by", default="day", help="Of series: hour, day, week or month.  [default: day]")
@click.option("--csv", "form", flag_value="csv", help="For spreadsheets.")
@click.option("--json", "form", flag_value="json", help="For machines.")
@with_appcontext
def report(name: str, about: str | None, by: str, form: str | None, **filters: str | None) -> None:
    """Answer the question NAME, about all mail or about what the options select.

    \b
    NAME is one of: totals, series, campaigns, lists, sender-domains, subjects, links TAG, reasons, clients, systems,
    devices, countries, verdicts, domains, compare, click-to-open, messages, events, timeline ID, person EMAIL,
    attention (exit code 1 if there is anything).

    \b
    Examples:
      flask mailtrack report totals --tag welcome --since 2026-05-01
      flask mailtrack report series --by week --basis happened --tz Europe/Berlin
      flask mailtrack report links spring-news --json
      flask mailtrack report compare --since 2026-05-01 --until 2026-06-01
      flask mailtrack report events --list news --audience all --csv > events.csv
      flask mailtrack report attention
    """  # noqa: D301 - it is for click, which wants the character
    reports = current_state().reports
    with mistakes_told():
        selection = reports.selection(**_said(filters))
        if name in EXPORTS:
            header, rows = EXPORTS[name](reports, selection)
            _write(_watched(rows, _expected(reports, selection, name)), header, form)
            return
        answer = _answer(reports, name, about, by, selection)
    if form == "json":
        click.echo(json.dumps(plain(answer), ensure_ascii=False))
    else:
        header, lines = table_of(answer)
        _write(lines, header, form)
    if name == "timeline" and form is None:
        click.echo("".join(f"{note}\n" for note in answer.notes), nl=False)
    if name == "attention" and answer:
        raise SystemExit(1)


def _answer(reports: Reports, name: str, about: str | None, by: str, selection: Selection) -> Any:
    named: dict[str, tuple[str, Callable[[str], Any]]] = {
        "links": ("TAG", lambda tag: reports.links(tag, selection)),
        "timeline": ("ID of a message", reports.timeline),
        "person": ("EMAIL", lambda address: reports.person(address)),
    }
    if name in named:
        what, ask = named[name]
        given = about or (selection.tag if name == "links" else None)
        if not given:
            raise click.UsageError(f"{name} needs the {what}: flask mailtrack report {name} …")
        return ask(given)
    if about:
        raise click.UsageError(f"{name} takes no {about!r}.")
    if name == "series":
        return reports.series(selection, by=by)
    return _PLAIN[name](reports, selection)


def _said(filters: dict[str, str | None]) -> Any:
    return {key: value for key, value in filters.items() if value is not None}


def _expected(reports: Reports, selection: Selection, name: str) -> int:
    """Return about how many rows there will be; 0 where nobody watches."""
    if not sys.stderr.isatty():
        return 0
    totals = reports.totals(selection.narrowed(audience="all"))
    events = totals.opened.total + totals.clicked.total + totals.unsubscribed.total
    return totals.tried if name == "messages" else events


def _watched(rows: Iterable[Sequence[Any]], expected: int) -> Iterator[Sequence[Any]]:
    """Yield rows; on a terminal, with a bar that shows how far it is."""
    if not sys.stderr.isatty():
        yield from rows
        return
    with click.progressbar(length=max(expected, 1), label="rows", file=sys.stderr, update_min_steps=500) as bar:
        for row in rows:
            yield row
            bar.update(1)


def _write(rows: Iterable[Sequence[Any]], header: Sequence[str], form: str | None) -> None:
    if form is None:
        _show(header, list(rows))
        return
    lines = csv_lines(header, rows) if form == "csv" else json_lines(header, rows)
    for line in lines:
        click.echo(line.encode(), nl=False)  # UTF-8, whatever the terminal has


def _show(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Show a table: one row with each name beside its value, several in columns."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        click.echo("nothing")
    elif len(cells) == 1:
        width = max(map(len, header)) + 2
        for name, value in zip(header, cells[0], strict=True):
            click.echo(f"{name:{width}}{value}")
    else:
        table = [list(header), *cells]
        widths = [min(max(len(row[place]) for row in table), _WIDEST) for place in range(len(header))]
        for row in table:
            click.echo(
                "  ".join(f"{value[:_WIDEST]:{width}}" for value, width in zip(row, widths, strict=True)).rstrip()
            )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    value = plain(value)
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
