"""A year of mail that never was: messages and what became of them, the same for the same seed.

One campaign holds a tenth of all messages, a tenth of the campaigns are sent a little each day, as a welcome is, and
the others at one moment. Five events to a message: opens by people, by Apple's proxy and by scanners, clicks by people
and by scanners that follow every link, and people who leave, with a reason. Rows come in the order of their ids, as
a drain would write them.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from flask_mailtrack.events import Status
from flask_mailtrack.modes import Mode, counter_id, marked
from flask_mailtrack.storage.tables.cohorts import CohortKey, domain_of
from flask_mailtrack.tokens import Signer

SECRET = "a secret that is long enough for a year of mail"
SIGNER = Signer([SECRET])
START = datetime(2025, 7, 1, tzinfo=UTC)
DAYS = 365
EVENTS_EACH = 5
CAMPAIGNS = 200

_SECOND = 1_000_000  # microseconds, in which all times are counted here
_MINUTE, _HOUR, _DAY = 60 * _SECOND, 3_600 * _SECOND, 86_400 * _SECOND
_BEGIN = int(START.timestamp()) * _SECOND

LARGE = {
    "gmail.com": 0.34,
    "outlook.com": 0.11,
    "yahoo.com": 0.10,
    "icloud.com": 0.08,
    "hotmail.com": 0.07,
    "gmx.de": 0.05,
    "web.de": 0.04,
    "aol.com": 0.03,
    "live.com": 0.02,
    "orange.fr": 0.02,
}
CLIENTS = (
    ("Chrome", "Windows", "desktop", 0.22),
    ("Chrome", "Android", "phone", 0.18),
    ("Safari", "iOS", "phone", 0.16),
    ("Apple Mail", "macOS", "desktop", 0.10),
    ("Outlook", "Windows", "desktop", 0.13),
    ("Firefox", "Linux", "desktop", 0.05),
    ("Edge", "Windows", "desktop", 0.08),
    ("Thunderbird", "Linux", "desktop", 0.03),
    ("Samsung Mail", "Android", "tablet", 0.05),
)
COUNTRIES = [
    *("DE", "US", "FR", "GB", "NL", "AT", "CH", "IT", "ES", "PL"),
    *("SE", "DK", "BE", "CA", "AU", "IE", "PT", "CZ", "FI", "NZ"),
]
REASONS = ("too_many", "not_relevant", "never_signed_up", "other", "")
COMMENTS = ("One mail a week would do.", "I have moved.", "Who are you?", "Thanks, but no.")
OPENED, CLICKED, UNSUBSCRIBED = "opened", "clicked", "unsubscribed"

MESSAGE_COLUMNS = (
    *("id", "batch_id", "recipient", "sender", "subject", "header_message_id", "tag", "list_id", "details"),
    *("status", "error", "created_at", "sent_at", "tracks_opens", "tracks_clicks", "link_count", "shared", "mode"),
    *("opened_at", "clicked_at", "unsubscribed_at", "open_count", "click_count", "machine_count"),
    *("cohort_id", "recipient_domain"),
)
EVENT_COLUMNS = (
    *("id", "message_id", "type", "occurred_at", "url", "link", "link_name", "part", "ip", "user_agent"),
    *("client", "os", "device", "country", "verdict", "verdict_reasons", "first_verdict", "first_verdict_reasons"),
    *("provider", "list_id", "method", "reason", "comment"),
)
LINK_COLUMNS = ("ref", "url", "name", "part")
COHORT_COLUMNS = ("id", "scope", "tag", "list_id", "sender_domain", "subject_ref", "mode")

Row = tuple[Any, ...]
Add = Callable[[str, Sequence[Row]], object]
"""Called with the name of a model and rows of it, in the order of its columns here."""


class Visitor(NamedTuple):
    """Who stands behind an event, as its columns say it."""

    ip: str
    user_agent: str
    client: str
    os: str
    device: str
    country: str
    verdict: str
    verdict_reasons: str
    first_verdict: str | None = None
    first_verdict_reasons: str | None = None
    provider: str = ""

    @property
    def is_people(self) -> bool:
        """As ``by_people`` has it."""
        return self.verdict == "human" or (self.verdict == "proxy" and self.provider != "apple")


class Doing(NamedTuple):
    """One event of a history."""

    after: int
    """Microseconds since the mail was sent."""
    kind: str
    visitor: Visitor
    link: int = 0
    """Of a click; counted round if the campaign has fewer."""
    reason: str = ""
    comment: str = ""


class History(NamedTuple):
    """What becomes of one message, in order of time, and what that leaves on its row."""

    doings: tuple[Doing, ...]
    firsts: tuple[int | None, ...]
    """After how long people opened, clicked and left first."""
    counts: tuple[int, int, int]


@dataclass(frozen=True)
class Campaign:
    """What messages of one tag have in common."""

    tag: str
    list_id: str
    sender: str
    subjects: tuple[str, ...]
    links: tuple[tuple[str, int, str, str], ...]
    """URL, place, name and part of each."""
    mode: Mode
    daily: bool
    moment: int

    def cohort(self, subject: str) -> CohortKey:
        """Return the cohort of its messages with this subject."""
        ref = SIGNER.subject_refs(subject)[0]
        return CohortKey("mail", self.tag, self.list_id, domain_of(self.sender), ref, str(self.mode))


def text_of(moment: int) -> str:
    """Return a moment as SQLite keeps it and PostgreSQL reads it."""
    minutes, rest = divmod(moment, _MINUTE)
    return f"{_minute(minutes)}{rest // _SECOND:02d}.{rest % _SECOND:06d}"


@cache
def _minute(number: int) -> str:
    return f"{datetime.fromtimestamp(number * 60, UTC):%Y-%m-%d %H:%M:}"


class Mailings:
    """A year of mail.

    :param events: how many there are; a fifth as many messages.
    :param seed: the same year for the same seed.
    """

    def __init__(self, events: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._events = events
        self.messages = max(CAMPAIGNS * 10, events // EVENTS_EACH)
        self._people = self.messages // 8
        self._domains = self._pool([*LARGE.items(), ("", 1 - sum(LARGE.values()))])
        self._histories = self._drawn_histories()
        self._due: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        self._made = self._done = 0
        self.campaigns: list[Campaign] = [self._campaign(number) for number in range(CAMPAIGNS)]

    def write(self, add: Add) -> None:
        """Give all rows to *add*, some thousand at a time."""
        add("Link", sorted({link for each in self.campaigns for link in self._link_rows(each)}))
        add("Cohort", sorted({row for each in self.campaigns for row in self._cohort_rows(each)}))
        for moment, campaign, count in self._sends():
            self._flush(add, moment // _HOUR)
            self._send(add, moment, campaign, count)
        self._flush(add, None)

    # What there is

    def _pool(self, shares: Sequence[tuple[Any, float]], size: int = 1024) -> list[Any]:
        """Return values as often as their shares say, so that drawing one is quick."""
        edges = [round(size * edge / sum(s for _, s in shares)) for edge in accumulate(s for _, s in shares)]
        begins = [0, *edges[:-1]]
        return [value for (value, _), a, b in zip(shares, begins, edges, strict=True) for _ in range(b - a)]

    def _campaign(self, number: int) -> Campaign:
        draw = self._random
        lists = ("", "news", "offers", "events", "partners")
        daily = number % 10 == 9
        name = f"{'flow' if daily else 'campaign'}-{number:03d}"
        places = range(3 + number % 10)
        links = [
            (f"https://shop.example.com/{name}/{place}", place, ("hero", "")[place > 0], "html") for place in places
        ]
        links.append((links[0][0], 0, "", "text"))
        mode = {50: Mode.AGGREGATE, 51: Mode.AGGREGATE, 52: Mode.DELIVERABILITY}.get(number, Mode.INDIVIDUAL)
        subjects = tuple(f"Subject {number}, version {letter}" for letter in "ABC"[: 1 + number % 3])
        moment = (
            _BEGIN
            + draw.randrange(DAYS - 32) * _DAY
            + draw.randrange(7, 20) * _HOUR
            + draw.randrange(4) * 900 * _SECOND
        )
        return Campaign(
            name,
            "" if daily else lists[1 + number % 4],
            ("news@example.com", "shop@mail.example.com", "team@example.org")[number % 3],
            subjects,
            tuple(links),
            mode,
            daily,
            moment,
        )

    def _sends(self) -> list[tuple[int, Campaign, int]]:
        """Return who sends how many when, in order."""
        tenth = self.messages // 10
        weights = [self._random.lognormvariate(0, 1) for _ in self.campaigns[1:]]
        rest = self.messages - tenth - len(weights)
        sizes = [1 + int(rest * weight / sum(weights)) for weight in weights]
        sizes[0] += self.messages - tenth - sum(sizes)
        found = []
        for campaign, size in zip(self.campaigns, [tenth, *sizes], strict=True):
            if not campaign.daily:
                found.append((campaign.moment, campaign, size))
                continue
            hour = campaign.moment % _DAY
            for day in range(DAYS - 32):
                if count := size * (day + 1) // (DAYS - 32) - size * day // (DAYS - 32):
                    found.append((_BEGIN + day * _DAY + hour, campaign, count))
        return sorted(found, key=lambda each: (each[0], each[1].tag))

    def _link_rows(self, campaign: Campaign) -> Iterator[Row]:
        for url, _, name, part in campaign.links:
            yield SIGNER.link_refs(url, name, part)[0], url, name, part

    def _cohort_rows(self, campaign: Campaign) -> Iterator[Row]:
        counted = ("",) if campaign.mode == Mode.AGGREGATE else ()  # a counter has no subject
        for subject in (*campaign.subjects, *counted):
            mail = campaign.cohort(subject)
            for each in (mail, *mail.wider()):
                yield (each.id.hex, *each)

    # What becomes of a message

    def _drawn_histories(self) -> list[History]:
        """Return a pool of histories, of as many events as there shall be to a message."""
        draw = self._random
        visitors = _Visitors(draw)
        pool = [self._doings(visitors) for _ in range(1 << 15)]
        readers = [each for each in pool if any(d.kind == OPENED and d.visitor.is_people for d in each)]
        missing = int(1.03 * EVENTS_EACH * len(pool)) - sum(map(len, pool))  # some messages have none: they failed
        for _ in range(max(0, missing)):
            doings = draw.choice(readers)
            again = next(d for d in doings if d.kind == OPENED and d.visitor.is_people)
            doings.append(again._replace(after=again.after + self._delay(2 * _DAY)))
        return [_history(doings) for doings in pool]

    def _delay(self, usual: int) -> int:
        return min(30 * _DAY, int(usual * self._random.lognormvariate(0, 1.2)))

    def _doings(self, visitors: _Visitors) -> list[Doing]:
        draw = self._random
        kind = draw.choices(("nobody", "scanner", "apple", "reader", "odd"), (0.36, 0.12, 0.24, 0.25, 0.03))[0]
        found: list[Doing] = []
        if kind == "scanner" or (kind == "reader" and draw.random() < 0.1):
            machine, begin = visitors.scanner(), draw.randrange(_SECOND, 20 * _SECOND)
            found.append(Doing(begin, OPENED, machine))
            found += [Doing(begin + 300_000 * (n + 1), CLICKED, machine, n) for n in range(draw.randrange(3, 9))]
        if kind == "apple":
            found += [Doing(self._delay(20 * _MINUTE), OPENED, visitors.apple()) for _ in range(draw.randrange(1, 3))]
        if kind == "odd":
            found.append(Doing(self._delay(_HOUR), draw.choice((OPENED, CLICKED)), visitors.odd()))
        if kind == "reader" or (kind == "apple" and draw.random() < 0.3):
            found += self._reading(visitors.person())
        return found

    def _reading(self, person: Visitor) -> list[Doing]:
        draw, first = self._random, self._delay(4 * _HOUR)
        found = [Doing(first, OPENED, person)]
        if draw.random() < 0.25:
            clicks = 1 + int(draw.expovariate(1.2))
            found += [
                Doing(first + (n + 1) * 20 * _SECOND, CLICKED, person, int(draw.expovariate(0.5)))
                for n in range(clicks)
            ]
        if draw.random() < 0.012:
            reason = draw.choice(REASONS)
            comment = draw.choice(COMMENTS) if reason and draw.random() < 0.3 else ""
            found.append(Doing(first + 50 * _SECOND, UNSUBSCRIBED, person, 0, reason, comment))
        return found

    # Rows

    def _send(self, add: Add, moment: int, campaign: Campaign, count: int) -> None:
        """Write one send of a campaign, and remember what will become of it."""
        draw, bits = self._random, self._random.getrandbits
        mode, first, batch = str(campaign.mode), draw.randrange(self._people), uuid.UUID(int=bits(128), version=4).hex
        counter, counted = self._counter(campaign, moment), [0, 0, 0]
        cohorts = [campaign.cohort(subject).id.hex for subject in campaign.subjects]
        rows: list[Row] = []
        for number in range(count):
            at = moment + number * 2_000
            key = (at // 1_000 << 80) | (7 << 76) | (2 << 62) | (bits(12) << 64) | bits(62)
            if campaign.mode != Mode.INDIVIDUAL:
                key = marked(uuid.UUID(int=key), campaign.mode).int
            status = _STATUSES[bits(9)]
            history = self._next_history(campaign, status)
            firsts: tuple[int | None, ...] = (None, None, None)
            counts: Sequence[int] = (0, 0, 0)
            if history.doings:
                jitter = at + bits(22)
                firsts, counts, about = history.firsts, history.counts, f"{key:032x}"
                if counter:
                    firsts, about = (None, None, None), counter
                    counted = [a + b for a, b in zip(counted, counts, strict=True)]
                    counts = (0, 0, 0)
                for doing in history.doings:
                    when = jitter + doing.after
                    self._due[when // _HOUR].append((when, bits(62), about, doing, campaign))
            who, which = (first + number) % self._people, number % len(campaign.subjects)
            host = self._domains[who * 2_654_435_761 >> 7 & 1023]
            created, out = text_of(at), status == Status.SENT
            rows.append(
                (
                    *(f"{key:032x}", batch, f"reader{who}@{host or f'company{who % 20_000}.example'}", campaign.sender),
                    *(campaign.subjects[which], f"<{batch}@example.com>", campaign.tag, campaign.list_id, "{}"),
                    *(status, "" if out else _ERRORS[status], created, created if out else None, 1, 1),
                    *(len(campaign.links) - 1, 0, mode),
                    *(None if f is None else text_of(jitter + f) for f in firsts),
                    *counts,
                    *(cohorts[which], host),
                )
            )
        if counter:
            rows.append(self._counter_row(campaign, counter, moment, batch, counted))
        add("Message", rows)

    def _next_history(self, campaign: Campaign, status: str) -> History:
        """Return what becomes of the next message, so that the sum of events comes out."""
        self._done += 1
        left = self._events - self._made
        owed = self._events * self._done // self.messages - self._made
        if status not in (Status.SENT, Status.UNKNOWN) or campaign.mode == Mode.DELIVERABILITY or left <= 0:
            return _NOTHING
        history = self._histories[self._random.getrandbits(15)]
        slack = min(100, (self.messages - self._done) // 20)
        if owed < -slack:
            return _NOTHING
        while owed > slack and len(history.doings) < 6:
            history = self._histories[self._random.getrandbits(15)]
        if campaign.mode == Mode.AGGREGATE or not campaign.list_id:
            history = _history([d for d in history.doings if d.kind != UNSUBSCRIBED])
        if len(history.doings) > left:
            history = _history(history.doings[:left])
        self._made += len(history.doings)
        return history

    def _counter(self, campaign: Campaign, moment: int) -> str:
        if campaign.mode != Mode.AGGREGATE:
            return ""
        day = datetime.fromtimestamp(moment // _SECOND, UTC).date()
        return counter_id(day, domain_of(campaign.sender), campaign.tag, campaign.list_id).hex

    def _counter_row(self, campaign: Campaign, counter: str, moment: int, batch: str, counted: list[int]) -> Row:
        made = text_of(moment // _DAY * _DAY)
        about = (counter, batch, "", campaign.sender, "", "", campaign.tag, campaign.list_id, "{}")
        fate = ("counter", "", made, None, 1, 1, len(campaign.links) - 1, 1, str(campaign.mode))
        return (*about, *fate, None, None, None, *counted, campaign.cohort("").id.hex, "")

    def _flush(self, add: Add, hour: int | None) -> None:
        """Write the events of all hours before *hour*."""
        for due in sorted(each for each in self._due if hour is None or each < hour):
            add("Event", [_event_row(*each) for each in sorted(self._due.pop(due), key=lambda each: each[:2])])


_STATUSES = ["sent"] * 499 + ["failed"] * 5 + ["suppressed"] * 5 + ["unknown"] * 3
_ERRORS = {"failed": "550 no such mailbox", "suppressed": "", "unknown": "the connection was lost"}
_NOTHING = History((), (None, None, None), (0, 0, 0))


def _event_row(when: int, noise: int, message: str, doing: Doing, campaign: Campaign) -> Row:
    key = (when // 1_000 << 80) | (7 << 76) | (when % 1_000 << 64) | (2 << 62) | noise
    link: tuple[Any, ...] = ("", None, "", "")
    if doing.kind == CLICKED:
        link = campaign.links[doing.link % len(campaign.links)]
    choice = ("", "", "", "")
    if doing.kind == UNSUBSCRIBED:
        choice = (campaign.list_id, "page", doing.reason, doing.comment)
    visitor = doing.visitor
    if campaign.mode != Mode.INDIVIDUAL:
        visitor = visitor._replace(ip="", user_agent="", country="")
    return (f"{key:032x}", message, doing.kind, text_of(when), *link, *visitor, *choice)


def _history(doings: Sequence[Doing]) -> History:
    """Return a history with what the drain would have counted."""
    ordered = tuple(sorted(doings, key=lambda doing: doing.after))

    def of_people(kind: str) -> list[int]:
        return [d.after for d in ordered if d.kind == kind and (d.visitor.is_people or kind == UNSUBSCRIBED)]

    found = [of_people(kind) for kind in (OPENED, CLICKED, UNSUBSCRIBED)]
    machine = sum(
        d.kind != UNSUBSCRIBED and not d.visitor.is_people and d.visitor.verdict != "unknown" for d in ordered
    )
    return History(ordered, tuple(min(f, default=None) for f in found), (len(found[0]), len(found[1]), machine))


class _Visitors:
    """Draws who stands behind events."""

    def __init__(self, draw: random.Random) -> None:
        self._random = draw

    def person(self) -> Visitor:
        """One of the clients, from one of the countries; some read through Gmail's proxy."""
        draw = self._random
        if draw.random() < 0.2:
            return Visitor(
                "", "GoogleImageProxy", "Gmail", "", "", "", "proxy", _said("ua_image_proxy"), provider="google"
            )
        client, system, device, _ = draw.choices(CLIENTS, [share for *_, share in CLIENTS])[0]
        country = draw.choices(COUNTRIES, [1 / (n + 1) for n in range(len(COUNTRIES))])[0]
        about = (f"198.51.{draw.randrange(256)}.0", f"Mozilla/5.0 ({system}) {client}/1", client, system, device)
        return Visitor(*about, country, "human", _said("ua_browser"))

    def apple(self) -> Visitor:
        """Apple's proxy, which fetches all pictures."""
        return Visitor("", "Mozilla/5.0", "Apple Mail", "", "", "", "proxy", _said("ua_apple_mpp"), provider="apple")

    def scanner(self) -> Visitor:
        """A machine that says so, or one that was found out by its haste."""
        ip, country = f"203.0.{self._random.randrange(256)}.0", self._random.choice(COUNTRIES[:3])
        if self._random.random() < 0.5:
            return Visitor(
                ip, "Barracuda", "", "", "", country, "scanner", _said("ua_security_scanner"), provider="barracuda"
            )
        first = "human", _said("ua_browser")
        agent = "Mozilla/5.0 (Windows) Chrome/1"
        return Visitor(ip, agent, "Chrome", "Windows", "desktop", country, "scanner", _said("burst"), *first)

    def odd(self) -> Visitor:
        """Somebody of whom nobody can say."""
        return Visitor("192.0.2.0", "Something/1", "", "", "", "US", "unknown", _said("ua_unknown"))


def _said(reason: str) -> str:
    return json.dumps([reason])
