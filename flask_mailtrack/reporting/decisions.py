"""What operators have decided, as ``flask mailtrack check`` and ``status`` tell it: switches and tracking domains."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from flask_mailtrack.destination import host_of
from flask_mailtrack.events import VERIFIED, now
from flask_mailtrack.storage.tables.domains import DomainRow, urgency
from flask_mailtrack.storage.tables.switch_status import SwitchStatus

from .check import Finding


def decided(state: Any) -> Iterator[Finding]:
    """Yield all findings about an app.

    :param state: its :class:`~flask_mailtrack.state.State`.
    """
    found = state.administration
    # Asked first, so that what is said of the reading is said of this one.
    scopes, rows = found.settings.overview(), found.in_use.now()
    yield from switch_findings(scopes, found.switches.snapshot.trouble(), paused=found.settings.paused)
    configured = set(map(host_of, state.settings.base_urls()))
    yield from domain_findings(rows, configured, found.in_use.snapshot.trouble(), can_check=found.domains.can_check)


def switch_findings(
    scopes: Mapping[str, Sequence[SwitchStatus]], trouble: str = "", *, paused: bool = False
) -> Iterator[Finding]:
    """Yield what holds in each scope.

    :param scopes: as :meth:`.OperatorSettings.overview` returns it.
    :param trouble: why what is in force cannot be read.
    """
    if trouble:
        yield Finding("C63", "warning", trouble)
    if paused:
        yield Finding("C63", "warning", "tracking is paused: nothing is tracked, and hits are thrown away")
    for scope, switches in scopes.items():
        yield Finding("C63", "ok", f"{scope}: {'; '.join(f'{each.key} {each.text}' for each in switches)}")


def domain_findings(
    rows: Sequence[DomainRow], configured: Collection[str], trouble: str = "", *, can_check: bool = True
) -> Iterator[Finding]:
    """Yield how each tracking domain stands.

    :param configured: the hosts that the configuration names: they are used however they stand.
    :param can_check: whether what domains are checked with is installed.
    """
    if trouble:
        yield Finding("C64", "warning", trouble)
    if rows and not can_check:
        cure = "pip install 'flask-mailtrack[domains]'"
        yield Finding("C64", "warning", f"tracking domains are not watched, as dnspython is missing: {cure}")
    moment = now()
    for row in rows:
        yield Finding("C64", *_said(row, configured, moment))


def _said(row: DomainRow, configured: Collection[str], moment: datetime) -> tuple[str, str]:
    status = row.status.replace("_", " ")
    if row.status == VERIFIED:
        if row.certificate_ends is None or not (urgent := urgency(row.certificate_ends, moment)):
            return "ok", f"{row.host} is verified"
        left = max(0, (row.certificate_ends - moment).days)
        cure = f"renew it {'at once' if urgent > 1 else 'soon'}"
        return "warning", f"{row.host} is verified, but its certificate ends in {left} days: {cure}"
    if row.host in configured:
        text = f"links stand on {row.host}, as the configuration says, which is {status}: {row.status_reason}"
        return "error" if row.checked_at else "ok", text
    if row.used:
        users = ", ".join([*row.sender_domains, *(["the account"] if row.account_default else [])])
        fallen = f"mail of {users} carries its links on the next wider host that works"
        return "warning", f"{row.host} is {status}, so {fallen}: {row.status_reason}"
    return "ok", f"{row.host} is {status}, and no mail uses it"
