"""The front door: what a host does with its own requests keeps nobody from a link of ours."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from conftest import BASE_URL, SECRET, MakeSite, Site, free_port
from flask import Flask, Response, abort, g, get_flashed_messages, redirect, request, session, url_for
from flask.cli import routes_command
from flask.sessions import SecureCookieSessionInterface
from flask_babel import Babel
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, current_user, encode_cookie
from flask_mail import Mail
from flask_seasurf import SeaSurf
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader
from redis import Redis
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from flask_mailtrack import Mailtrack
from flask_mailtrack.events import Kind, new_id

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept-Language": "en",
}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
DESTINATION = "https://example.com/a?b=c"


def links(mailtrack: Mailtrack, app: Flask, prefix: str = "/m") -> dict[str, str]:
    """The path of each kind of link, without a mail."""
    signer = mailtrack._state_of(app).signer
    tokens = signer.message(new_id())
    (ref, *_) = signer.recipient_refs("ada@example.com")
    return {
        "o": f"{prefix}/o/{tokens.open()}.gif",
        "c": f"{prefix}/c/{tokens.click(signer.stamp(0, DESTINATION))}",
        "a": f"{prefix}/a/{tokens.click(signer.stamp(0, DESTINATION))}",
        "h": f"{prefix}/h/{tokens.honeypot()}",
        "u": f"{prefix}/u/{tokens.recipient(Kind.UNSUBSCRIBE, ref)}",
        "p": f"{prefix}/p/{tokens.recipient(Kind.PREFERENCES, ref)}",
    }


GOOD = {"o": 200, "c": 302, "a": 302, "h": 204, "u": 200, "p": 200}


def statuses(client: Any, paths: dict[str, str], **options: Any) -> dict[str, int]:
    """What each link answers."""
    return {letter: client.get(path, headers=BROWSER, **options).status_code for letter, path in paths.items()}


def kept(site: Site) -> list[str]:
    """The types of all records in the journal, drained or not."""
    site.mailtrack.flush()
    return sorted(str(row.type) for row in site.rows("Event"))


SIGNALS = ("request_started", "request_finished", "request_tearing_down", "got_request_exception")


def test_nothing_of_the_host_is_asked(make_site: MakeSite) -> None:
    """Hooks, signals, session, preprocessors and error handlers of the host are not run, for bad links neither."""
    site = make_site()
    asked: list[str] = []

    def note(name: str) -> Callable[..., Any]:
        return lambda *args, **_: asked.append(name) or (args[0] if name == "after" else None)

    class Sessions(SecureCookieSessionInterface):
        def open_session(self, *_: Any) -> Any:
            asked.append("session")

    site.app.session_interface = Sessions()
    site.app.before_request(note("before"))
    site.app.after_request(note("after"))
    site.app.teardown_request(note("teardown"))
    site.app.url_value_preprocessor(note("preprocessor"))
    site.app.errorhandler(404)(note("handler"))
    receivers = [(getattr(flask, name), note(name)) for name in SIGNALS]
    for signal, receiver in receivers:
        signal.connect(receiver, site.app)
    paths = links(site.mailtrack, site.app)
    assert statuses(site.client, paths) == GOOD
    assert site.client.post(paths["u"], data=ONE_CLICK).status_code == 200
    assert site.client.get("/m/c/bad").status_code == 404
    assert site.client.get("/m/static/mailtrack.css").status_code == 200
    assert asked == []
    assert kept(site) == ["clicked", "clicked", "opened", "trapped", "unsubscribed"]
    for signal, receiver in receivers:
        signal.disconnect(receiver, site.app)


def test_links_open_no_context_of_flask(make_site: MakeSite) -> None:
    """Pixel, click, app link, honeypot and a one-click POST push no app context, so that nothing of it is torn down."""
    site = make_site(MAILTRACK_DRAIN="manual")  # a drain pushes one if anybody listens, such as a test before
    pushed: list[Any] = []
    site.app.teardown_appcontext(lambda error: pushed.append("teardown"))
    receive = lambda app, **_: pushed.append(app)  # noqa: E731 - a weak reference is kept of it
    paths = links(site.mailtrack, site.app)
    with flask.appcontext_pushed.connected_to(receive, site.app):
        for letter in "ocah":
            site.client.get(paths[letter])
        site.client.post(paths["u"], data=ONE_CLICK)
    assert pushed == []


def test_what_a_page_takes_is_given_back(site: Site) -> None:
    """A context processor that opens something finds it closed after the page, and a failure there costs no page."""
    seen: list[Any] = []

    def close(error: BaseException | None) -> None:
        seen.append(g.pop("opened", None))
        raise OSError("gone")

    site.app.context_processor(lambda: {"opened": g.setdefault("opened", "a connection")})
    site.app.teardown_appcontext(close)
    paths = links(site.mailtrack, site.app)
    assert site.client.get(paths["u"]).status_code == 200
    site.app.teardown_appcontext_funcs.remove(close)
    assert seen == ["a connection"]


def test_the_front_door_can_be_left_out(make_site: MakeSite) -> None:
    """With MAILTRACK_FRONT_DOOR = False the host's hooks come first, as they do for its own pages."""
    site = make_site(MAILTRACK_FRONT_DOOR=False)
    paths, walled = links(site.mailtrack, site.app), []
    site.app.before_request(lambda: redirect("/login") if walled else None)
    assert statuses(site.client, paths) == GOOD
    walled.append(True)
    assert set(statuses(site.client, paths).values()) == {302}
    assert site.client.get(paths["c"]).location == "/login"
    assert not {"request_context", "full_dispatch_request"} & set(vars(site.app))


def test_other_apps_of_the_process_have_no_door(make_site: MakeSite) -> None:
    """The door is one app's own: the same paths of another app are that app's."""
    make_site()
    other = Flask("other")
    other.add_url_rule("/m/o/x", "own", lambda: "its own")
    assert other.test_client().get("/m/o/x").text == "its own"


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_door_stands_inside_every_middleware(tmp_path: Path, when: str) -> None:
    """A ProxyFix that was put in before us, or after, tells us the reader's address, with or without a port."""
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(
        TESTING=True,
        SECRET_KEY=SECRET,
        MAILTRACK_BASE_URL=BASE_URL,
        MAILTRACK_IP="full",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/a.sqlite3",
    )
    if when == "before":
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]
    db, mail = SQLAlchemy(app), Mail(app)
    site = Site(app, db, mail, Mailtrack(app, mail=mail, db=db))
    if when == "after":
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]
    path = links(site.mailtrack, app)["c"]
    given = ["203.0.113.7", "203.0.113.7:51234", "[2001:db8::1]:443", "2001:db8::1", "[2001:db8::1]"]
    with app.app_context():
        db.create_all()
        for address in given:
            assert site.client.get(path, headers={**BROWSER, "X-Forwarded-For": address}).status_code == 302
        assert [row.ip for row in site.rows("Event")] == ["203.0.113.7"] * 2 + ["2001:db8::1"] * 3
        db.session.remove()
        db.engine.dispose()


def matching(**options: Any) -> Flask:
    """An app that looks at the host first."""
    return Flask("host", static_host="www.example.com" if "host_matching" in options else None, **options)


@pytest.mark.parametrize("options", [{"host_matching": True}, {"subdomain_matching": True}], ids=str)
def test_links_work_on_any_host(tmp_path: Path, options: dict[str, Any]) -> None:
    """An app that routes by host or subdomain answers links on the tracking host, which it need not know."""
    app = matching(**options)
    app.config.update(
        TESTING=True,
        SECRET_KEY=SECRET,
        SERVER_NAME="www.example.com",
        MAILTRACK_BASE_URL=BASE_URL,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/a.sqlite3",
        MAILTRACK_SPOOL_DIR=str(tmp_path / "spool"),
        MAILTRACK_DRAIN="manual",
    )
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    client = app.test_client()
    assert statuses(client, links(mailtrack, app), base_url=BASE_URL) == GOOD
    assert client.get("/m/static/mailtrack.css", base_url=BASE_URL).status_code == 200
    assert client.get("/", base_url="https://www.example.com").status_code == 404


def test_a_mounted_app_answers_below_its_mount(make_site: MakeSite) -> None:
    """Behind SCRIPT_NAME the same paths are ours there, and nowhere else."""
    site = make_site(MAILTRACK_BASE_URL=f"{BASE_URL}/shop")
    root = Flask("root")
    root.add_url_rule("/m/c/<path:rest>", "own", lambda rest: "its own")
    client = Client(DispatcherMiddleware(root, {"/shop": site.app}))
    paths = links(site.mailtrack, site.app)
    assert statuses(client, {letter: f"/shop{path}" for letter, path in paths.items()}) == GOOD
    assert client.get(paths["c"]).text == "its own"


SPELLINGS: list[Callable[[str], str]] = [
    str.upper,
    lambda path: path.replace("/", "//"),
    lambda path: f"/{path}",
    lambda path: path.replace("/", "///").upper(),
]


@pytest.mark.parametrize("spell", SPELLINGS, ids=["upper", "doubled", "first doubled", "both"])
@pytest.mark.parametrize("prefix", ["/m", "/Mail/track_1"])
def test_what_gateways_do_to_a_whole_path_is_read(
    make_site: MakeSite, spell: Callable[[str], str], prefix: str
) -> None:
    """Upper-cased as a whole, or with doubled slashes, each link does what it did."""
    site = make_site(MAILTRACK_URL_PREFIX=prefix)
    sent = site.send(f'<a href="{DESTINATION}">go</a>')
    click = sent.html.split('"')[1].removeprefix(BASE_URL)
    for letter, path in {
        **links(site.mailtrack, site.app, prefix),
        "c": click,
        "a": click.replace("/c/", "/a/"),
    }.items():
        answer = site.client.get("/", environ_overrides={"PATH_INFO": spell(path)}, headers=BROWSER)
        assert answer.status_code == GOOD[letter], letter
        if letter in "ca":
            assert answer.headers["Location"] == DESTINATION
    style = site.client.get("/", environ_overrides={"PATH_INFO": spell(f"{prefix}/static/mailtrack.css")})
    assert style.mimetype == "text/css"


@pytest.mark.parametrize("path", ["/m", "/m/", "/m/x/y", "/mm/c/x", "/m/cc", "/x/m/c/y", "/", "", "/m/c\n/x/../own"])
def test_what_is_not_ours_is_the_hosts(site: Site, path: str) -> None:
    """A path that only resembles ours is the host's."""
    site.app.errorhandler(404)(lambda error: ("the host's own page", 404))
    answer = site.client.get("/", environ_overrides={"PATH_INFO": path})
    assert answer.text == "the host's own page"


@pytest.mark.parametrize("front_door", [True, False])
def test_old_prefixes_go_on_answering(make_site: MakeSite, front_door: bool) -> None:
    """MAILTRACK_URL_PREFIX may be a list: new links have the first, and those that are out all work."""
    site = make_site(MAILTRACK_URL_PREFIX=["/new", "/m", "/a/b/"], MAILTRACK_FRONT_DOOR=front_door)
    sent = site.send(f'<a href="{DESTINATION}">go</a>')
    assert sent.html.startswith(f'<a href="{BASE_URL}/new/c/')
    for prefix in ("/new", "/m", "/a/b"):
        assert statuses(site.client, links(site.mailtrack, site.app, prefix)) == GOOD
        with site.client.get(f"{prefix}/static/mailtrack.css") as style:
            assert style.mimetype == "text/css"
    with site.app.test_request_context():
        assert url_for("mailtrack.open", path="x") == "/new/o/x"
    for prefix in ("/m", "/a/b"):  # a link of a former prefix is ours, and is not wrapped again
        again = site.send(f'<a href="{BASE_URL}{prefix}/c/x">go</a>')
        assert f'<a href="{BASE_URL}{prefix}/c/x">' in again.html


def test_routes_and_endpoints_stay(site: Site) -> None:
    """``flask routes`` and ``url_for`` know our paths, and a test's request context of one of them is a real one."""
    listed = site.app.test_cli_runner().invoke(routes_command).output
    for name in ("open", "click", "honeypot", "unsubscribe", "preferences", "static"):
        assert f"mailtrack.{name} " in listed
    with site.app.test_request_context("/m/u/x", method="POST", environ_overrides={"REMOTE_ADDR": "203.0.113.7"}):
        assert (request.endpoint, request.blueprint, request.remote_addr) == (
            "mailtrack.unsubscribe",
            "mailtrack",
            "203.0.113.7",
        )
        assert url_for("mailtrack.click", path="x") == "/m/c/x"
        assert site.app.full_dispatch_request().status_code == 404


def test_the_hosts_own_requests_are_as_before(site: Site) -> None:
    """All that the host serves itself has its hooks and its session, also in one client with clicks between."""

    def own() -> str:
        session["seen"] = session.get("seen", 0) + 1
        return str(session["seen"])

    site.app.add_url_rule("/own", "own", own)
    path = links(site.mailtrack, site.app)["c"]
    with site.client as client:
        assert [client.get("/own").text, client.get(path).status_code, client.get("/own").text] == ["1", 302, "2"]
        assert session["seen"] == 2
    for letter, allowed in (("c", "GET, HEAD, OPTIONS"), ("u", "GET, HEAD, OPTIONS, POST")):
        path = links(site.mailtrack, site.app)[letter]
        assert (site.client.put(path).status_code, site.client.put(path).headers["Allow"]) == (405, allowed)
        assert (site.client.options(path).status_code, site.client.options(path).headers["Allow"]) == (200, allowed)
    assert site.client.post(links(site.mailtrack, site.app)["c"]).status_code == 405
    assert [str(row.type) for row in site.rows("Event")] == ["clicked"]


def test_pages_are_the_hosts_in_look_and_language(site: Site) -> None:
    """Templates, context processors and Flask-Babel's language are used; session and cookies are empty to them."""
    Babel(site.app, locale_selector=lambda: "de" if request.args.get("lang") == "de" else "en")
    site.app.context_processor(lambda: {"brand": "ACME", "seen": dict(session), "cookies": dict(request.cookies)})
    page = "{{ brand }}|{{ seen }}|{{ cookies }}|{{ request.blueprint }}|{{ get_flashed_messages() }}|{{ t.language }}"
    site.app.jinja_loader = DictLoader({"mailtrack/unsubscribe.html": page})
    with site.client as client:
        client.set_cookie("lang", "xx")
        with client.session_transaction() as written:
            written["user"] = 1
        answer = client.get(links(site.mailtrack, site.app)["u"] + "?lang=de")
    assert answer.text == "ACME|{}|{}|mailtrack|[]|de"
    assert answer.headers["Content-Language"] == "de"
    assert get_flashed_messages is not None


def write() -> dict[str, Any]:
    """A context processor that counts in the session."""
    session["seen"] = session.get("seen", 0) + 1
    return {}


def default() -> dict[str, Any]:
    """One that does so in another way."""
    return {"seen": session.setdefault("seen", 1)}


def ask_the_database() -> dict[str, Any]:
    """One that needs what is away."""
    raise OSError("no database")


@pytest.mark.parametrize("processor", [write, default, ask_the_database, lambda: abort(401)])
def test_what_a_host_cannot_do_here_costs_no_page(
    site: Site, processor: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """If a processor writes to the session, or fails, the package's page is shown, and the log has a line."""
    site.app.context_processor(processor)
    for path in (links(site.mailtrack, site.app)["u"], "/m/c/bad"):
        answer = site.client.get(path)
        assert answer.status_code in (200, 404)
        assert "<h1>" in answer.text
        assert "Set-Cookie" not in answer.headers
    assert caplog.text.count("showing the one of the package") == 2


def test_a_context_that_cannot_be_made_costs_no_page(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A receiver of Flask's signal that fails leaves the reader with the package's page, in their language."""

    def fail(app: Flask, **_: Any) -> None:
        raise OSError("gone")

    with flask.appcontext_pushed.connected_to(fail, site.app):
        answer = site.client.get(links(site.mailtrack, site.app)["u"], headers={"Accept-Language": "de"})
    assert (answer.status_code, answer.headers["Content-Language"]) == (200, "de")
    assert "without a request context" in caplog.text


def test_a_remembered_reader_is_not_logged_in_by_a_page(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Flask-Login's processor finds nobody, whatever cookie comes: no user is loaded, and the host's page is shown."""
    manager = LoginManager(site.app)
    manager.user_loader(lambda identifier: pytest.fail("loaded"))
    site.app.jinja_loader = DictLoader({"mailtrack/unsubscribe.html": "{{ current_user.is_authenticated }}"})
    client = site.client
    client.set_cookie("remember_token", encode_cookie("1"))
    assert client.get(links(site.mailtrack, site.app)["u"]).text == "False"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_files_for_apps_are_answered_at_the_door(make_site: MakeSite) -> None:
    """The files that a phone asks for come past a login wall, on tracking hosts alone."""
    site = make_site(MAILTRACK_ASSETLINKS=[{"relation": []}])
    site.app.before_request(lambda: redirect("/login"))
    path = "/.well-known/assetlinks.json"
    assert json.loads(site.client.get(path, base_url=BASE_URL).text) == [{"relation": []}]
    assert site.client.get(path, base_url="https://www.example.com").location == "/login"


def test_a_fault_of_ours_is_asked_again_later(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is a 503, which mail providers try again, and a line in the log; never a traceback."""
    path = links(site.mailtrack, site.app)["u"]
    monkeypatch.setattr("flask_mailtrack.incoming.views.wished", lambda *_: 1 / 0)
    answer = site.client.post(path, data=ONE_CLICK)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert "ZeroDivisionError" in caplog.text


class Own(Flask):
    """An app class that handles requests in its own way."""

    def wsgi_app(self, environ: Any, start_response: Any) -> Any:
        """Answer by hand."""
        with Flask.request_context(self, environ):
            return Response("mine")(environ, start_response)


class Polite(Flask):
    """One that only looks."""

    def wsgi_app(self, environ: Any, start_response: Any) -> Any:
        """Pass on."""
        return super().wsgi_app(environ, start_response)


@pytest.mark.parametrize(("kind", "code"), [(Own, 1), (Polite, 0), (Flask, 0)])
def test_check_names_a_class_that_shuts_the_door(tmp_path: Path, kind: type[Flask], code: int) -> None:
    """``flask mailtrack check`` names an app class that overrides wsgi_app without calling Flask's."""
    app = kind("host", instance_path=str(tmp_path))
    app.config.update(
        TESTING=True,
        SECRET_KEY=SECRET,
        MAILTRACK_BASE_URL=BASE_URL,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/a.sqlite3",
    )
    db, mail = SQLAlchemy(app), Mail(app)
    Mailtrack(app, mail=mail, db=db)
    with app.app_context():
        db.create_all()
        result = app.test_cli_runner().invoke(args=["mailtrack", "check"])
        db.engine.dispose()
    assert result.exit_code == code, result.output
    assert ("Own.wsgi_app does not call Flask's" in result.output) == bool(code)


def test_check_tells_of_a_middleware_before_the_door(make_site: MakeSite) -> None:
    """What answers in front of the door cannot be gone round, so it is found by a request like a reader's."""
    site = make_site()
    site.app.wsgi_app = lambda environ, start: Response("no", 401)(environ, start)  # type: ignore[method-assign]
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    assert result.exit_code == 1
    assert "error   C42  a middleware answers our paths" in result.output
    assert "error   C43" in result.output


@pytest.fixture(name="hostile")
def _hostile(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Flask, Mailtrack]]:
    """A host in which everything stands in the way at once; the parameter is MAILTRACK_FRONT_DOOR."""
    app = Flask("host", instance_path=str(tmp_path), host_matching=True, static_host="www.example.com")
    app.config.update(
        SECRET_KEY=SECRET,
        SESSION_TYPE="redis",
        SESSION_REDIS=Redis(port=free_port(), socket_connect_timeout=0.2),
        SQLALCHEMY_DATABASE_URI=f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/away?connect_timeout=1",
        MAILTRACK_BASE_URL=BASE_URL,
        MAILTRACK_SPOOL_DIR=str(tmp_path / "spool"),
        MAILTRACK_SPOOL_FALLBACK_DIR=str(tmp_path / "second"),
        MAILTRACK_DRAIN="manual",
        MAILTRACK_FRONT_DOOR=request.param,
    )
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    Session(app)
    SeaSurf(app)
    Limiter(get_remote_address, app=app, default_limits=["10 per hour"], storage_uri="memory://")
    manager = LoginManager(app)
    manager.user_loader(lambda identifier: db.session.execute(db.text("SELECT 1")))

    @app.before_request
    def wall() -> Any:
        return None if current_user.is_authenticated else redirect("/login")

    yield app, mailtrack
    with app.app_context():
        db.engine.dispose()


def records(folder: Path) -> list[dict[str, Any]]:
    """All records of the journal."""
    files = [*folder.glob("spool/*/events-*"), *folder.glob("spool/*/optouts-*")]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [json.loads(line[line.index("{") : line.rindex("}") + 1]) for line in lines]


@pytest.mark.parametrize("hostile", [True], indirect=True)
def test_a_thousand_readers_come_through_everything(hostile: tuple[Flask, Mailtrack], tmp_path: Path) -> None:
    """No session store or database, CSRF, limits, a login wall, host matching: 3,000 hits right, and all kept."""
    app, mailtrack = hostile
    client = app.test_client()
    client.set_cookie("session", "of-somebody", domain="links.example.com")
    paths = links(mailtrack, app)
    for _ in range(1_000):
        click = client.get(paths["c"], base_url=BASE_URL, headers=BROWSER)
        assert (click.status_code, click.headers["Location"]) == (302, DESTINATION)
        opened = client.get(paths["o"], base_url=BASE_URL, headers=BROWSER)
        assert (opened.status_code, opened.mimetype) == (200, "image/gif")
        left = client.post(paths["u"], base_url=BASE_URL, data=ONE_CLICK)
        assert (left.status_code, left.text) == (200, "You are unsubscribed.\n")
    found = [record for record in records(tmp_path) if record.get("k") == "hit"]
    assert len({record["id"] for record in found}) == 3_000
    for kind in ("clicked", "opened", "unsubscribed"):
        assert sum(record["type"] == kind for record in found) == 1_000


@pytest.mark.parametrize("hostile", [False], indirect=True)
def test_without_the_door_the_same_host_loses_them(hostile: tuple[Flask, Mailtrack], tmp_path: Path) -> None:
    """With MAILTRACK_FRONT_DOOR = False the same requests fail, one way or another, and nothing is kept."""
    app, mailtrack = hostile
    client = app.test_client()
    paths = links(mailtrack, app)
    answers = [
        client.get(paths["c"], base_url=BASE_URL, headers=BROWSER),
        client.get(paths["o"], base_url=BASE_URL, headers=BROWSER),
        client.post(paths["u"], base_url=BASE_URL, data=ONE_CLICK),
    ]
    assert {answer.status_code for answer in answers} <= {302, 400, 403, 404, 429, 500}
    assert all(answer.headers.get("Location") != DESTINATION for answer in answers)
    assert not any(answer.mimetype == "image/gif" for answer in answers)
    assert records(tmp_path) == []
