"""What a viewer may see and change of what operators have set up, where several tenants share an app."""

from __future__ import annotations

from collections.abc import Iterable

from flask_mailtrack.administration.tracking_domains import Domain
from flask_mailtrack.scope import Scope


class Tenancy:
    """The sender domains of a viewer, and what belongs to them.

    A tenant whose scope names no sender domains, or names lists or tags beside them, sees what belongs to the sender
    domains of their mail, and changes nothing: a change would be about mail of others, too. For the same reason they
    change nothing of a sender domain that has sub-domains of others, which its settings and its links reach.

    :param scope: of the viewer; ``None``: everything is theirs.
    :param sending: the sender domains of the mail in the scope.
    :param known: all sender domains of the app.
    """

    def __init__(self, scope: Scope | None, sending: Iterable[str], known: Iterable[str] = ()) -> None:
        self.everything: bool = scope is None
        named = scope.sender_domains if scope else None
        alone = scope is not None and scope.lists is None and scope.tags is None
        self._own = named or frozenset() if alone else frozenset[str]()
        self._seen = frozenset(sending) if named is None else named
        others = frozenset(known) - self._own
        self._shared = frozenset(mine for mine in self._own if any(each.endswith(f".{mine}") for each in others))

    def sees(self, sender: str) -> bool:
        """Return whether a sender, or a sender domain, is the viewer's to see."""
        return self.everything or sender.rpartition("@")[2] in self._seen

    def owns(self, sender: str) -> bool:
        """Return whether settings of a sender, or of a sender domain, are the viewer's to change."""
        return self._has(sender) and not self.reaches_others(sender)

    def reaches_others(self, sender: str) -> bool:
        """Return whether settings of a sender domain of the viewer count for mail of others, too."""
        return sender.removeprefix("@") in self._shared

    def _has(self, sender: str) -> bool:
        return self.everything or sender.rpartition("@")[2] in self._own

    def shows(self, domain: Domain) -> bool:
        """Return whether a tracking domain is the viewer's to see: one of theirs uses it, or is above it."""
        return any(map(self.sees, (*domain.sender_domains, _above(domain))))

    def holds(self, domain: Domain) -> bool:
        """Return whether a tracking domain is the viewer's to change: it is below one of theirs, or used by one."""
        return any(map(self._has, (*domain.sender_domains, _above(domain))))

    def holds_alone(self, domain: Domain) -> bool:
        """Return whether nobody else has anything to do with a tracking domain, so that the viewer may remove it."""
        if self.everything:
            return True
        return not domain.account_default and all(map(self.owns, (*domain.sender_domains, _above(domain))))

    def users(self, domain: Domain) -> tuple[str, ...]:
        """Return the sender domains that use a tracking domain, as far as the viewer may know them."""
        return tuple(filter(self.sees, domain.sender_domains))


def _above(domain: Domain) -> str:
    return domain.host.partition(".")[2]
