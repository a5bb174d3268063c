"""``flask mailtrack domains …``: make, check, use and remove tracking domains."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from typing import Any

import click
from flask.cli import AppGroup

from flask_mailtrack.administration.host_names import caddy_block, nginx_block
from flask_mailtrack.administration.operator_settings import by_whom
from flask_mailtrack.administration.tracking_domains import Domain
from flask_mailtrack.reporting.exports import cell
from flask_mailtrack.state import current_state

from .terminal import COLOURS, mistakes_told, printable

domains: AppGroup = AppGroup("domains", help="Host names of your own for links: make, check, use and remove them.")

_BY = click.option("--by", default="", help="Your name, for the history; default: your user name.")
_COLUMNS = ("host", "status", "sender_domains", "account_default", "target", "reason", "certificate_ends", "checked_at")


@domains.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_(as_json: bool) -> None:
    """Show all tracking domains, also those of the configuration.

    Exit code 1 if a domain that new mail should use is not verified. Example: flask mailtrack domains list
    """
    found = current_state().administration.domains.list()
    if as_json:
        click.echo(json.dumps([_plain(domain) for domain in found], default=str))
    else:
        for domain in found:
            click.echo(f"{domain.host:40}{domain.status.replace('_', ' '):14}{_users(domain)}")
    used = [domain for domain in found if domain.configured or domain.account_default or domain.sender_domains]
    click.get_current_context().exit(int(any(domain.status != "verified" for domain in used)))


@domains.command("add")
@click.argument("primary")
@click.argument("prefix")
@_BY
def add(primary: str, prefix: str, by: str) -> None:
    """Make the tracking domain PREFIX.PRIMARY, and print its DNS record and lines for the web server.

    Example: flask mailtrack domains add news.example.com click
    """
    state = current_state()
    with mistakes_told():
        made = state.administration.domains.create(primary, prefix, by=by_whom(by))
    if made.advice:
        click.secho(made.advice, fg="yellow", err=True)
    prefixes = state.settings.url_prefix.every
    click.echo(f"Set this record:\n\n{made.record.zone_line}\n")
    files, ask = tuple(state.settings.app_files), f"http://127.0.0.1:8000{prefixes[0]}/d/ask"
    click.echo(f"For nginx:\n\n{nginx_block(made.host, prefixes, files=files)}")
    click.echo(f"For Caddy:\n\n{caddy_block(made.host, prefixes, ask, files=files)}")
    click.echo(f"Then run: flask mailtrack domains check {made.host}")


@domains.command("show")
@click.argument("host")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(host: str, as_json: bool) -> None:
    """Show one domain: record, status, findings and cures, and the mail records of the sender domains.

    Example: flask mailtrack domains show click.news.example.com
    """
    state = current_state()
    with mistakes_told():
        found = state.administration.domains.find(host)
        mail = [
            finding for domain in found.sender_domains for finding in state.administration.domains.mail_records(domain)
        ]
    if as_json:
        click.echo(json.dumps(_plain(found) | {"mail": [dataclasses.asdict(each) for each in mail]}, default=str))
        return
    _tell(found)
    for finding in mail:
        click.secho(f"{finding.level:8}", fg=COLOURS[finding.level], nl=False)
        click.echo(f"{finding.text} {finding.cure}".rstrip())


@domains.command("check")
@click.argument("host", required=False)
@_BY
def check(host: str | None, by: str) -> None:
    """Check HOST now, or without HOST, each domain whose check is due. Exit code 1 unless all are verified.

    Example: flask mailtrack domains check click.news.example.com
    """
    state = current_state()
    with mistakes_told():
        if host is None:
            state.administration.domains.watch()
            found = state.administration.domains.list()
        else:
            found = [state.administration.domains.check(host, by=by_whom(by))]
    for domain in found:
        _tell(domain)
    click.get_current_context().exit(int(any(domain.status != "verified" for domain in found)))


@domains.command("attach")
@click.argument("host")
@click.argument("sender_domain", default="")
@_BY
def attach(host: str, sender_domain: str, by: str) -> None:
    """Put the links of SENDER_DOMAIN on HOST; without SENDER_DOMAIN, the links of mail without a host of its own.

    Example: flask mailtrack domains attach click.example.com news.example.com
    """
    with mistakes_told():
        click.echo(_users(current_state().administration.domains.attach(host, sender_domain, by=by_whom(by))))


@domains.command("detach")
@click.argument("host")
@click.argument("sender_domain", default="")
@_BY
def detach(host: str, sender_domain: str, by: str) -> None:
    """Take HOST away from SENDER_DOMAIN, or as the default. Links that are out go on working.

    Example: flask mailtrack domains detach click.example.com news.example.com
    """
    with mistakes_told():
        click.echo(_users(current_state().administration.domains.detach(host, sender_domain, by=by_whom(by))))


@domains.command("remove")
@click.argument("host")
@click.option("--force", is_flag=True, help="Remove HOST even if it is used or has a DNS record; asks twice.")
@_BY
def remove(host: str, force: bool, by: str) -> None:
    """Remove HOST when no sender domain uses HOST and its DNS record is gone.

    Example: flask mailtrack domains remove click.example.com
    """
    state = current_state()
    with mistakes_told():
        if force:
            out = state.administration.domains.links_out(host)
            click.confirm(f"Up to {out} mails have links on {host}, which will break. Remove it?", abort=True)
            click.confirm("Really? Nothing brings these links back.", abort=True)
        state.administration.domains.remove(host, force=force, by=by_whom(by))
    click.echo(f"{host} is removed")


@domains.command("history")
@click.argument("host", default="")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def history(host: str, as_json: bool) -> None:
    """Show who made, attached, detached, checked or removed HOST; without HOST, any domain.

    Example: flask mailtrack domains history click.news.example.com
    """
    with mistakes_told():
        found = current_state().administration.domains.history(host)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(each) for each in found], default=str))
        return
    for each in found:
        about = [f"{each.at:%Y-%m-%d %H:%M}", each.host, each.action, each.sender_domain or each.status]
        about += [f"by {each.by}"] if each.by else []
        click.echo(printable("  ".join(filter(None, about))))
    if not found:
        click.echo("nothing is known")


@domains.command("export")
def export() -> None:
    """Write all domains as CSV, safe to open in a spreadsheet.

    Example: flask mailtrack domains export > domains.csv
    """
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    for domain in current_state().administration.domains.list():
        row = _plain(domain)
        writer.writerow([cell(_text(row[name])) for name in _COLUMNS])


def _tell(domain: Domain) -> None:
    click.secho(f"{domain.host}: {domain.status.replace('_', ' ')}", bold=True)
    click.echo(f"  {domain.record.zone_line}")
    click.echo(f"  {_users(domain)}; {domain.reason}")
    for finding in domain.findings:
        click.secho(f"  {finding.level:8}", fg=COLOURS.get(finding.level), nl=False)
        click.echo(f"{finding.text} {finding.cure}".rstrip())


def _users(domain: Domain) -> str:
    users = [*domain.sender_domains, *(["the account"] if domain.account_default else [])]
    return "named in the configuration" if domain.configured else f"used by {', '.join(users) or 'nobody'}"


def _plain(domain: Domain) -> dict[str, Any]:
    return {**dataclasses.asdict(domain), "target": domain.record.target}


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
