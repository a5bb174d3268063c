"""Bringing a file of suppressions into the database, in small transactions and little memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask_mailtrack.events import Suppression

from . import suppression
from .people import People
from .suppression_file import BadRow, Row, SuppressionFile

BATCH = 5_000


@dataclass(slots=True)
class Progress:
    """How far an import has come."""

    line: int = 0
    """The last line whose row is in the database, or rejected."""
    rows: int = 0
    added: int = 0
    bad: int = 0

    @property
    def known(self) -> int:
        """Rows that stood already."""
        return self.rows - self.added - self.bad


class Rejected:
    """The rows that could not be used, beside the file: mended there, they can be imported from there."""

    def __init__(self, file: SuppressionFile, resumed: bool) -> None:
        self.path = Path(f"{file.path}.rejected.csv")
        self._header = [] if file.headless else file.header
        self._mode = "a" if resumed else "w"
        self._stack = ExitStack()
        self._writer: Any = None
        if not resumed:
            self.path.unlink(missing_ok=True)

    def add(self, row: BadRow) -> None:
        """Keep one."""
        if self._writer is None:
            new = self._mode == "w" or not self.path.exists()
            file = self._stack.enter_context(self.path.open(self._mode, encoding="utf-8", newline=""))
            self._writer = csv.writer(file)
            if new and self._header:
                self._writer.writerow(["line", "problem", *self._header])
        self._writer.writerow([row.line, row.problem, *row.fields] if self._header else row.fields)

    def __enter__(self) -> Rejected:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def load(
    people: People,
    file: SuppressionFile,
    *,
    list_id: str = "",
    reason: str = "",
    from_line: int = 1,
    told: Callable[[Progress, list[BadRow]], object] = lambda progress, bad: None,
) -> Progress:
    """Import *file*. What stands already is left as it is, so it may be run again at any time.

    :param list_id: where a row names no list; empty: everything.
    :param reason: where a row gives none.
    :param from_line: begin there, after an import that was broken off.
    :param told: called after each transaction, with the bad rows since the last one.
    :raises SQLAlchemyError: the database could not take a batch; those before it stay.
    :raises OSError: a file cannot be read, or written.
    """
    progress = Progress(line=from_line - 1)
    with Rejected(file, from_line > 1) as rejected:
        for rows in _batches(file.rows(from_line)):
            bad = [row for row in rows if isinstance(row, BadRow)]
            changes = [_change(people, file, row, list_id, reason) for row in rows if isinstance(row, Row)]
            with people.database.transaction() as connection:
                news = suppression.write(people.database, connection, changes, fresh=True)
            for row in bad:
                rejected.add(row)
            progress.line, progress.rows = rows[-1].line, progress.rows + len(rows)
            progress.added, progress.bad = progress.added + len(news), progress.bad + len(bad)
            told(progress, bad)
    return progress


def _change(people: People, file: SuppressionFile, row: Row, list_id: str, reason: str) -> Suppression:
    return people.suppression(
        row.address,
        method="import",
        list_id=list_id if row.list_id is None else row.list_id,
        reason=row.reason or reason,
        kind=row.kind,
        source=f"import:{file.path.name}:{row.line}",
        created_at=row.created_at,
    )


def _batches(rows: Iterator[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    batch: list[Row | BadRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
