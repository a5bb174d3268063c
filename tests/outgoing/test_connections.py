"""However a connection of Flask-Mail came to be, what it sends for an app with Mailtrack is prepared by us."""

from __future__ import annotations

import contextvars
import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import flask_mail
import pytest
from conftest import BASE_URL, SECRET, MakeSite, Site
from flask import Flask, current_app
from flask_mail import Connection, Mail, Message
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack

HTML = '<a href="https://example.com/">Read on</a>'


class Archiving(Connection):
    """A connection of a host, with a ``send`` of its own."""

    archive: ClassVar[list[str]] = []

    def send(self, message: Message, envelope_from: Any = None, priority: int = 0) -> None:
        """Note what leaves, and with which priority."""
        self.archive.append(f"{priority}: {message.html}")
        super().send(message, envelope_from)


class Short(Connection):
    """A connection whose ``send`` takes a message only, and that is made without an argument."""

    def __init__(self) -> None:
        super().__init__(current_app.extensions["mail"])

    def send(self, message: Message) -> None:  # type: ignore[override]
        """Send it."""
        super().send(message)


def letter(to: str = "ada@example.com") -> Message:
    return Message("Hello", recipients=[to], html=HTML, extra_headers={"X-Mailtrack": "list=news"})


def through(make: Callable[[], Connection]) -> None:
    with make() as connection:
        connection.send(letter())


def by_a_mail_of_the_current_app() -> None:
    Mail(current_app).send(letter())  # type: ignore[arg-type]


def by_a_library() -> None:
    mail = Mail()
    mail.init_app(current_app)  # type: ignore[arg-type]
    mail.send(letter())


def by_the_registry_after_a_second_mail() -> None:
    Mail(current_app)  # type: ignore[arg-type]
    current_app.extensions["mail"].send(letter())


def by_a_mail_that_was_never_set_up() -> None:
    Mail().send(letter())


def by_a_connection_of_the_registry() -> None:
    through(lambda: Connection(current_app.extensions["mail"]))


def by_a_connection_of_a_named_argument() -> None:
    through(lambda: Connection(mail=current_app.extensions["mail"]))


def by_a_connection_of_a_mail() -> None:
    through(lambda: Connection(Mail(current_app)))  # type: ignore[arg-type]


def by_the_connection_of_a_host() -> None:
    through(lambda: Archiving(current_app.extensions["mail"]))


def by_a_connection_made_without_an_argument() -> None:
    through(Short)


def by_a_copied_connection() -> None:
    through(lambda: copy.copy(Connection(current_app.extensions["mail"])))


def by_the_state_before_a_second_mail() -> None:
    before = current_app.extensions["mail"]
    Mail(current_app)  # type: ignore[arg-type]
    through(lambda: Connection(before))


WAYS = [value for name, value in list(globals().items()) if name.startswith("by_")]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_to_a_connection_is_tracked(site: Site, way: Callable[[], None]) -> None:
    """Each way is tracked: our links, no X-Mailtrack, and nothing to a person who has left."""
    with site.mail.record_messages() as outbox:
        way()
        assert f"{BASE_URL}/m/c/" in outbox[0].html
        assert "X-Mailtrack" not in outbox[0].as_string()
        site.mailtrack.suppress("ada@example.com", "news")
        way()
    assert len(outbox) == 1
    assert [row.status for row in site.rows("Message")] == ["sent", "suppressed"]


def test_after_a_second_mail_the_first_is_tracked_too(site: Site) -> None:
    """A second Mail of the same app does not open a way past us for the first, and check says so rightly."""
    Mail(site.app)
    assert "/m/c/" in site.send(HTML).html
    assert (
        "C13  what Flask-Mail sends is tracked" in site.app.test_cli_runner().invoke(args=["mailtrack", "check"]).output
    )


class Foreign:
    """A connection that is none of Flask-Mail's."""

    suppress = True


def test_check_names_a_connection_that_is_not_of_flask_mail(site: Site) -> None:
    """A connect() of the host's that opens something else than a Connection is an error of check."""
    site.mail.connect = Foreign  # type: ignore[method-assign,assignment]
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    assert result.exit_code == 1
    assert "C13  connect() opens a Foreign" in result.output


@pytest.fixture(name="bare")
def _bare() -> Flask:
    """An app with Flask-Mail, and without Mailtrack."""
    app = Flask("bare")
    app.config.update(TESTING=True, MAIL_DEFAULT_SENDER="me@example.org")
    Mail(app)
    return app


def test_without_mailtrack_a_connection_is_exactly_flask_mails(site: Site, bare: Flask) -> None:
    """An app without Mailtrack, beside one with it, gets the object, class included, that Flask-Mail makes."""
    state = bare.extensions["mail"]
    inside = Connection(state)  # the context is that of the app with Mailtrack
    with bare.app_context():
        for made in (inside, state.connect(), Mail().connect(), Connection(state), Connection(Mail(bare))):
            assert type(made) is flask_mail.Connection
            assert set(vars(made)) == {"mail", "host", "num_emails"}
        assert type(Archiving(state)) is Archiving
        with Mail().record_messages() as outbox, Archiving(state) as connection:
            connection.send(letter("eve@example.com"), priority=2)
    assert type(outbox[0]) is Message
    assert outbox[0].html == HTML
    assert Archiving.archive.pop() == f"2: {HTML}"


def test_what_the_send_of_a_host_takes_reaches_it(site: Site) -> None:
    """Arguments that only the host's own send knows are handed on with each copy."""
    with Archiving(site.app.extensions["mail"]) as connection:
        connection.send(letter(), priority=3)
    assert Archiving.archive.pop().startswith(f'3: <a href="{BASE_URL}/m/c/')


def test_the_app_of_the_mail_counts_before_the_current_one(make_site: MakeSite, bare: Flask) -> None:
    """Two apps in one process stay apart: a mail goes by the app that its Mail was made with."""
    first, second = make_site(), make_site(MAILTRACK_BASE_URL="https://second.example.com")
    with second.app.app_context():
        for connection in (first.mail.connect(), Connection(first.app.extensions["mail"]), Connection(first.mail)):
            with first.mail.record_messages(), connection:
                connection.send(letter())
        with bare.extensions["mail"].connect() as connection:
            assert type(connection) is not Connection  # that state's connect() asks for the current app
    with first.app.app_context():
        assert len(first.rows("Message")) == 3
    with second.app.app_context():
        assert second.rows("Message") == []
        bare.extensions["mail"].send(letter())
        assert len(second.rows("Message")) == 1


def test_a_connection_of_no_app_is_of_the_app_in_which_it_sends(make_site: MakeSite) -> None:
    """A connection made with a Mail that knows no app, outside of all contexts, is tracked by the app at its send."""
    site = make_site()
    loose = Mail()
    loose.state = site.mail.init_mail({}, testing=True)

    def make() -> Connection:
        return Connection(loose)

    made: list[Connection] = []
    thread = threading.Thread(target=lambda: contextvars.Context().run(lambda: made.append(make())))
    thread.start()
    thread.join()
    with made[0] as connection, site.mail.record_messages() as outbox:
        connection.send(letter())
    assert "/m/c/" in outbox[0].html


class Staging(Connection):
    """Sends everything to the developers."""

    def send(self, message: Message, envelope_from: Any = None) -> None:
        """Send it to one mailbox."""
        message.recipients, message.cc, message.bcc = ["dev@example.org"], [], []
        super().send(message, envelope_from)


def test_a_connection_that_sends_elsewhere_has_the_last_word(site: Site) -> None:
    """Where the send of a host puts other recipients into the message, the copy goes to these and to nobody else."""
    with site.mail.record_messages() as outbox, Staging(site.app.extensions["mail"]) as connection:
        connection.send(letter())
    assert [each.send_to for each in outbox] == [{"dev@example.org"}]


def test_an_app_that_is_dropped_is_freed() -> None:
    """The hook keeps no app alive, not even one whose consent function holds it."""
    seen = passing()
    gc.collect()
    assert seen() is None


def passing() -> weakref.ref[Flask]:
    app = Flask("passing")
    app.config.update(TESTING=True, SECRET_KEY=SECRET, SQLALCHEMY_DATABASE_URI="sqlite://", MAILTRACK_BASE_URL=BASE_URL)
    mail, db = Mail(app), SQLAlchemy(app)
    Mailtrack(app, mail=mail, db=db, consent=lambda addresses, purpose: {app.name: "granted"})
    with app.app_context():
        db.engine.dispose()
    return weakref.ref(app)
