"""``flask mailtrack settings|tags …``: the switches of an operator at run time, and the tags of mail."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup

from flask_mailtrack.administration.operator_settings import Tag
from flask_mailtrack.state import current_state

from .terminal import mistakes_told

settings: AppGroup = AppGroup(
    "settings", help="Switches for the account, a sender domain or a sender, in force in seconds."
)

_VALUES = {"on": True, "off": False}


def _scoped(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--by", default="", help="Your name, for the history; default: your user name."),
        click.option("--sender", default="", help="One sender's address."),
        click.option("--domain", default="", help="A sender domain, with its sub-domains. Default: the account."),
    ):
        command = option(command)
    return command


@settings.command("show")
@click.option("--sender", default="", help="Show the settings for mail of this sender.")
@click.option("--domain", default="", help="Show the settings for mail of this sender domain.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(sender: str, domain: str, as_json: bool) -> None:
    """Show the settings in force for a sender domain or a sender, and why; without one, for all with a setting.

    Example: flask mailtrack settings show --domain news.example.com
    """
    desk = current_state().administration.settings
    with mistakes_told():
        rows = desk.status(domain=domain, sender=sender)
    others = {} if domain or sender else {name: each for name, each in desk.overview().items() if name != "account"}
    if as_json:
        about: dict[str, Any] = {"dimension": desk.dimension, "paused": desk.paused}
        about["switches"] = [dataclasses.asdict(row) for row in rows]
        about["others"] = {name: [dataclasses.asdict(row) for row in each] for name, each in others.items()}
        click.echo(json.dumps(about))
        return
    click.echo(f"{'dimension':14}{desk.dimension}{', paused' if desk.paused else ''}")
    for row in rows:
        click.echo(f"{row.key:14}{row.text}")
    for name, each in others.items():
        click.echo(name)
        for row in each:
            click.echo(f"  {row.key:12}{row.text}")


@settings.command("set")
@click.argument("key")
@click.argument("value", type=click.Choice(list(_VALUES)))
@_scoped
def set_(key: str, value: str, domain: str, sender: str, by: str) -> None:
    """Turn a switch on or off: opens, clicks, unsubscribe, or pause, which stops all tracking.

    Example: flask mailtrack settings set opens off --domain news.example.com
    """
    with mistakes_told():
        current_state().administration.settings.set(key, _VALUES[value], domain=domain, sender=sender, by=by)
    click.echo(f"{key} is {value}{_about(domain, sender)}, in every process within five seconds")


@settings.command("unset")
@click.argument("key")
@_scoped
def unset(key: str, domain: str, sender: str, by: str) -> None:
    """Remove a setting, so that the next wider setting holds.

    Example: flask mailtrack settings unset opens --domain news.example.com
    """
    with mistakes_told():
        current_state().administration.settings.unset(key, domain=domain, sender=sender, by=by)
    click.echo(f"{key} is not set{_about(domain, sender)}")


@settings.command("history")
@click.option("--key", default="", help="Only this switch.")
@click.option("--domain", default="", help="Only this sender domain.")
@click.option("--sender", default="", help="Only this sender.")
@click.option("--limit", default=100, show_default=True, help="At most so many changes.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def history(key: str, domain: str, sender: str, limit: int, as_json: bool) -> None:
    """Show the changes and their authors, newest first.

    Example: flask mailtrack settings history --key opens
    """
    with mistakes_told():
        changes = current_state().administration.settings.history(key=key, domain=domain, sender=sender, limit=limit)
    if as_json:
        click.echo(json.dumps([change._asdict() for change in changes], default=str))
        return
    for change in changes:
        about = f"{change.changed_at:%Y-%m-%d %H:%M}  {change.changed_by or 'nobody named'}"
        to = f"{change.before or 'unset'} -> {change.value or 'unset'}"
        click.echo(f"{about}  {change.subject or 'account'}  {change.key}  {to}")


@settings.command("dimension")
@click.argument("value", required=False)
@click.option("--by", default="", help="Your name, for the history; default: your user name.")
def dimension(value: str | None, by: str) -> None:
    """Show or set the scopes that may decide: account, both, or domain (only scopes with a setting are tracked).

    Example: flask mailtrack settings dimension domain
    """
    desk = current_state().administration.settings
    if value is not None:
        with mistakes_told():
            desk.choose_dimension(value, by=by)
    click.echo(desk.dimension)


def _about(domain: str, sender: str) -> str:
    return f" for {domain or sender}" if domain or sender else ""


tags: AppGroup = AppGroup("tags", help="Tags that mail may carry. If any tag is declared, other tags are refused.")

_BY = click.option("--by", default="", help="Your name, for the history; default: your user name.")


@tags.command("add")
@click.argument("name")
@_BY
def add(name: str, by: str) -> None:
    """Declare the tag NAME, or end its retirement.

    Example: flask mailtrack tags add welcome
    """
    with mistakes_told():
        current_state().administration.tags.add(name, by=by)
    click.echo(f"{name} may be used, in every process within five seconds")


@tags.command("retire")
@click.argument("name")
@_BY
def retire(name: str, by: str) -> None:
    """Refuse the tag NAME from now on. Its figures stay.

    Example: flask mailtrack tags retire welcome
    """
    desk = current_state().administration.tags
    with mistakes_told():
        desk.retire(name, by=by)
    click.echo(f"{name} is refused, in every process within five seconds")
    if all(tag.retired for tag in desk.list()):
        click.echo("No tag is declared any more, so any that is not retired may be used.")


@tags.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_(as_json: bool) -> None:
    """Show the tags that are or were declared, with author and time.

    Example: flask mailtrack tags list
    """
    found = current_state().administration.tags.list()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(tag) for tag in found], default=str))
        return
    for tag in found:
        click.echo(f"{tag.name:40}{'retired' if tag.retired else 'declared':10}{_said(tag)}")
    if not found:
        click.echo("no tag is declared, so any may be used")


def _said(tag: Tag) -> str:
    if tag.at is None:
        return "MAILTRACK_TAGS"
    return f"since {tag.at:%Y-%m-%d %H:%M} by {tag.by or 'nobody named'}"
