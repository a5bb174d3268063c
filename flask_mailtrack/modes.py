"""The three modes, which say how much is known of a reader. The id of a message names its mode.

The id is inside every token, under the signature. So a hit knows its mode without the database, and before anything
touches the disk. Ids of the two quiet modes are UUIDv8 (RFC 9562, section 5.8), with the time in the same place as in
UUIDv7. The highest bit behind the version tells the two modes apart.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from enum import StrEnum
from hashlib import blake2b


class Mode(StrEnum):
    """The mode in which opens and clicks are kept."""

    INDIVIDUAL = "individual"
    """For each recipient's copy."""
    AGGREGATE = "aggregate"
    """For all copies together, which carry the same pixel and the same links."""
    DELIVERABILITY = "deliverability"
    """For each recipient, but only the last day on which the recipient was seen."""


_VERSION = 76
_WHICH = 1 << 75
NOT_TURNED = 1 << 61
"""A bit that each UUIDv8 here has. MariaDB's type refuses one with only zeros behind the variant, which is one in 64.
It takes such an id for a UUIDv1 in MariaDB's own order for sorting."""


def marked(identifier: uuid.UUID, mode: Mode) -> uuid.UUID:
    """Return *identifier*, a UUIDv7, changed to name *mode*. For ``individual`` it stays as it is."""
    if mode == Mode.INDIVIDUAL:
        return identifier
    bare = identifier.int & ~(0xF << _VERSION | _WHICH) | NOT_TURNED
    return uuid.UUID(int=bare | 8 << _VERSION | (_WHICH if mode == Mode.DELIVERABILITY else 0))


def mode_of(identifier: uuid.UUID) -> Mode:
    """Return the mode in the id of a message."""
    if identifier.int >> _VERSION & 0xF != 8:
        return Mode.INDIVIDUAL
    return Mode.DELIVERABILITY if identifier.int & _WHICH else Mode.AGGREGATE


def counter_id(day: date, *about: str) -> uuid.UUID:
    """Return the id of the counter for all mail of one kind on *day*.

    The id is the same in every process and for every recipient, because a newsletter that is sent in a loop must not
    get a counter for each mail.

    :param day: in UTC.
    :param about: the words that tell counters apart; never a word that differs from recipient to recipient.
    """
    milliseconds = int(datetime.combine(day, time(), UTC).timestamp() * 1000)
    digest = int.from_bytes(blake2b("\0".join(about).encode("utf-8", "surrogatepass"), digest_size=10).digest())
    version_7 = milliseconds << 80 | 7 << _VERSION | digest & ~(0xF << _VERSION)
    return marked(uuid.UUID(int=version_7 & ~(3 << 62) | 2 << 62), Mode.AGGREGATE)
