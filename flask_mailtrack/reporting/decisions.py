"""The findings about what operators have decided: switches, and tracking domains."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from flask_mailtrack.events import VERIFIED, now
from flask_mailtrack.phrases import NOTHING, Phrase
from flask_mailtrack.storage.tables.domains import DomainRow, urgency
from flask_mailtrack.storage.tables.switches import SwitchStatus

from .remedies import Finding

STATUSES = {"not_verified": Phrase("not verified"), "pending": Phrase("pending"), VERIFIED: Phrase("verified")}
"""How the status of a tracking domain is said within a sentence."""


def switch_findings(
    scopes: Mapping[str, Sequence[SwitchStatus]], trouble: Phrase = NOTHING, *, paused: bool = False
) -> Iterator[Finding]:
    """Yield the switches in force of each scope.

    :param scopes: as :meth:`.OperatorSettings.overview` returns it.
    :param trouble: the cause for which the settings cannot be read.
    """
    if trouble:
        yield Finding("C63", "warning", trouble)
    if paused:
        text = Phrase("tracking is paused: nothing is tracked, and hits are thrown away")
        yield Finding("C63", "warning", text)
    for scope, switches in scopes.items():
        opens, clicks, unsubscribe = (each.text for each in switches)
        text = Phrase(
            "%(scope)s: opens %(opens)s; clicks %(clicks)s; unsubscribe %(unsubscribe)s",
            scope=Phrase("account") if scope == "account" else scope,
            opens=opens,
            clicks=clicks,
            unsubscribe=unsubscribe,
        )
        yield Finding("C63", "ok", text)


def domain_findings(
    rows: Sequence[DomainRow], configured: Collection[str], trouble: Phrase = NOTHING, *, can_check: bool = True
) -> Iterator[Finding]:
    """Yield the state of each tracking domain.

    :param configured: the hosts that the configuration names. They are used in any state.
    :param can_check: whether dnspython is installed, without which no domain can be checked.
    """
    if trouble:
        yield Finding("C64", "warning", trouble)
    if rows and not can_check:
        cure = "pip install 'flask-mailtrack[domains]'"
        text = Phrase("tracking domains are not watched, as dnspython is missing: %(cure)s", cure=cure)
        yield Finding("C64", "warning", text)
    moment = now()
    for row in rows:
        yield Finding("C64", *_standing(row, configured, moment))


def _standing(row: DomainRow, configured: Collection[str], moment: datetime) -> tuple[str, Phrase]:
    host, reason = row.host, row.status_reason
    status = STATUSES[row.status]
    if row.status == VERIFIED:
        if row.certificate_ends is None or not (urgent := urgency(row.certificate_ends, moment)):
            return "ok", Phrase("%(host)s is %(status)s", host=host, status=status)
        return "warning", _ending(host, max(0, (row.certificate_ends - moment).days), urgent > 1)
    if row.host in configured:
        text = Phrase(
            "links stand on %(host)s, as the configuration says, which is %(status)s: %(reason)s",
            host=host,
            status=status,
            reason=reason,
        )
        return "error" if row.checked_at else "ok", text
    if row.used:
        text = Phrase(
            "%(host)s is %(status)s, so mail of %(users)s carries its links on the next wider host that works: "
            "%(reason)s",
            host=host,
            status=status,
            users=[*row.sender_domains, *([Phrase("the account")] if row.account_default else [])],
            reason=reason,
        )
        return "warning", text
    return "ok", Phrase("%(host)s is %(status)s, and no mail uses it", host=host, status=status)


def _ending(host: str, days: int, urgent: bool) -> Phrase:
    return Phrase.counted(
        days,
        "%(host)s is verified, but its certificate ends in %(number)s day: %(cure)s",
        "%(host)s is verified, but its certificate ends in %(number)s days: %(cure)s",
        host=host,
        cure=Phrase("renew it at once") if urgent else Phrase("renew it soon"),
    )
