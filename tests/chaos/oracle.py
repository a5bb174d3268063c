"""What must hold after a run: every answer is exactly one row, and nothing else is."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from chaos.client import Answer
from chaos.faults import Period
from chaos.leavers import Leavers

from flask_mailtrack.storage.journal import journal

GOOD = {"clicked": 302, "opened": 200, "unsubscribed": 200}
_AFTERWARDS = 0.5  # seconds in which a request that came while the disk was full may still be answered


@dataclass
class Kept:
    """Where the hits are, by the name of the request."""

    rows: Counter[str]
    logged: set[str]
    left: set[str]
    """Recipients who have opted out."""
    miscounted: int
    """Messages whose own counts are not those of their events."""


@dataclass
class Verdict:
    """The figures of a run, and what is wrong with them."""

    requests: int
    answered: int
    unanswered: int
    refused: int
    """Opt-outs that were answered 503 while the disk was full: the sender asks again."""
    rows: int
    logged: int
    """Hits that only the log has, from when the disk was full."""
    leavers: dict[str, int]
    """What those did who changed their minds, and what came of it."""
    latency_ms: dict[str, float]
    wrong: dict[str, int]
    """What must not be, by kind; empty if all is well."""
    examples: list[str] = field(default_factory=list)


def read_rows(mailtrack: Any, engine: sa.Engine, logs: Iterable[str]) -> Kept:
    """Read from the database and the log what was kept."""
    message, event, optout = (getattr(mailtrack.models, n).__table__ for n in ("Message", "Event", "OptOut"))
    with engine.connect() as connection:
        # A choice that another machine has drained before the row of its mail: nobody's name is kept with it.
        named = sa.select(event.c.user_agent).where(event.c.user_agent != "")
        rows = Counter(connection.execute(named).scalars())
        left = set(connection.execute(sa.select(optout.c.recipient)).scalars())
        told = {
            row.id: row.open_count + row.click_count + row.machine_count
            for row in connection.execute(sa.select(message))
        }
        hits = sa.select(event.c.message_id, sa.func.count()).where(event.c.type.in_(["opened", "clicked"]))
        true = dict(connection.execute(hits.group_by(event.c.message_id)).all())
    miscounted = sum(true.get(key, 0) != count for key, count in told.items()) + len(true.keys() - told.keys())
    return Kept(rows, set(logged_hits(logs)), left, miscounted)


def logged_hits(lines: Iterable[str]) -> Iterable[str]:
    """Yield the names of hits that could be written nowhere but to the log, as ``recover`` finds them."""
    for found in journal.find(line.encode() for line in lines):
        if found.body is not None and found.body["k"] == "hit":
            yield found.body["user_agent"]


def judge(answers: list[Answer], leavers: Leavers, kept: Kept, periods: list[Period], hung_ms: float) -> Verdict:
    """Compare what readers were told with what is there.

    :param leavers: judged already, by who is mailed in the end.
    :param hung_ms: by how many milliseconds the slowest in a hundred redirects may be slower while
        the database hangs.
    """
    wrong: dict[str, list[str]] = dict(leavers.wrong)
    full = [p for p in periods if p.name == "disk"]
    refused = 0

    def blame(kind: str, what: object) -> None:
        wrong.setdefault(kind, []).append(str(what))

    for answer in answers:
        if not answer.status:
            continue
        if answer.status != GOOD[answer.kind]:
            ended = answer.began + answer.seconds
            excused = any(p.began <= ended and answer.began < p.ended + _AFTERWARDS for p in full)
            if answer.kind == "unsubscribed" and answer.status == 503 and excused:
                refused += 1
            else:
                blame("5xx" if answer.status >= 500 else "other status", answer)
        elif answer.location != answer.expected:
            blame("wrong Location", answer)
        elif answer.name not in kept.rows and answer.name not in kept.logged:
            blame("lost", answer)
        elif answer.kind == "unsubscribed" and answer.recipient not in kept.left:
            blame("opt-out not in force", answer)
    asked = {answer.name for answer in answers} | leavers.names
    for name, count in kept.rows.items():
        if count > 1:
            blame("duplicate", name)
        if name not in asked:
            blame("never requested", name)
    for name in kept.logged & kept.rows.keys():
        blame("in the log and in a row", name)
    if kept.miscounted:
        wrong["miscounted message"] = [str(kept.miscounted)] * kept.miscounted
    latency = {name: figure for kind in ("quiet", "hung") for name, figure in _latency(kind, answers, periods)}
    if latency["hung p99"] > latency["quiet p99"] + hung_ms:
        blame("slow while the database hangs", latency)
    return Verdict(
        requests=len(answers),
        answered=sum(bool(a.status) for a in answers),
        unanswered=sum(not a.status for a in answers),
        refused=refused,
        rows=kept.rows.total(),
        logged=len(kept.logged),
        leavers=dict(sorted(leavers.figures.items())),
        latency_ms=latency,
        wrong={kind: len(found) for kind, found in wrong.items()},
        examples=[found[0] for found in wrong.values()],
    )


def _latency(kind: str, answers: list[Answer], periods: list[Period]) -> Iterable[tuple[str, float]]:
    """Yield median and 99th percentile of redirects in the windows of one kind, in milliseconds."""
    windows = [p for p in periods if p.name == kind]
    times = [
        a.seconds * 1000 for a in answers if a.kind == "clicked" and a.status and any(p.holds(a.began) for p in windows)
    ]
    cuts = statistics.quantiles(times, n=100)
    yield f"{kind} p50", round(cuts[49], 2)
    yield f"{kind} p99", round(cuts[98], 2)


def read_log(path: Path) -> list[str]:
    """Return the lines of the server's log."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
