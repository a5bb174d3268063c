"""The figures as the sums tell them, in a time that does not depend on how many events there are.

A period is made of whole days, of the quarter hours at its ends, and of what is left of these, which the rows answer.
A subject is looked up by its hash; mail whose subjects are too many to be told apart is asked of the rows, too.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, case, func, literal_column, select, union_all

from flask_mailtrack.events import Status
from flask_mailtrack.figures import COPIES, OUT, SHARES, SLOTS_A_DAY, SUMMED, slot_of
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import cohorts_inside

from .buckets import Buckets, Pieces, moment_of_slot, slot_from
from .rows import Key, Part, Period, RowFigures, Table, Values, as_key, between, has_text, merge
from .selection import Selection
from .sources import NOTHING, Source, Sources
from .spans import Spans, cut, share_spans

_PART = COPIES[1:]
_SENT = Status.SENT.value
_OTHERS = tuple(status.value for status in Status if status not in (Status.COUNTER, Status.SENT))
_COPIED = (_SENT, *_OTHERS)
_NUMBERS = (*SUMMED, *_PART, "first_at", "last_at")
_SUMS = _NUMBERS[:-2]
_NONE = literal_column("0", Integer)
SubjectRefs = Callable[[str], Sequence[str]]


class SumFigures:
    """Reads the sums of one database.

    :param rows: answers what the sums cannot.
    :param subject_refs: returns the hashes of a subject under each key.
    """

    def __init__(self, database: Database, rows: RowFigures, subject_refs: SubjectRefs) -> None:
        self._database = database
        self._rows = rows
        self._subject_refs = subject_refs
        self._columns: dict[tuple[str, ...], list[Any]] = {}
        self._remembers = False
        self._entered: bool | None = None
        self._told_subjects: dict[Selection, list[tuple[str, str, str]]] = {}

    def briefly(self) -> SumFigures:
        """Return the same figures for one page, which asks once what holds for all of its questions."""
        brief = SumFigures(self._database, self._rows, self._subject_refs)
        brief._columns = self._columns
        brief._remembers = True
        return brief

    def usable(self) -> bool:
        """Say whether each message is in the sums: those of before there were sums are entered by a rebuild."""
        if self._entered is None or not self._remembers:
            column = self._database.message.c
            self._entered = not self._database.rows(select(column.id).where(column.cohort_id.is_(None)).limit(1))
        return self._entered

    def figures(self, selection: Selection, groups: Sequence[str] = (), buckets: Buckets | None = None) -> Table:
        """Return what :meth:`RowFigures.figures` returns, but by status the copies alone.

        Other figures stand under ``sent`` whatever the status, those of mail that has not gone out left out of
        ``pixels``, ``tracked`` and ``listed``: of these, nobody is told.
        """
        found: Table = defaultdict(dict)
        scope = _scope(selection, groups)
        spans, pieces = self._spans(selection, scope, buckets)
        texts = self._subjects(selection) if "subject" in groups else {}
        told: dict[Any, Any] = {}

        def named(about: Any) -> Any:
            if about not in told:
                told[about] = self._told(about, groups, buckets, pieces, texts)
            return told[about]

        def add(key: Key, values: dict[str, Any]) -> None:
            if key in found:
                merge(found[key], values)
            else:  # as a rule
                found[key] = values

        queries = self._queries(selection, scope, groups, pieces, spans)
        for about, moved_from, mode, values, copies in self._read(queries):
            group = named(about)
            add(Key(group, mode, _SENT), values)
            for status, number in copies:
                add(Key(group, mode, status), {"copies": number})
            if moved_from is not None:
                merge(found[Key(named((moved_from,)), mode, _SENT)], {name: -number for name, number in values.items()})
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
        for place, value, *numbers in self._at_once(queries):
            merge(every[place][value], dict(zip(SHARES, numbers, strict=True)))
        for found, (dimension, kind) in zip(every, pairs, strict=True):
            for part in self._left(selection, share_spans(selection, kind).ends):
                for value, some in self._rows.shares(selection, dimension, kind, part).items():
                    merge(found[value], some)
        return [{value: numbers for value, numbers in each.items() if any(numbers.values())} for each in every]

    def _share_queries(self, selection: Selection, dimension: str, kind: str, place: int) -> Iterator[Any]:
        """Yield a query for each span; each row begins with the *place* of the dimension among those asked for."""
        cohort, table = self._database.cohort, self._database.breakdown
        scope = "all" if dimension != "link" and _scope(selection, ()) == "all" else "mail"
        basis = "happened" if selection.happened and kind != "sent" else "sent"
        sums = [func.sum(table.c[name]).label(name) for name in SHARES]
        for span, first, last in share_spans(selection, kind).each():
            query = select(literal_column(str(place), Integer).label("place"), table.c.value, *sums)
            about = (table.c.basis == basis, table.c.dimension == dimension, table.c.type == kind)
            mine = (*about, table.c.span == span, between(table.c.slot, first, last))
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
        for place, slot, number in self._at_once(queries):
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
            return cut(selection), None
        first = last = None
        if selection.start is None or selection.end is None:
            first, last = self._reach(selection, scope)
        # What is asked for may begin in the year 1; what there is does not.
        since = first if first and (selection.start is None or selection.start < first) else selection.start
        until = last if last and (selection.end is None or selection.end > last) else selection.end
        if since is None or until is None or until <= since:
            return Spans([], [], []), None
        bounded = selection.narrowed(since=since, until=until)
        spans = cut(bounded)
        return spans.in_quarters() if buckets.step == "hour" else spans, buckets.pieces(
            slot_of(since), slot_from(until)
        )

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
        """Yield a query for each span and basis; each row ends with its numbers."""
        asked = [("happened", SUMMED), ("sent", COPIES)] if selection.happened else [("sent", (*COPIES, *SUMMED))]
        figure, cohort = self._database.figure, self._database.cohort
        for basis, names in asked:
            mine = [*self._cohorts(selection, scope), figure.c.basis == basis]
            if selection.status is not None:
                mine.append(figure.c.status == selection.status)
            if pieces is not None:
                for source in Sources(self._database, basis, pieces).of(spans, movable=names == SUMMED):
                    yield self._query(source, names, mine)
                continue
            keys = [cohort.c["subject_ref" if name == "subject" else name] for name in groups]
            joined = cohort.join(figure, figure.c.cohort_id == cohort.c.id)
            for span, first, last in spans.each():
                source = Source(joined, keys, [figure.c.span == span, between(figure.c.slot, first, last)])
                # Of each cohort, to which an index leads: groups would have to be sorted, and are not fewer.
                yield self._query(source, names, mine, [cohort.c.id] if "subject" in groups else [])

    def _at_once(self, queries: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of all queries, which are asked together."""
        if not queries:
            return []
        return self._database.rows(union_all(*queries) if len(queries) > 1 else queries[0])

    def _read(self, queries: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """Ask all at once, and yield the groups of each row, what it is moved from, its mode, numbers and copies."""
        count = len(_NUMBERS) + len(_COPIED)
        for row in self._at_once(list(queries)):
            numbers = row[-count:]
            # Most are 0, and each that is not would have to be looked at some more times.
            values = {name: int(number) for name, number in zip(_SUMS, numbers, strict=False) if number}
            first, last = numbers[len(_SUMS) : len(_NUMBERS)]
            if first is not None:
                values |= {"first_at": first, "last_at": last}
            sent, *others = numbers[len(_NUMBERS) :]
            if sent:
                values["copies"] = int(sent)
            copies = [(status, int(n)) for status, n in zip(_OTHERS, others, strict=True) if n]
            *about, moved_from, mode = row[:-count]
            yield tuple(about), moved_from, mode, values, copies

    def _query(
        self, source: Source, names: Collection[str], mine: Sequence[ColumnElement[bool]], by: Sequence[Any] = ()
    ) -> Any:
        named = [key.label(f"group{place}") for place, key in enumerate(source.keys)]
        query = select(*named, source.moved_from.label("moved_from"), self._database.cohort.c.mode, *self._sums(names))
        names_of_keys = [key.name for key in named] + ([] if source.moved_from is NOTHING else ["moved_from"])
        query = query.select_from(source.table).where(*mine, *source.conditions)
        return query.group_by(*by, *names_of_keys, self._database.cohort.c.mode)

    def _sums(self, names: Collection[str]) -> list[Any]:
        """Return the columns of numbers; those that are not among the *names* are 0."""
        if (known := self._columns.get(tuple(names))) is None:
            figure = self._database.figure.c
            # A sum whose mail has all gone on to another status keeps the moments of that mail.
            first, last = (case((figure.copies > 0, figure[name])) for name in ("first_at", "last_at"))
            out = figure.status.in_(OUT)
            sums: dict[str, Any] = {name: func.sum(figure[name]) for name in SUMMED}
            sums |= {name: func.sum(case((out, figure[name]))) for name in _PART}
            sums |= {"first_at": func.min(first), "last_at": func.max(last)}
            copies = {status: func.sum(case((figure.status == status, figure.copies))) for status in _COPIED}
            asked = {*names, "first_at", "last_at"}
            told = {name: each if name in asked else _NONE for name, each in sums.items()}
            told |= {status: each if "copies" in asked else _NONE for status, each in copies.items()}
            self._columns[tuple(names)] = known = [each.label(name) for name, each in told.items()]
        return known

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
