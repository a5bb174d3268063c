"""The quiet modes: opens and clicks counted for all together, or nothing kept but the last day."""

from __future__ import annotations

import email
import email.policy
import re
import uuid
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import Inbox, MakeSite, Site
from flask_mail import Message
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.events import EventType, Hit, Kind, born, new_id, now
from flask_mailtrack.modes import Mode, counter_id, marked, mode_of
from flask_mailtrack.reporting.stats import Tally
from flask_mailtrack.signals import link_clicked, message_opened
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.testing import BROWSER, Reader

ADA, BOB = "ada@example.com", "bob@example.com"
HTML = '<p><a href="https://example.com/a">a</a> <a href="https://example.com/b">b</a></p>'
QUIET = ["aggregate", "deliverability"]
TODAY, LONG_AGO = now().date(), date(2020, 1, 1)


def tokens(message: Any) -> list[str]:
    """The tokens of the pixel and of the links that are measured."""
    return re.findall(r"/m/[och]/([a-z2-7]{68})", message.html)


def read(site: Site, message: Any) -> None:
    """Open a mail and follow a link in it, as a person."""
    reader = Reader(site.client, message)
    assert reader.open().status_code == 200
    assert reader.click("a").location == "https://example.com/a"
    if site.app.config.get("MAILTRACK_DRAIN") != "manual":
        site.mailtrack.flush()


def people(site: Site) -> dict[str, Any]:
    """The rows of people, without the counters, by address."""
    return {row.recipient: row for row in site.rows("Message") if row.status != "counter"}


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 128) - 1))
def test_an_id_says_its_mode_and_its_time(millisecond: int, noise: int) -> None:
    """Whatever id we make: it says one mode, keeps its time, and is a UUID as RFC 9562 has them."""
    identifier = uuid.UUID(int=millisecond << 80 | 7 << 76 | 2 << 62 | noise & ((1 << 76) - 1) & ~(3 << 62))
    for mode in Mode:
        told = marked(identifier, mode)
        assert mode_of(told) == mode
        assert told.int >> 80 == millisecond
        assert (told.version, told.variant) == (7 if mode == Mode.INDIVIDUAL else 8, uuid.RFC_4122)
    assert marked(identifier, Mode.INDIVIDUAL) == identifier


@pytest.mark.parametrize("mode", Mode)
def test_every_id_can_be_stored(
    database_url: str, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """On each database, whatever bits it has; MariaDB's own type is particular."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    plain = uuid.UUID("019de0d5-c800-7000-8000-000000000000")
    monkeypatch.setattr("flask_mailtrack.storage.tables.claims.new_id", lambda: plain)
    monkeypatch.setattr("flask_mailtrack.outgoing.prepare.counter_id", lambda *about: marked(plain, Mode.AGGREGATE))
    site.send(HTML, mode=mode)
    site.mailtrack.flush()
    assert people(site)[ADA].id == (marked(plain, Mode.DELIVERABILITY) if mode == "deliverability" else plain)
    assert len(site.rows("Message")) == (2 if mode == "aggregate" else 1)


@pytest.mark.parametrize("mode", Mode)
def test_ids_stand_in_order_in_each_mode(mode: Mode) -> None:
    """The rows of one send are in the order of its recipients."""
    made = [marked(new_id(), mode) for _ in range(500)]
    assert made == sorted(set(made))


def test_a_counter_is_of_a_campaign_and_a_day() -> None:
    """Every process finds the same id; another day, list or tag has another; its time is that of the day."""
    day = date(2026, 5, 1)
    one = counter_id(day, "example.com", "spring", "news")
    assert one == counter_id(day, "example.com", "spring", "news") == uuid.UUID("019de0d5-c800-8527-b8a9-ade78a72de96")
    others = [("example.com", "spring", ""), ("example.com", "", "news"), ("example.net", "spring", "news")]
    # Old mails hold such ids, so what they say never changes.
    assert mode_of(uuid.UUID("019de0d5-c800-87ff-b8a9-ade78a72de96")) == Mode.AGGREGATE
    assert mode_of(uuid.UUID("019de0d5-c800-8800-b8a9-ade78a72de96")) == Mode.DELIVERABILITY
    assert len({one, counter_id(day + timedelta(1), "example.com", "spring", "news")}) == 2
    assert len({one, *(counter_id(day, *about) for about in others)}) == 4
    assert (mode_of(one), born(one)) == (Mode.AGGREGATE, datetime(2026, 5, 1, tzinfo=UTC))


def parts(content: bytes) -> tuple[bytes, bytes]:
    """The bytes of the text and the HTML part of a mail, as they travelled."""
    message = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.SMTP)
    found = {
        part.get_content_type(): bytes(part.get_payload(decode=True))
        for part in message.walk()
        if part.get_payload(decode=True)
    }
    return found["text/plain"], found["text/html"]


def test_in_aggregate_mode_two_people_get_the_same_bytes(make_site: MakeSite, smtp: Inbox) -> None:
    """Over SMTP: both parts are identical; with a list they differ in the links to leave it, and in nothing else."""
    config = {"MAIL_SUPPRESS_SEND": False, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": smtp.port}
    site = make_site(MAILTRACK_MODE="aggregate", MAILTRACK_TEXT_CLICKS=True, **config)
    text = "See https://example.com/a"
    site.mail.send(Message("Hello", recipients=[ADA, BOB], html=HTML, body=text))
    site.mail.send(site.mailtrack.track(Message("Hello", recipients=[ADA, BOB], html=HTML, body=text), list_id="news"))
    ada, bob, ada_of_list, bob_of_list = [parts(envelope.content) for envelope in smtp.envelopes]
    assert ada == bob
    assert len(re.findall(rb"/m/[oc]/", ada[1])) == 3
    assert b"/m/c/" in ada[0]
    assert ada_of_list != bob_of_list
    personal = re.compile(rb"/m/[up]/[a-z2-7]{68}")
    assert [personal.sub(b"", part) for part in ada_of_list] == [personal.sub(b"", part) for part in bob_of_list]


def test_a_newsletter_that_is_sent_in_a_loop_has_one_counter(site: Site) -> None:
    """One mail to each, with a subject for each: a counter for each would tell them apart."""
    sent = [
        site.send(
            HTML, to=to, subject=f"Hello {to}", sender=f"bounce+{to[:3]}@example.org", mode="aggregate", tag="spring"
        )
        for to in (ADA, BOB, "cy@example.com")
    ]
    assert len({message.html for message in sent}) == 1
    (counter,) = [row for row in site.rows("Message") if row.status == "counter"]
    told = (counter.recipient, counter.sender, counter.subject, counter.header_message_id, counter.details, counter.tag)
    assert told == ("", "", "", "", {}, "spring")
    assert counter.batch_id == counter.id
    assert (counter.mode, counter.shared, counter.tracks_opens, counter.tracks_clicks) == (
        "aggregate",
        True,
        False,
        False,
    )
    assert {row.mode for row in people(site).values()} == {"aggregate"}


def test_what_is_counted_is_nobodys(database_url: str, make_site: MakeSite) -> None:
    """On each database: totals over all copies, no one's row touched, no address and no User-Agent in the events."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_IP="full", MAILTRACK_MODE="aggregate")
    ada, bob = site.send(HTML, [ADA, BOB], tag="spring")
    read(site, ada)
    read(site, ada)
    read(site, bob)
    Reader(site.client, bob, {**BROWSER, "Sec-Purpose": "prefetch"}).open()
    events = site.rows("Event")
    assert len(events) == 7
    assert {(e.ip, e.user_agent, e.country) for e in events} == {("", "", "")}
    assert {e.client for e in events} == {"Firefox"}
    assert {e.message_id for e in events} == {row.id for row in site.rows("Message") if row.status == "counter"}
    for row in people(site).values():
        assert (row.opened_at, row.clicked_at, row.open_count, row.click_count) == (None, None, 0, 0)
        assert (row.tracks_opens, row.tracks_clicks, row.status) == (True, True, "sent")
    stats = site.mailtrack.stats(tag="spring")
    assert (stats.sent, stats.unsubscribed.of, stats.machine) == (2, 2, 1)
    assert stats.opened == stats.clicked == Tally(total=3, unique=0, of=0, aggregate=3, aggregate_of=2)
    assert stats.opened.rate is None


def test_the_modes_do_not_mix_in_the_figures(site: Site) -> None:
    """A rate is of those who were told apart, whatever else was sent under the same tag."""
    read(site, site.send(HTML, tag="t"))
    site.send(HTML, to=BOB, tag="t")
    for mode in QUIET:
        read(site, site.send(HTML, to="cy@example.com", tag="t", mode=mode))
    stats = site.mailtrack.stats(tag="t")
    assert stats.sent == 4
    assert stats.opened == Tally(total=2, unique=1, of=2, aggregate=1, aggregate_of=1)
    assert stats.opened.rate == 0.5
    shown = site.app.test_cli_runner().invoke(args=["mailtrack", "stats", "--tag", "t"]).output
    assert "50.0% of 2, 2 in all, 1 of them of 1 copies in aggregate" in shown


def test_of_deliverability_one_day_is_kept(database_url: str, make_site: MakeSite) -> None:
    """On each database: no event, no count, one day on all rows of the person, and none on those of others."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_MODE="deliverability")
    heard: list[Any] = []

    def hear(app: Any, **event: Any) -> None:
        heard.append(event)

    with message_opened.connected_to(hear), link_clicked.connected_to(hear):
        first, other = site.send(HTML, [ADA, BOB])
        site.send("<p>Another</p>", ADA)
        read(site, first)
        Reader(site.client, other, {**BROWSER, "Sec-Purpose": "prefetch"}).open()
    assert (site.rows("Event"), heard) == ([], [])
    rows = site.rows("Message")
    assert sorted((row.recipient, row.seen_on) for row in rows[:3] if row.seen_on) == [(ADA, TODAY)] * 2
    assert [row.seen_on for row in rows if row.recipient == BOB] == [None]
    for row in rows:
        assert (row.mode, row.opened_at, row.clicked_at, row.open_count, row.click_count, row.machine_count) == (
            ("deliverability", None, None, 0, 0, 0)
        )
    stats = site.mailtrack.stats()
    assert (stats.sent, stats.opened, stats.clicked, stats.machine) == (3, Tally(0, 0, 0), Tally(0, 0, 0), 0)


def backdate(site: Site, **columns: Any) -> None:
    """Change all message rows, also those that a busy database did not take at once."""
    site.mailtrack.flush()
    with site.db.engine.begin() as connection:
        connection.execute(sa.update(site.mailtrack.models.Message.__table__).values(**columns))


def test_the_day_only_moves_forward(database_url: str, make_site: MakeSite) -> None:
    """A later day replaces an earlier one; an older hit, from a journal that was late, changes nothing."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    sent = site.send(HTML, mode="deliverability")
    for stands, then in ((LONG_AGO, TODAY), (TODAY + timedelta(9), TODAY + timedelta(9))):
        backdate(site, seen_on=stands)
        read(site, sent)
        assert people(site)[ADA].seen_on == then
    site.send(HTML)
    read(site, sent)
    assert {(row.mode, row.seen_on) for row in site.rows("Message")} == {("deliverability", then), ("individual", None)}


def test_who_has_not_been_seen(database_url: str, make_site: MakeSite) -> None:
    """Those who got mail before that day and were not seen on it or after; nobody of whom nothing could be known."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    reading, silent = site.send(HTML, [ADA, BOB], mode="deliverability")
    site.send(HTML, "individual@example.com")
    site.send("text", "no-pixel@example.com", mode="deliverability", opens=False, clicks=False)
    assert site.mailtrack.inactive(TODAY) == []  # the mails are of today: it is too early to say
    backdate(site, created_at=datetime(2020, 1, 1, tzinfo=UTC))
    read(site, reading)
    assert site.mailtrack.inactive(TODAY) == [BOB]
    assert site.mailtrack.inactive(LONG_AGO) == []
    assert site.mailtrack.inactive(TODAY + timedelta(1)) == [ADA, BOB]
    read(site, silent)
    assert site.mailtrack.inactive(TODAY) == []


@pytest.mark.parametrize("mode", QUIET)
def test_the_journal_holds_no_more_than_the_database_will(make_site: MakeSite, mode: str) -> None:
    """Before the drain has run: no address, no User-Agent; and for deliverability no time of day, and no link."""
    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_IP="full", MAILTRACK_MODE=mode)
    sent = site.send(HTML)
    journal = site.mailtrack._state().journals[0]
    before = b"".join(path.read_bytes() for path in journal.directory.glob("*.jsonl"))
    read(site, sent)
    written = b"".join(path.read_bytes() for path in journal.directory.glob("*.jsonl"))[len(before) :]
    assert written.count(b'"k":"hit"') == 2
    assert b"127.0.0.1" not in written
    assert b"Mozilla" not in written
    if mode == "deliverability":
        assert written.count(TODAY.isoformat().encode() + b"T00:00:00+00:00") == 2
        assert b"example.com" not in written
        assert b"Firefox" not in written
        ids = [uuid.UUID(found.decode()) for found in re.findall(rb'"id":"([^"]+)"', written)]
        assert [each.version for each in ids] == [4, 4]  # ours would say the time


@pytest.mark.parametrize("mode", QUIET)
def test_a_quiet_mode_is_quiet_about_choices_too(make_site: MakeSite, mode: str) -> None:
    """Who unsubscribes, or switches measuring off, is not described; on the disk neither, and the trap keeps no row."""
    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_IP="full", MAILTRACK_MODE=mode, MAILTRACK_HONEYPOT=True)
    sent = site.send(HTML, list_id="news")
    path = re.search(r"/m/u/[a-z2-7]{68}", str(sent.extra_headers["List-Unsubscribe"]))
    assert path
    link = re.search(r"/m/p/[a-z2-7]{68}", site.client.get(path[0]).text)
    assert link
    form = {"action": "reason", "reason": "other", "comment": "Enough"}
    assert site.client.post(path[0], data=form, headers=BROWSER).status_code == 200
    site.client.post(link[0], data={"action": "decline"}, headers=BROWSER)
    state = site.mailtrack._state()
    measured = state.signer.read(Kind.OPEN, tokens(sent)[-1]).message_id
    trap = state.signer.message(measured).honeypot()
    assert site.client.get(f"/m/h/{trap}", headers=BROWSER).status_code == 204
    written = b"".join(path.read_bytes() for path in state.journals[0].directory.glob("*.jsonl"))
    assert written.count(b'"k":"hit"') == 2
    assert b"127.0.0.1" not in written
    assert b"Mozilla" not in written
    site.mailtrack.flush()
    assert {(e.type, e.ip, e.user_agent, e.client, e.country) for e in site.rows("Event")} == {
        ("unsubscribed", "", "", "", ""),
        ("declined", "", "", "", ""),
    }
    assert [e.comment for e in site.rows("Event") if e.type == "unsubscribed"] == ["Enough"]


@pytest.mark.parametrize("mode", QUIET)
def test_what_an_earlier_version_has_written_down_is_quiet_too(make_site: MakeSite, mode: str) -> None:
    """A journal of before may hold an address, or a hit on the trap: what reaches the database does not."""
    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_MODE=mode)
    site.send(HTML, list_id="news")
    site.mailtrack.flush()
    state, row = site.mailtrack._state(), people(site)[ADA]
    said = {"ip": "203.0.113.9", "user_agent": "Firefox", "method": "page", "ref": state.signer.recipient_refs(ADA)[0]}
    state.journals[0].append(to_json(Hit(new_id(), row.id, EventType.TRAPPED, now(), ip="203.0.113.9")))
    state.journals[1].append(to_json(Hit(new_id(), row.id, EventType.UNSUBSCRIBED, now(), **said)))
    site.mailtrack.flush()
    assert [(e.type, e.ip, e.user_agent) for e in site.rows("Event")] == [("unsubscribed", "", "")]


def test_a_browser_that_asks_not_to_be_followed_can_still_leave(make_site: MakeSite) -> None:
    """With MAILTRACK_HONOUR_GPC an unsubscribe counts, and says nothing of the browser that asked."""
    site = make_site(MAILTRACK_HONOUR_GPC=True)
    sent = site.send(HTML, list_id="news")
    path = re.search(r"/m/u/[a-z2-7]{68}", str(sent.extra_headers["List-Unsubscribe"]))
    assert path
    site.client.post(path[0], data={"action": "unsubscribe"}, headers={"Sec-GPC": "1", **BROWSER})
    assert [(e.type, e.ip, e.user_agent) for e in site.rows("Event")] == [("unsubscribed", "", "")]
    assert site.send(HTML, list_id="news") == []


def test_the_narrowest_mode_wins(make_site: MakeSite) -> None:
    """Configuration, sender domain, block, header, message."""
    domains = {"example.net": {"mode": "deliverability"}}
    site = make_site(MAILTRACK_MODE="aggregate", MAILTRACK_SENDER_DOMAINS=domains)
    header = {"X-Mailtrack": "mode=aggregate"}

    def mode(**options: Any) -> str:
        site.send(HTML, **options)
        return next(str(row.mode) for row in reversed(site.rows("Message")) if row.recipient)

    assert mode() == "aggregate"
    assert mode(sender="a@example.net") == "deliverability"
    with site.mailtrack.options(mode="individual"):
        assert mode(sender="a@example.net") == "individual"
        assert mode(sender="a@example.net", extra_headers=header) == "aggregate"
        assert mode(sender="a@example.net", extra_headers=header, mode="deliverability") == "deliverability"
    assert mode(extra_headers={"X-Mailtrack": "mode=nothing"}) == "aggregate"
    with pytest.raises(ValueError, match="individual, aggregate, deliverability"):
        site.mailtrack.track(Message("x"), mode="anonymous")


@pytest.mark.parametrize("mode", QUIET)
def test_leaving_is_personal_in_every_mode(make_site: MakeSite, mode: str) -> None:
    """It is no measuring: who leaves has left, with an event and a proof, and the others have not."""
    site = make_site(MAILTRACK_MODE=mode)
    ada, _ = site.send(HTML, [ADA, BOB], list_id="news")
    Reader(site.client, ada).unsubscribe()
    assert [(row.recipient, row.list_id) for row in site.rows("OptOut")] == [(ADA, "news")]
    assert [event.type for event in site.rows("Event")] == ["unsubscribed"]
    assert len(site.rows("Audit")) == 1
    assert site.mailtrack.stats().unsubscribed == Tally(1, 1, 2)
    assert [message.send_to for message in site.send(HTML, [ADA, BOB], list_id="news")] == [{BOB}]


@pytest.mark.parametrize("mode", QUIET)
def test_who_refuses_is_not_measured_in_any_mode(make_site: MakeSite, mode: str) -> None:
    """From the next mail on; the last day is not moved either, and nobody can say whose a counted hit was."""
    refused: set[str] = set()
    site = make_site(
        MAILTRACK_MODE=mode, mailtrack={"consent": lambda names, purpose: dict.fromkeys(refused & set(names), "denied")}
    )
    ada, _ = site.send(HTML, [ADA, BOB])
    refused.add(ADA)
    read(site, ada)
    assert people(site)[ADA].seen_on is None
    assert len(site.rows("Event")) == (2 if mode == "aggregate" else 0)
    after_ada, after_bob = site.send(HTML, [ADA, BOB])
    assert tokens(after_ada) == []
    assert len(tokens(after_bob)) == 3


def test_of_the_forgotten_no_day_is_left(site: Site) -> None:
    """What is handed over has the day; what is erased has it no more, and does not get it back."""
    sent = site.send(HTML, mode="deliverability")
    site.send(HTML, BOB, mode="deliverability")
    read(site, sent)
    (message,) = site.mailtrack.export(ADA)["messages"]
    assert message["seen_on"] == TODAY.isoformat()
    site.mailtrack.erase(ADA)
    read(site, sent)
    assert [row.seen_on for row in site.rows("Message")] == [None, None]
    assert site.mailtrack.inactive(TODAY + timedelta(1)) == [BOB]


@pytest.mark.parametrize("mode", QUIET)
def test_no_trap_where_nothing_is_judged_again(make_site: MakeSite, mode: str) -> None:
    """A honeypot would say of all who share a counter that they are machines."""
    site = make_site(MAILTRACK_HONEYPOT=True, MAILTRACK_MODE=mode)
    assert "/m/h/" not in site.send(HTML).html
    assert "/m/h/" in site.send(HTML, mode="individual").html


def test_a_burst_on_a_counter_is_many_people(make_site: MakeSite) -> None:
    """Two links in five seconds are a machine's on one copy; on a counter they are two readers'."""
    site = make_site(MAILTRACK_THRESHOLDS={"burst": 5, "sweep": 10, "shadow": 60}, MAILTRACK_MODE="aggregate")
    ada, bob = site.send(HTML, [ADA, BOB])
    Reader(site.client, ada).click("a")
    Reader(site.client, bob).click("b")
    assert [event.verdict for event in site.rows("Event")] == ["human", "human"]


def test_one_mail_to_many_shows_nobodys_day(make_site: MakeSite) -> None:
    """Without splitting: a counter can be shared, a last day cannot, so that copy is split all the same."""
    site = make_site(MAILTRACK_SPLIT=False)
    assert len(site.send(HTML, [ADA, BOB], mode="aggregate")) == 1
    assert len(site.send(HTML, [ADA, BOB], mode="deliverability")) == 2


def test_a_counter_is_as_old_as_nothing(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun at midnight, which says nothing of when a mail was sent: nobody is too fast for it."""
    site = make_site(MAILTRACK_THRESHOLDS={"instant": 3})
    monkeypatch.setattr("flask_mailtrack.incoming.hits.born", lambda identifier: now() - timedelta(seconds=1))
    read(site, site.send(HTML, mode="aggregate"))
    read(site, site.send(HTML, mode="individual"))
    assert [event.verdict == "human" for event in site.rows("Event")] == [True, True, False, False]


def test_a_hit_that_comes_before_its_row_is_nobodys(make_site: MakeSite) -> None:
    """Its mail is not known to the database, or not any more: it is forgotten, and harms nothing."""
    site = make_site(MAILTRACK_MODE="deliverability")
    gone = site.send(HTML)
    with site.db.engine.begin() as connection:
        connection.execute(sa.delete(site.mailtrack.models.Message.__table__))
    read(site, gone)
    assert site.rows("Event") == site.rows("Message") == []
    assert site.mailtrack.flush() == 0
