"""``flask mailtrack webhooks …``: look at what waits for the endpoints of others, try one, and try again."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask.cli import AppGroup

from flask_mailtrack.endpoints import Endpoint
from flask_mailtrack.state import State, current_state
from flask_mailtrack.storage.drain.drain import Backoff
from flask_mailtrack.webhook import DeliveryState
from flask_mailtrack.webhooks.courier import Courier
from flask_mailtrack.webhooks.couriers import LOOK_SECONDS

from .terminal import printable, told_to_end

webhooks: AppGroup = AppGroup("webhooks", help="Events for the endpoints of others: look, try, and try again.")

_SHOWN = 20


@webhooks.command("list")
def list_() -> None:
    """Show the endpoints with what waits for each, and the newest deliveries that are put aside.

    Exit code 1 if a delivery is put aside. Example: flask mailtrack webhooks list
    """
    outbox = current_state().couriers.outbox
    numbers: defaultdict[str, dict[DeliveryState, int]] = defaultdict(dict)
    with _database_asked():
        for each in outbox.backlogs():
            numbers[each.endpoint][each.state] = each.number
        dead = outbox.dead(_SHOWN)
    known = {key: _shown(endpoint) for key, endpoint in outbox.endpoints.items()}
    for key in [*known, *(key for key in numbers if key not in known)]:
        told = ", ".join(
            f"{numbers[key].get(state, 0)} {state.value}" for state in (DeliveryState.WAITING, DeliveryState.DEAD)
        )
        click.echo(f"{known.get(key, f'{key} (not in MAILTRACK_WEBHOOKS)')}: {told}")
    if not known:
        click.echo("MAILTRACK_WEBHOOKS names no endpoint.")
    for line in dead:
        what = f"{line.id}  {line.created_at:%Y-%m-%d %H:%M}  {line.type}, {line.attempts} attempts"
        click.echo(f"  {what}: {printable(line.error)}")
    click.get_current_context().exit(int(bool(dead)))


@webhooks.command("test")
@click.argument("url")
def test(url: str) -> None:
    """Post an event of the type mailtrack.test to the endpoint URL. Exit code 1 unless the endpoint takes it.

    Example: flask mailtrack webhooks test https://example.com/hook
    """
    courier, begun = _courier(current_state(), url), time.monotonic()
    reply = courier.test()
    click.echo(f"{reply.error or f'the answer was {reply.status}'}, after {time.monotonic() - begun:.1f} s")
    click.get_current_context().exit(int(bool(reply.error)))


@webhooks.command("retry")
@click.argument("ids", nargs=-1, type=click.UUID)
@click.option("--url", default="", help="Only those of this endpoint.")
def retry(ids: tuple[uuid.UUID, ...], url: str) -> None:
    """Have deliveries that are put aside tried for another three days: those of IDS, or all.

    Example: flask mailtrack webhooks retry --url https://example.com/hook
    """
    state = current_state()
    endpoint = _courier(state, url).endpoint.key if url else ""
    with _database_asked():
        number = state.couriers.outbox.retry(endpoint, ids)
        state.couriers.sweep()
    click.echo(f"{number} {'delivery waits' if number == 1 else 'deliveries wait'} again")


@webhooks.command("run")
@click.option("--watch", is_flag=True, help="Go on until SIGINT or SIGTERM.")
def run(watch: bool) -> None:
    """Deliver what is due. Web processes do so by themselves unless MAILTRACK_DRAIN is manual or inline.

    Example: flask mailtrack webhooks run --watch
    """
    couriers = current_state().couriers
    if watch:
        chores, pause = couriers.chores(), Backoff(LOOK_SECONDS)
        with told_to_end() as over:
            while not over.is_set():
                for chore in chores:
                    chore.wake()
                over.wait(pause.after(True))
        return
    with _database_asked():
        click.echo(f"{couriers.run()} delivered")


@contextmanager
def _database_asked() -> Iterator[None]:
    """Show a failure of the database by its type. Its text may hold rows."""
    try:
        yield
    except Exception as error:
        cure = "run flask mailtrack check"
        raise click.ClickException(f"the database cannot be asked ({type(error).__name__}): {cure}") from None


def _courier(state: State, url: str) -> Courier:
    if (found := state.couriers.find(url)) is None:
        raise click.ClickException(f"{printable(url)} is not in MAILTRACK_WEBHOOKS.")
    return found


def _shown(endpoint: Endpoint) -> str:
    """Return the URL without its query, which may hold a secret."""
    return printable(endpoint.url.partition("?")[0])
