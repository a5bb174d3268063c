"""What a second look at a hit tells, when it is drained: client, system, device and country, and a better verdict.

The package's own small table of clients always works. With the extra ``ua``, ua-parser tells more browsers and
systems apart; with the extra ``geo``, a country database of the host's is asked. Neither is imported unless
configured.

Hits are judged once more, by what else happened to their message: what one request alone cannot tell. Scanners look
like an ordinary browser, and may come minutes after the mail. What gives them away is what they do: follow every
link at once. Here are the rules, pure; :mod:`.batch` brings the hits and writes the verdicts.

Only what was taken for a person, or for nobody in particular, is relabelled, and once: a machine stays the
machine it was. Addresses are compared as they are kept: those of one /24 are one, and where nothing is kept of
them, the rules that compare them are silent. They are silent, too, about a copy that several people got.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from flask_mailtrack.agents import Agent, Client, identify, recognise
from flask_mailtrack.events import EventType, Hit, Verdict
from flask_mailtrack.thresholds import Thresholds

log: logging.Logger = logging.getLogger("flask_mailtrack.drain")

_ASKED = ("type", "verdict", "user_agent", "client", "os", "device", "ip", "country")
_VISITS = {EventType.OPENED, EventType.CLICKED}
# Fetched by a service in its own name: what it says of system and place is not the reader's.
_ON_BEHALF = {Verdict.PROXY, Verdict.PREFETCH}

# ua-parser's words for what our table knows by another, so that figures stay comparable.
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
    """Enriches hits. Never fails: what cannot be found out stays empty.

    :param ua_parser: whether to ask ua-parser, which must be installed then.
    :param geo_database: path of a country database in MaxMind's format, for which maxminddb must be
        installed; empty: none. It is opened once in each process.
    """

    def __init__(self, ua_parser: bool = False, geo_database: str = "") -> None:
        self._client = lru_cache(1024)(_client_by_ua_parser) if ua_parser else identify
        self._countries = _Countries(geo_database) if geo_database else None

    def has_countries(self) -> bool:
        """Say whether countries can be told: a database is configured and can be read."""
        return self._countries is not None and self._countries.works()

    def enrich(self, hit: Hit) -> Hit:
        """Return *hit* with what can be told of it; fields that are filled stay as they are."""
        found = self.find({name: getattr(hit, name) for name in _ASKED})
        return hit._replace(**found) if found else hit

    def find(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return what can be told of a hit with these *fields*, by field; nothing if it is no visit.

        A /24 or a /48 is enough for a country; where a hash, or nothing, is kept of the address, there is none.

        :param fields: those of a record, or of what is written of it; what is missing is empty.
        """
        found: dict[str, Any] = {}
        told, verdict = fields.get, fields.get("verdict")
        try:
            if told("type") not in _VISITS:
                return found
            if (user_agent := told("user_agent")) and not (told("client") or told("os") or told("device")):
                client = (identify if verdict == Verdict.PROXY else self._client)(user_agent)
                found = {"client": client.name[:64], "os": client.os[:64], "device": client.device}
            if self._countries and (ip := told("ip")) and not told("country") and verdict not in _ON_BEHALF:
                found["country"] = self._countries.find(ip)
        except Exception as error:  # a broken package or database must cost no event
            log.error("a hit was not enriched: %s", type(error).__name__)
        return found


def _client_by_ua_parser(user_agent: str) -> Client:
    """Ask our table first: it knows mail clients better, and who is no reader at all."""
    own, agent = identify(user_agent), recognise(user_agent)
    if not _is_browser(agent):
        return own
    from ua_parser import parse_os, parse_user_agent  # takes 80 MB, so only where asked for

    browser, system = parse_user_agent(user_agent), parse_os(user_agent)
    name = _BROWSERS.get(browser.family, browser.family) or "" if browser else own.name
    return Client(name, _SYSTEMS.get(system.family, system.family) or "" if system else own.os, own.device)


def _is_browser(agent: Agent) -> bool:
    return agent.reason in {"ua_browser", "ua_native_http"}


class _Countries:
    """A country database, opened when it is first needed. If it fails, it is asked no more, with one log line."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader: Any = None

    def works(self) -> bool:
        """Look one address up, and say whether that went well."""
        self.find("192.0.2.1")
        return bool(self._path)

    def find(self, address: str) -> str:
        """Return the ISO 3166-1 code of the country of an address, or an empty string."""
        if not self._path:
            return ""
        try:
            if self._reader is None:
                import maxminddb

                self._reader = maxminddb.open_database(self._path)
            return _code(self._reader.get(address))
        except ValueError:  # no address, or IPv6 and the database has none; the text would show it
            return ""
        except Exception as error:
            log.error("no more countries: MAILTRACK_GEO_DATABASE cannot be read (%s)", type(error).__name__)
            self._path = ""
            return ""


def _code(found: Any) -> str:
    """Read MaxMind's and DB-IP's form (``{"country": {"iso_code": "NZ"}}``), or IPinfo's with the code alone."""
    record = found if isinstance(found, dict) else {}
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else record.get("country_code", country)
    return code if isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha() else ""


LOOKED_AT = (EventType.CLICKED, EventType.TRAPPED)
"""The events that the rules know."""

_SWEPT_LINKS = 3
_SWEPT_PART = 0.8
_BURST_LINKS = 2
_REMEMBERED = 20
_CORRIGIBLE = {Verdict.HUMAN, Verdict.UNKNOWN}


class Visit(NamedTuple):
    """An event, as far as the rules look at it."""

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
        """How far apart two events can be and still say something of each other; zero: all rules are off."""

    def judge(self, visits: Iterable[Visit], links: int | None) -> dict[uuid.UUID, str]:
        """Return why which visits were no person's, all of them scanners'.

        Takes time in proportion to the number of visits.

        :param visits: of one message, in any order.
        :param links: how many links the message has; ``None`` if that is not known.
        """
        ordered = sorted(visits, key=lambda visit: (visit.occurred_at, visit.id))
        clicks = [visit for visit in ordered if visit.type == EventType.CLICKED]
        # A browser that loads ahead does it beside its person, from the same address.
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
        """Only a machine finds the hidden link; what was clicked just before and after it, it clicked."""
        traps = [visit.occurred_at for visit in ordered if visit.type == EventType.TRAPPED]
        reach, at = timedelta(seconds=self._thresholds.honeypot), 0
        for visit in clicks if reach and traps else []:
            while at < len(traps) and traps[at] < visit.occurred_at - reach:
                at += 1
            if at < len(traps) and traps[at] <= visit.occurred_at + reach:
                yield visit

    def _swept(self, followed: list[Visit], links: int | None) -> Iterator[Visit]:
        """Nearly every link of a message at once, from any number of addresses: a filter with many machines."""
        if not links or links < _SWEPT_LINKS:
            return iter(())
        return _together(followed, self._thresholds.sweep, max(_SWEPT_LINKS, math.ceil(links * _SWEPT_PART)))

    def _in_a_burst(self, followed: list[Visit]) -> Iterator[Visit]:
        """Two links at once from one address: nobody reads that fast."""
        by_address = defaultdict(list)
        for visit in followed:
            if visit.ip:
                by_address[visit.ip].append(visit)
        for visits in by_address.values():
            yield from _together(visits, self._thresholds.burst, _BURST_LINKS)

    def _shadows(self, followed: list[Visit], found: dict[uuid.UUID, str]) -> Iterator[Visit]:
        """The link that a person has just followed, from another address and another system.

        Filters look again at what people click (https://github.com/resend/resend-node/issues/901).
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


def _together(visits: Sequence[Visit], seconds: float, links: int) -> Iterator[Visit]:
    """Yield the visits of every span of *seconds* in which that many different *links* were followed."""
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
