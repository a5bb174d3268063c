"""The sums as the rows give them: read row by row and added up in plain Python, by the definitions alone.

An opinion of its own, which shares no code with the package: what the drain keeps, and what a rebuild makes, is
compared with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from flask_mailtrack.storage.tables.database import Database

Sums = dict[tuple[Any, ...], dict[str, int]]
OUT = ("sent", "unknown", "sending")


def figures(database: Database) -> Sums:
    """What stands in the table of figures, by scope, its words, mode, basis, span, slot and status; without zeros."""
    return _standing(database, database.figure, ("basis", "span", "slot", "status"))


def breakdowns(database: Database) -> Sums:
    """Likewise of the table that breaks them down."""
    return _standing(database, database.breakdown, ("basis", "span", "slot", "dimension", "type", "value"))


def _standing(database: Database, table: sa.Table, names: tuple[str, ...]) -> Sums:
    cohort = database.cohort
    columns = [cohort.c[name] for name in ("scope", "tag", "list_id", "sender_domain", "subject_ref", "mode")]
    keys = [table.c[name] for name in names]
    counts = [c for c in table.c if c.name not in {"cohort_id", "first_at", "last_at", *names}]
    query = sa.select(*columns, *keys, *counts).join(cohort, cohort.c.id == table.c.cohort_id)
    split = len(columns) + len(keys)
    found: Sums = {}
    for row in database.rows(query):
        # Two cohorts have the same words if the subjects that told them apart are erased.
        values = found.setdefault(tuple(row[:split]), {})
        for column, value in zip(counts, row[split:], strict=True):
            if value:
                values[column.name] = values.get(column.name, 0) + value
    return {key: values for key, values in found.items() if values}


class Expected:
    """What the sums must be, from all messages and events that are there."""

    def __init__(self, database: Database, link_ref: Any = lambda url, name, part: "", subject_ref: Any = None) -> None:
        self._link_ref = link_ref
        self._subject_ref = subject_ref or (lambda subject: "")
        self.figures: defaultdict[tuple[Any, ...], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.breakdowns: defaultdict[tuple[Any, ...], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        mine = defaultdict(list)
        names = [c.name for c in database.event.c]
        for row in database.rows(sa.select(database.event)):
            event = dict(zip(names, row, strict=True))
            mine[event["message_id"]].append(event)
        names = [c.name for c in database.message.c]
        for row in database.rows(sa.select(database.message)):
            message = dict(zip(names, row, strict=True))
            self._message(message, sorted(mine[message["id"]], key=lambda e: (e["occurred_at"], e["id"].int)))

    def _message(self, m: dict[str, Any], events: list[dict[str, Any]]) -> None:
        made, out = m["created_at"], m["status"] in OUT
        if m["status"] != "counter":
            for name, value in (("copies", 1), ("pixels", m["tracks_opens"]), ("tracked", m["tracks_clicks"])):
                self._figure(m, made, None, name, int(value))
            self._figure(m, made, None, "listed", int(bool(m["list_id"])))
            if out:
                self._share(m, made, None, "domain", "sent", m["recipient_domain"], "people")
        seen: set[Any] = set()
        firsts: dict[str, Any] = {}
        for e in events:
            by, at = _class(e), e["occurred_at"]
            if e["type"] == "unsubscribed":
                self._figure(m, made, at, "unsubscribes")
                if e["reason"]:
                    self._share(m, made, at, "reason", "unsubscribed", e["reason"], "people")
                if m["status"] != "counter" and "gone" not in seen:
                    seen.add("gone")
                    self._figure(m, made, at, "unsubscribers")
            if e["type"] in ("delivered", "bounced", "complained", "rejected"):
                if e["reason"]:
                    self._share(m, made, at, "reason", e["type"], e["reason"], "people")
                if m["status"] != "counter" and e["type"] not in seen:
                    seen.add(e["type"])
                    self._figure(m, made, at, e["type"])
            if e["type"] not in ("opened", "clicked"):
                continue
            noun = "open" if e["type"] == "opened" else "click"
            self._figure(m, made, at, f"{noun}s_{by}")
            audiences = ["all"] if by == "unknown" else ["all", by]
            first = [a for a in audiences if (noun, a) not in seen] if m["status"] != "counter" else []
            for audience in first:
                seen.add((noun, audience))
                self._figure(m, made, at, f"{noun}ers_{audience}")
                if audience == "people":
                    firsts[noun] = at
                    if len(firsts) == 2:
                        self._figure(m, made, max(firsts.values()), "both_people")
            columns = [by, *(f"unique_{audience}" for audience in first)]
            rule = f"{e['verdict']}:{(e['verdict_reasons'] or [''])[0]}"
            values = [(name, e[name]) for name in ("client", "os", "device", "country")]
            for dimension, value in (*values, ("rule", rule), ("domain", m["recipient_domain"])):
                for column in columns:
                    self._share(m, made, at, dimension, e["type"], value, column)
            if noun == "click":
                place = "" if e["link"] is None else e["link"]
                link = f"{place}:{e['part']}:{self._link_ref(e['url'], e['link_name'], e['part'])}"
                first = [a for a in audiences if (link, a) not in seen] if m["status"] != "counter" else []
                seen.update((link, a) for a in first)
                for column in (by, *(f"unique_{audience}" for audience in first)):
                    self._share(m, made, at, "link", "clicked", link, column)

    def _figure(self, m: dict[str, Any], made: Any, at: Any, column: str, value: int = 1) -> None:
        for scope in _scopes(m, self._subject_ref):
            for basis, moment in (("sent", made), ("happened", at)):
                for span, slot in _slots(moment):
                    self.figures[(*scope, basis, span, slot, m["status"])][column] += value

    def _share(self, m: dict[str, Any], made: Any, at: Any, dimension: str, kind: str, value: str, column: str) -> None:
        for scope in _scopes(m, self._subject_ref):
            if scope[0] not in (("mail",) if dimension == "link" else ("mail", "all")):
                continue
            for basis, moment in (("sent", made), ("happened", at)):
                for span, slot in _slots(moment):
                    if (basis, span) != ("happened", "quarter"):
                        self.breakdowns[(*scope, basis, span, slot, dimension, kind, value)][column] += 1


def without_zeros(sums: Any) -> Sums:
    """Leave out what is 0."""
    plain = {key: {name: n for name, n in values.items() if n} for key, values in sums.items()}
    return {key: values for key, values in plain.items() if values}


def _class(event: dict[str, Any]) -> str:
    if event["verdict"] == "human" or (event["verdict"] == "proxy" and event["provider"] != "apple"):
        return "people"
    return "unknown" if event["verdict"] == "unknown" else "machine"


def _scopes(m: dict[str, Any], subject_ref: Any) -> Iterator[tuple[str, ...]]:
    mode, domain = m["mode"] or "individual", m["sender"].split("@")[-1].lower()
    yield "mail", m["tag"], m["list_id"], domain, subject_ref(m["subject"]), mode
    yield "list", "", m["list_id"], "", "", mode
    yield "domain", "", "", domain, "", mode
    yield "all", "", "", "", "", mode


def _slots(moment: Any) -> Iterator[tuple[str, int]]:
    if moment is not None:
        slot = int(moment.timestamp() // 900)
        yield "quarter", slot
        yield "day", slot // 96 * 96
