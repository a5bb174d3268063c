"""Writes records into the database, and finds the ones that it refuses."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, TypeGuard, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flask_mailtrack.errors import DatabaseBusy
from flask_mailtrack.events import Hit, Suppression

from .batch import Batch
from .database import Database
from .enrichment import Enrichment
from .fault import column_of, of_the_record
from .hindsight import Hindsight
from .records import Record, encode, from_json
from .refused import OPT_OUTS, Refused, refuses

log = logging.getLogger("flask_mailtrack.drain")

Refuse = Callable[[Mapping[str, Any], str], None]
"""Called with the body of a record that will never fit, and why."""

T = TypeVar("T")
Pair = tuple[Mapping[str, Any], Record]

_PAUSE = 0.03  # seconds
_LONGEST_PAUSE = 2.0
_PATIENCE = 60.0
_HURRY = 0.5
"""So many seconds transactions that clash are tried again: no clash lasts, but a hurried caller has no time."""


class Writer:
    """Stores bodies, as they stand in a spool or a stream, in one database.

    :param database: where they go.
    :param enrichment: fills in what a request had no time for.
    :param hindsight: judges hits once more, by what else happened to their message.
    :param admit: returns what may be stored of the records of a batch; the rest is forgotten.
    :param quarantined: told of each record that is put aside; must not raise.
    :param refs: returns the references of an address under each signing key.
    """

    def __init__(
        self,
        database: Database,
        enrichment: Enrichment | None = None,
        hindsight: Hindsight | None = None,
        admit: Callable[[Sequence[Record]], list[Record]] = list,
        quarantined: Callable[[Exception], object] = lambda error: None,
        refs: Callable[[str], Iterable[str]] = lambda address: (),
    ) -> None:
        self._database = database
        self._enrichment = enrichment or Enrichment()
        self._hindsight = hindsight or Hindsight()
        self._admit = admit
        self._quarantined = quarantined
        self._refs = refs
        self._refused = Refused(database)

    def store(self, bodies: Sequence[dict[str, Any]], refuse: Refuse, *, patient: bool = True) -> list[Record]:
        """Store *bodies* in one transaction, and return what is stored.

        Whatever one of them meets costs that one: they are found by halving, and the others are stored.

        :param refuse: told of each body that is no record, or that cannot be stored.
        :param patient: see :meth:`Database.transaction`.
        :raises SQLAlchemyError: the database does not take anything now; nothing is stored that is not
            stored again without harm.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        """
        pairs: list[Pair] = []
        for body in bodies:
            try:
                found = self._enrichment.find(body)
                pairs.append((body, from_json(body | found if found else body)))
            except Exception as error:  # whatever it is, the next body must not meet it
                self._put_aside(body, refuse, error)
        return self._store(pairs, refuse, patient)

    def _store(self, pairs: Sequence[Pair], refuse: Refuse, patient: bool) -> list[Record]:
        try:
            return self._write(self._admit([record for _, record in pairs]), patient)
        except Exception as error:
            if not of_the_record(error) and not self._is_too_large(pairs, error):
                raise
            if len(pairs) == 1:
                self._put_aside(pairs[0][0], refuse, error)
                self._tell_others(pairs[0][1], patient)
                return []
        middle = len(pairs) // 2
        return self._store(pairs[:middle], refuse, patient) + self._store(pairs[middle:], refuse, patient)

    def stored_after_all(self, ids: Collection[uuid.UUID]) -> None:
        """Have other machines forget what was refused once; it does no harm if they do not."""
        try:
            self._refused.stored(ids)
        except (SQLAlchemyError, DatabaseBusy) as error:
            log.debug("refusals that are stored now are noted still: %s", type(error).__name__)

    def _tell_others(self, record: Record, patient: bool) -> None:
        """Have other machines know of a refusal that was put aside here, if the database lets us."""
        if not _chosen(record) or not refuses(record):
            return
        try:
            self._refused.keep(record, patient)
        except Exception as error:  # also of the host's function; no traceback, which may hold a row
            text = "machines without a common Redis do not know of it: %s takes no row for it, either (%s)"
            log.error(text, self._database.setting.fullname, type(error).__name__)

    def _write(self, records: list[Record], patient: bool) -> list[Record]:
        if not records:
            return []
        stored = self._tried(lambda batch: batch.write(records), patient)
        # SQLite has one writer at a time.
        if self._database.engine.dialect.name != "sqlite" and any(map(_chosen, records)):
            self._tried(lambda batch: batch.agree(records), patient)
        return stored

    def _tried(self, work: Callable[[Batch], T], patient: bool) -> T:
        """Do something in a transaction, again and again as long as it clashes with others."""
        until = time.monotonic() + (_PATIENCE if patient else _HURRY)
        for attempt in count():
            try:
                with self._database.transaction(patient) as connection:
                    return work(Batch(self._database, connection, self._hindsight, self._refs))
            except DBAPIError as error:
                # The server has closed a connection that lay in the pool: all others of the pool are fresh.
                if error.connection_invalidated and attempt == 0:
                    continue
                if time.monotonic() >= until or not self._database.is_clash(error):
                    raise
                # At once, it could take its first lock again before the other one has woken up.
                pause = min(_LONGEST_PAUSE if patient else _PAUSE, _PAUSE * 2 ** min(attempt, 10))
                time.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311 - no secret
        raise AssertionError

    def _is_too_large(self, pairs: Sequence[Pair], error: Exception) -> bool:
        """Say whether a connection was lost over too long a statement: MySQL hangs up, and may not say why."""
        if not isinstance(error, DBAPIError):
            return False
        longest = self._database.packet_bytes()
        # In the statement, quotes and line ends are escaped.
        return bool(longest) and 2 * sum(len(encode(body)) for body, _ in pairs) > longest

    def _put_aside(self, body: Mapping[str, Any], refuse: Refuse, error: Exception) -> None:
        reason = str(getattr(error, "orig", None) or error) or type(error).__name__
        refuse(body, reason)
        column = column_of(error)
        where = f" for {column}" if column else ""
        log.error("a record (%s) was quarantined%s: %s", body.get("k"), where, type(error).__name__)
        self._quarantined(error)


def _chosen(record: Record) -> TypeGuard[Hit | Suppression]:
    return isinstance(record, Suppression) or (isinstance(record, Hit) and record.type in OPT_OUTS)
