"""How the journal and the drain are, for a page that a monitor asks, and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.signatures import Signatures
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.snapshot import Snapshot

from .drain import Drain

OLD_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Health:
    """What is known without asking the database."""

    rows: int
    """Records that wait in the spool."""
    bytes: int
    oldest_seconds: float
    """Age of the oldest of them; 0 if nothing waits."""
    bad: int
    """Records in quarantine, which the database refused or which are damaged."""
    refused_optouts: int
    """Those of them that are opt-outs: until they are stored, their people get no list mail."""
    fallbacks: int
    """Records that this process had to write to the second directory, since it began."""
    lost: int
    """Records of this process that are only in the log, since it began."""
    lag_seconds: float
    """How long the oldest record of the last run that stored something had waited."""
    last_error: str
    """Type of what the last run of the drain, in any process, failed of; empty if it did not fail."""
    last_success: datetime | None
    """When a drain, in any process, stored something the last time, or shipped it to Redis."""
    streamed: int | None = None
    """Records of all machines that wait in Redis; nothing if it is not used, or does not answer."""
    bad_signatures: int = 0
    """Links of our own form, in the last hour, that none of our keys has signed; 0 if there were few."""

    problems: tuple[str, ...] = ()
    """What keeps rows from being stored, or choices and switches from being honoured, in words."""

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, refused or stuck, the last run went well, and nothing waits for five minutes."""
        trouble = self.lost or self.refused_optouts or self.last_error or self.problems
        return self.oldest_seconds <= OLD_SECONDS and not trouble


def health(
    drain: Drain,
    journals: Sequence[Journal],
    signatures: Signatures,
    database: Database | None = None,
    snapshots: Sequence[Snapshot[Any]] = (),
) -> Health:
    """Return how things are. Reads directories only, and asks Redis, if it is used, for 0.1 s at most. Never raises.

    :param database: is looked at from outside only.
    :param snapshots: of what operators have decided; said is how the last reading of each went.
    """
    waiting, runs = drain.waiting(), drain.progress.read()
    unknown = (f"{place} holds rows, and nothing says of which app" for place in journals[0].doubtful)
    old = filter(None, (each.trouble() for each in snapshots))
    gone = [database.file.vanished] if database is not None and database.file.vanished else []
    return Health(
        rows=waiting.rows,
        bytes=waiting.bytes,
        oldest_seconds=waiting.oldest_seconds,
        bad=waiting.bad,
        refused_optouts=waiting.refused_optouts,
        fallbacks=sum(journal.fallbacks for journal in journals),
        lost=sum(journal.lost for journal in journals),
        lag_seconds=runs.lag_seconds,
        last_error=runs.error,
        last_success=datetime.fromtimestamp(runs.succeeded_at, UTC) if runs.succeeded_at else None,
        streamed=waiting.streamed,
        bad_signatures=signatures.read(),
        problems=(*waiting.troubles, *unknown, *gone, *old),
    )
