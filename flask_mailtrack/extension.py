"""The extension: the public object over the rooms that :mod:`.state` joins."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Never

from flask import Blueprint, Flask
from flask_sqlalchemy import SQLAlchemy

from . import models
from .administration.operator_settings import OperatorSettings, Tags
from .administration.tracking_domains import Domains
from .commands import mailtrack as commands
from .config import Settings, load
from .consent import ConsentColumn, Consulted
from .console.console import Console
from .errors import ConfigError
from .events import EventType, Hit
from .incoming.calls import Calls
from .incoming.door import serve, watch_for_leftovers
from .incoming.hits import Recorder
from .incoming.pages import Pages
from .incoming.verdict import Evidence, hit_of
from .incoming.views import OwnHosts
from .installed import KEY
from .mailbox.routes import mailbox
from .outgoing import mailman
from .outgoing.bodies import Preview
from .outgoing.explanation import preview_of
from .outgoing.mail import Mail, install, is_mail
from .outgoing.office import SendServices
from .reporting.metrics import exposition
from .reporting.reports import Reports
from .reporting.selection import Moment
from .reporting.stats import Stats, inactive
from .rights import Rights
from .sending import SendingMail
from .state import build, check_order, shown_online, shown_to_readers, stand_aside
from .storage.drain.health import Health
from .storage.tables.host_columns import Fill


class Mailtrack(SendingMail, Rights):
    """Tracks the mail that Flask-Mail sends.

    :param app: an app to set up at once. Without it, call :meth:`init_app` later.
    :param mail: the host's ``flask_mail.Mail``, or its ``flask_mailman.Mail``.
    :param db: the host's ``flask_sqlalchemy.SQLAlchemy``. The tables are added to its metadata, where
        ``create_all`` and Flask-Migrate find them. The extension itself never creates a table.
    :param bind_key: the entry of ``SQLALCHEMY_BINDS`` for the default tables.
    :param message_model: the host's own model, made with
        :class:`~flask_mailtrack.models.MessageMixin`. The other models have a parameter each, too.
    :param consent: a function that says who may be measured, or
        :func:`~flask_mailtrack.consent.consent_from` two columns of the host. Asked before each mail, and again
        for each hit. See :mod:`.consent`.
    :param fill: a function that fills NOT NULL columns that you have added and that nothing else fills. It is called
        in an app context as ``fill(model_name, record)``, with ``"Message"``, ``"Event"``, ``"OptOut"``, ``"Link"`` or
        ``"Audit"`` and the record behind the row, and returns a dict. It must not use ``db.session``, because a
        transaction is open.

    One object may serve several apps. Each app has its own settings.
    """

    console = Console
    mailbox: staticmethod[..., Blueprint] = staticmethod(mailbox)

    def __init__(
        self,
        app: Flask | None = None,
        *wrong: Never,
        mail: Mail | Any | None = None,
        db: SQLAlchemy | None = None,
        bind_key: str | None = None,
        message_model: type[models.MessageMixin] | None = None,
        event_model: type[models.EventMixin] | None = None,
        optout_model: type[models.OptOutMixin] | None = None,
        link_model: type[models.LinkMixin] | None = None,
        audit_model: type[models.AuditMixin] | None = None,
        setting_model: type[models.SettingMixin] | None = None,
        domain_model: type[models.DomainMixin] | None = None,
        consent: Consulted | ConsentColumn | None = None,
        fill: Fill | None = None,
    ) -> None:
        cure = "Write Mailtrack(app, mail=mail, db=db)."
        if wrong or is_mail(app) or hasattr(type(app), "engines"):
            raise ConfigError("E160", "Mailtrack", "takes mail and db by their names.", cure)
        if mail is None or not (is_mail(mail) or mailman.is_mailman(mail)):
            raise ConfigError("E201", "mail", f"is {mail!r}.", f"Pass the app's flask_mail.Mail object. {cure}")
        if db is None or not hasattr(db, "Model") or not hasattr(type(db), "engines"):
            problem = f"is {db!r}."
            raise ConfigError("E202", "db", problem, f"Pass the app's flask_sqlalchemy.SQLAlchemy object. {cure}")
        self._mail = mail
        self._db = db
        self.models: models.Models = models.models_for(
            db,
            bind_key,
            Message=message_model,
            Event=event_model,
            OptOut=optout_model,
            Link=link_model,
            Audit=audit_model,
            Setting=setting_model,
            Domain=domain_model,
        )
        self._consent = consent
        self._fill = fill
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up *app*: check the configuration, add the routes, and catch the mail.

        :raises ConfigError: a ``MAILTRACK_*`` key is wrong or missing; ``Mail`` or ``SQLAlchemy`` has not
            seen the app yet; or the app has a Mailtrack already.
        """
        check_order(app, self._mail, self._db)
        settings = load(app.config, instance_path=app.instance_path, testing=app.testing, debug=app.debug)
        if settings.enabled:
            self._set_up(app, settings)
        else:
            stand_aside(app, settings, self._mail, self._db, self.models)
        app.extensions[KEY] = self
        app.cli.add_command(commands)

    def _set_up(self, app: Flask, settings: Settings) -> None:
        state = build(app, settings, self._mail, self._db, self.models, self._consent, self._fill)
        recorder = Recorder(settings, state.signer, *state.journals, state.references, state.networks, state.signatures)
        pages, in_use = Pages(app, settings, shown_to_readers(state)), state.administration.in_use
        hosts = OwnHosts(state.signer, in_use, settings.ask_secret)
        calls = Calls(settings, state.signer, *state.journals)
        serve(app, settings, recorder, pages, hosts, shown_online(state), in_use, calls)
        if mailman.is_mailman(self._mail):
            mailman.install(app, self._mail, _office)
        else:
            install(app, _office)
        placeholders = state.office.preparer.bodies.placeholders
        app.jinja_env.globals.update(placeholders.jinja_globals())
        watch_for_leftovers(app, placeholders.left_in)

    def flush(self) -> int:
        """Move all records in the spool to the database, now.

        :return: the number of records moved.
        :raises sqlalchemy.exc.SQLAlchemyError: the database did not take the records; they stay in the spool.
        :raises StreamError: Redis is away, and rows of other machines may wait there. The rows of this machine
            are moved.
        """
        return self._state().drain.run()

    def health(self) -> Health:
        """Return the health of the journal and the drain, for a view that a monitor asks.

        The method looks into directories only. If you use Redis, it asks Redis for 0.1 s at most. It never waits
        for the database, and raises nothing of its own.
        """
        return self._state().health()

    def metrics(self) -> str:
        """Return the figures of the app and of this machine in Prometheus' text format, for a route of your own.

        Figures of mail come from the database, so they are right with any number of workers and machines. If it does
        not answer within 4 s, they are left out, and ``mailtrack_up`` is 0. No figure names a person, tag or list.

        :raises ConfigError: prometheus-client is not installed; the extra is ``metrics``.
        """
        state = self._state()
        return exposition(state.reports, state.health)

    def preview(self, html: Any, *, list_id: str | None = None, sender: str = "") -> Preview:
        """Return the changes that tracking would make in a body, link by link, and the settings that decide.

        :param html: the HTML as an author would give it to a message; or a whole message, with options and headers.
        :param list_id: the list of the mail, unless the message names one.
        :param sender: the sender of the mail, unless the message names one; default: any sender of the account.
        """
        return preview_of(self._state().office.preparer, html, list_id, sender)

    def classify(
        self,
        user_agent: str,
        *,
        kind: EventType = EventType.CLICKED,
        ip: str | None = None,
        age: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Hit:
        """Return the verdict on a request, with reasons, client and country. Nothing is stored.

        :param user_agent: the ``User-Agent`` header.
        :param kind: opened or clicked.
        :param ip: the address of the visitor.
        :param age: seconds since the mail was sent; default: not known.
        :param headers: the other headers of the request.
        """
        state = self._state()
        evidence = Evidence(kind, user_agent, headers or {}, age, network=state.networks.find(ip))
        return hit_of(evidence, ip, state.settings, state.enrichment)

    def stats(
        self,
        *,
        tag: str | None = None,
        list_id: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> Stats:
        """Return sent, opened, clicked and unsubscribed, by people, with rates: a short form of ``reports.totals``.

        The day of sending counts: a period selects mail, and the figures are of that mail until now.

        :param tag: only messages with this tag.
        :param list_id: only messages of this list.
        :param since: only mail made from this moment on: a naive one is UTC; a date, or ISO text, is read, too.
        :param until: only mail made before this moment.
        """
        return self.reports.stats(tag=tag, list_id=list_id, since=since, until=until)

    def inactive(self, since: date) -> list[str]:
        """Return the addresses that have not been seen since a day, so that a host can stop writing to them.

        Only people who got mail in ``deliverability`` mode before that day are known: no other mode keeps a day.

        :param since: a day, in UTC.
        """
        return inactive(self._state().database, since)

    def unwatched(self) -> list[str]:
        """Return the classes of connections by which mail of the current app leaves untracked; empty if there is none.

        Only a ``connect`` method of the host can open such a connection, which is no ``Connection`` of Flask-Mail.
        """
        return self._state().unwatched()

    @property
    def reports(self) -> Reports:
        """The reports of the current app. Without one it raises ``NotInitialised``, as the following properties do."""
        return self._state().reports

    @property
    def settings(self) -> OperatorSettings:
        """The switches of the current app that an operator turns at run time."""
        return self._state().administration.settings

    @property
    def domains(self) -> Domains:
        """The tracking domains of the current app."""
        return self._state().administration.domains

    @property
    def tags(self) -> Tags:
        """The tags that mail of the current app may carry."""
        return self._state().administration.tags


def _office(app: Flask) -> SendServices:
    extension: Mailtrack = app.extensions[KEY]
    return extension._state_of(app).office
