"""The messages that a batch touches, and what the batch changes of the sums over them.

Everything is counted once, whatever order records come in and however many machines drain. A message is counted by the
transaction whose number stands in its row: the number itself if it inserted the row, its negative if it settled the
fate. An event that comes before its message waits in a table of its own, and is counted by whoever takes it out there.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, select, true

from flask_mailtrack.audience import by_people
from flask_mailtrack.events import EventType, Hit, Status, Verdict, born, now
from flask_mailtrack.figures import COUNTED, LONGEST_VALUE, slot_of
from flask_mailtrack.lists import folded
from flask_mailtrack.modes import Mode

from .cohorts import CohortKey, Cohorts, domain_of
from .database import Database, chunked
from .rollup import EARLY_DAYS, Firsts, Rollup, Seen, Sent, firsts_of, link_value, who

OF_MESSAGE = ("id", "cohort_id", "status", "created_at", "tracks_opens", "tracks_clicks", "list_id", "recipient_domain")
"""The columns of a message that :func:`sent_of` needs."""
_MORE_OF_MESSAGE = ("mode", "tag", "sender", "entered_by", "shared", "link_count")
_OF_EVENT = ("id", "message_id", "type", "occurred_at", "verdict", "provider", "client", "os", "device", "country")
_FEW = 50
"""With fewer events that wait, all of them are read."""
_OF_LINK = ("verdict_reasons", "link", "url", "link_name", "part", "reason")


class Overtaken(Exception):
    """Another machine has stored a mail while its events were written: the transaction has to be begun again."""


class Touched:
    """What one transaction knows of its messages.

    :param number: of the transaction, as it stands in the rows of messages that it inserts.
    :param cohorts: of the process.
    """

    def __init__(self, database: Database, connection: Connection, number: int, cohorts: Cohorts) -> None:
        self._database = database
        self._connection = connection
        self._number = number
        self._cohorts = cohorts
        self._sent: dict[uuid.UUID, Sent] = {}
        self._wider: dict[uuid.UUID, tuple[CohortKey, ...]] = {}
        self._settled: set[uuid.UUID] = set()
        self._events: defaultdict[uuid.UUID, dict[uuid.UUID, Seen]] = defaultdict(dict)
        self._early: defaultdict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
        self._crowded: set[uuid.UUID] = set()
        self._alone: set[uuid.UUID] = set()
        self._may_wait: set[uuid.UUID] = set()
        self._rollup = Rollup()
        self.there: dict[uuid.UUID, Any] = {}
        """The messages that have a row, with the columns that are read of it."""
        self.new: set[uuid.UUID] = set()
        """The messages whose rows this transaction has inserted, which others see from its commit on."""
        self.missing: set[uuid.UUID] = set()
        """The messages that have events of this batch, and no row yet."""

    def read(
        self,
        locked: Collection[uuid.UUID],
        alone: Collection[uuid.UUID],
        hit: Collection[uuid.UUID],
        crowded: Collection[uuid.UUID],
    ) -> None:
        """Read how things stand: behind the lock and the rows of messages, before any event is written.

        :param locked: the messages that the batch touches, and whose rows are locked.
        :param alone: those that had no row to lock.
        :param hit: those that have hits in it.
        :param crowded: those that have so many events that these are not read.
        """
        self._crowded = set(crowded)
        # Only rows that are locked are read: the status of another one may change before it is counted.
        self._meet(self._of_messages(locked))
        # Whoever counts the events that wait for a message locks them: now its row is there, or not before our commit.
        if alone:
            self._held(alone)
            self._meet(self._of_messages(self._database.lock(self._connection, alone)))
            self._alone = set(alone) - self.there.keys()
        self._take_early(self._sent)
        wanted = (self._settled | (set(hit) - self.new) | self._early.keys()) & self._sent.keys()
        self._load(wanted - self._crowded)
        self._load_by_id(key for name in self._early.keys() & self._crowded for key in self._early[name])
        self._may_wait = wanted | (set(hit) & self._sent.keys())

    def came_late(self) -> list[Seen]:
        """Return the events that have waited for a message, and are counted by this transaction."""
        pairs = ((self._events[name], key) for name, keys in self._early.items() for key in keys)
        return [known[key] for known, key in pairs if key in known]

    def waiting(self, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Return those of some messages for which events wait."""
        key = self._database.early_event.c.message_id
        asked = (select(key).where(key.in_(some)) for some in chunked(ids))
        return {row for query in asked for row in self._connection.execute(query).scalars()}

    def write(self, hits: Iterable[Hit], corrected: Mapping[uuid.UUID, tuple[Any, str]]) -> list[Seen]:
        """Change the sums: last of all in the transaction.

        :param hits: that are in the table, of which some may have been there before.
        :param corrected: events whose verdict has been corrected: the row as it was, and why.
        :return: the events that have waited since :meth:`read`, and are counted by this transaction.
        :raises Overtaken: a mail that had no row has one now.
        """
        # With the mail, the same event may have come, which is in the table then, and was counted there.
        if self._of_messages(self._alone):
            raise Overtaken
        # What others have committed since waits, though it is in the events that were read, or is one of these hits.
        taken = self._take_early(self._may_wait)
        self._load_by_id(taken)
        fresh: defaultdict[uuid.UUID, dict[uuid.UUID, Seen]] = defaultdict(dict)
        for one in hits:
            if one.type in COUNTED and one.id not in self._events[one.message_id]:
                fresh[one.message_id][one.id] = seen_of(one, self._cohorts.link_ref)
        self._wait({key for key in fresh if key not in self._sent}, fresh)
        was: defaultdict[uuid.UUID, dict[uuid.UUID, Seen]] = defaultdict(dict)
        for key, (row, _) in corrected.items():
            if row.type in COUNTED and row.message_id in self._sent:
                was[row.message_id][key] = self._before(key, row)
        for name in self.new | self._settled | fresh.keys() | was.keys() | self._early.keys():
            if name in self._sent:
                why = {key: corrected[key][1] for key in was[name]}
                self._count(name, fresh[name], was[name], why)
        self._rollup.write(self._database, self._connection, self._wider.__getitem__)
        return [seen for seen in self.came_late() if seen.id in taken]

    def explained(self, rows: Sequence[Any], reason: str) -> None:
        """Count the reason of unsubscribes that was given after them.

        :param rows: of the events, as they were.
        """
        unknown = {row.message_id for row in rows} - self._sent.keys()
        for message in self._of_messages(unknown):
            self._know(message, touched=False)
        for row in rows:
            if (sent := self._sent.get(row.message_id)) is not None:
                self._rollup.reason(sent, row.occurred_at, row.reason, -1)
                self._rollup.reason(sent, row.occurred_at, reason)

    def _of_messages(self, ids: Iterable[uuid.UUID]) -> list[Any]:
        table = self._database.message
        query = select(*(table.c[name] for name in (*OF_MESSAGE, *_MORE_OF_MESSAGE)))
        return [row for some in chunked(ids) for row in self._connection.execute(query.where(table.c.id.in_(some)))]

    def _meet(self, rows: Iterable[Any]) -> None:
        for row in rows:
            self.there[row.id] = row
            self._know(row)

    def _know(self, row: Any, touched: bool = True) -> None:
        if row.cohort_id is None:
            return  # from before there were sums: a rebuild counts it
        self._sent[row.id] = sent_of(row)
        if row.cohort_id not in self._wider:
            cohort = CohortKey(
                "mail", row.tag, folded(row.list_id), domain_of(row.sender), "", row.mode or Mode.INDIVIDUAL.value
            )
            self._wider[row.cohort_id] = cohort.wider()
        if touched and row.entered_by == self._number:
            self.new.add(row.id)
        elif touched and row.entered_by == -self._number:
            self._settled.add(row.id)

    def _take_early(self, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Take out the events that have waited for these messages; nobody else counts them then."""
        table = self._database.early_event
        rows = self._held(ids)
        for row in rows:
            self._early[row.message_id].add(row.id)
        for some in chunked(row.id for row in rows):
            self._connection.execute(delete(table).where(table.c.id.in_(some)))
        return {row.id for row in rows}

    def _held(self, ids: Iterable[uuid.UUID]) -> list[Any]:
        """Lock the events that wait for some messages, so that nobody else counts or corrects them meanwhile."""
        table = self._database.early_event
        wanted, found = set(ids), set[uuid.UUID]()
        if not wanted:
            return []
        few = self._connection.execute(select(table.c.id, table.c.message_id).limit(_FEW)).all()
        if len(few) < _FEW:  # all that wait: a long list of ids costs more to ask than these to read
            found.update(row.id for row in few if row.message_id in wanted)
        else:
            for some in chunked(wanted):
                found.update(self._connection.execute(select(table.c.id).where(table.c.message_id.in_(some))).scalars())
        query = select(table.c.id, table.c.message_id).order_by(table.c.id).with_for_update()
        # By their keys: MariaDB would lock all that it looks at.
        return [row for some in chunked(found) for row in self._connection.execute(query.where(table.c.id.in_(some)))]

    def _load(self, ids: Iterable[uuid.UUID]) -> None:
        event = self._database.event
        for some in chunked(ids):
            query = event_query(event).where(event.c.message_id.in_(some), event.c.type.in_(COUNTED))
            for row in self._connection.execute(query):
                self._events[row.message_id][row.id] = seen_of(row, self._cohorts.link_ref)

    def _load_by_id(self, ids: Iterable[uuid.UUID]) -> None:
        for some in chunked(ids):
            for row in self._connection.execute(
                event_query(self._database.event).where(self._database.event.c.id.in_(some))
            ):
                self._events[row.message_id][row.id] = seen_of(row, self._cohorts.link_ref)

    def _before(self, key: uuid.UUID, row: Any) -> Seen:
        """Return an event as it was before its verdict was corrected."""
        if key not in self._events[row.message_id]:  # of a crowded message
            self._load_by_id([key])
        seen = self._events[row.message_id][key]
        return _relabelled(seen, row.verdict, row.verdict_reasons, row.provider)

    def _wait(self, names: set[uuid.UUID], fresh: Mapping[uuid.UUID, Mapping[uuid.UUID, Seen]]) -> None:
        """Have events wait whose message has no row, as long as one may come."""
        oldest = now() - timedelta(days=EARLY_DAYS)
        self.missing = {name for name in names if born(name) > oldest}
        rows = [{"id": key, "message_id": name} for name in sorted(self.missing) for key in fresh[name]]
        self._database.add(self._connection, self._database.early_event, rows)

    def _count(
        self,
        name: uuid.UUID,
        fresh: Mapping[uuid.UUID, Seen],
        was: Mapping[uuid.UUID, Seen],
        why: Mapping[uuid.UUID, str],
    ) -> None:
        sent, known, early = self._sent[name], self._events[name], self._early.get(name, set())
        corrected = {key: _relabelled(seen, Verdict.SCANNER, [why[key]]) for key, seen in was.items()}
        base = [seen for key, seen in known.items() if key not in early and key not in was]
        old = [seen for key, seen in was.items() if key not in early]
        # One that has waited for long may be purged meanwhile.
        waited = [known[key] for key in early if key in known and key not in was]
        new = [*fresh.values(), *waited, *corrected.values()]
        if name in self.new or name in self._settled:
            if name in self._settled:
                self._rollup.whole(sent._replace(status=Status.SENDING.value), [*base, *old], -1)
            self._rollup.whole(sent, [*base, *new])
            return
        before, after = self._firsts(name, base, old, new)
        gone = {key: seen for key, seen in before.items() if after.get(key) is not seen}
        come = {key: seen for key, seen in after.items() if before.get(key) is not seen}
        if old or gone:
            self._rollup.events(sent, old, gone, -1)
        self._rollup.events(sent, new, come)

    def _firsts(
        self, name: uuid.UUID, base: Sequence[Seen], old: Sequence[Seen], new: Sequence[Seen]
    ) -> tuple[Firsts, Firsts]:
        """Return the first events of a message before and after the batch."""
        if self._sent[name].status == Status.COUNTER:
            return {}, {}
        if name in self._crowded:
            base = self._first_rows(name, [*old, *new])
        return firsts_of([*base, *old]), firsts_of([*base, *new])

    def _first_rows(self, name: uuid.UUID, changed: Sequence[Seen]) -> list[Seen]:
        """Return the first events of a crowded message, without reading all of them and without those that change."""
        event = self._database.event
        rest = (event.c.message_id == name, event.c.id.not_in([seen.id for seen in changed]))
        asked: list[tuple[ColumnElement[bool], ...]] = []
        if any(seen.type in _VISITS for seen in changed):
            asked += [(event.c.type == kind,) for kind in _VISITS]
        for link, url, link_name, part in {seen.target for seen in changed if seen.type == EventType.CLICKED}:
            same = (event.c.link == link, event.c.url == url, event.c.link_name == link_name, event.c.part == part)
            asked.append((event.c.type == EventType.CLICKED.value, *same))
        people = by_people(event)
        audiences = (people, and_(~people, event.c.verdict != Verdict.UNKNOWN), true())
        asked = [(*conditions, audience) for conditions in asked for audience in audiences]
        others = {seen.type for seen in changed}.difference(_VISITS)
        asked += [(event.c.type == kind,) for kind in sorted(others)]
        found: list[Seen] = []
        for conditions in asked:
            query = (
                event_query(self._database.event)
                .where(*rest, *conditions)
                .order_by(event.c.occurred_at, event.c.id)
                .limit(1)
            )
            found += [seen_of(row, self._cohorts.link_ref) for row in self._connection.execute(query.limit(1))]
        return list(dict.fromkeys(found))


_VISITS = (EventType.OPENED.value, EventType.CLICKED.value)


def event_query(event: Table) -> Select[Any]:
    """Return the query of the columns that :func:`seen_of` needs."""
    return select(*(event.c[name] for name in (*_OF_EVENT, *_OF_LINK)))


def seen_of(row: Any, link_ref: Callable[[str, str, str], str]) -> Seen:
    """Return an event as it is summed, of a row or of a hit."""
    link = ""
    if row.type == EventType.CLICKED:
        link = link_value(row.link, row.part, link_ref(row.url, row.link_name, row.part))
    about = (row.client, row.os, row.device, row.country, _rule(row.verdict, row.verdict_reasons))
    kind, by = str(row.type), who(row.verdict, row.provider)
    target = (row.link, row.url, row.link_name, row.part)
    at = row.occurred_at
    return Seen(row.id, row.message_id, kind, at, by, about, link, target, row.reason, slot_of(at))


def sent_of(row: Any) -> Sent:
    """Return a message as it is summed."""
    about = (row.tracks_opens, row.tracks_clicks, bool(row.list_id), row.recipient_domain)
    return Sent(row.cohort_id, row.status, row.created_at, *about)


def _relabelled(seen: Seen, verdict: str, reasons: Sequence[str], provider: str = "") -> Seen:
    return seen._replace(by=who(verdict, provider), about=(*seen.about[:-1], _rule(verdict, reasons)))


def _rule(verdict: str, reasons: Sequence[str] | None) -> str:
    return f"{verdict}:{reasons[0] if reasons else ''}"[:LONGEST_VALUE]
