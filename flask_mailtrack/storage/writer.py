"""Writes records into the database, and finds the ones that it refuses."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from .batch import Batch
from .database import Database
from .enrichment import Enrichment
from .hindsight import Hindsight
from .records import Record, from_json

log = logging.getLogger("flask_mailtrack.drain")

Refuse = Callable[[Mapping[str, Any], str], None]
"""Called with the body of a record that will never fit, and why."""

# ValueError and OverflowError: what a driver cannot even put on the wire.
_POISON = (DataError, IntegrityError, ValueError, OverflowError)
_ATTEMPTS = 4
_PAUSE = 0.03  # seconds


class Writer:
    """Stores bodies, as they stand in a spool or a stream, in one database.

    :param database: where they go.
    :param enrichment: fills in what a request had no time for.
    :param hindsight: judges hits once more, by what else happened to their message.
    :param admit: returns what may be stored of the records of a batch; the rest is forgotten.
    """

    def __init__(
        self,
        database: Database,
        enrichment: Enrichment | None = None,
        hindsight: Hindsight | None = None,
        admit: Callable[[Sequence[Record]], list[Record]] = list,
    ) -> None:
        self._database = database
        self._enrichment = enrichment or Enrichment()
        self._hindsight = hindsight or Hindsight()
        self._admit = admit

    def store(self, bodies: Sequence[dict[str, Any]], refuse: Refuse, *, patient: bool = True) -> list[Record]:
        """Store *bodies* in one transaction, and return what is stored.

        If the content of some is refused, they are found by halving, and the others are stored.

        :param refuse: told of each body that is no record, or that the database refuses.
        :param patient: see :meth:`Database.transaction`.
        :raises SQLAlchemyError: the database does not take anything now; nothing is stored that is not
            stored again without harm.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        """
        records: list[tuple[dict[str, Any], Record]] = []
        for body in bodies:
            try:
                found = self._enrichment.find(body)
                records.append((body, from_json(body | found if found else body)))
            except ValueError as error:
                refuse(body, str(error))
        return self._store(records, refuse, patient)

    def _store(self, pairs: list[tuple[dict[str, Any], Record]], refuse: Refuse, patient: bool) -> list[Record]:
        try:
            return self._write(self._admit([record for _, record in pairs]), patient)
        except _POISON as error:
            return self._bisect(pairs, refuse, patient, error)
        except StatementError as error:
            if type(error) is not StatementError:  # its subclasses are the server's trouble, not the row's
                raise
            return self._bisect(pairs, refuse, patient, error)

    def _write(self, records: list[Record], patient: bool) -> list[Record]:
        for attempt in range(_ATTEMPTS):
            try:
                with self._database.transaction(patient) as connection:
                    return Batch(self._database, connection, self._hindsight).write(records)
            except DBAPIError as error:
                if attempt == _ATTEMPTS - 1 or not self._database.is_clash(error):
                    raise
                # At once, it could take its first lock again before the other one has woken up.
                time.sleep(random.uniform(0.5, 1) * _PAUSE * (attempt + 1))  # noqa: S311 - no secret
        return []

    def _bisect(
        self, pairs: list[tuple[dict[str, Any], Record]], refuse: Refuse, patient: bool, error: Exception
    ) -> list[Record]:
        if len(pairs) == 1:
            refuse(pairs[0][0], str(getattr(error, "orig", None) or error))
            log.error("a record was quarantined: the database refuses it (%s)", type(error).__name__)
            return []
        middle = len(pairs) // 2
        return self._store(pairs[:middle], refuse, patient) + self._store(pairs[middle:], refuse, patient)
