"""What one app has, and how it is put together."""

from __future__ import annotations

import logging
import shutil
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, current_app, has_app_context

from . import app_folders, networks, signals
from .administration.administration import Administration
from .config import Settings
from .consent import Consent, ConsentColumn, Consulted
from .errors import ConfigError, NotInitialised, StreamError
from .events import DomainChange, Hit, SettingChange, Suppression
from .incoming.hits import Recorder
from .models import Models
from .networks import Networks
from .outgoing.delivery import Ledger
from .outgoing.mail import Office
from .outgoing.options import Operator
from .outgoing.placeholders import Placeholders
from .outgoing.prepare import Preparer
from .privacy import normalise
from .storage.drain import recovery
from .storage.drain.drain import Drain
from .storage.drain.drain_thread import DrainThread
from .storage.drain.shipping import Relay
from .storage.journal.journal import Journal
from .storage.journal.signatures import Signatures
from .storage.people.people import People
from .storage.records import Record
from .storage.redis import Stream
from .storage.tables.database import Database
from .storage.tables.domains import VERIFIED
from .storage.tables.engine import own_engine, passing_engine
from .storage.tables.enrichment import Enrichment
from .storage.tables.host_columns import CURE, UNFILLED, Fill
from .storage.tables.optouts import OptOuts
from .storage.tables.references import References
from .storage.tables.refused import Refused
from .storage.tables.second_look import Hindsight
from .storage.tables.unwanted import TEMPORARY, Silence, answers
from .storage.tables.writer import Writer
from .tokens import Signer

log = logging.getLogger("flask_mailtrack")

NOBODY_SECONDS = 5


@dataclass(frozen=True, eq=False)
class State:
    """What one app has. It does not hold the app, so an app that is dropped is freed."""

    settings: Settings
    signer: Signer
    database: Database
    spools: tuple[Journal, Journal]
    """Of events, and of opt-outs."""
    drain: Drain
    optouts: OptOuts
    people: People
    office: Office
    networks: Networks
    references: References
    enrichment: Enrichment
    move: Callable[[], object]
    """Called when something is in a spool: the database may have it."""
    stream: Stream | None
    """Where the rows of many machines meet, if the host wants that."""
    signatures: Signatures
    administration: Administration


KEY = "mailtrack-state"
"""In ``app.extensions``: nothing else holds a state, so that an app that is dropped is freed with its own."""
_LATER = "mailtrack-later"


def state_of(app: Flask) -> State:
    """Return what *app* has; of one that is switched off, it is made when it is first asked for.

    :raises NotInitialised: it has not been set up.
    """
    state = known_state(app) or app.extensions.get(_LATER, lambda _: None)(app)
    if state is None:
        raise NotInitialised(
            f"{app!r} is not set up: call mailtrack.init_app(app) after mail.init_app(app) and db.init_app(app)."
        )
    return state


def known_state(app: Flask) -> State | None:
    """Return what *app* has, if it has been set up."""
    found: State | None = app.extensions.get(KEY)
    return found


def stand_aside(app: Flask, settings: Settings, db: Any, models: Models) -> None:
    """Leave an app alone whose config says so: no hook, no route, no thread, no folder, no table.

    Templates of mails work as ever; their placeholders stay. What code of the host's asks is answered from an empty
    store in memory, which is made when it is first asked.
    """

    def later(owner: Flask) -> State:
        state = build(owner, settings, db, models)
        weakref.finalize(state, state.database.engine.dispose)
        return state

    app.extensions[_LATER] = later
    labels = Placeholders(Signer(settings.secret_keys, settings.app_id).labels)
    app.jinja_env.globals.update(labels.jinja_globals(), tracking_pixel=lambda: "")
    if not app.testing and not app.debug:
        log.warning("MAILTRACK_ENABLED is off: opt-outs are not asked for, and links that are out lead nowhere.")


def current_state() -> State:
    """Return what the current app has.

    :raises NotInitialised: it has not been set up.
    """
    return state_of(current_app._get_current_object())  # type: ignore[attr-defined]


def build(
    app: Flask,
    settings: Settings,
    db: Any,
    models: Models,
    asked: Consulted | ConsentColumn | None = None,
    fill: Fill | None = None,
) -> State:
    """Put together what *app* needs.

    :param db: the host's Flask-SQLAlchemy object, already initialised for the app.
    :param asked: who is asked about consent.
    :param fill: who is asked for columns of the host's.
    """
    signer = Signer(settings.secret_keys, settings.app_id)
    bind = models.Message.__table__.metadata.info.get("bind_key")
    engines = _engines(app, db) if settings.enabled else {bind: passing_engine([each.__table__ for each in models])}
    database = _looked_at(Database(engines[bind], models, _filler(app, fill)))
    administration = Administration.of(settings, signer, database, _teller(app), _senders(app))
    # What waits for a database that dies with the process must not wait for the next one.
    own = "MAILTRACK_SPOOL_DIR" in app.config and settings.enabled
    passing = (app.testing or database.shared) and not own
    owner = app_folders.Owner(app.name, Path(app.instance_path), settings, signer, database)
    stream = app_folders.meeting(owner)
    found = app_folders.passing() if passing else app_folders.lasting(owner, own)
    spools = app_folders.journals(found, settings.spool_sync, stream)
    announce, failed = _announcer(app), _failer(app)
    consent = Consent(_consulted(app, engines, models, asked), settings.track_when_unknown, TEMPORARY)
    # The drain asks what stands, too, but must not be asked to run meanwhile.
    refs = signer.recipient_refs
    remember = 0 if app.testing else NOBODY_SECONDS
    question = partial(OptOuts, database, refs, consent=consent, refused=Refused(database, remember))
    late, keep_days = question(_waiting(spools[1], stream, hurried=True)), settings.keep_days.get("events", 0)
    silence = Silence(database, late, consent, keep_days, administration.switches.paused)
    enrichment = Enrichment(settings.ua_parser, settings.geo_database)
    judge = Hindsight(settings.limits if settings.verdicts else None)
    writer = Writer(database, enrichment, judge, silence.over, lambda error: failed("quarantine", error), refs)
    every = [spool for journal in spools for spool in journal.spools]
    parts = (every, writer, settings.drain_batch, announce, lambda error: failed("drain", error))
    drain = Relay(*parts, stream=stream) if stream else Drain(*parts)
    optouts = question(_waiting(spools[1], stream), catch_up=_catcher(drain, spools[1]), remember=remember)
    # One for both sides: each has a thread of its own to start.
    move = _mover(settings, database, drain, administration.watch.nudge)
    operator = Operator(settings, administration.switches, administration.in_use)
    references = References(database, found.first)
    ledger = Ledger(spools[0], failed, move, references.note)
    office = Office(Preparer(settings, signer, optouts, _footer, ledger.keep, operator), ledger, failed)

    def chosen() -> None:
        optouts.forget()
        move()

    people = People(database, refs, spools, drain, chosen, optouts.named, stream, references)
    found_networks, signatures = _networks(settings), Signatures(spools[0].directory)
    rooms = (database, spools, drain, optouts, people, office, found_networks, references, enrichment, move, stream)
    state = app.extensions[KEY] = State(settings, signer, *rooms, signatures, administration)
    if passing:
        weakref.finalize(state, shutil.rmtree, found.first.parent, ignore_errors=True)
    return state


def _engines(app: Flask, db: Any) -> dict[str | None, Any]:
    with app.app_context():
        return {key: own_engine(engine) for key, engine in db.engines.items()}


def _waiting(choices: Journal, stream: Stream | None, hurried: bool = False) -> Callable[[], list[Hit | Suppression]]:
    """Return what reads the choices that are not in the database yet, also those of other machines.

    :param hurried: do without those of other machines while Redis does not answer: the drain asks.
    """

    def read() -> list[Hit | Suppression]:
        others: list[Hit | Suppression] = []
        if stream is not None:
            with suppress(StreamError) if hurried else nullcontext():
                others = recovery.told(stream, hurried)
        mine = recovery.waiting(choices.spools, strict=not hurried)
        return list({change.id: change for change in (*others, *mine)}.values())

    return read


def _catcher(drain: Drain, choices: Journal) -> Callable[[], None]:
    """Return what moves choices before a send, if that can be done at once; if not, they are read where they are."""

    def catch_up() -> None:
        if choices.pending():
            drain.try_run(patient=False)

    return catch_up


def _networks(settings: Settings) -> Networks:
    try:
        return networks.networks_of(networks.load(settings.networks), settings.own_networks)
    except (OSError, ValueError) as error:
        cure = "Mend the line, or remove the file: then the list of the package is used."
        raise ConfigError("E118", "MAILTRACK_NETWORKS", f"{settings.networks} cannot be read: {error}.", cure) from None


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
        state.references.url,
        _failer(app),
        written,
        state.networks,
        state.signatures.bad,
    )
    signer, stream, choices = state.signer, state.stream, state.spools[1]
    others = (lambda: recovery.told(stream, hurried=True)) if stream else list
    # A page waits for Redis no longer than a reader does for a page, and says so where it matters.
    refused, refs = Refused(state.database), signer.recipient_refs
    shown = OptOuts(state.database, refs, _waiting(choices, None), elsewhere=others, refused=refused)
    return recorder, lambda token: shown.standing(token.message_id, token.ref, token.list_id)


def _mover(settings: Settings, database: Database, drain: Drain, after: Callable[[], object]) -> Callable[[], object]:
    """Return what is called when something is in the spool.

    :param after: called by a thread of ours after each run.
    """
    if settings.drain == "manual":
        return lambda: None
    if settings.drain == "inline" or database.shared:  # a thread would commit the host's work on that connection
        return lambda: drain.try_run(patient=False)
    return DrainThread(drain, settings.drain_seconds, after).ensure


def _announcer(app: Flask) -> Callable[[Record], None]:
    reference = weakref.ref(app)

    def announce(record: Record) -> None:
        if (owner := reference()) is None or not signals.heard(record):
            return
        try:
            with owner.app_context():
                signals.announce(owner, record)
        except Exception:  # a teardown function of the host; the record is committed all the same
            log.exception("the end of the app context fails")

    return announce


def _teller(app: Flask) -> Callable[[SettingChange | DomainChange], None]:
    """Return what sends the signal of an operator's change, or of a domain's."""
    reference = weakref.ref(app)

    def tell(change: SettingChange | DomainChange) -> None:
        if isinstance(change, SettingChange):
            signal = signals.settings_changed
        elif change.status == VERIFIED:
            signal = signals.domain_verified
        elif change.before == VERIFIED:
            signal = signals.domain_failed
        else:
            return
        if (owner := reference()) is None or has_app_context():
            signals.send(owner, signal, event=change)
            return
        try:
            with owner.app_context():  # a thread of ours has found it out
                signals.send(owner, signal, event=change)
        except Exception:  # a teardown function of the host; the change is committed all the same
            log.exception("the end of the app context fails")

    return tell


def _senders(app: Flask) -> frozenset[str]:
    """Return the domain of the host's default sender, if it names one."""
    given = app.config.get("MAIL_DEFAULT_SENDER") or ""
    address = given[-1] if isinstance(given, tuple | list) and given else given
    domain = normalise(str(address)).rpartition("@")[2] if "@" in str(address) else ""
    return frozenset({domain} - {""})


def _failer(app: Flask) -> Callable[[str, Exception], None]:
    reference = weakref.ref(app)
    return lambda reason, error: signals.send(reference(), signals.tracking_failed, reason=reason, error=error)


def _consulted(
    app: Flask, engines: Mapping[str | None, Any], models: Models, asked: Consulted | ConsentColumn | None
) -> Consulted | None:
    """Return the host's function, for use in any thread, or one that reads its column."""
    if asked is None:
        return None
    if isinstance(asked, ConsentColumn):
        return answers(asked, lambda bind: Database(engines[bind], models).rows)
    ask, reference = asked, weakref.ref(app)

    def consulted(addresses: Collection[str], purpose: str) -> Mapping[str, Any]:
        owner = reference()
        if owner is None or (has_app_context() and current_app._get_current_object() is owner):  # type: ignore[attr-defined]
            return ask(addresses, purpose)
        with owner.app_context():
            return ask(addresses, purpose)

    return consulted


def _looked_at(database: Database) -> Database:
    """Say at once that rows will be refused, rather than when somebody has left a list."""
    for column in database.host.unfilled()[0]:
        log.warning("%s: %s: %s", column, UNFILLED, CURE)
    return database


def _filler(app: Flask, fill: Fill | None) -> Fill | None:
    """Return the host's function, for use in any thread."""
    if fill is None:
        return None
    ask, reference = fill, weakref.ref(app)

    def filled(model_name: str, record: Any) -> Mapping[str, Any]:
        owner = reference()
        if owner is None or (has_app_context() and current_app._get_current_object() is owner):  # type: ignore[attr-defined]
            return ask(model_name, record)
        with owner.app_context():
            return ask(model_name, record)

    return filled


def _footer(part: str, url: str) -> str:
    return current_app.jinja_env.get_template(f"mailtrack/footer.{part}").render(unsubscribe_url=url)
