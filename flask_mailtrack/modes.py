"""How much is known of a reader: the three modes, and how the id of a message says which one it is.

The id is inside every token, under the signature, so a hit knows its mode without a database and
before anything touches the disk. Ids of the two quiet modes are UUIDv8 (RFC 9562, section 5.8), with
the time where UUIDv7 has it; which of the two is said by the highest bit behind the version.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from enum import StrEnum
from hashlib import blake2b


class Mode(StrEnum):
    """What opens and clicks are kept of."""

    INDIVIDUAL = "individual"
    """Of each recipient's copy."""
    AGGREGATE = "aggregate"
    """Of all copies together: they carry the same pixel and the same links."""
    DELIVERABILITY = "deliverability"
    """Of each recipient, but only the last day on which they were seen."""


_VERSION = 76
_WHICH = 1 << 75
# MariaDB's type refuses a UUIDv8 that has nothing but zeros behind the variant, one in 64, as if it were a UUIDv1
# that it has turned round to sort it.
_NOT_TURNED = 1 << 61


def marked(identifier: uuid.UUID, mode: Mode) -> uuid.UUID:
    """Return *identifier*, a UUIDv7, so that it says *mode*; it stays as it is if that is ``individual``."""
    if mode == Mode.INDIVIDUAL:
        return identifier
    bare = identifier.int & ~(0xF << _VERSION | _WHICH) | _NOT_TURNED
    return uuid.UUID(int=bare | 8 << _VERSION | (_WHICH if mode == Mode.DELIVERABILITY else 0))


def mode_of(identifier: uuid.UUID) -> Mode:
    """Return the mode that the id of a message says."""
    if identifier.int >> _VERSION & 0xF != 8:
        return Mode.INDIVIDUAL
    return Mode.DELIVERABILITY if identifier.int & _WHICH else Mode.AGGREGATE


def counter_id(day: date, *about: str) -> uuid.UUID:
    """Return the id under which all is counted that is sent on *day* and is about the same things.

    It is the same in every process and for every recipient: a newsletter that is sent in a loop, one
    mail to each, must not get a counter for each.

    :param day: in UTC.
    :param about: what tells counters apart; never anything that differs from recipient to recipient.
    """
    milliseconds = int(datetime.combine(day, time(), UTC).timestamp() * 1000)
    digest = int.from_bytes(blake2b("\0".join(about).encode("utf-8", "surrogatepass"), digest_size=10).digest())
    version_7 = milliseconds << 80 | 7 << _VERSION | digest & ~(0xF << _VERSION)
    return marked(uuid.UUID(int=version_7 & ~(3 << 62) | 2 << 62), Mode.AGGREGATE)
