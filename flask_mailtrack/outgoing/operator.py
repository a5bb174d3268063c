"""What an operator has decided about a mail: asked for each copy, so that a campaign under way obeys."""

from __future__ import annotations

from flask_mailtrack.config import Settings
from flask_mailtrack.storage.declared_tags import DeclaredTags
from flask_mailtrack.storage.domains import DomainsInUse
from flask_mailtrack.storage.switches import SWITCHES, Decision, Switches


class Operator:
    """Answers from memory, or after one query each few seconds; never raises.

    :param settings: the configuration, which holds where nothing is set.
    :param switches: the switches in force.
    :param domains: the tracking domains in use.
    """

    def __init__(self, settings: Settings, switches: Switches, domains: DomainsInUse) -> None:
        self._settings = settings
        self._switches = switches
        self._domains = domains
        self.check_tag = DeclaredTags(settings.tags, switches).check

    def decisions(self, sender: str) -> dict[str, bool]:
        """Return what is on or off for mail of *sender*; what is left to the configuration is not there.

        :param sender: a normalised address.
        """
        said = self.explained(sender)
        return {key: each.value for key, each in said.items() if each.value is not None}

    def explained(self, sender: str) -> dict[str, Decision]:
        """Return the same for every switch, with the setting that decided."""
        in_force = self._switches.now()
        return {key: in_force.decide(key, sender) for key in SWITCHES}

    def base_url(self, sender: str) -> str:
        """Return where the links of a mail stand: the narrowest host that works.

        A verified tracking domain of the sender's domain, or of one above it; what the configuration names for it; the
        verified default of the account; ``MAILTRACK_BASE_URL``.
        """
        labels = sender.rpartition("@")[2].split(".")
        for start in range(len(labels)):
            domain = ".".join(labels[start:])
            if host := self._domains.host_for(domain):
                return self._on(host)
            if start == 0 and (own := self._settings.sender_domains.get(domain, {}).get("base_url")):
                return str(own)
        default = self._domains.host_for("")
        return self._on(default) if default else self._settings.base_url

    def _on(self, host: str) -> str:
        return f"{'https' if self._settings.https else 'http'}://{host}"
