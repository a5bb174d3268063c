"""The extension: the public object over the rooms that :mod:`.state` joins."""

from __future__ import annotations

import email.message
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import Any, Never, TypeVar, Unpack

from flask import Blueprint, Flask, current_app, has_app_context
from flask_sqlalchemy import SQLAlchemy

from . import models
from .administration.operator_settings import OperatorSettings, Tags
from .administration.tracking_domains import Domains
from .commands import mailtrack as commands
from .config import Settings, load
from .consent import ConsentColumn, Consulted
from .console.console import Console
from .errors import ConfigError, NotInitialised
from .events import EventType, Hit, SentCopy
from .incoming.door import serve, watch_for_leftovers
from .incoming.hits import Recorder
from .incoming.pages import Pages
from .incoming.verdict import Evidence, hit_of
from .incoming.views import OwnHosts
from .mailbox.routes import mailbox
from .outgoing import mailman, smtp
from .outgoing.bodies import Preview
from .outgoing.copies import PreparedMail, prepared
from .outgoing.explanation import preview_of
from .outgoing.mail import Mail, install, is_mail
from .outgoing.office import SendServices, sent_copies
from .outgoing.options import ATTRIBUTE, Options, TrackingOptions, block, check_list, said_in_code
from .reporting.metrics import exposition
from .reporting.reports import Reports
from .reporting.selection import Moment
from .reporting.stats import Stats, inactive
from .rights import Rights
from .state import State, build, check_order, known_state, shown_online, shown_to_readers, stand_aside, state_of
from .storage.drain.health import Health
from .storage.tables.host_columns import Fill, check

KEY = "mailtrack"
M = TypeVar("M")


class Mailtrack(Rights):
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
        serve(app, settings, recorder, pages, hosts, shown_online(state), in_use)
        if mailman.is_mailman(self._mail):
            mailman.install(app, self._mail, _office)
        else:
            install(app, _office)
        placeholders = state.office.preparer.bodies.placeholders
        app.jinja_env.globals.update(placeholders.jinja_globals())
        watch_for_leftovers(app, placeholders.left_in)

    def track(self, message: M, **options: Unpack[TrackingOptions]) -> M:
        """Set how one message is tracked, and return the message. Wider settings decide about missing options.

        :param message: a ``flask_mail.Message``, or a message for :meth:`prepare` or :meth:`smtp`. It carries the
            options until it is sent.
        :param opens: put in a pixel.
        :param clicks: track links.
        :param unsubscribe: add headers and footer, and obey opt-outs; default: if a list is named. Without a list,
            the recipient leaves everything.
        :param tag: a name for :meth:`stats`; at most 255 characters.
        :param list_id: the list that the recipient can leave; at most 255 characters.
        :param metadata: kept as JSON on the message row; at most 64,000 bytes and 20 levels of lists and dicts.
        :param utm: ``{"source": "news"}`` adds ``utm_source=news`` to tracked links that lack it.
        :param transactional: leave links alone and offer no unsubscribe, as in a password reset.
        :param mode: how opens and clicks are kept: ``individual``, ``aggregate`` or ``deliverability``.
        :param columns: values for columns that you have added to the message model, such as ``{"tenant_id": 7}``:
            text, numbers, UUID, date, datetime, Decimal. Events, opt-outs and audit rows take columns of the same name.
        :param store: ``False`` for mail that must not be kept: no row with address and subject, no pixel, no tracked
            links, whatever ``opens`` and ``clicks`` say. Opt-outs of the list still hold.
        :param encoding: the encoding of the text parts: ``quoted-printable``, or empty: as Flask-Mail encodes them.
        :raises TypeError: a value has the wrong type, or a name is not an option.
        :raises ValueError: a value cannot be stored, a column does not exist, or ``transactional`` is given together
            with ``clicks``, ``unsubscribe`` or a list.
        :raises UnknownList: the list is not in ``MAILTRACK_LISTS``, if that is set; likewise ``UnknownTag``.
            Outside an app context, and for the header, the exception is raised when the message is sent.
        """
        if isinstance(message, bytes | str):
            raise TypeError("bytes cannot carry options: give them to prepare(message, tag=...).")
        own = self._said(options)
        said: Options | None = getattr(message, ATTRIBUTE, None)
        setattr(message, ATTRIBUTE, own.within(said) if said else own)
        return message

    def prepare(
        self,
        message: email.message.Message | bytes,
        *,
        sender: str | None = None,
        recipients: Sequence[str] | None = None,
        **options: Unpack[TrackingOptions],
    ) -> PreparedMail:
        """Prepare a mail that the host sends by itself: by an HTTP service, a queue, or a client of its own.

        Structure, headers, their order, encodings and attachments stay. Signed and encrypted parts are left alone.

        Each copy is sent by the host, which tells its fate by a block around the send::

            for copy in mailtrack.prepare(message, tag="welcome"):
                with copy:
                    service.send(copy.sender, copy.recipients, copy.as_bytes())

        :param message: an ``email.message.EmailMessage``, any other message of :mod:`email.mime`, or a mail as bytes.
        :param sender: the sender of the envelope; default: the header Sender, else From.
        :param recipients: the recipients of the envelope; default: those of To, Cc and Bcc.
        :param options: the options of :meth:`track`. They are stronger than those of the message.
        :return: an iterable of :class:`~flask_mailtrack.outgoing.copies.PreparedCopy`. Each is noted as "sending" when
            it is handed out, so that a process that dies leaves a trace.
        :raises ValueError: nobody is named as recipient or sender, or an option has a wrong value.
        :raises TypeError: the message is neither of these.
        :raises OptOutsUnavailable: the message names a list whose opt-outs cannot be read; likewise ``UnknownList``
            and ``UnknownTag``.
        """
        own = self._said(options)
        wider: Options | None = getattr(message, ATTRIBUTE, None)
        said = own.within(wider) if wider else own
        return prepared(self._state().office, message, sender, recipients, said=said)

    def smtp(
        self, host: str = "", port: int = 0, *, tls: bool = False, **arguments: Any
    ) -> smtp.TrackedSMTP | smtp.TrackedSMTPOverTLS:
        """Connect to an SMTP server by the standard library's client, which sends tracked mail.

        The client is used as any other::

            with mailtrack.smtp("mail.example.com", 587) as server:
                server.starttls()
                server.login("name", "password")
                server.send_message(message)

        :param host: with *port*, the server, as :class:`smtplib.SMTP` takes them.
        :param tls: begin with TLS, as :class:`smtplib.SMTP_SSL` does, usually on port 465.
        :param arguments: further arguments of that class, such as ``timeout`` in seconds.
        :return: the client. Its ``send_message`` obeys the options of :meth:`track`; to ``sendmail`` only
            :meth:`options` and the header ``X-Mailtrack`` can tell them.
        :raises OSError: the server cannot be reached; likewise the other exceptions of that class.
        """
        return smtp.client(self._state().office, host, port, tls, arguments)

    def options(self, **options: Unpack[TrackingOptions]) -> AbstractContextManager[None]:
        """Set how mail inside a ``with`` block is tracked, also mail that other libraries send.

        Blocks nest. A message's own options are stronger.

        :param options: the options of :meth:`track`, under the same names: ``opens``, ``clicks``,
            ``unsubscribe``, ``tag``, ``list_id``, ``metadata``, ``utm``, ``transactional``, ``mode``, ``columns``,
            ``store``, ``encoding``. The exceptions are those of :meth:`track`, too.
        """
        return block(self._said(options))

    def _said(self, options: TrackingOptions) -> Options:
        """Return the options that a host gives in one place, checked as far as possible now."""
        said = said_in_code(options)
        check(self.models.Message, said.columns or {})
        if has_app_context() and (state := known_state(current_app._get_current_object())):  # type: ignore[attr-defined]
            check_list(state.settings.lists, said.list_id)
            state.office.preparer.operator.check_tag(said.tag)
        return said

    def sent(self, message: Any) -> tuple[SentCopy, ...]:
        """Return the copies of a message after ``mail.send``: the id of each row, the address and the status.

        Nothing is read: the journal may still hold the rows. A message that was sent twice tells of the last time.

        :param message: the message, as it was given to ``mail.send``, :meth:`prepare` or the client of :meth:`smtp`;
            also after an error of that call.
        :return: in the order of the recipients, with those that were suppressed; empty: it was not sent, or untracked.
        """
        return sent_copies(message)

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

    def _state(self) -> State:
        """Return the state of the current app.

        :raises NotInitialised: it has not been set up.
        """
        return self._state_of(current_app._get_current_object())  # type: ignore[attr-defined]

    def _state_of(self, app: Flask) -> State:
        """Return the state of *app*, or raise ``NotInitialised``."""
        if app.extensions.get(KEY) is not self:
            raise NotInitialised(
                f"{app!r} is not set up: call mailtrack.init_app(app) after mail.init_app(app) and db.init_app(app)."
            )
        return state_of(app)


def _office(app: Flask) -> SendServices:
    extension: Mailtrack = app.extensions[KEY]
    return extension._state_of(app).office
