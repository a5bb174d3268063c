"""A campaign: one mail to each of many people, which goes on where it has stopped."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSite, Site
from flask_mail import BadHeaderError, Message
from flask_mailman import EmailMultiAlternatives
from mailman_house import open_house
from smtp_server import RawServer, Script

from flask_mailtrack.errors import KeyNotClaimed, OptOutsUnavailable
from flask_mailtrack.events import SentCopy
from flask_mailtrack.outgoing.campaign import MOST_IN_A_ROW, Pace, SendReport
from flask_mailtrack.storage.tables.claims import Claims

KEY = "spring"
PEOPLE = [f"reader{number}@example.com" for number in range(7)]
Serve = Callable[..., tuple[Site, RawServer]]


def letter(**parts: Any) -> Message:
    """A mail whose texts are templates."""
    given = {
        "subject": "Hi {{ name }}",
        "html": '<p>{{ name }}: <a href="https://example.com/">go</a></p>',
        "body": "{{ name }}",
    }
    return Message(recipients=["nobody@example.com"], **{**given, **parts})


def plain(address: str, context: Any) -> Message:
    """What a function of the host's returns."""
    return Message("Hello", recipients=[address], html="<p>Hello</p>")


@pytest.fixture(name="serve")
def _serve(make_site: MakeSite) -> Iterator[Serve]:
    """Make a site whose mail server answers as told."""
    servers: list[RawServer] = []

    def make(**answers: Any) -> tuple[Site, RawServer]:
        server = RawServer(Script(**answers)).__enter__()
        servers.append(server)
        return make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port), server

    yield make
    for server in servers:
        server.__exit__()


def got(server: RawServer) -> list[str]:
    """The addresses whose mail the server has taken."""
    return [to.removeprefix("TO:<").removesuffix(">") for recipients, _ in server.accepted for to in recipients]


def test_each_gets_their_own_mail_and_a_second_call_goes_on(site: Site) -> None:
    """Subject and bodies are rendered with each person's context, escaped where they are HTML, and tracked."""
    people = [("ada@example.com", {"name": "A & B"}), ("Bob <BOB@example.com>", {"name": "Bob"})]
    with site.mail.record_messages() as outbox:
        report = site.mailtrack.send_each(letter(), people, key=KEY, tag="news")
    assert report == SendReport(sent=2)
    first, second = outbox
    assert (first.subject, first.body, first.send_to) == ("Hi A & B", "A & B", {"ada@example.com"})
    assert first.html.startswith('<p>A &amp; B: <a href="https://links.example.com/m/c/')
    assert first.msgId != second.msgId
    assert [row.tag for row in site.rows("Message")] == ["news", "news"]
    with site.mail.record_messages() as outbox:
        again = site.mailtrack.send_each(letter(), [*people, "cyd@example.com", "Cyd@Example.com"], key=KEY)
    assert (again, again.total) == (SendReport(sent=1, before=3), 4)
    assert [copy.send_to for copy in outbox] == [{"cyd@example.com"}]


def test_a_function_may_make_the_mail(site: Site) -> None:
    """It gets address and context, and its own options stand beside those of the campaign."""

    def compose(address: str, context: Any) -> Message:
        return site.mailtrack.track(plain(address, context), metadata={"n": context["n"]})

    site.mailtrack.send_each(compose, ((each, {"n": n}) for n, each in enumerate(PEOPLE)), key=KEY, tag="t", ahead=3)
    assert [(row.tag, row.details) for row in site.rows("Message")] == [("t", {"n": n}) for n in range(7)]
    assert [row.status for row in site.rows("Claim")] == ["sent"] * 7


def test_one_connection_carries_the_campaign(serve: Serve) -> None:
    """All mails go over one connection; if the server ends it in between, the mail goes over the next one."""
    site, server = serve(mail=lambda argument, number: "421 enough" if number == 4 else "250 OK")
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY, ahead=3) == SendReport(sent=7)
    assert got(server) == PEOPLE
    assert server.connections == 2
    assert [row.status for row in site.rows("Message")].count("sent") == 7
    assert len(site.rows("Claim")) == 7


def test_refused_recipients_are_recorded_and_tried_again_by_the_next_run(serve: Serve) -> None:
    """They do not end the run, however many follow each other; the host hears of each, with the server's words."""
    refusing = [True]
    site, _ = serve(rcpt=lambda argument, number: "550 no such user" if refusing[0] and "r1" in argument else "250 OK")
    people = [*(f"r1{n}@example.com" for n in range(MOST_IN_A_ROW + 2)), "r2@example.com"]
    heard: list[tuple[SentCopy, SendReport]] = []
    report = site.mailtrack.send_each(plain, people, key=KEY, hears=lambda *each: heard.append(each))
    assert report == SendReport(sent=1, failed=MOST_IN_A_ROW + 2)
    assert heard[0][0][1:] == (people[0], "failed", "550 no such user")
    assert heard[-1][1] == report
    refusing[0] = False
    assert site.mailtrack.send_each(plain, people, key=KEY) == SendReport(sent=MOST_IN_A_ROW + 2, before=1)


def test_nobody_gets_a_second_copy_of_what_may_have_been_sent(serve: Serve) -> None:
    """A connection that is lost after the content leaves one person unknown; the others get their mail."""
    site, server = serve(content=lambda argument, number: None if number == 3 else "250 OK")
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY) == SendReport(sent=6, unknown=1)
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY) == SendReport(unknown=1, before=6)
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY, retry_unknown=True) == SendReport(sent=1, before=6)
    assert sorted(got(server)) == PEOPLE


def test_a_server_that_takes_nothing_stops_the_run(serve: Serve) -> None:
    """After some mails in a row the error is raised, says how far it came, and the rest is free for the next run."""
    broken = [True]
    site, _ = serve(content=lambda argument, number: "554 spam" if broken[0] and number > 1 else "250 OK")
    people = [f"reader{number}@example.com" for number in range(20)]
    with pytest.raises(smtplib.SMTPDataError) as stopped:
        site.mailtrack.send_each(plain, people, key=KEY, ahead=10)
    assert "sent=1, failed=4" in stopped.value.__notes__[0]
    assert len(site.rows("Claim")) == 1
    broken[0] = False
    assert site.mailtrack.send_each(plain, people, key=KEY) == SendReport(sent=19, before=1)


def test_an_error_of_the_host_stops_the_run_and_frees_the_rest(site: Site) -> None:
    """What the function raises is raised, and who has not got the mail gets it by the next call."""

    def compose(address: str, context: Any) -> Message:
        if address == PEOPLE[3]:
            raise LookupError("no such customer")
        return plain(address, context)

    with pytest.raises(LookupError):
        site.mailtrack.send_each(compose, PEOPLE, key=KEY)
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY) == SendReport(sent=4, before=3)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_told_to_stop_leaves_one_unknown_at_most(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Control-C while a mail is handed over: that copy is unknown, those behind it are free."""

    def stops(connection: Any, message: Any, *args: Any) -> None:
        if PEOPLE[3] in message.send_to:
            raise error

    monkeypatch.setattr("flask_mail.Connection.send", stops)
    with pytest.raises(error):
        site.mailtrack.send_each(plain, PEOPLE, key=KEY)
    monkeypatch.undo()
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY) == SendReport(sent=3, unknown=1, before=3)


def test_a_killed_run_leaves_those_unknown_whom_it_had_claimed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most as many as are claimed ahead, and the row of a mail that was sent says so once it is drained."""
    settle = Claims.settle
    monkeypatch.setattr(Claims, "settle", lambda *args: None)

    def dies(address: str, context: Any) -> Message:
        if address == PEOPLE[5]:
            raise RuntimeError
        return plain(address, context)

    with pytest.raises(RuntimeError):
        site.mailtrack.send_each(dies, PEOPLE, key=KEY, ahead=4)
    monkeypatch.setattr(Claims, "settle", settle)
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY) == SendReport(sending=2, before=5)


def test_who_has_left_is_counted_and_gets_no_mail(site: Site) -> None:
    """The opt-outs of the list are asked for each person, also in the middle of a campaign."""
    site.mailtrack.suppress(PEOPLE[2], "news")
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY, list_id="news") == SendReport(sent=6, suppressed=1)
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY, list_id="news") == SendReport(suppressed=1, before=6)
    assert len(site.rows("Message")) == 7


def test_mail_that_is_not_kept_is_counted_too(serve: Serve) -> None:
    """With store=False there are no rows, and a second run still knows whom it has reached."""
    site, _ = serve(rcpt=lambda argument, number: "550 no" if "reader1" in argument else "250 OK")
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY, store=False) == SendReport(sent=6, failed=1)
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY, store=False) == SendReport(failed=1, before=6)
    assert site.rows("Message") == []


def test_who_has_left_is_not_counted_as_reached_by_mail_that_is_not_kept(site: Site) -> None:
    """With store=False there is no row that says so, and no mail either."""
    site.mailtrack.suppress(PEOPLE[2], "news")
    options: dict[str, Any] = {"key": KEY, "list_id": "news", "store": False}
    assert site.mailtrack.send_each(plain, PEOPLE, **options) == SendReport(sent=6, suppressed=1)
    assert site.mailtrack.send_each(plain, PEOPLE, **options) == SendReport(suppressed=1, before=6)
    assert site.rows("Message") == []


class TimeIsUpError(Exception):
    """As a queue raises it in a task that takes too long."""


@pytest.mark.parametrize(("error", "stops"), [(TimeIsUpError("soon"), True), (BadHeaderError("a"), False)])
def test_an_error_that_is_not_about_a_mail_ends_the_run(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception, stops: bool
) -> None:
    """A time limit ends the run, with the fate of that copy noted; a header that cannot be written does not."""

    def fails(connection: Any, message: Any, *args: Any) -> None:
        if PEOPLE[3] in message.send_to:
            raise error

    monkeypatch.setattr("flask_mail.Connection.send", fails)
    if not stops:
        assert site.mailtrack.send_each(plain, PEOPLE, key=KEY) == SendReport(sent=6, failed=1)
        return
    with pytest.raises(TimeIsUpError) as ended:
        site.mailtrack.send_each(plain, PEOPLE, key=KEY)
    assert "sent=3" in ended.value.__notes__[0]
    assert [row.status for row in site.rows("Message")] == ["sent"] * 3 + ["failed"]


@pytest.mark.parametrize("error", [KeyNotClaimed("k", "away", "Wait."), OptOutsUnavailable("away")])
def test_what_must_stop_a_mail_stops_the_campaign(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """If claims or opt-outs cannot be read, nobody is written to."""

    def fails(*args: Any) -> Any:
        raise error

    monkeypatch.setattr("flask_mailtrack.outgoing.prepare.recipients_of", fails)
    with site.mail.record_messages() as outbox, pytest.raises(type(error)):
        site.mailtrack.send_each(plain, PEOPLE, key=KEY)
    assert outbox == []


def test_no_domain_gets_more_than_it_may(site: Site) -> None:
    """Two a second to Gmail: others do not wait for it, and nobody sleeps longer than the next turn."""
    moment, slept = [0.0], []

    def pause(seconds: float) -> None:
        slept.append(seconds)
        moment[0] += seconds

    pace = Pace({"Gmail.com": 2, "*": 100}, lambda: moment[0], pause)
    people = [*(f"{n}@gmail.com" for n in range(3)), "a@example.com", "b@example.org"]
    turns = [(address, round(moment[0], 3)) for address in pace.in_time(people)]
    assert turns[:3] == [("0@gmail.com", 0.0), ("a@example.com", 0.0), ("b@example.org", 0.0)]
    assert turns[3:] == [("1@gmail.com", 0.5), ("2@gmail.com", 1.0)]
    assert slept == [0.5, 0.5]
    assert site.mailtrack.send_each(plain, PEOPLE, key=KEY, rates={"*": 1e9}) == SendReport(sent=7)


@pytest.mark.parametrize("wrong", [{"rates": {"*": 0}}, {"ahead": 0}, {"key": ""}, {"tagg": "news"}])
def test_a_mistake_is_told_before_anybody_is_written_to(site: Site, wrong: dict[str, Any]) -> None:
    """A rate of nothing, nobody ahead, no key, an option that does not exist."""
    with site.mail.record_messages() as outbox, pytest.raises((ValueError, TypeError)):
        site.mailtrack.send_each(plain, PEOPLE, **{"key": KEY, **wrong})
    assert outbox == []


def test_the_memory_stays_flat(site: Site) -> None:
    """The recipients are read as they are needed."""
    read: list[str] = []

    def people() -> Iterator[str]:
        for each in PEOPLE:
            read.append(each)
            yield each

    reads: list[int] = []
    site.mailtrack.send_each(plain, people(), key=KEY, ahead=2, hears=lambda *_: reads.append(len(read)))
    assert reads == [2, 2, 4, 4, 6, 6, 7]


def test_a_terminal_shows_a_bar(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar bears the name of the campaign; it goes to the error stream, so that a pipe stays clean."""
    site.mailtrack.send_each(plain, PEOPLE, key=KEY, progress=True)
    out, err = capsys.readouterr()
    assert (out, KEY in err) == ("", True)


def test_flask_mailman_sends_campaigns(tmp_path: Path) -> None:
    """Its messages are templates, too, with their alternatives."""
    with open_house(tmp_path) as house:
        message = EmailMultiAlternatives("Hi {{ name }}", "Hi {{ name }}", to=[])
        message.attach_alternative('<a href="https://example.com/">{{ name }}</a>', "text/html")
        people = [("ada@example.com", {"name": "<Ada>"}), ("bob@example.com", {"name": "Bob"})]
        for expected in (SendReport(sent=2), SendReport(before=2)):
            assert house.mailtrack.send_each(message, people, key=KEY) == expected
        first, _ = house.outbox
        assert (first.subject, first.to) == ("Hi <Ada>", ["ada@example.com"])
        assert "&lt;Ada&gt;" in first.message().as_string()
