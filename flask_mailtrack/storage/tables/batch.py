"""One batch of records, written inside one transaction, with all consequences."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Table, bindparam, false, func, or_, select, update

from flask_mailtrack.events import (
    BY_LINK,
    EVERYTHING,
    OWN_NETWORK,
    EventType,
    Hit,
    LinkTarget,
    MailBody,
    OptOutKind,
    SentMessage,
    Status,
    Suppression,
    first_id,
    new_id,
    now,
)
from flask_mailtrack.lists import folded
from flask_mailtrack.storage.records import Record
from flask_mailtrack.tokens import Signer

from . import body_shelf, counts, register
from .cohorts import Cohorts, provider_domain
from .consequences import SUPPRESSING, Consequences
from .database import Database, chunked
from .optouts import mark
from .outbox import WebhookOutbox
from .refused import OPT_OUTS, REF
from .register import Register, about_list
from .second_look import LOOKED_AT, Hindsight, Visit, corrected, standing, visit
from .touched import Touched
from .unwanted import is_sight, note

log: logging.Logger = logging.getLogger("flask_mailtrack.drain")

_COUNTS = ("open_count", "click_count", "machine_count")
_FIRST = ("first_verdict", "first_verdict_reasons")
_JUDGED = ("id", "message_id", "type", "occurred_at", "link", "ip", "os", "verdict", "provider", "verdict_reasons")
_IN_MESSAGE = [name for name in SentMessage._fields if name not in ("details", "columns")]
_IN_HIT = [name for name in Hit._fields if name not in (*_FIRST, "ref", "wording", "lifts")]
_of_message, _of_hit = attrgetter(*_IN_MESSAGE), attrgetter(*_IN_HIT)
MESSAGE_COLUMNS = (*_IN_MESSAGE, "details", *_COUNTS, "cohort_id", "recipient_domain", "entered_by")
EVENT_COLUMNS = (*_IN_HIT, *_FIRST)

_LOOKED_BACK = 200
"""Earlier clicks of a message that are judged again with new ones. Without a limit, a flood would cost its square."""


class Batch:
    """Writes one batch inside one transaction.

    :param hindsight: corrects the verdicts of the batch, and of earlier events.
    :param signer: makes the references of an address under each signing key; none: there are none.
    :param cohorts: of the process; else of this batch.
    :param outbox: for webhooks about the records.
    :param consequences: of what servers tell; none: there are none.
    """

    def __init__(
        self,
        database: Database,
        connection: Connection,
        hindsight: Hindsight | None = None,
        signer: Signer | None = None,
        cohorts: Cohorts | None = None,
        outbox: WebhookOutbox | None = None,
        consequences: Consequences | None = None,
    ) -> None:
        self._signer = signer
        self._consequences = consequences
        self._outbox = outbox or WebhookOutbox(database, ())
        self._database = database
        self._connection = connection
        self._hindsight = hindsight or Hindsight()
        self._theirs: dict[uuid.UUID, Any] = {}
        self._several: set[uuid.UUID] = set()
        self._corrected: dict[uuid.UUID, tuple[Any, str]] = {}
        self._cohorts = cohorts or Cohorts(database)
        # Of 62 bits, in the order in which a process asks for it.
        self._number = new_id().int & (1 << 62) - 1
        self.touched: Touched = Touched(database, connection, self._number, self._cohorts)

    @cached_property
    def _register(self) -> Register:
        return Register(self._database, self._connection)

    def write(self, records: Sequence[Record]) -> tuple[list[Record], set[uuid.UUID]]:
        """Write links, messages and hits, and then the consequences.

        :return: the stored records, hits with their list and their link; and for :meth:`catch_up` the messages of hits
            that have no row yet, and those whose rows are new.
        """
        every: dict[type, list[Any]] = {kind: [] for kind in (LinkTarget, MailBody, SentMessage, Hit, Suppression)}
        for record in records:
            every[type(record)].append(record)
        links, bodies, messages, hits, changes = every.values()
        known = self._outbox.known(self._connection, records)
        if sights := [hit for hit in hits if is_sight(hit)]:
            hits = [hit for hit in hits if not is_sight(hit)]
        self._links(links)
        self._database.add(self._connection, self._database.body, body_shelf.rows(bodies))
        self._messages(messages)
        # Also messages whose events came before them.
        touched = {m.id for m in messages} | {h.message_id for h in hits}
        # An opt-out of the host is about no message, and must not wait for that table.
        locked = self._database.lock(self._connection, touched) if touched else set[uuid.UUID]()
        several = counts.crowded(self._database, self._connection, locked - {m.id for m in messages}, _old(hits))
        self.touched.read(locked, touched - locked, {h.message_id for h in hits}, several.keys())
        self._several = {h.message_id for h in hits} - (self.touched.there.keys() - several.keys())
        replays = counts.stored(self._database, self._connection, {h.id for h in hits if h.message_id in several})
        stored = self._hits(hits, messages)
        note(self._database, self._connection, sights)
        fresh = [hit for hit in stored if hit.id not in replays]
        corrected = [row for row, _ in self._corrected.values()]
        counts.add(self._database, self._connection, several, fresh, corrected)
        self._database.recount(self._connection, touched - several.keys())
        # Suppressions come after the hits, because the host's decision is stronger.
        changes += self._following([*fresh, *self.touched.came_late()])
        changed = register.write(self._database, self._connection, changes) if changes else []
        told = [*links, *bodies, *messages, *stored, *changed]
        self._outbox.enqueue(self._connection, told, known)
        # Last of all, because other machines may wait for the same sums.
        later = self._refuse_after(self.touched.write(fresh, self._corrected))
        self._outbox.enqueue(self._connection, later, known)
        told += later
        return told, self.touched.missing | self.touched.new

    def catch_up(self, ids: set[uuid.UUID]) -> None:
        """Count events that one machine and their messages that another one has written at the same moment.

        Neither of two transactions sees the other. So both look again, in a transaction that begins after their
        commits: whoever comes second sees both.
        """
        if not (ids := self.touched.waiting(ids)):
            return
        self.touched.read(self._database.lock(self._connection, ids), (), (), ())
        self._database.recount(self._connection, ids)
        self._refuse_after(self.touched.came_late())
        self._refuse_after(self.touched.write((), {}))

    def _following(self, events: Sequence[Any]) -> list[Suppression]:
        """Return the refusals that follow from events: new ones, or such as have waited for their message."""
        return self._consequences.of(self._database, self._connection, events) if self._consequences else []

    def _refuse_after(self, events: Sequence[Any]) -> list[Suppression]:
        """Write the refusals that follow from *events*, and return those that were news."""
        changes = self._following(events)
        return register.write(self._database, self._connection, changes) if changes else []

    def agree(self, records: Sequence[Record]) -> None:
        """Match undos and refusals that two machines have written at the same moment.

        Neither of two transactions sees the other: one marks a refusal that it does not find, while the other enters
        that refusal. So both look again, in a transaction that begins after their commits.
        """
        hits = [record for record in records if isinstance(record, Hit) and record.type in OPT_OUTS]
        sent = self._rows(self._database.message.c.id, {hit.message_id for hit in hits})
        self._theirs = self._database.host.of_messages(self._connection, hits, self._database.audit)
        for asked in hits:
            hit, table = _resolved(asked, sent, {}), self._database.optout
            kind, out = OPT_OUTS[hit.type]
            recipient, nameless = _whose(hit, sent.get(hit.message_id))
            if not out and hit.lifts:
                self._undo(hit, kind, recipient, nameless, asked.list_id)
            elif out and self._register.is_lifted(asked, hit.list_id):
                mine = (table.c.recipient == recipient) & (table.c.kind == kind)
                self._register.lift(mine, [hit.id.hex], about_list(hit.list_id))
        register.agree(self._database, self._register, [r for r in records if isinstance(r, Suppression)])

    def _links(self, links: list[LinkTarget]) -> None:
        rows = {k.ref: {"ref": k.ref, "url": k.url, "name": k.name, "part": k.part} for k in links}
        table, records = self._database.link, {k.ref: k for k in links}
        complete = self._database.host.complete(table, list(rows.values()), list(records.values()), {})
        self._database.add(self._connection, table, complete)

    def _messages(self, messages: list[SentMessage]) -> None:
        told: dict[Any, SentMessage] = {}
        for message in messages:  # the first fate is final, as in the table
            if message.id not in told or told[message.id].status == Status.SENDING:
                told[message.id] = message
        cohorts = self._cohorts.of(self._connection, told.values())
        self._cohorts.enter(self._connection, cohorts.values())
        sums = {key: (cohorts[key].id, provider_domain(m.recipient), self._number) for key, m in told.items()}
        rows = [(*_of_message(m), dict(m.details), 0, 0, 0, *sums[key]) for key, m in told.items()]
        self._pour(self._database.message, MESSAGE_COLUMNS, rows, list(told.values()))

    def _hits(self, hits: list[Hit], messages: list[SentMessage]) -> list[Hit]:
        message, link = self._database.message, self._database.link
        sent = self._rows(message.c.id, {h.message_id for h in hits if h.type in OPT_OUTS})
        links = self._rows(link.c.ref, {h.ref for h in hits if h.type == EventType.CLICKED})
        stored = [_resolved(h, sent, links) for h in hits]
        stored = self._in_hindsight(stored, [m for m in messages if (m.link_count or 0) > 1])
        table = self._database.event
        host = self._database.host
        self._theirs = host.of_messages(self._connection, hits, table, self._database.optout, self._database.audit)
        plain = [h for h in stored if h.type not in OPT_OUTS]
        fresh = [event_row(h) for h in plain]
        self._pour(table, EVENT_COLUMNS, fresh, plain)
        if len(fresh) == len(stored):
            return stored
        for hit, asked in zip(stored, hits, strict=True):
            if hit.type in OPT_OUTS and self._opt(hit, sent.get(hit.message_id), asked.list_id):
                self._pour(table, EVENT_COLUMNS, [event_row(hit)], [hit])
                self._add(self._database.audit, register.of_hit(hit), hit)
        # A second identical choice is no event, so it is not announced. A replay is announced again.
        told = set(self._rows(table.c.id, {h.id for h in stored if h.type in OPT_OUTS}))
        return [hit for hit in stored if hit.type not in OPT_OUTS or hit.id in told]

    def _pour(self, table: Table, names: Sequence[str], rows: list[tuple[Any, ...]], records: Sequence[Any]) -> None:
        """Insert *rows*, with the columns that the host has added."""
        host = self._database.host
        if not host.has(table):
            self._database.pour(self._connection, table, names, rows)
            return
        more = [host.values(table, record, self._theirs) for record in records]
        self._database.pour_with(self._connection, table, names, rows, more)

    def _add(self, table: Table, row: dict[str, Any], record: Hit) -> None:
        complete = self._database.host.complete(table, [row], [record], self._theirs)
        self._database.add(self._connection, table, complete)

    def _in_hindsight(self, hits: list[Hit], messages: list[SentMessage]) -> list[Hit]:
        """Return *hits* with corrected verdicts, and correct the verdicts of earlier events in the table.

        :param messages: the messages in this batch. Their clicks may have come before their number of links was known.
        """
        new = [hit for hit in hits if hit.type in LOOKED_AT and OWN_NETWORK not in hit.verdict_reasons]
        if not self._hindsight.reach or not (new or messages):
            return hits
        earlier = self._earlier(new, messages)
        visits: defaultdict[uuid.UUID, dict[uuid.UUID, Visit]] = defaultdict(dict)
        for seen in (*new, *earlier.values()):  # the row in the table comes last, so it replaces its replay
            visits[seen.message_id][seen.id] = visit(seen)
        several = [message_id for message_id, found in visits.items() if len(found) > 1]
        # Another machine may have written a message since the rows of messages were read.
        sent = self._rows(self._database.message.c.id, set(several) - self.touched.there.keys())
        reasons: dict[uuid.UUID, str] = {}
        for message_id in several:
            message = self.touched.there.get(message_id) or sent.get(message_id)
            if message is None or not message.shared:
                reasons |= self._hindsight.judge(visits[message_id].values(), message.link_count if message else None)
        wrong = sorted(earlier.keys() & reasons.keys())
        self._corrected = {key: (earlier[key], reasons[key]) for key in wrong}
        self._relabel([corrected(earlier[key], reasons[key]) for key in wrong])
        if not earlier and not reasons:
            return hits
        return [standing(hit, earlier.get(hit.id), reasons.get(hit.id)) for hit in hits]

    def _earlier(self, new: list[Hit], messages: list[SentMessage]) -> dict[uuid.UUID, Any]:
        """Return the events of the messages in the table, near in time, and at most a fixed number of each message."""
        event = self._database.event
        moments = [hit.occurred_at for hit in new]
        if messages:
            moments += [now(), *(message.created_at for message in messages)]
        nth = func.row_number().over(partition_by=event.c.message_id, order_by=event.c.occurred_at.desc())
        columns = [event.c[name] for name in (*_JUDGED, *_FIRST)]
        near = event.c.occurred_at.between(min(moments) - self._hindsight.reach, max(moments) + self._hindsight.reach)
        found: dict[uuid.UUID, Any] = {}
        every = {hit.message_id for hit in new} | {message.id for message in messages}
        for key in sorted(every & self._several):
            for kind in LOOKED_AT:  # one type at a time, so that the index has the rows in order
                mine = select(*columns).where(event.c.message_id == key, event.c.type == kind.value, near)
                rows = self._connection.execute(mine.order_by(event.c.occurred_at.desc()).limit(_LOOKED_BACK))
                found |= {row.id: row for row in rows}
        late = {message.id for message in messages} - self._several
        for ids in chunked(every - self._several - late):  # of which there are few: a crowd has more
            mine = select(*columns).where(event.c.message_id.in_(ids), event.c.type.in_(LOOKED_AT), near)
            found |= {row.id: row for row in self._connection.execute(mine) if OWN_NETWORK not in row.verdict_reasons}
        for ids in chunked(late):
            counted = select(*columns, nth.label("nth"))
            latest = counted.where(event.c.message_id.in_(ids), event.c.type.in_(LOOKED_AT), near).subquery()
            rows = self._connection.execute(select(latest).where(latest.c.nth <= _LOOKED_BACK))
            found |= {row.id: row for row in rows if OWN_NETWORK not in row.verdict_reasons}
        return found

    def _relabel(self, rows: list[dict[str, Any]]) -> None:
        event = self._database.event
        if rows:
            names = [name for name in rows[0] if name != "key_"]
            values: dict[str, Any] = {name.removeprefix("new_"): bindparam(name) for name in names}
            self._connection.execute(update(event).where(event.c.id == bindparam("key_")).values(values), rows)

    def _opt(self, hit: Hit, message: Any, asked: str) -> bool:
        """Change an opt-out, and say whether the change is news. A second identical choice is no event.

        A link lifts only refusals that were made by a link, and only those that its page has shown.

        :param asked: the list of the hit as it came.
        """
        kind, out = OPT_OUTS[hit.type]
        if self._register.seen([hit.id]):
            return False
        recipient, nameless = _whose(hit, message)
        if not out:
            return self._undo(hit, kind, recipient, nameless, asked)
        if self._register.is_lifted(hit._replace(list_id=asked), hit.list_id):
            return True  # the refusal happened, but its undo arrived first
        said = {name: getattr(hit, name) for name in ("method", "reason", "comment", "message_id", "ref")}
        key = {"recipient": recipient, "list_id": hit.list_id, "kind": kind}
        row = key | said | {"created_at": hit.occurred_at}
        (whole,) = self._database.host.complete(self._database.optout, [row], [hit], self._theirs)
        stands = self._register.enter(whole, hit.id)
        if stands is None:
            return True
        if hit.reason and stands.method in BY_LINK:  # the page that confirms an unsubscribe asks for the reason
            self._explain(stands, {"reason": hit.reason, "comment": hit.comment}, hit.type)
        return False

    def _undo(self, hit: Hit, kind: OptOutKind, recipient: str, nameless: bool, asked: str) -> bool:
        if not hit.lifts:
            log.warning("an undo names no refusal, so it lifts none: an old record, or an old page of the host")
            return False
        # The opt-out may stand under the reference of an older key, or of a newer key than the link's.
        keyed = self._signer.recipient_refs(recipient) if self._signer else ()
        refs = [hit.ref] if nameless else sorted({hit.ref, *keyed})
        early = {REF + ref for ref in refs}
        whose = {recipient, *early}

        def about(row: Any) -> bool:
            on = folded(row.list_id)
            if row.recipient in whose and on == hit.list_id:
                return True
            # An opt-out that came before the message row stands under the reference, and is about everything.
            if row.recipient in early and not on:
                return True
            # The list is not known any more, but the refusals of this same link are.
            mine = on == hit.list_id or (asked != EVERYTHING and row.message_id == hit.message_id)
            return nameless and row.ref == hit.ref and mine

        table = self._database.optout
        rows = or_(table.c.recipient.in_(sorted(whose)), table.c.ref == hit.ref if nameless else false())
        gone = self._register.lift(rows & (table.c.kind == kind), hit.lifts, about)
        scopes = [hit.list_id] if asked else [hit.list_id, f"message:{hit.message_id}"]
        unseen = self._register.unseen(hit.lifts)
        for ref in refs if unseen else ():
            marks = [mark(name, ref, False, kind, scope) for name in unseen for scope in scopes]
            self._register.mark(marks, hit, ref, self._theirs)
        return gone

    def _explain(self, stands: Any, reason: dict[str, str], kind: EventType) -> None:
        table, event = self._database.optout, self._database.event
        own = [table.c[name] == getattr(stands, name) for name in ("recipient", "list_id", "kind")]
        self._connection.execute(update(table).where(*own).values(reason))
        event_of_it = (event.c.message_id == stands.message_id, event.c.occurred_at == stands.created_at)
        found = select(event.c.id, event.c.message_id, event.c.occurred_at, event.c.reason).where(*event_of_it)
        rows = self._connection.execute(found.where(event.c.type == kind).with_for_update()).all()
        self._connection.execute(update(event).where(event.c.id.in_([row.id for row in rows])).values(reason))
        if kind == EventType.UNSUBSCRIBED:
            self.touched.explained(rows, reason["reason"])

    def _rows(self, column: Any, keys: Iterable[Any]) -> dict[Any, Any]:
        wanted = list(keys)
        if not wanted:
            return {}
        rows = self._connection.execute(select(column.table).where(column.in_(wanted)))
        return {getattr(row, column.key): row for row in rows}


def _whose(hit: Hit, message: Any) -> tuple[str, bool]:
    """Return the name under which a choice is stored, and whether the name is only a hash of a forgotten person."""
    if message is None or not message.recipient:
        return REF + hit.ref, True
    return message.recipient, False


def _old(hits: Iterable[Hit]) -> set[uuid.UUID]:
    """Return the messages whose events may be purged, and which get an event in spite of that."""
    day_ago = first_id(now() - timedelta(days=1))
    return {hit.message_id for hit in hits if hit.type in SUPPRESSING and hit.message_id < day_ago}


def event_row(hit: Hit) -> tuple[Any, ...]:
    """Return the values of :data:`EVENT_COLUMNS`."""
    return (*_of_hit(hit), hit.first_verdict or None, hit.first_verdict_reasons or None)


def _resolved(hit: Hit, sent: Mapping[uuid.UUID, Any], links: Mapping[str, Any]) -> Hit:
    """Return *hit* with facts from the tables: the list of an opt-out, or the name of a link."""
    if hit.type in OPT_OUTS:
        message = sent.get(hit.message_id)
        unnamed = folded(message.list_id) if message is not None else ""
        about_all = hit.list_id == EVERYTHING or OPT_OUTS[hit.type][0] == OptOutKind.TRACKING
        return hit._replace(list_id="" if about_all else folded(hit.list_id) or unnamed)
    link = links.get(hit.ref)
    return hit._replace(url=hit.url or link.url, link_name=link.name, part=link.part) if link is not None else hit
