"""The destinations of links that do not carry them: in memory, then on disk, then in the database.

The file on local disk is a copy that may be lost, because the journal and the database have the destinations, too. With
the file, each process of the machine can answer such a link while the database is away, even if another process has
sent the mail.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import re
import sqlite3
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from flask_mailtrack.events import LinkTarget, born, now
from flask_mailtrack.storage.journal.directory import SHELF, make, open_safely

from .database import Database

log: logging.Logger = logging.getLogger("flask_mailtrack.spool")

KEPT = 100_000
"""Number of links in the file. The oldest are removed first. The database keeps all."""
_SECONDS = 0.5
_TABLE = "CREATE TABLE IF NOT EXISTS link (place INTEGER PRIMARY KEY, ref TEXT NOT NULL UNIQUE, url TEXT NOT NULL)"


class Shelf:
    """A file of links in *directory*.

    :param kept: the number of links at most.
    """

    def __init__(self, directory: Path, kept: int = KEPT) -> None:
        self._path = directory / SHELF
        self._kept = kept

    def add(self, urls: Mapping[str, str]) -> None:
        """Keep *urls*, by reference. An error is logged only, because it costs no link."""
        try:
            make(self._path.parent)
            # SQLite lets others read a file that it makes. A file that is there already is not opened: to close it
            # would release the locks of another thread (sqlite.org/howtocorrupt.html, 2.2).
            with suppress(FileExistsError):
                os.close(open_safely(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            with self._opened() as connection:
                connection.execute(_TABLE)
                connection.executemany("INSERT OR IGNORE INTO link (ref, url) VALUES (?, ?)", urls.items())
                connection.execute("DELETE FROM link WHERE place <= (SELECT max(place) - ? FROM link)", (self._kept,))
        except (OSError, sqlite3.Error) as error:
            log.warning("long links are not kept in %s: %s", self._path, type(error).__name__)

    def url(self, ref: str) -> str | None:
        """Return the URL behind a reference, if the file has it and can be read."""
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
        except (OSError, sqlite3.Error) as error:
            log.warning("long links cannot be read from %s: %s", self._path, type(error).__name__)
            return []

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for one transaction. It is not kept, because a fork must not use its parent's."""
        if self._path.is_symlink():  # SQLite would follow the link
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self._path))
        try:
            with closing(sqlite3.connect(self._path, timeout=_SECONDS)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):  # the file is damaged, so a new one is begun
                self._path.unlink(missing_ok=True)
            raise


SECONDS = 1.0
"""Seconds for which a reader waits for the database."""
REMEMBERED = 1_024
_AT_ONCE = 3
_ON_ITS_WAY = timedelta(days=1)


class References:
    """Knows the URL behind a reference.

    :param directory: the directory of the file that the processes of this machine share.
    """

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._shelf = Shelf(directory)
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, str] = OrderedDict()
        self._places = threading.Semaphore(_AT_ONCE)

    def note(self, links: Iterable[LinkTarget]) -> None:
        """Keep the destinations of *links* in memory and on disk."""
        self._keep({link.ref: link.url for link in links})

    def url(self, ref: str, message_id: uuid.UUID) -> str | None:
        """Return the destination of a link; ``None`` if it is lost.

        :param message_id: the message with the link.
        :raises Exception: the database cannot be asked, or not in time, or does not have the row yet.
        """
        with self._lock:
            known = self._remembered.get(ref)
        if known is None and (known := self._shelf.url(ref)) is not None:
            self._remember({ref: known})
        if known is None and (known := self._in_time(ref, message_id)) is not None:
            self._keep({ref: known})
        return known

    def forget(self, named: re.Pattern[str]) -> None:
        """Take out the URLs in which *named* is found. The database keeps their shortened forms."""
        with self._lock:
            for ref in [ref for ref, url in self._remembered.items() if named.search(url)]:
                del self._remembered[ref]
        self._shelf.forget(named)

    def _keep(self, urls: Mapping[str, str]) -> None:
        self._remember(urls)
        self._shelf.add(urls)

    def _remember(self, urls: Mapping[str, str]) -> None:
        with self._lock:
            self._remembered.update(urls)
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)

    def _in_time(self, ref: str, message_id: uuid.UUID) -> str | None:
        """Ask the database in a thread, because nothing else ends the wait for a server that does not answer."""
        if self._database.shared:  # the one connection belongs to this process, so nobody else can block it
            return self._asked(ref, message_id)
        until = time.monotonic() + SECONDS
        answers: queue.SimpleQueue[tuple[str | None, Exception | None]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put((self._asked(ref, message_id), None))
            except Exception as error:
                answers.put((None, error))
            finally:
                self._places.release()

        if not self._places.acquire(timeout=SECONDS):
            raise TimeoutError("other readers wait for the database already")
        try:
            threading.Thread(target=ask, name="mailtrack-reference", daemon=True).start()
        except RuntimeError:
            self._places.release()
            raise
        try:
            url, error = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"the database has not answered in {SECONDS:.0f} s") from None
        if error is not None:
            raise error
        return url

    def _asked(self, ref: str, message_id: uuid.UUID) -> str | None:
        url = self._database.link_url(ref)
        # The row of a link comes with the row of its mail, and both may still be in the journal of another machine.
        if url is None and now() - born(message_id) < _ON_ITS_WAY and not self._database.message_about(message_id):
            raise LookupError("the rows of a young mail are not in the database yet")
        return url
