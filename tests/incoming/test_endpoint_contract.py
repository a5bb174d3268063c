"""What domain.md 2.1 asks of the unsubscribe endpoint, line by line, beside the extensions that hosts have.

``sNN``: security.md, attack NN. Bodies, damage and repetition are in ``test_unsubscribe.py``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email import message_from_bytes, policy
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from conftest import BASE_URL, Inbox, MakeSite, Site
from flask import Flask, redirect, render_template_string, request
from flask_login import LoginManager, current_user
from flask_talisman import Talisman
from flask_wtf import CSRFProtect
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
LINKS = (
    '<p><a href="{{ unsubscribe_url() }}">out</a> <a href="{{ preferences_url() }}">choose</a> '
    '<a href="{{ tracking_optout_url() }}">stop</a> <a href="https://example.com/">go</a></p>'
)
LISTS = {"news": {"title": "The News"}, "offers": {"title": "Offers"}}


def login_wall(app: Flask) -> None:
    """Send everybody who has not logged in to /login, but for what Flask-Login's readers are told to let through."""
    manager = LoginManager(app)
    manager.user_loader(lambda identifier: None)

    @app.before_request
    def wall() -> Any:
        if request.blueprint == "mailtrack" or current_user.is_authenticated:
            return None
        return redirect("/login")


HOSTS: dict[str, Callable[[Flask], object]] = {
    "alone": lambda app: None,
    "CSRFProtect": CSRFProtect,
    "Flask-Login": login_wall,
    "Talisman": Talisman,
    "all": lambda app: (login_wall(app), Talisman(app), CSRFProtect(app)),
}
SCHEMES = ["http", "https"]


@pytest.fixture(name="site", params=["front door", *HOSTS])
def _site(make_site: MakeSite, request: pytest.FixtureRequest) -> Site:
    """A site with all extensions that stand in the way; and without the front door, with each, and with all of them."""
    site = make_site(MAILTRACK_LISTS=LISTS, MAILTRACK_FRONT_DOOR=request.param == "front door")
    HOSTS.get(request.param, HOSTS["all"])(site.app)
    return site


@pytest.fixture(name="path")
def _path(site: Site) -> str:
    """The path of a List-Unsubscribe header."""
    sent = site.send(render_template_string(LINKS), list_id="news")
    return urlsplit(str(sent.extra_headers["List-Unsubscribe"]).strip("<>")).path


def plain(response: TestResponse) -> None:
    """Check what holds for every answer to a machine's POST."""
    assert (response.status_code, response.mimetype) == (200, "text/plain")
    assert len(response.data) < 100
    assert {"Set-Cookie", "Location", "Vary"}.isdisjoint(response.headers.keys())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_one_click_post_unsubscribes(site: Site, path: str, scheme: str, content_type: str) -> None:
    """Line 1, s54: 200, a short text, no cookie, redirect, login or form token; also behind a proxy that ends TLS."""
    base_url = BASE_URL.replace("https", scheme)
    plain(site.client.post(path, data=ONE_CLICK, content_type=content_type, base_url=base_url))
    assert [(row.list_id, row.method) for row in site.rows("OptOut")] == [("news", "one_click")]


@pytest.mark.parametrize("body", [{}, {"data": "x", "content_type": "text/plain"}, {"data": b""}], ids=repr)
def test_any_other_body_unsubscribes_too(site: Site, path: str, body: dict[str, Any]) -> None:
    """Line 2, s56: the token is the authority; the method says that it was no one-click."""
    plain(site.client.post(path, base_url=BASE_URL, **body))
    assert [(row.list_id, row.method) for row in site.rows("OptOut")] == [("news", "post")]


def test_the_same_token_again_is_no_news(site: Site, path: str) -> None:
    """Line 3: the same 200, and no second event."""
    for _ in range(3):
        plain(site.client.post(path, data=ONE_CLICK, base_url=BASE_URL))
    assert len(site.rows("OptOut")) == len(site.rows("Event")) == 1


def test_a_bad_token_is_no_oracle(site: Site, path: str) -> None:
    """Line 4, s61: every token that is not ours gets the same 404, never a 5xx."""
    bad = [path[:-1] + ("a" if path[-1] != "a" else "b"), "/m/u/" + "a" * 68, "/m/u/x", "/m/u/", "/m/u/%00"]
    answers = [site.client.post(one, data=ONE_CLICK, base_url=BASE_URL) for one in bad]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.data for answer in answers}) == 1
    assert site.rows("OptOut") == []


def test_the_database_may_be_away(site: Site, path: str) -> None:
    """Line 5, s65: it is on disk before the 200, so nobody need ask again; only a full disk is a 503."""
    site.db.drop_all()
    plain(site.client.post(path, data=ONE_CLICK, base_url=BASE_URL))
    site.db.create_all()
    site.mailtrack.flush()
    assert len(site.rows("OptOut")) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_shows_a_page_that_posts_to_itself(site: Site, path: str, method: str) -> None:
    """Line 6, s53: no change; a form without an address of its own; headers that keep page and token to the reader."""
    response = site.client.open(path, method=method, base_url=BASE_URL)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store, private"
    assert response.headers["X-Robots-Tag"] == "noindex"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Frame-Options"] == "DENY"
    (csp,) = response.headers.getlist("Content-Security-Policy")
    assert csp.startswith("default-src 'none'; style-src 'self'")
    assert response.headers.getlist("Vary") == ["Accept-Language"]
    assert "Set-Cookie" not in response.headers
    if method == "GET":
        assert re.findall(r"<form[^>]*>", response.text) == ['<form method="post">']
    assert (site.rows("OptOut"), site.rows("Event")) == ([], [])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", ["{}/", "{}//", "{}/x", "/{}"])
def test_no_post_is_redirected(site: Site, path: str, shape: str, scheme: str) -> None:
    """Line 7, s68: neither a slash, nor two, nor http: a redirect would lose the body."""
    environ = {"PATH_INFO": shape.format(path), "wsgi.url_scheme": scheme}
    plain(site.client.post("/", environ_overrides=environ, data=ONE_CLICK))


def test_a_big_body_is_too_much(site: Site, path: str) -> None:
    """Line 8, s67: 413."""
    assert site.client.post(path, data={"x": "x" * 9_000}, base_url=BASE_URL).status_code == 413
    assert site.rows("OptOut") == []


def test_the_hosts_own_pages_stay_walled(make_site: MakeSite) -> None:
    """s57: what lets us through lets nobody else through."""
    site = make_site()
    HOSTS["all"](site.app)
    site.app.add_url_rule("/own", "own", lambda: "secret", methods=["GET", "POST"])
    assert site.client.post("/own", base_url=BASE_URL).status_code in (302, 400)
    assert site.client.get("/own", base_url=BASE_URL).location == "/login"
    own = site.client.get("/own")
    assert own.headers["Content-Security-Policy"].startswith("default-src 'self'")


@pytest.fixture(name="served")
def _served(make_site: MakeSite) -> Iterator[tuple[Site, str]]:
    """A site on a real, threaded server, with its host and port."""
    site = make_site(MAILTRACK_LISTS=LISTS, MAILTRACK_DRAIN="thread")
    server = make_server("127.0.0.1", 0, site.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield site, f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hundred_at_once_are_one(served: tuple[Site, str]) -> None:
    """s55: a hundred one-click POSTs of one token, over real connections: a hundred 200s, one opt-out, one event."""
    site, host = served
    sent = site.send(LINKS, list_id="news")
    path = urlsplit(str(sent.extra_headers["List-Unsubscribe"]).strip("<>")).path
    ready = threading.Barrier(100, timeout=30)

    def post(_: int) -> tuple[int, bytes]:
        connection = HTTPConnection(host, timeout=30)
        connection.connect()
        ready.wait()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", path, urlencode(ONE_CLICK), headers)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(post, range(100)))
    assert answers == [(200, b"You are unsubscribed.\n")] * 100
    site.mailtrack.flush()
    assert [(row.recipient, row.list_id) for row in site.rows("OptOut")] == [("ada@example.com", "news")]
    assert [row.type for row in site.rows("Event")] == ["unsubscribed"]
    assert site.send(LINKS, to=["ada@example.com"], list_id="news") == []


def urls_in(content: bytes) -> set[str]:
    """Return every URL of a mail as it left: headers, text and HTML."""
    message = message_from_bytes(content, policy=policy.default)
    parts = [str(part.get_content()) for part in message.walk() if part.get_content_maintype() == "text"]
    return set(re.findall(r"https://[^\s\"'<>]+", " ".join([*map(str, message.values()), *parts])))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_scanner_that_follows_everything_changes_nothing(make_site: MakeSite, smtp: Inbox, method: str) -> None:
    """s53: every URL of the bytes that left, and every link of the pages behind them; not one choice is made."""
    site = make_site(MAIL_PORT=smtp.port, MAIL_SUPPRESS_SEND=False, MAILTRACK_LISTS=LISTS, MAILTRACK_TEXT_CLICKS=True)
    text = "{{ unsubscribe_url() }} {{ preferences_url() }} {{ tracking_optout_url() }} https://example.com/"
    site.send(render_template_string(LINKS), body=render_template_string(text), list_id="news")
    (envelope,) = smtp.envelopes
    todo = [url for url in urls_in(envelope.content) if url.startswith(BASE_URL)]
    seen: set[str] = set()
    while todo:
        url = todo.pop()
        if url in seen:
            continue
        seen.add(url)
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}"
        for asked in (method, "GET"):
            with site.client.open(target, method=asked, base_url=BASE_URL) as page:
                assert page.status_code in (200, 302)
                found = re.findall(r'(?:href|src)="([^"]+)"', page.text) if page.mimetype == "text/html" else []
        todo += [f"{BASE_URL}{parts.path if link.startswith('?') else ''}{link}" for link in found if link[0] in "/?"]
    assert {urlsplit(url).path[:5] for url in seen} == {"/m/o/", "/m/c/", "/m/u/", "/m/p/", "/m/st"}
    assert any(url.endswith("?statement") for url in seen)
    site.mailtrack.flush()
    assert site.rows("OptOut") == []
    assert {row.type for row in site.rows("Event")} <= {"opened", "clicked"}
    assert len(site.send("<p>x</p>", to=["ada@example.com"], list_id="news")) == 1


def test_the_page_of_a_forwarded_mail_shows_no_address(make_site: MakeSite) -> None:
    """s63: a friend who leaves for the owner sees a masked address; the way back is the same link, and logged."""
    site = make_site()
    sent = site.send(render_template_string(LINKS), list_id="news")
    path = urlsplit(str(sent.extra_headers["List-Unsubscribe"]).strip("<>")).path
    pages = [site.client.get(path).text]
    pages += [site.client.post(path, data={"action": action}).text for action in ("unsubscribe", "undo")]
    for page in pages:
        assert "a•••@e•••.com" in page
        assert "ada" not in page
    assert [row.type for row in site.rows("Event")] == ["unsubscribed", "subscribed"]
    assert site.rows("OptOut") == []


def test_only_a_post_subscribes_again(make_site: MakeSite) -> None:
    """s64: no link that is merely followed brings anybody back on a list."""
    site = make_site()
    sent = site.send(render_template_string(LINKS), list_id="news")
    path = urlsplit(str(sent.extra_headers["List-Unsubscribe"]).strip("<>")).path
    site.client.post(path, data=ONE_CLICK)
    for query in ("?action=undo", "?undo", "?action=undo_all"):
        for method in ("GET", "HEAD"):
            site.client.open(path + query, method=method)
    assert [row.list_id for row in site.rows("OptOut")] == ["news"]


def test_what_a_link_did_not_do_a_link_does_not_offer_to_undo(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """s64: after a bounce or a complaint the page offers no way back, but says whom to ask."""
    site = make_site()
    sent = site.send(render_template_string(LINKS), list_id="news")
    path = urlsplit(str(sent.extra_headers["List-Unsubscribe"]).strip("<>")).path
    choose = path.replace("/u/", "/p/")
    assert site.client.get(choose).status_code == 404
    from_page = re.findall(r'href="([^"]+/p/[^"]+)"', site.client.get(path).text)[0]
    standing = site.mailtrack._state().optouts.standing

    def locked(*token: Any) -> Any:
        return replace(standing(*token), left=frozenset({"news", ""}), locked=True)

    monkeypatch.setattr("flask_mailtrack.storage.tables.optouts.OptOuts.standing", lambda self, *token: locked(*token))
    for page in (site.client.get(path).text, site.client.get(from_page).text):
        assert "Please reply to one of our emails" in page
        assert 'value="undo' not in page


def test_a_style_sheet_of_the_package_alone(make_site: MakeSite) -> None:
    """s70: pages ask for one file, ours; so no referrer, and nobody else, learns of a token."""
    site = make_site(MAILTRACK_LISTS=LISTS)
    sent = site.send(render_template_string(LINKS), list_id="news")
    path = urlsplit(str(sent.extra_headers["List-Unsubscribe"]).strip("<>")).path
    page = site.client.get(path).text
    assert re.findall(r'<link rel="(\w+)" href="([^"]+)"', page) == [
        ("icon", "data:,"),
        ("stylesheet", "/m/static/mailtrack.css"),
    ]
    assert not re.search(r"<(img|iframe|object|embed|script|style)\b", page)
    css = (Path(__file__).parents[2] / "flask_mailtrack" / "static" / "mailtrack.css").read_text(encoding="utf-8")
    assert "url(" not in css
