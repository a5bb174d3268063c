"""Client, system, device and country are found out after the answer, not before it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import netaddr
import pytest
from conftest import MakeSite, Site
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter

from flask_mailtrack.config import load
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.events import EventType, Hit, Verdict, new_id, now
from flask_mailtrack.incoming import hits
from flask_mailtrack.storage.tables.enrichment import Enrichment
from flask_mailtrack.testing import Reader

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36"
UBUNTU = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
UC = (
    "Mozilla/5.0 (Linux; U; Android 9; en-US; SM-G950F) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/57.0.2987.108 UCBrowser/12.13.2.1208 Mobile Safari/537.36"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
HTML = '<p><a href="https://example.com/">a</a></p>'


def hit(user_agent: str = MAC, **values: Any) -> Hit:
    """A person's click."""
    given: dict[str, Any] = {"type": EventType.CLICKED, "verdict": Verdict.HUMAN, "ip": "203.0.113.0"}
    return Hit(new_id(), new_id(), occurred_at=now(), user_agent=user_agent, **(given | values))


def told(enrichment: Enrichment, *arguments: Any, **values: Any) -> tuple[str, ...]:
    """What is found out of a hit."""
    found = enrichment.enrich(hit(*arguments, **values))
    return found.client, found.os, found.device, found.country


@pytest.fixture(name="countries", scope="module")
def _countries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A country database of a few hundred bytes."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Country")
    writer.insert_network(netaddr.IPSet(["203.0.113.0/24"]), {"country": {"iso_code": "NZ"}})
    writer.insert_network(netaddr.IPSet(["2001:db8:1::/48"]), {"country": {"iso_code": "IS"}})
    writer.insert_network(netaddr.IPSet(["192.0.2.0/25"]), {"country": "FO", "country_code": "FO"})
    writer.insert_network(netaddr.IPSet(["192.0.2.128/25"]), {"country": {"iso_code": "<script>"}})
    writer.insert_network(netaddr.IPSet(["192.168.0.0/24"]), {"country": {"iso_code": "NZL"}})
    writer.insert_network(netaddr.IPSet(["192.168.1.0/24"]), {"country": {"iso_code": "N1"}})
    writer.insert_network(netaddr.IPSet(["192.168.2.0/24"]), {"country": {"iso_code": "ÑÖ"}})
    writer.insert_network(netaddr.IPSet(["198.51.100.0/24"]), {"continent": {"code": "EU"}})
    path = tmp_path_factory.mktemp("geo") / "countries.mmdb"
    writer.to_db_file(str(path))
    return path


def test_the_packages_own_table() -> None:
    """Without any extra the common programs are told apart."""
    assert told(Enrichment()) == ("Chrome", "macOS", "desktop", "")
    assert told(Enrichment(), UC) == ("Chrome", "Android", "phone", "")


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (UC, ("UC Browser", "Android", "phone", "")),
        (UBUNTU, ("Firefox", "Ubuntu", "desktop", "")),
        (MAC, ("Chrome", "macOS", "desktop", "")),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/55.0.2883.87 eM Client/8.2", ("eM Client", "Windows", "desktop", "")),
        ("python-requests/2.28.2", ("", "", "", "")),
        (f"{MAC} HeadlessChrome/74.0", ("", "", "", "")),
        ("\ud800 something new", ("", "", "", "")),
    ],
)
def test_ua_parser_tells_more(user_agent: str, expected: tuple[str, ...]) -> None:
    """With the extra more browsers and systems have a name; those that had one keep it, and machines have none."""
    assert told(Enrichment(ua_parser=True), user_agent) == expected


@pytest.mark.parametrize("ua_parser", [False, True])
def test_of_a_proxied_reader_only_the_service_is_told(ua_parser: bool, countries: Path) -> None:
    """What stands in a proxy's User-Agent, and where the proxy stands, is not the reader's."""
    enrichment = Enrichment(ua_parser, str(countries))
    assert told(enrichment, GMAIL, verdict=Verdict.PROXY) == ("Gmail", "", "", "")
    assert told(enrichment, GMAIL, verdict=Verdict.PREFETCH) == ("Gmail", "", "", "")
    assert told(enrichment, UBUNTU, verdict=Verdict.PROXY) == ("Firefox", "Linux", "desktop", "")


@pytest.mark.parametrize(
    ("ip", "country"),
    [
        ("203.0.113.0", "NZ"),
        ("203.0.113.77", "NZ"),
        ("2001:db8:1::", "IS"),
        ("192.0.2.1", "FO"),
        ("192.0.2.200", ""),
        ("198.51.100.7", ""),
        ("10.0.0.1", ""),
        ("192.168.0.1", ""),
        ("192.168.1.1", ""),
        ("192.168.2.1", ""),
        ("", ""),
        ("0123456789abcdef01234567", ""),
    ],
)
def test_country(ip: str, country: str, countries: Path) -> None:
    """What is kept of an address, a /24 or a /48, is enough for a country; a hash, or nothing, is not."""
    assert told(Enrichment(geo_database=str(countries)), ip=ip)[3] == country


def test_what_is_known_stays(countries: Path) -> None:
    """What was found before the spool is not found again, and an opt-out is no visit."""
    enrichment = Enrichment(True, str(countries))
    assert told(enrichment, client="Chrome", country="XX") == ("Chrome", "", "", "XX")
    assert told(enrichment, type=EventType.UNSUBSCRIBED) == ("", "", "", "")


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 99])
def test_a_bad_country_database_is_one_line(
    content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing or broken database costs the country, one line in the log without an address, and no event."""
    path = tmp_path / "countries.mmdb"
    if content is not None:
        path.write_bytes(content)
    enrichment = Enrichment(geo_database=str(path))
    assert [told(enrichment)[3] for _ in range(3)] == ["", "", ""]
    (record,) = caplog.records
    assert (record.levelno, "MAILTRACK_GEO_DATABASE" in record.getMessage()) == (logging.ERROR, True)
    assert "203.0.113" not in caplog.text


def test_a_database_that_breaks_later(countries: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database whose tree is damaged gives countries or none, and never an address in the log."""
    path = tmp_path / "countries.mmdb"
    content = bytearray(countries.read_bytes())
    content[:64] = b"\xff" * 64
    path.write_bytes(content)
    enrichment = Enrichment(geo_database=str(path))
    assert {told(enrichment, ip=ip)[3] for ip in ("203.0.113.7", "2001:db8:1::")} == {""}
    assert "203.0.113" not in caplog.text
    assert len(caplog.records) <= 1


def test_a_failing_parser_costs_no_event(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A package that fails loses the names, not the event."""
    enrichment = Enrichment(ua_parser=True)

    def fails(user_agent: str) -> Any:
        raise RuntimeError("203.0.113.7")

    monkeypatch.setattr(enrichment, "_client", fails)
    assert told(enrichment) == ("", "", "", "")
    assert "203.0.113" not in caplog.text


@given(st.text(), st.sampled_from(Verdict), st.text())
def test_any_hit_is_enriched(user_agent: str, verdict: Verdict, ip: str) -> None:
    """Whatever stands in the journal, the row fits its columns."""
    found = Enrichment(ua_parser=True).enrich(hit(user_agent, verdict=verdict, ip=ip))
    assert len(found.client) <= 64
    assert len(found.os) <= 64


def test_a_request_does_not_pay(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With whole User-Agents the request names no client, and the row has one all the same."""
    monkeypatch.setattr(hits, "identify", None)
    Reader(site.client, site.send(HTML), {"User-Agent": MAC}).click()
    (event,) = site.rows("Event")
    assert (event.client, event.os, event.device, event.user_agent) == ("Chrome", "macOS", "desktop", MAC)


@pytest.mark.parametrize(("mode", "kept"), [("family", "Chrome"), ("none", "")])
def test_a_user_agent_that_is_not_kept(mode: str, kept: str, make_site: MakeSite) -> None:
    """Where the header must not touch the disk, the names are found before the journal, and the rest is gone."""
    site = make_site(MAILTRACK_USER_AGENT=mode, MAILTRACK_DRAIN="manual")
    Reader(site.client, site.send(HTML), {"User-Agent": MAC}).click()
    spool = Path(site.mailtrack._state().journals[0].directory)
    assert not any("AppleWebKit" in path.read_text() for path in spool.glob("*.jsonl"))
    site.mailtrack.flush()
    (event,) = site.rows("Event")
    assert (event.client, event.os, event.device, event.user_agent) == ("Chrome", "macOS", "desktop", kept)


@pytest.mark.parametrize(("mode", "country"), [("truncate", "NZ"), ("full", "NZ"), ("hash", ""), ("none", "")])
def test_country_by_what_is_kept(mode: str, country: str, make_site: MakeSite, countries: Path) -> None:
    """The country comes from what the journal holds of the address, so a hash and nothing have none."""
    site = make_site(MAILTRACK_IP=mode, MAILTRACK_GEO_DATABASE=str(countries), MAILTRACK_UA_PARSER=True)
    client = site.client
    client.environ_base["REMOTE_ADDR"] = "203.0.113.77"
    Reader(client, site.send(HTML), {"User-Agent": UBUNTU}).click()
    (event,) = site.rows("Event")
    assert (event.os, event.country) == ("Ubuntu", country)


@pytest.mark.parametrize(
    ("key", "value", "module", "extra"),
    [("GEO_DATABASE", "x.mmdb", "maxminddb", "geo"), ("UA_PARSER", True, "ua_parser_rs", "ua")],
)
def test_a_missing_extra_is_named(
    key: str, value: Any, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key whose package is not installed stops the start, with the line that installs it."""
    monkeypatch.setattr("flask_mailtrack.checks.find_spec", lambda name: None if name == module else name)
    config = {"SECRET_KEY": "x" * 32, "MAILTRACK_BASE_URL": "https://x.example", f"MAILTRACK_{key}": value}
    with pytest.raises(ConfigError, match=rf"flask-mailtrack\[{extra}\]"):
        load(config, instance_path="", testing=False)


def test_nothing_is_imported_unless_asked_for() -> None:
    """An app without the keys does not pay 80 MB for packages that it does not use."""
    code = (
        "import sys; from flask_mailtrack.storage.tables.enrichment import Enrichment; Enrichment();"
        "sys.exit(any(name.startswith(('ua_parser', 'maxminddb')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
