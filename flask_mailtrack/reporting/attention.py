"""What an operator should look at: each with its number, its usual value, and the selection of what is behind it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flask_mailtrack.storage.drain.health import OLD_SECONDS, Health
from flask_mailtrack.storage.tables.domains import DomainRow, urgency

from .answers import FEW
from .mailings import SeriesMail, comparable, series_of, usual_rate
from .selection import Selection

if TYPE_CHECKING:
    from .reports import Reports

LEVELS = ("error", "warning")
DAYS = 28
"""Mails are looked at that were sent since."""
_SETTLED = timedelta(hours=72)
"""Nearly all opens and clicks have come by then."""
_LOW = 0.5
"""Of the usual rate: below that, it is far under."""
_MANY_TIMES = 3
_LEAVING = 5
"""Unsubscribes of a mail below which nothing is said of them."""
_SCARCELY = 0.001
"""A usual rate below that is taken for it: three times nearly nothing is nearly nothing."""
_FAILED = 0.02
_MACHINES = 0.5


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing to look at."""

    kind: str
    """``opens``, ``clicks``, ``unsubscribes``, ``failed``, ``machines``, ``domain``, ``certificate``, ``journal`` or
    ``quarantine``."""
    level: str
    """``error`` or ``warning``."""
    about: str
    """The mail, the domain, or empty."""
    number: float
    """A rate, from 0 to 1; days until a certificate ends; seconds or records that wait."""
    usual: float | None
    """The same number as it usually is, or as it may be."""
    text: str
    selection: Selection | None = None
    """Of the mail behind it, for any other report."""


def of_mails(reports: Reports, about: Selection, moment: datetime) -> list[Concern]:
    """Return what is unusual about mails, compared to those before on the same list, or with the same tag."""
    since = about.start or moment - timedelta(days=DAYS)
    found: list[Concern] = []
    for mails in series_of(reports, about, since).values():
        for place, mail in enumerate(mails):
            if mail.at >= since:
                found += _of_mail(mail, comparable(mails[:place]), moment)
    return found


def _of_mail(mail: SeriesMail, before: Sequence[SeriesMail], moment: datetime) -> list[Concern]:
    found: list[Concern] = []
    totals, told = mail.totals, f"“{mail.subject}”"

    def concern(kind: str, number: float, usual: float | None, text: str, level: str = "warning") -> None:
        found.append(Concern(kind, level, mail.subject, number, usual, text, mail.selection))

    if totals.tried >= FEW and (rate := totals.failed / totals.tried) > _FAILED:
        concern("failed", rate, _FAILED, f"{rate:.1%} of {totals.tried} copies of {told} failed.", "error")
    for kind, name in (("opens", "opened"), ("clicks", "clicked")):
        tally = getattr(totals, name)
        usual = usual_rate(before, name)
        late = moment - mail.last >= _SETTLED
        if late and usual and tally.of >= FEW and tally.rate < _LOW * usual:
            concern(kind, tally.rate, usual, f"{tally.rate:.1%} {name} {told}; usual is {usual:.1%}.")
    gone, usual = totals.unsubscribed, usual_rate(before, "unsubscribed")
    left = gone.rate if gone.unique >= _LEAVING else None
    if usual is not None and left and left > _MANY_TIMES * max(usual, _SCARCELY):
        concern("unsubscribes", left, usual, f"{left:.2%} left by {told}; usual is {usual:.2%}.", "error")
    machines = totals.machine_opened.total + totals.machine_clicked.total
    hits = machines + totals.opened.total + totals.clicked.total
    hits += totals.unidentified_opens + totals.unidentified_clicks
    if hits >= FEW and machines / hits > _MACHINES:
        text = f"{machines / hits:.0%} of {hits} opens and clicks of {told} were machines'."
        concern("machines", machines / hits, _MACHINES, text)
    return found


def of_domains(domains: Sequence[DomainRow], moment: datetime, users: Container[str] | None = None) -> list[Concern]:
    """Return which tracking domains fail, and which certificates end.

    :param users: the sender domains whose tracking domains are told of; ``None``: all are.
    """
    found: list[Concern] = []
    for domain in domains:
        if users is not None and not any(each in users for each in domain.sender_domains):
            continue
        if domain.used and (domain.failing_since or domain.status != "verified"):
            since = domain.failing_since or domain.status_since
            hours = (moment - since).total_seconds() / 3600
            text = f"{domain.host} is {domain.status.replace('_', ' ')}. {domain.status_reason}".strip()
            found.append(Concern("domain", "error", domain.host, hours, 0, text))
        if (passed := urgency(domain.certificate_ends, moment)) and domain.certificate_ends:
            days = (domain.certificate_ends - moment).total_seconds() / 86_400
            level = "error" if passed > 1 else "warning"
            text = f"The certificate of {domain.host} ends in {max(0, int(days))} days."
            found.append(Concern("certificate", level, domain.host, days, 21, text))
    return found


def of_journal(health: Health) -> list[Concern]:
    """Return what waits, and what the database has refused."""
    found: list[Concern] = []
    if health.oldest_seconds > OLD_SECONDS:
        text = f"{health.rows} records wait to be stored, the oldest for {health.oldest_seconds:.0f} seconds."
        found.append(Concern("journal", "error", "", health.oldest_seconds, OLD_SECONDS, text))
    if health.last_error:
        found.append(Concern("journal", "error", "", 1, 0, f"The last run of the drain failed: {health.last_error}."))
    if health.lost:
        text = f"{health.lost} records are only in the log: see flask mailtrack recover."
        found.append(Concern("journal", "error", "", health.lost, 0, text))
    found += [Concern("journal", "error", "", 1, 0, problem) for problem in health.problems]
    if health.bad:
        level = "error" if health.refused_optouts else "warning"
        text = f"{health.bad} records were refused: see flask mailtrack recover --quarantine."
        found.append(Concern("quarantine", level, "", health.bad, 0, text))
    return found
