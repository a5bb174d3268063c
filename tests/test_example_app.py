"""The example app, as a newcomer meets it."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import Inbox
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from example_app import create_app
from example_app.models import db, mailtrack
from example_app.seed import MAILS, seed
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


def newest(app: Flask) -> Any:
    """Return the latest mail of the mailbox, as bytes that were read by Python."""
    path = re.findall(r'href="(/mailbox/[0-9a-f-]{36})"', app.test_client().get("/mailbox/").text)[0]
    return message_from_bytes(app.test_client().get(f"{path}/mail.eml").data, policy=policy.default)  # type: ignore[arg-type]


def html_of(mail: Any) -> str:
    """Return the HTML part of a mail."""
    return str(mail.get_body(("html",)).get_content())


def story(page: TestResponse) -> list[str]:
    """Return what the timeline of a page tells, in its own words."""
    return re.findall(r'class="what"><strong>(?:<bdi>)?([^<]+)', page.text)


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
    assert len(first) == 450 + len(MAILS)
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


@pytest.mark.parametrize("path", ["/", "/compose", "/mailbox/", "/messages", "/messages?tag=spring-news", "/shop/tea"])
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


def test_the_mailbox_is_not_empty_at_first(client: FlaskClient) -> None:
    """Some mails are there from the start, with bodies, and people have opened some of them."""
    page = client.get("/mailbox/").text
    assert page.count("data-line=") == len(MAILS)
    assert page.count(">opened</span>") == 2
    assert page.count(">clicked</span>") == 1


def test_a_newcomers_minute(app: Flask, client: FlaskClient) -> None:
    """Compose, open, click, unsubscribe: each step is on the timeline, and the next mail is held back."""
    page = compose(client)
    mail = page.request.path
    assert mail.startswith("/mailbox/")
    assert story(page) == ["Sent."]
    reader = Reader(client, newest(app))
    reader.open()
    landing = reader.click("See the offer")
    assert landing.location == "http://127.0.0.1:5000/shop/first-flush?size=100g&code=SPRING20"
    assert reader.click("Unsubscribe").status_code == 200
    client.post(reader.links[2].url, data={"action": "unsubscribe"})
    told = story(client.get(mail))
    assert [line.split(" by a person")[0] for line in told] == [
        "Sent.",
        "Opened",
        "Clicked offer",
        "Unsubscribed from news.",
    ]
    page = compose(client)
    assert "Not sent: ada@example.com has unsubscribed from News." in page.text
    assert story(page) == ["Not sent"]


def test_an_impatient_newcomer_is_told_why(make: Make) -> None:
    """Two links within a second look like a machine’s; the page says so, and that the next click counts again."""
    app = make(MAILTRACK_THRESHOLDS={"instant": 0, "burst": 60})
    client = app.test_client()
    mail = compose(client).request.path
    reader = Reader(client, newest(app))
    reader.click("See the offer")
    reader.click("Try our Assam")
    page = client.get(mail)
    assert story(page)[1].startswith("Clicked offer by a mail filter")
    assert "the next click that takes its time counts as a person" in page.text
    assert "First taken for a person." in page.text


def test_several_recipients_get_a_copy_each(client: FlaskClient) -> None:
    """The page after sending says what became of each copy, and leads on to the mailbox."""
    first = compose(client)
    client.post(f"{first.request.path}/act", data={"what": "provider"})
    page = compose(client, "Ada <ADA@example.com>; bob@example.com\ncleo@bücher.example")
    people = ["ada@example.com", "bob@example.com", "cleo@xn--bcher-kva.example"]
    assert sorted(re.findall(r">to ([^<]+)<", page.text)) == people
    assert page.text.count("not sent: unsubscribed") == 1
    copies = re.findall(r'href="(/messages/[0-9a-f-]{36})"', page.text)
    shown = [client.get(copy).text for copy in copies]
    ways = [re.search(r'href="(/mailbox/of/[^"]+)"', each) for each in shown]
    assert [client.get(way[1], follow_redirects=True).status_code for way in ways if way] == [200, 200]


def test_own_html_is_sent_as_written_and_shown_in_a_cage(app: Flask, client: FlaskClient) -> None:
    """What somebody pastes is never run as a template or as script."""
    html = '<p>{{ config }}</p><script>alert(1)</script><img src="/x.png"><a href="https://example.com/">out</a>'
    page = compose(client, template="", html=html, subject="<b>Hi</b>", list_id="")
    assert "&lt;b&gt;Hi&lt;/b&gt;" in page.text
    assert html_of(newest(app)).startswith("<p>{{ config }}</p><script>")
    body = client.get(f"{page.request.path}/body")
    assert body.headers["Content-Security-Policy"].startswith("sandbox allow-popups")


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
    assert client.get("/mailbox/").text.count("data-line=") == len(MAILS)


def test_a_list_whose_refusals_cannot_be_read_is_not_mailed(app: Flask, client: FlaskClient) -> None:
    """Nobody is mailed on hope: the page says so instead of failing."""
    with app.app_context():
        mailtrack.models.OptOut.__table__.drop(db.engine)
    assert "Nothing was sent: who has left this list" in compose(client).text


def test_a_real_server_gets_the_mail_when_it_is_set(make: Make, smtp: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MAIL_SERVER the mail goes out, and the mailbox keeps what went."""
    monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
    monkeypatch.setenv("MAIL_PORT", str(smtp.port))
    monkeypatch.setenv("MAIL_DEFAULT_SENDER", "shop@example.org")
    app = make()
    assert story(compose(app.test_client())) == ["Sent."]
    (envelope,) = smtp.envelopes
    assert (envelope.sender, envelope.recipients) == ("shop@example.org", ["ada@example.com"])
    sent = message_from_bytes(envelope.content, policy=policy.default)  # type: ignore[arg-type]
    assert html_of(newest(app)).splitlines() == html_of(sent).splitlines()


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
