"""The four routes inside a host that has ideas of its own. ``sNN``: security.md, attack NN."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import BASE_URL, SECRET, MakeSite, Site
from flask import Flask, Response, abort, redirect, render_template_string, request, session
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from jinja2 import DictLoader
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client, TestResponse

from flask_mailtrack import Mailtrack
from flask_mailtrack.events import Kind

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
PAGE = '<p><a href="https://example.com/">go</a> <a href="{{ preferences_url() }}">choose</a></p>'
Setup = Callable[[Flask], object]
Build = Callable[..., Site]
NO_DOOR: dict[str, Any] = {"MAILTRACK_FRONT_DOOR": False}
"""Behind the front door nothing of the host is asked; what is said of its hooks is about the routes alone."""


@pytest.fixture(name="build")
def _build(tmp_path: Path) -> Iterator[Build]:
    """Make a site, calling *before* when everything but Mailtrack has been set up."""
    built: list[tuple[Site, Any]] = []

    def build(before: Setup = lambda app: None, **config: Any) -> Site:
        app = Flask("host", instance_path=str(tmp_path))
        app.config.update(TESTING=True, SECRET_KEY=SECRET, MAILTRACK_BASE_URL=BASE_URL)
        app.config.update(
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'a.sqlite3'}", MAIL_DEFAULT_SENDER="a@b.example"
        )
        app.config.update(config)
        db, mail = SQLAlchemy(app), Mail(app)
        before(app)
        site = Site(app, db, mail, Mailtrack(app, mail=mail, db=db))
        context = app.app_context()
        context.push()
        built.append((site, context))
        db.create_all()
        return site

    yield build
    for site, context in built:
        site.db.session.remove()
        site.db.engine.dispose()
        context.pop()


def routes(site: Site) -> dict[str, str]:
    """Send a list mail and return the paths of its four links, by letter."""
    sent = site.send(render_template_string(PAGE), list_id="news")
    urls = [
        *re.findall(r'(?:href|src)="(https://[^"]+)"', sent.html),
        str(sent.extra_headers["List-Unsubscribe"])[1:-1],
    ]
    paths = (urlsplit(url).path for url in urls)
    return {found[1]: path for path in paths if (found := re.match(r"(?:/\w+)*/([ocup])/", path))}


def visit_all(client: Any, paths: dict[str, str]) -> dict[str, TestResponse]:
    """Request every public route, good and bad, with each method that it knows."""
    answers: dict[str, TestResponse] = {}
    for letter, path in paths.items():
        answers |= {f"GET {letter}": client.get(path), f"HEAD {letter}": client.head(path)}
        answers[f"bad {letter}"] = client.get(f"/m/{letter}/bad")
    for letter in "up":
        answers[f"POST {letter}"] = client.post(paths[letter], data={"action": "unsubscribe"})
        answers[f"big {letter}"] = client.post(paths[letter], data={"x": "x" * 9_000})
    answers["one click"] = client.post(paths["u"], data=ONE_CLICK)
    return answers


EXPECTED = {
    "GET o": 200,
    "HEAD o": 200,
    "bad o": 200,
    "GET c": 302,
    "HEAD c": 302,
    "bad c": 404,
    "GET u": 200,
    "HEAD u": 200,
    "bad u": 404,
    "GET p": 200,
    "HEAD p": 200,
    "bad p": 404,
    "POST u": 200,
    "big u": 413,
    "POST p": 200,
    "big p": 413,
    "one click": 200,
}


def statuses(answers: dict[str, TestResponse]) -> dict[str, int]:
    """Return the status of each answer."""
    return {name: answer.status_code for name, answer in answers.items()}


@pytest.mark.parametrize("front_door", [True, False])
def test_the_routes_answer(make_site: MakeSite, front_door: bool) -> None:
    """All that a reader or a mail client may ask for is answered as promised, and never to be kept or indexed."""
    site = make_site(MAILTRACK_FRONT_DOOR=front_door)
    answers = visit_all(site.client, routes(site))
    assert statuses(answers) == EXPECTED
    for answer in answers.values():
        assert answer.headers["Cache-Control"] == "no-store, private"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("protected", ["before", "after"])
def test_csrf_protection_lets_us_through_and_nobody_else(build: Build, protected: str) -> None:
    """s57: with Flask-WTF set up before or after us, our POSTs need no token, and the host's own still do."""
    site = build(CSRFProtect, **NO_DOOR) if protected == "before" else build(**NO_DOOR)
    if protected == "after":
        CSRFProtect(site.app)
    site.app.add_url_rule("/own", "own", lambda: "done", methods=["POST"])
    assert statuses(visit_all(site.client, routes(site))) == EXPECTED
    assert site.client.post("/own").status_code == 400
    assert [row.list_id for row in site.rows("OptOut")] == ["news"]


def test_csrf_protection_that_demands_a_referrer_lets_us_through(build: Build) -> None:
    """s54: over https Flask-WTF also wants a Referer, which a mail provider does not send."""
    site = build(CSRFProtect, WTF_CSRF_SSL_STRICT=True, **NO_DOOR)
    path = routes(site)["u"]
    assert site.client.post(path, base_url=BASE_URL, data=ONE_CLICK).status_code == 200


def permanent_session(app: Flask) -> None:
    """Make the host renew a session cookie on each request, and set another."""

    @app.before_request
    def remember() -> None:
        session.permanent = True
        session["seen"] = session.get("seen", 0) + 1

    @app.after_request
    def mark(response: Response) -> Response:
        response.set_cookie("tracker", "1")
        response.headers.add("Vary", "Cookie")
        return response

    app.add_url_rule("/own", "own", lambda: "hello")


@pytest.mark.parametrize("early", [True, False])
def test_no_cookie_is_set_whatever_the_host_does(build: Build, early: bool) -> None:
    """s49: a visitor with a session of the host gets no cookie from our routes, and nothing varies by one."""
    site = build(permanent_session if early else lambda app: None, **NO_DOOR)
    if not early:
        permanent_session(site.app)
    client = site.client
    own = client.get("/own")
    assert len(own.headers.getlist("Set-Cookie")) == 2
    for name, answer in visit_all(client, routes(site)).items():
        assert answer.headers.getlist("Set-Cookie") == [], name
        assert answer.headers.get("Vary") in (None, "Accept-Language"), name


def talisman(app: Flask) -> None:
    """Do to each request and response what Flask-Talisman does."""

    @app.before_request
    def force_https() -> Any:
        return None if request.is_secure else redirect(request.url.replace("http://", "https://", 1), 301)

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers["Strict-Transport-Security"] = "max-age=31556926"
        return response


def test_forced_https_is_no_trouble_for_https_links(build: Build) -> None:
    """s50: our links are https, so a host that redirects http never redirects a one-click POST."""
    site = build(talisman, PREFERRED_URL_SCHEME="https", **NO_DOOR)
    assert statuses(visit_all(site.client, routes(site))) == EXPECTED


def test_the_hosts_hooks_do_not_change_where_a_link_leads(build: Build) -> None:
    """s51: host functions before, after and around each request leave the redirect as it is."""

    def hooks(app: Flask) -> None:
        app.before_request(lambda: None)
        app.after_request(lambda response: response)
        app.url_defaults(lambda endpoint, values: values.update(lang="en"))
        app.errorhandler(404)(lambda error: ("the host's own page", 404))

    site = build(hooks, **NO_DOOR)
    answers = visit_all(site.client, routes(site))
    assert statuses(answers) == EXPECTED
    assert answers["GET c"].headers["Location"] == "https://example.com/"
    assert b"the host's own page" not in answers["bad c"].data


def raising() -> dict[str, Any]:
    """Fail, as a context processor that needs a login may."""
    raise RuntimeError("no user")


def aborting() -> dict[str, Any]:
    """Fail, as a context processor that looks up a tenant may."""
    abort(403)


@pytest.mark.parametrize("front_door", [True, False])
@pytest.mark.parametrize("processor", [raising, aborting])
def test_a_failing_context_processor_costs_no_page(
    build: Build, processor: Callable[[], dict[str, Any]], front_door: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """s51: if what the host adds to each template fails, the package's own page is shown, and the host told."""
    site = build(lambda app: app.context_processor(processor), MAILTRACK_FRONT_DOOR=front_door)
    state = site.mailtrack._state()
    site.send(list_id="news")
    tokens = state.signer.message(site.rows("Message")[0].id)
    for kind in (Kind.UNSUBSCRIBE, Kind.PREFERENCES):
        response = site.client.get(f"/m/{kind[0]}/{tokens.recipient(kind, 'a' * 16)}")
        assert (response.status_code, "<h1>" in response.text) == (200, True)
    assert site.client.get("/m/u/bad").status_code == 404
    assert "showing the one of the package" in caplog.text


@pytest.mark.parametrize(
    "template",
    ["{{ 1 / 0 }}", "{% broken", "{{ url_for('nowhere') }}", "{% extends 'nowhere.html' %}", "{{ nothing.at.all }}"],
)
def test_a_broken_template_of_the_host_costs_no_page(site: Site, template: str) -> None:
    """A mistake in the host's version of a page falls back to ours: nobody is kept on a list by it."""
    paths = routes(site)
    names = ("unsubscribe", "preferences", "bad_link")
    site.app.jinja_loader = DictLoader({f"mailtrack/{name}.html": template for name in names})
    assert statuses(visit_all(site.client, paths)) == EXPECTED
    assert "<h1>" in site.client.get(paths["u"]).text


def test_a_host_can_change_one_block(site: Site) -> None:
    """``mailtrack/unsubscribe.html`` of the host may extend the package's own and change only a part of it."""
    paths = routes(site)
    site.app.jinja_loader = DictLoader(
        {
            "mailtrack/unsubscribe.html": '{% extends "flask_mailtrack/unsubscribe.html" %}'
            "{% block body %}<p>Dear reader,</p>{{ super() }}{% endblock %}",
        }
    )
    page = site.client.get(paths["u"]).text
    assert page.index("Dear reader") < page.index("<h1>Unsubscribe from <bdi>news</bdi>?</h1>")
    assert "<title>Unsubscribe</title>" in page
    assert "Dear reader" not in site.client.get(paths["p"]).text


def test_a_host_can_put_its_brand_on_every_page(site: Site) -> None:
    """``mailtrack/base.html`` of the host, extending the package's own, is behind all pages."""
    paths = routes(site)
    site.app.jinja_loader = DictLoader(
        {
            "mailtrack/base.html": '{% extends "flask_mailtrack/base.html" %}{% block lang %}de{% endblock %}'
            "{% block brand %}<b>ACME</b>{% endblock %}{% block footer %}<i>Contact</i>{% endblock %}"
        }
    )
    for path in (paths["u"], paths["p"], "/m/u/bad"):
        page = site.client.get(path).text
        assert '<html lang="de" dir="ltr">' in page
        assert "<b>ACME</b>" in page
        assert "<i>Contact</i>" in page


def test_a_host_can_replace_a_page(site: Site) -> None:
    """A page of the host's own gets everything that ours is made of."""
    paths = routes(site)
    page = "{{ state }}|{{ address }}|{{ list_title }}|{{ standing.list_id }}|{{ reasons|length }}"
    site.app.jinja_loader = DictLoader({"mailtrack/unsubscribe.html": page})
    assert site.client.get(paths["u"]).text == "ask|a•••@e•••.com|news|news|5"


def test_pages_protect_their_reader(site: Site) -> None:
    """s69, s70: pages cannot be framed, run nothing, load nothing from elsewhere, and are small."""
    answers = visit_all(site.client, routes(site))
    for name in ("GET u", "GET p", "bad u", "bad c", "POST u", "POST p"):
        answer = answers[name]
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert len(answer.data) <= 15_000
        assert "http" not in answer.text
        assert "<script" not in answer.text
        assert " style=" not in answer.text
        assert answer.text.count("<h1>") == answer.text.count("<main") == 1
        assert '<html lang="en" dir="ltr">' in answer.text


def test_each_state_has_a_title_of_its_own(site: Site) -> None:
    """Whoever hears the title knows where they are."""
    path = routes(site)["u"]
    pages = [site.client.get(path).text]
    pages += [
        site.client.post(path, data={"action": action, "reason": "other"}).text
        for action in ("unsubscribe", "reason", "undo")
    ]
    titles = [re.findall("<title>(.*)</title>", page)[0] for page in pages]
    assert titles == ["Unsubscribe", "You have been unsubscribed", "Thank you", "You are subscribed again"]


def stylesheet(page: str) -> str:
    """Return the address of a page's style sheet."""
    return str(re.findall(r'<link rel="stylesheet" href="([^"]+)">', page)[0])


@pytest.mark.parametrize("prefix", ["/m", "/mail/track"])
def test_the_style_sheet_is_served(make_site: MakeSite, prefix: str) -> None:
    """Pages, also the one for bad links, have their style sheet, which loads nothing else."""
    site = make_site(MAILTRACK_URL_PREFIX=prefix)
    paths = routes(site)
    for page in (site.client.get(paths["u"]).text, site.client.get(f"{prefix}/u/bad").text):
        response = site.client.get(stylesheet(page))
        assert (response.status_code, response.mimetype) == (200, "text/css")
        assert "url(" not in response.text
        assert "@import" not in response.text
        response.close()


@pytest.mark.parametrize("prefix", ["/t", "/mail/track/"])
def test_the_prefix_can_be_changed(make_site: MakeSite, prefix: str) -> None:
    """All four routes move to MAILTRACK_URL_PREFIX, and leave the old one."""
    site = make_site(MAILTRACK_URL_PREFIX=prefix)
    paths = routes(site)
    assert all(path.startswith(prefix.rstrip("/") + "/") for path in paths.values())
    assert [site.client.get(paths[letter]).status_code for letter in "ocup"] == [200, 302, 200, 200]
    assert site.client.get("/m/o/x").status_code == 404


def test_an_app_below_a_path_works(make_site: MakeSite) -> None:
    """A host that is mounted below a path of its server says so in the base URL; links and style sheet follow."""
    site = make_site(MAILTRACK_BASE_URL="https://example.org/shop/")
    paths = routes(site)
    client = Client(DispatcherMiddleware(Flask("root"), {"/shop": site.app}))
    assert [client.get(paths[letter]).status_code for letter in "ocup"] == [200, 302, 200, 200]
    response = client.get(stylesheet(client.get(paths["u"]).text))
    assert response.status_code == 200
    response.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:1234", "evil.example\\x", ""])
def test_links_never_come_from_a_request(site: Site, host: str) -> None:
    """s45, s46: a mail that is sent while somebody asks under another host name still carries our own."""

    def send() -> str:
        sent = site.send(render_template_string(PAGE), list_id="news")
        return f"{sent.html} {sent.extra_headers}"

    site.app.add_url_rule("/send", "send", send)
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "gopher"}
    answer = site.client.get("/send", headers=forged, environ_overrides={"HTTP_HOST": host})
    assert answer.status_code == 200
    assert BASE_URL in answer.text
    assert "evil" not in answer.text


def test_pages_do_not_show_the_host_that_was_asked_for(site: Site) -> None:
    """s46, s47: no header is reflected in a page."""
    paths = routes(site)
    for path in (paths["u"], paths["p"], "/m/u/bad"):
        page = site.client.get(path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        assert "evil" not in page.text
        assert "evil" not in str(page.headers)


def test_a_host_that_trusts_few_hosts_is_obeyed(make_site: MakeSite) -> None:
    """s45: Flask's TRUSTED_HOSTS applies to our routes as to any other."""
    site = make_site(TRUSTED_HOSTS=["links.example.com"])
    path = routes(site)["c"]
    assert site.client.get(path, base_url=BASE_URL).status_code == 302
    assert site.client.get(path, base_url="https://evil.example").status_code == 400


SHAPES = ["/m/{}//", "/m/{}/x//y", "//m/{}/x", "//m//{}//x", "/m/{}/./x", "/m/{}/../{}/x", "/m/{}/x/", "/m/{}"]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_route_ever_redirects_to_a_cleaner_path(site: Site, shape: str) -> None:
    """s17, s18: such a redirect would lose the body of a POST and repeat whatever Host was asked for."""
    for letter, method in [("o", "GET"), ("c", "GET"), ("u", "GET"), ("u", "POST"), ("p", "GET"), ("p", "POST")]:
        path = shape.format(letter, letter)
        answer = site.client.open(path="/", method=method, environ_overrides={"PATH_INFO": path})
        assert answer.status_code == (200 if letter == "o" else 404)
        assert "Location" not in answer.headers


def test_bad_links_are_cheap(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """s02: a flood of made-up tokens reads no database and writes no spool."""
    paths = routes(site)
    monkeypatch.setattr("flask_mailtrack.storage.tables.database.Database.rows", lambda *_: pytest.fail("read"))
    monkeypatch.setattr("flask_mailtrack.storage.journal.spool.Spool.append", lambda *_, **__: pytest.fail("written"))
    for letter, path in paths.items():
        assert site.client.get(path[:20] + "a" * 60).status_code == (200 if letter == "o" else 404)


def test_bad_links_are_one_line_in_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """s15, s87: a refused token is one short line that holds nothing of the request."""
    caplog.set_level("INFO", "flask_mailtrack")
    path = "/m/u/\r\nCRITICAL forged line\u2028\x1b[31m" + "x" * 20
    site.client.open(path="/", environ_overrides={"PATH_INFO": path.encode().decode("latin-1")})
    (line,) = [r.getMessage() for r in caplog.records if r.name == "flask_mailtrack.hit"]
    assert line == "refused links: 1 since the last such line, and the last one is a token refused: short"
