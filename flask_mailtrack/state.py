"""What one app has, and how it is put together."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from flask import Flask, current_app

from . import signals
from .config import Settings
from .errors import ConfigError
from .incoming.hits import Recorder
from .models import Models
from .networks import source
from .networks.ranges import Networks
from .outgoing.ledger import Ledger
from .outgoing.mail import Office
from .outgoing.prepare import Preparer
from .storage.database import Database
from .storage.drain import Drain
from .storage.drain_thread import DrainThread
from .storage.enrichment import Enrichment
from .storage.hindsight import Hindsight
from .storage.optouts import OptOuts
from .storage.records import Record
from .storage.relay import Express, Relay
from .storage.spool import Spool
from .storage.stream import Stream
from .storage.writer import Writer
from .tokens import Signer

log = logging.getLogger("flask_mailtrack")

NOBODY_SECONDS = 5


@dataclass(frozen=True, eq=False)
class State:
    """What one app has. It does not hold the app, so an app that is dropped is freed."""

    settings: Settings
    signer: Signer
    database: Database
    spools: tuple[Spool, Spool]
    drain: Drain
    optouts: OptOuts
    office: Office
    networks: Networks
    enrichment: Enrichment
    move: Callable[[], None]
    """Called when something is in a spool: the database may have it."""
    stream: Stream | None
    """Where the rows of many machines meet, if the host wants that."""


def build(app: Flask, settings: Settings, db: Any, models: Models) -> State:
    """Put together what *app* needs.

    :param db: the host's Flask-SQLAlchemy object, already initialised for the app.
    """
    signer = Signer(settings.secret_keys, settings.app_id)
    with app.app_context():
        bind = models.Message.__table__.metadata.info.get("bind_key")
        database = Database(db.engines[bind], models)
    # What waits for a database that dies with the process must not wait for the next one.
    own = "MAILTRACK_SPOOL_DIR" in app.config
    passing = (app.testing or database.shared) and not own
    directory = tempfile.mkdtemp("-mailtrack") if passing else settings.spool_dir
    if not own and not passing:  # apps may share an instance folder, but not each other's rows
        directory = f"{directory}-{_fingerprint(settings, database)}"
    stream = _stream(settings, database)
    spools = (Spool(directory, "events", settings.spool_sync), _opt_out_spool(directory, settings, stream))
    announce, failed = _announcer(app), _failer(app)
    enrichment = Enrichment(settings.ua_parser, settings.geo_database)
    hindsight = Hindsight(settings.limits if settings.verdicts else None)
    writer = Writer(database, enrichment, hindsight)
    drain = Drain(spools, writer, settings.drain_batch, announce)
    if stream is not None:
        drain = Relay(spools, writer, settings.drain_batch, announce, stream)
    optouts = OptOuts(
        database,
        signer.recipient_refs,
        catch_up=drain.catch_up,
        remember=0 if app.testing else NOBODY_SECONDS,
    )
    # One for both sides: each has a thread of its own to start.
    move = _mover(settings, database, drain)
    office = Office(Preparer(settings, signer, optouts, _footer), Ledger(spools[0], failed, move), failed)
    state = State(
        settings, signer, database, spools, drain, optouts, office, _networks(settings), enrichment, move, stream
    )
    if passing:
        weakref.finalize(state, shutil.rmtree, directory, ignore_errors=True)
    return state


def _fingerprint(settings: Settings, database: Database) -> str:
    """Tell the databases apart that the apps of one instance folder write to."""
    url = database.engine.url.set(password=None).render_as_string()
    return blake2b(f"{settings.app_id}/{url}/{database.message.fullname}".encode(), digest_size=6).hexdigest()


def _networks(settings: Settings) -> Networks:
    try:
        return source.networks_of(source.load(settings.networks))
    except (OSError, ValueError) as error:
        cure = "Mend the line, or remove the file: then the list of the package is used."
        raise ConfigError("E118", "MAILTRACK_NETWORKS", f"{settings.networks} cannot be read: {error}.", cure) from None


def _stream(settings: Settings, database: Database) -> Stream | None:
    if not settings.sink:
        return None
    # By the name of the database alone: boxes may reach it under different addresses.
    about = f"{settings.app_id}/{database.engine.url.database}/{database.message.fullname}"
    name = blake2b(about.encode(), digest_size=6).hexdigest()
    return Stream(settings.sink, name, settings.sink_max, settings.sink_volatile)


def _opt_out_spool(directory: str, settings: Settings, stream: Stream | None) -> Spool:
    arguments = (directory, "optouts", settings.spool_sync)
    return Spool(*arguments) if stream is None else Express(*arguments, to=stream)


def counter(app: Flask, state: State) -> tuple[Recorder, Callable[..., Any]]:
    """Return what serves readers: the recorder, and the look-up for the pages."""
    optouts = state.optouts

    def written() -> None:
        optouts.forget()
        state.move()

    recorder = Recorder(
        state.settings,
        state.signer,
        *state.spools,
        state.database.link_url,
        _failer(app),
        written,
        state.networks,
    )
    return recorder, lambda token: optouts.standing(token.message_id, token.ref)


def _mover(settings: Settings, database: Database, drain: Drain) -> Callable[[], None]:
    """Return what is called when something is in the spool."""
    if settings.drain == "manual":
        return lambda: None
    if settings.drain == "inline" or database.shared:  # a thread would commit the host's work on that connection
        return lambda: drain.try_run(patient=False)
    return DrainThread(drain, settings.drain_seconds).ensure


def _announcer(app: Flask) -> Callable[[Record], None]:
    reference = weakref.ref(app)

    def announce(record: Record) -> None:
        if (owner := reference()) is None:
            return
        try:
            with owner.app_context():
                signals.announce(owner, record)
        except Exception:  # a teardown function of the host; the record is committed all the same
            log.exception("the end of the app context fails")

    return announce


def _failer(app: Flask) -> Callable[[str, Exception], None]:
    reference = weakref.ref(app)
    return lambda reason, error: signals.send(reference(), signals.tracking_failed, reason=reason, error=error)


def _footer(part: str, url: str) -> str:
    return current_app.jinja_env.get_template(f"mailtrack/footer.{part}").render(unsubscribe_url=url)
