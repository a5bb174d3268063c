"""The tags that mail may carry: those of the configuration, and those that operators have declared or retired."""

from __future__ import annotations

from collections.abc import Collection

from flask_mailtrack.errors import UnknownTag
from flask_mailtrack.lists import nearest

from .switches import Switch, Switches


class DeclaredTags:
    """Says which tags there are, from memory or after one query each few seconds.

    :param configured: ``MAILTRACK_TAGS``.
    :param switches: what operators have decided; a tag is a setting that is on, or off when it is retired.
    """

    def __init__(self, configured: Collection[str], switches: Switches) -> None:
        self.configured: frozenset[str] = frozenset(configured)
        self._switches = switches

    def said(self) -> dict[str, Switch]:
        """Return what operators have said of tags, by tag."""
        return self._switches.now().tags

    def in_force(self) -> set[str]:
        """Return the tags that mail may carry; none: any."""
        said = self.said()
        retired = {name for name, each in said.items() if each.value == "off"}
        return {*self.configured, *said} - retired

    def check(self, name: str | None) -> None:
        """Refuse a tag that is retired, or that is not declared where any is.

        Nothing is refused for a database that could never be asked: the tag may be declared there.

        :raises UnknownTag: most likely with a typo, so that figures would be of two tags.
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
