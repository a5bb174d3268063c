"""What is found out after the answer: the client, and what several hits of one message show."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import netaddr
import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from sqlalchemy.orm import DeclarativeBase

from flask_mailtrack.config import load
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.events import EventType, Hit, SentMessage, Status, Verdict, new_id, now
from flask_mailtrack.incoming import hits
from flask_mailtrack.models import models_for
from flask_mailtrack.storage.records import decode, encode, to_json
from flask_mailtrack.storage.tables.counts import Recount
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.second_look import Enrichment, Hindsight, Visit
from flask_mailtrack.storage.tables.writer import Writer
from flask_mailtrack.testing import Reader
from flask_mailtrack.thresholds import DEFAULTS, Thresholds

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
HUMAN, SCANNER = Verdict.HUMAN, Verdict.SCANNER


def click(second: float, link: int = 0, ip: str = "203.0.113.0", os: str = "macOS", **values: Any) -> Visit:
    """A click by a person."""
    given: dict[str, Any] = {"type": EventType.CLICKED, "verdict": HUMAN}
    return Visit(new_id(), occurred_at=START + timedelta(seconds=second), link=link, ip=ip, os=os, **(given | values))


def trap(second: float) -> Visit:
    """The hidden link was followed."""
    return click(second, type=EventType.TRAPPED, verdict=SCANNER)


def labels(visits: list[Visit], links: int | None = None, thresholds: Thresholds = DEFAULTS) -> list[str]:
    """The reason for each visit, in the order given."""
    found = Hindsight(thresholds).judge(visits, links)
    return [found.get(visit.id, "") for visit in visits]


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        ([click(0), click(5, 1)], ["burst", "burst"]),
        ([click(5, 1), click(0)], ["burst", "burst"]),
        ([click(0), click(5.1, 1)], ["", ""]),
        ([click(0), click(1)], ["", ""]),
        ([click(0, 0, "a"), click(1, 1, "b")], ["", ""]),
        ([click(0, 0, ""), click(1, 1, "")], ["", ""]),
        ([click(0), click(4), click(8, 1), click(20, 2)], ["", "burst", "burst", ""]),
        ([click(0), click(1, 1, verdict=SCANNER)], ["burst", ""]),
        ([click(0), click(1, 1, verdict=Verdict.UNKNOWN)], ["burst", "burst"]),
        # The browser of the person loads another link ahead.
        ([click(0), click(1, 1, verdict=Verdict.PREFETCH)], ["", ""]),
    ],
)
def test_burst(visits: list[Visit], expected: list[str]) -> None:
    """R1: two links of a message within five seconds from one address were followed by a machine."""
    assert labels(visits) == expected


@pytest.mark.parametrize(
    ("seconds", "links", "expected"),
    [
        ([0, 5, 10], 3, True),
        ([0, 5, 10.1], 3, False),
        ([0, 1, 2, 3], 5, True),
        ([0, 1, 2, 3], 6, False),
        ([0, 1], 2, False),
        ([0, 1, 2], None, False),
        ([0, 1, 2], 0, False),
    ],
)
def test_sweep(seconds: list[float], links: int | None, expected: bool) -> None:
    """R2: three links, and four of five of all, within ten seconds from wherever, were followed by a machine."""
    visits = [click(second, at, f"198.51.{at}.0") for at, second in enumerate(seconds)]
    assert labels(visits, links) == ["sweep" if expected else ""] * len(visits)


@pytest.mark.parametrize(
    ("second", "reason"), [(-10.1, ""), (-10, "honeypot"), (0, "honeypot"), (10, "honeypot"), (11, "")]
)
def test_honeypot(second: float, reason: str) -> None:
    """R3: what was clicked ten seconds before and after the hidden link, a machine clicked."""
    assert labels([click(second), trap(0), click(500)]) == [reason, "", ""]


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        (click(12, ip="198.51.100.0", os="Windows"), "shadow"),
        (click(60, ip="198.51.100.0", os="Windows"), "shadow"),
        (click(61, ip="198.51.100.0", os="Windows"), ""),
        (click(12, ip="198.51.100.0"), ""),
        (click(12, os="Windows"), ""),
        (click(12, ip="", os="Windows"), ""),
        (click(12, ip="198.51.100.0", os=""), ""),
        (click(12, 1, ip="198.51.100.0", os="Windows"), ""),
    ],
)
def test_shadow(later: Visit, reason: str) -> None:
    """R4: what follows a person to the same link, from elsewhere and another system, is a scanner."""
    assert labels([click(0), later]) == ["", reason]


def test_a_shadow_needs_a_person() -> None:
    """What comes after a machine is nobody's shadow, and a shadow casts none."""
    elsewhere = {"ip": "198.51.100.0", "os": "Windows"}
    assert labels([click(0, verdict=SCANNER), click(9, **elsewhere)]) == ["", ""]
    assert labels([click(0), click(9, **elsewhere), click(65, ip="192.0.2.0", os="Linux")]) == ["", "shadow", ""]


def test_thresholds_of_zero() -> None:
    """Each rule can be switched off, and all of them together."""
    visits = [click(0), click(0, 1), click(0, 2), click(1, ip="198.51.100.0", os="Windows"), trap(0)]
    assert set(labels(visits, 3)) == {"honeypot", ""}
    assert set(labels(visits, 3, replace(DEFAULTS, honeypot=0))) == {"sweep", ""}
    assert set(labels(visits, 3, replace(DEFAULTS, honeypot=0, sweep=0))) == {"burst", ""}
    assert labels(visits, 3, Thresholds(burst=0, sweep=0, honeypot=0)) == ["", "", "", "shadow", ""]
    assert set(Hindsight().judge(visits, 3)) == set()
    assert not Hindsight().reach


moments = st.integers(0, 40)
drawn = st.builds(
    click, moments, st.integers(0, 4), st.sampled_from(["a", "b", ""]), st.sampled_from(["macOS", "Windows", ""])
)


@given(st.lists(drawn | st.builds(trap, moments), max_size=12), st.none() | st.integers(0, 5), st.randoms())
def test_any_order_gives_the_same_labels(visits: list[Visit], links: int | None, chance: random.Random) -> None:
    """Journals of several processes arrive in any order; the labels do not depend on it, nor on saying it twice."""
    rules = Hindsight(DEFAULTS)
    found = rules.judge(visits, links)
    shuffled = chance.sample(visits, len(visits))
    assert rules.judge(shuffled, links) == found
    slow = {
        one.id
        for one in visits
        for other in visits
        if one.type == other.type == EventType.CLICKED
        and one.ip == other.ip != ""
        and one.link != other.link
        and abs(one.occurred_at - other.occurred_at) <= timedelta(seconds=5)
    }
    assert slow <= set(found)
    relabelled = [visit._replace(verdict=SCANNER) if visit.id in found else visit for visit in visits]
    assert set(rules.judge(relabelled, links).values()) <= {"shadow"}


def steps(work: Callable[[], object]) -> int:
    """How many lines of the rules *work* runs through."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename.endswith("second_look.py"):
            count += event == "line"
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_a_flood_costs_its_length() -> None:
    """Ten times the clicks at one moment cost about ten times the work, not a hundred times."""
    rules = Hindsight(DEFAULTS)
    for flood in (
        lambda n: click(0, n % 7, f"{n % 3}", f"{n % 2}"),
        lambda n: click(0, 0, f"{n}"),  # one link, one system, many addresses: all look like people
    ):
        few, many = ([flood(n) for n in range(size)] for size in (300, 3_000))
        assert steps(lambda few=few: rules.judge(few, 7)) * 15 > steps(lambda many=many: rules.judge(many, 7))


class Base(DeclarativeBase):
    """Stands for the host's ``db.Model``."""


class _Host:
    Model = Base


MODELS = models_for(_Host())


class Store:
    """A database and its writer."""

    def __init__(self, url: str, thresholds: Thresholds | None = DEFAULTS) -> None:
        self.engine = sa.create_engine(url)
        Base.metadata.create_all(self.engine)
        self.database = Database(self.engine, MODELS)
        self.writer = Writer(self.database, hindsight=Hindsight(thresholds))
        self.refused: list[Any] = []

    def put(self, *records: Hit | SentMessage) -> list[Any]:
        """Write one batch; return what is stored."""
        bodies = [decode(encode(to_json(record))) for record in records]
        return self.writer.store(bodies, lambda *about: self.refused.append(about))

    def events(self) -> list[tuple[Any, ...]]:
        """Verdict and reasons of each event, with those it had first, in order of time."""
        event = self.database.event
        names = ("verdict", "verdict_reasons", "first_verdict", "first_verdict_reasons")
        return self.database.rows(sa.select(*(event.c[name] for name in names)).order_by(event.c.occurred_at))

    def counts(self) -> tuple[Any, ...]:
        """What the message row says: first click, clicks by people, and by machines."""
        message = self.database.message
        (row,) = self.database.rows(sa.select(message.c.clicked_at, message.c.click_count, message.c.machine_count))
        return (row[0] is not None, *row[1:])


@pytest.fixture(name="store")
def _store(database_url: str) -> Any:
    """A store on each kind of database."""
    store = Store(database_url)
    yield store
    store.engine.dispose()
    assert store.refused == []


def message(**values: Any) -> SentMessage:
    """A sent message with four links."""
    about: dict[str, Any] = {
        "recipient": "ada@example.com",
        "sender": "",
        "subject": "",
        "header_message_id": "",
        "link_count": 4,
    }
    return SentMessage(new_id(), new_id(), created_at=START, status=Status.SENT, **(about | values))


def hit(about: SentMessage | UUID, second: float, link: int = 0, ip: str = "203.0.113.0", **values: Any) -> Hit:
    """A click by a person."""
    given: dict[str, Any] = {"verdict": HUMAN, "verdict_reasons": ("ua_browser",), "os": "macOS"}
    message_id = about if isinstance(about, UUID) else about.id
    moment = START + timedelta(seconds=second)
    return Hit(new_id(), message_id, EventType.CLICKED, moment, link=link, ip=ip, **(given | values))


def test_earlier_events_are_relabelled(store: Store) -> None:
    """The first click of a burst is corrected when the second comes, its label is kept, and the counts follow."""
    sent = message()
    store.put(sent, hit(sent, 0))
    assert store.counts() == (True, 1, 0)
    (told,) = store.put(hit(sent, 3, 1))
    assert (told.verdict, told.verdict_reasons, told.first_verdict) == (SCANNER, ("burst",), "human")
    assert store.events() == [("scanner", ["burst"], "human", ["ua_browser"])] * 2
    assert store.counts() == (False, 0, 2)


def test_one_batch_with_everything(store: Store) -> None:
    """A burst inside one batch is labelled before it is stored, and other messages are left alone."""
    sent, other = message(), uuid_of(1)
    store.put(sent, hit(sent, 0), hit(sent, 3, 1), hit(other, 1, 2), hit(sent, 90))
    human = ("human", ["ua_browser"], None, None)
    burst = ("scanner", ["burst"], "human", ["ua_browser"])
    assert store.events() == [burst, human, burst, human]
    assert store.counts() == (True, 1, 2)
    event = store.database.event
    unchanged = sa.select(sa.func.count()).where(
        event.c.first_verdict.is_(None), event.c.first_verdict_reasons.is_(None)
    )
    assert store.database.rows(unchanged) == [(2,)]  # NULL to SQL, not JSON's null


def uuid_of(number: int) -> UUID:
    """An id that no message has."""
    return UUID(int=number)


def test_a_replay_changes_nothing(store: Store) -> None:
    """A batch that comes again after a crash finds its own labels, and keeps the first ones."""
    sent = message()
    batch = [sent, hit(sent, 0), hit(sent, 3, 1)]
    store.put(*batch)
    before = store.events()
    told = [record for record in store.put(*batch) if isinstance(record, Hit)]
    assert store.events() == before
    assert [(one.verdict, one.verdict_reasons, one.first_verdict) for one in told] == [
        (SCANNER, ("burst",), "human")
    ] * 2


def test_a_sweep_before_its_message(store: Store) -> None:
    """Clicks that are stored before the row that says how many links there are, are judged when it comes."""
    sent = message()
    store.put(*(hit(sent, at, at, f"198.51.{at}.0") for at in range(4)))
    assert [row[0] for row in store.events()] == ["human"] * 4
    store.put(sent)
    assert [row[1] for row in store.events()] == [["sweep"]] * 4
    assert store.counts() == (False, 0, 4)


def test_only_what_is_near_in_time_is_read_again(store: Store) -> None:
    """Yesterday's clicks of a message are not read each time that somebody clicks today."""
    sent = message()
    seen: list[int] = []
    judge = store.writer._hindsight.judge
    store.writer._hindsight.judge = lambda visits, links: seen.append(len(visits)) or judge(visits, links)  # type: ignore
    store.put(sent, *(hit(sent, 0) for _ in range(9)))
    store.put(hit(sent, 60))
    store.put(hit(sent, 100_000), hit(sent, 100_001))
    assert seen == [9, 10, 2]


def test_a_shared_copy_is_not_judged(store: Store) -> None:
    """Several people who got the same copy may well click two links at once."""
    sent = message(shared=True)
    store.put(sent, *(hit(sent, at / 2, at) for at in range(4)))
    assert [row[0] for row in store.events()] == ["human"] * 4


def test_a_correction_is_taken_off_the_counts_of_a_message_with_many_events(store: Store) -> None:
    """What was a person's, or nobody's, becomes a scanner's, and the first click moves on, as in a rebuild."""
    sent = message()
    store.put(sent, *(hit(sent, 1_000 + 100 * n, verdict=Verdict.PREFETCH) for n in range(250)))
    store.put(hit(sent, 0), hit(sent, 1, verdict=Verdict.UNKNOWN), hit(sent, 500))
    assert store.counts() == (True, 2, 250)
    store.put(hit(sent, 3, 1))
    assert store.counts() == (True, 1, 253)
    table = store.database.message
    kept = store.database.rows(sa.select(table))
    Recount(store.database).run()
    assert store.database.rows(sa.select(table)) == kept


def test_a_flood_of_clicks(tmp_path: Path) -> None:
    """Of ten thousand clicks of one message each batch reads a fixed number again."""
    store = Store(f"sqlite:///{tmp_path / 'flood.sqlite3'}")
    sent = message()
    read: list[int] = []
    judge = store.writer._hindsight.judge
    store.writer._hindsight.judge = lambda visits, links: read.append(len(visits)) or judge(visits, links)  # type: ignore
    for batch in range(20):
        store.put(sent, *(hit(sent, batch / 2 + n / 1_000, n % 4) for n in range(500)))
    assert max(read) == 700
    assert {row[1][0] for row in store.events()} <= {"burst", "sweep"}
    store.engine.dispose()


def test_without_verdicts_nothing_is_relabelled(tmp_path: Path) -> None:
    """A host that has switched verdicts off has no second ones either."""
    store = Store(f"sqlite:///{tmp_path / 'off.sqlite3'}", None)
    sent = message()
    store.put(sent, *(hit(sent, 0, at) for at in range(4)))
    assert [row[0] for row in store.events()] == ["human"] * 4
    store.engine.dispose()


MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36"
UBUNTU = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
UC = (
    "Mozilla/5.0 (Linux; U; Android 9; en-US; SM-G950F) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/57.0.2987.108 UCBrowser/12.13.2.1208 Mobile Safari/537.36"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
HTML = '<p><a href="https://example.com/">a</a></p>'


def hit_of_enrichment(user_agent: str = MAC, **values: Any) -> Hit:
    """A person's click."""
    given: dict[str, Any] = {"type": EventType.CLICKED, "verdict": Verdict.HUMAN, "ip": "203.0.113.0"}
    return Hit(new_id(), new_id(), occurred_at=now(), user_agent=user_agent, **(given | values))


def told(enrichment: Enrichment, *arguments: Any, **values: Any) -> tuple[str, ...]:
    """What is found out of a hit_of_enrichment."""
    found = enrichment.enrich(hit_of_enrichment(*arguments, **values))
    return found.client, found.os, found.device, found.country


@pytest.fixture(name="cities", scope="module")
def _cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city database in the forms that are about."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="City")
    otago = {"iso_code": "OTA", "names": {"de": "Region Otago", "en": "Otago"}}
    there = {"country": {"iso_code": "NZ"}, "subdivisions": [otago], "city": {"names": {"en": "Dunedin"}}}
    writer.insert_network(netaddr.IPSet(["203.0.113.0/24"]), there)
    writer.insert_network(
        netaddr.IPSet(["198.51.100.0/24"]), {"country": "FO", "region": "Streymoy", "city": "T\u00f3rshavn"}
    )
    odd = {"country": {"iso_code": "IS"}, "subdivisions": [], "city": {"names": {"is": "Reykjav\u00edk"}}}
    writer.insert_network(netaddr.IPSet(["192.0.2.0/25"]), odd)
    long = {"country": {"iso_code": "IS"}, "subdivisions": "x", "region": "a\nb", "city": "L" * 99}
    writer.insert_network(netaddr.IPSet(["192.0.2.128/25"]), long)
    path = tmp_path_factory.mktemp("geo") / "cities.mmdb"
    writer.to_db_file(str(path))
    return path


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


@pytest.mark.parametrize(
    ("ip", "country", "region", "city"),
    [
        ("203.0.113.0", "NZ", "Otago", "Dunedin"),
        ("198.51.100.0", "FO", "Streymoy", "T\u00f3rshavn"),
        ("192.0.2.0", "IS", "", ""),
        ("192.0.2.128", "IS", "", "L" * 64),
        ("10.0.0.0", "", "", ""),
        ("0123456789abcdef01234567", "", "", ""),
    ],
)
@pytest.mark.parametrize("detail", ["country", "region", "city"])
def test_a_place_is_kept_as_closely_as_is_asked_for(
    ip: str, country: str, region: str, city: str, detail: str, cities: Path
) -> None:
    """The country alone, unless a host wants the region, or the city with it, and has a file that knows them."""
    found = Enrichment(geo_database=str(cities), geo_detail=detail).enrich(hit_of_enrichment(ip=ip))
    kept = {"country": (country, "", ""), "region": (country, region, ""), "city": (country, region, city)}[detail]
    assert (found.country, found.region, found.city) == kept


@pytest.mark.parametrize("verdict", [Verdict.PROXY, Verdict.PREFETCH])
def test_a_proxy_stands_in_no_city(verdict: Verdict, cities: Path) -> None:
    """Where a service fetches a mail says nothing of its reader."""
    found = Enrichment(geo_database=str(cities), geo_detail="city").enrich(hit_of_enrichment(verdict=verdict))
    assert (found.country, found.region, found.city) == ("", "", "")


@pytest.mark.parametrize(("mode", "city"), [("truncate", "Dunedin"), ("full", "Dunedin"), ("hash", ""), ("none", "")])
def test_a_city_by_what_is_kept_of_the_address(mode: str, city: str, make_site: MakeSite, cities: Path) -> None:
    """As with the country, nothing is known where the address is not."""
    site = make_site(MAILTRACK_IP=mode, MAILTRACK_GEO_DATABASE=str(cities), MAILTRACK_GEO_DETAIL="city")
    client = site.client
    client.environ_base["REMOTE_ADDR"] = "203.0.113.77"
    Reader(client, site.send(HTML), {"User-Agent": UBUNTU}).click()
    (event,) = site.rows("Event")
    assert (event.city, event.region) == (city, "Otago" if city else "")


@pytest.mark.parametrize("mode", ["aggregate", "deliverability"])
def test_quiet_modes_keep_no_place(mode: str, make_site: MakeSite, cities: Path) -> None:
    """Hits that are nobody's are from nowhere."""
    site = make_site(MAILTRACK_MODE=mode, MAILTRACK_GEO_DATABASE=str(cities), MAILTRACK_GEO_DETAIL="city")
    client = site.client
    client.environ_base["REMOTE_ADDR"] = "203.0.113.77"
    Reader(client, site.send(HTML), {"User-Agent": UBUNTU}).click()
    assert {(event.country, event.region, event.city) for event in site.rows("Event")} <= {("", "", "")}


def test_who_is_forgotten_was_nowhere_near(make_site: MakeSite, cities: Path) -> None:
    """An erasure takes city and region out of what stays, and what comes later through old links has none."""
    site = make_site(MAILTRACK_GEO_DATABASE=str(cities), MAILTRACK_GEO_DETAIL="city")
    client = site.client
    client.environ_base["REMOTE_ADDR"] = "203.0.113.77"
    reader = Reader(client, site.send(HTML), {"User-Agent": UBUNTU})
    reader.click()
    assert site.mailtrack.export("ada@example.com")["events"][0]["city"] == "Dunedin"
    site.mailtrack.erase("ada@example.com")
    reader.click()
    (event,) = site.rows("Event")
    assert (event.country, event.region, event.city, event.ip) == ("NZ", "", "", "")


def test_a_hit_on_a_purged_mail_has_no_city(make_site: MakeSite, cities: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can find such an event by its person any more, so only the country is kept of the place."""
    site = make_site(MAILTRACK_GEO_DATABASE=str(cities), MAILTRACK_GEO_DETAIL="city")
    client = site.client
    client.environ_base["REMOTE_ADDR"] = "203.0.113.77"
    reader = Reader(client, site.send(HTML), {"User-Agent": UBUNTU})
    site.db.session.delete(site.rows("Message")[0])
    site.db.session.commit()
    later = now() + timedelta(hours=2)
    monkeypatch.setattr("flask_mailtrack.storage.tables.unwanted.now", lambda: later)
    reader.click()
    (event,) = site.rows("Event")
    assert (event.country, event.region, event.city, event.ip) == ("NZ", "", "", "")


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
    found = Enrichment(ua_parser=True).enrich(hit_of_enrichment(user_agent, verdict=verdict, ip=ip))
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
        "import sys; from flask_mailtrack.storage.tables.second_look import Enrichment; Enrichment();"
        "sys.exit(any(name.startswith(('ua_parser', 'maxminddb')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
