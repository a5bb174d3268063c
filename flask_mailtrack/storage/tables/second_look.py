"""The second look at a hit, when it is drained: client, system, device and country, and a better verdict.

The package's own small table of clients always works. With the extra ``ua``, ua-parser tells more browsers and systems
apart. With the extra ``geo``, a country database of the host is asked. Both are imported only if configured.

Hits are judged again by the other hits on their message, because one request alone does not tell enough. Scanners look
like an ordinary browser, and may come minutes after the mail. Their behaviour gives them away: they follow every link
at once. This module holds only the rules; :mod:`.batch` brings the hits and writes the verdicts.

Only hits of people, and of unknown visitors, get another verdict, and only once: a machine stays the same machine.
Addresses are compared as they are kept, so all addresses of one /24 are one. If no addresses are kept, or several
people got the copy, the rules that compare addresses are not applied.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from flask_mailtrack.agents import Agent, Client, identify, recognise
from flask_mailtrack.events import EventType, Hit, Verdict
from flask_mailtrack.thresholds import Thresholds

log: logging.Logger = logging.getLogger("flask_mailtrack.drain")

_ASKED = ("type", "verdict", "user_agent", "client", "os", "device", "ip", "country")
PLACES = ("country", "region", "city")
"""The columns of an event that say where its reader was, from the widest to the narrowest."""
_VISITS = {EventType.OPENED, EventType.CLICKED}
# Services that fetch in their own name. Their system and place are not the reader's.
_ON_BEHALF = {Verdict.PROXY, Verdict.PREFETCH}

# ua-parser's names with the names of our own table, so that figures stay comparable.
_BROWSERS = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile WebView": "Android WebView",
    "Chrome Mobile iOS": "Chrome",
    "Edge Mobile": "Edge",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "IE": "Internet Explorer",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "iOS WebView",
    "Opera Mobile": "Opera",
}
_SYSTEMS = {"Mac OS X": "macOS", "Chrome OS": "ChromeOS"}


class Enrichment:
    """Enriches hits. Never fails: unknown fields stay empty.

    :param ua_parser: whether to ask ua-parser, which must be installed.
    :param geo_database: path of a country or city database in MaxMind's format; empty: none. It needs maxminddb, and is
        opened once in each process.
    :param geo_detail: the narrowest of :data:`PLACES` that is kept.
    """

    def __init__(self, ua_parser: bool = False, geo_database: str = "", geo_detail: str = "country") -> None:
        self._client = lru_cache(1024)(_client_by_ua_parser) if ua_parser else identify
        kept = PLACES[: PLACES.index(geo_detail) + 1]
        self._places = _Places(geo_database, kept) if geo_database else None

    def has_countries(self) -> bool:
        """Say whether a database of places is configured and can be read."""
        return self._places is not None and self._places.works()

    def enrich(self, hit: Hit) -> Hit:
        """Return *hit* with further fields. Filled fields stay as they are."""
        found = self.find({name: getattr(hit, name) for name in _ASKED})
        return hit._replace(**found) if found else hit

    def find(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return further fields for a hit with these *fields*; empty if the record is no visit.

        A /24 or a /48 is enough for a country. With a hash, or without an address, there is no country.

        :param fields: the fields of a record, or of its JSON; a missing field is empty.
        """
        found: dict[str, Any] = {}
        told, verdict = fields.get, fields.get("verdict")
        try:
            if told("type") not in _VISITS:
                return found
            if (user_agent := told("user_agent")) and not (told("client") or told("os") or told("device")):
                client = (identify if verdict == Verdict.PROXY else self._client)(user_agent)
                found = {"client": client.name[:64], "os": client.os[:64], "device": client.device}
            if self._places and (ip := told("ip")) and not told("country") and verdict not in _ON_BEHALF:
                found |= self._places.find(ip)
        except Exception as error:  # a broken package or database must cost no event
            log.error("a hit was not enriched: %s", type(error).__name__)
        return found


def _client_by_ua_parser(user_agent: str) -> Client:
    """Ask our own table first, because it knows mail clients, and programs that are no readers, better."""
    own, agent = identify(user_agent), recognise(user_agent)
    if not _is_browser(agent):
        return own
    from ua_parser import parse_os, parse_user_agent  # takes 80 MB, so only imported if configured

    browser, system = parse_user_agent(user_agent), parse_os(user_agent)
    name = _BROWSERS.get(browser.family, browser.family) or "" if browser else own.name
    return Client(name, _SYSTEMS.get(system.family, system.family) or "" if system else own.os, own.device)


def _is_browser(agent: Agent) -> bool:
    return agent.reason in {"ua_browser", "ua_native_http"}


class _Places:
    """A database of places, opened at first use. After a failure, it is not asked again, and one line is logged."""

    def __init__(self, path: str, kept: Sequence[str]) -> None:
        self._path = path
        self._kept = kept
        self._reader: Any = None

    def works(self) -> bool:
        """Look up one address, and say whether that worked."""
        self.find("192.0.2.1")
        return bool(self._path)

    def find(self, address: str) -> dict[str, str]:
        """Return what is kept of the place of an address, by the name of its column; empty where it is not known."""
        if not self._path:
            return {}
        try:
            if self._reader is None:
                import maxminddb

                self._reader = maxminddb.open_database(self._path)
            found = self._reader.get(address)
            record = found if isinstance(found, dict) else {}
            return {name: _READ[name](record) for name in self._kept}
        except ValueError:  # no address, or IPv6 in a database without it; the error's text would show the address
            return {}
        except Exception as error:
            log.error("no more countries: MAILTRACK_GEO_DATABASE cannot be read (%s)", type(error).__name__)
            self._path = ""
            return {}


def _country(record: Mapping[str, Any]) -> str:
    """Read MaxMind's and DB-IP's form (``{"country": {"iso_code": "NZ"}}``), or IPinfo's with the code alone."""
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else record.get("country_code", country)
    return code if isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha() else ""


def _region(record: Mapping[str, Any]) -> str:
    """Read the widest part of the country, as in ``{"subdivisions": [{"names": {"en": "Otago"}}]}``, or IPinfo's."""
    parts = record.get("subdivisions")
    return _name(parts[0]) if isinstance(parts, list) and parts else _name(record.get("region"))


def _city(record: Mapping[str, Any]) -> str:
    return _name(record.get("city"))


def _name(found: Any) -> str:
    """Return the English name of a place; MaxMind's and DB-IP's files have several, IPinfo's has one."""
    names = found.get("names") if isinstance(found, dict) else {"en": found}
    name = names.get("en") if isinstance(names, dict) else None
    return name[:64] if isinstance(name, str) and name.isprintable() else ""


_READ: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"country": _country, "region": _region, "city": _city}


LOOKED_AT = (EventType.CLICKED, EventType.TRAPPED)
"""The events that the rules know."""

_SWEPT_LINKS = 3
_SWEPT_PART = 0.8
_BURST_LINKS = 2
_REMEMBERED = 20
_CORRIGIBLE = {Verdict.HUMAN, Verdict.UNKNOWN}


class Visit(NamedTuple):
    """The fields of an event that the rules read."""

    id: uuid.UUID
    type: str
    occurred_at: datetime
    link: int | None
    ip: str
    os: str
    verdict: str


class Hindsight:
    """The rules, with their thresholds.

    :param thresholds: in seconds; ``None``: no rule is applied.
    """

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self._thresholds = thresholds or Thresholds(burst=0, sweep=0, honeypot=0, shadow=0)
        used = (self._thresholds.burst, self._thresholds.sweep, self._thresholds.honeypot, self._thresholds.shadow)
        self.reach: timedelta = timedelta(seconds=max(used))
        """The longest time between two events that a rule compares; zero: all rules are off."""

    def judge(self, visits: Iterable[Visit], links: int | None) -> dict[uuid.UUID, str]:
        """Return the visits that were a scanner's, with the reasons.

        The time grows with the number of visits only.

        :param visits: the visits of one message, in any order.
        :param links: the number of links in the message; ``None`` if unknown.
        """
        ordered = sorted(visits, key=lambda visit: (visit.occurred_at, visit.id))
        clicks = [visit for visit in ordered if visit.type == EventType.CLICKED]
        # A browser that loads ahead has the same address as its person.
        followed = [visit for visit in clicks if visit.verdict != Verdict.PREFETCH and visit.link is not None]
        found: dict[uuid.UUID, str] = {}
        for reason, guilty in (
            ("honeypot", self._near_the_honeypot(ordered, clicks)),
            ("sweep", self._swept(followed, links)),
            ("burst", self._in_a_burst(followed)),
        ):
            for visit in guilty:
                if visit.verdict in _CORRIGIBLE:
                    found.setdefault(visit.id, reason)
        for visit in self._shadows(followed, found):
            found[visit.id] = "shadow"
        return found

    def _near_the_honeypot(self, ordered: list[Visit], clicks: list[Visit]) -> Iterator[Visit]:
        """Only a machine finds the hidden link, so clicks just before and after it are the machine's."""
        traps = [visit.occurred_at for visit in ordered if visit.type == EventType.TRAPPED]
        reach, at = timedelta(seconds=self._thresholds.honeypot), 0
        for visit in clicks if reach and traps else []:
            while at < len(traps) and traps[at] < visit.occurred_at - reach:
                at += 1
            if at < len(traps) and traps[at] <= visit.occurred_at + reach:
                yield visit

    def _swept(self, followed: list[Visit], links: int | None) -> Iterator[Visit]:
        """Find nearly all links of a message at once, from any addresses: a filter with many machines."""
        if not links or links < _SWEPT_LINKS:
            return iter(())
        return _together(followed, self._thresholds.sweep, max(_SWEPT_LINKS, math.ceil(links * _SWEPT_PART)))

    def _in_a_burst(self, followed: list[Visit]) -> Iterator[Visit]:
        """Find two links at once from one address, because nobody reads that fast."""
        by_address = defaultdict(list)
        for visit in followed:
            if visit.ip:
                by_address[visit.ip].append(visit)
        for visits in by_address.values():
            yield from _together(visits, self._thresholds.burst, _BURST_LINKS)

    def _shadows(self, followed: list[Visit], found: dict[uuid.UUID, str]) -> Iterator[Visit]:
        """Find the link that a person has just followed, from another address and another system.

        Filters look again at links that people click (https://github.com/resend/resend-node/issues/901).
        """
        reach = timedelta(seconds=self._thresholds.shadow)
        if not reach:
            return
        people: defaultdict[int | None, deque[Visit]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        for visit in followed:
            if visit.id in found or visit.verdict not in _CORRIGIBLE or not (visit.ip and visit.os):
                continue
            before = people[visit.link]
            if any(
                person.ip != visit.ip and person.os != visit.os and visit.occurred_at - person.occurred_at <= reach
                for person in before
            ):
                yield visit
            elif visit.verdict == Verdict.HUMAN:
                before.append(visit)


def visit(seen: Any) -> Visit:
    """Return a hit, or the row of an event, as the rules look at it."""
    return Visit(seen.id, seen.type, seen.occurred_at, seen.link, seen.ip, seen.os, seen.verdict)


def corrected(row: Any, reason: str) -> dict[str, Any]:
    """Return the parameters that correct the verdict of an event."""
    first = {"new_first_verdict": row.verdict, "new_first_verdict_reasons": row.verdict_reasons}
    return {"key_": row.id, "new_verdict": Verdict.SCANNER.value, "new_verdict_reasons": [reason]} | first


def standing(hit: Hit, row: Any, reason: str | None) -> Hit:
    """Return *hit* with the verdict that stands: found now, or when it was stored before."""
    was = hit if row is None else row
    if reason is not None:
        first: dict[str, Any] = {"first_verdict": str(was.verdict), "first_verdict_reasons": tuple(was.verdict_reasons)}
        return hit._replace(verdict=Verdict.SCANNER, verdict_reasons=(reason,), **first)
    if row is None:
        return hit
    first = {"first_verdict": row.first_verdict or "", "first_verdict_reasons": tuple(row.first_verdict_reasons or ())}
    return hit._replace(verdict=Verdict(row.verdict), verdict_reasons=tuple(row.verdict_reasons), **first)


def _together(visits: Sequence[Visit], seconds: float, links: int) -> Iterator[Visit]:
    """Yield the visits of each span of *seconds* in which that many different *links* were followed."""
    reach = timedelta(seconds=seconds)
    if not reach:
        return
    counts: Counter[int | None] = Counter()
    start = told = 0
    for end, visit in enumerate(visits):
        counts[visit.link] += 1
        while visit.occurred_at - visits[start].occurred_at > reach:
            gone = visits[start].link
            counts[gone] -= 1
            if not counts[gone]:
                del counts[gone]
            start += 1
        if len(counts) >= links:
            yield from visits[max(start, told) : end + 1]
            told = end + 1
