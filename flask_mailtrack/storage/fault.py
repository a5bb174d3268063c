"""Whose fault an error is: that of one record, which is put aside, or that of the database, which all records wait for.

A driver's class of an error does not tell: MariaDB says ``OperationalError`` to a CHECK, and PostgreSQL
``InternalError`` to a value that is too large. What tells is the code of the server. The codes that are listed
here are about a connection, a lock, a disk, a right or a table; every other one is about what was written.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, StatementError

from flask_mailtrack.errors import MailtrackError

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
"""Numbers of MySQL and MariaDB; those from 2000 to 2999 are the client's, and about its connection."""

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
    """Say whether *error*, met while records were written, costs one of them; else all of them wait.

    What is no error of a database is the record's: it was read, and made into a row, and one of both failed.
    """
    if isinstance(error, DBAPIError):
        return not error.connection_invalidated and _of_a_row(error)
    if isinstance(error, StatementError):  # its subclasses are the server's trouble, or above
        return type(error) is StatementError
    return not isinstance(error, SQLAlchemyError | MailtrackError | OSError | MemoryError)


def column_of(error: Exception) -> str:
    """Return the column, or the constraint, that an error names; empty if none. Not its text, which may hold a row."""
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
    # The number first: MySQL's state for most of them, a full disk and a lock among them, is HY000, which says nothing.
    number = next(iter(getattr(cause, "args", ())), None)
    if isinstance(number, int) and number:
        return number not in _NUMBERS and not 2000 <= number < 3000
    if state := getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None):
        return not str(state).startswith(_STATES) or (state == "42501" and _ROW_SECURITY in str(cause))
    # A driver that cannot put a value on the wire asks no server.
    return isinstance(error, ProgrammingError)
