"""Who gets in: whoever the host names, and nobody else, whatever the host's function does."""

from __future__ import annotations

import logging
import re
from itertools import chain, combinations
from typing import Any
from uuid import uuid4

import pytest
from conftest import MakeSite, Site
from console_visitor import ALL, Visitor
from flask import Flask, redirect, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack
from flask_mailtrack.console.access import PERMISSIONS, Viewer
from flask_mailtrack.console.console import ROUTES
from flask_mailtrack.scope import Scope

SUBSETS = list(chain.from_iterable(combinations(PERMISSIONS, size) for size in range(5)))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def paths(site: Site) -> list[str]:
    """Return an address for each rule of the console, as the app itself knows them."""
    rules = [rule for rule in site.app.url_map.iter_rules() if rule.endpoint.startswith("mailtrack_console.")]
    values = {"key": uuid4(), "host": "links.example.com", "filename": "console.css", "tag": "x"}
    adapter = site.app.url_map.bind("localhost")
    return sorted({adapter.build(rule.endpoint, {a: values[a] for a in rule.arguments}) for rule in rules})


def fails() -> None:
    raise RuntimeError("no user")


async def waits() -> set[str]:
    return set(ALL)


WRONG: list[Any] = [
    None,
    lambda: None,
    lambda: "view",
    lambda: True,
    lambda: 1,
    lambda: {"view": True},
    lambda: {"view", "admin"},
    lambda: [["view"]],
    lambda: set(),
    lambda: {"manage", "export", "addresses"},
    fails,
    waits,
]


@pytest.mark.parametrize("debug", [False, True])
def test_whatever_is_not_understood_closes_every_route(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    """Every route and method answers as if it were not there, and the log says once what to write."""
    for wrong in WRONG:
        site = make_site(tables=False)
        site.app.debug = debug
        site.app.register_blueprint(site.mailtrack.console(access=wrong), url_prefix="/mt")
        caplog.clear()
        nothing = {method: site.client.open("/nothing", method=method) for method in METHODS}
        asked = paths(site)
        assert len(asked) > 15
        for path in ("/mt//machines", "/mt/static//console.css"):
            assert site.client.get(path).status_code == 404  # and no redirect to where the page is
        for path in ("/mt", *asked, *(f"{path}/" for path in asked)):
            for method in METHODS:
                answer = site.client.open(path, method=method)
                assert answer.status_code == 404, (wrong, method, path)
                assert (answer.data, list(answer.headers)) == (nothing[method].data, list(nothing[method].headers))
        told = [record for record in caplog.records if record.levelno == logging.WARNING]
        quiet = (wrong is not None and not callable(wrong)) or (wrong is not None and wrong in WRONG[8:10])
        assert len(told) == (0 if quiet else 1), wrong
        assert all('url_prefix="/mailtrack"' in record.getMessage() for record in told)


def test_a_scope_that_is_not_understood_closes_the_console(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A tenant sees nothing rather than everything if the host cannot say what is theirs."""
    seen = Visitor(site)
    for wrong in ("example.org", {"example.org"}, 7):
        seen.scope = wrong
        seen.get("/domains", status=404)
    assert len(caplog.records) == 1
    seen.scope = Scope(sender_domains={"example.org"})
    seen.get("/domains")


def test_a_response_of_the_host_passes(site: Site) -> None:
    """A redirect to the login page is the answer, with the headers that the host gave it."""
    seen = Visitor(site, access=lambda: redirect("/login"))
    answer = seen.client.get("/mt/domains")
    assert (answer.status_code, answer.location) == (302, "/login")
    assert "Content-Security-Policy" not in answer.headers


def test_every_route_has_a_permission() -> None:
    """A new page is closed until somebody has decided who may see it, and whatever changes something is managed."""
    for route in ROUTES:
        assert route.needs in PERMISSIONS, route
        assert len(route.methods) == 1, route
        if route.methods != ("GET",):
            assert route.needs in ("manage", "view"), route
    assert {route.name for route in ROUTES if route.needs == "view" and "POST" in route.methods} <= SEARCHES


SEARCHES = {"messages_search", "people_search", "suppressions_search"}
"""Forms that change nothing: an address is sent so that it stands in no URL."""


def test_every_rule_of_the_blueprint_is_a_route_of_the_list(site: Site) -> None:
    """No page is there that this file does not walk."""
    Visitor(site)
    found = {
        rule.endpoint.partition(".")[2]
        for rule in site.app.url_map.iter_rules()
        if rule.endpoint.startswith("mailtrack_console.")
    }
    assert found == {route.name for route in ROUTES} | {"static"}


def test_each_page_with_each_subset_of_the_permissions(site: Site) -> None:
    """A page is there for whoever has view and what it needs, and has no button for what its viewer may not do."""
    site.send(to="ada@secret.example")
    seen = Visitor(site)
    values = {"key": uuid4(), "host": "links.example.com"}
    for permissions in SUBSETS:
        seen.permissions = permissions
        adapter = site.app.url_map.bind("localhost")
        for route in ROUTES:
            arguments = {
                name: value for name, value in values.items() if f":{name}>" in route.rule or f"<{name}>" in route.rule
            }
            path = adapter.build(f"mailtrack_console.{route.name}", arguments, method=route.methods[0])
            answer = seen.client.open(path, method=route.methods[0])
            if not {"view", route.needs} <= set(permissions):
                assert answer.status_code == 404, (permissions, path)
                assert "<html lang=en" in answer.text or "Not Found" in answer.text
                continue
            assert answer.status_code in ((400,) if route.methods == ("POST",) else (200, 302, 303, 404)), (
                permissions,
                path,
            )
            if "addresses" not in permissions:
                assert "ada@secret.example" not in answer.text, path
            if "manage" not in permissions and answer.status_code == 200:
                inside = answer.text.partition("<main")[2]
                assert 'name="form_token"' not in inside or route.name in MAY_SEARCH, path
            if "export" not in permissions:
                assert "format=csv" not in answer.text, path
                if route.methods == ("GET",) and answer.status_code == 200:
                    again = seen.client.get(path, query_string={"format": "csv"})
                    assert again.mimetype != "text/csv", path


MAY_SEARCH = {"messages", "people", "suppressions"}


def test_a_name_has_an_end() -> None:
    """What the log keeps of a name is bounded, and anything can be a name."""
    assert len(Viewer(["view"], "x" * 1_000).name) == 320
    assert Viewer({"manage"}).may("manage") is False
    for wrong in ("view", {"admin"}):
        with pytest.raises(ValueError, match="Write a set of: view"):
            Viewer(wrong)


def test_two_apps_have_two_consoles(make_site: MakeSite) -> None:
    """Each app has its own viewers, and the form of one app is worth nothing at the other."""
    first, second = make_site(), make_site(MAILTRACK_APP_ID="second")
    for site in (first, second):
        site.send()
    here, there = Visitor(first), Visitor(second, ("view",))
    form = here.fields("/domains", "/domains") | {"prefix": "click"}
    assert there.client.post(form["@action"], data=form).status_code == 404
    there.permissions = ALL
    assert there.client.post(form["@action"], data=form).status_code == 400
    assert here.client.post(form["@action"], data=form).status_code == 303


def test_a_factory_mounts_one_console_in_many_apps(make_site: MakeSite) -> None:
    """The blueprint can be made once, beside the extension, and be registered by each app that a factory makes."""
    site = make_site()
    console = site.mailtrack.console(access=lambda: set(ALL))
    for number in range(2):
        app = Flask(f"made{number}")
        app.config.update(site.app.config, SQLALCHEMY_DATABASE_URI="sqlite://")
        db, mail = SQLAlchemy(app), Mail(app)
        Mailtrack(app, mail=mail, db=db)
        app.register_blueprint(console, url_prefix="/mt")
        with app.app_context():
            db.create_all()
            assert app.test_client().get("/mt/settings").status_code == 200
            db.engine.dispose()


@pytest.mark.parametrize(
    ("prefix", "options", "root"),
    [
        ("/a/deep/prefix", {}, ""),
        ("/mt", {}, "/behind/a/proxy"),
        ("", {"subdomain": "mail"}, ""),
        ("/mt", {"name": "another"}, ""),
    ],
    ids=["prefix", "script-name", "subdomain", "name"],
)
def test_the_console_is_at_home_at_any_address(
    make_site: MakeSite, prefix: str, options: dict[str, Any], root: str
) -> None:
    """Every link, form and file of a page leads to where the console is mounted."""
    site = make_site(SERVER_NAME="example.com", APPLICATION_ROOT="/")
    site.app.subdomain_matching = "subdomain" in options
    if "subdomain" in options:
        site.app.url_map.default_subdomain = ""
    console = site.mailtrack.console(access=lambda: set(ALL))
    site.app.register_blueprint(console, url_prefix=prefix or None, **options)
    base = f"http://{'mail.' if 'subdomain' in options else ''}example.com{root}"
    page = site.client.get(f"{prefix}/settings", base_url=base)
    assert page.status_code == 200
    for url in re.findall(r'(?:href|src|action)="(?!data:|#)([^"]+)"', page.text):
        assert url.startswith(f"{root}{prefix}/"), url
        path = url.removeprefix(root).partition("#")[0]
        if "/settings/" not in path:
            assert site.client.get(path, base_url=base).status_code in (200, 503), url


def test_the_console_has_a_host_of_its_own(make_site: MakeSite) -> None:
    """An app that tells hosts apart names the console's."""
    site = make_site(tables=True)
    app = Flask("hosts", host_matching=True, static_host="www.example.com")
    app.config.update(site.app.config, SQLALCHEMY_DATABASE_URI="sqlite://")
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    app.register_blueprint(mailtrack.console(access=lambda: set(ALL), host="ops.example.com"), url_prefix="/mt")
    with app.app_context():
        db.create_all()
        assert app.test_client().get("/mt/settings", base_url="http://ops.example.com").status_code == 200
        assert app.test_client().get("/mt/settings", base_url="http://www.example.com").status_code == 404
        db.engine.dispose()


def test_the_hosts_own_login_decides(make_site: MakeSite) -> None:
    """With Flask-Login, whoever is logged in with the right role sees the console, and the log has their name."""
    site = make_site()
    login = LoginManager(site.app)

    class User(UserMixin):
        def __init__(self, name: str) -> None:
            self.id = name

    login.user_loader(User)

    @site.app.post("/login")
    def log_in() -> str:
        login_user(User(request.form["name"]))
        return ""

    def access() -> Any:
        if not current_user.is_authenticated:
            return login.unauthorized() if login.login_view else set()
        return Viewer(ALL if current_user.id == "mara" else (), current_user.id)

    seen = Visitor(site, access=access)
    seen.get("/settings", status=404)
    seen.client.post("/login", data={"name": "guest"})
    seen.get("/settings", status=404)
    seen.client.post("/login", data={"name": "mara"})
    seen.submit("/settings", "/settings", opens=None)
    assert site.mailtrack.settings.history()[0].changed_by == "mara"


def test_a_hosts_404_page_is_that_of_the_closed_console(site: Site) -> None:
    """Who may not look gets the very page of an address that does not exist."""
    site.app.register_error_handler(404, lambda error: (f"lost: {session.get('x', '')}", 404))
    seen = Visitor(site, ())
    assert seen.get("/settings", status=404) == seen.client.get("/nothing").text == "lost: "
    seen.permissions = ALL
    assert "There is no such domain." in seen.get("/domains/nothing.example", status=404)
    seen.permissions = ()  # whoever comes next in a context that outlives a request is nobody again
    assert seen.get("/settings", status=404) == "lost: "


def test_a_console_of_an_app_that_is_switched_off(make_site: MakeSite) -> None:
    """With MAILTRACK_ENABLED off the pages stand, over nothing."""
    site = make_site(tables=False, MAILTRACK_ENABLED=False)
    seen = Visitor(site)
    for path in ("/", "/domains", "/settings", "/machines", "/health", "/live"):
        seen.get(path)
