"""The operator's decisions of one app, put together, and the watch over its tracking domains.

The process that drains also keeps the watch, after runs of the drain and without delaying them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.drain.chores import Chore
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.domains import DomainsInUse, DomainTable
from flask_mailtrack.storage.tables.snapshot import Snapshot
from flask_mailtrack.storage.tables.switches import DeclaredTags, Switches
from flask_mailtrack.tokens import Signer

from .domain_check import DomainChecker
from .operator_settings import OperatorSettings, Tags
from .tracking_domains import Domains

log: logging.Logger = logging.getLogger("flask_mailtrack.domains")

LOOK_SECONDS = 30.0
"""Seconds between two looks for due checks. A domain that fails for certain must be left within ten minutes. Nine of
them pass before the second check, and some seconds in the check and before the next run of the drain."""


class DomainWatch(Chore):
    """Has due domains checked, by a thread of its own, so that a slow name server does not delay the drain.

    :param domains: of the app.
    """

    def __init__(self, domains: Domains) -> None:
        self._domains = domains
        trouble = "the tracking domains cannot be watched"
        super().__init__("mailtrack-domains", LOOK_SECONDS, lambda: domains.watch_if_any(), trouble, log)

    def wake(self) -> None:
        """Begin a look for due checks, if it is time. Returns at once, and never raises."""
        if self._domains.can_check:
            super().wake()


@dataclass(frozen=True, eq=False)
class Administration:
    """The settings and the domains, with their parts for the send."""

    switches: Switches
    settings: OperatorSettings
    in_use: DomainsInUse
    domains: Domains
    tags: Tags
    watch: DomainWatch

    @property
    def snapshots(self) -> tuple[Snapshot[Any], ...]:
        """The last readings of the settings and the domains."""
        return self.switches.snapshot, self.in_use.snapshot

    @classmethod
    def of(
        cls,
        settings: Settings,
        signer: Signer,
        database: Database,
        announcer: Announcer,
        senders: frozenset[str],
    ) -> Administration:
        """Return the administration of one app.

        :param announcer: tells the host of each change after it is committed.
        :param senders: domains of senders that the host names elsewhere, such as in ``MAIL_DEFAULT_SENDER``.
        """
        switches, table = Switches(database), DomainTable(database)
        in_use = DomainsInUse(table)
        configured = frozenset(map(host_of, settings.base_urls()))
        checker = DomainChecker(
            signer,
            settings.cname_target or urlsplit(settings.base_url).hostname or "",
            settings.url_prefix,
            settings.dns_servers,
            settings.allow_private_hosts,
            settings.https,
            settings.app_files,
        )
        known = senders | settings.sender_domains.keys()
        domains = Domains(table, in_use, checker, configured, known, announcer)
        tags = Tags(DeclaredTags(settings.tags, switches), switches, announcer)
        return cls(
            switches, OperatorSettings(switches, settings, announcer), in_use, domains, tags, DomainWatch(domains)
        )
