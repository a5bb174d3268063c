"""Flask-Mailman instead of Flask-Mail: its own backends and messages, and mail that another extension sends by it."""

from __future__ import annotations

import email
import email.policy
import gc
import pickle
import smtplib
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, Inbox
from flask import Flask
from flask_mailman import EmailMessage as MailmanMessage
from flask_mailman import EmailMultiAlternatives
from flask_mailman import Mail as Mailman
from flask_security import Security, SQLAlchemyUserDatastore
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy
from mailman_house import House, open_house
from smtp_server import RawServer, Script

from flask_mailtrack import Mailtrack
from flask_mailtrack.errors import ConfigError, OptOutsUnavailable
from flask_mailtrack.outgoing.options import Options
from flask_mailtrack.testing import Reader

PAGE = '<p>Hello <a href="https://shop.example/offer">Our offer</a></p>'

Make = Callable[..., House]


@pytest.fixture(name="make")
def _make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as opened:
        numbers = count()

        def make(**config: Any) -> House:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            return opened.enter_context(open_house(folder, **config))

        yield make


def message(*to: str, **parts: Any) -> EmailMultiAlternatives:
    """A mail with a text and a page."""
    made = EmailMultiAlternatives("Hello", "Hello", to=list(to), **parts)
    made.attach_alternative(PAGE, "text/html")
    return made


def over_smtp(port: int) -> dict[str, Any]:
    return {"MAIL_BACKEND": "smtp", "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port}


def parsed(content: bytes) -> EmailMessage:
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def test_each_recipient_gets_a_tracked_copy(make: Make, smtp: Inbox) -> None:
    """Over real SMTP, with Cc and Bcc; the options are those of the message, and a click finds its row."""
    house = make(**over_smtp(smtp.port))
    mail = message("Ada <ada@example.com>", cc=["bob@example.com"], bcc=["cyd@example.com"])
    assert house.mailtrack.track(mail, tag="offer").send() == 1
    assert [each.recipients for each in smtp.envelopes] == [
        ["ada@example.com"],
        ["bob@example.com"],
        ["cyd@example.com"],
    ]
    assert all(b"cyd@" not in each.content for each in smtp.envelopes)
    reader = Reader(house.app.test_client(), parsed(smtp.envelopes[1].content))
    assert reader.click("Our offer").location == "https://shop.example/offer"
    (event,) = house.db.session.execute(sa.select(house.mailtrack.models.Event)).scalars()
    bob = {copy.recipient: copy.id for copy in house.mailtrack.sent(mail)}["bob@example.com"]
    assert (event.type, event.message_id, event.message.tag) == ("clicked", bob, "offer")
    assert set(house.states().values()) == {"sent"}


def test_a_text_alone_keeps_its_lines(make: Make, smtp: Inbox) -> None:
    """A mail that has nothing to track leaves as Flask-Mailman writes it, but for the copy's own envelope."""
    make(**over_smtp(smtp.port))
    plain = MailmanMessage(
        "Hello", "Grüße\nfrom us", to=["ada@example.com"], headers={"Message-ID": "<1@x>", "Date": "x"}
    )
    plain.send()
    assert smtp.envelopes[0].content == plain.message().as_bytes(linesep="\r\n") + b"\r\n"


def test_a_list_is_asked_and_can_be_left(make: Make) -> None:
    """The outbox of tests has the copies; who has left gets none, and the others do."""
    house = make()
    for _ in range(2):
        house.mailtrack.track(message("ada@example.com", "bob@example.com"), list_id="news").send()
        if len(house.outbox) == 2:
            assert Reader(house.app.test_client(), house.outbox[0].message()).unsubscribe().status_code == 200
    assert [each.recipients() for each in house.outbox] == [
        ["ada@example.com"],
        ["bob@example.com"],
        ["bob@example.com"],
    ]
    assert "/u/" in house.outbox[0].body


def test_every_way_to_a_backend_is_tracked(make: Make) -> None:
    """By the state, by the host's object, by a name, by a class, in a connection that the host holds."""
    house = make()
    state = house.app.extensions["mailman"]
    for connection in (
        state.get_connection(),
        house.mail.get_connection(),
        house.mail.get_connection("locmem"),
        state.get_connection("flask_mailman.backends.locmem.EmailBackend"),
        house.mail.get_connection(state.backend),
    ):
        assert connection.send_messages([message("ada@example.com")]) == 1
    house.mail.send_mail("Hello", "Hello", None, ["ada@example.com"], html_message=PAGE)
    assert len(house.outbox) == 6
    assert all(Reader(house.app.test_client(), each.message()).has_pixel for each in house.outbox)


def test_a_sent_copy_that_is_sent_again_is_not_wrapped_again(make: Make) -> None:
    """A host that sends again what it finds in its outbox sends the links that are in it."""
    house = make()
    message("ada@example.com").send()
    again = house.outbox[0]
    again.send()
    assert house.outbox[1].message().as_bytes() == again.message().as_bytes()
    assert house.states() == {"ada@example.com": "sent"}


def test_what_the_server_refuses_is_told(make: Make) -> None:
    """Nobody reached: the error of the backend; somebody reached: none; silent: a count of 0."""
    with RawServer(Script(rcpt=lambda argument, number: "550 no" if "bob" in argument else "250 OK")) as server:
        house = make(**over_smtp(server.port))
        assert message("ada@example.com", "bob@example.com").send() == 1
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            message("bob@example.com").send()
        assert message("bob@example.com").send(fail_silently=True) == 0
    assert house.states() == {"ada@example.com": "sent", "bob@example.com": "failed"}
    assert server.connections == 3


def test_an_unreadable_list_stops_its_mail_also_silently(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has left must not get mail because a database is away."""
    house = make()
    monkeypatch.setattr(
        house.mailtrack._state().optouts, "among", lambda *_: (_ for _ in ()).throw(OptOutsUnavailable("away"))
    )
    with pytest.raises(OptOutsUnavailable):
        house.mailtrack.track(message("ada@example.com"), list_id="news").send(fail_silently=True)
    assert not hasattr(house.app.extensions["mailman"], "outbox") or house.outbox == []


def test_another_app_is_left_alone(make: Make, tmp_path: Path) -> None:
    """An app without Mailtrack in the same process sends as before; an app that is gone is freed."""
    make()
    app = Flask("other")
    app.config.update(TESTING=True, MAIL_DEFAULT_SENDER="a@example.org")
    Mailman(app)
    with app.app_context():
        message("ada@example.com").send()
        assert "/o/" not in str(app.extensions["mailman"].outbox[0].message())
    (tmp_path / "third").mkdir()
    third = weakref.ref(House(tmp_path / "third", MAILTRACK_DRAIN="manual").app)
    gc.collect()
    assert third() is None


def test_the_order_of_set_up_is_checked(tmp_path: Path) -> None:
    """The app's Mailman comes first, as Flask-Mail would."""
    app = Flask("late", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY="x" * 32, SQLALCHEMY_DATABASE_URI="sqlite://", MAILTRACK_BASE_URL=BASE_URL)
    db = SQLAlchemy(app)
    with pytest.raises(ConfigError, match="E204"):
        Mailtrack(app, mail=Mailman(), db=db)


def test_options_stay_on_the_message(make: Make) -> None:
    """A message that is sent twice has its options both times."""
    house = make()
    mail = house.mailtrack.track(message("ada@example.com"), tag="twice")
    mail.send()
    mail.send()
    assert vars(mail)["_mailtrack_options"] == Options(tag="twice")
    rows = house.db.session.execute(sa.select(house.mailtrack.models.Message.tag)).scalars().all()
    assert rows == ["twice", "twice"]


class ByAttributes:
    """A backend for a service that takes a mail as fields, has no connection, and returns nothing."""

    calls: ClassVar[list[Any]] = []

    def __init__(self, mailman: Any, fail_silently: bool = False, **_: Any) -> None:
        self.mailman = mailman

    def send_messages(self, messages: Any) -> None:
        self.calls += [(each.to, each.cc, each.bcc, each.body, each.alternatives[0][0]) for each in messages]


@pytest.mark.parametrize("backend", [ByAttributes, partial(ByAttributes)], ids=["class", "factory"])
def test_a_backend_that_reads_attributes_sends_each_copy_once(make: Make, backend: Any) -> None:
    """To its own recipient alone, with the links of that recipient; what returns nothing has been sent."""
    house = make(MAIL_BACKEND=backend, TESTING=False, MAILTRACK_DRAIN="manual")
    ByAttributes.calls.clear()
    message("ada@example.com", cc=["bob@example.com"], bcc=["cyd@example.com"]).send()
    assert [call[:3] for call in ByAttributes.calls] == [
        (["ada@example.com"], [], []),
        (["bob@example.com"], [], []),
        (["cyd@example.com"], [], []),
    ]
    pages = {call[4] for call in ByAttributes.calls}
    assert len(pages) == 3
    assert all("/c/" in page and "/o/" in page for page in pages)
    house.mailtrack.flush()
    assert set(house.states().values()) == {"sent"}


def test_a_connection_that_ends_between_two_copies_is_begun_again(make: Make) -> None:
    """The server takes two mails on a connection; without Mailtrack it would have been one."""
    script = Script(mail=lambda argument, number: "421 too many" if number == 3 else "250 OK")
    with RawServer(script) as server:
        house = make(**over_smtp(server.port))
        assert message(*(f"{name}@example.com" for name in "abcd")).send() == 1
    assert set(house.states().values()) == {"sent"}
    assert [recipients for recipients, _ in server.accepted] == [[f"TO:<{name}@example.com>"] for name in "abcd"]
    assert server.connections == 2


def test_an_error_of_the_server_is_the_hosts_to_see(make: Make) -> None:
    """Also if an earlier copy was taken; a silent host finds it in the rows, and after DATA nobody knows."""
    with RawServer(Script(content=lambda argument, number: "451 later" if number == 2 else "250 OK")) as server:
        house = make(**over_smtp(server.port))
        with pytest.raises(smtplib.SMTPDataError):
            message("ada@example.com", "bob@example.com").send()
    assert house.states() == {"ada@example.com": "sent", "bob@example.com": "failed"}
    with RawServer(Script(content=lambda argument, number: None)) as server:
        other = make(**over_smtp(server.port))
        assert message("ada@example.com").send(fail_silently=True) == 0
    assert other.states() == {"ada@example.com": "unknown"}


def test_a_refused_recipient_of_a_shared_copy_is_told_apart(make: Make) -> None:
    """The backend drops what the server says of one of several."""
    with RawServer(Script(rcpt=lambda argument, number: "550 no" if "bob" in argument else "250 OK")) as server:
        house = make(MAILTRACK_SPLIT=False, **over_smtp(server.port))
        assert message("ada@example.com", "bob@example.com").send() == 1
    assert house.states() == {"ada@example.com": "sent", "bob@example.com": "failed"}


def test_a_server_that_is_away_is_asked_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent host must not wait once for each recipient; the rows say what happened."""
    asked = []

    def connect(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        raise ConnectionRefusedError

    monkeypatch.setattr(smtplib, "SMTP", connect)
    house = make(**over_smtp(9))
    assert message("ada@example.com", "bob@example.com").send(fail_silently=True) == 0
    assert len(asked) == 1
    assert set(house.states().values()) == {"failed"}


def test_a_copy_can_be_queued_changed_and_taken_apart(make: Make) -> None:
    """A backend may pickle a copy, add a header, and read the parts, with a mail inside a mail."""
    house = make()
    inner = EmailMessage()
    inner["Subject"] = "Inner"
    inner.set_content("Inside")
    mail = message("ada@example.com")
    mail.attach("inner.eml", inner.as_bytes().decode(), "message/rfc822")
    mail.send()
    copy = pickle.loads(pickle.dumps(house.outbox[0]))  # noqa: S301 - our own
    written = copy.message()
    assert written.as_bytes() == house.outbox[0].message().as_bytes()
    assert any(part.as_bytes().count(b"Inside") for part in written.walk() if part is not written)
    written["X-Added"] = "yes"
    assert b"X-Added: yes" in written.as_bytes()


def test_a_mail_without_a_sender_is_the_backends_to_judge(make: Make) -> None:
    """Without Mailtrack the outbox of tests takes it."""
    house = make(MAIL_DEFAULT_SENDER=None)
    assert message("ada@example.com").send() == 1
    assert len(house.outbox) == 1


def test_the_mails_of_flask_security(make: Make) -> None:
    """The mail of a reset is tracked; its link, which works once, is left alone, and resets the password."""
    house = make(
        SECURITY_PASSWORD_SALT="salt",
        SECURITY_PASSWORD_HASH="pbkdf2_sha512",  # no compiled hash is needed
        SECURITY_PASSWORD_SINGLE_HASH=False,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},  # no name server is asked
        SECURITY_EMAIL_SENDER=("Accounts", "accounts@example.org"),
        SECURITY_RECOVERABLE=True,
        WTF_CSRF_ENABLED=False,
    )
    Columns: Any = house.db.Model  # noqa: N806
    fsqla_v3.FsModels.set_db_info(house.db)
    role = type("Role", (Columns, fsqla_v3.FsRoleMixin), {})
    user = type("User", (Columns, fsqla_v3.FsUserMixin), {})
    datastore = SQLAlchemyUserDatastore(house.db, user, role)
    Security(house.app, datastore)
    house.db.create_all()
    datastore.create_user(email="ada@example.com", password="a long enough password")
    datastore.commit()
    client = house.app.test_client()
    assert client.post("/reset", data={"email": "ada@example.com"}).status_code == 200
    (mail,) = house.outbox
    reader = Reader(client, mail.message())
    (link,) = reader.links
    assert (link.tracked, reader.has_pixel, "/reset/" in link.url) == (False, True, True)
    assert mail.message()["From"] == "Accounts <accounts@example.org>"
    new = {"password": "another good password", "password_confirm": "another good password"}
    assert client.post(link.url, data=new).status_code == 302
    assert "password has been reset" in str(house.outbox[1].message()).lower()
    assert house.states() == {"ada@example.com": "sent"}
