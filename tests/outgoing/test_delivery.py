"""What became of each recipient's copy, on servers that refuse, hang up and give up."""

from __future__ import annotations

import gc
import os
import re
import smtplib
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa
from conftest import Inbox, MakeSite, Site
from flask_mail import Mail, Message, email_dispatched
from hypothesis import given
from hypothesis import strategies as st
from smtp_server import Answer, RawServer, Script

from flask_mailtrack import signals
from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.events import SentMessage, Status, new_id, now
from flask_mailtrack.outgoing import links, prepare
from flask_mailtrack.outgoing.delivery import Delivery, SendLog
from flask_mailtrack.outgoing.headers import MAX_LINE
from flask_mailtrack.outgoing.mail import TrackedCopy, _lines_fit
from flask_mailtrack.outgoing.office import _sent
from flask_mailtrack.outgoing.watch import MAX_REPLY

THREE = ["ada@example.com", "bob@example.com", "cyd@example.com"]
Connect = Callable[[Script], tuple[Site, RawServer]]


@pytest.fixture(name="connect")
def _connect(make_site: MakeSite) -> Iterator[Connect]:
    """Start a scripted server and a site that sends to it."""
    servers: list[RawServer] = []

    def connect(script: Script) -> tuple[Site, RawServer]:
        server = RawServer(script).__enter__()
        servers.append(server)
        return make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port), server

    yield connect
    for server in servers:
        server.__exit__()


def states(site: Site) -> dict[str, tuple[str, str]]:
    """Status and error by recipient."""
    return {row.recipient: (row.status, row.error) for row in site.rows("Message")}


def only(address: str, answer: Answer) -> Callable[[str, int], Answer]:
    """Give *answer* to one recipient and 250 to the others."""
    return lambda argument, number: answer if address in argument else "250 OK"


def message(to: list[str]) -> Message:
    return Message("Hello", recipients=to, html="<p>Hello</p>")


def test_one_refused_recipient_is_known_and_the_others_get_their_mail(connect: Connect) -> None:
    """A server that refuses one of three: two rows say sent, one says failed with the server's own words."""
    site, server = connect(Script(rcpt=only("bob@", "550 5.1.1 no such user")))
    site.mail.send(message(THREE))
    assert states(site) == {
        "ada@example.com": ("sent", ""),
        "bob@example.com": ("failed", "550 5.1.1 no such user"),
        "cyd@example.com": ("sent", ""),
    }
    assert [recipients for recipients, _ in server.accepted] == [["TO:<ada@example.com>"], ["TO:<cyd@example.com>"]]


def test_a_host_learns_the_rows_of_its_send(connect: Connect) -> None:
    """After a send, each copy is there with the id of its row, its address, its status and the server's words."""
    site, _ = connect(Script(rcpt=only("bob@", "550 5.1.1 no such user")))
    site.mailtrack.suppress("cyd@example.com", "news")
    letter = site.mailtrack.track(message(THREE), list_id="news")
    assert site.mailtrack.sent(letter) == ()
    with site.app.app_context():
        site.mail.send(letter)
    told = site.mailtrack.sent(letter)
    assert {copy.recipient: (copy.status, copy.error) for copy in told} == {
        "ada@example.com": (Status.SENT, ""),
        "bob@example.com": (Status.FAILED, "550 5.1.1 no such user"),
        "cyd@example.com": (Status.SUPPRESSED, ""),
    }
    rows = {row.id: row.recipient for row in site.rows("Message")}
    assert {copy.id: copy.recipient for copy in told} == rows


def test_a_host_learns_the_rows_of_a_send_that_failed(connect: Connect) -> None:
    """The rows are told, too, if the call ended with the exception of the server."""
    site, _ = connect(Script(rcpt=only("@", "550 5.1.1 no such user")))
    letter = message(THREE)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        site.mail.send(letter)
    assert [(copy.recipient, copy.status) for copy in site.mailtrack.sent(letter)] == [
        (address, Status.FAILED) for address in THREE
    ]


def test_what_was_sent_is_forgotten_with_the_message(connect: Connect) -> None:
    """Nothing is kept of a message that nobody holds any more, and another message never answers for it."""
    site, _ = connect(Script())
    letter = message(THREE)
    site.mail.send(letter)
    key = id(letter)
    assert key in _sent
    del letter
    gc.collect()
    assert key not in _sent
    assert site.mailtrack.sent(message(THREE)) == ()


def test_all_refused_is_the_same_exception_as_without_us(connect: Connect) -> None:
    """When nobody is accepted the host sees smtplib's own exception, with every recipient in it."""
    script = Script(rcpt=lambda argument, number: "550 no")
    site, _ = connect(script)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as ours:
        site.mail.send(message(THREE))
    with RawServer(script) as plain:
        site.app.extensions["mail"].port = plain.port
        untouched = Mail()
        untouched.app = site.app
        with pytest.raises(smtplib.SMTPRecipientsRefused) as theirs:
            untouched.send(message(THREE))
    assert ours.value.recipients == theirs.value.recipients
    assert {status for status, _ in states(site).values()} == {"failed"}


def test_a_connection_lost_after_data_is_unknown_and_never_sent_again(connect: Connect) -> None:
    """Nobody can know whether a copy arrived whose connection broke after the content: it is not repeated."""
    site, server = connect(Script(content=lambda argument, number: None if number == 2 else "250 queued"))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        site.mail.send(message(THREE))
    found = states(site)
    assert [found[a][0] for a in THREE] == ["sent", "unknown", "sent"]
    assert "connection lost after DATA" in found["bob@example.com"][1]
    assert len(server.accepted) == 2


def test_a_connection_lost_before_data_is_a_failure(connect: Connect) -> None:
    """A server that hangs up before it saw the content has not got the mail."""
    site, _ = connect(Script(rcpt=lambda argument, number: None))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        site.mail.send(message(THREE[:1]))
    ((status, error),) = states(site).values()
    assert status == "failed"
    assert "SMTPServerDisconnected" in error


def test_421_between_two_copies_is_answered_by_a_new_connection(connect: Connect) -> None:
    """A limit of messages per connection, which only our splitting reaches, costs nobody their mail."""
    site, server = connect(Script(mail=lambda argument, number: "421 too many" if number == 3 else "250 OK"))
    site.mail.send(message(THREE))
    assert {status for status, _ in states(site).values()} == {"sent"}
    assert server.connections == 2
    assert len(server.accepted) == 3


def test_421_on_the_third_message_of_a_connection_is_the_hosts_to_see(connect: Connect) -> None:
    """In a loop of the host's own, the third message fails with the server's answer, as without us."""
    site, _ = connect(Script(mail=lambda argument, number: "421 too many" if number == 3 else "250 OK"))

    def loop() -> None:
        with site.mail.connect() as connection:
            for address in THREE:
                connection.send(message([address]))

    with pytest.raises(smtplib.SMTPServerDisconnected) as seen:
        loop()
    # Flask-Mail says goodbye on the dead connection, and that is what a host sees first, with us or without.
    assert isinstance(seen.value.__context__, smtplib.SMTPSenderRefused)
    assert [states(site)[a][0] for a in THREE] == ["sent", "sent", "failed"]
    assert states(site)["cyd@example.com"][1] == "421 too many"


def test_a_refused_content_is_a_failure_with_the_servers_words(connect: Connect) -> None:
    """A copy that is refused after DATA failed; the server said so, and the host sees its exception."""
    site, _ = connect(Script(content=lambda argument, number: "554 spam" if number == 1 else "250 queued"))
    with pytest.raises(smtplib.SMTPDataError):
        site.mail.send(message(THREE[:2]))
    assert states(site) == {"ada@example.com": ("failed", "554 spam"), "bob@example.com": ("sent", "")}


def many(code: int, line: str, bytes_: int) -> str:
    """An answer of that many bytes, in lines that smtplib reads."""
    lines = [f"{code}-{line}"] * (bytes_ // (len(line) + 6))
    return "\r\n".join([*lines, f"{code} {line}"])


@pytest.mark.parametrize("bytes_", [70_000, 17_000_000])
def test_a_reply_without_end_is_cut_and_cleaned(database_url: str, make_site: MakeSite, bytes_: int) -> None:
    """What a server says is kept in one line of 500 characters, without a NUL or a control character."""
    answer = many(554, "no\0 \x1b[31mspam \x9b\u202eö " + "x" * 900, bytes_)
    with RawServer(Script(content=lambda argument, number: answer)) as server:
        mail = {"MAIL_SUPPRESS_SEND": False, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": server.port}
        site = make_site(SQLALCHEMY_DATABASE_URI=database_url, **mail)
        with pytest.raises(smtplib.SMTPDataError):
            site.mail.send(message(THREE[:1]))
        site.mailtrack.flush()
        ((status, error),) = states(site).values()
        site.db.session.rollback()
    assert status == "failed"
    assert error.startswith("554 no [31mspam ö xxx")
    assert len(error) == MAX_REPLY
    assert error.isprintable()


def test_unsplit_mail_still_has_a_state_for_each_recipient(make_site: MakeSite) -> None:
    """With one envelope for all, what smtplib knows of each recipient is kept, and the rows say they are shared."""
    with RawServer(Script(rcpt=only("bob@", "550 no"))) as server:
        site = make_site(
            MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port, MAILTRACK_SPLIT=False
        )
        site.mail.send(message(THREE))
        assert len(server.accepted) == 1
    assert [states(site)[a][0] for a in THREE] == ["sent", "failed", "sent"]
    assert all(row.shared for row in site.rows("Message"))


def test_mail_with_nothing_personal_is_one_transaction(connect: Connect) -> None:
    """The server sees one message to all three, and each row says what became of its person."""
    site, server = connect(Script(rcpt=only("bob@", "550 no")))
    site.mail.send(Message("Hello", recipients=THREE, body="Hello"))
    assert [len(recipients) for recipients, _ in server.accepted] == [2]
    assert [states(site)[a] for a in THREE] == [("sent", ""), ("failed", "550 no"), ("sent", "")]


def test_mail_with_nothing_personal_that_all_refuse_raises_as_without_us(connect: Connect) -> None:
    """Smtplib's own exception names every recipient, and each row has failed."""
    site, _ = connect(Script(rcpt=only("@", "550 no")))
    with pytest.raises(smtplib.SMTPRecipientsRefused) as ours:
        site.mail.send(Message("Hello", recipients=THREE, body="Hello"))
    assert set(ours.value.recipients) == set(THREE)
    assert [states(site)[a] for a in THREE] == [("failed", "550 no")] * 3


def test_a_failing_listener_does_not_unsend_a_mail(connect: Connect) -> None:
    """What a receiver of Flask-Mail's signal raises reaches the host, and the row says what is true: sent."""
    site, server = connect(Script())

    def listener(app: object, message: Message) -> None:
        raise RuntimeError("the listener's own trouble")

    with email_dispatched.connected_to(listener), pytest.raises(RuntimeError):
        site.mail.send(message(THREE[:1]))
    assert states(site) == {"ada@example.com": ("sent", "")}
    assert len(server.accepted) == 1


def test_each_copy_has_one_recipient_and_the_same_headers(make_site: MakeSite, smtp: Inbox) -> None:
    """To and Cc are what the author wrote on every copy, Bcc is on none, and each envelope has one name."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)
    site.send(to=["ada@example.com"], cc=["bob@example.com"], bcc=["secret@example.com"])
    assert [e.recipients for e in smtp.envelopes] == [["ada@example.com"], ["bob@example.com"], ["secret@example.com"]]
    for envelope in smtp.envelopes:
        assert b"\r\nTo: ada@example.com\r\n" in envelope.content
        assert b"\r\nCc: bob@example.com\r\n" in envelope.content
        assert b"secret" not in envelope.content
    tokens = [e.content.split(b"/m/o/")[1][:68] for e in smtp.envelopes]
    assert len(set(tokens)) == 3


def test_the_callers_message_is_never_changed(site: Site) -> None:
    """Sent twice, a message makes two batches of fresh links; nothing of the first is in the second."""
    html = '<a href="https://example.com/">x</a>'
    original = Message("Hi", recipients=["ada@example.com"], html=html, extra_headers={"X-Mailtrack": "tag=a"})
    before = dict(vars(original), alts=dict(original.alts), extra_headers=dict(original.extra_headers or {}))
    with site.mail.record_messages() as outbox:
        site.mail.send(original)
        site.mail.send(original)
    assert vars(original) | {"date": None} == before  # when it was sent is told to the host, as Flask-Mail does
    first, second = (sent.html for sent in outbox)
    assert first.count("/m/c/") == second.count("/m/c/") == second.count("/m/o/") == 1
    rows = site.rows("Message")
    assert len({row.batch_id for row in rows}) == 2
    assert {row.tag for row in rows} == {"a"}


def test_a_sent_copy_sent_again_is_not_wrapped_again(site: Site) -> None:
    """A host that sends again what it recorded sends the same copy, with the links it had."""
    copy = site.send('<a href="https://example.com/">x</a>')
    with site.mail.record_messages() as outbox:
        site.mail.send(copy)
    assert outbox[0].html == copy.html
    assert len(site.rows("Message")) == 1


def test_a_thousand_octets_in_a_line_become_quoted_printable(make_site: MakeSite, smtp: Inbox) -> None:
    """A line longer than SMTP allows is encoded, and read back it is what the author wrote."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)
    long = "wörd " * 400
    site.send(f"<p>{long}</p>", body=long)
    (envelope,) = smtp.envelopes
    assert max(map(len, envelope.content.split(b"\r\n"))) <= 998
    assert envelope.content.count(b"Content-Transfer-Encoding: quoted-printable") == 2


def test_a_suppressed_recipient_is_not_in_any_envelope(make_site: MakeSite, smtp: Inbox) -> None:
    """Who has unsubscribed gets no copy, has a row that says why, and the others get theirs."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)
    site.send(to=["ada@example.com"], list_id="news")
    link = smtp.envelopes[0].content.split(b"List-Unsubscribe: <")[1].split(b">")[0].decode()
    site.client.post(link.removeprefix("https://links.example.com"))
    site.send(to=["Ada <ADA@example.com>", "bob@example.com"], list_id="news")
    assert [e.recipients for e in smtp.envelopes[1:]] == [["bob@example.com"]]
    assert [row.status for row in site.rows("Message")].count("suppressed") == 1


def test_a_server_that_takes_nothing_does_not_fill_the_memory(make_site: MakeSite) -> None:
    """What is kept of a failed copy is its fate, not its body: 300 refused copies of 100 KB need no 30 MB."""
    with RawServer(Script(rcpt=lambda argument, number: "550 no")) as server:
        site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=server.port)
        many = Message("Hi", bcc=[f"reader{n}@example.com" for n in range(300)], html="x" * 100_000)
        tracemalloc.start()
        try:
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                site.mail.send(many)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(refused.value.recipients) == 300
    assert peak < 10_000_000


@pytest.mark.parametrize("by_name", [True, False])
def test_each_row_has_what_was_said_of_its_own_person(by_name: bool) -> None:
    """In one copy for several people nobody's row holds another's address, or a control character of the server's."""
    rows = [SentMessage(new_id(), new_id(), to, "", "", "", now()) for to in ("ada@example.com", "bob@example.com")]
    fates: dict[str, tuple[str, str]] = {}

    class Page(SendLog):
        def __init__(self) -> None: ...

        def fate(self, rows: Iterable[SentMessage], status: Status, error: str = "") -> None:
            fates.update({row.recipient: (status.value, error) for row in rows})

    def transmit(*_: Any) -> None:
        if by_name:
            refused = {r.recipient: (550, f"5.1.1 <{r.recipient}>\x1b[31m\r\nno".encode()) for r in rows}
            raise smtplib.SMTPRecipientsRefused(refused)
        raise smtplib.SMTPDataError(554, b"<Ada@example.com> and <bob@example.com>\x00 are spam")

    connection = SimpleNamespace(host=None)
    Delivery(connection, transmit, Page()).send(None, cast(Any, SimpleNamespace(rows=rows, recipients=())))
    if by_name:
        assert fates == {r.recipient: ("failed", f"550 5.1.1 <{r.recipient}> [31m no") for r in rows}
    else:
        assert fates["ada@example.com"] == ("failed", "554 <Ada@example.com> and <> are spam")
        assert fates["bob@example.com"] == ("failed", "554 <> and <bob@example.com> are spam")


HTML = '<a href="https://example.com/">x</a>'
FIVE = [f"reader{n}@example.com" for n in range(5)]


def test_a_newsletter_is_never_in_memory_as_a_whole(make_site: MakeSite) -> None:
    """A send to many holds one copy at a time: 300 copies of 100 KB need no 30 MB."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual")
    html = f"<p>{'x' * 100_000}</p>{HTML}"
    site.mail.send(Message("Hi", recipients=FIVE, html=html))
    tracemalloc.start()
    try:
        site.mail.send(Message("Hi", bcc=[f"reader{n}@example.com" for n in range(300)], html=html))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"list_id": "news"},
    ],
)
def test_a_send_to_ten_thousand_asks_the_database_in_few_questions(
    make_site: MakeSite, options: dict[str, Any]
) -> None:
    """Who has refused what is asked for all recipients at once, and nothing else is asked for each of them."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual")
    asked: list[str] = []
    sa.event.listen(
        site.db.engine, "before_cursor_execute", lambda c, cursor, statement, *rest: asked.append(statement)
    )
    message = Message("Hi", bcc=[f"reader{n}@example.com" for n in range(10_000)], html=HTML)
    site.mail.send(site.mailtrack.track(message, **options) if options else message)
    about = [query for query in asked if "mailtrack_" in query]
    # What the operator has set is asked for again every few seconds, however many copies there are.
    of_operator = [query for query in about if "mailtrack_setting" in query or "mailtrack_domain" in query]
    assert 0 < len(about) - len(of_operator) <= 10


def test_rows_sort_in_the_order_of_the_recipients(site: Site) -> None:
    """Whoever reads the rows of one send by their ids reads them as the author wrote the addresses."""
    site.send(HTML, to=[*FIVE, "ada@example.com"], list_id="news")
    assert [row.recipient for row in site.rows("Message")] == [*FIVE, "ada@example.com"]


def test_each_row_is_in_the_spool_before_its_copy_leaves(make_site: MakeSite) -> None:
    """When a copy is handed over, its row says "sending", and the fate of the one before is known."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual")
    seen: list[list[str]] = []

    def listener(app: object, message: Message) -> None:
        site.mailtrack.flush()
        seen.append([f"{row.recipient[6]} {row.status}" for row in site.rows("Message")])

    with email_dispatched.connected_to(listener):
        site.mail.send(Message("Hi", recipients=FIVE[:3], html=HTML))
    assert seen == [["0 sending"], ["0 sent", "1 sending"], ["0 sent", "1 sent", "2 sending"]]
    site.mailtrack.flush()
    assert [row.status for row in site.rows("Message")] == ["sent", "sent", "sent"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_killed_process_leaves_what_it_did_not_live_to_see_as_sending(make_site: MakeSite, tmp_path: Path) -> None:
    """Of a process that dies after handing over the second copy, the first is sent, the second perhaps."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual", MAILTRACK_SPOOL_DIR=str(tmp_path / "spool"))

    def listener(app: object, message: Message) -> None:
        if message.send_to == {FIVE[1]}:
            os._exit(9)

    if not (child := os.fork()):
        try:
            with email_dispatched.connected_to(listener):
                site.mail.send(Message("Hi", recipients=FIVE[:3], html=HTML))
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    site.mailtrack.flush()
    assert [(row.recipient, row.status) for row in site.rows("Message")] == [(FIVE[0], "sent"), (FIVE[1], "sending")]


def test_a_bug_in_the_middle_costs_the_tracking_of_the_rest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the third of five copies cannot be made, it and the rest go out as written, and each row says what is true."""
    pixel, made, told = links.Links.pixel, [], []

    def broken(self: links.Links) -> str:
        made.append(self)
        return pixel(self) if len(made) < 3 else 1 / 0

    monkeypatch.setattr(links.Links, "pixel", broken)

    def receiver(app: object, *, reason: str, error: Exception) -> None:
        told.append(reason)

    with signals.tracking_failed.connected_to(receiver):
        sent = site.send(HTML, to=FIVE)
    assert [copy.html == HTML for copy in sent] == [False, False, True, True, True]
    rows = site.rows("Message")
    assert [(row.status, row.tracks_opens, row.tracks_clicks) for row in rows[:2]] == [("sent", True, True)] * 2
    assert [(row.status, row.tracks_opens, row.tracks_clicks) for row in rows[2:]] == [("sent", False, False)] * 3
    assert [row.error for row in rows] == ["", "", *["untracked: prepare"] * 3]
    assert told == ["prepare"]
    assert len(made) == 3


def test_what_goes_wrong_for_all_comes_up_before_anything_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even a plain copy can be made, a mail leaves as the author wrote it, and a list mail not at all."""
    monkeypatch.setattr(prepare._Work, "_links", lambda *args: 1 / 0)
    assert site.send(HTML).html == HTML
    with site.mail.record_messages() as outbox, pytest.raises(OptOutsUnavailable):
        site.mail.send(site.mailtrack.track(Message("Hi", recipients=FIVE, html=HTML), list_id="news"))
    assert outbox == []
    assert site.rows("Message") == []


BOUNDARY = re.compile(rb"=_[0-9a-f]{32}|={15}\d{19}==")


@pytest.mark.parametrize(
    "parts",
    [
        {"body": "x"},
        {"html": HTML},
        {"html": "Größe\r\n" * 50, "body": "Größe", "charset": "iso-8859-1"},
        {"html": "<p>いろは</p>", "alts": {"x-amp-html": "<html ⚡4email></html>"}, "body": "いろは"},
        {"body": "x", "attachments": True},
        {"html": HTML, "body": "x", "attachments": True},
    ],
)
def test_a_copy_is_what_flask_mail_makes_of_it_but_for_the_boundary(site: Site, parts: dict[str, Any]) -> None:
    """The bytes that leave are those of a plain Flask-Mail message; only what separates the parts is ours."""
    attached = parts.pop("attachments", False)
    message = Message("Hi", recipients=["ada@example.com"], **parts)
    if attached:
        message.attach("a.txt", "text/plain", b"attached")
    message.date = 0.0
    with site.mail.record_messages() as outbox:
        site.mail.send(site.mailtrack.track(message, opens=False, clicks=False))
    ours, theirs = outbox[0].as_bytes(), message.as_bytes()
    assert type(outbox[0]) is TrackedCopy
    names = [{found: b"%d" % n for n, found in enumerate(dict.fromkeys(BOUNDARY.findall(b)))} for b in (ours, theirs)]
    plain = [BOUNDARY.sub(lambda m, n=n: n[m[0]], b) for n, b in zip(names, (ours, theirs), strict=True)]
    # Where a line of a header ends depends on the length of the boundary.
    assert plain[0].replace(b";\r\n b", b"; b") == plain[1].replace(b";\r\n b", b"; b")
    assert len(names[0]) == len(names[1]) == ours.count(b"boundary=")


LINES = st.lists(st.sampled_from([b"x" * 997, b"x" * 998, b"x" * 499, b"x", b"\n", b"\r", b"\r\n", b""]), max_size=12)


@given(LINES.map(b"".join))
def test_long_lines_are_found(octets: bytes) -> None:
    """A line too long for SMTP is found wherever it stands, whatever ends it, and no other is."""
    assert _lines_fit(octets) == (max(map(len, octets.splitlines()), default=0) <= MAX_LINE)


def test_the_message_of_the_host_knows_when_it_was_sent(site: Site) -> None:
    """After the send the object of the author has the date of its copies, as without us, and keeps one that it had."""
    message = Message("Hello", recipients=["ada@example.com", "bob@example.com"], html="<p>Hello</p>")
    with site.mail.record_messages() as outbox:
        site.mail.send(message)
    assert message.date is not None
    assert [each.date for each in outbox] == [message.date, message.date]
    message.date = 5.0
    site.mail.send(message)
    assert message.date == 5.0
