"""The health of the journal and the drain, for monitors and for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask_mailtrack.phrases import Phrase
from flask_mailtrack.storage.journal.directory import WEBHOOKS, read_note, write_note
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.signatures import Signatures
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.snapshot import Snapshot

from .drain import Drain

OLD_SECONDS = 300
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Health:
    """The health, as far as it is known without the database."""

    rows: int
    """Records that wait in the spool."""
    bytes: int
    oldest_seconds: float
    """Age of the oldest waiting record; 0 if nothing waits."""
    bad: int
    """Records in quarantine: the database refused them, or they are damaged."""
    refused_optouts: int
    """Opt-outs in quarantine. Until they are stored, their people get no list mail."""
    fallbacks: int
    """Records that this process had to write to the second directory, since it began."""
    lost: int
    """Records of this process that are only in the log, since it began."""
    lag_seconds: float
    """Waiting time of the oldest record in the last run that stored something."""
    last_error: str
    """Type of the error in the last run of the drain, in any process; empty if the run did not fail."""
    last_success: datetime | None
    """When a drain, in any process, last stored something, or shipped it to Redis."""
    streamed: int | None = None
    """Records of all machines that wait in Redis; ``None`` if Redis is not used, or does not answer."""
    bad_signatures: int = 0
    """Links of the right form, in the last hour, that none of the keys has signed; 0 if there were few."""

    webhooks_waiting: int = 0
    """Webhooks that wait for their endpoints, as this machine last looked, some minutes ago."""
    webhooks_dead: int = 0
    """Webhooks that are put aside after three days; see ``flask mailtrack webhooks list``."""

    problems: tuple[Phrase, ...] = ()
    """The causes, in words, for which rows are not stored, or choices and switches are not obeyed."""

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, refused or stuck, the last run went well, and nothing waits for five minutes."""
        trouble = self.lost or self.refused_optouts or self.last_error or self.problems
        return self.oldest_seconds <= OLD_SECONDS and not trouble


def keep_backlog(directory: Path, numbers: Mapping[str, int]) -> None:
    """Note how many webhooks wait, and how many are dead, for each process of this machine."""
    write_note(directory / WEBHOOKS, numbers)


def backlog(directory: Path) -> dict[str, int]:
    """Return the latest note."""
    told = read_note(directory / WEBHOOKS)
    return {name: int(told[name]) for name in ("waiting", "dead") if isinstance(told.get(name), int)}


def health(
    drain: Drain,
    journals: Sequence[Journal],
    signatures: Signatures,
    database: Database | None = None,
    snapshots: Sequence[Snapshot[Any]] = (),
    keep_days: Mapping[str, float] | None = None,
) -> Health:
    """Return the health. Reads directories only, and asks Redis, if it is used, for 0.1 s at most. Never raises.

    :param database: only its file is looked at, and no question is asked.
    :param snapshots: of the operators' decisions; the health says whether the last reading of each succeeded.
    :param keep_days: what is purged after how long; while the drain fails, nothing is.
    """
    waiting, runs = drain.waiting(), drain.progress.read()
    doubtful = journals[0].doubtful
    unknown = (Phrase("%(path)s holds rows, and nothing says of which app", path=place) for place in doubtful)
    old = filter(None, (each.trouble() for each in snapshots))
    gone = [database.file.vanished] if database is not None and database.file.vanished else []
    stuck = bool(keep_days and runs.error and 0 < runs.succeeded_at < time.time() - DAY_SECONDS)
    text = Phrase("nothing is deleted as MAILTRACK_KEEP_DAYS says while the drain fails (%(error)s)", error=runs.error)
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
        **{f"webhooks_{name}": number for name, number in backlog(journals[0].directory).items()},
        problems=(*waiting.troubles, *unknown, *gone, *old, *([text] if stuck else [])),
    )
