"""What the operator has decided at run time: switches, tags, and the hosts for links.

The operator is asked for each copy, so that a decision also holds for a running campaign.
"""

from __future__ import annotations

from flask_mailtrack.config import Settings
from flask_mailtrack.storage.tables.domains import DomainsInUse
from flask_mailtrack.storage.tables.switches import SWITCHES, Decision, DeclaredTags, Switches


class Operator:
    """Knows the operator's decisions. Answers from memory, with one query every few seconds. Never raises.

    :param settings: the configuration, which holds if no switch is set.
    :param switches: the switches in force.
    :param domains: the tracking domains in use.
    """

    def __init__(self, settings: Settings, switches: Switches, domains: DomainsInUse) -> None:
        self._settings = settings
        self._switches = switches
        self._domains = domains
        self._tags = DeclaredTags(settings.tags, switches)

    def check_tag(self, name: str | None) -> None:
        """Refuse a tag that is not among the declared tags.

        :raises UnknownTag: the tag is not declared, or is retired.
        """
        self._tags.check(name)

    def decisions(self, sender: str) -> dict[str, bool]:
        """Return the switches for mail of *sender*. A switch that is left to the configuration is not in the dict.

        :param sender: a normalised address.
        """
        said = self.explained(sender)
        return {key: each.value for key, each in said.items() if each.value is not None}

    def explained(self, sender: str) -> dict[str, Decision]:
        """Return all switches for mail of *sender*, each with the setting that decided."""
        in_force = self._switches.now()
        return {key: in_force.decide(key, sender) for key in SWITCHES}

    def base_url(self, sender: str) -> str:
        """Return the base URL for the links of a mail: the narrowest host that works.

        In this order: a verified tracking domain of the sender's domain, or of a domain above it; the host that the
        configuration names for the sender's domain; the verified default of the account; ``MAILTRACK_BASE_URL``.
        """
        labels = sender.rpartition("@")[2].split(".")
        hosts, default = self._domains.verified()
        for start in range(len(labels)):
            domain = ".".join(labels[start:])
            if host := hosts.get(domain):
                return self._on(host)
            if start == 0 and (own := self._settings.sender_domains.get(domain, {}).get("base_url")):
                return str(own)
        return self._on(default) if default else self._settings.base_url

    def _on(self, host: str) -> str:
        return f"{'https' if self._settings.https else 'http'}://{host}"
