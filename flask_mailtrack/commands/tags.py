"""``flask mailtrack tags …``: the tags that mail may carry."""

from __future__ import annotations

import dataclasses
import json

import click
from flask.cli import AppGroup

from flask_mailtrack.administration.tags import Tag
from flask_mailtrack.state import current_state

from .terminal import mistakes_told

tags: AppGroup = AppGroup("tags", help="Tags that mail may carry: where any is declared, another one is refused.")

_BY = click.option("--by", default="", help="Who says so; default: your user name.")


@tags.command("add")
@click.argument("name")
@_BY
def add(name: str, by: str) -> None:
    """Declare the tag NAME, or take its retirement back.

    Example: flask mailtrack tags add welcome
    """
    with mistakes_told():
        current_state().administration.tags.add(name, by=by)
    click.echo(f"{name} may be used, in every process within five seconds")


@tags.command("retire")
@click.argument("name")
@_BY
def retire(name: str, by: str) -> None:
    """Refuse the tag NAME from now on; its figures stay.

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
    """Show the tags that are or were declared, by whom and since when.

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
