"""Writes records into the database, and finds the records that the database refuses.

An error is the fault of one record, which is put aside, or of the database, for which all records wait. The driver's
class of an error does not tell the two apart: MariaDB raises ``OperationalError`` for a CHECK, and PostgreSQL
``InternalError`` for a value that is too large. The server's code tells. The codes in this module are about a
connection, a lock, a disk, a right or a table. All other codes are about the written values.
"""

from __future__ import annotations

import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import Any, TypeGuard, TypeVar

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, StatementError

from flask_mailtrack.errors import DatabaseBusy, MailtrackError
from flask_mailtrack.events import Hit, Suppression
from flask_mailtrack.signals import Announcer
from flask_mailtrack.storage.records import Record, encode, from_json
from flask_mailtrack.tokens import Signer

from .batch import Batch
from .cohorts import Cohorts
from .consequences import Consequences
from .database import Database
from .outbox import WebhookOutbox
from .refused import OPT_OUTS, Refused, refuses
from .second_look import Enrichment, Hindsight
from .touched import Overtaken
from .unwanted import Silence

# Classes of SQLSTATE (PostgreSQL, appendix A): connections, transactions, rights, catalogues, resources, operators.
_STATES = ("08", "0B", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "HV", "XX001", "XX002")
_ROW_SECURITY = "row-level security"

_NUMBERS = frozenset(
    {
        *(1015, 1016, 1017, 1021, 1024, 1026, 1030, 1034, 1035, 1036, 1037, 1038, 1041),  # files, disk, memory
        *(1040, 1042, 1043, 1044, 1045, 1046, 1047, 1049, 1053, 1077, 1078, 1079, 1080),  # who may come in
        *(1020, 1099, 1100, 1205, 1206, 1213, 1223, 1317, 1412),  # locks
        *(1054, 1064, 1109, 1114, 1146, 1194, 1195, 1305, 1932),  # tables and columns
        *(1129, 1130, 1141, 1142, 1143, 1152, 1156, 1157, 1158, 1159, 1160, 1161, 1184),  # the network, rights
        *(1203, 1226, 1227, 1290, 1370, 1698, 1792, 1820, 1836, 1927, 1969, 3024, 3100, 3159, 4031),
    }
)
"""Numbers of MySQL and MariaDB. Numbers from 2000 to 2999 are the client's, and about its connection."""

# https://www.sqlite.org/rescode.html: PERM, ABORT, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL,
# CANTOPEN, PROTOCOL, SCHEMA, NOLFS, AUTH, NOTADB.
_RESULTS = frozenset({3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 17, 22, 23, 26})
_NO_SUCH = re.compile(r"no such |has no column named|syntax error|too many SQL variables")

_NAMED = re.compile(
    r"""NOT\ NULL\ constraint\ failed:\ ([\w.]+) | CHECK\ constraint\ failed:\ (\w+)
    | column\ "(\w+)"\ of\ relation | constraint\ "(\w+)" | (?:[Cc]olumn|[Ff]ield)\ '(\w+)' | CONSTRAINT\ `([\w.]+)`""",
    re.VERBOSE,
)


def of_the_record(error: Exception) -> bool:
    """Say whether *error*, from writing records, is the fault of one record; else all records wait.

    An error that is no database error is the record's: either its reading failed, or the making of its row.
    """
    if isinstance(error, DBAPIError):
        return not error.connection_invalidated and _of_a_row(error)
    if isinstance(error, StatementError):  # subclasses were handled above, or are about the server
        return type(error) is StatementError
    return not isinstance(error, SQLAlchemyError | MailtrackError | OSError | MemoryError)


def column_of(error: Exception) -> str:
    """Return the column, or constraint, that an error names; empty if none. Its text is left out: it may hold a row."""
    cause = getattr(error, "orig", None) or error
    told: Any = getattr(cause, "diag", None)
    if name := getattr(told, "column_name", None) or getattr(told, "constraint_name", None):
        return f"{told.table_name}.{name}" if getattr(told, "table_name", None) else str(name)
    found = _NAMED.search(str(cause))
    return next(filter(None, found.groups())) if found else ""


def _of_a_row(error: DBAPIError) -> bool:
    cause: Any = error.orig
    if isinstance(error, DataError | IntegrityError):
        return True
    if (result := getattr(cause, "sqlite_errorcode", None)) is not None:
        return result & 0xFF not in _RESULTS and not (result & 0xFF == 1 and _NO_SUCH.search(str(cause)))
    # The number first, because MySQL's state is HY000 for most errors, such as a full disk or a lock.
    number = next(iter(getattr(cause, "args", ())), None)
    if isinstance(number, int) and number:
        return number not in _NUMBERS and not 2000 <= number < 3000
    if state := getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None):
        return not str(state).startswith(_STATES) or (state == "42501" and _ROW_SECURITY in str(cause))
    # A driver that cannot encode a value does not ask the server, so there is no code.
    return isinstance(error, ProgrammingError)


log: logging.Logger = logging.getLogger("flask_mailtrack.drain")

Refuse = Callable[[Mapping[str, Any], str], None]
"""Called with the body of a record that will never fit, and the reason."""

A = TypeVar("A")
T = TypeVar("T")
Pair = tuple[Mapping[str, Any], Record]

_PAUSE = 0.03  # seconds
_LONGEST_PAUSE = 2.0
_PATIENCE = 60.0
_HURRY = 0.5
"""Seconds for which clashing transactions are repeated. No clash lasts long, but a hurried caller has little time."""


class Writer:
    """Stores the bodies of records, from a spool or a stream, in one database.

    :param database: the database.
    :param enrichment: fills in fields for which a request had no time.
    :param hindsight: judges hits again by the other hits on their message.
    :param silence: removes the parts of a batch that must not be stored.
    :param announcer: tells the host of each record that is put aside.
    :param signer: makes the references of an address under each signing key.
    :param outbox: for webhooks about the records.
    """

    def __init__(
        self,
        database: Database,
        enrichment: Enrichment | None = None,
        hindsight: Hindsight | None = None,
        silence: Silence | None = None,
        announcer: Announcer | None = None,
        signer: Signer | None = None,
        outbox: WebhookOutbox | None = None,
        consequences: Consequences | None = None,
    ) -> None:
        self._database = database
        self._enrichment = enrichment or Enrichment()
        self._hindsight = hindsight or Hindsight()
        self._silence = silence
        self._announcer = announcer
        self._signer = signer
        self._outbox = outbox
        self._consequences = consequences
        self._cohorts = Cohorts(database, signer)
        self._refused = Refused(database)

    def store(self, bodies: Sequence[dict[str, Any]], refuse: Refuse, *, patient: bool = True) -> list[Record]:
        """Store *bodies* in one transaction, and return the stored records.

        A body that fails costs only itself: it is found by halving, and the others are stored.

        :param refuse: called with each body that is no record, or that cannot be stored.
        :param patient: see :meth:`Database.transaction`.
        :raises SQLAlchemyError: the database does not take anything now. Stored records can be stored again without
            harm.
        :raises DatabaseBusy: likewise, because the host is in a transaction.
        """
        pairs: list[Pair] = []
        for body in bodies:
            try:
                found = self._enrichment.find(body)
                pairs.append((body, from_json(body | found if found else body)))
            except Exception as error:  # any error of one body must not stop the next one
                self._put_aside(body, refuse, error)
        return self._store(pairs, refuse, patient)

    def _store(self, pairs: Sequence[Pair], refuse: Refuse, patient: bool) -> list[Record]:
        try:
            records = [record for _, record in pairs]
            return self._write(self._silence.over(records) if self._silence else records, patient)
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
        """Withdraw published refusals that are stored now. A failure does no harm."""
        try:
            self._refused.stored(ids)
        except (SQLAlchemyError, DatabaseBusy) as error:
            log.debug("refusals that are stored now are noted still: %s", type(error).__name__)

    def _tell_others(self, record: Record, patient: bool) -> None:
        """Publish a refusal that was put aside here to the other machines, if the database allows it."""
        if not _chosen(record) or not refuses(record):
            return
        try:
            self._refused.keep(record, patient)
        except (
            Exception
        ) as error:  # the host's function may fail, too; no traceback is logged, because it may hold a row
            text = "machines without a common Redis do not know of it: %s takes no row for it, either (%s)"
            log.error(text, self._database.setting.fullname, type(error).__name__)

    def _write(self, records: list[Record], patient: bool) -> list[Record]:
        if not records:
            return []
        stored, alone = self._tried(Batch.write, records, patient)
        # SQLite has one writer at a time.
        if self._database.engine.dialect.name == "sqlite":
            return stored
        if any(map(_chosen, records)):
            self._tried(Batch.agree, records, patient)
        if alone:
            self._tried(Batch.catch_up, alone, patient)
        return stored

    def _tried(self, work: Callable[[Batch, A], T], asked: A, patient: bool) -> T:
        """Do something in a transaction, and repeat it as long as it clashes with other transactions."""
        until = time.monotonic() + (_PATIENCE if patient else _HURRY)
        for attempt in count():
            try:
                with self._database.transaction(patient) as connection:
                    parts = (self._hindsight, self._signer, self._cohorts, self._outbox, self._consequences)
                    return work(Batch(self._database, connection, *parts), asked)
            except DBAPIError as error:
                # The server has closed a pooled connection. Now all connections of the pool are fresh.
                if error.connection_invalidated and attempt == 0:
                    continue
                if time.monotonic() >= until or not self._database.is_clash(error):
                    raise
            except Overtaken as error:
                if time.monotonic() >= until:
                    raise DatabaseBusy("other machines store the mails of these events at this moment") from error
            # Without a pause, this transaction could take its first lock again before the other one has woken up.
            pause = min(_LONGEST_PAUSE if patient else _PAUSE, _PAUSE * 2 ** min(attempt, 10))
            time.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311 - no secret
        raise AssertionError

    def _is_too_large(self, pairs: Sequence[Pair], error: Exception) -> bool:
        """Say whether a connection was lost over too long a statement. MySQL hangs up, and may not give the cause."""
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
        if self._announcer is not None:
            self._announcer.failed("quarantine", error)


def _chosen(record: Record) -> TypeGuard[Hit | Suppression]:
    return isinstance(record, Suppression) or (isinstance(record, Hit) and record.type in OPT_OUTS)
