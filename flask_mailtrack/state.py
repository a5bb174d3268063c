"""The state of one app: its parts, and how they are put together."""

from __future__ import annotations

import logging
import shutil
import weakref
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, current_app, has_app_context
from flask_sqlalchemy import SQLAlchemy

from . import app_folders, networks
from .administration.administration import Administration
from .config import Settings
from .consent import Consent, ConsentColumn, Consulted
from .errors import ConfigError, NotInitialised
from .incoming.online import Online
from .languages import spoken_by_babel, words
from .models import Models
from .networks import Networks
from .outgoing import mailman
from .outgoing.delivery import Ledger
from .outgoing.mail import Mail, passers_by
from .outgoing.office import SendServices
from .outgoing.operator import Operator
from .outgoing.placeholders import Placeholders
from .outgoing.prepare import Preparer
from .privacy import normalise
from .reporting.reports import Reports
from .signals import Announcer
from .storage.drain.chores import Chores
from .storage.drain.daily_purge import daily
from .storage.drain.drain import Drain, Tables, Target
from .storage.drain.drain_thread import DrainThread, InlineDrain
from .storage.drain.health import Health, health
from .storage.drain.recovery import PendingChoices
from .storage.drain.shipping import Consumer, RedisThenTables
from .storage.journal.journal import Journal, Listener
from .storage.journal.signatures import Signatures
from .storage.people.people import People
from .storage.redis import Stream
from .storage.tables.claims import Claims
from .storage.tables.consequences import Consequences
from .storage.tables.database import Database
from .storage.tables.domains import DomainTable
from .storage.tables.engine import own_engine, passing_engine
from .storage.tables.host_columns import CURE, UNFILLED, Fill
from .storage.tables.optouts import OptOuts
from .storage.tables.references import References
from .storage.tables.refused import Refused
from .storage.tables.second_look import Enrichment, Hindsight
from .storage.tables.unwanted import TEMPORARY, Silence, answers
from .storage.tables.writer import Writer
from .templating import template_of
from .tokens import Signer
from .webhooks.couriers import Couriers

log: logging.Logger = logging.getLogger("flask_mailtrack")

NOBODY_SECONDS = 5


@dataclass(frozen=True, eq=False)
class State:
    """The parts of one app. The state does not hold the app, so that a dropped app is freed."""

    settings: Settings
    signer: Signer
    database: Database
    journals: tuple[Journal, Journal]
    """The journal of events, and the journal of opt-outs."""
    drain: Drain
    optouts: OptOuts
    people: People
    office: SendServices
    networks: Networks
    references: References
    enrichment: Enrichment
    stream: Stream | None
    """The Redis stream for the rows of many machines, if the host uses one."""
    signatures: Signatures
    administration: Administration
    mail: Mail
    readable: Database
    """Where reports read: the same, or a replica."""
    couriers: Couriers
    """Of webhooks."""

    def health(self) -> Health:
        """Return the health of the journal and the drain. Never raises, and never waits for the database."""
        snapshots, keep_days = self.administration.snapshots, self.settings.keep_days
        return health(self.drain, self.journals, self.signatures, self.database, snapshots, keep_days)

    @property
    def reports(self) -> Reports:
        """What became of the mails."""
        refs = self.signer.subject_refs, self.signer.link_refs
        return Reports(self.readable, *refs, self.settings.timezone, self.health, DomainTable(self.readable).rows)

    def chores(self) -> Chores:
        """Return what whoever drains does now and then."""
        return _chores(self.settings, self.database, self.drain, self.administration, self.couriers)

    def unwatched(self) -> list[str]:
        """Return the classes of connections by which mail of the current app leaves untracked; empty if none."""
        return [] if mailman.is_mailman(self.mail) else passers_by(self.mail, current_app.extensions["mail"])


KEY = "mailtrack-state"
"""Key in ``app.extensions``. Nothing else holds a state, so that a dropped app is freed together with its state."""
_LATER = "mailtrack-later"


def state_of(app: Flask) -> State:
    """Return the state of *app*. The state of an app that is switched off is made at the first call.

    :raises NotInitialised: it has not been set up.
    """
    state = known_state(app) or app.extensions.get(_LATER, lambda _: None)(app)
    if state is None:
        raise NotInitialised.of(app)
    return state


def check_order(app: Flask, mail: Mail, db: SQLAlchemy) -> None:
    """Check that an app is ready to be set up.

    :raises ConfigError: Mailtrack has been set up already, or Flask-Mail or Flask-SQLAlchemy has not.
    """
    if KEY in app.extensions:
        raise ConfigError("E203", "init_app", "was called twice for this app.", "Call it once.")
    keys = {"mail": mailman.KEY} if mailman.is_mailman(mail) else {}
    for name, code, owner in (("mail", "E204", "mail"), ("sqlalchemy", "E205", "db")):
        if keys.get(name, name) not in app.extensions:
            cure = f"Call {owner}.init_app(app) before mailtrack.init_app(app)."
            raise ConfigError(code, "init_app", f"the app has no {owner} yet.", cure)
    if app.extensions["sqlalchemy"] is not db:
        raise ConfigError("E206", "db", "is not the one that the app uses.", "Pass the app's own db.")


def known_state(app: Flask) -> State | None:
    """Return the state of *app*, if the app was set up."""
    found: State | None = app.extensions.get(KEY)
    return found


def stand_aside(app: Flask, settings: Settings, mail: Mail, db: SQLAlchemy, models: Models) -> None:
    """Leave an app alone that is switched off: no hook, no route, no thread, no folder, no table.

    Templates of mails work as usual, and their placeholders stay. Calls from the host's code go to an empty store in
    memory, which is made at the first call.
    """

    def later(owner: Flask) -> State:
        state = build(owner, settings, mail, db, models)
        weakref.finalize(state, state.database.engine.dispose)
        return state

    app.extensions[_LATER] = later
    labels = Placeholders(Signer(settings.secret_keys, settings.app_id).labels)
    app.jinja_env.globals.update(labels.jinja_globals(), tracking_pixel=lambda: "")
    if not app.testing and not app.debug:
        log.warning("MAILTRACK_ENABLED is off: opt-outs are not asked for, and links that are out lead nowhere.")


def current_state() -> State:
    """Return the state of the current app.

    :raises NotInitialised: it has not been set up.
    """
    return state_of(current_app._get_current_object())  # type: ignore[attr-defined]


def build(
    app: Flask,
    settings: Settings,
    mail: Mail,
    db: SQLAlchemy,
    models: Models,
    asked: Consulted | ConsentColumn | None = None,
    fill: Fill | None = None,
) -> State:
    """Build the state of *app*.

    :param db: the host's Flask-SQLAlchemy object. Like *mail*, it is already initialised for the app.
    :param asked: the host's function for consent, or its columns; *fill* is its function for its own columns.
    """
    signer, announcer = Signer(settings.secret_keys, settings.app_id), Announcer(app)
    engines, database = _databases(app, db, settings, models, fill)
    administration = Administration.of(settings, signer, database, announcer, _senders(app))
    # A database in memory dies with the process. Its waiting records must not go into the database of the next process.
    own = "MAILTRACK_SPOOL_DIR" in app.config and settings.enabled
    passing = (app.testing or database.shared) and not own
    owner = app_folders.Owner(app.name, Path(app.instance_path), settings, signer, database)
    stream = app_folders.meeting(owner)
    found = app_folders.passing() if passing else app_folders.lasting(owner, own)
    journals = events, choices = app_folders.journals(found, settings.spool_sync, stream)
    consent = Consent(_consulted(app, engines, models, asked), settings.track_when_unknown, TEMPORARY)
    enrichment = Enrichment(settings.ua_parser, settings.geo_database, settings.geo_detail)
    remember = 0 if app.testing else NOBODY_SECONDS
    question = partial(OptOuts, database, signer, consent=consent, refused=Refused(database, remember))
    # The drain asks the opt-outs, too, but these opt-outs must not start another run of the drain.
    asked_late = question(PendingChoices(choices, stream, hurried=True))
    silence = Silence(database, asked_late, consent, settings.keep_days.get("events", 0), administration.switches)
    couriers = Couriers.of(database, settings.webhooks.values(), settings.keep_days, events.directory)
    follows = Consequences(signer, settings.suppress_after)
    writer = Writer(database, enrichment, _hindsight(settings), silence, announcer, signer, couriers.outbox, follows)
    drain = _drain(journals, writer, announcer, stream)
    optouts = question(PendingChoices(choices, stream, drain), remember=remember)
    _listen(journals, announcer, optouts, _woken(settings, database, drain, administration, couriers))
    references = References(database, found.first)
    state = app.extensions[KEY] = State(
        settings=settings,
        signer=signer,
        database=database,
        journals=journals,
        drain=drain,
        optouts=optouts,
        people=People(database, signer, journals, drain, optouts, stream, references),
        office=_office(app, settings, signer, optouts, Ledger(events, references), administration, database),
        networks=_networks(settings),
        references=references,
        enrichment=enrichment,
        stream=stream,
        signatures=Signatures(events.directory),
        administration=administration,
        mail=mail,
        readable=_readable(settings, engines, models) or database,
        couriers=couriers,
    )
    if passing:
        weakref.finalize(state, shutil.rmtree, found.first.parent, ignore_errors=True)
    return state


def _office(
    app: Flask,
    settings: Settings,
    signer: Signer,
    optouts: OptOuts,
    ledger: Ledger,
    administration: Administration,
    database: Database,
) -> SendServices:
    operator, claims = Operator(settings, administration.switches, administration.in_use), Claims(database, signer)
    preparer = Preparer(settings, signer, optouts, partial(_footer, settings.language), ledger, operator, claims)
    return SendServices(preparer, ledger, weakref.ref(app))


def _databases(
    app: Flask, db: SQLAlchemy, settings: Settings, models: Models, fill: Fill | None
) -> tuple[dict[str | None, Any], Database]:
    """Return the engines of the host's binds, and the database of the tables. Rows that will be refused are named."""
    bind = models.Message.__table__.metadata.info.get("bind_key")
    engines = _engines(app, db) if settings.enabled else {bind: passing_engine([each.__table__ for each in models])}
    database = Database(engines[bind], models, _filler(app, fill))
    for column in database.host.unfilled()[0]:
        log.warning("%s: %s: %s", column, UNFILLED, CURE)
    return engines, database


def _engines(app: Flask, db: SQLAlchemy) -> dict[str | None, Any]:
    with app.app_context():
        return {key: own_engine(engine) for key, engine in db.engines.items()}


def _drain(journals: Sequence[Journal], writer: Writer, announcer: Announcer, stream: Stream | None) -> Drain:
    """Return the drain: straight to the tables, or by way of Redis if the host uses it."""
    tables = Tables(writer, announcer)
    target: Target = tables
    if stream is not None:
        target = RedisThenTables(tables, stream, Consumer(stream, writer, announcer))
    spools = [spool for journal in journals for spool in journal.spools]
    return Drain(spools, target, announcer)


def _woken(
    settings: Settings, database: Database, drain: Drain, administration: Administration, couriers: Couriers
) -> tuple[Listener, ...]:
    """Return the listeners that drain when something has been written."""
    if settings.drain == "manual":
        return ()
    if settings.drain == "inline" or database.shared:  # a thread would commit the host's work on that connection
        return (InlineDrain(drain),)
    chores = _chores(settings, database, drain, administration, couriers)
    return (DrainThread(drain, settings.drain_seconds, chores),)


def _chores(
    settings: Settings, database: Database, drain: Drain, administration: Administration, couriers: Couriers
) -> Chores:
    purge = daily(database, settings.keep_days, drain, settings.drain_seconds)
    return Chores([administration.watch, purge, *couriers.chores()])


def _listen(
    journals: tuple[Journal, Journal],
    announcer: Announcer,
    optouts: OptOuts,
    woken: tuple[Listener, ...],
) -> None:
    """Let both journals wake the same drain, so that only one thread is started."""
    events, choices = journals
    events.announcer = choices.announcer = announcer
    events.listeners, choices.listeners = woken, (optouts, *woken)


def shown_to_readers(state: State) -> OptOuts:
    """Return the opt-outs for the pages. They wait for no other machine."""
    pending = PendingChoices(state.journals[1], state.stream, apart=True)
    return OptOuts(state.database, state.signer, pending, refused=Refused(state.database))


def shown_online(state: State) -> Online:
    """Return what shows mails in a browser."""
    return Online(state.settings, state.signer, state.database, state.office.preparer.operator.base_url)


def _networks(settings: Settings) -> Networks:
    try:
        return networks.networks_of(networks.load(settings.networks), settings.own_networks)
    except (OSError, ValueError) as error:
        cure = "Mend the line, or remove the file: then the list of the package is used."
        raise ConfigError("E118", "MAILTRACK_NETWORKS", f"{settings.networks} cannot be read: {error}.", cure) from None


def _senders(app: Flask) -> frozenset[str]:
    """Return the domain of the host's default sender, if there is one."""
    given = app.config.get("MAIL_DEFAULT_SENDER") or ""
    address = given[-1] if isinstance(given, tuple | list) and given else given
    domain = normalise(str(address)).rpartition("@")[2] if "@" in str(address) else ""
    return frozenset({domain} - {""})


def _consulted(
    app: Flask, engines: Mapping[str | None, Any], models: Models, asked: Consulted | ConsentColumn | None
) -> Consulted | None:
    """Return the host's function, or one that reads the host's column, for use in any thread."""
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


def _hindsight(settings: Settings) -> Hindsight:
    return Hindsight(settings.limits if settings.verdicts else None)


def _readable(settings: Settings, engines: Mapping[str | None, Any], models: Models) -> Database | None:
    """Return where reports read, if that is elsewhere."""
    bind = settings.reports_bind
    if not bind or not settings.enabled:
        return None
    if bind not in engines:
        known = ", ".join(repr(key) for key in engines if key) or "none"
        cure = f"Name an entry of SQLALCHEMY_BINDS; there are: {known}."
        raise ConfigError("E121", "MAILTRACK_REPORTS_BIND", f"is {bind!r}.", cure)
    return Database(engines[bind], models)


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


def _footer(default: str, part: str, url: str, language: str) -> str:
    said = language or default
    speech = words(said or spoken_by_babel("babel" in current_app.extensions) or "en")
    return template_of(f"mailtrack/footer.{part}").render(unsubscribe_url=url, t=speech)
