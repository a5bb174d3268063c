"""Adds to a hit what can be found out later: client, system, device and country. Off the request path.

The package's own small table always works. With the extra ``ua``, ua-parser tells more browsers and systems
apart; with the extra ``geo``, a country database of the host's is asked. Neither is imported unless configured.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flask_mailtrack.agents import Agent, Client, identify, recognise
from flask_mailtrack.events import EventType, Hit, Verdict

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
