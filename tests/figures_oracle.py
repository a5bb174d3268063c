"""Messages and events at random, and the sums over them in plain Python: an opinion of its own, for tests."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st

from flask_mailtrack.models import Models

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""The day before clocks are set forward in Europe."""
OTHERS = ("Dear Ada", "Dear Bob")
"""Subjects that are not told apart."""
OUT = ("sent", "unknown", "sending")
TOLD = ("delivered", "bounced", "complained", "rejected")
"""What servers tell of a mail, each of which counts once in a message."""
Row = dict[str, Any]

_NEAR = st.sampled_from([-13, -12, -1, 0, 1, 11, 12]).map(lambda hours: NOON + timedelta(hours=hours))
_MOMENTS = st.one_of(
    _NEAR,
    st.tuples(_NEAR, st.integers(-900, 900)).map(lambda near: near[0] + timedelta(seconds=near[1], microseconds=7)),
    st.integers(-40, 40).map(lambda days: NOON + timedelta(days=days)),
)
_LATER = st.one_of(
    st.sampled_from([timedelta(), timedelta(seconds=5), timedelta(hours=-1), timedelta(days=1)]),
    st.integers(0, 5 * 86_400).map(lambda seconds: timedelta(seconds=seconds, microseconds=1)),
)


_REASONS = {"unsubscribed": ["", "too_many", "never"], "bounced": ["hard", "soft"]}


def an_id(moment: datetime, rest: int) -> uuid.UUID:
    """Return an id that was made at a moment."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | rest)


@st.composite
def mails(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """Messages, and events of these and of others that have no row yet."""
    messages: list[Row] = []
    events: list[Row] = []
    for number in range(draw(st.integers(2, 8))):
        message = draw(_message(number))
        messages.append(message)
        for _ in range(draw(st.integers(0, 5))):
            events.append(draw(_event(message, len(events))))
    if draw(st.booleans()):
        events.append(draw(_event({"id": an_id(NOON, 999), "created_at": NOON}, len(events))))
    return messages, events


@st.composite
def _message(draw: st.DrawFn, number: int) -> Row:
    status = draw(st.sampled_from(["sent", "sent", "sent", "failed", "unknown", "suppressed", "sending", "counter"]))
    mode = (
        "aggregate"
        if status == "counter"
        else draw(st.sampled_from([None, "individual", "individual", "deliverability"]))
    )
    created = draw(_MOMENTS)
    return {
        "id": an_id(created, number),
        "batch_id": an_id(created, number),
        "recipient": draw(st.sampled_from(["ada@gmail.com", "bob@own.example"])),
        "sender": draw(st.sampled_from(["news@one.example", "News@ONE.example", "x@two.example", "nobody"])),
        "subject": draw(st.sampled_from(["", "Hello", "hello", "Spring 100 %", *OTHERS])),
        "header_message_id": "",
        "tag": draw(st.sampled_from(["", "a", "A", "b"])),
        "list_id": draw(st.sampled_from(["", "news", "offers"])),
        "details": {},
        "error": "",
        "status": status,
        "created_at": created,
        "tracks_opens": draw(st.booleans()),
        "tracks_clicks": draw(st.booleans()),
        "shared": draw(st.booleans()),
        "mode": mode,
        "recipient_domain": draw(st.sampled_from(["", "gmail.com"])),
        "open_count": 0,
        "click_count": 0,
        "machine_count": 0,
    }


@st.composite
def _event(draw: st.DrawFn, message: Row, number: int) -> Row:
    kind = draw(st.sampled_from(["opened", "clicked"] * 4 + ["unsubscribed", "trapped", "declined", "deferred", *TOLD]))
    at = message["created_at"] + draw(_LATER)
    clicked = kind == "clicked"
    return {
        "id": an_id(at, draw(st.integers(0, 3)) << 40 | number),
        "message_id": message["id"],
        "type": kind,
        "occurred_at": at,
        "url": draw(st.sampled_from(["https://a.example/", "https://b.example/?x=%"])) if clicked else "",
        "link": draw(st.sampled_from([None, 0, 1])) if clicked else None,
        "link_name": draw(st.sampled_from(["", "hero"])) if clicked else "",
        "part": draw(st.sampled_from(["html", "text"])) if clicked else "",
        "verdict": draw(st.sampled_from(["human", "human", "proxy", "prefetch", "scanner", "bot", "unknown"])),
        "verdict_reasons": draw(st.sampled_from([[], ["ua_browser"], ["weak:" + "x" * 80], ["burst", "y"]])),
        "provider": draw(st.sampled_from(["", "apple", "google"])),
        "client": draw(st.sampled_from(["", "Firefox", "Gmail"])),
        "os": draw(st.sampled_from(["", "Linux"])),
        "device": draw(st.sampled_from(["", "desktop"])),
        "country": draw(st.sampled_from(["", "FR", "DE"])),
        "list_id": "",
        "method": "",
        "reason": draw(st.sampled_from(_REASONS.get(kind, [""]))),
        "comment": draw(st.sampled_from(["", "Too much!"])) if kind == "unsubscribed" else "",
        "ip": "",
        "user_agent": "",
    }


def store(connection: sa.Connection, models: Models, messages: Sequence[Row], events: Sequence[Row]) -> None:
    """Write rows, in place of all that are there."""
    for model in (models.Message, models.Event, models.Cohort, models.Figure, models.Breakdown):
        connection.execute(sa.delete(model.__table__))
    for model, rows in ((models.Message, messages), (models.Event, events)):
        if rows:
            connection.execute(sa.insert(model.__table__), list(rows))


class Oracle:
    """The sums over rows, each by its definition.

    :param subject_ref: returns the hash of a subject.
    :param link_ref: returns the reference of a link.
    """

    def __init__(self, subject_ref: Callable[[str], str], link_ref: Callable[[str, str, str], str]) -> None:
        self._subject_ref = subject_ref
        self._link_ref = link_ref
        self.cohorts: dict[tuple[str, ...], uuid.UUID] = {}
        self.figures: defaultdict[tuple[Any, ...], Row] = defaultdict(dict)
        self.breakdowns: defaultdict[tuple[Any, ...], Row] = defaultdict(dict)

    def write(self, connection: sa.Connection, models: Models, messages: Sequence[Row], events: Sequence[Row]) -> None:
        """Make the sums of rows that are in the tables, and say on each message which cohort is its own."""
        table = models.Message.__table__
        for message in messages:
            mine = [event for event in events if event["message_id"] == message["id"]]
            self._count(message, sorted(mine, key=lambda event: (event["occurred_at"], event["id"].int)))
            cohort = self._cohorts(message)[0]
            connection.execute(table.update().where(table.c.id == message["id"]).values(cohort_id=cohort))
        names = ("scope", "tag", "list_id", "sender_domain", "subject_ref", "mode")
        cohorts = [{"id": key} | dict(zip(names, about, strict=True)) for about, key in self.cohorts.items()]
        key = ("cohort_id", "basis", "span", "slot", "status")
        longer = ("cohort_id", "basis", "span", "slot", "dimension", "type", "value")
        self._insert(connection, models.Cohort, cohorts)
        self._insert(connection, models.Figure, [dict(zip(key, k, strict=True)) | v for k, v in self.figures.items()])
        rows = [dict(zip(longer, k, strict=True)) | v for k, v in self.breakdowns.items()]
        self._insert(connection, models.Breakdown, rows)

    @staticmethod
    def _insert(connection: sa.Connection, model: Any, rows: list[Row]) -> None:
        for row in rows:
            connection.execute(sa.insert(model.__table__).values(**row))

    def _cohorts(self, message: Row) -> list[uuid.UUID]:
        domain = message["sender"].rpartition("@")[2].lower()
        mode = message["mode"] or "individual"
        subject = "" if message["subject"] in OTHERS else self._subject_ref(message["subject"])
        found = []
        for about in (
            ("mail", message["tag"], message["list_id"], domain, subject, mode),
            ("list", "", message["list_id"], "", "", mode),
            ("domain", "", "", domain, "", mode),
            ("all", "", "", "", "", mode),
        ):
            found.append(self.cohorts.setdefault(about, uuid.uuid5(uuid.NAMESPACE_OID, "\0".join(about))))
        return found

    def _count(self, message: Row, events: list[Row]) -> None:
        single = message["status"] != "counter"
        made = message["created_at"]
        if single:
            numbers = {"copies": 1, "pixels": message["tracks_opens"], "tracked": message["tracks_clicks"]}
            self._figure(message, None, numbers | {"listed": message["list_id"] != ""})
            for key in self._keys(message, "sent", made, status=True):
                row = self.figures[key]
                row["first_at"] = min(made, row.get("first_at") or made)
                row["last_at"] = max(made, row.get("last_at") or made)
            if message["status"] in OUT:
                self._share(message, None, "domain", "sent", message["recipient_domain"], "people")
        for event in events:
            if event["type"] in ("opened", "clicked"):
                noun = "opens" if event["type"] == "opened" else "clicks"
                self._figure(message, event, {f"{noun}_{_who(event)}": 1})
                self._shares(message, event, _who(event))
            elif event["type"] == "unsubscribed":
                self._figure(message, event, {"unsubscribes": 1})
            if event["type"] in ("unsubscribed", *TOLD) and event["reason"]:
                self._share(message, event, "reason", event["type"], event["reason"], "people")
        if single:
            self._firsts(message, events)

    def _firsts(self, message: Row, events: list[Row]) -> None:
        gone = [event for event in events if event["type"] == "unsubscribed"]
        if gone:
            self._figure(message, gone[0], {"unsubscribers": 1})
        for kind in TOLD:
            if first := [event for event in events if event["type"] == kind][:1]:
                self._figure(message, first[0], {kind: 1})
        first_by_people = {}
        for kind, noun in (("opened", "openers"), ("clicked", "clickers")):
            for audience in ("people", "machine", "all"):
                theirs = [e for e in events if e["type"] == kind and audience in ("all", _who(e))]
                if theirs:
                    self._figure(message, theirs[0], {f"{noun}_{audience}": 1})
                    self._shares(message, theirs[0], f"unique_{audience}", links=False)
                    if audience == "people":
                        first_by_people[kind] = theirs[0]
                for link in {self._link(e) for e in theirs} if kind == "clicked" else ():
                    first = next(e for e in theirs if self._link(e) == link)
                    self._share(message, first, "link", "clicked", link, f"unique_{audience}")
        if len(first_by_people) == 2:
            later = max(first_by_people.values(), key=lambda event: event["occurred_at"])
            self._figure(message, later, {"both_people": 1})

    def _shares(self, message: Row, event: Row, column: str, links: bool = True) -> None:
        for dimension in ("client", "os", "device", "country"):
            self._share(message, event, dimension, event["type"], event[dimension], column)
        rule = f"{event['verdict']}:{(event['verdict_reasons'] or [''])[0]}"
        self._share(message, event, "rule", event["type"], rule[:64], column)
        self._share(message, event, "domain", event["type"], message["recipient_domain"], column)
        if links and event["type"] == "clicked":
            self._share(message, event, "link", "clicked", self._link(event), column)

    def _link(self, event: Row) -> str:
        place = "" if event["link"] is None else event["link"]
        return f"{place}:{event['part']}:{self._link_ref(event['url'], event['link_name'], event['part'])}"

    def _figure(self, message: Row, event: Row | None, numbers: dict[str, Any]) -> None:
        for basis, moment in (("sent", message["created_at"]), ("happened", event and event["occurred_at"])):
            for key in self._keys(message, basis, moment, status=True) if moment else ():
                for name, value in numbers.items():
                    self.figures[key][name] = self.figures[key].get(name, 0) + int(value)

    def _share(self, message: Row, event: Row | None, dimension: str, kind: str, value: str, column: str) -> None:
        for basis, moment in (("sent", message["created_at"]), ("happened", event and event["occurred_at"])):
            for cohort, name, span, slot in self._keys(message, basis, moment) if moment else ():
                told = cohort in self._cohorts(message)[:1] if dimension == "link" else cohort in self._wide(message)
                if told and (basis == "sent" or span == "day"):
                    row = self.breakdowns[(cohort, name, span, slot, dimension, kind, value)]
                    row[column] = row.get(column, 0) + 1

    def _wide(self, message: Row) -> tuple[uuid.UUID, uuid.UUID]:
        mail, _, _, every = self._cohorts(message)
        return mail, every

    def _keys(self, message: Row, basis: str, moment: datetime, status: bool = False) -> Iterable[tuple[Any, ...]]:
        slot = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 900)
        for cohort in self._cohorts(message):
            for span, first in (("quarter", slot), ("day", slot - slot % 96)):
                yield (cohort, basis, span, first, *([message["status"]] if status else []))


def _who(event: Row) -> str:
    if event["verdict"] == "human" or (event["verdict"] == "proxy" and event["provider"] != "apple"):
        return "people"
    return "unknown" if event["verdict"] == "unknown" else "machine"
