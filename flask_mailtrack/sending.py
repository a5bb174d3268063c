"""What a host does to send: options of a mail, mail without Flask-Mail, and what became of it."""

from __future__ import annotations

import email.message
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar, Unpack, cast

import click
from flask import Flask, current_app, has_app_context
from jinja2 import Template

from .events import SentCopy
from .installed import Installed
from .models import Models
from .outgoing import mailman, smtp
from .outgoing.campaign import AHEAD, CampaignLine, Pace, Run, SendReport, filled
from .outgoing.copies import PreparedMail, prepared
from .outgoing.mail import MailLine
from .outgoing.office import sent_copies
from .outgoing.options import ATTRIBUTE, Options, TrackingOptions, block, check_list, said_in_code
from .state import known_state
from .storage.tables.host_columns import check

log: logging.Logger = logging.getLogger("flask_mailtrack.send")
M = TypeVar("M")


class SendingMail(Installed):
    """The part of :class:`~flask_mailtrack.Mailtrack` that sends."""

    models: Models

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
        :param key: names the mail, so that each address gets it once, over crashes, retries and machines; at most 255
            characters, compared as they are. See :doc:`the how-to </how-to/once>`.
        :param retry_unknown: send also where nobody knows whether an earlier copy of the ``key`` was sent.
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
        :raises OptOutsUnavailable: the message names a list whose opt-outs cannot be read; likewise ``UnknownList``,
            ``UnknownTag`` and ``KeyNotClaimed``.
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

    def send_each(
        self,
        mail: Any,
        recipients: Iterable[Any],
        *,
        key: str,
        rates: Mapping[str, float] | None = None,
        ahead: int = AHEAD,
        hears: Callable[[SentCopy, SendReport], object] | None = None,
        progress: bool = False,
        **options: Any,
    ) -> SendReport:
        """Send a campaign: one mail to each of many people, over one connection. A second call goes on.

        Each person gets the mail of the *key* once, over calls, crashes and machines. The memory stays flat.

        :param mail: a message whose subject and bodies are Jinja templates; or a function of address and context, which
            returns a message to that address.
        :param recipients: addresses, or pairs of an address and its context, a dict. Read once, as they are needed.
        :param key: names the campaign, as in :meth:`track`.
        :param rates: mails in a second that this process sends, by domain of the recipient, such as
            ``{"gmail.com": 20, "*": 100}``; ``*`` is each other domain.
        :param ahead: the number of people who are claimed in one transaction, and of whom at most nobody knows after a
            kill; at least 1.
        :param hears: called after each recipient, with the copy and the report so far.
        :param progress: show a bar on the terminal.
        :param options: the options of :meth:`track`, such as ``list_id``, ``tag`` and ``retry_unknown``.
        :return: the numbers of recipients by what became of them. A refused recipient is one of them, and no exception.
        :raises Exception: the server takes nothing any more, or cannot be reached; the function raises; an error is not
            about one mail, such as the time limit of a queue; or ``KeyNotClaimed``,
            ``OptOutsUnavailable``, ``UnknownList``, ``UnknownTag``. Call again to go on.
        """
        if ahead < 1:
            raise ValueError(f"ahead is {ahead}: write a number of people, at least 1.")
        state, own = self._state(), self._said(cast("TrackingOptions", {**options, "key": key}))
        line: CampaignLine = mailman.MailmanLine(state.mail) if mailman.is_mailman(state.mail) else MailLine(state.mail)
        write = mail if callable(mail) else filled(mail, *_templates(current_app))

        def compose(address: str, context: Mapping[str, Any]) -> Any:
            message = write(address, context)
            wider: Options | None = getattr(message, ATTRIBUTE, None)
            setattr(message, ATTRIBUTE, own.within(wider) if wider else own)
            return message

        run = Run(state.office.preparer.claims, key, compose, line, ahead, Pace(rates) if rates else None)
        run.hears = hears or run.hears
        with suppress(Exception):  # the rows of a run that was killed say what became of its last mails
            state.drain.settle()
        if not progress:
            return run.over(recipients)
        with click.progressbar(recipients, label=key, file=sys.stderr, update_min_steps=ahead) as bar:
            return run.over(bar)

    def options(self, **options: Unpack[TrackingOptions]) -> AbstractContextManager[None]:
        """Set how mail inside a ``with`` block is tracked, also mail that other libraries send.

        Blocks nest. A message's own options are stronger.

        :param options: the options of :meth:`track`, under the same names: ``opens``, ``clicks``,
            ``unsubscribe``, ``tag``, ``list_id``, ``metadata``, ``utm``, ``transactional``, ``mode``, ``columns``,
            ``store``, ``encoding``, ``key``, ``retry_unknown``. The exceptions are those of :meth:`track`, too.
        """
        return block(self._said(options))

    def _said(self, options: TrackingOptions) -> Options:
        """Return the options that a host gives in one place, checked as far as possible now."""
        said = said_in_code(options)
        check(self.models.Message, said.columns or {})
        app = current_app._get_current_object() if has_app_context() else None  # type: ignore[attr-defined]
        if app and (state := known_state(app)):
            check_list(state.settings.lists, said.list_id)
            state.office.preparer.operator.check_tag(said.tag)
        elif app and said.key:
            log.warning("MAILTRACK_ENABLED is off, so the key %r is not claimed: each call sends", said.key)
        return said

    def sent(self, message: Any) -> tuple[SentCopy, ...]:
        """Return the copies of a message after ``mail.send``: the id of each row, the address and the status.

        Nothing is read: the journal may still hold the rows. A message that was sent twice tells of the last time.

        :param message: the message, as it was given to ``mail.send``, :meth:`prepare` or the client of :meth:`smtp`;
            also after an error of that call.
        :return: in the order of the recipients, with those that were suppressed; empty: it was not sent, or untracked.
            Of a recipient who has got the mail of the ``key`` before, the copy of that call.
        """
        return sent_copies(message)


def _templates(app: Flask) -> tuple[Callable[[str, bool], Template], Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Return what reads a text as the host's templates are read, and what adds the host's values to a context."""
    bare = app.jinja_env.overlay(autoescape=False)

    def values(context: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(context)
        app.update_template_context(found)
        return found

    return lambda text, html: (app.jinja_env if html else bare).from_string(text), values
