"""The operators' decisions: the settings in force, which are asked for each copy, their reasons, and the tags.

Without a decision of an operator, the configuration holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import insert, select, update

from flask_mailtrack.config import Settings
from flask_mailtrack.errors import UnknownTag
from flask_mailtrack.events import SettingChange
from flask_mailtrack.lists import nearest
from flask_mailtrack.phrases import Phrase

from .database import Database
from .snapshot import FRESH_SECONDS, Snapshot


class SettingScope(StrEnum):
    """The scope of a setting, from the widest to the narrowest."""

    ACCOUNT = "account"
    DOMAIN = "domain"
    SENDER = "sender"
    TAG = "tag"
    """Not a scope of switches: the subject is a tag, which is on, or off if it is retired."""


class Dimension(StrEnum):
    """The scopes that may decide."""

    ACCOUNT = "account"
    """The account alone."""
    BOTH = "both"
    """Sender, then nearest domain, then account."""
    DOMAIN = "domain"
    """Sender and domain. A domain without a setting of its own is not tracked."""


TRACKED = ("opens", "clicks")
SWITCHES = (*TRACKED, "unsubscribe")
PAUSE, DIMENSION, TAG = "pause", "dimension", "tag"
_NARROW = (SettingScope.DOMAIN, SettingScope.SENDER)
COLUMNS = ("id", "scope", "subject", "key", "value", "changed_by", "changed_at")


@dataclass(frozen=True, slots=True)
class Switch:
    """One setting in force."""

    scope: SettingScope
    subject: str
    key: str
    value: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """The operator's decision about one switch for one sender.

    :param value: on or off; ``None`` leaves the switch to the configuration.
    :param switch: the setting that decided; ``None`` if the dimension did.
    """

    value: bool | None
    switch: Switch | None = None


UNDECIDED = Decision(None)
_NOT_ADMITTED = Decision(False)


class InForce:
    """The settings in force at one moment."""

    def __init__(self, switches: Mapping[tuple[str, str, str], Switch]) -> None:
        self._switches = switches
        said = switches.get((SettingScope.ACCOUNT, "", DIMENSION))
        self.dimension: Dimension = Dimension(said.value) if said else Dimension.BOTH
        pause = switches.get((SettingScope.ACCOUNT, "", PAUSE))
        self.paused: bool = pause is not None and pause.value == "on"
        self.tags: dict[str, Switch] = {
            each.subject: each for each in switches.values() if each.scope == SettingScope.TAG
        }
        """The settings of tags."""

    def find(self, key: str, scope: SettingScope, subject: str) -> Switch | None:
        """Return the setting of exactly this scope, if there is one."""
        return self._switches.get((scope, subject, key))

    def scopes(self) -> list[tuple[SettingScope, str]]:
        """Return the domains and senders with a setting of their own, in order."""
        return sorted({(each.scope, each.subject) for each in self._switches.values() if each.scope in _NARROW})

    def decide(self, key: str, sender: str) -> Decision:
        """Return the decision for mail of *sender*: the narrowest setting that the dimension admits.

        :param key: one of :data:`SWITCHES`.
        :param sender: a normalised address, or ``@domain`` for a domain as a whole.
        """
        if not self._switches:
            return UNDECIDED
        if self.paused and key in TRACKED:
            return Decision(False, self._switches[SettingScope.ACCOUNT, "", PAUSE])
        for scope, subject in self._scopes(sender):
            if (found := self.find(key, scope, subject)) is not None:
                return Decision(found.value == "on", found)
        return _NOT_ADMITTED if self.dimension == Dimension.DOMAIN and key in TRACKED else UNDECIDED

    def _scopes(self, sender: str) -> Iterator[tuple[SettingScope, str]]:
        if self.dimension != Dimension.ACCOUNT:
            mailbox, _, domain = sender.rpartition("@")
            if mailbox:
                yield SettingScope.SENDER, sender
            labels = domain.split(".")
            yield from ((SettingScope.DOMAIN, ".".join(labels[start:])) for start in range(len(labels)))
        if self.dimension != Dimension.DOMAIN:
            yield SettingScope.ACCOUNT, ""


class Switches:
    """The settings in force, and the history of their changes.

    :param database: holds the settings.
    """

    def __init__(self, database: Database, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._database = database
        self.snapshot: Snapshot[InForce] = Snapshot(
            Phrase("operator's settings"), self._read, InForce({}), fresh_seconds
        )

    def now(self) -> InForce:
        """Return the settings in force. Never raises. Before the first reading nothing is set."""
        return self.snapshot.now()

    def paused(self) -> bool:
        """Say whether the kill switch is on."""
        return self.now().paused

    def change(self, change: SettingChange) -> SettingChange:
        """Store a change, so that it is in force, and return it with the value that it has replaced.

        :raises SQLAlchemyError: the database did not take the change.
        """
        table = self._database.setting
        with self._database.transaction() as connection:
            same = (table.c.scope == change.scope, table.c.subject == change.subject, table.c.key == change.key)
            current = (*same, table.c.replaced_at.is_(None))
            before = connection.execute(select(table.c.value).where(*current).order_by(table.c.id.desc())).scalar()
            connection.execute(update(table).where(*current).values(replaced_at=change.changed_at))
            row = {name: getattr(change, name) for name in COLUMNS} | self._database.host.values(table, change, {})
            # An unset setting is not in force any more. The row stays for the history.
            connection.execute(insert(table).values(**row, replaced_at=None if change.value else change.changed_at))
        self.snapshot.forget()
        return change._replace(before=before or "")

    def history(self, key: str = "", scope: str = "", subject: str = "") -> list[SettingChange]:
        """Return the changes of a key, of a scope, or all changes, newest first."""
        table = self._database.setting
        columns = (table.c[name] for name in COLUMNS)
        query = select(*columns).where(table.c.scope.in_(list(SettingScope))).order_by(table.c.id.desc())
        if key:
            query = query.where(table.c.key == key)
        if scope:
            query = query.where(table.c.scope == scope, table.c.subject == subject)
        found: list[SettingChange] = []
        later: dict[tuple[str, str, str], int] = {}
        for row in self._database.rows(query):
            change = SettingChange(**dict(zip(COLUMNS, row, strict=True)))
            about = change.scope, change.subject, change.key
            if about in later:  # the next change has replaced this one
                found[later[about]] = found[later[about]]._replace(before=change.value)
            later[about] = len(found)
            found.append(change)
        return found

    def _read(self) -> InForce:
        return InForce({(each.scope, each.subject, each.key): each for each in self._rows()})

    def _rows(self) -> Iterator[Switch]:
        table = self._database.setting
        columns = (table.c.scope, table.c.subject, table.c.key, table.c.value, table.c.changed_by, table.c.changed_at)
        # In the order of ids: of two settings at the same moment, the later one holds.
        query = select(*columns).where(table.c.replaced_at.is_(None)).order_by(table.c.id)
        for scope, subject, key, value, by, at in self._database.rows(query):
            yield Switch(SettingScope(scope), subject, key, value, by, at)


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """The state of one switch of one scope, with the reason.

    :param key: ``opens``, ``clicks`` or ``unsubscribe``.
    :param enabled: whether the switch is on for mail without options of its own.
    :param text: the same in words: ``Enabled`` or ``Not enabled``, with the reason.
    """

    key: str
    enabled: bool
    text: Phrase

    @classmethod
    def because(cls, key: str, enabled: bool, why: Phrase) -> SwitchStatus:
        """Return a status with its reason."""
        text = Phrase("Enabled: %(why)s", why=why) if enabled else Phrase("Not enabled: %(why)s", why=why)
        return cls(key, enabled, text)


def status_of(settings: Settings, key: str, decision: Decision, domain: str) -> SwitchStatus:
    """Return the state for mail of a sender domain without options of its own.

    :param settings: the configuration, which holds without a decision of the operator.
    :param domain: empty for the account.
    """
    if decision.switch is not None:
        return SwitchStatus.because(key, bool(decision.value), _reason(decision.switch))
    if decision.value is False:
        text = Phrase("nothing is set, and the dimension 'domain' tracks only what has a setting of its own")
        return SwitchStatus.because(key, False, text)
    options: dict[str, Any] = settings.sender_domains.get(domain, {})
    if key in options:
        where, enabled = f"MAILTRACK_SENDER_DOMAINS[{domain!r}]", bool(options[key])
    else:
        where, enabled = f"MAILTRACK_{key.upper()}", bool(getattr(settings, key))
    return SwitchStatus.because(key, enabled, Phrase("by the configuration (%(where)s)", where=where))


_ABOUT = {SettingScope.ACCOUNT: Phrase("for the account"), SettingScope.SENDER: Phrase("for the sender")}


def _reason(switch: Switch) -> Phrase:
    words = {"on": Phrase("on"), "off": Phrase("off")}
    return Phrase(
        "%(what)s %(about)s since %(time)s by %(author)s",
        what=Phrase("paused") if switch.key == PAUSE else words.get(switch.value, switch.value),
        about=_ABOUT.get(switch.scope) or Phrase("for %(domain)s", domain=switch.subject),
        time=f"{switch.at:%Y-%m-%d %H:%M}",
        author=switch.by or Phrase("nobody named"),
    )


class DeclaredTags:
    """Knows the declared tags, from memory or after one query every few seconds.

    :param configured: ``MAILTRACK_TAGS``.
    :param switches: the operators' decisions. A tag is a setting that is on, or off if it is retired.
    """

    def __init__(self, configured: Collection[str], switches: Switches) -> None:
        self.configured: frozenset[str] = frozenset(configured)
        self._switches = switches

    def said(self) -> dict[str, Switch]:
        """Return the operators' settings of tags, by tag."""
        return self._switches.now().tags

    def in_force(self) -> set[str]:
        """Return the tags that mail may carry; empty: any tag."""
        said = self.said()
        retired = {name for name, each in said.items() if each.value == "off"}
        return {*self.configured, *said} - retired

    def check(self, name: str | None) -> None:
        """Refuse a tag that is retired, or that is not among the declared tags.

        If the database could never be asked, no tag is refused, because the tag may be declared there.

        :raises UnknownTag: the tag is most likely misspelt, and would split the figures.
        """
        said = self.said()
        if not name or not (self.configured or said):
            return
        if (switch := said.get(name)) is not None:
            if switch.value == "off":
                since = f"{switch.at:%Y-%m-%d %H:%M} by {switch.by or 'nobody named'}"
                raise UnknownTag(name, retired=since)
            return
        known = self.in_force()
        if known and name not in known and self._switches.snapshot.known:
            raise UnknownTag(name, nearest(name, known))
