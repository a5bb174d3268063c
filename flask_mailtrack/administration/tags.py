"""The tags that operators declare and retire while the app runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask_mailtrack.errors import SettingError
from flask_mailtrack.events import SettingChange, new_id, now
from flask_mailtrack.lists import nearest
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.tables.switches import TAG, DeclaredTags, Scope, Switches

from .operator_settings import by_whom

LONGEST_TAG = 255


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, and who has declared or retired it.

    :param configured: the tag is in ``MAILTRACK_TAGS``.
    :param retired: mail may not carry it any more.
    :param by: who said so last; empty if that is the configuration alone.
    :param at: when; nothing likewise.
    """

    name: str
    configured: bool
    retired: bool
    by: str = ""
    at: datetime | None = None


class Tags:
    """Declares and retires tags. Where any is declared, mail with another one is refused; else any tag goes.

    :param declared: the tags, as sends ask for them.
    :param switches: where changes are kept.
    :param announcer: tells the host of each change, after it is committed.
    """

    def __init__(self, declared: DeclaredTags, switches: Switches, announcer: Announcer) -> None:
        self._declared = declared
        self._switches = switches
        self._announcer = announcer

    def add(self, name: str, *, by: str = "") -> None:
        """Declare a tag, or take its retirement back. In force in every process within five seconds.

        Signal: ``settings_changed``, after commit. Nothing happens if the tag is in force already.

        :param name: up to 255 printable characters; upper and lower case are two tags.
        :param by: who declares it; default: the user of the operating system.
        :raises SettingError: it cannot be a tag.
        :raises sqlalchemy.exc.SQLAlchemyError: the database did not take the change.
        """
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_TAG or not name.isprintable() or not name.strip():
            raise SettingError(f"{str(name)[:40]!r} cannot be a tag: write up to {LONGEST_TAG} printable characters.")
        if name not in self._declared.in_force():
            self._change(name, "on", by)

    def retire(self, name: str, *, by: str = "") -> None:
        """Refuse a tag from now on; figures of it stay. Takes and raises what :meth:`add` does.

        :raises SettingError: it is not declared; the error names the nearest tag.
        """
        known = self._declared.in_force()
        if name not in known:
            close = nearest(str(name), known)
            cure = f"Did you mean {close!r}?" if close else f"Declared: {', '.join(sorted(known)) or 'none'}."
            raise SettingError(f"{name!r} is not a declared tag. {cure}")
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
        change = SettingChange(new_id(), Scope.TAG, name, TAG, value, by_whom(by), now())
        self._announcer.changed(self._switches.change(change))
