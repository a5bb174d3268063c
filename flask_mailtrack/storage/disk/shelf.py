"""The destinations that links do not carry themselves, in a file on local disk.

The journal and the database have them too, so the file is a copy that may be lost. With it each process
of the machine can follow such a link while the database is away, also one that has not sent the mail.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from .directory import SHELF, make

log = logging.getLogger("flask_mailtrack.spool")

KEPT = 100_000
"""Links; the oldest go first. The database keeps all."""
_SECONDS = 0.5
_TABLE = "CREATE TABLE IF NOT EXISTS link (place INTEGER PRIMARY KEY, ref TEXT NOT NULL UNIQUE, url TEXT NOT NULL)"


class Shelf:
    """A file of links in *directory*.

    :param kept: how many links at most.
    """

    def __init__(self, directory: Path, kept: int = KEPT) -> None:
        self._path = directory / SHELF
        self._kept = kept

    def add(self, urls: Mapping[str, str]) -> None:
        """Keep *urls*, by reference. What fails is logged, as it costs no link."""
        try:
            make(self._path.parent)
            # For its owner alone, and never through a link.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            with self._opened() as connection:
                connection.execute(_TABLE)
                connection.executemany("INSERT OR IGNORE INTO link (ref, url) VALUES (?, ?)", urls.items())
                connection.execute("DELETE FROM link WHERE place <= (SELECT max(place) - ? FROM link)", (self._kept,))
        except (OSError, sqlite3.Error) as error:
            log.warning("long links are not kept in %s: %s", self._path, type(error).__name__)

    def url(self, ref: str) -> str | None:
        """Return the URL behind a reference, if it is here and can be read."""
        found = self._rows("SELECT url FROM link WHERE ref = ?", ref)
        return found[0][0] if found else None

    def forget(self, named: re.Pattern[str]) -> None:
        """Take out the URLs in which *named* is found."""
        self._without([ref for ref, url in self._rows("SELECT ref, url FROM link") if named.search(url)])

    def _without(self, refs: Iterable[str]) -> None:
        if gone := [(ref,) for ref in refs]:
            with self._opened() as connection:
                connection.execute("PRAGMA secure_delete = ON")
                connection.executemany("DELETE FROM link WHERE ref = ?", gone)

    def _rows(self, query: str, *values: str) -> list[tuple[str, ...]]:
        if not self._path.is_file():
            return []
        try:
            with self._opened() as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            log.warning("long links cannot be read from %s: %s", self._path, type(error).__name__)
            return []

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for one transaction: a process that is forked must not use its parent's."""
        try:
            with closing(sqlite3.connect(self._path, timeout=_SECONDS)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):  # damaged: it is begun anew
                self._path.unlink(missing_ok=True)
            raise
