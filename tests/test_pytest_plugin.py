"""The plugin for pytest, as a host's suite uses it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from flask import Flask
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack

HTML = '<p><a href="https://example.com/start" data-mailtrack-name="start">Start</a></p>'


@pytest.fixture
def app(tmp_path):
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY="a key of the plugin's own test", SQLALCHEMY_DATABASE_URI="sqlite://",
                      MAILTRACK_BASE_URL="https://links.example.com", MAIL_DEFAULT_SENDER="me@example.com")
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    with app.app_context():
        if app.config.get("MAILTRACK_ENABLED", True):
            db.create_all()

    @app.post("/register")
    def register():
        message = Message("Welcome", recipients=["ada@example.com"], html=HTML)
        mail.send(mailtrack.track(message, list_id="news"))
        return ""

    yield app
    with app.app_context():
        db.engine.dispose()
"""
GOOD = """
from datetime import timedelta

import pytest
from flask_mailtrack.pytest_plugin import assert_clicked, assert_opened, assert_suppressed, assert_tracked


def test_of_a_host(app, mailtrack_outbox, mailtrack_clock):
    client = app.test_client()
    client.post("/register")
    ada = mailtrack_outbox.to("ada@example.com")
    assert len(mailtrack_outbox) == 1 and [m.subject for m in mailtrack_outbox] == ["Welcome"]
    assert_tracked(ada)
    assert_tracked(mailtrack_outbox.messages[0])
    with pytest.raises(AssertionError, match="there is a pixel, and a link is tracked"):
        assert_tracked(ada, opens=False, clicks=False)
    mailtrack_clock.move(hours=2)
    ada.as_apple().open()
    with pytest.raises(AssertionError, match="(?s)has opened no mail.*'Welcome'.*Apple's privacy proxy"):
        assert_opened("ada@example.com")
    with pytest.raises(AssertionError, match="has not followed any link"):
        assert_clicked("ada@example.com")
    ada.open()
    ada.click("Start")
    assert_opened("Ada@example.com")
    assert_clicked("ada@example.com")
    assert_clicked("ada@example.com", "https://example.com/start")
    assert_clicked("ada@example.com", "start")
    with pytest.raises(AssertionError, match="(?s)has not followed elsewhere.*Clicked start by a person"):
        assert_clicked("ada@example.com", "elsewhere")
    with app.app_context():
        timeline = app.extensions["mailtrack"].reports.timeline
        (message,) = app.extensions["mailtrack"].reports.person("ada@example.com").page.rows
        assert {event.after for event in timeline(message.id).events} == {timedelta(hours=2)}
    with pytest.raises(AssertionError, match="still gets mail of the list 'news'.\\n  No opt-out stands"):
        assert_suppressed("ada@example.com", "news")
    ada.unsubscribe()
    assert_suppressed("ada@example.com", "news")
    with pytest.raises(AssertionError, match="(?s)of all lists.*unsubscribe of news, by one_click"):
        assert_suppressed("ada@example.com")
    with pytest.raises(AssertionError, match="There is no mail to bob@example.com"):
        assert_opened("bob@example.com")
    with pytest.raises(LookupError, match="ada@example.com"):
        mailtrack_outbox.to("bob@example.com")
    mailtrack_outbox.clear()
    assert not len(mailtrack_outbox)


def test_without_the_outbox(app):
    with pytest.raises(AssertionError, match="use the fixture mailtrack_outbox"):
        assert_opened("ada@example.com")


def test_links_as_written(app, mailtrack_outbox):
    app.config["MAIL_SUPPRESS_SEND"] = True
    from flask_mail import Message
    with app.app_context():
        app.extensions["mail"].send(Message("Plain", recipients=["ada@example.com"], body="Hello"))
    with pytest.raises(AssertionError, match="there is no pixel, and no link is tracked"):
        assert_tracked(mailtrack_outbox.to("ada@example.com"))
"""
BY_ANY_WAY = """
from email.message import EmailMessage

import pytest
from flask import Flask
from flask_mailman import EmailMultiAlternatives, Mail
from flask_sqlalchemy import SQLAlchemy
from flask_mailtrack import Mailtrack
from flask_mailtrack.pytest_plugin import assert_clicked, assert_tracked

HTML = '<p><a href="https://example.com/start">Start</a></p>'


@pytest.fixture
def app(tmp_path):
    app = Flask("house", instance_path=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY="a key of the plugin's own test", SQLALCHEMY_DATABASE_URI="sqlite://",
                      MAILTRACK_BASE_URL="https://links.example.com", MAIL_DEFAULT_SENDER="me@example.com")
    db, mail = SQLAlchemy(app), Mail(app)
    Mailtrack(app, mail=mail, db=db)
    with app.app_context():
        db.create_all()
        yield app
        db.engine.dispose()


def test_of_a_house(app, mailtrack_outbox):
    hello = EmailMultiAlternatives("Hello", "Hello", to=["ada@example.com"], bcc=["Bob@example.com"])
    hello.attach_alternative(HTML, "text/html")
    hello.send()
    mime = EmailMessage()
    mime["From"], mime["Subject"] = "me@example.com", "By hand"
    mime.set_content(HTML, subtype="html")
    for copy in app.extensions["mailtrack"].prepare(mime, recipients=["cyd@example.com", "dan@example.com"]):
        copy.sent({"dan@example.com": (550, b"no")})
    assert [mail.recipients for mail in mailtrack_outbox] == [
        ["ada@example.com"], ["bob@example.com"], ["cyd@example.com"]]
    assert [mail.subject for mail in mailtrack_outbox][1:] == ["Hello", "By hand"]
    assert mailtrack_outbox.messages[0].body.strip() == "Hello"
    for address in ("bob@example.com", "cyd@example.com"):
        assert_tracked(mailtrack_outbox.to(address))
        mailtrack_outbox.to(address).click("Start")
        assert_clicked(address, "https://example.com/start")
"""
OFF = """
def test_of_a_host(app):
    with app.extensions["mail"].record_messages() as outbox:
        app.test_client().post("/register")
    assert "links.example.com" not in outbox[0].html


def test_with_a_fixture(app, mailtrack_outbox):
    assert False


def test_with_the_clock(app, mailtrack_clock):
    assert False
"""


@pytest.fixture(name="suite")
def _suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite of a host, in an empty folder."""
    pytester.makeconftest(CONFTEST)
    return pytester


def run(suite: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    """Run tests of a host in this process. Another process would take a second to begin."""
    suite.makepyfile(tests)
    given = ("-p", "flask_mailtrack.pytest_plugin") if not installed() else ()
    return suite.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-p", "no:randomly", *given, *options)


def installed() -> bool:
    """Say whether pytest has found the plugin by its entry point."""
    from importlib.metadata import entry_points

    return any(each.value == "flask_mailtrack.pytest_plugin" for each in entry_points(group="pytest11"))


def test_fixtures_and_assertions(suite: pytest.Pytester) -> None:
    """A host's test reads its mails as their recipients, moves the clock, and is told what happened instead."""
    run(suite, GOOD).assert_outcomes(passed=3)


def test_mail_of_every_sender_is_in_the_outbox(suite: pytest.Pytester) -> None:
    """An app with Flask-Mailman alone, and mail that it sends by hand, once each, for those who got it."""
    run(suite, BY_ANY_WAY).assert_outcomes(passed=1)


def test_switched_off(suite: pytest.Pytester) -> None:
    """With --mailtrack-off, mail leaves as written, tests with a fixture are skipped, and the next run is on again."""
    run(suite, OFF, "--mailtrack-off").assert_outcomes(passed=1, skipped=2)
    run(suite, OFF).assert_outcomes(failed=3)
