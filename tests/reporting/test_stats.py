"""The figures: people and machines apart, each rate with what it is a rate of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from conftest import MakeSite, Site

from flask_mailtrack.events import Status, new_id
from flask_mailtrack.reporting.stats import Stats, Tally
from flask_mailtrack.testing import BROWSER, Reader

HTML = '<p><a href="https://example.com/a">a</a> <a href="https://example.com/b">b</a></p>'
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NOTHING = Tally(0, 0, 0)
MACHINE = {**BROWSER, "Sec-Purpose": "prefetch"}


def add(site: Site, status: Status = Status.SENT, **columns: Any) -> None:
    """Write a message row as the drain would have."""
    values = {"created_at": NOON, "tracks_opens": True, "tracks_clicks": True, "recipient": "a@b.example"} | columns
    site.db.session.add(site.mailtrack.models.Message(id=new_id(), batch_id=new_id(), status=status, **values))
    site.db.session.commit()


def test_nothing_gives_zeros(site: Site) -> None:
    """Without any mail all figures are 0, and there is no rate to divide by zero."""
    assert site.mailtrack.stats() == Stats(0, 0, 0, 0, NOTHING, NOTHING, NOTHING, 0)
    assert site.mailtrack.stats(tag="nobody's").opened.rate is None


def test_people_count_once_and_machines_apart(site: Site) -> None:
    """Two people out of four open, one of them twice; what a machine fetched is no open of anybody."""
    readers = [Reader(site.client, site.send(HTML, to=f"{name}@example.com", list_id="news")) for name in "abcd"]
    readers[0].open()
    readers[0].open()
    readers[1].open()
    readers[0].click("a")
    readers[0].click("b")
    readers[0].click("b")
    for reader in readers:
        Reader(reader.client, reader.message, MACHINE).open()
        Reader(reader.client, reader.message, MACHINE).click("a")
    readers[3].unsubscribe()
    stats = site.mailtrack.stats()
    assert (stats.sent, stats.machine) == (4, 8)
    assert stats.opened == Tally(total=3, unique=2, of=4)
    assert stats.clicked == Tally(total=3, unique=1, of=4)
    assert stats.unsubscribed == Tally(total=1, unique=1, of=4)
    assert (stats.opened.rate, stats.clicked.rate, stats.unsubscribed.rate) == (0.5, 0.25, 0.25)


def test_gmails_proxy_is_a_person_and_apples_is_not(site: Site) -> None:
    """Gmail fetches when somebody looks; Apple fetches every image, so it counts as a machine."""
    gmail = {"User-Agent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}
    Reader(site.client, site.send(HTML), gmail).open()
    Reader(site.client, site.send(HTML), {"User-Agent": "Mozilla/5.0"}).open()
    stats = site.mailtrack.stats()
    assert (stats.opened, stats.machine) == (Tally(1, 1, 2), 1)


def test_a_rate_is_of_what_could_have_happened(site: Site) -> None:
    """Mail without a pixel, or without tracked links, is no unopened mail."""
    Reader(site.client, site.send(HTML)).open()
    site.send(HTML, opens=False)
    site.send(HTML, clicks=False)
    site.send("<p>No link</p>")
    site.send(None, body="Text only")
    stats = site.mailtrack.stats()
    assert stats.sent == 5
    assert stats.opened == Tally(1, 1, 3)
    assert stats.clicked == Tally(0, 0, 2)
    assert stats.unsubscribed.of == 5


def test_what_did_not_arrive_is_no_denominator(site: Site) -> None:
    """Failed and suppressed copies could not be opened; those of unknown fate, or under way, perhaps were."""
    for status in Status:
        add(site, status)
    stats = site.mailtrack.stats()
    assert (stats.sent, stats.failed, stats.unknown, stats.suppressed) == (1, 1, 1, 1)
    assert (stats.opened.of, stats.clicked.of, stats.unsubscribed.of) == (3, 3, 3)


def test_only_failures_give_no_rate(site: Site) -> None:
    """Where nothing arrived there is no rate, rather than one of zero."""
    add(site, Status.FAILED)
    assert site.mailtrack.stats().opened.rate is None


@pytest.mark.parametrize(
    ("filters", "sent"),
    [
        ({}, 4),
        ({"tag": "welcome"}, 2),
        ({"tag": "wel%"}, 0),
        ({"tag": "WELCOME"}, 0),
        ({"tag": ""}, 1),
        ({"list_id": "news"}, 2),
        ({"tag": "welcome", "list_id": "news"}, 1),
        ({"tag": "welcome", "list_id": "nowhere"}, 0),
    ],
    ids=repr,
)
def test_figures_of_a_tag_or_a_list(site: Site, filters: dict[str, Any], sent: int) -> None:
    """s59: a tag and a list are matched as they are written, both of them if both are given."""
    for tag, list_id in (("welcome", "news"), ("welcome", ""), ("spring", "news"), ("", "other")):
        add(site, tag=tag, list_id=list_id)
    assert site.mailtrack.stats(**filters).sent == sent


EAST = timezone(timedelta(hours=2))
MOMENTS: list[tuple[dict[str, datetime], int]] = [
    ({"since": NOON}, 2),
    ({"since": NOON + timedelta(microseconds=1)}, 1),
    ({"until": NOON}, 1),
    ({"until": NOON + timedelta(microseconds=1)}, 2),
    ({"since": NOON, "until": NOON + timedelta(hours=1)}, 1),
    ({"since": NOON.replace(tzinfo=None)}, 2),
    ({"since": NOON.astimezone(EAST)}, 2),
    ({"since": NOON.replace(tzinfo=EAST)}, 3),
    ({"until": NOON.replace(tzinfo=EAST)}, 0),
    ({"since": NOON + timedelta(days=10_000)}, 0),
]


@pytest.mark.parametrize(("filters", "sent"), MOMENTS, ids=lambda value: repr(value)[:80])
def test_figures_of_a_time(site: Site, filters: dict[str, Any], sent: int) -> None:
    """``since`` is included and ``until`` is not; times without a zone are UTC, others are converted."""
    for moment in (NOON - timedelta(hours=1), NOON, NOON + timedelta(hours=1)):
        add(site, created_at=moment)
    assert site.mailtrack.stats(**filters).sent == sent


def test_two_apps_have_figures_of_their_own(make_site: MakeSite) -> None:
    """The figures are the current app's."""
    one = make_site()
    one.send(HTML)
    two = make_site()
    assert two.mailtrack.stats().sent == 0
    with one.app.app_context():
        assert one.mailtrack.stats().sent == 1


def test_unknown_is_a_third_number(database_url: str, make_site: MakeSite) -> None:
    """What is neither a person's nor a machine's counts in neither, stands beside them, and stays so when recounted."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    sent = site.send('<a href="https://example.com/">go</a>', tag="a")
    for agent in ("Acme-Link-Service/3.1", "curl/8.0"):
        Reader(site.client, sent, {"User-Agent": agent}).click("go")
    Reader(site.client, sent).click("go")
    for _ in range(2):
        found = site.mailtrack.stats(tag="a")
        assert (found.clicked.total, found.machine, found.unidentified) == (1, 1, 1)
        assert site.mailtrack.stats(tag="b").unidentified == 0
        site.app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
    assert "by unknown" in site.app.test_cli_runner().invoke(args=["mailtrack", "stats"]).output


def test_counts_that_are_added_to_are_those_of_a_recount(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message with many events gets the same figures by addition, unknown hits and corrected ones included."""
    monkeypatch.setattr("flask_mailtrack.storage.tables.counts.CROWDED", 1)
    site = make_site(MAILTRACK_THRESHOLDS={"burst": 60})
    sent = site.send(HTML)
    readers = [Reader(site.client, sent, {"User-Agent": name}) for name in ("Acme-Link-Service/3.1", "curl/8.0")]
    for reader in (*readers, Reader(site.client, sent), *readers):
        reader.open()
    kept = ("open_count", "click_count", "machine_count", "opened_at", "clicked_at")
    for link in ("a", "b"):
        readers[0].click(link)
        (added,) = ({name: getattr(row, name) for name in kept} for row in site.rows("Message"))
        site.app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
        (counted,) = ({name: getattr(row, name) for name in kept} for row in site.rows("Message"))
        assert added == counted
    assert (counted["open_count"], counted["click_count"], counted["machine_count"]) == (1, 0, 4)
