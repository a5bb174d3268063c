"""Blinker signals. The sender is always the Flask app.

Signals about rows are sent at least once, after the row has been committed. A receiver that must
not act twice looks at ``event.id``. A verdict may be corrected later, when more is known of the
message. The correction is not announced, so read the row if you need the final verdict. An exception
in a receiver is logged and does not stop the other receivers.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any

from blinker import NamedSignal, Namespace

from .events import VERIFIED, DomainChange, EventType, Hit, SentMessage, SettingChange, Status, Suppression

__all__ = [
    "domain_failed",
    "domain_verified",
    "link_clicked",
    "message_bounced",
    "message_complained",
    "message_deferred",
    "message_delivered",
    "message_failed",
    "message_opened",
    "message_rejected",
    "message_sent",
    "recipient_resubscribed",
    "recipient_suppressed",
    "recipient_unsubscribed",
    "settings_changed",
    "suppression_lifted",
    "tracking_failed",
]

log: logging.Logger = logging.getLogger("flask_mailtrack.signals")

_signals = Namespace()

message_sent: NamedSignal = _signals.signal("message-sent")
"""A server accepted a copy. ``event``: :class:`~flask_mailtrack.events.SentMessage`."""

message_failed: NamedSignal = _signals.signal("message-failed")
"""A copy was refused or lost, or its fate is unknown. ``event``: ``SentMessage`` with ``error``."""

message_delivered: NamedSignal = _signals.signal("message-delivered")
"""The server of the recipient accepted a mail, as a service tells. ``event``: :class:`~flask_mailtrack.events.Hit`."""

message_deferred: NamedSignal = _signals.signal("message-deferred")
"""The server of the recipient put a mail off. ``event``: ``Hit`` with ``comment``, what the server said."""

message_bounced: NamedSignal = _signals.signal("message-bounced")
"""A mail came back. ``event``: ``Hit`` with ``reason``, ``hard`` or ``soft``, and ``comment``."""

message_complained: NamedSignal = _signals.signal("message-complained")
"""The recipient called a mail spam. ``event``: ``Hit``."""

message_rejected: NamedSignal = _signals.signal("message-rejected")
"""A service refused to send a mail. ``event``: ``Hit`` with ``comment``."""

message_opened: NamedSignal = _signals.signal("message-opened")
"""A pixel was fetched, by a person or a machine. ``event``: :class:`~flask_mailtrack.events.Hit`."""

link_clicked: NamedSignal = _signals.signal("link-clicked")
"""A link was followed, by a person or a machine. ``event``: ``Hit``."""

recipient_unsubscribed: NamedSignal = _signals.signal("recipient-unsubscribed")
"""A person unsubscribed. ``event``: ``Hit`` with ``list_id``, ``method``, ``reason`` and ``comment``."""

recipient_resubscribed: NamedSignal = _signals.signal("recipient-resubscribed")
"""A person took an unsubscribe back. ``event``: ``Hit``."""

recipient_suppressed: NamedSignal = _signals.signal("recipient-suppressed")
"""The host has suppressed somebody. ``event``: :class:`~flask_mailtrack.events.Suppression`. Imports are silent."""

suppression_lifted: NamedSignal = _signals.signal("suppression-lifted")
"""The host has lifted an opt-out. ``event``: ``Suppression``."""

settings_changed: NamedSignal = _signals.signal("settings-changed")
"""An operator has changed a setting. ``event``: :class:`~flask_mailtrack.events.SettingChange`."""

domain_verified: NamedSignal = _signals.signal("domain-verified")
"""A tracking domain passed its check, so links may use the domain.

``event``: :class:`~flask_mailtrack.events.DomainChange`."""

domain_failed: NamedSignal = _signals.signal("domain-failed")
"""A verified tracking domain no longer passes its check. ``event``: ``DomainChange``."""

tracking_failed: NamedSignal = _signals.signal("tracking-failed")
"""Tracking failed in part. ``error``: the exception; ``reason``: one of

``prepare``
    A message went out untracked, by a mistake of this package.
``rewrite``
    A body of a message went out as written; ``error.reason`` says why.
``clipped``
    The HTML of a message is longer than Gmail shows, so that a pixel at the bottom is not loaded.
``spool``
    No directory took a record. The record is in the log, for ``flask mailtrack recover``.
``drain``
    The database takes no rows, or does not answer. Sent at the first failure, then every five minutes.
``quarantine``
    A record cannot be stored, and is put aside for ``flask mailtrack recover --quarantine``. Sent for each record.
``hit``
    A hit could not be labelled.
"""


_OF_MESSAGE = {
    Status.SENT: message_sent,
    Status.FAILED: message_failed,
    Status.UNKNOWN: message_failed,
}
_OF_HIT = {
    EventType.OPENED: message_opened,
    EventType.CLICKED: link_clicked,
    EventType.UNSUBSCRIBED: recipient_unsubscribed,
    EventType.SUBSCRIBED: recipient_resubscribed,
    EventType.DELIVERED: message_delivered,
    EventType.DEFERRED: message_deferred,
    EventType.BOUNCED: message_bounced,
    EventType.COMPLAINED: message_complained,
    EventType.REJECTED: message_rejected,
}


def announce(app: Any, record: object) -> None:
    """Send the signal that belongs to a committed *record*, if there is one."""
    if (signal := _signal(record)) is not None:
        send(app, signal, event=record)


def heard(record: object) -> bool:
    """Say whether the signal of *record* may have receivers. Most often it has none, which saves a drain work."""
    signal = _signal(record)
    return signal is not None and bool(signal.receivers)


def _signal(record: object) -> NamedSignal | None:
    if isinstance(record, Hit):
        return _OF_HIT.get(record.type)
    if isinstance(record, SentMessage):
        return _OF_MESSAGE.get(record.status)
    if isinstance(record, Suppression):
        return recipient_suppressed if record.out else suppression_lifted
    return None


def send(app: Any, signal: NamedSignal, **details: Any) -> None:
    """Call the receivers of *signal* one by one. An exception of a receiver is logged."""
    for receiver in signal.receivers_for(app):
        try:
            receiver(app, **details)
        except Exception:
            log.exception("a receiver of %s failed", signal.name)


class Announcer:
    """Sends the signals of one app, from any thread. The object does not keep the app alive.

    :param app: the Flask app.
    """

    def __init__(self, app: Any) -> None:
        self._app = weakref.ref(app)

    def announce(self, record: object) -> None:
        """Send the signal of a committed *record*, in an app context of its own. Never raises."""
        if (app := self._app()) is None or not heard(record):
            return
        try:
            with app.app_context():
                announce(app, record)
        except Exception:  # of a teardown function of the host; the record is committed already
            log.exception("the end of the app context fails")

    def failed(self, reason: str, error: Exception) -> None:
        """Send ``tracking_failed``. Never raises."""
        send(self._app(), tracking_failed, reason=reason, error=error)

    def changed(self, change: SettingChange | DomainChange) -> None:
        """Send the signal of a committed change, if there is one, in an app context of its own. Never raises."""
        if (app := self._app()) is None or (signal := _of_change(change)) is None:
            return
        try:
            with app.app_context():
                send(app, signal, event=change)
        except Exception:  # of a teardown function of the host; the change is committed already
            log.exception("the end of the app context fails")


def _of_change(change: SettingChange | DomainChange) -> NamedSignal | None:
    if isinstance(change, SettingChange):
        return settings_changed
    if change.status == VERIFIED:
        return domain_verified
    return domain_failed if change.before == VERIFIED else None
