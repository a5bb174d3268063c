"""Mail of other programs, handed to the mail server: which answer loses nothing, and sends nobody a second copy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from conftest import Inbox, MakeSite, Site, free_port
from smtp_server import RawServer, Script

from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.outgoing import handover
from flask_mailtrack.outgoing.handover import Given, Handover, MailServer
from flask_mailtrack.testing import record_mails

MAIL = b"""From: Shop <shop@example.org>\r
Subject: Hello\r
Message-ID: <1@example.org>\r
Content-Type: text/html\r
\r
<p>Hello <a href="https://shop.example/offer">Our offer</a></p>\r
"""


def given(*names: str, content: bytes = MAIL, **more: Any) -> Given:
    return Given("bounce@example.org", tuple(f"{name}@example.com" for name in names), content, **more)


def to_port(site: Site, port: int, context: Callable[[], AbstractContextManager[Any]] | None = None) -> Handover:
    server = MailServer.of({"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port}, testing=False)
    return Handover(site.mailtrack._state_of(site.app).office, server, context or site.app.app_context)


def states(site: Site) -> list[tuple[str, str]]:
    return [(row.recipient.partition("@")[0], row.status) for row in site.rows("Message")]


def refusing(answers: dict[str, str]) -> Script:
    """A server that answers RCPT by the name in it."""
    return Script(rcpt=lambda to, number: next((said for name, said in answers.items() if f"<{name}@" in to), "250 OK"))


def test_everybody_is_reached_by_a_copy_of_their_own(site: Site, smtp: Inbox) -> None:
    """The answer is the server's; the envelope stays, the copies differ, and whoever listens hears of each."""
    with record_mails() as heard:
        said = to_port(site, smtp.port).answer(given("ada", "bob", trace=b"Received: by relay\r\n"))
    assert said == "250 2.0.0 2 of 2 recipients have it"
    assert [(each.sender, each.recipients) for each in smtp.envelopes] == [
        ("bounce@example.org", ["ada@example.com"]),
        ("bounce@example.org", ["bob@example.com"]),
    ]
    first, second = (each.content for each in smtp.envelopes)
    assert first != second
    assert first.startswith(b"Received: by relay\r\nFrom: Shop")
    assert states(site) == [("ada", "sent"), ("bob", "sent")]
    assert [mail.recipients for mail in heard] == [["ada@example.com"], ["bob@example.com"]]


@pytest.mark.parametrize(
    ("answers", "said", "fates"),
    [
        (
            {"bob": "550 5.1.1 no such user"},
            "250 2.0.0 1 of 2 recipients have it; the others were refused: ",
            "sent failed",
        ),
        ({"ada": "550 no", "bob": "550 5.1.1 no"}, "550 5.3.0 no", "failed failed"),
        (
            {"bob": "452 4.2.2 full"},
            "451 4.3.0 1 of 2 recipients have it; send it again for the others: 4.2.2 full",
            "sent failed",
        ),
        ({"ada": "550 no", "bob": "450 later"}, "451 4.3.0 0 of 2 recipients have it; send it again", "failed failed"),
    ],
)
def test_one_answer_for_all(site: Site, answers: dict[str, str], said: str, fates: str) -> None:
    """Refused for good by some: 250 and a row; by all: the server's words; not yet: 451."""
    with RawServer(refusing(answers)) as server:
        assert to_port(site, server.port).answer(given("ada", "bob")).startswith(said)
    assert " ".join(status for _, status in states(site)) == fates


def test_what_comes_again_goes_to_the_others_only(site: Site) -> None:
    """After a 451, and after a 250 that the program has not seen; another mail is another mail."""
    answers = {"bob": "450 later"}
    with RawServer(refusing(answers)) as server:
        hand = to_port(site, server.port)
        assert hand.answer(given("ada", "bob")).startswith("451")
        answers.clear()
        assert hand.answer(given("ada", "bob")) == "250 2.0.0 1 of 1 recipients have it"
        assert hand.answer(given("ada", "bob")) == "250 2.0.0 everybody has this mail already."
        assert hand.answer(given("ada", content=MAIL.replace(b"1@", b"2@"))).startswith("250 2.0.0 1 of 1")
        nameless = MAIL.replace(b"Message-ID", b"X-Old-ID")
        assert [hand.answer(given("ada", content=nameless))[:3] for _ in range(2)] == ["250", "250"]
    got = [to[0].partition("@")[0].removeprefix("TO:<") for to, _ in server.accepted]
    assert got == ["ada", "bob", "ada", "ada", "ada"]


def test_the_same_mail_twice_at_once_is_sent_once(site: Site) -> None:
    """A program that does not wait for its answer, and begins again, is told to come later."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(argument: str, number: int) -> str:
        begun.set()
        go_on.wait(10)
        return "250 OK"

    with RawServer(Script(content=slow)) as server:
        hand, said = to_port(site, server.port), []
        first = threading.Thread(target=lambda: said.append(hand.answer(given("ada"))))
        first.start()
        begun.wait(10)
        assert hand.answer(given("ada")) == "451 4.3.0 the same mail is on its way."
        go_on.set()
        first.join(10)
    assert said == ["250 2.0.0 1 of 1 recipients have it"]
    assert len(server.accepted) == 1


def test_a_server_that_is_away_leaves_no_row(site: Site) -> None:
    """The program keeps its mail and comes again, perhaps for hours; so does a login that is wrong."""
    assert to_port(site, free_port()).answer(given("ada")) == "451 4.3.0 the mail server cannot be reached."
    with RawServer(Script(mail=lambda argument, number: "530 5.7.0 log in")) as server:
        assert to_port(site, server.port).answer(given("ada")).startswith("451 4.3.0 0 of 1")
        login = MailServer("127.0.0.1", server.port, False, False, "name", "secret")
        office = site.mailtrack._state_of(site.app).office
        assert (
            Handover(office, login, site.app.app_context).answer(given("ada")).startswith("451 4.3.0 the mail server")
        )
    assert "secret" not in repr(login)
    assert states(site) == [("ada", "failed")]


def test_a_connection_that_is_lost_behind_the_mail_is_unknown(site: Site) -> None:
    """Nobody can know whether it arrived, so the program may send again; the next copy has a new connection."""
    with RawServer(Script(content=lambda argument, number: None if number == 1 else "250 OK")) as server:
        assert to_port(site, server.port).answer(given("ada", "bob")).startswith("451 4.3.0 1 of 2")
    assert states(site) == [("ada", "unknown"), ("bob", "sent")]


def test_no_copy_is_begun_after_the_time_for_a_mail(site: Site, smtp: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow server must not let the program give up, and begin again while its mail is still on its way."""
    monkeypatch.setattr(handover, "MAIL_SECONDS", -1)
    assert to_port(site, smtp.port).answer(given("ada")).startswith("451 4.3.0 0 of 1")
    assert smtp.envelopes == []


def test_lists_hold_for_other_programs_too(make_site: MakeSite, smtp: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has left gets nothing; a list that cannot be asked stops the mail; an unknown one refuses it."""
    site = make_site(MAILTRACK_LISTS={"news": {"title": "News"}})
    site.mailtrack.suppress("ada@example.com", "news")
    hand = to_port(site, smtp.port)
    news = b"X-Mailtrack: list=news\r\n" + MAIL
    assert hand.answer(given("ada", content=news)) == "250 2.0.0 nobody gets it: all have left the list."
    assert hand.answer(given("ada", "bob", content=news)) == "250 2.0.0 1 of 1 recipients have it"
    assert smtp.envelopes[0].recipients == ["bob@example.com"]
    assert b"X-Mailtrack" not in smtp.envelopes[0].content
    assert hand.answer(given("ada", content=news.replace(b"=news", b"=nwes"))).startswith("550 5.3.0 ")

    def away(*_: Any) -> None:
        raise OptOutsUnavailable("the database is away")

    monkeypatch.setattr(site.mailtrack._state().optouts, "among", away)
    assert hand.answer(given("cyd", content=news)).startswith("451 4.3.0 who has left")
    assert len(smtp.envelopes) == 1


def test_a_mail_in_circles_ends(site: Site, smtp: Inbox) -> None:
    """Two relays that name each other would hand a mail on for ever."""
    assert to_port(site, smtp.port).answer(given("ada", content=b"Received: x\r\n" * 51 + MAIL)).startswith("554 ")


def test_addresses_in_utf_8(site: Site, smtp: Inbox) -> None:
    """They need SMTPUTF8 of program and server; else the answer is a no, and not a delay for ever."""
    jorg = Given("bounce@example.org", ("jörg@example.com",), MAIL, in_utf_8=True)
    assert to_port(site, smtp.port).answer(jorg).startswith("250")
    assert smtp.envelopes[0].recipients == ["jörg@example.com"]
    with RawServer(Script()) as server:
        assert to_port(site, server.port).answer(jorg).startswith("550 5.6.7")
        assert to_port(site, server.port).answer(given("ada", content=MAIL, in_utf_8=True)).startswith("250")
    assert to_port(site, smtp.port).answer(Given("a@b.c", ("jörg@example.com",), MAIL)).startswith("550 5.6.7")


def test_a_failing_host_does_not_change_the_answer(site: Site, smtp: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    """What the host does at the end of a context comes after the mail has left."""

    @contextmanager
    def failing() -> Any:
        with site.app.app_context():
            yield
        raise RuntimeError("a teardown of the host")

    assert to_port(site, smtp.port, failing).answer(given("ada")).startswith("250")
    assert "a teardown of the host" in caplog.text


def test_a_report_has_no_sender_and_a_text_may_have_no_headers(site: Site, smtp: Inbox) -> None:
    """An empty sender stays empty; what no mail program would send is handed on all the same, untracked if told so."""
    hand = to_port(site, smtp.port)
    for content in (b"", b"hello", b"Subject: x\r\n\r\n..\r\n.\r\n", b"X-Mailtrack: off\r\n" + MAIL):
        assert hand.answer(Given("", ("ada@example.com",), content)).startswith("250 2.0.0 1 of 1")
    assert {each.sender for each in smtp.envelopes} <= {"", "<>"}
    assert smtp.envelopes[2].content.endswith(b"\r\n..\r\n.\r\n")


def test_a_suppressed_server_takes_all(make_site: MakeSite) -> None:
    """With MAIL_SUPPRESS_SEND the mail ends here, and the mailbox shows it."""
    site = make_site()
    server = MailServer.of({}, testing=True)
    office = site.mailtrack._state_of(site.app).office
    with record_mails() as heard:
        assert Handover(office, server, site.app.app_context).answer(given("ada")).startswith("250")
    assert [mail.recipients for mail in heard] == [["ada@example.com"]]


def test_a_key_reaches_everybody_once_over_restarts(site: Site, smtp: Inbox) -> None:
    """A mail that is written anew goes to those who have none; what nobody knows is told, and not sent again."""

    def order(number: int) -> bytes:
        return MAIL.replace(b"1@", b"%d@" % number).replace(b"From", b"X-Mailtrack: key=order-7\r\nFrom")

    assert to_port(site, smtp.port).answer(given("ada", content=order(1))).startswith("250 2.0.0 1 of 1")
    assert to_port(site, smtp.port).answer(given("ada", "bob", content=order(2))).startswith("250 2.0.0 2 of 2")
    assert [each.recipients for each in smtp.envelopes] == [["ada@example.com"], ["bob@example.com"]]
    with RawServer(Script(content=lambda argument, number: None)) as server:
        assert to_port(site, server.port).answer(given("cyd", content=order(3))).startswith("451")
    assert to_port(site, smtp.port).answer(given("cyd", content=order(4))).startswith("554 5.3.0 nobody knows")

    site.mailtrack.models.Claim.__table__.drop(site.db.engine)
    assert (
        to_port(site, smtp.port).answer(given("dan", content=order(5)))
        == "451 4.3.0 the key of this mail cannot be claimed."
    )
    assert len(smtp.envelopes) == 2
