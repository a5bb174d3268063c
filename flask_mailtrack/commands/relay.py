"""``flask mailtrack relay``: track the mail of other programs, in a process of its own."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from flask_mailtrack.admission import new_password
from flask_mailtrack.config import Settings
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.outgoing.handover import Handover, MailServer
from flask_mailtrack.state import current_state

from .terminal import mistakes_told, printable


@click.command("relay")
@click.option("--new-password", metavar="NAME", help="Make a password for a program, print its line, and end.")
@with_appcontext
def relay(new_password: str | None) -> None:
    """Take mail of other programs over SMTP, track it, and hand it to the mail server of the app.

    Each mail is answered when that server has answered. The relay listens at MAILTRACK_RELAY_LISTEN until SIGTERM or
    SIGINT, and then answers the mails that are under way.

    Example: flask mailtrack relay --new-password shop
    """
    if new_password is not None:
        _print_password(new_password)
        return
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    state = current_state()
    with mistakes_told():
        server = _server(app, state.settings)
    aim = "nobody, as MAIL_SUPPRESS_SEND is on" if server.is_suppressed else f"{server.host}:{server.port}"
    said = f"takes mail at {state.settings.relay_listen}, for {printable(aim)}"
    _run(state.settings, Handover(state.office, server, app.app_context), said)
    click.echo("ended")


def _run(settings: Settings, handover: Handover, said: str) -> None:
    # Imported here, because no other process needs asyncio and aiosmtpd, which may be missing.
    from flask_mailtrack.outgoing.relay import RelayDoor, run

    try:
        run(RelayDoor.of(settings), handover.answer, partial(click.echo, said))
    except OSError as error:
        what = error.filename or settings.relay_certificate or settings.relay_listen
        raise click.ClickException(f"{what} cannot be used: {error.strerror or error}.") from None


def _print_password(name: str) -> None:
    password, hashed = new_password()
    click.echo(f"password: {password}")
    click.echo("The password is not kept. The configuration has:\n")
    click.echo(f"MAILTRACK_RELAY_USERS = {{{name!r}: {hashed!r}}}")


def _server(app: Flask, settings: Settings) -> MailServer:
    """Return the real mail server.

    :raises ConfigError: there is none, or aiosmtpd is not installed.
    """
    if find_spec("aiosmtpd") is None:
        cure = "Write: pip install 'flask-mailtrack[relay]'."
        raise ConfigError("E117", "flask mailtrack relay", "needs the package aiosmtpd.", cure)
    server, listen = MailServer.of(app.config, app.testing), settings.relay_listen
    here = server.host in (listen.host, "localhost", "127.0.0.1", "::1")
    if here and server.port == listen.port and not server.is_suppressed:
        cure = "Name the real mail server, or set MAILTRACK_RELAY_LISTEN."
        raise ConfigError("E194", "MAIL_SERVER", f"is {server.host}:{server.port}, the relay itself.", cure)
    return server
