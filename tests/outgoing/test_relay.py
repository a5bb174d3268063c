"""The relay: other programs of the house send by it, over a socket, and strangers do not."""

from __future__ import annotations

import asyncio
import base64
import os
import quopri
import signal
import smtplib
import socket
import ssl
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import pytest
import trustme
from conftest import Inbox, MakeSite, Site, free_port
from smtp_server import RawServer, Script

from flask_mailtrack.admission import Listen, admits, new_password
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.outgoing import relay as module
from flask_mailtrack.outgoing.handover import Given, Handover, MailServer
from flask_mailtrack.outgoing.relay import Relay, RelayDoor, run
from flask_mailtrack.testing import Reader

PAGE = '<p>Grüße <a href="https://shop.example/offer">Our offer</a></p>\r\n'
PASSWORD, HASH = new_password()


@contextmanager
def running(answer: Callable[[Given], str], **more: Any) -> Iterator[tuple[int, Callable[[], None]]]:
    """Yield the port of a relay in a thread, and what ends it."""
    door = RelayDoor(**({"listen": Listen(f"127.0.0.1:{free_port()}"), "users": {}, "max_bytes": 100_000} | more))
    ready, ends = threading.Event(), []

    async def serve() -> None:
        until, loop = asyncio.Event(), asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(until.set))
        await Relay(door, answer).serve(until, ready.set)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)

    def end() -> None:
        if thread.is_alive():
            ends[0]()

    try:
        yield door.listen.port, end
    finally:
        end()
        thread.join(10)
        assert not thread.is_alive()


def handing(site: Site, port: int) -> Callable[[Given], str]:
    server = MailServer.of({"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port}, testing=False)
    return Handover(site.mailtrack._state_of(site.app).office, server, site.app.app_context).answer


class Kept:
    """Keeps what a relay hands on."""

    def __init__(self, said: str = "250 2.0.0 OK") -> None:
        self.mails: list[Given] = []
        self.said = said

    def __call__(self, mail: Given) -> str:
        self.mails.append(mail)
        return self.said


def java(encoding: str) -> bytes:
    """A mail as JavaMail writes it: a page and a text, and words in the headers."""
    octets = PAGE.encode()
    body = {
        "8bit": octets,
        "quoted-printable": quopri.encodestring(octets).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        "base64": base64.encodebytes(octets).replace(b"\n", b"\r\n"),
    }[encoding]
    return b"".join(
        [
            b"Date: Sat, 28 Nov 2026 10:15:30 +0000 (UTC)\r\n",
            b"From: =?UTF-8?Q?B=C3=BCcher?= <service@example.org>\r\nTo: ada@example.com\r\n",
            b"Message-ID: <1836643189.1.1795860930000@app1>\r\nSubject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n",
            b"MIME-Version: 1.0\r\n",
            b'Content-Type: multipart/alternative; \r\n\tboundary="----=_Part_0_1044036744.1795860929990"\r\n\r\n',
            b"------=_Part_0_1044036744.1795860929990\r\nContent-Type: text/plain; charset=us-ascii\r\n",
            b"Content-Transfer-Encoding: 7bit\r\n\r\nGreetings\r\n",
            b"------=_Part_0_1044036744.1795860929990\r\nContent-Type: text/html;charset=UTF-8\r\n",
            b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n" + body,
            b"\r\n------=_Part_0_1044036744.1795860929990--\r\n",
        ]
    )


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_a_mail_of_java_comes_out_tracked(site: Site, smtp: Inbox, encoding: str) -> None:
    """All but links and pixel is as it was; its reader opens and clicks, and the row knows it."""
    raw = java(encoding)
    with running(handing(site, smtp.port)) as (port, _), smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("service@example.org", ["ada@example.com"], raw, ["BODY=8BITMIME"])
    (envelope,) = smtp.envelopes
    trace, _, content = envelope.content.partition(b"\r\n")
    assert trace.startswith(b"Received: from [127.0.0.1] by ")
    assert content.partition(b"Content-Type: text/html")[0] == raw.partition(b"Content-Type: text/html")[0]
    reader = Reader(site.client, message_from_bytes(content))
    reader.open()
    assert reader.click("Our offer").location == "https://shop.example/offer"
    (row,) = site.rows("Message")
    assert (row.status, row.open_count, row.click_count, row.subject) == ("sent", 1, 1, "Grüße")


def test_a_program_names_options_by_the_header(site: Site, smtp: Inbox) -> None:
    """Python's own client; the header is taken out, and its tag is on the row."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Bcc"] = "a@example.org", "ada@example.com", "bob@example.com"
    mail["X-Mailtrack"] = "tag=cron; opens=off"
    mail.set_content(PAGE, subtype="html")
    with running(handing(site, smtp.port)) as (port, _), smtplib.SMTP("127.0.0.1", port) as client:
        assert client.send_message(mail) == {}
    assert [row.tag for row in site.rows("Message")] == ["cron", "cron"]
    assert all(b"X-Mailtrack" not in each.content and b"bob@" not in each.content for each in smtp.envelopes)
    assert all(b"/m/c/" in each.content and b"/m/o/" not in each.content for each in smtp.envelopes)


def test_the_server_answers_first(site: Site) -> None:
    """The program hears what the server says, in the server's words."""
    with (
        RawServer(Script(content=lambda argument, number: "554 5.7.1 looks like spam")) as server,
        running(handing(site, server.port)) as (port, _),
        smtplib.SMTP("127.0.0.1", port) as client,
        pytest.raises(smtplib.SMTPDataError, match=r"554, b'5\.7\.1 looks like spam'"),
    ):
        client.sendmail("a@example.org", ["ada@example.com"], "Subject: x\r\n\r\nx")


def talk(port: int, *lines: bytes) -> bytes:
    """Say lines to a relay, and return all that it says until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"".join(lines))
        heard = b""
        while piece := connection.recv(65_536):
            heard += piece
    return heard


HELLO = b"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n"
BYE = b"\r\n.\r\nQUIT\r\n"


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b"Subject: x\r\n\r\n..one\r\n...two\r\nthree.\r\n", b"Subject: x\r\n\r\n.one\r\n..two\r\nthree.\r\n\r\n"),
        (b"Subject: x\n\none\n.\nMAIL FROM:<b@b.c>\n\r.\r", b"Subject: x\n\none\n.\nMAIL FROM:<b@b.c>\n\r.\r\r\n"),
        (b"one\n.\r\nMAIL FROM:<b@b.c>\r\n", b"one\n.\r\nMAIL FROM:<b@b.c>\r\n\r\n"),
        (b"x" * 70_000 + b"\r\n.y" * 3 + b"y" * 2000, b"x" * 70_000 + b"\r\ny" * 3 + b"y" * 2000 + b"\r\n"),
        (b"\xff\x00\r\r\n\xc3\xbc", b"\xff\x00\r\r\n\xc3\xbc\r\n"),
        (b"x\n" * 40_000, b"x\n" * 40_000 + b"\r\n"),
    ],
    ids=["full stops", "a hidden mail", "another hidden mail", "long lines", "octets", "bare line feeds"],
)
def test_a_mail_ends_where_it_ends(sent: bytes, content: bytes) -> None:
    """Octets come through; only a full stop between CRLFs ends a mail, so that none is hidden in another."""
    kept = Kept()
    with running(kept) as (port, _):
        heard = talk(port, HELLO, sent, BYE)
    assert [mail.content for mail in kept.mails] == [content]
    assert heard.endswith(b"250 2.0.0 OK\r\n221 Bye\r\n")


async def read(talk: Any, *pieces: bytes) -> tuple[bytes | None, int]:
    """Return the mail in *pieces* that arrive one after the other, and the octets of memory that it took."""
    talk._reader = asyncio.StreamReader(limit=module._PIECE)
    reading = asyncio.ensure_future(talk._content())
    tracemalloc.start()
    for piece in pieces:
        talk._reader.feed_data(piece)
        await asyncio.sleep(0)
    content = await reading
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return content, peak


def test_a_mail_may_arrive_in_any_pieces() -> None:
    """A full stop behind a bare LF hides no mail, wherever a piece ends; what is too large is not kept in memory."""
    talk = object.__new__(module._Talk)
    talk._relay = Relay(RelayDoor(Listen("127.0.0.1:25"), {}, 100_000), Kept())
    hidden = (b"x" * 70_000 + b"\n.", b"\r\nMAIL FROM:<b@b.c>\r\n", b".\r\n")
    assert asyncio.run(read(talk, *hidden))[0] == b"".join(hidden).removesuffix(b".\r\n")
    for line in (b"x" * 50_000, b"x" * 998 + b"\r\n"):
        content, peak = asyncio.run(read(talk, *([line] * (5_000_000 // len(line))), b"\r\n.\r\n"))
        assert content is None
        assert peak < 1_000_000


def test_a_mail_that_is_too_large_is_refused() -> None:
    """By what the program says beforehand, or by what comes; the next mail of the same connection is taken."""
    kept = Kept()
    with running(kept, max_bytes=10_000) as (port, _):
        assert b"250-SIZE 10000" in talk(port, b"EHLO x\r\nQUIT\r\n")
        assert b"552" in talk(port, b"EHLO x\r\nMAIL FROM:<a@b.c> SIZE=10001\r\nQUIT\r\n")
        for line in (b"x" * 998 + b"\r\n", b"x" * 1000):
            heard = talk(port, HELLO, line * 40, b"\r\n.\r\n", HELLO, b"Subject: y\r\n\r\ny", BYE)
            assert b"\r\n552 5.3.4 a mail may have 10000 octets\r\n" in heard
            assert heard.endswith(b"250 2.0.0 OK\r\n221 Bye\r\n")
    assert len(kept.mails) == 2


def test_a_program_that_vanishes_sends_nothing() -> None:
    """In the middle of a mail, and before its last full stop; the relay goes on."""
    kept = Kept()
    with running(kept) as (port, _):
        for last in (b"Subject: x\r\n\r\nhalf", b"Subject: x\r\n\r\nall\r\n.\r"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(HELLO + last)
        assert talk(port, HELLO, b"Subject: x", BYE).endswith(b"221 Bye\r\n")
    assert [mail.content for mail in kept.mails] == [b"Subject: x\r\n"]


def test_with_users_nobody_else_sends() -> None:
    """PLAIN and LOGIN; three wrong passwords end the connection, and no password is in the log."""
    kept = Kept()
    with running(kept, users={"shop": HASH}) as (port, _):
        assert b"AUTH LOGIN PLAIN" in talk(port, b"EHLO x\r\nQUIT\r\n")
        heard = talk(port, HELLO, b"RCPT TO:<x@example.com>\r\nQUIT\r\n")
        assert (heard.count(b"\r\n530 5.7.0 "), heard.count(b"\r\n250 2.1.5"), b"\r\n354" in heard) == (1, 0, False)
        wrong = base64.b64encode(b"\0shop\0secret")
        heard = talk(port, b"EHLO x\r\n", (b"AUTH PLAIN " + wrong + b"\r\n") * 4)
        assert heard.count(b"\r\n535 ") == 3
        assert heard.rpartition(b"\r\n421 ")[1]
        for mechanism in ("auth_plain", "auth_login"):
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.ehlo()
                client.user, client.password = "shop", PASSWORD  # type: ignore[attr-defined]
                client.auth(mechanism.removeprefix("auth_").upper(), getattr(client, mechanism))
                client.sendmail("a@example.org", ["ada@example.com"], "Subject: x\r\n\r\nx")
    assert len(kept.mails) == 2
    assert all(b" with ESMTPA; " in mail.trace for mail in kept.mails)


def test_who_does_not_log_in_leaves_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger is hung up on after a while, and cut off if nothing is read; who has logged in stays."""
    monkeypatch.setattr(module, "LOGIN_SECONDS", 0.5)
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    with running(Kept(), users={"shop": HASH}) as (port, _), smtplib.SMTP("127.0.0.1", port) as client:
        client.login("shop", PASSWORD)
        assert talk(port, b"EHLO x\r\n").endswith(b"250 HELP\r\n")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as deaf, pytest.raises(ConnectionError):
            deaf.sendall(b"HELP\r\n" * 2_000_000)
        assert client.noop()[0] == 250


def test_without_users_no_login_is_offered() -> None:
    """A program of this machine needs none, and one that logs in all the same is told so."""
    with running(Kept()) as (port, _):
        assert b"AUTH" not in talk(port, b"EHLO x\r\nQUIT\r\n")
        assert b"\r\n535 " in talk(port, b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n")


def test_with_a_certificate_every_octet_is_encrypted() -> None:
    """TLS begins with the connection, and the trace says so."""
    authority, kept = trustme.CA(), Kept()
    context, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(trusting)
    with (
        running(kept, users={"shop": HASH}, context=context) as (port, _),
        smtplib.SMTP_SSL("127.0.0.1", port, context=trusting) as client,
    ):
        client.login("shop", PASSWORD)
        client.sendmail("a@example.org", ["ada@example.com"], "Subject: x\r\n\r\nx")
    assert b" with ESMTPSA; " in kept.mails[0].trace


def test_a_browser_is_hung_up_on() -> None:
    """A page may have a browser write to a port of its own machine: no command in the form is obeyed."""
    kept = Kept()
    with running(kept) as (port, _):
        heard = talk(port, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", HELLO, b"Subject: spam", BYE)
    assert kept.mails == []
    assert heard.count(b"\r\n") == 1


def test_too_many_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many connections: 421; too many recipients of one mail: 452, after which programs send once more."""
    monkeypatch.setattr(module, "MOST_CLIENTS", 1)
    monkeypatch.setattr(module, "MOST_RECIPIENTS", 1)
    kept = Kept()
    with running(kept) as (port, _), smtplib.SMTP("127.0.0.1", port) as client:
        assert talk(port).startswith(b"421 4.3.2 ")
        refused = client.sendmail("a@example.org", ["ada@example.com", "bob@example.com"], "Subject: x\r\n\r\nx")
    assert {address: code for address, (code, _) in refused.items()} == {"bob@example.com": 452}
    assert kept.mails[0].recipients == ("ada@example.com",)


def test_what_is_under_way_is_answered_at_the_end() -> None:
    """Several mails at once; an idle program is hung up on, a new one does not come in."""
    begun, go_on = threading.Barrier(3), threading.Event()

    def slow(mail: Given) -> str:
        begun.wait(10)
        go_on.wait(10)
        return "250 2.0.0 OK"

    heard: list[bytes] = []
    with running(slow) as (port, end), socket.create_connection(("127.0.0.1", port), timeout=10) as idle:
        senders = [threading.Thread(target=lambda: heard.append(talk(port, HELLO, b"x", b"\r\n.\r\n"))) for _ in "ab"]
        for sender in senders:
            sender.start()
        begun.wait(10)
        end()
        told = b""
        while piece := idle.recv(1000):
            told += piece
        assert told.endswith(b"421 4.3.2 the relay ends\r\n")
        with pytest.raises(OSError, match="refused"):
            talk(port)
        go_on.set()
        for sender in senders:
            sender.join(10)
    assert [each.endswith(b"250 2.0.0 OK\r\n421 4.3.2 the relay ends\r\n") for each in heard] == [True, True]


def test_an_address_that_is_no_text_is_refused() -> None:
    """Octets in no charset could be given to no server; UTF-8 is for the server to judge."""
    kept = Kept()
    latin = b"EHLO x\r\nMAIL FROM:<b\xfccher@b.c>\r\nMAIL FROM:<a@b.c> SMTPUTF8\r\nRCPT TO:<j\xf6rg@b.c>\r\n"
    with running(kept) as (port, _):
        heard = talk(port, latin, "RCPT TO:<jörg@b.c>\r\nDATA\r\nSubject: x".encode(), BYE)
    assert heard.count(b"\r\n553 5.6.7 ") == 2
    assert [(mail.recipients, mail.in_utf_8) for mail in kept.mails] == [(("jörg@b.c",), True)]
    assert b" with UTF8SMTP; " in kept.mails[0].trace


def test_a_signal_ends_it() -> None:
    """SIGTERM, as systemd sends it, ends the relay in order, and the next SIGTERM would end the process."""
    run(RelayDoor(Listen(f"127.0.0.1:{free_port()}"), {}, 1000), Kept(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_mail_of_several_programs_at_once(site: Site, smtp: Inbox) -> None:
    """Each has its thread, its app context and its rows, and all of them are counted."""

    def send(port: int, number: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for mail in range(3):
                text = f"From: a@example.org\r\nMessage-ID: <{number}.{mail}@x>\r\n\r\nhttps://shop.example/"
                client.sendmail("a@example.org", [f"{number}.{mail}@example.com"], text)

    with running(handing(site, smtp.port)) as (port, _):
        threads = [threading.Thread(target=send, args=(port, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    site.mailtrack.flush()
    assert len({each.recipients[0] for each in smtp.envelopes}) == 18
    assert [row.status for row in site.rows("Message")] == ["sent"] * 18


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"MAILTRACK_RELAY_LISTEN": "0.0.0.0:2525"}, "E192"),
        ({"MAILTRACK_RELAY_LISTEN": "[::]:2525", "MAILTRACK_RELAY_WITHOUT_TLS": True}, "E192"),
        ({"MAILTRACK_RELAY_LISTEN": "10.0.0.1:25", "MAILTRACK_RELAY_USERS": {"shop": HASH}}, "E193"),
    ],
)
def test_an_open_relay_does_not_start(make_site: MakeSite, config: dict[str, Any], code: str) -> None:
    """Other machines need a password, and TLS so that nobody reads it."""
    with pytest.raises(ConfigError, match=code):
        make_site(**config)
    make_site(MAILTRACK_RELAY_USERS={"shop": HASH}, MAILTRACK_RELAY_LISTEN="[::]:25", MAILTRACK_RELAY_WITHOUT_TLS=True)


def test_a_password_is_known_by_its_hash() -> None:
    """Neither another password, nor another name, nor the hash itself lets anybody in."""
    users = {"shop": HASH, "0": "0" * 64}
    assert admits(users, b"shop", PASSWORD.encode())
    wrong = [(b"shop", HASH.encode()), (b"shop", b""), (b"\xff", PASSWORD.encode()), (b"0", b"0" * 64)]
    assert not any(admits(users, *each) for each in wrong)


def test_the_command(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes passwords, says for whom it takes mail, and does not hand mail to itself."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="localhost", MAIL_PORT=2525)
    invoke = site.app.test_cli_runner().invoke
    made = invoke(args=["mailtrack", "relay", "--new-password", "shop"]).output
    password, hashed = made.split()[1], made.split("'")[3]
    assert admits({"shop": hashed}, b"shop", password.encode())
    assert "E194" in invoke(args=["mailtrack", "relay"]).output
    monkeypatch.setattr(module, "run", lambda door, answer, ready: ready())
    site.app.config["MAIL_PORT"] = 25
    assert invoke(args=["mailtrack", "relay"]).output == "takes mail at 127.0.0.1:2525, for localhost:25\nended\n"
    site.app.config["MAIL_SUPPRESS_SEND"] = True
    assert "for nobody, as MAIL_SUPPRESS_SEND is on" in invoke(args=["mailtrack", "relay"]).output
    monkeypatch.setattr(sys.modules["flask_mailtrack.commands.relay"], "find_spec", lambda name: None)
    assert "pip install 'flask-mailtrack[relay]'" in invoke(args=["mailtrack", "relay"]).output


def test_the_command_says_what_cannot_be_used(make_site: MakeSite) -> None:
    """A port that is taken, and a certificate that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        site = make_site(MAILTRACK_RELAY_LISTEN=address)
        said = site.app.test_cli_runner().invoke(args=["mailtrack", "relay"])
        assert f"{address} cannot be used: " in said.output
    site = make_site(MAILTRACK_RELAY_CERTIFICATE="/nowhere/relay.pem")
    said = site.app.test_cli_runner().invoke(args=["mailtrack", "relay"])
    assert (said.exit_code, "/nowhere/relay.pem cannot be used: No such file" in said.output) == (1, True)
