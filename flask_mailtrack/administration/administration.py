"""What an operator decides in one app, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask_mailtrack.config import Settings
from flask_mailtrack.destination import host_of
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.domains import DomainsInUse, DomainTable
from flask_mailtrack.storage.tables.snapshot import Snapshot
from flask_mailtrack.storage.tables.switches import DeclaredTags, Switches
from flask_mailtrack.tokens import Signer

from .domain_check import DomainChecker
from .domain_watch import DomainWatch
from .operator_settings import OperatorSettings
from .tags import Tags
from .tracking_domains import Domains


@dataclass(frozen=True, eq=False)
class Administration:
    """The settings and the domains, and what sends ask of them."""

    switches: Switches
    settings: OperatorSettings
    in_use: DomainsInUse
    domains: Domains
    tags: Tags
    watch: DomainWatch

    @property
    def snapshots(self) -> tuple[Snapshot[Any], ...]:
        """What was read last of the settings and the domains."""
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
        """Return what one app has.

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
