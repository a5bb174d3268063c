"""Tracking domains: the whole life of one, from its name to its removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from flask_mailtrack.administration.domain_check import DomainFinding, DomainStatus
from flask_mailtrack.administration.host_names import LONGEST, SHORTEST, caddy_block, is_host_name, nginx_block
from flask_mailtrack.administration.tracking_domains import Domain
from flask_mailtrack.errors import DomainError
from flask_mailtrack.patience import Errand
from flask_mailtrack.storage.tables.domains import urgency

from .desk import Desk
from .route import Route
from .tenancy import Tenancy

CHECK_SECONDS = 8.0
"""Seconds that a page waits for a check. A check of a host that hangs goes on without the page."""
PREFIX = r"(?=.*[A-Za-z\-])[A-Za-z0-9]([A-Za-z0-9\-]*[A-Za-z0-9])"
"""What a browser lets pass as a prefix; the rule itself is :func:`~.host_names.tracking_host`."""
_SLOW = timedelta(days=1)
_STEPS = 30
_LEVELS = {"ok": ("ok", "✓", "passed"), "warning": ("warn", "!", "needs attention"), "error": ("bad", "✕", "failed")}
_UNKNOWN = ("warn", "!", "nobody can say")
_COLUMNS = ("host", "status", "used by", "account default", "target", "reason", "certificate ends", "checked at")


@dataclass(frozen=True, slots=True)
class ShownDomain:
    """A tracking domain, as the viewer may know it.

    :param users: the sender domains of the viewer that use the host.
    :param others: whether somebody else does, too.
    :param mark: class, sign and word of its state.
    """

    domain: Domain
    users: tuple[str, ...]
    others: bool
    mark: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """One check of a domain.

    :param findings: nothing while the check before has not passed.
    """

    title: str
    about: str
    findings: tuple[DomainFinding, ...]


@dataclass(frozen=True, slots=True)
class Premises:
    """The tracking domains of a viewer, and the sender domains that may use them."""

    tenancy: Tenancy
    lines: tuple[ShownDomain, ...]
    senders: tuple[str, ...]
    sent: dict[str, int]

    def find(self, host: str) -> ShownDomain | None:
        """Return one domain."""
        return next((line for line in self.lines if line.domain.host == host), None)


def premises_of(desk: Desk) -> Premises:
    """Return what the viewer may see."""
    sent = {line.name or "": line.totals.out for line in desk.reports.sender_domains().lines}
    tenancy = desk.tenancy(sent)
    found = [domain for domain in desk.state.administration.domains.list() if tenancy.shows(domain)]
    senders = sorted({*sent, *desk.state.settings.sender_domains} - {""})
    offered = tuple(name for name in senders if is_host_name(name) and tenancy.owns(name))
    return Premises(tenancy, tuple(_line(desk, domain, tenancy) for domain in found), offered, sent)


def domains(desk: Desk) -> ResponseReturnValue:
    """Show all tracking domains, and the form for another one."""
    premises = premises_of(desk)
    if desk.wants_csv:
        return desk.csv("domains", _COLUMNS, [_row(line) for line in premises.lines])
    return _list(desk, premises)


def add(desk: Desk) -> ResponseReturnValue:
    """Make a tracking domain, or give the form again."""
    premises, given = premises_of(desk), request.form
    primary, prefix = given.get("primary", "").strip(), given.get("prefix", "").strip()
    if primary not in premises.senders:
        return _list(desk, premises, wrong={"primary": desk.t("Choose a sender domain of the list.")})
    try:
        made = desk.state.administration.domains.create(primary, prefix, by=desk.author)
    except DomainError as error:
        return _list(desk, premises, wrong={"prefix": desk.cause(error)})
    return desk.back("domain", "domain_added", host=made.host)


def domain(desk: Desk, host: str) -> ResponseReturnValue:
    """Show one domain: its checks, its record, its users, and whether it can go."""
    return _one(desk, *_asked(desk, host))


def check(desk: Desk, host: str) -> ResponseReturnValue:
    """Check a domain now."""
    _, line = _held(desk, host)
    if not desk.state.administration.domains.can_check:
        return desk.back("domain", "domain_unchecked", host=host)
    check, author = desk.state.administration.domains.check, desk.author
    done = Errand(lambda: check(line.domain.host, by=author), f"check-{line.domain.host}").wait(
        CHECK_SECONDS, here=_alone(desk)
    )
    return desk.back("domain", "domain_checked" if done else "domain_checking", host=host)


def records(desk: Desk, host: str) -> ResponseReturnValue:
    """Look up the mail records of the sender domains that use a domain."""
    premises, line = _held(desk, host)
    if not desk.state.administration.domains.can_check:
        return desk.back("domain", "domain_unchecked", host=host)
    look_up = desk.state.administration.domains.mail_records

    def work() -> list[DomainFinding]:
        return [finding for name in line.users for finding in look_up(name)]

    found = Errand(work, f"records-{line.domain.host}").wait(CHECK_SECONDS, here=_alone(desk))
    if found is None:
        return desk.back("domain", "domain_checking", host=host)
    return _one(desk, premises, line, records=[(finding, _mark(finding)) for finding in found])


def use(desk: Desk, host: str) -> ResponseReturnValue:
    """Put the links of a sender domain, or of the account, on a domain."""
    _, line, sender = _asked_with_sender(desk, host)
    desk.state.administration.domains.attach(line.domain.host, sender, by=desk.author)
    return desk.back("domain", "domain_used", host=host)


def leave(desk: Desk, host: str) -> ResponseReturnValue:
    """Take a domain away from a sender domain, or from the account."""
    _, line, sender = _asked_with_sender(desk, host)
    desk.state.administration.domains.detach(line.domain.host, sender, by=desk.author)
    return desk.back("domain", "domain_left", host=host)


def remove(desk: Desk, host: str) -> ResponseReturnValue:
    """Remove a domain, unless something stands against it."""
    premises, line = _held(desk, host)
    if not premises.tenancy.holds_alone(line.domain):
        desk.missing("There is no such domain.")
    if not desk.state.administration.domains.can_check:
        return desk.back("domain", "domain_unchecked", host=host)
    try:
        desk.state.administration.domains.remove(line.domain.host, by=desk.author)
    except DomainError as error:
        return _one(desk, premises, line, refused=desk.cause(error))
    return desk.back("domains", "domain_removed")


def _list(desk: Desk, premises: Premises, wrong: dict[str, str] | None = None) -> ResponseReturnValue:
    worried = [line for line in premises.lines if line.mark[0] != "ok" and (line.users or line.others)]
    return desk.page(
        "domains.html",
        status=422 if wrong else 200,
        premises=premises,
        worried=worried,
        wrong=wrong or {},
        given=request.form,
        pattern=PREFIX,
        shortest=SHORTEST,
        longest=LONGEST,
        can_check=desk.state.administration.domains.can_check,
    )


def _one(
    desk: Desk,
    premises: Premises,
    line: ShownDomain,
    *,
    refused: str = "",
    records: Sequence[tuple[DomainFinding, tuple[str, str, str]]] = (),
) -> ResponseReturnValue:
    settings, administered = desk.state.settings, desk.state.administration.domains
    found, prefixes, files = line.domain, settings.url_prefix.every, tuple(settings.app_files)
    may_go = premises.tenancy.holds_alone(found) and not found.configured
    gone = found.checked_at is not None and found.status == DomainStatus.NOT_VERIFIED
    unused = not (line.users or line.others or found.account_default)
    waiting = found.status == DomainStatus.NOT_VERIFIED and desk.now - found.since > _SLOW
    return desk.page(
        "domain.html",
        status=422 if refused else 200,
        premises=premises,
        line=line,
        domain=found,
        steps=[(step, [(each, _mark(each)) for each in step.findings]) for step in steps_of(found, settings.https)],
        nginx=nginx_block(found.host, prefixes, files=files),
        caddy=caddy_block(found.host, prefixes, f"http://127.0.0.1:8000{prefixes[0]}/d/ask", files=files),
        history=_history(desk, premises.tenancy, found.host),
        refused=refused,
        records=records,
        may_change=desk.may("manage") and premises.tenancy.holds(found) and not found.configured,
        may_go=may_go,
        unused=unused,
        gone=gone,
        out=None if unused or found.status == DomainStatus.NOT_VERIFIED else _out(premises, line),
        waiting=waiting,
        can_check=administered.can_check,
        choices=[name for name in premises.senders if name not in line.users],
    )


def steps_of(domain: Domain, https: bool) -> list[Step]:
    """Return the checks of a domain in their order, each with what it has found."""
    steps = [
        ("dns", "DNS record", "The name leads to this app."),
        *([("tls", "TLS certificate", "Browsers trust the connection.")] if https else []),
        ("http", "Pixel, click and unsubscribe", "What comes to the tracking paths reaches this app, unchanged."),
    ]
    steps += [("app", "App links", "Phones learn which links an app opens.")] if _has(domain, "app") else []
    return [
        Step(title, about, tuple(each for each in domain.findings if each.check == name))
        for name, title, about in steps
    ]


def _has(domain: Domain, check: str) -> bool:
    return any(each.check == check for each in domain.findings)


def _line(desk: Desk, domain: Domain, tenancy: Tenancy) -> ShownDomain:
    users = tenancy.users(domain)
    return ShownDomain(domain, users, len(users) < len(domain.sender_domains), _state(desk, domain))


def _state(desk: Desk, domain: Domain) -> tuple[str, str, str]:
    if domain.status == DomainStatus.NOT_VERIFIED:
        return "bad", "✕", "Not verified"
    if domain.status == DomainStatus.PENDING:
        return "warn", "◔", "Pending"
    doubtful = any(each.level != "ok" for each in domain.findings) or urgency(domain.certificate_ends, desk.now)
    return ("warn", "!", "Verified, needs attention") if doubtful else ("ok", "✓", "Verified")


def _mark(finding: DomainFinding) -> tuple[str, str, str]:
    return _LEVELS.get(finding.level, _UNKNOWN)


def _row(line: ShownDomain) -> tuple[Any, ...]:
    domain = line.domain
    return (
        domain.host,
        domain.status.value,
        " ".join(line.users),
        domain.account_default,
        domain.record.target,
        domain.reason,
        domain.certificate_ends,
        domain.checked_at,
    )


def _asked(desk: Desk, host: str) -> tuple[Premises, ShownDomain]:
    """Return the domain that the address names. What the viewer may not see, is not there."""
    premises = premises_of(desk)
    if (line := premises.find(host)) is None:
        desk.missing("There is no such domain.")
    return premises, line


def _held(desk: Desk, host: str) -> tuple[Premises, ShownDomain]:
    """Return a domain that the viewer may change."""
    premises, line = _asked(desk, host)
    if not premises.tenancy.holds(line.domain):
        desk.missing("There is no such domain.")
    return premises, line


def _asked_with_sender(desk: Desk, host: str) -> tuple[Premises, ShownDomain, str]:
    """Return a domain, and the sender domain of the form; empty: the account, which no tenant has."""
    premises, line = _held(desk, host)
    sender = request.form.get("sender", "")
    fits = sender in (*premises.senders, *line.users) and premises.tenancy.owns(sender)
    if line.domain.configured or not (fits if sender else premises.tenancy.everything):
        desk.missing("There is no such sender domain.")
    return premises, line, sender


def _out(premises: Premises, line: ShownDomain) -> int:
    """Return how many messages may have links on a host, from the figures of the sender domains that use it."""
    if line.domain.account_default:
        return sum(premises.sent.values())
    of = line.users
    return sum(n for name, n in premises.sent.items() if name in of or name.endswith(tuple(f".{each}" for each in of)))


def _history(desk: Desk, tenancy: Tenancy, host: str) -> Sequence[Any]:
    """Return what operators did with a domain, as far as the viewer may know of whose mail it was about."""
    told: Any = getattr(desk.state.administration.domains, "history", None)
    steps = told(host, limit=_STEPS) if told else ()
    return [each for each in steps if not each.sender_domain or tenancy.sees(each.sender_domain)]


def _alone(desk: Desk) -> bool:
    return desk.state.database.shared


ROUTES = (
    Route("/domains", "domains", "view", domains),
    Route("/domains", "domains_add", "manage", add, ("POST",)),
    Route("/domains/<host>", "domain", "view", domain),
    Route("/domains/<host>/check", "domains_check", "manage", check, ("POST",)),
    Route("/domains/<host>/records", "domains_records", "manage", records, ("POST",)),
    Route("/domains/<host>/use", "domains_use", "manage", use, ("POST",)),
    Route("/domains/<host>/leave", "domains_leave", "manage", leave, ("POST",)),
    Route("/domains/<host>/remove", "domains_remove", "manage", remove, ("POST",)),
)
