"""The figures as the sums tell them, in a time that does not depend on how many events there are.

A period is made of whole days, of the quarter hours at its ends, and of what is left of these, which the rows answer.
A subject is looked up by its hash; mail whose subjects are too many to be told apart is asked of the rows, too.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, case, func, literal_column, or_, select, union_all

from flask_mailtrack.figures import COPIES, SHARES, SLOTS_A_DAY, SUMMED, slot_of
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import cohorts_inside

from .buckets import Buckets, Pieces, moment_of_slot, slot_from
from .rows import Key, Part, Period, RowFigures, Table, Values, as_key, between, has_text, merge
from .selection import Selection

_FEW = 4
_NUMBERS = (*COPIES, *SUMMED, "first_at", "last_at")
Range = tuple[int | None, int | None]
SubjectRefs = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Spans:
    """A period, as the sums have it.

    :param days: from one slot to another, of whole days in UTC.
    :param quarters: the same, of quarter hours.
    :param ends: what is left.
    """

    days: list[Range]
    quarters: list[Range]
    ends: list[Period]

    def each(self) -> Iterator[tuple[str, list[Range]]]:
        """Yield what to ask for: the span of sums, and from where to where; far ends of a period apart."""
        for span, ranges in (("day", self.days), ("quarter", self.quarters)):
            few = [[each] for each in ranges] if len(ranges) <= _FEW else [ranges]
            yield from ((span, some) for some in few)


class SumFigures:
    """Reads the sums of one database.

    :param rows: answers what the sums cannot.
    :param subject_refs: returns the hashes of a subject under each key.
    """

    def __init__(self, database: Database, rows: RowFigures, subject_refs: SubjectRefs) -> None:
        self._database = database
        self._rows = rows
        self._subject_refs = subject_refs
        self._remembers = False
        self._entered: bool | None = None
        self._told_subjects: dict[Selection, list[tuple[str, str, str]]] = {}

    def briefly(self) -> SumFigures:
        """Return the same figures for one page, which asks once what holds for all of its questions."""
        brief = SumFigures(self._database, self._rows, self._subject_refs)
        brief._remembers = True
        return brief

    def usable(self) -> bool:
        """Say whether each message is in the sums: those of before there were sums are entered by a rebuild."""
        if self._entered is None or not self._remembers:
            column = self._database.message.c
            self._entered = not self._database.rows(select(column.id).where(column.cohort_id.is_(None)).limit(1))
        return self._entered

    def figures(self, selection: Selection, groups: Sequence[str] = (), buckets: Buckets | None = None) -> Table:
        """Return what :meth:`RowFigures.figures` returns."""
        found: Table = defaultdict(dict)
        scope = _scope(selection, groups)
        spans, pieces = self._spans(selection, scope, buckets)
        texts = self._subjects(selection) if "subject" in groups else {}
        told: dict[Any, Any] = {}
        for about, mode, status, values in self._read(self._queries(selection, scope, groups, pieces, spans)):
            if about not in told:
                told[about] = self._told(about, groups, buckets, pieces, texts)
            key = Key(told[about], mode, status)
            if key in found:
                merge(found[key], values)
            else:
                found[key] = values
        for part in self._left(selection, spans.ends):
            for key, values in self._rows.figures(selection, groups, buckets, part).items():
                merge(found[key], values)
        return {key: values for key, values in found.items() if any(values.values())}

    def shares(self, selection: Selection, dimension: str, kind: str) -> Values:
        """Return what :meth:`RowFigures.shares` returns, but for links, whose values are as they are stored."""
        return self.several_shares(selection, [(dimension, kind)])[0]

    def several_shares(self, selection: Selection, pairs: Sequence[tuple[str, str]]) -> list[Values]:
        """Return the shares of each dimension and kind, which are asked for all at once."""
        every: list[Values] = [defaultdict(lambda: dict.fromkeys(SHARES, 0)) for _ in pairs]
        asked = [self._share_queries(selection, *pair, place) for place, pair in enumerate(pairs)]
        queries = [query for each in asked for query in each]
        if queries:
            for place, value, *numbers in self._database.rows(union_all(*queries) if queries[1:] else queries[0]):
                merge(every[place][value], dict(zip(SHARES, numbers, strict=True)))
        for found, (dimension, kind) in zip(every, pairs, strict=True):
            for part in self._left(selection, _share_spans(selection, kind).ends):
                for value, some in self._rows.shares(selection, dimension, kind, part).items():
                    merge(found[value], some)
        return [{value: numbers for value, numbers in each.items() if any(numbers.values())} for each in every]

    def _share_queries(self, selection: Selection, dimension: str, kind: str, place: int) -> Iterator[Any]:
        """Yield a query for each span; each row begins with the *place* of the dimension among those asked for."""
        cohort, table = self._database.cohort, self._database.breakdown
        scope = "all" if dimension != "link" and _scope(selection, ()) == "all" else "mail"
        basis = "happened" if selection.happened and kind != "sent" else "sent"
        sums = [func.sum(table.c[name]).label(name) for name in SHARES]
        for span, ranges in _share_spans(selection, kind).each():
            query = select(literal_column(str(place), Integer).label("place"), table.c.value, *sums)
            about = (table.c.basis == basis, table.c.dimension == dimension, table.c.type == kind)
            mine = (*about, table.c.span == span, _within(table.c.slot, ranges))
            joined = query.select_from(cohort.join(table, table.c.cohort_id == cohort.c.id))
            yield joined.where(*self._cohorts(selection, scope), *mine).group_by(table.c.value)

    def openers_by_slot(self, mails: Sequence[tuple[Selection, datetime, int]]) -> list[dict[int, int]]:
        """Return how many messages people first opened in each quarter hour, counted from when a mail began.

        :param mails: each with its beginning, and the hours of interest.
        """
        cohort, figure = self._database.cohort, self._database.figure
        found: list[dict[int, int]] = [{} for _ in mails]
        queries = []
        for place, (about, start, hours) in enumerate(mails):
            first = slot_of(start)
            passed = (figure.c.slot - first).label("passed")
            query = select(
                literal_column(str(place), Integer).label("place"), passed, func.sum(figure.c.openers_people)
            )
            joined = query.select_from(cohort.join(figure, figure.c.cohort_id == cohort.c.id))
            mine = (figure.c.basis == "happened", figure.c.span == "quarter", figure.c.openers_people != 0)
            when = between(figure.c.slot, first, first + hours * SLOTS_A_DAY // 24)
            queries.append(joined.where(*self._cohorts(about, "mail"), *mine, when).group_by(figure.c.slot))
        if queries:
            for place, slot, number in self._database.rows(union_all(*queries) if queries[1:] else queries[0]):
                found[place][slot] = found[place].get(slot, 0) + int(number)
        return found

    def cohorts_with(self, selection: Selection, text: str) -> list[uuid.UUID]:
        """Return the cohorts in which messages of a selection can be that have a text in their subject."""
        cohort, message = self._database.cohort, self._database.message
        # All of a cohort have one subject, so one that is not erased tells it.
        sample = select(message.c.subject).where(message.c.cohort_id == cohort.c.id, message.c.subject != "").limit(1)
        told = sample.scalar_subquery()
        query = select(cohort.c.id).where(*self._cohorts(selection, "mail"))
        others = select(cohort.c.id).where(*self._cohorts(selection, "mail", others=True))
        if text:
            query = query.where(has_text(told, text))
        found = {row[0] for row in (*self._database.rows(query), *self._database.rows(others))}
        return sorted(found)

    def _spans(self, selection: Selection, scope: str, buckets: Buckets | None) -> tuple[Spans, Pieces | None]:
        if buckets is None:
            return _cut(selection), None
        first = last = None
        if selection.start is None or selection.end is None:
            first, last = self._reach(selection, scope)
        # What is asked for may begin in the year 1; what there is does not.
        since = first if first and (selection.start is None or selection.start < first) else selection.start
        until = last if last and (selection.end is None or selection.end > last) else selection.end
        if since is None or until is None or until <= since:
            return Spans([], [], []), None
        bounded = selection.narrowed(since=since, until=until)
        return _cut_by(bounded, buckets), buckets.pieces(slot_of(since), slot_from(until))

    def _reach(self, selection: Selection, scope: str) -> tuple[datetime | None, datetime | None]:
        """Return when the first day begins, and the last one ends, of which there is a sum."""
        cohort, figure = self._database.cohort, self._database.figure
        bases = ["sent", "happened"] if selection.happened else ["sent"]
        query = select(func.min(figure.c.slot), func.max(figure.c.slot))
        joined = query.select_from(cohort.join(figure, figure.c.cohort_id == cohort.c.id))
        mine = (*self._cohorts(selection, scope), figure.c.basis.in_(bases), figure.c.span == "day")
        ((first, last),) = self._database.rows(joined.where(*mine))
        if first is None:
            return selection.end, selection.start
        low, high = moment_of_slot(first), moment_of_slot(last + SLOTS_A_DAY)
        return min(low, selection.end or low), max(high, selection.start or high)

    def _queries(
        self, selection: Selection, scope: str, groups: Sequence[str], pieces: Pieces | None, spans: Spans
    ) -> Iterator[Any]:
        """Yield a query for each span and basis; each row ends with the names of its numbers."""
        asked = [("happened", SUMMED), ("sent", COPIES)] if selection.happened else [("sent", (*COPIES, *SUMMED))]
        figure = self._database.figure.c
        for basis, names in asked:
            for span, ranges in spans.each():
                query = self._query(selection, scope, groups, pieces).add_columns(*self._sums(names))
                mine = [figure.basis == basis, figure.span == span, _within(figure.slot, ranges)]
                if selection.status is not None:
                    mine.append(figure.status == selection.status)
                yield query.where(*mine)

    def _read(self, queries: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """Ask all at once, and yield the groups of each row, its mode and status, and its numbers by name."""
        if not (each := list(queries)):
            return
        count = len(_NUMBERS)
        for row in self._database.rows(union_all(*each) if len(each) > 1 else each[0]):
            *numbers, first, last = row[-count:]
            ends = {"first_at": first, "last_at": last} if first is not None else {}
            # Most are 0, and each that is not would have to be looked at some more times.
            values = {name: int(number) for name, number in zip(_NUMBERS, numbers, strict=False) if number}
            yield row[: -count - 2], row[-count - 2], row[-count - 1], values | ends

    def _query(self, selection: Selection, scope: str, groups: Sequence[str], pieces: Pieces | None) -> Any:
        cohort, figure = self._database.cohort, self._database.figure
        if pieces is not None:
            shifted = figure.c.slot + _shift(figure.c.slot, pieces)
            keys: list[Any] = [shifted // literal_column(str(pieces.width), Integer)]
        else:
            keys = [cohort.c["subject_ref" if name == "subject" else name] for name in groups]
        named = [key.label(f"group{place}") for place, key in enumerate(keys)]
        query = select(*named, cohort.c.mode, figure.c.status)
        joined = query.select_from(cohort.join(figure, figure.c.cohort_id == cohort.c.id))
        by = [f"group{place}" for place in range(len(keys))]
        return joined.where(*self._cohorts(selection, scope)).group_by(*by, cohort.c.mode, figure.c.status)

    def _sums(self, names: Collection[str]) -> list[Any]:
        figure = self._database.figure.c
        # A sum whose mail has all gone on to another status keeps the moments of that mail.
        first, last = (case((figure.copies > 0, figure[name])) for name in ("first_at", "last_at"))
        sums = (func.sum(figure[name]) if name in names else literal_column("0") for name in (*COPIES, *SUMMED))
        return [each.label(name) for each, name in zip((*sums, func.min(first), func.max(last)), _NUMBERS, strict=True)]

    def _cohorts(self, selection: Selection, scope: str, others: bool = False) -> list[ColumnElement[bool]]:
        """Return which cohorts are selected.

        :param others: those in which subjects are not told apart, in place of those of the subject.
        """
        cohort = self._database.cohort
        found = [cohort.c.scope == scope, *cohorts_inside(cohort, selection.within)]
        for name in ("tag", "list_id", "sender_domain"):
            if (value := getattr(selection, name)) is not None:
                found.append(cohort.c[name] == value)
        if others:
            found.append(cohort.c.subject_ref == "")
        elif selection.subject is not None:
            found.append(cohort.c.subject_ref.in_(list(self._subject_refs(selection.subject))))
        return found

    def _left(self, selection: Selection, ends: Sequence[Period]) -> Iterator[Part]:
        """Yield what the rows have to answer."""
        cohort, message = self._database.cohort, self._database.message
        if ends:
            mine = select(cohort.c.id).where(*self._cohorts(selection, "mail"))
            yield Part(ends, [message.c.cohort_id.in_(mine)], near=True)
        if selection.subject is not None:
            others = select(cohort.c.id).where(*self._cohorts(selection, "mail", others=True))
            if self._database.rows(others.limit(1)):
                whole = [(selection.start, selection.end)]
                yield Part(whole, [message.c.cohort_id.in_(others)], near=True)

    def subjects(self, selection: Selection) -> list[tuple[str, str, str]]:
        """Return tag, hash and subject of mail, as far as a message is left that says its subject."""
        about = selection.narrowed(since=None, until=None, status=None, audience="people", basis="sent")
        if about not in self._told_subjects or not self._remembers:
            cohort, message = self._database.cohort, self._database.message
            mine = (message.c.cohort_id == cohort.c.id, message.c.subject != "")
            told = select(message.c.subject).where(*mine).limit(1).scalar_subquery()
            query = select(cohort.c.tag, cohort.c.subject_ref, told.label("subject"))
            rows = self._database.rows(query.where(*self._cohorts(about, "mail")))
            self._told_subjects = {about: [(tag, ref, subject) for tag, ref, subject in rows if ref and subject]}
        return self._told_subjects[about]

    def _subjects(self, selection: Selection) -> dict[str, str | None]:
        """Return the subjects by their hashes."""
        found: dict[str, str | None] = dict.fromkeys(self._subject_refs(""), "")
        return found | {ref: subject for _, ref, subject in self.subjects(selection)}

    @staticmethod
    def _told(
        group: Sequence[Any],
        groups: Sequence[str],
        buckets: Buckets | None,
        pieces: Pieces | None,
        texts: dict[str, str | None],
    ) -> Any:
        if buckets is not None and pieces is not None:
            return buckets.of_piece(int(group[0]), pieces)
        return as_key(texts.get(each) if name == "subject" else each for name, each in zip(groups, group, strict=True))


def _scope(selection: Selection, groups: Sequence[str]) -> str:
    """Return the widest scope of cohorts that tells apart what is asked for."""
    within = selection.within or Scope()
    tags = selection.tag is not None or within.tags is not None
    if tags or selection.subject is not None or not {"tag", "subject"}.isdisjoint(groups):
        return "mail"
    lists = selection.list_id is not None or within.lists is not None or "list_id" in groups
    senders = selection.sender_domain is not None or within.sender_domains is not None or "sender_domain" in groups
    if lists and senders:
        return "mail"
    return "list" if lists else "domain" if senders else "all"


def _cut(selection: Selection) -> Spans:
    """Return the period in as few pieces as there can be."""
    start, end = selection.start, selection.end
    first = None if start is None else slot_from(start)
    last = None if end is None else slot_of(end)
    if first is not None and last is not None and first > last:  # within one quarter hour
        return Spans([], [], [(start, end)])
    ends = _ends(start, end, first, last)
    morning = None if first is None else -(-first // SLOTS_A_DAY) * SLOTS_A_DAY
    evening = None if last is None else last // SLOTS_A_DAY * SLOTS_A_DAY
    if morning is not None and evening is not None and morning > evening:
        return Spans([], [(first, last)], ends)
    before = [(first, morning)] if first != morning else []
    after = [(evening, last)] if evening != last else []
    days = [] if morning is not None and morning == evening else [(morning, evening)]
    return Spans(days, [*before, *after], ends)


def _cut_by(selection: Selection, buckets: Buckets) -> Spans:
    """Return a period with both ends in pieces of which each is in one bucket."""
    spans = _cut(selection)
    days: list[Range] = []
    quarters = list(spans.quarters)
    for first, last in spans.days:
        for day in range(first or 0, last or 0, SLOTS_A_DAY):  # both ends are known
            whole = buckets.step != "hour" and buckets.are_one(day, day + SLOTS_A_DAY - 1)
            _extend(days if whole else quarters, day, day + SLOTS_A_DAY)
    return Spans(days, quarters, spans.ends)


def _extend(ranges: list[Range], first: int, last: int) -> None:
    if ranges and ranges[-1][1] == first:
        ranges[-1] = (ranges[-1][0], last)
    else:
        ranges.append((first, last))


def _share_spans(selection: Selection, kind: str) -> Spans:
    spans = _cut(selection)
    return _without_quarters(spans) if selection.happened and kind != "sent" else spans


def _without_quarters(spans: Spans) -> Spans:
    """Return the same period where there are sums of days only: the rows answer its ends."""
    ends: list[Period] = [
        (None if first is None else moment_of_slot(first), None if last is None else moment_of_slot(last))
        for first, last in spans.quarters
    ]
    return Spans(spans.days, [], [*spans.ends, *ends])


def _ends(start: datetime | None, end: datetime | None, first: int | None, last: int | None) -> list[Period]:
    found: list[Period] = []
    if start is not None and first is not None and start != moment_of_slot(first):
        found.append((start, moment_of_slot(first)))
    if end is not None and last is not None and end != moment_of_slot(last):
        found.append((moment_of_slot(last), end))
    return found


def _within(column: Any, ranges: Sequence[Range]) -> ColumnElement[bool]:
    """Return the condition that a slot is in one of the ranges, of which the first and the last bound what is read."""
    parts = [between(column, first, last) for first, last in ranges]
    if len(ranges) == 1:
        return parts[0]
    around = between(column, min(first or 0 for first, _ in ranges), max(last or 0 for _, last in ranges))
    return and_(around, or_(*parts))


def _shift(slot: Any, pieces: Pieces) -> Any:
    *earlier, (_, last) = pieces.shifts
    if not earlier:
        return literal_column(str(last), Integer)
    return case(*((slot < until, shift) for until, shift in earlier), else_=last)
