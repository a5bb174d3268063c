"""The example app, as a newcomer meets it."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import Inbox
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from example_app import create_app
from example_app.models import Letter, db, mailtrack
from example_app.seed import seed
from flask_mailtrack.models import by_people
from flask_mailtrack.testing import Reader

Make = Callable[..., Flask]
ENVIRONMENT = ("BASE_URL", "SERVER", "PORT", "USERNAME", "PASSWORD", "USE_TLS", "DEFAULT_SENDER")


@pytest.fixture(name="make")
def _make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Start the example in a folder of its own, and put away what it opened."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"MAIL_{name}", raising=False)
        monkeypatch.delenv(f"MAILTRACK_{name}", raising=False)
    contexts = contextlib.ExitStack()

    def make(folder: str = "instance", **config: Any) -> Flask:
        given = {"TESTING": True, "MAILTRACK_THRESHOLDS": {"instant": 0}} | config
        app = create_app(given, instance_path=str(tmp_path / folder))
        with app.app_context():
            engine = db.engine
        contexts.callback(engine.dispose)
        return app

    with contexts:
        yield make


@pytest.fixture(name="app")
def _app(make: Make) -> Flask:
    return make()


@pytest.fixture(name="client")
def _client(app: Flask) -> FlaskClient:
    return app.test_client()


def compose(client: FlaskClient, to: str = "ada@example.com", **fields: str) -> TestResponse:
    """Send the form as it stands, but for *fields*."""
    form = {"to": to, "list_id": "news", "template": "offer"} | fields
    return client.post("/compose", data=form, follow_redirects=True)


def newest(app: Flask) -> Letter:
    """Return the latest mail of the inbox."""
    with app.app_context():
        found = db.session.scalars(sa.select(Letter).order_by(Letter.id.desc())).first()
    assert found is not None
    return found


def story(page: TestResponse) -> list[str]:
    """Return what the timeline of a page tells, in its own words."""
    return re.findall(r'class="what"><strong>([^<]+)', page.text)


def rows(app: Flask, name: str) -> list[tuple[Any, ...]]:
    """Return all rows of a table of mailtrack, in order."""
    with app.app_context():
        table = getattr(mailtrack.models, name).__table__
        return [tuple(row) for row in db.session.execute(sa.select(table).order_by(*table.primary_key.columns))]


def test_the_first_start_needs_no_settings(make: Make, tmp_path: Path) -> None:
    """Signing key and database are made at the first start; the key is for its owner only, and is kept."""
    first = make(TESTING=False)
    key = tmp_path / "instance" / "secret_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (tmp_path / "instance" / "example.sqlite3").exists()
    assert make(TESTING=False).config["SECRET_KEY"] == first.config["SECRET_KEY"] == key.read_text()


def test_the_seed_is_sown_once(make: Make) -> None:
    """A second start finds the database full and leaves it as it is."""
    first = rows(make(), "Message")
    assert len(first) == 450
    assert rows(make(), "Message") == first


def test_the_seed_is_always_the_same(make: Make) -> None:
    """Two fresh copies of the example tell the same four weeks."""
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    tables = []
    for folder in ("one", "two"):
        app = make(folder)
        with app.app_context():
            for model in mailtrack.models:
                db.session.execute(sa.delete(model))
            db.session.commit()
            assert seed("http://127.0.0.1:5000", moment)
            assert not seed("http://127.0.0.1:5000", moment)
        tables.append([rows(app, name) for name in ("Message", "Event", "OptOut")])
    assert tables[0] == tables[1]


def test_the_seeded_counters_are_those_of_the_events(app: Flask) -> None:
    """What the seed writes on message rows is what its events add up to."""
    with app.app_context():
        figures, event = mailtrack.stats(), mailtrack.models.Event.__table__
        for tally, kind in ((figures.opened, "opened"), (figures.clicked, "clicked")):
            mine = sa.select(event.c.message_id).where(event.c.type == kind, by_people(event))
            found = db.session.scalars(mine).all()
            assert (tally.total, tally.unique) == (len(found), len(set(found)))
        machines = sa.select(event.c.id).where(event.c.type.in_(["opened", "clicked"]), ~by_people(event))
        assert figures.machine == len(db.session.scalars(machines).all())
        assert figures.opened.unique > figures.clicked.unique > figures.unsubscribed.unique > 0


@pytest.mark.parametrize("path", ["/", "/compose", "/inbox", "/messages", "/messages?tag=spring-news", "/shop/tea"])
def test_every_page_answers_under_a_strict_policy(client: FlaskClient, path: str) -> None:
    """Pages allow no inline script or style and nothing from elsewhere."""
    page = client.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert page.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?! type=\"module\" src=)|<style|\sstyle=|\son\w+=", page.text)


def test_rates_are_printed_with_what_they_are_of(client: FlaskClient) -> None:
    """The overview names the denominator of each rate, and keeps machines apart."""
    page = client.get("/").text
    assert re.search(r"<strong>\d+ %</strong> of \d+ with a pixel", page)
    assert "Machines, apart:" in page


def test_a_newcomers_minute(app: Flask, client: FlaskClient) -> None:
    """Compose, open, click, unsubscribe: each step is on the timeline, and the next mail is held back."""
    page = compose(client)
    assert page.request.path == "/inbox/1"
    assert story(page) == ["Sent"]
    reader = Reader(client, newest(app))
    reader.open()
    landing = reader.click("See the offer")
    assert landing.location == "http://127.0.0.1:5000/shop/first-flush?size=100g&code=SPRING20"
    assert reader.click("Unsubscribe").status_code == 200
    client.post(reader.links[2].url, data={"action": "unsubscribe"})
    assert story(client.get("/inbox/1")) == ["Sent", "Opened by a person", "Clicked by a person", "Unsubscribed"]
    page = compose(client)
    assert "Not sent: ada@example.com has unsubscribed from News." in page.text
    assert story(page) == ["Not sent"]


def test_machines_are_told_apart(client: FlaskClient) -> None:
    """A gateway and Apple's proxy are on the timeline as machines, and unsubscribe nobody by looking."""
    compose(client)
    client.post("/inbox/1/act", data={"what": "scan"})
    page = client.post("/inbox/1/act", data={"what": "apple"}, follow_redirects=True)
    assert story(page) == ["Sent", "Opened by a machine", *["Clicked by a machine"] * 2, "Opened by a machine"]
    assert "Apple Mail privacy proxy" in page.text


def test_the_mail_programs_own_button_unsubscribes(client: FlaskClient) -> None:
    """One POST to the address in List-Unsubscribe is enough."""
    compose(client)
    page = client.post("/inbox/1/act", data={"what": "unsubscribe"}, follow_redirects=True)
    assert story(page)[-1] == "Unsubscribed"
    assert "one-click, RFC 8058" in page.text


def test_several_recipients_get_a_copy_each(client: FlaskClient) -> None:
    """The page after sending says what became of each copy."""
    compose(client)
    client.post("/inbox/1/act", data={"what": "unsubscribe"})
    page = compose(client, "Ada <ADA@example.com>; bob@example.com\ncleo@bücher.example")
    people = ["ada@example.com", "bob@example.com", "cleo@xn--bcher-kva.example"]
    assert sorted(re.findall(r">to ([^<]+)<", page.text)) == people
    assert page.text.count("not sent: unsubscribed") == 1
    assert "cleo@xn--bcher-kva.example" in client.get("/inbox/3").text


def test_own_html_is_sent_as_written_and_shown_in_a_cage(app: Flask, client: FlaskClient) -> None:
    """What somebody pastes is never run as a template or as script, and its images are held back until asked for."""
    html = '<p>{{ config }}</p><script>alert(1)</script><img src="/x.png"><a href="https://example.com/">out</a>'
    page = compose(client, template="", html=html, subject="<b>Hi</b>", list_id="")
    assert "&lt;b&gt;Hi&lt;/b&gt;" in page.text
    assert newest(app).html.startswith("<p>{{ config }}</p><script>")
    hidden, shown = client.get("/inbox/1/body"), client.get("/inbox/1/body?images=1")
    assert hidden.headers["Content-Security-Policy"].startswith("sandbox allow-popups")
    assert 'data-src="/x.png"' in hidden.text
    assert ' src="/x.png"' in shown.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"to": " "}, "Whom shall it go to?"),
        ({"to": "ada@example.com, nobody"}, "“nobody” is not a complete e-mail address"),
        ({"to": "ada@exa..mple.com"}, "is not a complete e-mail address"),
        ({"template": ""}, "The mail is empty."),
        ({"to": ",".join(f"p{n}@example.com" for n in range(21))}, "20 are the most"),
    ],
)
def test_what_cannot_be_sent_is_explained(client: FlaskClient, fields: dict[str, str], words: str) -> None:
    """The form comes back with what was typed, and one sentence on what is wrong."""
    page = compose(client, **fields)
    assert page.status_code == 422
    assert words in page.text
    assert "No mail yet." in client.get("/inbox").text


def test_a_list_whose_refusals_cannot_be_read_is_not_mailed(app: Flask, client: FlaskClient) -> None:
    """Nobody is mailed on hope: the page says so instead of failing."""
    with app.app_context():
        mailtrack.models.OptOut.__table__.drop(db.engine)
    assert "Nothing was sent: who has left this list" in compose(client).text


def test_a_real_server_gets_the_mail_when_it_is_set(make: Make, smtp: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MAIL_SERVER the mail goes out, and the inbox keeps what went."""
    monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
    monkeypatch.setenv("MAIL_PORT", str(smtp.port))
    monkeypatch.setenv("MAIL_DEFAULT_SENDER", "shop@example.org")
    app = make()
    assert "the mail server took it" in compose(app.test_client()).text
    (envelope,) = smtp.envelopes
    assert (envelope.sender, envelope.recipients) == ("shop@example.org", ["ada@example.com"])
    assert newest(app).html.splitlines() == Letter(raw=envelope.content).html.splitlines()


def test_a_server_that_is_not_there_is_reported(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong MAIL_PORT is told on the form."""
    monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
    monkeypatch.setenv("MAIL_PORT", "1")
    page = compose(make().test_client())
    assert page.status_code == 422
    assert "The mail server did not take it" in page.text


@pytest.mark.parametrize(
    ("here", "warned"),
    [("http://127.0.0.1:5000", False), ("http://localhost:5000", False), ("http://127.0.0.1:5057", True)],
)
def test_a_wrong_base_url_is_noticed(client: FlaskClient, here: str, warned: bool) -> None:
    """On another port than the links lead to, each page gives the command that cures it."""
    page = client.get("/compose", base_url=here).text
    assert ("MAILTRACK_BASE_URL=http://127.0.0.1:5057 flask --app example_app run -p 5057" in page) == warned


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_other_sites_cannot_send_the_forms(client: FlaskClient, headers: dict[str, str]) -> None:
    """A POST that another site made the browser send is refused."""
    assert client.post("/compose", data={"to": "ada@example.com"}, headers=headers).status_code == 403


def test_the_inbox_keeps_the_latest_only(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old mails go; their address then says so in words."""
    monkeypatch.setattr("example_app.mailbox.KEPT", 2)
    for _ in range(3):
        compose(client)
    assert client.get("/inbox").text.count('class="subject"') == 2
    assert "the inbox keeps the latest mails only" in client.get("/inbox/1").text


def test_every_view_of_a_mail_answers(client: FlaskClient) -> None:
    """Text, headers and raw bytes are there, and the headers are explained."""
    compose(client)
    assert "TEA OF THE MONTH" in client.get("/inbox/1?view=text").text
    assert "RFC 8058 allows it for https links only" in client.get("/inbox/1?view=headers").text
    assert "List-Id: &lt;news.teashop.example&gt;" in client.get("/inbox/1?view=raw").text
