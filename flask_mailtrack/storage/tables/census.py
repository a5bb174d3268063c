"""The finest sums over many messages, for a rebuild: what a rollup counts of one batch, of millions of events.

The database puts the events of each message in order, and says slot, person and rule of each. They are added up in one
loop that makes no object of an event, and are written when there are many sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    case,
    cast,
    extract,
    func,
    literal_column,
    select,
)

from flask_mailtrack.audience import by_people
from flask_mailtrack.columns import key_of
from flask_mailtrack.events import EventType, Status, Verdict
from flask_mailtrack.figures import (
    CLASSES,
    COUNTED,
    FIRST_BY,
    LONGEST_VALUE,
    MACHINE,
    NOUNS,
    OUT,
    PEOPLE,
    SHARES,
    SLOT_SECONDS,
    SLOTS_A_DAY,
    TOTALS,
    UNIQUES,
    UNKNOWN,
)
from flask_mailtrack.storage.records import batched

from .database import Database
from .rollup import DIMENSIONS, ENDS, FIGURES, KEYS, ROWS, columns_of, insert_or_add, link_value

_CLICKED = EventType.CLICKED.value
_HELD = 100_000
"""Sums that are held in memory; more are written."""
_FETCHED = 10_000
_BYTES = 8
_uuid = lru_cache(1_000)(UUID)
_Sums = defaultdict[tuple[Any, ...], int]
"""Sums by their keys: all numbers of one side by side in one integer, as one addition is quicker than twenty."""
_ONE = {name: 1 << place * _BYTES * 8 for names in (FIGURES, SHARES) for place, name in enumerate(names)}
_TOTAL = {key: _ONE[name] for key, name in TOTALS.items()}
_UNIQUE = {key: _ONE[name] for key, name in UNIQUES.items()}
_SHARE = {name: _ONE[name] for name in CLASSES}
_UNIQUE_SHARE = {name: _ONE[f"unique_{name}"] for name in FIRST_BY}
_BOTH = _ONE["both_people"]
_OTHER = dict(zip([(kind, PEOPLE) for kind in NOUNS], [(kind, PEOPLE) for kind in reversed(NOUNS)], strict=True))
_NOTHING: Any = literal_column("0", Integer)


def slot_in(dialect: str, moment: Any) -> ColumnElement[int]:
    """Return the number of the quarter hour of a moment, as SQL."""
    if dialect == "sqlite":
        seconds: Any = cast(func.strftime("%s", moment), Integer)
    elif dialect == "postgresql":
        seconds = cast(func.floor(extract("epoch", moment)), Integer)
    else:
        second: Any = literal_column("SECOND")
        beginning: Any = literal_column("'1970-01-01'")
        seconds = func.timestampdiff(second, beginning, moment, type_=Integer)
    slot: ColumnElement[int] = seconds // literal_column(str(SLOT_SECONDS), Integer)
    return slot


def who_in(event: Table) -> ColumnElement[str]:
    """Return whose an event counts as, as SQL: people's, a machine's, or nobody's of whom anybody can say."""
    return case((by_people(event), PEOPLE), (event.c.verdict == Verdict.UNKNOWN, UNKNOWN), else_=MACHINE)


def rule_in(event: Table) -> ColumnElement[str]:
    """Return the rule that has judged an event, as SQL."""
    first = func.coalesce(event.c.verdict_reasons[0].as_string(), "")
    return func.substr(event.c.verdict + ":" + first, 1, LONGEST_VALUE)


class Census:
    """Adds messages with all of their events to the sums of their own cohorts by the shortest spans.

    :param link_ref: returns the reference of a link, of its URL, name and part.
    :param happened: whether there are to be sums by the time at which something happened, too.
    """

    def __init__(
        self,
        database: Database,
        connection: Connection,
        link_ref: Callable[[str, str, str], str],
        happened: bool = True,
    ) -> None:
        self._database = database
        self._connection = connection
        self._link_ref = link_ref
        self._happened = happened
        self._figures: _Sums = defaultdict(int)
        self._shares: _Sums = defaultdict(int)

    def add(self, *mine: ColumnElement[bool]) -> None:
        """Add the messages of which the conditions *mine* are true."""
        self._copies(mine)
        self._sent_by_domain(mine)
        self._events(mine)
        if len(self._figures) + len(self._shares) > _HELD:
            self.write()

    def write(self) -> None:
        """Write what is held in memory."""
        figure, breakdown = self._database.figure, self._database.breakdown
        for table, sums, names in ((figure, self._figures, FIGURES), (breakdown, self._shares, SHARES)):
            columns = [name for name in columns_of(self._database, table) if name not in ENDS]
            size, numbers = len(names) * _BYTES, Struct(f"<{len(names)}q").unpack
            # In the order of their keys, in which rows and indexes grow at their ends.
            for some in batched(sorted(sums.items()), ROWS):
                each = ((key, numbers(total.to_bytes(size, "little"))) for key, total in some)
                rows = [(_uuid(cohort), *key, *values) for (cohort, *key), values in each]
                self._database.insert(self._connection, insert_or_add, table, columns, rows)
            sums.clear()

    def _query(self, mine: Iterable[ColumnElement[bool]]) -> Any:
        event, message = self._database.event, self._database.message
        # As texts: nobody needs a UUID of each event, which would take as long as all the rest.
        keys: list[Any] = [cast(column, String(36)) for column in (event.c.message_id, message.c.cohort_id)]
        keys += [message.c.status, event.c.type, who_in(event)]
        keys += [self._slot(moment) for moment in (message.c.created_at, event.c.occurred_at)]
        told = [event.c[name] for name in ("reason", "link", "part", "url", "link_name", *DIMENSIONS[:4])]
        query = select(*keys, *told, rule_in(event), message.c.recipient_domain)
        query = query.join_from(event, message, event.c.message_id == message.c.id)
        query = query.where(*mine, event.c.type.in_(COUNTED))
        query = query.order_by(event.c.message_id, event.c.occurred_at, event.c.id)
        return query.execution_options(yield_per=_FETCHED)

    def _events(self, mine: Iterable[ColumnElement[bool]]) -> None:
        of, known = "", set[tuple[str, ...]]()
        shares, happened = self._shares, self._happened
        row: Any
        for row in self._connection.execute(self._query(mine)):
            message, cohort, status, kind, by, made, at, reason, place, part, url, name, *values = row
            if message != of:
                of, known = message, set()
            keys = () if status == Status.COUNTER else KEYS[kind, by]
            firsts = [key for key in keys if key not in known]
            known.update(firsts)
            figure = _TOTAL.get((kind, by), 0) + sum(_UNIQUE[key] for key in firsts)
            figure += sum(_BOTH for key in firsts if _OTHER.get(key) in known)
            self._figures[cohort, "sent", "quarter", made, status] += figure
            if happened:
                self._figures[cohort, "happened", "quarter", at, status] += figure
            if kind not in NOUNS:
                if reason:
                    self._share(cohort, "reason", kind, made, at, reason, _SHARE[PEOPLE])
                continue
            share = _SHARE[by] + sum(_UNIQUE_SHARE[key[1]] for key in firsts)
            day = at - at % SLOTS_A_DAY
            for dimension, value in zip(DIMENSIONS, values, strict=True):
                shares[cohort, "sent", dimension, kind, "quarter", made, value] += share
                if happened:
                    shares[cohort, "happened", dimension, kind, "day", day, value] += share
            if kind == _CLICKED:
                link = link_value(place, part, self._link_ref(url, name, part))
                of_link = [key for each in keys if (key := (*each, link)) not in known]
                known.update(of_link)
                share = _SHARE[by] + sum(_UNIQUE_SHARE[key[1]] for key in of_link)
                self._share(cohort, "link", kind, made, at, link, share)

    def _share(self, cohort: str, dimension: str, kind: str, made: int, at: int, value: str, share: int) -> None:
        self._shares[cohort, "sent", dimension, kind, "quarter", made, value] += share
        if self._happened:
            self._shares[cohort, "happened", dimension, kind, "day", at - at % SLOTS_A_DAY, value] += share

    def _copies(self, mine: Iterable[ColumnElement[bool]]) -> None:
        message = self._database.message.c
        about = [message[name] for name in ("cohort_id", "status", "created_at", "tracks_opens", "tracks_clicks")]
        query = select(*about, (message.list_id != "").label("listed"), self._slot(message.created_at).label("slot"))
        each = query.where(*mine, message.status != Status.COUNTER).subquery("each_message").c
        keys = {"cohort_id": each.cohort_id, "basis": _word("sent"), "span": _QUARTER}
        keys |= {"slot": each.slot, "status": each.status}
        values: dict[str, Any] = {"copies": func.count(), "pixels": _number(each.tracks_opens)}
        values |= {"tracked": _number(each.tracks_clicks), "listed": _number(each.listed)}
        values |= {"first_at": func.min(each.created_at), "last_at": func.max(each.created_at)}
        self._insert(self._database.figure, keys, values)

    def _sent_by_domain(self, mine: Iterable[ColumnElement[bool]]) -> None:
        message = self._database.message.c
        query = select(message.cohort_id, message.recipient_domain, self._slot(message.created_at).label("slot"))
        each = query.where(*mine, message.status.in_(OUT)).subquery("each_message").c
        keys = {"cohort_id": each.cohort_id, "basis": _word("sent"), "dimension": _word("domain")}
        keys |= {"type": _word("sent"), "span": _QUARTER, "slot": each.slot, "value": each.recipient_domain}
        self._insert(self._database.breakdown, keys, {PEOPLE: func.count()})

    def _slot(self, moment: Any) -> ColumnElement[int]:
        return slot_in(self._connection.dialect.name, moment)

    def _insert(self, table: Table, keys: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Add the values of each group with the same keys."""
        given: dict[str, Any] = {**keys, **values}
        # Moments that are not given are left out: their default is NULL.
        names = [name for name in columns_of(self._database, table) if name in given or name not in ENDS]
        columns = [given.get(name, _NOTHING).label(name) for name in names]
        by = [column for name in key_of(table) if not getattr(column := keys[name], "is_literal", False)]
        query = select(*columns).group_by(*by)
        self._connection.execute(insert_or_add(self._connection.dialect.name, table).from_select(names, query))


def _number(condition: Any) -> Any:
    """Return how many rows a condition is true of."""
    return func.sum(case((condition, 1), else_=0))


def _word(text: str) -> Any:
    return literal_column(f"'{text}'", String)


_QUARTER = _word("quarter")
