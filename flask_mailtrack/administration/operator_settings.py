"""The switches that an operator turns, and the tags that an operator declares and retires, at run time.

Each change is a row in the database, and is in force everywhere within seconds.
"""

from __future__ import annotations

import difflib
import getpass
from dataclasses import dataclass
from datetime import datetime

from flask_mailtrack.config import Settings
from flask_mailtrack.errors import SettingError
from flask_mailtrack.events import SettingChange, new_id, now
from flask_mailtrack.lists import nearest
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.privacy import normalise
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.tables.switches import (
    DIMENSION,
    PAUSE,
    SWITCHES,
    TAG,
    DeclaredTags,
    Dimension,
    SettingScope,
    Switches,
    SwitchStatus,
    status_of,
)

from .host_names import host_name

LONGEST_NAME = 320


class OperatorSettings:
    """Turns switches for the account, a sender domain with its sub-domains, or one sender address.

    :param switches: holds the settings, as the send reads them.
    :param settings: the configuration, which holds if nothing is set.
    :param announcer: tells the host of each change, after it is committed.
    """

    def __init__(self, switches: Switches, settings: Settings, announcer: Announcer) -> None:
        self._switches = switches
        self._settings = settings
        self._announcer = announcer

    def set(self, key: str, value: bool, *, domain: str = "", sender: str = "", by: str = "") -> None:
        """Turn a switch on or off. The switch is in force in every process within five seconds.

        Signal: ``settings_changed``, after commit.

        :param key: ``opens``, ``clicks``, ``unsubscribe``, or ``pause``. ``pause`` is for the account only. It stops
            the tracking of new mail, and throws away hits on earlier mail; links go on working.
        :param value: on or off.
        :param domain: the sender domain. If *sender* is empty, too, the switch is the account's.
        :param sender: the sender's address.
        :param by: the author of the change; default: the user of the operating system.
        :raises SettingError: there is no such key, value or scope; the text names the nearest one.
        :raises sqlalchemy.exc.SQLAlchemyError: the database did not take the change.
        """
        if not isinstance(value, bool):
            raise SettingError(f"{key} is {value!r}. Write True or False.")
        self._change(*self._scope(key, domain, sender), key, "on" if value else "off", by)

    def unset(self, key: str, *, domain: str = "", sender: str = "", by: str = "") -> None:
        """Remove a setting, so that the next wider setting holds, and in the end the configuration.

        Parameters and exceptions are those of :meth:`set`. Nothing happens if nothing is set.
        """
        scope, subject = self._scope(key, domain, sender)
        if self._switches.now().find(key, scope, subject) is not None:
            self._change(scope, subject, key, "", by)

    def get(self, key: str, *, domain: str = "", sender: str = "") -> bool | None:
        """Return the setting of exactly this scope; ``None`` if there is none.

        :raises SettingError: as :meth:`set`.
        """
        found = self._switches.now().find(key, *self._scope(key, domain, sender))
        return None if found is None else found.value == "on"

    @property
    def dimension(self) -> str:
        """The scopes that may decide: ``account``, ``both`` (the default) or ``domain``.

        With ``domain``, only senders and domains with a setting of their own are tracked. Another word raises
        :exc:`SettingError`.
        """
        return self._switches.now().dimension.value

    @dimension.setter
    def dimension(self, value: str) -> None:
        self.choose_dimension(value)

    def choose_dimension(self, value: str, *, by: str = "") -> None:
        """Set :attr:`dimension`, and record the author.

        :raises SettingError: the word is none of the three.
        """
        words = [each.value for each in Dimension]
        if value not in words:
            raise SettingError(f"The dimension is {value!r}.{_nearest(value, words)}")
        self._change(SettingScope.ACCOUNT, "", DIMENSION, value, by)

    @property
    def paused(self) -> bool:
        """Whether the kill switch is on."""
        return self._switches.now().paused

    def status(self, *, domain: str = "", sender: str = "") -> list[SwitchStatus]:
        """Return the state of each switch, with the reason in words.

        :raises SettingError: the domain or the sender is not valid.
        """
        _, subject = self._scope("opens", domain, sender)
        return self._statuses(subject if sender else f"@{subject}")

    def overview(self) -> dict[str, list[SwitchStatus]]:
        """Return the states for each scope with a setting of its own, by the name of the scope; ``account`` first."""
        found = {"account": self._statuses("@")}
        for scope, subject in self._switches.now().scopes():
            found[subject] = self._statuses(subject if scope == SettingScope.SENDER else f"@{subject}")
        return found

    def history(self, *, key: str = "", domain: str = "", sender: str = "", limit: int = 100) -> list[SettingChange]:
        """Return the changes, newest first; of all scopes if no scope is named.

        :param key: only this switch.
        :param limit: the number of changes at most.
        """
        scope, subject = self._scope("opens", domain, sender) if domain or sender else ("", "")
        return self._switches.history(key, scope, subject)[:limit]

    def _change(self, scope: SettingScope, subject: str, key: str, value: str, by: str) -> None:
        change = SettingChange(new_id(), scope, subject, key, value, by_whom(by), now())
        self._announcer.changed(self._switches.change(change))

    def _statuses(self, asked: str) -> list[SwitchStatus]:
        in_force, domain = self._switches.now(), asked.rpartition("@")[2]
        return [status_of(self._settings, key, in_force.decide(key, asked), domain) for key in SWITCHES]

    def _scope(self, key: str, domain: str, sender: str) -> tuple[SettingScope, str]:
        if key not in (*SWITCHES, PAUSE):
            raise SettingError(f"{key!r} is not a setting.{_nearest(key, [*SWITCHES, PAUSE])}")
        if domain and sender:
            raise SettingError("A setting is for a domain or for a sender. Name one of them.")
        if key == PAUSE and (domain or sender):
            raise SettingError("The setting pause is for the account. Name neither a domain nor a sender.")
        if sender:
            try:
                return SettingScope.SENDER, normalise(_mailbox(sender))
            except ValueError:
                raise SettingError(f"{sender[:80]!r} is not an address.") from None
        if domain:
            try:
                return SettingScope.DOMAIN, host_name(domain.removeprefix("@"))
            except ValueError as error:
                raise SettingError(str(error)) from None
        return SettingScope.ACCOUNT, ""


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word).lower(), known, 1)
    return f" Did you mean {close[0]!r}?" if close else f" Write one of: {', '.join(known)}."


def _mailbox(sender: str) -> str:
    if "@" not in sender.strip("@"):
        raise ValueError("an address has a mailbox and a domain")
    return sender


def by_whom(given: str) -> str:
    """Return the author of a change: the given name, or the user of the operating system."""
    return (given or _user())[:LONGEST_NAME]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container, the user may have no name
        return ""


LONGEST_TAG = 255


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, with the author of its last change.

    :param configured: the tag is in ``MAILTRACK_TAGS``.
    :param retired: mail may not carry it any more.
    :param by: the author; empty if only the configuration names the tag.
    :param at: the time; ``None`` likewise.
    """

    name: str
    configured: bool
    retired: bool
    by: str = ""
    at: datetime | None = None


class Tags:
    """Declares and retires tags. If any tag is declared, mail with another tag is refused.

    :param declared: the tags, as the send reads them.
    :param switches: holds the changes.
    :param announcer: tells the host of each change, after it is committed.
    """

    def __init__(self, declared: DeclaredTags, switches: Switches, announcer: Announcer) -> None:
        self._declared = declared
        self._switches = switches
        self._announcer = announcer

    def add(self, name: str, *, by: str = "") -> None:
        """Declare a tag, or end its retirement. The change is in force in every process within five seconds.

        Signal: ``settings_changed``, after commit. Nothing happens if the tag is in force already.

        :param name: up to 255 printable characters; upper and lower case are two tags.
        :param by: the author of the change; default: the user of the operating system.
        :raises SettingError: the name cannot be a tag.
        :raises sqlalchemy.exc.SQLAlchemyError: the database did not take the change.
        """
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_TAG or not name.isprintable() or not name.strip():
            text = Phrase(
                "%(name)s cannot be a tag: write up to %(most)s printable characters.",
                name=repr(str(name)[:40]),
                most=LONGEST_TAG,
            )
            raise SettingError(text)
        if name not in self._declared.in_force():
            self._change(name, "on", by)

    def retire(self, name: str, *, by: str = "") -> None:
        """Refuse a tag from now on. Its figures stay. Parameters and exceptions are those of :meth:`add`.

        :raises SettingError: the tag is not declared; the text names the nearest tag.
        """
        known = self._declared.in_force()
        if name not in known:
            close = nearest(str(name), known)
            declared = sorted(known) or Phrase("none")
            cure = Phrase("Declared: %(names)s.", names=declared)
            if close:
                cure = Phrase("Did you mean %(name)s?", name=repr(close))
            raise SettingError(Phrase("%(name)s is not a declared tag. %(cure)s", name=repr(name), cure=cure))
        self._change(name, "off", by)

    def list(self) -> list[Tag]:
        """Return all tags that are or were declared, by name."""
        said = self._declared.said()
        found = []
        for name in sorted({*said, *self._declared.configured}):
            configured, switch = name in self._declared.configured, said.get(name)
            if switch is None:
                found.append(Tag(name, configured, retired=False))
            else:
                found.append(Tag(name, configured, switch.value == "off", switch.by, switch.at))
        return found

    def _change(self, name: str, value: str, by: str) -> None:
        change = SettingChange(new_id(), SettingScope.TAG, name, TAG, value, by_whom(by), now())
        self._announcer.changed(self._switches.change(change))
