"""What a sender asks, each question twice: by ``mailtrack.reports``, and in plain SQL over messages and events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

PEOPLE = "(e.verdict = 'human' OR (e.verdict = 'proxy' AND e.provider <> 'apple'))"
OUT = "m.status IN ('sent', 'unknown', 'sending')"
ONE = "CASE WHEN m.status <> 'counter' THEN 1 END"
UNIQUE = "COUNT(DISTINCT CASE WHEN m.status <> 'counter' THEN m.id END)"
NTH = "ROW_NUMBER() OVER (PARTITION BY e.message_id ORDER BY e.occurred_at, e.id) n"
FIRST = "SUM(CASE WHEN n = 1 AND one = 1 THEN 1 ELSE 0 END)"
BOTH = "mailtrack_event e JOIN mailtrack_message m ON m.id = e.message_id"
YEAR = {"since": "2025-07-01", "until": "2026-07-01"}

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Question:
    """One question.

    :param ask: asks the reports.
    :param read: makes rows of the answer, in any order.
    :param sql: gives the same rows; empty: the answer is no figure.
    :param mend: makes the rows of the statement comparable.
    """

    name: str
    ask: Callable[[Any], Any]
    read: Callable[[Any], Iterable[tuple[Any, ...]]] = lambda answer: ()
    sql: str = ""
    mend: Callable[[Rows], Iterable[tuple[Any, ...]]] = lambda rows: rows


def questions(tag: str, day: str, address: str, message_id: str) -> list[Question]:
    """Return all questions.

    :param tag: of the largest campaign.
    :param day: the day of a moment in SQL, with ``{}`` for the column.
    :param address: of somebody who got mail.
    :param message_id: of a message with events.
    """
    found: list[Question] = []
    for whose, about in (("largest", tag), ("all", "")):
        filters: dict[str, Any] = {"tag": about} if about else {}
        where = f"m.tag = '{about}'" if about else "1 = 1"
        found += [
            Question(f"{name}, {whose}", ask_with(ask, filters), read, sql.format(where=where), mend)
            for name, ask, read, sql, mend in (*_figures(), *_shares())
        ]
        for basis in ("sent", "happened"):
            found.append(_series(f"a year by day, {basis}, {whose}", filters | {"basis": basis}, where, day))
        for by in ("hour", "week", "month"):
            asked = filters | YEAR | {"by": by, "tz": "Europe/Berlin"}
            asked |= {"until": "2025-09-01"} if by == "hour" else {}
            found.append(Question(f"series by {by}, {whose}", ask_with("series", asked)))
        found += _pages(whose, filters, where)
    found.append(_links(tag))
    found.append(
        Question("compare, largest", lambda reports: reports.compare(tag=tag, since="2025-12-01", until="2026-01-01"))
    )
    found.append(Question("timeline", lambda reports: reports.timeline(message_id)))
    found.append(Question("person", lambda reports: reports.person(address)))
    return found


def ask_with(name: str, filters: dict[str, Any]) -> Callable[[Any], Any]:
    """Return what calls a report."""
    return lambda reports: getattr(reports, name)(**filters)


def _totals(totals: Any) -> tuple[int, ...]:
    told = (totals.opened, totals.clicked, totals.unsubscribed)
    return (totals.out, *(number for each in told for number in (each.total, each.unique)))


def _counts(kind: str, people: str, where: str, group: str = "") -> str:
    condition = f"e.type = '{kind}' AND {where}" + (f" AND {people}" if people else "")
    return f"SELECT {group}COUNT(*) n, {UNIQUE} u FROM {BOTH} WHERE {condition}"


def _together(group: str) -> str:
    """Return figures by a column of messages, or of all together."""
    by, tail = (f"m.{group} g, ", f" GROUP BY m.{group}") if group else ("1 g, ", "")
    parts = [
        _counts(k, p, "{where}", by) + tail for k, p in (("opened", PEOPLE), ("clicked", PEOPLE), ("unsubscribed", ""))
    ]
    joins = "".join(f" LEFT JOIN ({part}) p{n} ON p{n}.g = s.g" for n, part in enumerate(parts))
    numbers = ", ".join(f"COALESCE(p{n}.{what}, 0)" for n in range(3) for what in "nu")
    sent = f"SELECT {by}SUM(CASE WHEN {OUT} THEN 1 ELSE 0 END) n FROM mailtrack_message m WHERE {{where}}{tail}"
    return f"SELECT {'s.g, ' if group else ''}s.n, {numbers} FROM ({sent}) s{joins}"


def _figures() -> list[tuple[Any, ...]]:
    def lines(answer: Any) -> Rows:
        return [(line.name, *_totals(line.totals)) for line in answer.lines]

    same: Any = lambda rows: rows  # noqa: E731
    grouped = {"campaigns": "tag", "lists": "list_id", "subjects": "subject"}
    found: list[tuple[Any, ...]] = [("totals", "totals", lambda answer: [_totals(answer)], _together(""), same)]
    for name, column in grouped.items():
        quiet: Any = (lambda rows: [row for row in rows if row[0]]) if column == "subject" else same
        found.append((name, name, lambda answer, quiet=quiet: quiet(lines(answer)), _together(column), quiet))
    return found


def _shares() -> list[tuple[Any, ...]]:
    same: Any = lambda rows: rows  # noqa: E731
    found: list[tuple[Any, ...]] = []
    for name, column in {"clients": "client", "systems": "os", "devices": "device", "countries": "country"}.items():
        first = f"SELECT e.{column} g, {ONE} one, {NTH} FROM {BOTH} WHERE e.type = 'opened' AND {PEOPLE} AND {{where}}"
        sql = f"SELECT g, COUNT(*), {FIRST} FROM ({first}) f GROUP BY g"
        found.append((name, name, lambda a: [(r.value, r.total, r.unique) for r in a.rows if r.total], sql, same))
    rules = (
        "SELECT e.verdict, CAST(e.verdict_reasons AS VARCHAR(99)), SUM(CASE WHEN e.type = 'opened' THEN 1 ELSE 0 END), "
        "SUM(CASE WHEN e.type = 'clicked' THEN 1 ELSE 0 END) "
        f"FROM {BOTH} WHERE e.type <> 'unsubscribed' AND {{where}} GROUP BY 1, 2"
    )
    found.append(
        ("verdicts", "verdicts", lambda a: [(r.verdict, r.reason, r.opens, r.clicks) for r in a.rows], rules, _ruled)
    )
    domains = (
        "SELECT m.recipient_domain, COUNT(*) FROM mailtrack_message m "
        f"WHERE {OUT} AND {{where}} GROUP BY m.recipient_domain"
    )
    found.append(("domains", "domains", lambda a: [(r.domain, r.sent) for r in a.rows if r.sent], domains, same))
    reasons = (
        "SELECT e.reason, COUNT(*) "
        f"FROM {BOTH} WHERE e.type = 'unsubscribed' AND e.reason <> '' AND {{where}} GROUP BY e.reason"
    )
    found.append(("reasons", "unsubscribe_reasons", lambda a: [row for row in a.rows if row[0]], reasons, same))
    both = (
        "SELECT COUNT(m.clicked_at), COUNT(*) FROM mailtrack_message m WHERE m.opened_at IS NOT NULL AND {where} "
        "AND m.status <> 'counter'"
    )
    found.append(("click to open", "click_to_open", lambda a: [(a.clicked, a.of)], both, same))
    return found


def _ruled(rows: Rows) -> Rows:
    return [(verdict, json.loads(reasons)[0], opens, clicks) for verdict, reasons, opens, clicks in rows]


def _series(name: str, filters: dict[str, Any], where: str, day: str) -> Question:
    """Ask for each day of a year: what was sent, and opens by people, each message once."""
    happened = filters["basis"] == "happened"
    sent = (
        f"SELECT {day.format('m.created_at')} d, SUM(CASE WHEN {OUT} THEN 1 ELSE 0 END) n "
        f"FROM mailtrack_message m WHERE {where} GROUP BY 1"
    )
    when = day.format("e.occurred_at" if happened else "m.created_at")
    opened = f"SELECT {when} d, {ONE} one, {NTH} FROM {BOTH} WHERE e.type = 'opened' AND {PEOPLE} AND {where}"
    each = f"SELECT d, COUNT(*) t, {FIRST} u FROM ({opened}) o GROUP BY d"
    sql = (
        "SELECT d.d, COALESCE(s.n, 0), COALESCE(o.t, 0), COALESCE(o.u, 0) FROM (SELECT d "
        f"FROM ({sent}) a UNION SELECT d FROM ({each}) b) d "
        f"LEFT JOIN ({sent}) s ON s.d = d.d LEFT JOIN ({each}) o ON o.d = d.d"
    )

    def read(answer: Any) -> Rows:
        points = ((p.start, _totals(p.totals)) for p in answer.points)
        return [(f"{start:%Y-%m-%d}", *numbers[:3]) for start, numbers in points if any(numbers[:3])]

    return Question(
        name,
        ask_with("series", filters | YEAR | {"by": "day"}),
        read,
        sql,
        lambda rows: [r for r in rows if any(r[1:])],
    )


def _links(tag: str) -> Question:
    sql = (
        f"SELECT e.url, e.link, e.part, e.link_name, COUNT(*), {UNIQUE} FROM {BOTH} "
        f"WHERE e.type = 'clicked' AND {PEOPLE} AND m.tag = '{tag}' GROUP BY 1, 2, 3, 4"
    )

    def read(answer: Any) -> Rows:
        return [(r.url, r.position, r.part, r.name, r.total, r.unique) for r in answer.rows if r.total]

    return Question("links, largest", lambda reports: reports.links(tag), read, sql)


def _pages(whose: str, filters: dict[str, Any], where: str) -> list[Question]:
    """Ask for messages: the first page, one far behind it, and what is found by subject."""

    def ids(answer: Any) -> Rows:
        return [(str(row.id).replace("-", ""),) for row in answer.rows]

    def far(reports: Any) -> Any:
        """Return a page in the middle of the year, as whoever has turned the pages until then sees it."""
        return reports.messages(until="2026-01-01", **filters)

    def plain(rows: Rows) -> Rows:
        return [(str(row[0]).replace("-", ""),) for row in rows]

    newest = (
        f"SELECT m.id FROM mailtrack_message m WHERE m.status <> 'counter' AND {where} ORDER BY "
        "m.created_at DESC, m.id DESC LIMIT 50"
    )
    return [
        Question(f"messages, {whose}", ask_with("messages", filters), ids, newest, plain),
        Question(f"messages far behind, {whose}", far),
        Question(f"messages opened, {whose}", ask_with("messages", filters | {"activity": "opened"})),
        Question(f"messages by subject, {whose}", ask_with("messages", filters | {"search": "version b"})),
        Question(
            f"messages by what is no subject, {whose}", ask_with("messages", filters | {"search": "no such words"})
        ),
    ]
