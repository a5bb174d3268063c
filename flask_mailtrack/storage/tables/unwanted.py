"""Unwanted data: hits that a person does not want stored, and fields that nobody may know.

The drain decides whether a hit is stored. So the redirect waits for nothing, and a hit is on the local disk for some
seconds, in which the person's choices still count. A choice is always stored; only data about the person is left out.
Consent may stand in a column of the host's own table. In the deliverability mode only the last day on which a person
was seen is stored of opens and clicks. The day stands on all rows of the person in this mode, so that no row says which
mail was opened.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, bindparam, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from flask_mailtrack.audience import by_a_person
from flask_mailtrack.consent import Answer, Consent, ConsentColumn, Purpose
from flask_mailtrack.events import EventType, Hit, SentMessage, born, first_id, now
from flask_mailtrack.modes import Mode, mode_of
from flask_mailtrack.notified import ABOUT_MAIL
from flask_mailtrack.privacy import normalise
from flask_mailtrack.storage.records import Record, batched

from .consequences import SUPPRESSING
from .database import Database, chunked
from .optouts import OptOuts
from .refused import OPT_OUTS
from .switches import Switches

_KINDS = (EventType.OPENED, EventType.CLICKED)


def is_sight(record: object) -> bool:
    """Say whether *record* is a hit of which only the day may be kept."""
    return isinstance(record, Hit) and record.type in _KINDS and mode_of(record.message_id) == Mode.DELIVERABILITY


def note(database: Database, connection: Connection, hits: Sequence[Hit]) -> None:
    """Move the day forward for the people behind *hits*. A replay, or an older hit, changes nothing.

    A hit without a message row belongs to nobody, and is forgotten.

    :param hits: hits for which :func:`is_sight` is true.
    """
    message = database.message
    by_people = [hit for hit in hits if by_a_person(hit.verdict, hit.provider)]
    whose: dict[object, str] = {}
    for ids in chunked(hit.message_id for hit in by_people):
        rows = connection.execute(select(message.c.id, message.c.recipient).where(message.c.id.in_(ids)))
        whose |= {row.id: row.recipient for row in rows}
    days: dict[str, date] = {}
    for hit in by_people:
        if name := whose.get(hit.message_id):  # else the row was purged, or the person forgotten
            days[name] = max(days.get(name, date.min), hit.occurred_at.date())
    if days:
        mine = (message.c.recipient == bindparam("whose_"), message.c.mode == Mode.DELIVERABILITY.value)
        older = or_(message.c.seen_on.is_(None), message.c.seen_on < bindparam("day_"))
        moved = update(message).where(*mine, older).values(seen_on=bindparam("day_"))
        # In the order of names, so that two drainers cannot deadlock.
        connection.execute(moved, [{"whose_": name, "day_": day} for name, day in sorted(days.items())])


_ASKED_AT_ONCE = 10_000


TEMPORARY: tuple[type[Exception], ...] = (SQLAlchemyError,)
"""The errors that pass when the database is back."""


def answers(
    column: ConsentColumn, rows_on: Callable[[str | None], Callable[[Executable], list[tuple[Any, ...]]]]
) -> Callable[[Collection[str], str], Mapping[str, Answer]]:
    """Return the function that looks people up.

    :param rows_on: returns a function that runs a query on a bind.
    """
    rows = rows_on(column.email.expression.table.metadata.info.get("bind_key"))

    def ask(addresses: Collection[str], purpose: str) -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        for some in batched(addresses, _ASKED_AT_ONCE):
            query = select(column.email, column.consent).where(func.lower(column.email).in_(some))
            for email, value in rows(query):
                address, answer = normalise(str(email)), _answer(value)
                if found.get(address) != Answer.DENIED:
                    found[address] = answer
        return found

    return ask


def _answer(value: Any) -> Answer:
    if value is None or value == "":
        return Answer.UNKNOWN
    return Answer(value) if isinstance(value, str) else (Answer.GRANTED if value else Answer.DENIED)


_PURPOSES = {EventType.OPENED: Purpose.OPEN, EventType.CLICKED: Purpose.CLICK, EventType.TRAPPED: Purpose.CLICK}
_CHUNK = 1_000
_GONE_SECONDS = 3_600
"""The age of a mail from which on a missing row counts as purged, and not as on its way."""
PERSONAL: dict[str, Any] = {"ip": "", "user_agent": "", "region": "", "city": "", "comment": ""}
"""The personal fields of an event, with the values that replace them."""


class _Owner(NamedTuple):
    """The owner of the message of a hit."""

    recipient: str = ""
    """The recipient; empty for a counter, or an erased person."""
    mode: str = ""
    there: bool = True
    """Whether the row of the message is there. It may be purged, or not have come yet."""


_NOBODY = _Owner(there=False)


class Silence:
    """Removes hits that must not be kept, and the personal fields of others that must not be kept.

    :param database: knows the owner of a message.
    :param optouts: knows the people who have declined.
    :param consent: the host's knowledge of consent.
    :param keep_days: days for which events are kept, counted from the mail; 0: for ever. A hit on an older mail would
        be purged at once, and would spoil the counts on its message. What suppresses somebody is taken at any age.
    :param switches: the operator's switches; the operator may have all hits thrown away.
    """

    def __init__(
        self,
        database: Database,
        optouts: OptOuts,
        consent: Consent,
        keep_days: float = 0,
        switches: Switches | None = None,
    ) -> None:
        self._switches = switches
        self._database = database
        self._optouts = optouts
        self._consent = consent
        self._keep_days = keep_days

    def over(self, records: Sequence[Record]) -> list[Record]:
        """Return *records* without unwanted hits, and the others without unwanted fields.

        :raises SQLAlchemyError: the database cannot name the owners now.
        """
        if self._switches is not None and self._switches.paused():
            records = [r for r in records if not (isinstance(r, Hit) and r.type in _PURPOSES)]
        hits = [r for r in records if isinstance(r, Hit)]
        if not hits:
            return list(records)
        written = {r.id: _Owner(r.recipient, r.mode) for r in records if isinstance(r, SentMessage)}
        owners = self._owners({h.message_id for h in hits}) | written
        whose = [(h, owners.get(h.message_id, _NOBODY)) for h in hits]
        people = {owner.recipient for _, owner in whose if owner.recipient}
        declined = self._optouts.declined(people) if people else {}
        denied = {kind: self._denied(whose, kind) for kind in {h.type for h in hits}.difference(ABOUT_MAIL)}
        oldest = first_id(now() - timedelta(days=self._keep_days)) if self._keep_days else None
        kept: dict[uuid.UUID, Hit | None] = {}
        for hit, owner in whose:
            measures = hit.type in denied
            no = measures and (owner.recipient in denied[hit.type] or _said_no(declined, owner, hit))
            if hit.type in OPT_OUTS:
                kept[hit.id] = _choice(hit, owner, no)
            elif no or _is_nobodys(hit, owner) or (oldest and hit.message_id < oldest and hit.type not in SUPPRESSING):
                kept[hit.id] = None
            else:
                kept[hit.id] = _without(hit) if _is_gone(hit, owner) else hit
        stored = (kept[r.id] if isinstance(r, Hit) else r for r in records)
        return [record for record in stored if record is not None]

    def _denied(self, whose: Sequence[tuple[Hit, _Owner]], kind: EventType) -> set[str]:
        """Return the people who must not be measured by hits of *kind*. A choice must not wait for the answer."""
        names = {owner.recipient for hit, owner in whose if hit.type == kind and owner.recipient}
        if kind in _PURPOSES:
            return self._consent.denied(names, _PURPOSES[kind], patient=True)
        return self._consent.denied(names, *Purpose)

    def _owners(self, message_ids: set[uuid.UUID]) -> dict[uuid.UUID, _Owner]:
        table = self._database.message
        found: dict[uuid.UUID, _Owner] = {}
        for some in batched(sorted(message_ids), _CHUNK):
            query = select(table.c.id, table.c.recipient, table.c.mode).where(table.c.id.in_(some))
            found.update({row[0]: _Owner(row[1], row[2] or "") for row in self._database.rows(query)})
        return found


def _choice(hit: Hit, owner: _Owner, no: bool) -> Hit:
    """Return the part of a choice that may be kept. The comment stays as long as the person is known."""
    if not owner.recipient:
        return _without(hit)
    return hit._replace(ip="", user_agent="") if no or _is_quiet(hit, owner) else hit


def _said_no(declined: dict[str, datetime], owner: _Owner, hit: Hit) -> bool:
    return owner.recipient in declined and declined[owner.recipient] <= hit.occurred_at


def _is_nobodys(hit: Hit, owner: _Owner) -> bool:
    """Say whether a visit is an erased person's, or of a kind that its quiet mode does not have."""
    if hit.type == EventType.TRAPPED and _is_quiet(hit, owner):
        return True
    # A counter has no recipient. Any other row without a recipient is an erased person's.
    return owner.there and not owner.recipient and mode_of(hit.message_id) != Mode.AGGREGATE


def _is_quiet(hit: Hit, owner: _Owner) -> bool:
    # In earlier versions, rows of people in aggregate mode had ids that did not name the mode.
    return mode_of(hit.message_id) != Mode.INDIVIDUAL or owner.mode not in ("", Mode.INDIVIDUAL)


def _is_gone(hit: Hit, owner: _Owner) -> bool:
    """Say whether a visit cannot be found by its person any more. Before its row has come, that is not known."""
    if owner.there:
        return False
    return hit.type == EventType.TRAPPED or (now() - born(hit.message_id)).total_seconds() > _GONE_SECONDS


def _without(hit: Hit) -> Hit:
    return hit._replace(**PERSONAL)
