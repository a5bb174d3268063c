"""Mail that the host sends by itself, tracked: prepared copies, and the standard library's SMTP clients."""

from __future__ import annotations

import email
import email.policy
import smtplib
from collections.abc import Callable, Iterator
from email.header import Header
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from itertools import pairwise
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from conftest import Inbox, MakeSite, Site, free_port
from smtp_server import RawServer, Script

from flask_mailtrack.errors import OptOutsUnavailable, UnknownList
from flask_mailtrack.outgoing import prepare
from flask_mailtrack.outgoing.copies import PreparedCopy
from flask_mailtrack.outgoing.mime import Mime
from flask_mailtrack.signals import tracking_failed
from flask_mailtrack.testing import Reader

PAGE = '<p>Hello <a href="https://shop.example/offer?a=1&amp;b=2">Our offer</a></p>'


def letter(*to: str, html: str = PAGE, **headers: str) -> EmailMessage:
    """A mail with a text, a page and an attachment."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "News <news@example.org>", ", ".join(to), "Hello"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hello\n")
    message.add_alternative(html, subtype="html")
    message.add_attachment(b"\0\1\r\n\2", maintype="application", subtype="octet-stream", filename="a.bin")
    return message


def parsed(copy: PreparedCopy | bytes) -> EmailMessage:
    """A copy as a mail program reads it."""
    raw = copy if isinstance(copy, bytes) else copy.as_bytes()
    found = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def states(site: Site) -> dict[str, tuple[str, str]]:
    """Status and error by recipient, from the table."""
    return {row.recipient: (row.status, row.error) for row in site.rows("Message")}


def behind(cause: Exception) -> Exception:
    """An error of a service's client, which has wrapped another one."""
    error = OSError("the client of a service")
    error.__context__ = cause
    return error


def test_a_link_of_a_prepared_mail_leads_to_its_row(site: Site) -> None:
    """A message of the standard library goes out by hand; its reader opens and clicks, and the rows are there."""
    (copy,) = site.mailtrack.prepare(letter("Ada <ada@example.com>"), tag="offer", metadata={"order": 7})
    with copy:
        assert (copy.sender, copy.recipients) == ("news@example.org", ("ada@example.com",))
    reader = Reader(site.client, parsed(copy))
    assert reader.click("Our offer").location == "https://shop.example/offer?a=1&b=2"
    assert reader.open().status_code == 200
    (row,) = site.rows("Message")
    assert (row.id, row.status, row.tag, row.details) == (copy.rows[0].id, "sent", "offer", {"order": 7})
    assert {(event.type, event.message_id) for event in site.rows("Event")} == {("opened", row.id), ("clicked", row.id)}


def test_everything_else_of_the_mail_stays(site: Site) -> None:
    """Headers and their order, the structure, the text and the attachment; only the page has other lines."""
    message = letter("ada@example.com", X_Mine="yes", Date="Fri, 27 Nov 2026 10:00:00 +0000")
    (copy,) = site.mailtrack.prepare(message)
    before, after = parsed(message.as_bytes(policy=email.policy.SMTP)), parsed(copy)
    assert after.items() == before.items()
    for old, new in zip(before.walk(), after.walk(), strict=True):
        assert old.get_content_type() == new.get_content_type()
        if old.get_content_type() in ("text/plain", "application/octet-stream"):
            assert old.get_content() == new.get_content()


def test_each_recipient_has_links_of_their_own(site: Site) -> None:
    """Cc and Bcc get a copy, too; the visible headers are those of the author, without Bcc."""
    message = letter("ada@example.com", Cc="Bob <bob@example.com>", Bcc="cyd@example.com")
    copies = list(site.mailtrack.prepare(message))
    assert [copy.recipients for copy in copies] == [("ada@example.com",), ("bob@example.com",), ("cyd@example.com",)]
    for copy in copies:
        assert parsed(copy)["Cc"] == "Bob <bob@example.com>"
        assert b"cyd" not in copy.as_bytes()
    assert all(one.as_bytes() != other.as_bytes() for one, other in pairwise(copies))
    assert states(site) == {f"{name}@example.com": ("sending", "") for name in ("ada", "bob", "cyd")}


def test_a_mail_of_a_list_has_a_way_out(site: Site) -> None:
    """Headers and footer; whoever has left gets no copy, and is named."""
    message = site.mailtrack.track(letter("ada@example.com", "bob@example.com"), list_id="news")
    first = list(site.mailtrack.prepare(message))
    assert Reader(site.client, parsed(first[0])).unsubscribe().status_code == 200
    assert "/u/" in parsed(first[0]).get_body(("plain",)).get_content()  # type: ignore[union-attr]
    mail = site.mailtrack.prepare(message)
    (copy,) = mail
    assert copy.recipients == ("bob@example.com",)
    assert [(row.recipient, row.status) for row in mail.rows] == [
        ("ada@example.com", "suppressed"),
        ("bob@example.com", "sending"),
    ]
    assert site.mailtrack.sent(message) == mail.rows


def test_the_header_tells_options_and_does_not_leave(site: Site) -> None:
    """As bytes from another program; so the mail's own headers can switch opens off, and name a tag."""
    raw = letter("ada@example.com", X_Mailtrack="opens=off; tag=reset").as_bytes()
    (copy,) = site.mailtrack.prepare(raw)
    assert b"X-Mailtrack" not in copy.as_bytes()
    assert not Reader(site.client, parsed(copy)).has_pixel
    assert [(row.tag, row.tracks_opens, row.tracks_clicks) for row in site.rows("Message")] == [("reset", False, True)]


def test_options_of_the_call_are_stronger_than_those_of_the_message(site: Site) -> None:
    """And both are stronger than those of a block."""
    message = site.mailtrack.track(letter("ada@example.com"), tag="message", utm={"source": "news"})
    with site.mailtrack.options(tag="block", clicks=False):
        (copy,) = site.mailtrack.prepare(message, tag="call")
    assert [(row.tag, row.tracks_clicks) for row in site.rows("Message")] == [("call", False)]
    assert "https://shop.example/offer" in copy.as_bytes().decode()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (smtplib.SMTPDataError(554, b"no"), ("failed", "554 no")),
        (smtplib.SMTPRecipientsRefused({"Ada@example.com": (550, b"unknown")}), ("failed", "550 unknown")),
        (smtplib.SMTPServerDisconnected("gone"), ("unknown", "SMTPServerDisconnected: gone")),
        (TimeoutError("slow"), ("unknown", "TimeoutError: slow")),
        (behind(TimeoutError("slow")), ("unknown", "OSError: the client of a service")),
        (ConnectionRefusedError("closed"), ("failed", "ConnectionRefusedError: closed")),
        (RuntimeError("a bug"), ("failed", "RuntimeError: a bug")),
        (KeyboardInterrupt(), ("unknown", "KeyboardInterrupt")),
    ],
    ids=repr,
)
def test_an_error_around_the_send_is_the_fate_of_the_copy(
    site: Site, error: BaseException, state: tuple[str, str]
) -> None:
    """The error goes on to the host. After a lost connection nobody knows whether the server has the mail."""
    (copy,) = site.mailtrack.prepare(letter("ada@example.com"))
    with pytest.raises(type(error)), copy:
        raise error
    assert states(site) == {"ada@example.com": state}
    assert copy.rows[0].status == state[0]


def test_the_first_fate_that_is_told_is_final(site: Site) -> None:
    """Also inside a block, whose end tells nothing more."""
    (copy,) = site.mailtrack.prepare(letter("ada@example.com"))
    with copy:
        copy.failed("the service says: over quota")
    copy.sent()
    assert states(site) == {"ada@example.com": ("failed", "the service says: over quota")}


def test_refused_recipients_of_one_copy_are_told_apart(make_site: MakeSite) -> None:
    """``MAILTRACK_SPLIT`` is off, so several people get one copy, and the server refuses one of them."""
    site = make_site(MAILTRACK_SPLIT=False)
    (copy,) = site.mailtrack.prepare(letter("ada@example.com", "bob@example.com"))
    assert copy.recipients == ("ada@example.com", "bob@example.com")
    copy.sent({"BOB@example.com": (550, b"no such user")})
    assert states(site) == {"ada@example.com": ("sent", ""), "bob@example.com": ("failed", "550 no such user")}


def test_a_copy_that_nobody_asks_for_is_not_noted(site: Site) -> None:
    """A loop that ends early has sent what it was handed, and no more."""
    for copy in site.mailtrack.prepare(letter("ada@example.com", "bob@example.com")):
        copy.sent()
        break
    assert states(site) == {"ada@example.com": ("sent", "")}


def test_copies_are_handed_out_once(site: Site) -> None:
    """A second loop would send every copy twice."""
    mail = site.mailtrack.prepare(letter("ada@example.com"))
    list(mail)
    with pytest.raises(RuntimeError, match="prepare the message again"):
        list(mail)


def test_a_failure_of_ours_breaks_no_mail(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail goes out as its author wrote it, to all; mail of a list does not, because nobody was asked."""

    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(prepare.Preparer, "prepare", broken)
    (copy,) = site.mailtrack.prepare(letter("ada@example.com", "bob@example.com", X_Mailtrack="tag=a"))
    with copy:
        assert copy.recipients == ("ada@example.com", "bob@example.com")
    expected = letter("ada@example.com", "bob@example.com")
    assert parsed(copy).items()[:3] == parsed(expected.as_bytes()).items()[:3]
    assert PAGE in str(parsed(copy).get_body(("html",)))
    assert b"X-Mailtrack" not in copy.as_bytes()
    assert states(site) == {}
    with pytest.raises(OptOutsUnavailable):
        site.mailtrack.prepare(letter("ada@example.com"), list_id="news")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b"From: a@example.org\n\nHello", "names no recipient"),
        (b"To: a@example.org\n\nHello", "no From"),
        ("To: a@example.org\n\nHello", "no From"),
    ],
)
def test_a_mail_without_an_envelope_is_an_error(site: Site, message: Any, told: str) -> None:
    """The text says what to write."""
    with pytest.raises(ValueError, match=told):
        site.mailtrack.prepare(message)


def test_wrong_things_are_refused_with_the_cure(site: Site, make_site: MakeSite) -> None:
    """A file, options on bytes, an option that does not exist, an unknown list."""
    with pytest.raises(TypeError, match="takes an email"):
        site.mailtrack.prepare(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"prepare\(message, tag="):
        site.mailtrack.track(b"To: a@example.org", tag="a")
    with pytest.raises(TypeError):
        site.mailtrack.prepare(letter("a@example.org"), oops=1)  # type: ignore[call-arg]
    other = make_site(MAILTRACK_LISTS={"news": {"title": "News"}})
    with pytest.raises(UnknownList):
        other.mailtrack.prepare(letter("a@example.org", X_Mailtrack="list=nwes"))


def test_the_envelope_is_the_hosts_if_it_is_given(site: Site) -> None:
    """A queue has addresses of its own, and a mail that is sent again has those of the last time."""
    (copy,) = site.mailtrack.prepare(
        letter("list@example.com"), sender="bounce@example.org", recipients=["eve@example.com"]
    )
    assert (copy.sender, copy.recipients) == ("bounce@example.org", ("eve@example.com",))
    again = letter("list@example.com", Resent_Date="now", Resent_From="bob@example.org", Resent_To="fay@example.com")
    (copy,) = site.mailtrack.prepare(again)
    assert (copy.sender, copy.recipients) == ("bob@example.org", ("fay@example.com",))


def test_a_mail_that_was_resent_several_times_needs_an_envelope(site: Site) -> None:
    """Nobody knows which of the blocks is meant, as smtplib says, too."""
    raw = b"Resent-Date: a\nResent-To: new@x.org\nResent-Date: b\nResent-To: old@x.org\nFrom: a@x.org\n\nHello"
    with pytest.raises(ValueError, match="resent several times"):
        site.mailtrack.prepare(raw)
    (copy,) = site.mailtrack.prepare(raw, sender="a@x.org", recipients=["New <new@x.org>"])
    assert copy.recipients == ("new@x.org",)


def test_a_body_that_cannot_be_written_stays_as_it_was(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail goes out, with the headers of its list."""
    written = Mime.written

    def broken(self: Mime, texts: Any, *about: Any) -> bytes:
        if texts:
            raise RuntimeError("broken")
        return written(self, texts, *about)

    monkeypatch.setattr(Mime, "written", broken)
    (copy,) = site.mailtrack.prepare(letter("ada@example.com"), list_id="news")
    assert PAGE in str(parsed(copy).get_body(("html",)))
    assert "List-Unsubscribe" in parsed(copy)


def test_a_service_that_takes_fields_gets_the_bodies(site: Site) -> None:
    """The page and the text, each as it is in the mail."""
    (copy,) = site.mailtrack.prepare(letter("ada@example.com"), list_id="news")
    parts = Mime(copy.as_bytes()).parts
    assert (copy.html, copy.text) == (parts["html"].text, parts["plain"].text)
    assert "/u/" in parts["plain"].text


Connect = Callable[[Script], RawServer]


@pytest.fixture(name="connect")
def _connect() -> Iterator[Connect]:
    """Start scripted servers."""
    servers: list[RawServer] = []

    def connect(script: Script) -> RawServer:
        servers.append(RawServer(script).__enter__())
        return servers[-1]

    yield connect
    for server in servers:
        server.__exit__()


def test_a_script_with_smtplib_needs_three_lines(site: Site, smtp: Inbox) -> None:
    """The message carries its options, each recipient gets a copy, and the rows are known after the call."""
    message = site.mailtrack.track(letter("ada@example.com", "bob@example.com"), tag="offer")
    with site.mailtrack.smtp("127.0.0.1", smtp.port, timeout=10) as server:
        assert server.send_message(message) == {}
    assert [envelope.recipients for envelope in smtp.envelopes] == [["ada@example.com"], ["bob@example.com"]]
    reader = Reader(site.client, parsed(smtp.envelopes[1].content))
    assert reader.click(0).location == "https://shop.example/offer?a=1&b=2"
    assert [(row.recipient, row.status) for row in site.mailtrack.sent(message)] == [
        ("ada@example.com", "sent"),
        ("bob@example.com", "sent"),
    ]
    assert [row.tag for row in site.rows("Message")] == ["offer", "offer"]
    assert [event.message_id for event in site.rows("Event")] == [site.rows("Message")[1].id]


def test_a_mail_as_services_show_it_in_their_examples(site: Site, smtp: Inbox) -> None:
    """A multipart message with encoded headers, written as text, and handed to ``sendmail`` after ``connect``."""
    message = MIMEMultipart("alternative")
    message["Subject"] = Header("标题", "utf-8").encode()
    message["From"] = f"{Header('发件人', 'utf-8').encode()} <sender@example.org>"
    message["To"] = "收件人 <ada@example.com>".encode("ascii", "ignore").decode()
    message.attach(MIMEText("纯文本", _subtype="plain", _charset="UTF-8"))
    message.attach(MIMEText('<p>自定义 <a href="https://example.cn/">链接</a></p>', _subtype="html", _charset="UTF-8"))
    client = site.mailtrack.smtp()
    client.connect("127.0.0.1", smtp.port)
    client.sendmail("sender@example.org", "ada@example.com", message.as_string())
    client.quit()
    found = parsed(smtp.envelopes[0].content)
    assert found["Subject"] == "标题"
    assert found.get_body(("plain",)).get_content().strip() == "纯文本"  # type: ignore[union-attr]
    reader = Reader(site.client, found)
    assert reader.has_pixel
    assert reader.click("链接").location == "https://example.cn/"
    assert [(row.subject, row.sender) for row in site.rows("Message")] == [("标题", "sender@example.org")]


def test_nobody_to_send_to_is_what_smtplib_says(site: Site, smtp: Inbox) -> None:
    """The exception is the one that a host catches already."""
    with site.mailtrack.smtp("127.0.0.1", smtp.port) as server, pytest.raises(smtplib.SMTPRecipientsRefused):
        server.sendmail("a@example.org", [], b"To: a@example.org\r\n\r\nHello")


def test_what_smtplib_tells_of_refused_recipients_is_told(site: Site, connect: Connect) -> None:
    """One of several is returned, all of them are raised, and the rows say the same."""
    server = connect(Script(rcpt=lambda argument, number: "550 unknown" if "bob" in argument else "250 OK"))
    with site.mailtrack.smtp("127.0.0.1", server.port) as client:
        assert client.send_message(letter("ada@example.com", "bob@example.com")) == {
            "bob@example.com": (550, b"unknown")
        }
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.send_message(letter("bob@example.com"))
    assert states(site) == {"ada@example.com": ("sent", ""), "bob@example.com": ("failed", "550 unknown")}


class Keeper:
    """A server that takes two mails on a connection, and wants a login for each connection."""

    def __init__(self) -> None:
        self.recipients: list[str] = []
        self.logins: list[bytes] = []
        self._of_this_connection = 0

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if not session.authenticated:
            return "530 log in"
        session.mails = getattr(session, "mails", 0) + 1
        if session.mails > 2:
            return "421 too many"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append(data.password)
        return AuthResult(success=True)


def test_a_connection_that_ends_between_two_copies_is_begun_again(site: Site) -> None:
    """With the login: without Mailtrack it would have been one mail, which the server had taken."""
    keeper = Keeper()
    controller = Controller(
        keeper, hostname="127.0.0.1", port=free_port(), authenticator=keeper.login, auth_require_tls=False
    )
    controller.start()
    try:
        client = site.mailtrack.smtp()
        client.connect("127.0.0.1", controller.port)
        client.login("name", "password")
        assert client.send_message(letter(*(f"{name}@example.com" for name in "abcde"))) == {}
        client.quit()
    finally:
        controller.stop()
    assert keeper.recipients == [f"{name}@example.com" for name in "abcde"]
    assert keeper.logins == [b"password"] * 3
    assert {status for status, _ in states(site).values()} == {"sent"}


JAPANESE = "Subject: x\r\nFrom: a@example.org\r\nContent-Type: text/{}; charset=iso-2022-jp\r\n\r\n".format


@pytest.mark.parametrize(
    ("raw", "cause"),
    [  # a circled digit, which a vendor has added to the letters of the charset
        (JAPANESE("html").encode() + b"<p>\x1b$B-!\x1b(B</p>", "text/html: it has octets that are no letters of its"),
        (JAPANESE("plain").encode() + b"\x1b$B-!\x1b(B", "text/plain: it has octets that are no letters of its"),
        (b"From: a@b.c\nContent-Type: text/html; charset=klingon\n\n<p>1</p>", "the charset 'klingon' is not known"),
        (b"From: a@b.c\nContent-Type: text/html\nContent-Transfer-Encoding: uu\n\nx", "the encoding 'uu' is not known"),
    ],
)
def test_a_part_that_cannot_be_read_is_told(
    site: Site, caplog: pytest.LogCaptureFixture, raw: bytes, cause: str
) -> None:
    """It goes out as its author wrote it; log, signal and row say why, unless nothing was to be tracked."""
    told: list[str] = []

    def hear(_: Any, error: Exception, reason: str) -> None:
        told.append(f"{reason} {error}")

    with tracking_failed.connected_to(hear, site.app):
        for options in ({}, {"opens": False, "clicks": False}):
            for copy in site.mailtrack.prepare(raw, recipients=["ada@example.com"], **options):  # type: ignore[arg-type]
                copy.sent()
                assert copy.as_bytes() == Mime(raw).raw
    assert len(told) == 1
    assert told[0].startswith("rewrite unreadable: ")
    assert cause in told[0]
    assert cause in caplog.text
    page_errors = ["untracked: unreadable", ""] if b"text/html" in raw else ["", ""]
    assert [row.error for row in site.rows("Message")] == page_errors
