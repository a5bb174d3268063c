"""What a monitor reads, in the text format of Prometheus. Only this module imports prometheus-client.

Figures of mail come from the sums in the database, which all processes and machines share, and not from counters of one
process. They are gauges, because a corrected verdict takes a hit from one number to another: Prometheus would take a
counter that falls for one that began anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sqlalchemy import func, literal, select, union_all

from flask_mailtrack.errors import ConfigError
from flask_mailtrack.events import EventType, OptOutKind, Status, Verdict
from flask_mailtrack.patience import Errand
from flask_mailtrack.storage.drain.health import Health

from .reports import Reports
from .rows import RowFigures
from .sums import SumFigures

_LACKING = find_spec("prometheus_client") is None
if TYPE_CHECKING or not _LACKING:  # without the extra "metrics", nothing here is called before exposition() has said so
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily as Gauges

log: logging.Logger = logging.getLogger("flask_mailtrack.metrics")

SECONDS = 4.0
"""How long the database may take: Prometheus gives a target ten seconds by default."""

_UP = "1: figures of the database are told; 0: it does not answer, or flask mailtrack rebuild is due."
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """The figures that the tables hold, by their labels."""

    messages: Mapping[Labels, int]
    hits: Mapping[Labels, int]
    unsubscribes: int
    optouts: Mapping[Labels, int]


def exposition(reports: Reports, health: Callable[[], Health]) -> str:
    """Return the figures of an app, in Prometheus' text format, version 0.0.4.

    If the database does not answer within :data:`SECONDS`, its figures are left out, and ``mailtrack_up`` is 0.

    :param reports: of the app.
    :param health: returns the health of the machine that is asked.
    :raises ConfigError: prometheus-client is not installed.
    """
    if _LACKING:
        cure = "Write: pip install 'flask-mailtrack[metrics]'."
        raise ConfigError("E209", "metrics", "needs the package prometheus-client.", cure)
    # A registry of its own, so that numbers of the process and of other libraries are the host's to show.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(reports, health()))
    return generate_latest(registry).decode()


class _Figures:
    """Collects all figures at one moment."""

    def __init__(self, reports: Reports, health: Health) -> None:
        self._reports = reports
        self._health = health

    def collect(self) -> Iterator[Gauges]:
        """Yield each figure. Never raises for the database's sake."""
        told = self._asked()
        yield Gauges("mailtrack_up", _UP, float(told is not None))
        if told is not None:
            yield from _of_tables(told)
        yield from _of_machine(self._health)

    def _asked(self) -> _Told | None:
        database = self._reports.database
        # A thread may be there from the last time: then the database still does not answer.
        errand = Errand(lambda: _ask(self._reports), f"metrics-{id(database)}")
        try:
            return errand.wait(SECONDS, here=database.shared)
        except Exception as error:  # of any driver; its text may hold the password of the database
            log.debug("the database does not tell its figures: %s", type(error).__name__)
            return None


def _ask(reports: Reports) -> _Told | None:
    """Return what the tables hold; ``None``: the sums lack old mail, of which a scrape must not count each row."""
    database = reports.database
    if not SumFigures(database, RowFigures(database), lambda subject: ()).usable():
        return None
    brief = reports.briefly()
    totals = brief.totals()
    copies = (Status.SENDING, Status.SENT, Status.FAILED, Status.UNKNOWN, Status.SUPPRESSED)
    kinds = (EventType.OPENED, EventType.CLICKED)
    hits: dict[Labels, int] = {(kind.value, verdict.value): 0 for kind in kinds for verdict in Verdict}
    for rule in brief.verdicts().rows:
        hits["opened", rule.verdict] += rule.opens
        hits["clicked", rule.verdict] += rule.clicks
    kind_of = database.optout.c.kind
    # To count one kind after the other takes half of the time of groups, in an index of millions.
    each = (
        select(literal(kind.value).label("kind"), func.count().label("n")).where(kind_of == kind) for kind in OptOutKind
    )
    stand: dict[Labels, int] = {(kind,): int(number) for kind, number in database.rows(union_all(*each))}
    return _Told(
        messages={(status.value,): getattr(totals, status.value) for status in copies},
        hits=hits,
        unsubscribes=totals.unsubscribed.total,
        optouts=stand,
    )


def _of_tables(told: _Told) -> Iterator[Gauges]:
    yield _labelled("mailtrack_messages", "Copies of mails, one per recipient.", ("status",), told.messages)
    yield _labelled("mailtrack_hits", "Opens and clicks, also of machines.", ("type", "verdict"), told.hits)
    yield Gauges("mailtrack_unsubscribes", "Unsubscribes by links.", told.unsubscribes)
    yield _labelled("mailtrack_optouts", "Opt-outs that stand.", ("kind",), told.optouts)


def _of_machine(health: Health) -> Iterator[Gauges]:
    """Yield what the disk of this machine tells. Numbers of a single process are left out: another one answers next."""
    yield Gauges("mailtrack_healthy", "1: nothing waits too long, is refused or fails.", float(health.ok))
    yield Gauges("mailtrack_journal_records", "Records that wait on this machine.", health.rows)
    yield Gauges("mailtrack_journal_bytes", "Size of the journal of this machine.", health.bytes)
    yield Gauges("mailtrack_journal_oldest_seconds", "Age of the oldest waiting record.", health.oldest_seconds)
    yield Gauges("mailtrack_quarantine_records", "Records that the database has refused.", health.bad)
    yield Gauges("mailtrack_quarantine_optouts", "Opt-outs among these.", health.refused_optouts)
    yield Gauges("mailtrack_drain_lag_seconds", "Wait of the oldest record in the last run.", health.lag_seconds)
    yield Gauges("mailtrack_drain_failing", "1: the last run of the drain failed.", float(bool(health.last_error)))
    if health.last_success is not None:
        success = health.last_success.timestamp()
        yield Gauges("mailtrack_drain_last_success_timestamp_seconds", "When a run last stored something.", success)
    if health.streamed is not None:
        yield Gauges("mailtrack_redis_records", "Records of all machines that wait in Redis.", health.streamed)
    states: dict[Labels, int] = {("waiting",): health.webhooks_waiting, ("dead",): health.webhooks_dead}
    yield _labelled("mailtrack_webhooks", "Webhooks that wait or are put aside.", ("state",), states)
    yield Gauges("mailtrack_bad_signatures", "Links of the last hour that no key has signed.", health.bad_signatures)


def _labelled(name: str, text: str, labels: Labels, numbers: Mapping[Labels, int]) -> Gauges:
    family = Gauges(name, text, labels=labels)
    for values, number in numbers.items():
        family.add_metric(values, number)
    return family
