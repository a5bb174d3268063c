"""``MAILTRACK_ENABLED = False``: for the suite of a host that has its own things to test."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Inbox, MakeSite, Site
from flask import Flask, render_template_string
from flask_mail import Connection, Mail, Message
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.testing import Reader

HTML = '<p>Hi <a href="https://example.com/">go</a></p>'
PEOPLE = ["ada@example.com", "bob@example.com"]


@pytest.fixture(name="off")
def _off(make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A host without our tables, whose suite switches us off."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return make_site(tables=False, MAILTRACK_ENABLED=False, MAILTRACK_SINK="redis://127.0.0.1:1/0")


def test_the_message_that_leaves_is_the_hosts_own(off: Site) -> None:
    """Whatever it was told about tracking: no copy, no header, no link of ours, one message for two people."""
    message = Message("Hello", recipients=PEOPLE, html=HTML, extra_headers={"X-Own": "1"})
    with off.mail.record_messages() as outbox, off.mailtrack.options(mode="aggregate"):
        off.mail.send(off.mailtrack.track(message, list_id="news", tag="t", metadata={"n": 1}, opens=True))
    assert [id(sent) for sent in outbox] == [id(message)]
    assert (message.html, message.extra_headers, type(off.mail.connect())) == (HTML, {"X-Own": "1"}, Connection)
    with pytest.raises(LookupError, match="not tracked"):
        Reader(off.client, message).click()


def test_mail_that_is_prepared_is_the_hosts_own(off: Site, smtp: Inbox) -> None:
    """By hand and by our client of smtplib: one mail for two people, with the author's links."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "news@example.org", ", ".join(PEOPLE), "<1@example.org>"
    mail.set_content(HTML, subtype="html")
    written = mail.as_bytes(policy=policy.SMTP)
    (copy,) = off.mailtrack.prepare(mail, list_id="news")
    with copy:
        assert (list(copy.recipients), copy.as_bytes()) == (PEOPLE, written)
    with off.mailtrack.smtp("127.0.0.1", smtp.port) as server:
        server.send_message(off.mailtrack.track(mail, tag="t"))
    assert [(sorted(each.recipients), each.content) for each in smtp.envelopes] == [(PEOPLE, written)]


def test_the_bytes_are_those_of_flask_mail(make_site: MakeSite, smtp: Inbox, tmp_path: Path) -> None:
    """A mail server gets from a host with us what it gets from the same host without."""
    server = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": smtp.port, "MAIL_DEFAULT_SENDER": "news@example.org"}
    site = make_site(tables=False, TESTING=False, MAILTRACK_ENABLED=False, **server)
    bare = Flask("bare", instance_path=str(tmp_path / "bare"))
    bare.config.update(server)
    for mail, app in ((Mail(bare), bare), (site.mail, site.app)):
        message = Message("Hello", recipients=PEOPLE, body="Hi https://example.com/")
        message.date, message.msgId = 1.0, "<1@example.org>"
        with app.app_context():
            mail.send(message)
    without, with_us = smtp.envelopes
    assert sorted(with_us.recipients) == sorted(without.recipients) == PEOPLE
    assert with_us.content == without.content


def test_nothing_is_started_made_or_asked(off: Site, tmp_path: Path) -> None:
    """No thread, no folder in the instance or the temporary folder, no table, no route."""
    before = threading.active_count()
    off.send(HTML, list(PEOPLE), list_id="news")
    assert threading.active_count() == before
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not Path(off.app.instance_path).exists()
    assert sa.inspect(off.db.engine).get_table_names() == []
    assert off.client.get("/m/o/x.gif").status_code == 404
    assert not any(rule.endpoint.startswith("mailtrack") for rule in off.app.url_map.iter_rules())


def test_templates_go_on_working(off: Site) -> None:
    """Those of mails call what they call, and a page of the host's with a placeholder in it does not raise."""
    off.app.add_url_rule("/", view_func=lambda: render_template_string(page))
    page = "{{ unsubscribe_url() }}|{{ unsubscribe_link('Leave') }}|{{ preferences_url() }}|{{ tracking_pixel() }}"
    url, link, preferences, pixel = off.client.get("/").text.split("|")
    assert url.startswith("https://")
    assert link == f'<a href="{url}">Leave</a>'
    assert preferences.startswith("https://")
    assert pixel == ""


def test_what_the_hosts_code_asks_is_answered_without_its_database(off: Site) -> None:
    """Figures are empty, and an opt-out is written and read again, in a store that goes with the app."""
    assert off.mailtrack.stats().sent == 0
    off.mailtrack.suppress("ada@example.com", "news")
    assert off.mailtrack.flush() == 0
    assert off.mailtrack.health().ok
    assert [row["list_id"] for row in off.mailtrack.export("ada@example.com")["optouts"]] == ["news"]
    assert off.mailtrack.unsubscribe_url("ada@example.com", "news").startswith("https://links.example.com/m/u/")
    assert off.app.test_cli_runner().invoke(args=["mailtrack", "stats"]).exit_code == 0
    checked = off.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    assert (checked.exit_code, "C44" in checked.output) == (0, True)
    assert sa.inspect(off.db.engine).get_table_names() == []


def test_nothing_else_need_be_configured(tmp_path: Path) -> None:
    """No address and no key; but a key that there is not is told of, as ever."""

    def host(**config: object) -> Mailtrack:
        app = Flask("host", instance_path=str(tmp_path))
        app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI="sqlite://", MAILTRACK_ENABLED=False, **config)
        return Mailtrack(app, mail=Mail(app), db=SQLAlchemy(app))

    host()
    with pytest.raises(ConfigError, match="MAILTRACK_OPENS"):
        host(MAILTRACK_OPNS=False)


@pytest.mark.parametrize(("key", "warned"), [("TESTING", 0), ("DEBUG", 0), ("PRODUCTION", 1)])
def test_an_app_at_work_is_warned(make_site: MakeSite, caplog: pytest.LogCaptureFixture, key: str, warned: int) -> None:
    """Where people get the mail, opt-outs that nobody asks for are no small matter."""
    with caplog.at_level(logging.WARNING, "flask_mailtrack"):
        make_site(tables=False, **({"TESTING": False, "MAILTRACK_ENABLED": False} | {key: True}))
    assert len([record for record in caplog.records if "MAILTRACK_ENABLED" in record.getMessage()]) == warned


SUITE = """
    import pytest
    from flask import Flask, render_template_string
    from flask_mail import Mail, Message
    from flask_sqlalchemy import SQLAlchemy
    from flask_mailtrack import Mailtrack

    db, mail = SQLAlchemy(), Mail()
    mailtrack = Mailtrack(mail=mail, db=db)


    @pytest.fixture
    def app():
        app = Flask(__name__)
        app.config.update(
            TESTING=True, SECRET_KEY="0123456789abcdef", SQLALCHEMY_DATABASE_URI="sqlite://",
            MAIL_DEFAULT_SENDER="news@example.org", MAILTRACK_BASE_URL="https://links.example.com",
            MAILTRACK_ENABLED=ENABLED,
        )
        db.init_app(app)
        mail.init_app(app)
        mailtrack.init_app(app)
        with app.app_context():
            yield app
            db.engine.dispose()


    def test_the_newsletter(app):
        with mail.record_messages() as outbox:
            html = render_template_string("<a href='https://example.com/'>go</a> {{ unsubscribe_link('Leave') }}")
            message = Message("News", recipients=["ada@example.com", "bob@example.com"], html=html)
            mail.send(mailtrack.track(message, list_id="news"))
        assert len(outbox) == 1
        assert "href='https://example.com/'" in outbox[0].html
"""


@pytest.mark.parametrize("enabled", [False, True])
def test_the_suite_of_a_host_without_our_tables(tmp_path: Path, enabled: bool) -> None:
    """It passes as it did before we came, warnings taken for errors; with us on it would have to make our tables."""
    (tmp_path / "test_host.py").write_text(textwrap.dedent(SUITE).replace("ENABLED=ENABLED", f"ENABLED={enabled}"))
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    ]
    root = str(Path(__file__).parents[1])
    run = subprocess.run(
        [*command, str(tmp_path)], cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False
    )
    assert (run.returncode == 0) is not enabled, run.stdout
    assert ("OptOutsUnavailable" in run.stdout) is enabled
