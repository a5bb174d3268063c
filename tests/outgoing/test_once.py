"""A send key: each address gets the mail of a key once, over crashes, retries and machines."""

from __future__ import annotations

import signal
import smtplib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from copy import copy as copied
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, SECRET, Inbox, MakeSite, Site
from flask_mail import Message
from flask_mailman import EmailMessage as MailmanMessage
from flask_mailman.backends.base import BaseEmailBackend
from mailman_house import open_house
from smtp_server import RawServer, Script

from flask_mailtrack.errors import KeyNotClaimed
from flask_mailtrack.outgoing.copies import PreparedMail
from flask_mailtrack.storage.tables import claims
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.retention import Overdue, Retention

KEY = "order-7-confirmation"
ADA, BOB, CYD = "ada@example.com", "bob@example.com", "cyd@example.com"


def states(site: Site, message: Message) -> dict[str, str]:
    """What became of each recipient, as the host is told."""
    return {copy.recipient: str(copy.status) for copy in site.mailtrack.sent(message)}


def send(site: Site, *to: str, **options: Any) -> tuple[list[str], dict[str, str]]:
    """Send one keyed mail; return who got a copy, and what the host is told."""
    message = Message("Hello", recipients=list(to), html='<a href="https://example.com/">go</a>')
    site.mailtrack.track(message, **{"key": KEY} | options)
    with site.mail.record_messages() as outbox:
        site.mail.send(message)
    return [each for copy in outbox for each in sorted(copy.send_to)], states(site, message)


@pytest.fixture(name="refusing")
def _refusing(make_site: MakeSite) -> Iterator[Callable[[Script], Site]]:
    """Make a site whose mail server answers as told."""
    servers: list[RawServer] = []

    def make(script: Script) -> Site:
        servers.append(RawServer(script).__enter__())
        return make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=servers[-1].port)

    yield make
    for server in servers:
        server.__exit__()


def test_a_retried_task_sends_nothing_twice(site: Site) -> None:
    """The second call with a key sends to new recipients only, and names the copies of the first one."""
    first, told = send(site, ADA)
    row = site.rows("Message")[0]
    assert (first, told) == ([ADA], {ADA: "sent"})
    message = Message("Hello", recipients=[ADA, BOB], html="<p>Hello</p>")
    with site.mail.record_messages() as outbox:
        site.mail.send(site.mailtrack.track(message, key=KEY))
    assert [copy.send_to for copy in outbox] == [{BOB}]
    assert states(site, message) == {ADA: "sent", BOB: "sent"}
    assert site.mailtrack.sent(message)[0].id == row.id
    assert len(site.rows("Message")) == 2


def test_a_key_is_compared_as_it_is(site: Site) -> None:
    """Case, blanks and letters beyond ASCII tell keys apart; an address counts however it is spelled."""
    for key in ("Order 7", "order 7", "order 7 ", "Bestellung ü", "k" * 255):
        assert send(site, "Ada <ADA@example.com>", key=key)[0] != []
        assert send(site, ADA, key=key)[0] == []


@pytest.mark.parametrize(("key", "problem"), [("", "empty"), ("k" * 256, "255"), ("a\nb", "255"), (7, "string")])
def test_a_key_that_names_nothing_is_refused(site: Site, key: Any, problem: str) -> None:
    """An empty key, which is most likely a mistake, or one that is too long, is an error at once."""
    with pytest.raises((ValueError, TypeError), match=problem):
        site.mailtrack.track(Message("Hello", recipients=[ADA]), key=key)


def test_of_two_machines_one_sends(make_site: MakeSite, database_url: str) -> None:
    """Four processes that send at the same moment reach each of five people once."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    people = [f"reader{number}@example.com" for number in range(5)]
    start, won = threading.Barrier(4), []

    def race() -> None:
        other = claims.Claims(site.mailtrack._state_of(site.app).database, site.mailtrack._state_of(site.app).signer)
        start.wait()
        held = other.hold(KEY, dict.fromkeys(people, True))
        won.extend(each for each in people if held.has(each))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == people
    assert send(site, *people, CYD)[0] == [CYD]
    assert [row.status for row in site.rows("Claim")].count("sending") == 5
    site.db.session.rollback()


CRASHES = """
    import os, signal, smtplib
    from flask import Flask
    from flask_mail import Mail, Message
    from flask_sqlalchemy import SQLAlchemy
    from flask_mailtrack import Mailtrack

    app = Flask("host", instance_path={folder!r})
    app.config.update(SECRET_KEY={secret!r}, SQLALCHEMY_DATABASE_URI={url!r}, MAILTRACK_BASE_URL={base!r})
    app.config.update(MAIL_DEFAULT_SENDER="news@example.org", MAIL_SERVER="127.0.0.1", MAIL_PORT={port})
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    smtplib.SMTP.sendmail = lambda *args, **more: os.kill(os.getpid(), signal.SIGKILL)
    with app.app_context():
        mail.send(mailtrack.track(Message("Hello", recipients=["ada@example.com"], html="<p>"), key={key!r}))
"""


def test_a_crash_between_claim_and_smtp_sends_nothing_twice(
    make_site: MakeSite, smtp: Inbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After kill -9 the copy is unknown: it goes out again only if the host says so, and then once."""
    site = make_site()
    url = str(site.app.config["SQLALCHEMY_DATABASE_URI"])
    given = {"folder": str(tmp_path / "crash"), "secret": SECRET, "url": url, "base": BASE_URL, "key": KEY}
    program = textwrap.dedent(CRASHES).format(**given, port=smtp.port)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert send(site, ADA, retry_unknown=True) == ([], {ADA: "sending"})
    late = claims.now() + claims.IN_FLIGHT + timedelta(seconds=1)
    monkeypatch.setattr(claims, "now", lambda: late)
    assert send(site, ADA) == ([], {ADA: "unknown"})
    assert send(site, ADA, retry_unknown=True) == ([ADA], {ADA: "sent"})
    assert send(site, ADA, retry_unknown=True) == ([], {ADA: "sent"})


@pytest.mark.parametrize("parts", [{"html": "<p>Hello</p>"}, {"body": "Hello"}], ids=["a copy each", "one copy"])
def test_what_the_server_refused_may_be_sent_again(refusing: Callable[[Script], Site], parts: dict[str, str]) -> None:
    """Of two recipients one is refused: a retry writes to that one only."""
    refuses = [True]
    site = refusing(Script(rcpt=lambda to, number: "450 later" if "bob" in to and refuses[0] else "250 OK"))
    message = site.mailtrack.track(Message("Hello", recipients=[ADA, BOB], **parts), key=KEY)
    site.mail.send(message)
    assert states(site, message) == {ADA: "sent", BOB: "failed"}
    assert len(site.rows("Claim")) == 1
    refuses[0] = False
    site.mail.send(message)
    assert states(site, message) == {ADA: "sent", BOB: "sent"}


def test_a_server_that_fails_frees_the_key(refusing: Callable[[Script], Site]) -> None:
    """If all fails, the error is raised as ever, and the retry sends; after DATA, nobody knows."""
    answers = iter(["451 broken", "250 queued", None])
    site = refusing(Script(content=lambda argument, number: next(answers)))
    message = site.mailtrack.track(Message("Hello", recipients=[ADA], html="<p>Hello</p>"), key=KEY)
    with pytest.raises(smtplib.SMTPDataError):
        site.mail.send(message)
    assert site.rows("Claim") == []
    site.mail.send(message)
    assert states(site, message) == {ADA: "sent"}
    lost = site.mailtrack.track(Message("Hello", recipients=[BOB], html="<p>Hello</p>"), key=KEY)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        site.mail.send(lost)
    assert states(site, lost) == {BOB: "unknown"}
    site.mail.send(lost)
    assert states(site, lost) == {BOB: "unknown"}


def test_a_rollback_of_the_host_takes_no_claim_back(make_site: MakeSite, database_url: str) -> None:
    """The mail is out, whatever becomes of the host's own rows."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    site.db.session.execute(sa.select(site.mailtrack.models.Message)).all()
    assert send(site, ADA)[0] == [ADA]
    site.db.session.rollback()
    assert send(site, ADA)[0] == []


def test_a_key_that_cannot_be_claimed_stops_the_mail(make_site: MakeSite, tmp_path: Path) -> None:
    """While the host's own transaction locks SQLite, the wait is bounded and the error says what to do."""
    url = f"sqlite:///{tmp_path / 'own.sqlite3'}"
    options = {"connect_args": {"timeout": 0.1}}
    site = make_site(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=options)
    site.db.session.execute(sa.delete(site.mailtrack.models.Link))  # the host has written, and not committed
    message = site.mailtrack.track(Message("Hello", recipients=[ADA], html="<p>Hello</p>"), key=KEY)
    with (
        site.mail.record_messages() as outbox,
        pytest.raises(KeyNotClaimed, match=r"locked.*Commit your own") as stopped,
    ):
        site.mail.send(message)
    assert outbox == []
    assert str(copied(stopped.value)) == str(stopped.value)  # as pickle does, for the queue of a worker
    site.db.session.commit()
    assert send(site, ADA)[0] == [ADA]


def test_without_the_table_the_error_names_the_cure(make_site: MakeSite) -> None:
    """An app that was upgraded without a migration: keyed mail is not sent, other mail is."""
    site = make_site()
    site.mailtrack.models.Claim.__table__.drop(site.db.engine)
    with pytest.raises(KeyNotClaimed, match=r"Run db\.create_all\(\) or a migration"):
        send(site, ADA)
    assert site.send() is not None


def test_a_mail_that_cannot_be_prepared_is_not_sent_without_its_claim(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other mail goes out untracked then; a keyed one would reach those who have it already."""
    monkeypatch.setattr("flask_mailtrack.outgoing.prepare.headers_for", lambda *args: 1 / 0)
    with pytest.raises(KeyNotClaimed):
        send(site, ADA)
    monkeypatch.undo()
    monkeypatch.setattr("flask_mailtrack.outgoing.prepare._Work._kept", lambda *args: 1 / 0)
    with pytest.raises(KeyNotClaimed):
        send(site, ADA)
    monkeypatch.undo()
    assert send(site, ADA)[0] == [ADA]


def test_who_has_left_gets_no_mail_and_keeps_no_claim(site: Site) -> None:
    """A suppressed copy has one row however often it is retried, and is sent once the person is back."""
    site.mailtrack.suppress(ADA, "news")
    assert send(site, ADA, list_id="news") == ([], {ADA: "suppressed"})
    assert send(site, ADA, list_id="news") == ([], {ADA: "suppressed"})
    assert len(site.rows("Message")) == 1
    site.mailtrack.unsuppress(ADA, "news")
    assert send(site, ADA, list_id="news") == ([ADA], {ADA: "sent"})


@pytest.mark.parametrize(
    "options", [{"store": False}, {"mode": "aggregate"}, {"mode": "deliverability"}, {"opens": False}]
)
def test_a_key_counts_whatever_is_tracked(site: Site, options: dict[str, Any]) -> None:
    """Also for mail that must not be kept, or is not tracked, each address gets it once."""
    assert send(site, ADA, BOB, **options)[0] == [ADA, BOB]
    again, told = send(site, ADA, BOB, **options)
    assert (again, told) == ([], {ADA: "sent", BOB: "sent"})


def test_the_block_names_the_key_for_mail_that_a_library_sends(site: Site) -> None:
    """A key of a block is that of each mail inside."""
    for expected in (1, 0):
        with site.mailtrack.options(key=KEY), site.mail.record_messages() as outbox:
            site.mail.send(Message("Welcome", recipients=[ADA], html="<p>Hello</p>"))
        assert len(outbox) == expected


def test_a_rotated_key_still_knows_what_was_sent(make_site: MakeSite) -> None:
    """The claim is a hash under the signing key, and old keys are asked, too."""
    site = make_site()
    assert send(site, ADA)[0] == [ADA]
    url = site.app.config["SQLALCHEMY_DATABASE_URI"]
    later = make_site(tables=False, SQLALCHEMY_DATABASE_URI=url, MAILTRACK_SECRET_KEYS=["n" * 40, SECRET])
    assert send(later, ADA, BOB)[0] == [BOB]
    assert len(later.rows("Claim")) == 2


def test_a_claim_names_nobody_and_goes_with_old_mail(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address and no key stands in the table; a purge of messages takes old claims along."""
    send(site, ADA)
    site.mailtrack.flush()
    text = repr(site.db.session.execute(sa.text("SELECT * FROM mailtrack_claim")).all())
    assert ADA not in text
    assert KEY not in text
    site.mailtrack.erase(ADA)
    assert send(site, ADA)[0] == []
    state = site.mailtrack._state()
    Retention(state.database, {"messages": 1}).purge(Overdue("messages", claims.now() + timedelta(days=1)))
    assert site.rows("Claim") == []


def test_a_host_without_the_table_purges(site: Site) -> None:
    """A host that has not migrated yet deletes old mail as before."""
    send(site, ADA)
    site.mailtrack.flush()
    site.mailtrack.models.Claim.__table__.drop(site.db.engine)
    state = site.mailtrack._state()
    old = Overdue("messages", claims.now() + timedelta(days=1))
    assert Retention(state.database, {"messages": 1}).purge(old) == 1


def test_a_claim_that_another_process_gives_back_is_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when ours was inserted, and gone when it was read: we insert once more, or say that we cannot."""
    pour, given_back = Database.pour, [True]

    def pours(database: Database, connection: Any, table: Any, *rows: Any) -> None:
        if table is not database.claim or not given_back or not given_back.pop():
            pour(database, connection, table, *rows)

    monkeypatch.setattr(Database, "pour", pours)
    assert send(site, ADA) == ([ADA], {ADA: "sent"})
    given_back.extend([True] * 9)
    with pytest.raises(KeyNotClaimed, match="at this moment"):
        send(site, BOB)


def test_a_fate_that_was_not_written_is_learnt_from_the_row(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database goes away after SMTP, the row of the mail knows later what became of it."""
    monkeypatch.setattr(claims.Claims, "settle", lambda *args: None)
    assert send(site, ADA, BOB)[0] == [ADA, BOB]
    monkeypatch.undo()
    site.mailtrack.flush()
    assert {row.status for row in site.rows("Claim")} == {"sending"}
    change = sa.update(site.mailtrack.models.Message).where(site.mailtrack.models.Message.recipient == BOB)
    site.db.session.execute(change.values(status="failed"))
    site.db.session.commit()
    assert send(site, ADA, BOB) == ([BOB], {ADA: "sent", BOB: "sent"})


def test_prepared_copies_are_claimed_until_their_fate_is_told(site: Site) -> None:
    """A copy that is sent stays claimed, a failed one is free, and so is one that nobody asked for."""

    def prepare() -> PreparedMail:
        raw = b"From: a@example.com\r\nTo: ada@example.com, bob@example.com, cyd@example.com\r\n\r\nHello"
        return site.mailtrack.prepare(raw, key=KEY, unsubscribe=True)

    first, second, *_ = prepare()
    first.sent()
    second.failed("over quota")
    assert prepare().mailing is not None  # and nobody iterates
    told = {}
    for copy in prepare():
        copy.sent()
        told[copy.recipients[0]] = True
    assert sorted(told) == [BOB]
    again = prepare()
    assert list(again) == []
    assert {row.recipient: str(row.status) for row in again.rows} == {ADA: "sent", BOB: "sent", CYD: "unknown"}


def test_the_standard_librarys_client_sends_once(site: Site, smtp: Inbox) -> None:
    """``send_message`` a second time reaches nobody, and returns no refused recipient."""
    for _ in range(2):
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "news@example.com", ADA, "Hello"
        message.set_content("Hello")
        with site.mailtrack.smtp("127.0.0.1", smtp.port) as server:
            assert server.send_message(site.mailtrack.track(message, key=KEY)) == {}
        assert [copy.status for copy in site.mailtrack.sent(message)] == ["sent"]
    assert len(smtp.envelopes) == 1


def test_flask_mailman_sends_once(tmp_path: Path) -> None:
    """A message that has reached somebody before counts as one that does."""
    with open_house(tmp_path) as house:
        for _ in range(2):
            assert house.mailtrack.track(MailmanMessage("Hello", "Hello", to=[ADA]), key=KEY).send() == 1
        assert len(house.outbox) == 1


class ByHttp(BaseEmailBackend):
    """A backend that speaks to a service, whose answer does not come."""

    def send_messages(self, messages: Any) -> int:
        try:
            raise TimeoutError("read timed out")
        except TimeoutError as error:
            raise LookupError("the client of the service") from error


def test_a_backend_that_gets_no_answer_leaves_the_copy_unknown(tmp_path: Path) -> None:
    """Where nobody can watch the dialogue, a lost connection may mean a mail that was taken: no second copy."""
    with open_house(tmp_path) as house:
        message = house.mailtrack.track(MailmanMessage("Hello", "Hello", to=[ADA]), key=KEY)
        message.connection = house.mail.get_connection(backend=ByHttp)
        with pytest.raises(LookupError):
            message.send()
        assert message.send() == 0
        assert [str(copy.status) for copy in house.mailtrack.sent(message)] == ["unknown"]


def test_a_task_that_is_stopped_right_behind_the_content_leaves_the_copy_unknown(
    make_site: MakeSite, smtp: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time limit may strike between the server's answer and the end of the call: the mail is out."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)
    sendmail = smtplib.SMTP.sendmail

    def stopped(client: smtplib.SMTP, *args: Any) -> None:
        sendmail(client, *args)
        raise RuntimeError("time limit")

    monkeypatch.setattr(smtplib.SMTP, "sendmail", stopped)
    message = site.mailtrack.track(Message("Hello", recipients=[ADA], html="<p>Hello</p>"), key=KEY)
    with pytest.raises(RuntimeError):
        site.mail.send(message)
    assert (states(site, message), len(smtp.envelopes)) == ({ADA: "unknown"}, 1)


def test_switched_off_each_call_sends_and_says_so(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """With MAILTRACK_ENABLED off there is no table to claim in: the log says that nothing is claimed."""
    site = make_site(tables=False, MAILTRACK_ENABLED=False)
    assert [send(site, ADA)[0] for _ in range(2)] == [[ADA], [ADA]]
    assert "'order-7-confirmation' is not claimed" in caplog.text
