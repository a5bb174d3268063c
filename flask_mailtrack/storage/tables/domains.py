"""The tracking domains in the database: which of them carry links now, and who checks which of them when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from flask_mailtrack.events import VERIFIED, SettingChange, new_id
from flask_mailtrack.phrases import Phrase, kept, recalled

from .database import Database
from .snapshot import FRESH_SECONDS, Snapshot

LEASE = timedelta(minutes=10)
"""How long one machine has for the check of a host, all time-outs in it, before another may take it over."""
WARN_DAYS = (21, 7)
"""Days before the end of a certificate from which on it is told of, and then is urgent."""


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A row of ``mailtrack_domain``; see :class:`~flask_mailtrack.models.DomainMixin`."""

    host: str
    sender_domains: tuple[str, ...]
    account_default: bool
    target: str
    status: str
    status_reason: Phrase
    status_since: datetime
    findings: tuple[Mapping[str, Any], ...]
    """Texts in them are phrases, as that of the status is."""
    certificate_ends: datetime | None
    failing_since: datetime | None
    definite_since: datetime | None
    checked_at: datetime | None
    check_at: datetime | None
    created_by: str
    created_at: datetime

    @property
    def used(self) -> bool:
        """Whether new mail carries links on the host as soon as it is verified."""
        return self.account_default or bool(self.sender_domains)


_COLUMNS = tuple(DomainRow.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class DomainStep:
    """One thing that an operator did with a tracking domain.

    :param action: ``created``, ``attached``, ``detached``, ``checked`` or ``removed``.
    :param sender_domain: whose mail it was about; empty: of ``attached`` and ``detached``, all other mail.
    :param status: of a check: what the domain was found to be.
    :param by: the author; empty: nobody was named.
    """

    host: str
    action: str
    sender_domain: str
    status: str
    by: str
    at: datetime


HISTORY = "tracking"
"""Scope in the table of settings. Such a row is marked as replaced at once, so it is in force as no setting."""
_LONGEST = 320


def urgency(ends: datetime | None, moment: datetime) -> int:
    """Return how many of :data:`WARN_DAYS` a certificate has passed: 0, 1 (renew it soon) or 2 (at once)."""
    return sum(ends - moment < timedelta(days=days) for days in WARN_DAYS) if ends else 0


class DomainTable:
    """Reads and writes the rows. Everything raises ``SQLAlchemyError`` if the database cannot do it now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self) -> list[DomainRow]:
        """Return all rows, by host."""
        table = self._database.domain
        return list(map(_row, self._database.rows(select(*_columns(table)).order_by(table.c.host))))

    def find(self, host: str) -> DomainRow | None:
        """Return the row of *host*, if there is one."""
        table = self._database.domain
        found = self._database.rows(select(*_columns(table)).where(table.c.host == host))
        return _row(found[0]) if found else None

    def add(self, row: DomainRow, step: DomainStep | None = None) -> bool:
        """Add a row, and say whether nobody has added the host before.

        :param step: what is kept of it for the history, in the same transaction; likewise below.
        """
        table = self._database.domain
        values = _values(row) | self._database.host.values(table, row, {})
        try:
            with self._database.transaction() as connection:
                connection.execute(insert(table).values(values))
                self._keep(connection, step)
        except IntegrityError:  # of which there are others
            if not self._database.rows(select(table.c.host).where(table.c.host == row.host)):
                raise
            return False
        return True

    def change(self, host: str, step: DomainStep | None = None, **values: Any) -> None:
        """Change columns of a row."""
        table = self._database.domain
        with self._database.transaction() as connection:
            connection.execute(update(table).where(table.c.host == host).values(**_as_kept(values)))
            self._keep(connection, step)

    def remove(self, host: str, step: DomainStep | None = None) -> None:
        """Delete a row."""
        table = self._database.domain
        with self._database.transaction() as connection:
            connection.execute(delete(table).where(table.c.host == host))
            self._keep(connection, step)

    def history(self, host: str, most: int) -> list[DomainStep]:
        """Return what operators did, the newest first.

        :param host: only with this one; empty: with any, also with those that are removed.
        """
        table = self._database.setting
        names = ("subject", "key", "value", "changed_by", "changed_at")
        query = select(*(table.c[name] for name in names)).where(table.c.scope == HISTORY)
        if host:
            query = query.where(or_(table.c.subject == host, table.c.subject.startswith(f"{host} ", autoescape=True)))
        found = []
        for subject, action, status, by, at in self._database.rows(query.order_by(table.c.id.desc()).limit(most)):
            name, _, sender_domain = subject.partition(" ")
            found.append(DomainStep(name, action, sender_domain, status, by, at))
        return found

    def _keep(self, connection: Connection, step: DomainStep | None) -> None:
        if step is None:
            return
        table = self._database.setting
        subject = f"{step.host} {step.sender_domain}".strip()[:_LONGEST]
        change = SettingChange(new_id(), HISTORY, subject, step.action, step.status, step.by[:_LONGEST], step.at)
        values = {name: value for name, value in change._asdict().items() if name != "before"}
        theirs = self._database.host.values(table, change, {})
        connection.execute(insert(table).values(**values, replaced_at=step.at, **theirs))

    def due(self, moment: datetime) -> list[str]:
        """Return the hosts whose next check is due, and which nobody checks just now."""
        query = select(self._database.domain.c.host).where(*self._due(moment))
        return [str(row[0]) for row in self._database.rows(query.order_by(self._database.domain.c.check_at))]

    def lease(self, host: str, moment: datetime) -> bool:
        """Take the check of *host* for this machine, and say whether no other has it, or has just made it."""
        table = self._database.domain
        mine = update(table).where(table.c.host == host, *self._due(moment)).values(lease_until=moment + LEASE)
        with self._database.transaction() as connection:
            return bool(connection.execute(mine).rowcount)

    def _due(self, moment: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        table = self._database.domain
        free = or_(table.c.lease_until.is_(None), table.c.lease_until < moment)
        return free, or_(table.c.check_at.is_(None), table.c.check_at <= moment)

    def has_sent(self, domain: str) -> bool:
        """Say whether mail of a sender domain, or of one below it, has been sent."""
        sender = self._database.message.c.sender
        below = or_(sender.endswith(f"@{domain}", autoescape=True), sender.endswith(f".{domain}", autoescape=True))
        return bool(self._database.rows(select(exists().where(below)))[0][0])

    def mails_since(self, row: DomainRow) -> int:
        """Return how many tracked mails may have links on a host: those of its sender domains since it was made."""
        message = self._database.message
        tracked = or_(message.c.tracks_opens, message.c.tracks_clicks)
        query = select(func.count()).where(message.c.created_at >= row.created_at, tracked)
        if not row.account_default:
            ends = [message.c.sender.endswith(f"@{domain}", autoescape=True) for domain in row.sender_domains]
            query = query.where(or_(*ends)) if ends else query
        return int(self._database.rows(query)[0][0])


class DomainsInUse:
    """The hosts that carry links now; never asked of the database while a reader waits.

    :param table: where the domains are.
    """

    def __init__(self, table: DomainTable, fresh_seconds: float = FRESH_SECONDS) -> None:
        rows: tuple[DomainRow, ...] = ()
        self.snapshot: Snapshot[tuple[DomainRow, ...]] = Snapshot(
            Phrase("tracking domains"), lambda: tuple(table.rows()), rows, fresh_seconds
        )

    def now(self) -> tuple[DomainRow, ...]:
        """Return all rows. Never raises: before the first reading there are none."""
        return self.snapshot.now()

    def forget(self) -> None:
        """Read anew at the next question."""
        self.snapshot.forget()

    def verified(self) -> tuple[Mapping[str, str], str]:
        """Return the verified hosts by their sender domains, in A-labels; and that of the account, empty if none is."""
        rows = [row for row in reversed(self.snapshot.now()) if row.status == VERIFIED]
        hosts = {domain: row.host for row in rows for domain in row.sender_domains}
        return hosts, next((row.host for row in reversed(rows) if row.account_default), "")

    def known(self, host: str) -> bool:
        """Say whether *host* is one of the tracking domains, verified or not: for a server that wants a certificate."""
        return self._remembers(host) or any(row.host == host for row in self.now())

    def may_be_ours(self, host: str) -> bool:
        """Say whether a reader may have come by a link on *host*; from memory, as no reader waits for a database.

        As long as nobody can say that *host* is not ours, it may be: a link that is out must lead.
        """
        if self._remembers(host):
            return True
        sure = self.snapshot.sure
        self.snapshot.renew()
        return not sure

    def _remembers(self, host: str) -> bool:
        return any(row.host == host for row in self.snapshot.last)


def _columns(table: Any) -> Iterator[Any]:
    return (table.c[name] for name in _COLUMNS)


def _values(row: DomainRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return _as_kept(values | {"sender_domains": list(row.sender_domains)})


def _row(values: Sequence[Any]) -> DomainRow:
    given = dict(zip(_COLUMNS, values, strict=True))
    given["sender_domains"] = tuple(given["sender_domains"] or ())
    given["status_reason"] = recalled(given["status_reason"])
    given["findings"] = tuple(
        {name: recalled(str(text)) for name, text in each.items()} for each in given["findings"] or ()
    )
    return DomainRow(**given)


def _as_kept(values: dict[str, Any]) -> dict[str, Any]:
    """Return values of a row with their phrases in plain text."""
    changed: dict[str, Any] = {}
    if "status_reason" in values:
        changed["status_reason"] = kept(values["status_reason"])
    if "findings" in values:
        changed["findings"] = [{name: kept(text) for name, text in each.items()} for each in values["findings"]]
    return values | changed
