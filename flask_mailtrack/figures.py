"""The tables of figures: sums over messages and events, which the drain keeps and which name nobody.

A figure outlives the rows that it sums. There are two sums of each thing: by the time at which the mail was made
(``sent``: what became of that mail), and by the time at which the thing happened (``happened``). Both are kept by the
quarter hour and by the day, in UTC: a period in any time zone is made of whole days and of quarter hours at its ends.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from .columns import CHARSET, NAME, REF, Keyed, Uuid, count, for_checkers_only, moment, word
from .events import EventType, Status
from .notified import NOTIFIED

SLOT_SECONDS = 900
"""A slot is a quarter hour; slots are numbered from 1970-01-01 in UTC."""
SLOTS_A_DAY = 96
_BEGINNING, _SLOT = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=SLOT_SECONDS)

OUT = (Status.SENT.value, Status.UNKNOWN.value, Status.SENDING.value)
"""The statuses of mail that has gone out, as far as anybody knows."""
COUNTED = (EventType.OPENED.value, EventType.CLICKED.value, EventType.UNSUBSCRIBED.value, *map(str, NOTIFIED))
"""The types of events that are summed."""
PEOPLE, MACHINE, UNKNOWN, ALL = "people", "machine", "unknown", "all"
CLASSES = (PEOPLE, MACHINE, UNKNOWN)
FIRST_BY = (PEOPLE, MACHINE, ALL)
NOUNS = {EventType.OPENED.value: ("opens", "openers"), EventType.CLICKED.value: ("clicks", "clickers")}
"""What the columns of events, and of messages by their first event, begin with."""
COPIES = ("copies", "pixels", "tracked", "listed")
"""The columns of :class:`Figure` that are about messages."""
SUMMED = (
    *(f"{events}_{each}" for events, _ in NOUNS.values() for each in CLASSES),
    *(f"{messages}_{each}" for _, messages in NOUNS.values() for each in FIRST_BY),
    *("both_people", "unsubscribes", "unsubscribers"),
    *map(str, NOTIFIED),
)
"""The columns of :class:`Figure` that are about events."""
SHARES = (*CLASSES, "unique_people", "unique_machine", "unique_all")
"""The columns of :class:`Breakdown` that are sums."""
_GONE = EventType.UNSUBSCRIBED.value
TOTALS = {(kind, each): f"{NOUNS[kind][0]}_{each}" for kind in NOUNS for each in CLASSES}
TOTALS |= {(_GONE, each): "unsubscribes" for each in CLASSES}
"""The column in which an event counts, by its type and by whose it is. Notifications count in :data:`UNIQUES` alone."""
UNIQUES = {(kind, each): f"{NOUNS[kind][1]}_{each}" for kind in NOUNS for each in FIRST_BY}
UNIQUES |= {(_GONE, ALL): "unsubscribers"} | {(kind, ALL): kind for kind in map(str, NOTIFIED)}
"""The column in which the first event of a message counts, by its type and its audience."""
LONGEST_VALUE = 64
"""Characters of a value of :class:`Breakdown` that are told apart."""


def slot_of(moment: datetime) -> int:
    """Return the number of the slot in which *moment* is."""
    return (moment - _BEGINNING) // _SLOT


@for_checkers_only
class Cohort(Keyed):
    """One row per group of messages that are summed together.

    ``scope`` says which messages: ``mail`` those with the same tag, list, sender domain, subject and mode; ``list`` and
    ``domain`` those of one list or sender domain; ``all`` every message. A scope leaves the columns empty that it
    does not tell apart. The id is made of the other columns, so two machines make the same row.
    """

    __tablename__ = "mailtrack_cohort"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, doc="Made of the columns that follow.")
    scope: Mapped[str] = word(8, "mail, list, domain or all.")
    tag: Mapped[str] = word(NAME, "Tag of the messages.")
    list_id: Mapped[str] = word(NAME, "List of the messages, folded.")
    sender_domain: Mapped[str] = word(253, "Domain of the address in From.")
    subject_ref: Mapped[str] = word(REF, "Keyed hash of the subject; empty: subjects are not told apart.")
    mode: Mapped[str] = word(16, "individual, aggregate or deliverability.")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "scope", "tag"), CHARSET)


@for_checkers_only
class _Slotted(Keyed):
    """What the key of a sum begins with."""

    cohort_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, sort_order=-6, doc="The id of the cohort.")
    basis: Mapped[str] = mapped_column(String(8), primary_key=True, sort_order=-5, doc="sent or happened.")
    span: Mapped[str] = mapped_column(String(8), primary_key=True, sort_order=-2, doc="quarter or day.")
    slot: Mapped[int] = mapped_column(
        Integer,
        primary_key=True,
        autoincrement=False,
        sort_order=-1,
        doc="Number of its first quarter hour since 1970, in UTC.",
    )


@for_checkers_only
class Figure(_Slotted):
    """Sums over messages of one cohort and status.

    Columns of ``opens`` and ``clicks`` count events; ``openers`` and ``clickers`` count messages, each at its first
    such event. ``copies``, ``pixels``, ``tracked``, ``listed``, ``first_at`` and ``last_at`` are of rows by ``sent``.
    """

    __tablename__ = "mailtrack_figure"
    _mailtrack_key = ("cohort_id", "basis", "span", "slot", "status")

    status: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Status of the messages.")
    copies: Mapped[int] = count("Number of messages; a counter is none.")
    pixels: Mapped[int] = count("Of these, with an open pixel.")
    tracked: Mapped[int] = count("Of these, with tracked links.")
    listed: Mapped[int] = count("Of these, of a list.")
    opens_people: Mapped[int] = count("Opens by people.")
    opens_machine: Mapped[int] = count("Opens by machines.")
    opens_unknown: Mapped[int] = count("Opens of which nobody can say.")
    openers_people: Mapped[int] = count("Messages opened by people.")
    openers_machine: Mapped[int] = count("Messages opened by machines.")
    openers_all: Mapped[int] = count("Messages opened at all.")
    clicks_people: Mapped[int] = count("Clicks by people.")
    clicks_machine: Mapped[int] = count("Clicks by machines.")
    clicks_unknown: Mapped[int] = count("Clicks of which nobody can say.")
    clickers_people: Mapped[int] = count("Messages of which a link was clicked by people.")
    clickers_machine: Mapped[int] = count("Messages of which a link was clicked by machines.")
    clickers_all: Mapped[int] = count("Messages of which a link was clicked at all.")
    both_people: Mapped[int] = count("Messages that people opened and clicked; at the later of both.")
    unsubscribes: Mapped[int] = count("Unsubscribes.")
    unsubscribers: Mapped[int] = count("Messages by which somebody unsubscribed.")
    delivered: Mapped[int] = count("Messages that the server of the recipient accepted.")
    bounced: Mapped[int] = count("Messages that came back.")
    complained: Mapped[int] = count("Messages that were called spam.")
    rejected: Mapped[int] = count("Messages that the service refused to send.")
    first_at: Mapped[datetime | None] = moment("When the first of the messages was made.")
    last_at: Mapped[datetime | None] = moment("When the last of the messages was made.")

    __table_args__: Any = (CHARSET,)


@for_checkers_only
class Breakdown(_Slotted):
    """Sums over events of one cohort and type, by what one dimension of them says.

    Dimensions: ``client``, ``os``, ``device``, ``country``, ``rule`` (verdict and reason), ``domain`` (of the
    recipient, if a large provider's), ``link`` (in cohorts of scope ``mail``) and ``reason`` (of an unsubscribe or a
    bounce). The type ``sent`` counts messages that went out, in ``people``. Rows by ``happened`` are of days.
    """

    __tablename__ = "mailtrack_breakdown"
    _mailtrack_key = ("cohort_id", "basis", "dimension", "type", "span", "slot", "value")

    dimension: Mapped[str] = mapped_column(String(8), primary_key=True, sort_order=-4, doc="Name of the dimension.")
    type: Mapped[str] = mapped_column(
        String(16), primary_key=True, sort_order=-3, doc="opened, clicked, unsubscribed, bounced or sent."
    )
    value: Mapped[str] = mapped_column(String(64), primary_key=True, doc="Word of the dimension; empty: not known.")
    people: Mapped[int] = count("Events by people.")
    machine: Mapped[int] = count("Events by machines.")
    unknown: Mapped[int] = count("Events of which nobody can say.")
    unique_people: Mapped[int] = count("Messages whose first event by people is one of these.")
    unique_machine: Mapped[int] = count("Messages whose first event by machines is one of these.")
    unique_all: Mapped[int] = count("Messages whose first event is one of these.")

    __table_args__: Any = (CHARSET,)


@for_checkers_only
class EarlyEvent(Keyed):
    """One row per event that came before its message, and so is in no figure yet."""

    __tablename__ = "mailtrack_early_event"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, doc="The id of the event.")
    message_id: Mapped[uuid.UUID] = mapped_column(Uuid, nullable=False, doc="The id of the message to come.")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "message_id"), CHARSET)
