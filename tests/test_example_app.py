"""The example app, as a newcomer meets it."""

from __future__ import annotations

import contextlib
import html
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
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
from example_app.seed import MAILS, UNWANTED, seed
from example_app.story import CAMPAIGNS, WEEKS
from flask_mailtrack.models import by_people
from flask_mailtrack.testing import Reader

Make = Callable[..., Flask]
ENVIRONMENT = ("BASE_URL", "SERVER", "PORT", "USERNAME", "PASSWORD", "USE_TLS", "DEFAULT_SENDER")


@pytest.fixture(name="make", scope="module")
def _make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Start the example in a folder of its own, and put away what it opened."""
    contexts = contextlib.ExitStack()

    def make(folder: Path | None = None, **config: Any) -> Flask:
        given = {"TESTING": True, "MAILTRACK_THRESHOLDS": {"instant": 0}} | config
        app = create_app(given, instance_path=str(folder or tmp_path_factory.mktemp("example")))
        with app.app_context():
            engine = db.engine
        contexts.callback(engine.dispose)
        return app

    with contexts, pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(f"MAIL_{name}", raising=False)
            patch.delenv(f"MAILTRACK_{name}", raising=False)
        yield make


@pytest.fixture(name="app", scope="module")
def _app(make: Make) -> Flask:
    """One shop for all tests, each of which mails people of its own."""
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
    """Return all rows of a table of mailtrack, in order, but for the numbers that a transaction gets."""
    with app.app_context():
        table = getattr(mailtrack.models, name).__table__
        columns = [column for column in table.c if column.name != "entered_by"]
        return [tuple(row) for row in db.session.execute(sa.select(*columns).order_by(*table.primary_key.columns))]


def opened_copy(client: FlaskClient, page: TestResponse) -> TestResponse:
    """Follow the first way from the page after sending to the mailbox."""
    found = re.search(r'href="(/mailbox/of/[^"]+)"', page.text)
    assert found
    return client.get(found[1], follow_redirects=True)


def test_the_first_start_needs_no_settings(make: Make, tmp_path: Path) -> None:
    """The first start makes a key, for its owner only, and a database; the second start keeps both."""
    first = make(tmp_path, TESTING=False)
    key = tmp_path / "secret_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (tmp_path / "example.sqlite3").exists()
    sown = rows(first, "Message")
    assert len(sown) > 1_000
    second = make(tmp_path, TESTING=False)
    assert second.config["SECRET_KEY"] == first.config["SECRET_KEY"] == key.read_text()
    assert rows(second, "Message") == sown


def test_the_seed_is_always_the_same(make: Make) -> None:
    """Two fresh copies of the example tell the same thirteen weeks."""
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    tables = []
    for _ in range(2):
        app = make(SECRET_KEY="k" * 32)
        with app.test_request_context():
            for model in mailtrack.models:
                db.session.execute(sa.delete(model))
            db.session.commit()
            assert seed(moment)
            assert not seed(moment)
        tables.append([rows(app, name) for name in ("Message", "Event", "Body", "Figure")])
    assert all(tables[0])
    assert tables[0] == tables[1]


def test_the_seeded_figures_are_those_of_a_rebuild(app: Flask) -> None:
    """What the console shows of the made-up mail is what its messages and events add up to."""
    before = [rows(app, name) for name in ("Figure", "Breakdown")]
    told = app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
    assert told.exit_code == 0, told.output
    assert [rows(app, name) for name in ("Figure", "Breakdown")] == before
    with app.app_context():
        figures, event = mailtrack.stats(), mailtrack.models.Event.__table__
        for tally, kind in ((figures.opened, "opened"), (figures.clicked, "clicked")):
            mine = sa.select(event.c.message_id).where(event.c.type == kind, by_people(event))
            assert tally.unique == len(set(db.session.scalars(mine)))
        assert figures.opened.unique > figures.clicked.unique > figures.unsubscribed.unique > 0


def test_a_seeded_campaign_has_a_click_map(app: Flask) -> None:
    """The body of each campaign is kept, and its badges tell the clicks of the made-up readers."""
    with app.app_context():
        maps = {campaign.tag: mailtrack.reports.click_map(campaign.tag) for campaign in CAMPAIGNS}
        drawn, line = maps["kettle-offer"], mailtrack.reports.links("kettle-offer")
    assert all(maps.values())
    assert drawn
    assert [link.name for link in drawn.links] == ["copper-kettle", "steel-kettle", "outlet"]
    assert drawn.links[0].unique > drawn.links[1].unique > 0
    assert [link.unique for link in drawn.links] == [row.unique for row in line.rows]
    assert drawn.html.count("<mt-badge") == len(drawn.links)


@pytest.mark.parametrize(
    "path", ["/", "/compose", "/mailbox/", "/shop/tea", "/mailtrack/", "/mailtrack/?period=90d", "/mailtrack/live"]
)
def test_every_page_answers_under_a_strict_policy(client: FlaskClient, path: str) -> None:
    """Pages allow no inline script or style and nothing from elsewhere."""
    page = client.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert page.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?! (type=\"module\" )?src=)|<style|\sstyle=|\son\w+=", page.text)


def test_nobody_meets_a_dead_end(client: FlaskClient) -> None:
    """Each link of the first page, and of the page for a wrong address, leads to a page that leads back."""
    lost = client.get("/nothing-here")
    assert lost.status_code == 404
    start = client.get("/")
    ways = set(re.findall(r'href="(/[^"#]*)"', start.text.partition("<main")[2] + lost.text.partition("<main")[2]))
    assert len(ways) > 8
    for way in sorted(ways):
        page = client.get(html.unescape(way))
        assert page.status_code == 200, way
        assert 'href="/"' in page.text, way


def test_the_console_has_something_to_show(client: FlaskClient) -> None:
    """One domain works and one does not, a switch is off, people say why they leave, and some are kept off."""
    domains = client.get("/mailtrack/domains").text
    assert "links.news.teashop.example" in domains
    assert "go.teashop.example" in domains
    for host, word in (("links.news.teashop.example", "Verified"), ("go.teashop.example", "Pending")):
        page = client.get(f"/mailtrack/domains/{host}").text
        assert word in page
        assert "Made up for this example, which asks no name server." in page
    assert "orders.teashop.example" in client.get("/mailtrack/settings").text
    with client.application.app_context():
        since = datetime.now(UTC) - timedelta(weeks=WEEKS)
        assert any(line.comment for line in mailtrack.reports.departures(since=since).rows)
        kept_off = {line.address for line in mailtrack.reports.suppressions().rows}
    assert {address for address, _, _ in UNWANTED} <= kept_off


def test_the_mailbox_is_not_empty_at_first(make: Make) -> None:
    """Some mails are there from the start, with bodies, and people have opened some of them."""
    page = make().test_client().get("/mailbox/").text
    assert page.count("data-line=") == len(MAILS)
    assert page.count(">Opened</span>") == 2
    assert page.count(">Clicked</span>") == 1


def test_a_newcomers_minute(app: Flask, client: FlaskClient) -> None:
    """Send, open, click, unsubscribe: each step is on the timeline, in the console, and the next mail is held back."""
    page = opened_copy(client, compose(client))
    mail = page.request.path
    assert story(page) == ["Sent"]
    reader = Reader(client, newest(app))
    reader.open()
    landing = reader.click("See the offer")
    assert landing.location == "http://127.0.0.1:5000/shop/first-flush?size=100g&code=SPRING20"
    assert reader.click("Unsubscribe").status_code == 200
    client.post(reader.links[2].url, data={"action": "unsubscribe"})
    told = story(client.get(mail))
    assert [line.split(" by a person")[0] for line in told] == [
        "Sent",
        "Opened",
        "Clicked offer",
        "Unsubscribed from news.",
    ]
    live = client.get("/mailtrack/live").text
    for what in ("Opened by a person", "Clicked offer by a person", "Unsubscribed from news"):
        assert what in live
    page = compose(client)
    assert "Held back: ada@example.com has unsubscribed from News." in page.text
    assert "Nobody got it." in page.text


def test_an_impatient_newcomer_is_told_why(make: Make) -> None:
    """Two links within a second look like a machine’s; the page says so, and that the next click counts again."""
    app = make(MAILTRACK_THRESHOLDS={"instant": 0, "burst": 60})
    client = app.test_client()
    mail = opened_copy(client, compose(client)).request.path
    reader = Reader(client, newest(app))
    reader.click("See the offer")
    reader.click("Try our Assam")
    page = client.get(mail)
    assert story(page)[1].startswith("Clicked offer by a mail filter")
    assert "the next click that takes its time counts as a person" in page.text
    assert "First taken for a person." in page.text


def test_several_recipients_get_a_copy_each(client: FlaskClient) -> None:
    """The page after sending says what became of each copy, and leads on to the mailbox and the console."""
    first = opened_copy(client, compose(client, "grace@example.com"))
    client.post(f"{first.request.path}/act", data={"what": "provider"})
    page = compose(client, "Grace <GRACE@example.com>; bob@example.com\ncleo@bücher.example")
    people = ["bob@example.com", "cleo@xn--bcher-kva.example", "grace@example.com"]
    assert sorted(re.findall(r'class="subject">([^<]+)<', page.text)) == people
    assert page.text.count("Held back: grace@example.com") == 1
    ways = re.findall(r'href="(/mailbox/of/[^"]+)"', page.text)
    assert [client.get(way, follow_redirects=True).status_code for way in ways] == [200, 200]
    ways = re.findall(r'href="(/mailtrack/messages/[^"]+)"', page.text)
    assert [client.get(way).status_code for way in ways] == [200] * 3
    assert client.get(f"/sent/{ways[0].rpartition('/')[2]}").status_code == 404  # the id of a copy, not of a mail


def test_own_html_is_sent_as_written_and_shown_in_a_cage(app: Flask, client: FlaskClient) -> None:
    """What somebody pastes is never run as a template or as script."""
    source = '<p>{{ config }}</p><script>alert(1)</script><img src="/x.png"><a href="https://example.com/">out</a>'
    page = opened_copy(client, compose(client, template="", html=source, subject="<b>Hi</b>", list_id=""))
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
    before = client.get("/mailbox/").text.count("data-line=")
    page = compose(client, **fields)
    assert page.status_code == 422
    assert words in page.text
    assert client.get("/mailbox/").text.count("data-line=") == before


def test_a_list_whose_refusals_cannot_be_read_is_not_mailed(make: Make) -> None:
    """Nobody is mailed on hope: the page says so instead of failing."""
    app = make()
    with app.app_context():
        mailtrack.models.OptOut.__table__.drop(db.engine)
    assert "Nothing was sent: who has left this list" in compose(app.test_client()).text


def test_a_real_server_gets_the_mail_when_it_is_set(make: Make, smtp: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MAIL_SERVER the mail goes out, and the mailbox keeps what went."""
    monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
    monkeypatch.setenv("MAIL_PORT", str(smtp.port))
    monkeypatch.setenv("MAIL_DEFAULT_SENDER", "shop@example.org")
    app = make()
    client = app.test_client()
    assert story(opened_copy(client, compose(client))) == ["Sent"]
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
