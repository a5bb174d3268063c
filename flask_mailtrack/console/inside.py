"""What goes on inside: who was taken for a machine and why, whether all is stored, and what happens just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import chain

from flask import current_app, request
from flask.typing import ResponseReturnValue

from flask_mailtrack import networks, wording
from flask_mailtrack.destination import host_of
from flask_mailtrack.languages import Words
from flask_mailtrack.patience import Errand
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.reporting.check import findings
from flask_mailtrack.reporting.decisions import domain_findings, switch_findings
from flask_mailtrack.reporting.definitions import DEFINITIONS
from flask_mailtrack.reporting.feed import NewEvent
from flask_mailtrack.reporting.remedies import Finding
from flask_mailtrack.reporting.timeline import because
from flask_mailtrack.storage.drain.health import OLD_SECONDS, Health

from .desk import Desk
from .route import Route

EVENTS = 50
REFRESH = 5
"""Seconds until the live page looks again."""
WATCH = timedelta(minutes=10)
"""How long a live page goes on alone. An open tab must not ask for ever."""
LOOK_SECONDS = 3.0
"""Seconds that the health waits for the findings, which ask the database."""
_GROUPS = (
    ("Links and keys", ("C10", "C11", "C12", "C14")),
    ("Mail", ("C13",)),
    ("Journal", ("C20", "C21", "C22", "C23", "C24", "C26", "C27", "C28")),
    ("Redis", ("C25",)),
    ("Database", ("C30", "C31", "C32")),
    ("Webhooks", ("C33", "C34")),
    ("Public routes", ("C40", "C41", "C42", "C43", "C44")),
    ("Networks and countries", ("C50", "C51")),
    ("Settings", ("C63",)),
    ("Tracking domains", ("C64",)),
)
_MARKS = {"ok": ("ok", "✓", "fine"), "warning": ("warn", "!", "needs attention"), "error": ("bad", "✕", "broken")}


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one kind.

    :param mark: class, sign and word of the worst.
    """

    title: str
    mark: tuple[str, str, str]
    findings: tuple[tuple[Finding, tuple[str, str, str]], ...]


def machines(desk: Desk) -> ResponseReturnValue:
    """Show how opens and clicks divide among people and machines, and by which rules."""
    found = desk.reports.verdicts(desk.look.happened)
    if desk.wants_csv:
        header = ("verdict", "rule", "in words", "opens", "clicks", "people", "machines", "unknown")
        rows = [
            (r.verdict, r.reason, because([r.reason]), r.opens, r.clicks, r.people, r.machines, r.unknown)
            for r in found.rows
        ]
        return desk.csv("machines", header, rows)
    shares = {name: sum(getattr(each, name) for each in found.rows) for name in ("people", "machines", "unknown")}
    return desk.page(
        "machines.html",
        rules=[(each, because([each.reason])) for each in found.rows],
        shares=shares,
        total=sum(shares.values()),
        listed=_listed(desk),
        defined=DEFINITIONS,
    )


def health(desk: Desk) -> ResponseReturnValue:
    """Show whether all is stored, without a need for the database."""
    state = desk.state
    found = state.health()
    groups: list[Group] | None = []
    if desk.scope is None:
        app = current_app._get_current_object()  # type: ignore[attr-defined]

        def look() -> list[Finding]:
            with app.app_context():
                administered = state.administration
                checked = findings(app, state.settings, state.database, state.journals, state.stream, state.unwatched)
                scopes, rows = administered.settings.overview(), administered.in_use.now()
                trouble = administered.switches.snapshot.trouble(), administered.in_use.snapshot.trouble()
                decided = switch_findings(scopes, trouble[0], paused=administered.settings.paused)
                configured = set(map(host_of, state.settings.base_urls()))
                can_check = administered.domains.can_check
                return [*chain(checked, decided, domain_findings(rows, configured, trouble[1], can_check=can_check))]

        looked = Errand(look, f"health-{app.name}").wait(LOOK_SECONDS, here=state.database.shared)
        groups = None if looked is None else grouped(looked, desk)
    return desk.page(
        "health.html",
        health=found,
        groups=groups,
        said=_said(found),
        old=OLD_SECONDS,
        seconds=partial(_seconds, t=desk.t),
    )


def live(desk: Desk) -> ResponseReturnValue:
    """Show the newest events. The page looks again by itself, for some minutes."""
    until = _until(desk)
    safe, found = wording.without_addresses, desk.reports.latest(EVENTS)
    said = (desk.t.say(_without_reason(each), lambda value: safe(desk.clock.written(value))) for each in found)
    return desk.page(
        "live.html",
        events=list(zip(found, said, strict=True)),
        until=until,
        refresh=REFRESH,
        safe=safe,
        minutes=WATCH.seconds // 60,
    )


def _without_reason(event: NewEvent) -> Phrase:
    """Return what happened, without the reason that somebody gave."""
    said = event.text.values
    return Phrase("%(what)s.", what=said["what"]) if "reason" in said else event.text


def grouped(found: Sequence[Finding], desk: Desk) -> list[Group]:
    """Return findings by what they are about, the groups in a fixed order."""
    groups = []
    for title, codes in _GROUPS:
        mine = [each for each in found if each.code in codes]
        marked = [(each, _mark(each.level)) for each in mine]
        if marked:
            worst = max(mine, key=lambda each: ("ok", "warning", "error").index(each.level))
            groups.append(Group(title, _mark(worst.level), tuple(marked)))
    return groups


def _seconds(size: float, t: Words) -> str:
    return wording.seconds(timedelta(seconds=size), t)


def _mark(level: str) -> tuple[str, str, str]:
    return _MARKS.get(level, _MARKS["warning"])


def _said(found: Health) -> str:
    """Return the state in one sentence."""
    if found.lost or found.refused_optouts:
        return "Something is lost or refused. See below."
    if found.last_error or found.problems:
        return "Something stands in the way. Nothing is lost: what comes in is on disk."
    if found.oldest_seconds > OLD_SECONDS:
        return "The database is behind. Nothing is lost: what comes in is on disk."
    return "Everything is stored." if not found.rows else "Everything is on disk, and on its way to the database."


def _listed(desk: Desk) -> date | None:
    try:
        return networks.oldest(networks.load(desk.state.settings.networks))[1]
    except (OSError, ValueError):
        return None


def _until(desk: Desk) -> int:
    """Return the moment until which the page goes on, in seconds; 0: it has stopped."""
    now = int(desk.now.timestamp())
    latest = now + WATCH.seconds
    written = request.args.get("until", "")
    if not written:
        return latest
    until = int(written) if written.isascii() and written.isdigit() and len(written) < 12 else 0
    return until if now < until <= latest else 0


ROUTES = (
    Route("/machines", "machines", "view", machines),
    Route("/health", "health", "view", health),
    Route("/live", "live", "view", live),
)
