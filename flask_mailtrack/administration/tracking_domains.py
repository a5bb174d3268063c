"""Tracking domains: make, check, watch, use, leave and remove them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask_mailtrack.errors import DomainError
from flask_mailtrack.events import DomainChange, now
from flask_mailtrack.phrases import NOTHING, Phrase
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.tables.domains import DomainRow, DomainsInUse, DomainStep, DomainTable, urgency

from .dns_records import Names, RecordState, installed
from .domain_check import DomainChecker, DomainFinding, DomainReport, DomainStatus
from .host_names import Cname, advice, host_name, is_host_name, tracking_host
from .sender_records import mail_records

log: logging.Logger = logging.getLogger("flask_mailtrack.domains")

RECHECK = timedelta(minutes=9)
"""The time until the second look at a definite failure. If it lasts, the domain is left, within ten minutes in all."""
PATIENCE = timedelta(days=2)
"""The time for which a verified domain is used although its checks prove nothing."""
DAILY, HOURLY, OFTEN = timedelta(days=1), timedelta(hours=1), timedelta(minutes=10)
CONFIGURED = "configuration"


@dataclass(frozen=True, slots=True)
class Domain:
    """A tracking domain, as an operator sees it.

    :param record: the CNAME record by which the host leads here.
    :param sender_domains: the sender domains whose mail carries links on the host.
    :param account_default: whether all other mail carries links on the host.
    :param status: ``not_verified``, ``pending`` or ``verified``.
    :param reason: the reason of the status, as a sentence.
    :param findings: the findings of the last check.
    :param configured: the configuration names the host. Such a host is used as configured, and never left or removed.
    :param advice: advice about the name; empty most often.
    """

    host: str
    record: Cname
    sender_domains: tuple[str, ...]
    account_default: bool
    status: DomainStatus
    reason: Phrase
    since: datetime
    findings: tuple[DomainFinding, ...]
    certificate_ends: datetime | None
    checked_at: datetime | None
    configured: bool
    advice: str = ""


class Domains:
    """The tracking domains of one app.

    :param table: holds the domains.
    :param in_use: the domains for the send, told of each change.
    :param checker: checks one host.
    :param configured: the hosts that the configuration names.
    :param senders: the sender domains that the configuration names.
    :param announcer: tells the host of each change of a status, after it is committed.
    """

    def __init__(
        self,
        table: DomainTable,
        in_use: DomainsInUse,
        checker: DomainChecker,
        configured: Collection[str],
        senders: Collection[str],
        announcer: Announcer,
    ) -> None:
        self._table = table
        self._in_use = in_use
        self._checker = checker
        self._configured = frozenset(configured)
        self._named = frozenset(filter(is_host_name, self._configured))
        """The configured hosts with a name. On a developer's machine the host may be an address."""
        self._senders = frozenset(senders)
        self._announcer = announcer

    def create(self, primary: str, prefix: str, *, by: str = "") -> Domain:
        """Make a tracking domain below a sender domain. Mail of the sender domain will use it.

        The host is not checked yet. It carries no link before :meth:`check` has verified it.

        :param primary: a sender domain that is configured or has sent mail, or a domain above one.
        :param prefix: see :func:`~.host_names.tracking_host`.
        :param by: the author.
        :return: the domain, with the record to set.
        :raises DomainError: the name breaks a rule, is taken, or nobody sends from the primary domain.
        """
        host, domain = tracking_host(primary, prefix), host_name(primary)
        if host == self._checker.target:
            raise DomainError(Phrase("%(host)s is where tracking domains point to: choose another prefix.", host=host))
        taken = DomainError(Phrase("%(host)s is taken: it is a tracking domain already.", host=host))
        if host in self._configured or self._table.find(host) is not None:
            raise taken
        known = any(each == domain or each.endswith(f".{domain}") for each in self._senders)
        if not known and not self._table.has_sent(domain):
            text = Phrase(
                "No mail is sent from %(domain)s. Choose a sender domain that is configured or has sent mail.",
                domain=domain,
            )
            raise DomainError(text)
        row = self._new(host, by, sender_domains=(domain,))
        if not self._table.add(row, _step(host, "created", by, domain)):
            raise taken  # somebody else has just taken the name
        self._in_use.forget()
        return dataclasses.replace(self._found(host), advice=advice(prefix))

    def list(self) -> list[Domain]:
        """Return all domains, with those of the configuration, by host."""
        rows = {row.host: row for row in self._table.rows()}
        unseen = {host: self._new(host, CONFIGURED) for host in self._configured - rows.keys()}
        return [self._domain(row) for _, row in sorted((unseen | rows).items())]

    def find(self, host: str) -> Domain:
        """Return one domain.

        :raises DomainError: there is none of that name.
        """
        return self._found(host_name(host))

    def check(self, host: str, *, by: str = "") -> Domain:
        """Check a host now, and keep the findings.

        Signals: ``domain_verified`` or ``domain_failed`` if the status changes so, after commit.

        :param by: the author, for the :meth:`history`; likewise below.
        :raises DomainError: there is no such domain.
        """
        name = host_name(host)
        row = self._row(name)
        self._keep(row, self._checker.check(name), now(), asked=by)
        return self._found(name)

    def attach(self, host: str, sender_domain: str = "", *, by: str = "") -> Domain:
        """Put the links of a sender domain on *host*; without one, the links of all mail without a host of its own.

        Another host of that sender domain loses it.

        :raises DomainError: there is no such domain, or it is no domain name.
        """
        row, domain = self._own_row(host), host_name(sender_domain) if sender_domain else ""
        for other in self._table.rows():
            if other.host != row.host and (domain in other.sender_domains if domain else other.account_default):
                self._detach(other, domain, by)
        step = _step(row.host, "attached", by, domain)
        if domain:
            self._table.change(row.host, step, sender_domains=sorted({*row.sender_domains, domain}))
        else:
            self._table.change(row.host, step, account_default=True)
        self._in_use.forget()
        return self._found(row.host)

    def detach(self, host: str, sender_domain: str = "", *, by: str = "") -> Domain:
        """Take *host* away from a sender domain, or as the default. Links that are out go on working.

        :raises DomainError: there is no such domain.
        """
        row = self._own_row(host)
        self._detach(row, host_name(sender_domain) if sender_domain else "", by)
        self._in_use.forget()
        return self._found(row.host)

    def obstacles(self, host: str) -> Sequence[Phrase]:
        """Return the objections to the removal of a domain, in sentences; empty: the domain can go.

        :raises DomainError: there is no such domain.
        """
        row = self._own_row(host)
        found = []
        if row.used:
            users = [*row.sender_domains, *([Phrase("the account")] if row.account_default else [])]
            found.append(Phrase("%(host)s is still used by %(users)s: detach it first.", host=row.host, users=users))
        looked = Names(self._checker.servers, allow_private=self._checker.allow_private)
        record = looked.look_up(row.host, self._checker.target)
        if record.found != RecordState.MISSING:
            text = Phrase(
                "%(host)s still has a DNS record, or that cannot be known now: %(what)s Links that are out live until "
                "the record is gone, and break after that.",
                host=row.host,
                what=record.text,
            )
            found.append(text)
        return found

    def mail_records(self, sender_domain: str) -> Sequence[DomainFinding]:
        """Return the findings about SPF, DKIM and DMARC of a sender domain. Nothing depends on them.

        :raises DomainError: *sender_domain* is not a domain name.
        """
        names = Names(self._checker.servers, allow_private=self._checker.allow_private)
        return mail_records(names, host_name(sender_domain))

    def links_out(self, host: str) -> int:
        """Return the highest possible number of mails with links on a host.

        :raises DomainError: there is no such domain.
        """
        return self._table.mails_since(self._own_row(host))

    def remove(self, host: str, *, force: bool = False, by: str = "") -> None:
        """Remove a domain.

        :param force: also if the domain is used or has a DNS record. Links that are out may break.
        :raises DomainError: there is no such domain, or there is an objection; see :meth:`obstacles`.
        """
        row = self._own_row(host)
        if not force and (found := self.obstacles(row.host)):
            raise DomainError(Phrase("%(what)s %(why)s", what=found[0], why=found[1]) if len(found) > 1 else found[0])
        self._table.remove(row.host, _step(row.host, "removed", by))
        self._in_use.forget()

    def history(self, host: str = "", *, limit: int = 100) -> Sequence[DomainStep]:
        """Return who has made, attached, detached, checked or removed domains, the newest first.

        Checks that are due are not in it: nobody asked for them.

        :param host: only this one, also if it is removed; empty: all.
        :param limit: the number of steps at most.
        """
        return self._table.history(host_name(host) if host else "", limit)

    @property
    def can_check(self) -> bool:
        """Whether dnspython is installed. Without it no host can be checked."""
        return installed()

    def watch(self) -> int:
        """Check the due hosts, each by one machine only, and return the number that this machine has checked."""
        known = {row.host for row in self._table.rows()}
        for host in sorted(self._named - known):
            self._table.add(self._new(host, CONFIGURED))
        checked = 0
        for host in self._table.due(now()):
            # The clock is read for each host, because earlier hosts may have taken minutes.
            if self._table.lease(host, now()) and (row := self._table.find(host)) is not None:
                try:
                    report = self._checker.check(host)
                except Exception:  # a mistake of ours must not stop the checks of the other hosts
                    log.exception("tracking domain %s cannot be checked", host)
                else:
                    self._keep(row, report, now())
                    checked += 1
        return checked

    def watch_if_any(self) -> int:
        """Watch the domains, if there are any. Without tracking domains, nobody outside is asked."""
        return self.watch() if len(self._named) > 1 or self._table.rows() else 0

    def _keep(self, row: DomainRow, report: DomainReport, moment: datetime, asked: str | None = None) -> None:
        """Store the findings of a check, with the status that follows.

        :param asked: who asked for it; ``None``: it was due.
        """
        after = standing(row, report, moment, lasting=row.host in self._configured)
        found = str(after.get("status", row.status))
        self._table.change(
            row.host,
            None if asked is None else _step(row.host, "checked", asked, status=found),
            **after,
            findings=[dataclasses.asdict(finding) for finding in report.findings],
            certificate_ends=report.certificate_ends or row.certificate_ends,
            checked_at=moment,
            target=self._checker.target,
            lease_until=None,
        )
        self._in_use.forget()
        _warn(row, report.certificate_ends, moment)
        status = after.get("status", row.status)
        if status == row.status:
            return
        change = DomainChange(row.host, status, row.status, after["status_reason"])
        level = logging.WARNING if row.status == DomainStatus.VERIFIED else logging.INFO
        log.log(level, "tracking domain %s is %s: %s", row.host, status.replace("_", " "), change.reason)
        self._announcer.changed(change)

    def _detach(self, row: DomainRow, domain: str, by: str) -> None:
        step = _step(row.host, "detached", by, domain)
        if domain:
            self._table.change(row.host, step, sender_domains=[each for each in row.sender_domains if each != domain])
        else:
            self._table.change(row.host, step, account_default=False)

    def _row(self, host: str) -> DomainRow:
        row = self._table.find(host)
        if row is None and host in self._configured:
            row = self._new(host, CONFIGURED)
            self._table.add(row)
        if row is None:
            known = [each.host for each in self.list()]
            raise DomainError(f"{host} is not a tracking domain. Known: {', '.join(known) or 'none'}.")
        return row

    def _own_row(self, host: str) -> DomainRow:
        """Return the row of a host that an operator may change."""
        row = self._row(host_name(host))
        if row.host in self._configured:
            raise DomainError(Phrase("%(host)s is named in the configuration: change it there.", host=row.host))
        return row

    def _found(self, host: str) -> Domain:
        return self._domain(self._row(host))

    def _new(self, host: str, by: str, sender_domains: tuple[str, ...] = ()) -> DomainRow:
        moment = now()
        nothing: dict[str, Any] = dict.fromkeys(
            ("certificate_ends", "failing_since", "definite_since", "checked_at", "check_at")
        )
        return DomainRow(
            host=host,
            sender_domains=sender_domains,
            account_default=False,
            target=self._checker.target,
            status=DomainStatus.NOT_VERIFIED,
            status_reason=Phrase("The host has not been checked yet."),
            status_since=moment,
            findings=(),
            created_by=by,
            created_at=moment,
            **nothing,
        )

    def _domain(self, row: DomainRow) -> Domain:
        return Domain(
            host=row.host,
            record=Cname(row.host, self._checker.target),
            sender_domains=row.sender_domains,
            account_default=row.account_default,
            status=DomainStatus(row.status),
            reason=row.status_reason,
            since=row.status_since,
            findings=tuple(_finding(each) for each in row.findings),
            certificate_ends=row.certificate_ends,
            checked_at=row.checked_at,
            configured=row.host in self._configured,
        )


def _step(host: str, action: str, by: str, sender_domain: str = "", status: str = "") -> DomainStep:
    return DomainStep(host, action, sender_domain, status, by, now())


def standing(row: DomainRow, report: DomainReport, moment: datetime, *, lasting: bool = False) -> dict[str, Any]:
    """Return the columns for the state of a host after a check.

    A verified host is left at the second definite failure, some minutes after the first, or after two days of answers
    that prove nothing. Other hosts take the result of the check, unless it proves nothing.

    :param lasting: the configuration names the host. It is used in any case, so a failure is reported at once.
    """
    levels = ("error", "unknown") if report.status != DomainStatus.VERIFIED else ("warning",)
    worst = next((each for each in report.findings if each.level in levels), None)
    reason = worst.text if worst else Phrase("Every check passed.")
    if report.status == DomainStatus.VERIFIED:
        good = {"failing_since": None, "definite_since": None, "check_at": moment + DAILY}
        return good | _status(row, DomainStatus.VERIFIED, reason, moment)
    if row.status != DomainStatus.VERIFIED:
        young = moment - row.status_since < DAILY
        later = {"check_at": moment + (OFTEN if young else HOURLY)}
        return later | (_status(row, report.status, reason, moment) if report.definite else {})
    since = row.failing_since or moment
    definite = (row.definite_since or moment) if report.definite else None
    certain = lasting or (definite is not None and moment - definite >= RECHECK)
    if (report.definite and certain) or moment - since >= PATIENCE:
        gone = {"failing_since": None, "definite_since": None, "check_at": moment + OFTEN}
        return gone | _status(row, report.status, reason, moment)
    soon = RECHECK if report.definite else OFTEN
    return {"failing_since": since, "definite_since": definite, "check_at": moment + soon}


def _warn(row: DomainRow, ends: datetime | None, moment: datetime) -> None:
    """Log that a certificate ends soon, once for each limit."""
    before = urgency(row.certificate_ends, row.checked_at) if row.checked_at else 0
    if ends and (after := urgency(ends, moment)) > before:
        when = "at once" if after > 1 else "soon"
        log.warning("the certificate of %s ends on %s: renew it %s", row.host, f"{ends:%Y-%m-%d}", when)


def _status(row: DomainRow, status: DomainStatus, reason: Phrase, moment: datetime) -> dict[str, Any]:
    changed = {"status": status.value, "status_since": moment} if status != row.status else {}
    return {**changed, "status_reason": reason}


def _finding(kept: Any) -> DomainFinding:
    check, level = (str(kept.get(name, "")) for name in ("check", "level"))
    return DomainFinding(check, level, kept.get("text", NOTHING), kept.get("cure", NOTHING))
