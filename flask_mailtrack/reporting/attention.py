"""What an operator should look at: each with its number, its usual value, and the selection of what is behind it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask_mailtrack.phrases import Numeral, Phrase
from flask_mailtrack.storage.drain.health import OLD_SECONDS, Health
from flask_mailtrack.storage.tables.domains import DomainRow, urgency

from .answers import FEW
from .decisions import STATUSES
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
_BOUNCED, _SPAM = 0.02, 0.001
"""Well below what providers bear: Amazon SES reviews a sender at 5 % and 0.1 %, Gmail asks for less than 0.1 %."""
_MACHINES = 0.5


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing to look at."""

    kind: str
    """``opens``, ``clicks``, ``unsubscribes``, ``failed``, ``bounced``, ``complained``, ``machines``, ``domain``,
    ``certificate``, ``journal`` or ``quarantine``."""
    level: str
    """``error`` or ``warning``."""
    about: str
    """The mail, the domain, or empty."""
    number: float
    """A rate, from 0 to 1; days until a certificate ends; seconds or records that wait."""
    usual: float | None
    """The same number as it usually is, or as it may be."""
    text: Phrase
    """A sentence in English, which a page can say in other languages."""
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
    totals, found = mail.totals, _tallies(mail, before, moment)
    failed = totals.failed / totals.tried if totals.tried >= FEW else 0.0
    if failed > _FAILED:
        text = Phrase(
            "%(rate)s of %(copies)s copies of “%(mail)s” failed.",
            rate=Numeral(f"{failed:.1%}"),
            copies=totals.tried,
            mail=mail.subject,
        )
        found.insert(0, Concern("failed", "error", mail.subject, failed, _FAILED, text, mail.selection))
    found = [*_returned(mail), *found]
    machines = totals.machine_opened.total + totals.machine_clicked.total
    hits = machines + totals.opened.total + totals.clicked.total
    hits += totals.unidentified_opens + totals.unidentified_clicks
    if hits >= FEW and machines / hits > _MACHINES:
        text = Phrase(
            "%(rate)s of %(hits)s opens and clicks of “%(mail)s” were machines'.",
            rate=Numeral(f"{machines / hits:.0%}"),
            hits=hits,
            mail=mail.subject,
        )
        found.append(Concern("machines", "warning", mail.subject, machines / hits, _MACHINES, text, mail.selection))
    return found


def _returned(mail: SeriesMail) -> Iterator[Concern]:
    """Yield whether too much of a mail came back, or was called spam."""
    for kind, tally, most in (
        ("bounced", mail.totals.bounced, _BOUNCED),
        ("complained", mail.totals.complained, _SPAM),
    ):
        rate = tally.rate or 0
        if tally.of >= FEW and rate > most:
            values: dict[str, Any] = {"rate": Numeral(f"{rate:.2%}"), "mail": mail.subject}
            text = (
                Phrase("%(rate)s of “%(mail)s” came back.", **values)
                if kind == "bounced"
                else Phrase("%(rate)s of “%(mail)s” was called spam.", **values)
            )
            yield Concern(kind, "error", mail.subject, rate, most, text, mail.selection)


def _tallies(mail: SeriesMail, before: Sequence[SeriesMail], moment: datetime) -> list[Concern]:
    """Return what is unusual about the opens, clicks and unsubscribes of a mail."""
    found: list[Concern] = []
    for kind, name in (("opens", "opened"), ("clicks", "clicked")):
        tally = getattr(mail.totals, name)
        usual = usual_rate(before, name)
        late = moment - mail.last >= _SETTLED
        if late and usual and tally.of >= FEW and tally.rate < _LOW * usual:
            text = _low(kind, mail.subject, Numeral(f"{tally.rate:.1%}"), Numeral(f"{usual:.1%}"))
            found.append(Concern(kind, "warning", mail.subject, tally.rate, usual, text, mail.selection))
    gone, usual = mail.totals.unsubscribed, usual_rate(before, "unsubscribed")
    left = gone.rate if gone.unique >= _LEAVING else None
    if usual is not None and left and left > _MANY_TIMES * max(usual, _SCARCELY):
        text = Phrase(
            "%(rate)s left by “%(mail)s”; usual is %(usual)s.",
            rate=Numeral(f"{left:.2%}"),
            mail=mail.subject,
            usual=Numeral(f"{usual:.2%}"),
        )
        found.append(Concern("unsubscribes", "error", mail.subject, left, usual, text, mail.selection))
    return found


def _low(kind: str, mail: str, rate: Numeral, usual: Numeral) -> Phrase:
    if kind == "opens":
        return Phrase("%(rate)s opened “%(mail)s”; usual is %(usual)s.", rate=rate, mail=mail, usual=usual)
    return Phrase("%(rate)s clicked “%(mail)s”; usual is %(usual)s.", rate=rate, mail=mail, usual=usual)


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
            text = Phrase(
                "%(host)s is %(status)s. %(reason)s",
                host=domain.host,
                status=STATUSES[domain.status],
                reason=domain.status_reason,
            )
            found.append(Concern("domain", "error", domain.host, hours, 0, text))
        if (passed := urgency(domain.certificate_ends, moment)) and domain.certificate_ends:
            days = (domain.certificate_ends - moment).total_seconds() / 86_400
            level = "error" if passed > 1 else "warning"
            text = Phrase.counted(
                max(0, int(days)),
                "The certificate of %(host)s ends in %(number)s day.",
                "The certificate of %(host)s ends in %(number)s days.",
                host=domain.host,
            )
            found.append(Concern("certificate", level, domain.host, days, 21, text))
    return found


def of_journal(health: Health) -> list[Concern]:
    """Return what waits, and what the database has refused."""
    found = [Concern("journal", "error", "", number, usual, text) for number, usual, text in _troubles(health)]
    if health.bad:
        level = "error" if health.refused_optouts else "warning"
        text = Phrase.counted(
            health.bad,
            "%(number)s record was refused: see flask mailtrack recover --quarantine.",
            "%(number)s records were refused: see flask mailtrack recover --quarantine.",
        )
        found.append(Concern("quarantine", level, "", health.bad, 0, text))
    return found


def _troubles(health: Health) -> Iterator[tuple[float, float, Phrase]]:
    if health.oldest_seconds > OLD_SECONDS:
        text = Phrase.counted(
            health.rows,
            "%(number)s record waits to be stored, the oldest for %(time)s.",
            "%(number)s records wait to be stored, the oldest for %(time)s.",
            time=timedelta(seconds=health.oldest_seconds),
        )
        yield health.oldest_seconds, OLD_SECONDS, text
    if health.last_error:
        yield 1, 0, Phrase("The last run of the drain failed: %(error)s.", error=health.last_error)
    if health.lost:
        text = Phrase.counted(
            health.lost,
            "%(number)s record is only in the log: see flask mailtrack recover.",
            "%(number)s records are only in the log: see flask mailtrack recover.",
        )
        yield health.lost, 0, text
    for problem in health.problems:
        yield 1, 0, problem
