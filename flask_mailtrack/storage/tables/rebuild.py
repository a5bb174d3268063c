"""The sums made anew from messages and events, while no drain changes them.

The drain waits meanwhile, as it does for a database that is away: the journal keeps what comes, and no mail and no
link waits. Periods of which rows may have been purged keep the sums that they have. Where events are purged, sums by
the time at which something happened stay, too: the first event of an older mail may be gone.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Table,
    delete,
    exists,
    func,
    literal,
    literal_column,
    select,
    true,
    update,
)

from flask_mailtrack.columns import key_of
from flask_mailtrack.events import SentMessage, Status, now
from flask_mailtrack.figures import COUNTED, SLOTS_A_DAY, slot_of
from flask_mailtrack.modes import Mode
from flask_mailtrack.tokens import Signer

from . import counts
from .census import Census
from .cohorts import CohortKey, Cohorts, provider_domain
from .database import MYSQL, Database, chunked
from .rollup import Rollup, columns_of, insert_or_add
from .touched import OF_MESSAGE, Touched, event_query, seen_of, sent_of

_MESSAGES = 2_000
_PAGE = 10_000
"""Messages that are summed at once."""
_NOBODY = 0
"""Number of a transaction that has inserted no message."""
_FINER = ("finer_figure", "finer_breakdown")
"""Other names for two tables that are read and written in one statement."""


class Rebuild:
    """Sums everything that is there once more.

    :param signer: makes keyed hashes of subjects and links.
    :param keep_days: by ``events`` and ``messages``: what is older may be purged.
    :param since: only mail made on or after this day in UTC; ``None``: all.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        keep_days: Mapping[str, float] | None = None,
        since: datetime | None = None,
    ) -> None:
        self._database = database
        self._cohorts = Cohorts(database, signer)
        kept = [now() - timedelta(days=days) for days in (keep_days or {}).values() if days]
        moments = [*kept, *([since] if since else [])]
        self._since = _next_day(max(moments)) if moments else None
        self._asked_since = since

    def run(self, progress: Callable[[int], object] = lambda messages: None) -> int:
        """Sum again, in one transaction, and return the number of messages summed.

        :param progress: told of the messages of each step.
        :raises SQLAlchemyError: the database could not do it now; the sums are as they were.
        """
        self._restore()
        self._assign()
        with self._database.transaction() as connection, self._held(connection):
            if self._since:
                self._take_early(connection)
            self._clear(connection)
            done = self._sum(connection, progress)
            self._widen(connection, self._every(connection))
            return done

    def _restore(self) -> None:
        """Enter the cohorts of messages again whose rows are missing, as some tables may be older than others."""
        message, cohort = self._database.message, self._database.cohort
        alike = [func.max(message.c[name]).label(name) for name in ("tag", "list_id", "sender", "subject", "mode")]
        gone = ~exists().where(cohort.c.id == message.c.cohort_id)
        query = select(message.c.cohort_id, *alike).where(message.c.cohort_id.is_not(None), gone)
        with self._database.transaction() as connection:
            self._cohorts.restore(connection, connection.execute(query.group_by(message.c.cohort_id)).all())

    def _assign(self) -> None:
        """Give messages from before there were sums their cohorts, in short transactions that also count them.

        So a rebuild that ends early leaves no message that has a cohort and is in no sum. Messages whose events may be
        purged are counted, too: they are in no sum yet, and reports ask the rows as long as there are such messages.
        """
        message = self._database.message
        recent = [message.c.created_at >= self._asked_since] if self._asked_since else []
        old = select(message.c.id).where(message.c.cohort_id.is_(None), *recent).limit(_MESSAGES)
        while ids := [row[0] for row in self._database.rows(old)]:
            with self._database.transaction() as connection:
                self._enter(connection, ids)

    def _enter(self, connection: Connection, ids: Sequence[uuid.UUID]) -> None:
        database, rollup = self._database, Rollup()
        message, early = database.message, database.early_event
        database.lock(connection, ids)
        names = {*OF_MESSAGE, "recipient", "sender", "subject", "tag", "mode"}
        query = select(*(message.c[name] for name in names)).where(message.c.id.in_(ids), message.c.cohort_id.is_(None))
        rows = connection.execute(query).all()  # another rebuild may have been quicker
        found = self._cohorts.of(connection, map(_mail, rows))
        self._cohorts.enter(connection, found.values())
        for row in rows:
            about = {"cohort_id": found[row.id].id, "recipient_domain": provider_domain(row.recipient)}
            connection.execute(update(message).where(message.c.id == row.id).values(about))
        entered = connection.execute(select(*(message.c[name] for name in OF_MESSAGE)).where(message.c.id.in_(found)))
        self._count(connection, rollup, entered.all())
        connection.execute(delete(early).where(early.c.message_id.in_(found)))
        wider = {cohort.id: cohort.wider() for cohort in found.values()}
        rollup.write(database, connection, wider.__getitem__)

    @contextmanager
    def _held(self, connection: Connection) -> Iterator[None]:
        """Have drains wait until this transaction ends."""
        kind, database = connection.dialect.name, self._database
        # In the order in which drains come to them, so that nobody waits in a circle.
        changed = [self._name(connection, t) for t in (database.early_event, database.figure, database.breakdown)]
        if kind == "sqlite":
            database.lock(connection, [uuid.UUID(int=0)])
            yield
        elif kind not in MYSQL:
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(changed)} IN EXCLUSIVE MODE")
            yield
        else:  # a lock on a table does not end with its transaction
            read = [self._name(connection, t) for t in (database.message, database.event, database.cohort)]
            locks = [*(f"{name} WRITE" for name in changed), *(f"{name} READ" for name in read)]
            # For MySQL, another name is another table, with a lock of its own.
            locks += [f"{name} AS {other} READ" for name, other in zip(changed[1:], _FINER, strict=True)]
            connection.exec_driver_sql(f"LOCK TABLES {', '.join(locks)}")
            try:
                yield
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            finally:
                connection.exec_driver_sql("UNLOCK TABLES")

    @staticmethod
    def _name(connection: Connection, table: Table) -> str:
        return connection.dialect.identifier_preparer.format_table(table)

    def _clear(self, connection: Connection) -> None:
        for table in (self._database.figure, self._database.breakdown):
            connection.execute(delete(table).where(*self._of_late(table)))
        connection.execute(delete(self._database.early_event).where(self._awaited()))

    def _awaited(self) -> ColumnElement[bool]:
        """Return the condition that an event waits for a message that is there."""
        message, early = self._database.message, self._database.early_event
        return exists().where(message.c.id == early.c.message_id, message.c.cohort_id.is_not(None))

    def _take_early(self, connection: Connection) -> None:
        """Count what waits in all sums, as a drain does, because those that stay would never have it."""
        database, name = self._database, self._database.early_event.c.message_id
        query = select(name).where(self._awaited()).distinct().limit(_MESSAGES)
        while ids := connection.execute(query).scalars().all():
            touched = Touched(database, connection, _NOBODY, self._cohorts)
            touched.read(ids, (), (), counts.crowded(database, connection, ids))
            touched.write((), {})

    def _of_late(self, table: Any) -> list[ColumnElement[bool]]:
        """Return which sums are made anew; all, if nothing can be purged."""
        return [table.c.basis == "sent", table.c.slot >= slot_of(self._since)] if self._since else []

    def _every(self, connection: Connection) -> dict[uuid.UUID, CohortKey]:
        table = self._database.cohort
        columns = [table.c[name] for name in ("id", *CohortKey._fields)]
        rows = connection.execute(select(*columns).where(table.c.scope == "mail").order_by(table.c.id))
        return {key: CohortKey(*about) for key, *about in rows}

    def _sum(self, connection: Connection, progress: Callable[[int], object]) -> int:
        census = Census(self._database, connection, self._cohorts.link_ref, happened=self._since is None)
        done = 0
        for number, mine in self._pages(connection):
            census.add(*mine)
            done += number
            progress(number)
        census.write()
        return done

    def _widen(self, connection: Connection, cohorts: Mapping[uuid.UUID, CohortKey]) -> None:
        """Add the finest sums up to those of days, and both to those of wider cohorts.

        In the database: there are ten times as many of these, and nothing has to be looked at for them but sums.
        """
        for table, other in zip((self._database.figure, self._database.breakdown), _FINER, strict=True):
            of = table.alias(other)
            # No parameters: PostgreSQL would take the one to group by for another one.
            day = of.c.slot - of.c.slot % literal_column(str(SLOTS_A_DAY), Integer)
            bases = ["sent", "happened"] if table is self._database.figure else ["sent"]
            mine = (of.c.span == "quarter", of.c.basis.in_(bases))
            self._add(connection, table, of, {"span": literal("day"), "slot": day}, *mine)
            within: defaultdict[CohortKey, list[uuid.UUID]] = defaultdict(list)
            for key, cohort in cohorts.items():
                for wider in cohort.wider() if table is self._database.figure else cohort.wider()[-1:]:
                    within[wider].append(key)
            told = of.c.dimension != "link" if table is self._database.breakdown else true()
            for wider, ids in within.items():
                for some in chunked(ids):
                    about = {"cohort_id": literal(wider.id, of.c.cohort_id.type)}
                    self._add(connection, table, of, about, of.c.cohort_id.in_(some), told)

    def _add(
        self, connection: Connection, table: Table, of: Any, others: Mapping[str, Any], *mine: ColumnElement[bool]
    ) -> None:
        """Add up the sums of which *mine* is true, in groups by their keys, of which *others* are in place."""
        keys, names = key_of(table), columns_of(self._database, table)
        values = {name: others.get(name, of.c[name]) for name in keys}
        values |= {name: func.sum(of.c[name]) for name in names if name not in keys}
        if "first_at" in values:
            values |= {"first_at": func.min(of.c.first_at), "last_at": func.max(of.c.last_at)}
        query = select(*(values[name].label(name) for name in names)).where(*mine, *self._of_late(of))
        query = query.group_by(*(values[name] for name in keys if not isinstance(values[name], BindParameter)))
        connection.execute(insert_or_add(connection.dialect.name, table).from_select(names, query))

    def _count(self, connection: Connection, rollup: Rollup, rows: Sequence[Any]) -> None:
        mine: dict[uuid.UUID, list[Any]] = {row.id: [] for row in rows}
        # A counter has the events of a whole campaign, and no first ones: they are never in memory together.
        counters = {row.id: sent_of(row) for row in rows if row.status == Status.COUNTER}
        event = self._database.event
        query = event_query(event).where(event.c.message_id.in_(list(mine)), event.c.type.in_(COUNTED))
        for row in connection.execute(query.execution_options(yield_per=_MESSAGES)):
            seen = seen_of(row, self._cohorts.link_ref)
            if (counter := counters.get(seen.message_id)) is not None:
                rollup.events(counter, [seen], {})
            else:
                mine[seen.message_id].append(seen)
        for row in rows:
            rollup.whole(sent_of(row), mine[row.id])

    def _pages(self, connection: Connection) -> Iterator[tuple[int, list[ColumnElement[bool]]]]:
        """Yield how many messages there are in each page, and which: each with all of its events."""
        message = self._database.message
        key = message.c.id
        counted: list[ColumnElement[bool]] = [message.c.cohort_id.is_not(None)]
        counted += [message.c.created_at >= self._since] if self._since else []
        query = select(key).where(*counted).order_by(key)
        after: list[Any] = []
        while last := connection.scalar(query.where(*after).limit(1).offset(_PAGE - 1)):
            yield _PAGE, [*counted, *after, key <= last]
            after = [key > last]
        if rest := connection.scalar(select(func.count()).select_from(message).where(*counted, *after)):
            yield rest, [*counted, *after]


def _mail(row: Any) -> SentMessage:
    return SentMessage(
        id=row.id,
        batch_id=row.id,
        recipient=row.recipient,
        sender=row.sender,
        subject=row.subject,
        header_message_id="",
        created_at=row.created_at,
        tag=row.tag,
        list_id=row.list_id,
        mode=Mode(row.mode or Mode.INDIVIDUAL),
    )


def _next_day(moment: datetime) -> datetime:
    """Return the first midnight in UTC that is not before a moment."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    midnight = datetime.combine(moment.date(), time(), UTC)
    return midnight if midnight == moment else midnight + timedelta(days=1)
