"""Without the front door, ``flask mailtrack check`` says who stands before a one-click POST, and the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import MakeSite, Site
from flask import Flask, Response, abort, redirect, request
from flask_login import LoginManager, current_user
from flask_talisman import Talisman
from flask_wtf import CSRFProtect


def check(site: Site) -> tuple[int, str]:
    """Run the command; its exit code and what it says of the one-click POST."""
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    return result.exit_code, next(line for line in result.output.splitlines() if " C41 " in line)


def require_login(app: Flask) -> None:
    """A login for everything, by Flask-Login."""
    manager = LoginManager(app)
    manager.user_loader(lambda identifier: None)

    @app.before_request
    def everybody_logs_in() -> Any:
        return None if current_user.is_authenticated else redirect("/login")


def forbid(app: Flask) -> None:
    """A login that answers 401."""
    app.before_request(lambda: abort(401))


class SeaCsrf:
    """Another library's protection of forms."""

    def refuse(self) -> None:
        """Refuse each POST."""
        if request.method == "POST":
            abort(400)


def other_csrf(app: Flask) -> None:
    """Set it up."""
    app.before_request(SeaCsrf().refuse)


def to_https(app: Flask) -> None:
    """Send http to https by hand, behind a proxy that Flask has not been told of."""
    app.before_request(lambda: redirect(f"https://links.example.com{request.path}", 301))


def maintenance(app: Flask) -> None:
    """Close the whole app."""
    app.before_request(lambda: Response("Back soon", 503))


def limited(app: Flask) -> None:
    """Answer too many requests."""
    app.before_request(lambda: abort(429))


def failing(app: Flask) -> None:
    """Fail before each request."""

    @app.before_request
    def find_tenant() -> None:
        raise LookupError("no tenant")


def failing_teardown(app: Flask) -> None:
    """Fail behind each request."""

    @app.teardown_request
    def hang_up(error: BaseException | None) -> None:
        raise OSError("gone")


def failing_app_teardown(app: Flask) -> None:
    """Fail behind each context."""

    @app.teardown_appcontext
    def lock_up(error: BaseException | None) -> None:
        raise OSError("gone")


WALLS: list[tuple[Callable[[Flask], None], list[str]]] = [
    (require_login, ["302", "a login wall", "everybody_logs_in", 'request.blueprint == "mailtrack"']),
    (forbid, ["401", "a login wall", "forbid"]),
    (other_csrf, ["400", "CSRF protection", "SeaCsrf.refuse"]),
    (to_https, ["301", "a redirect to https", "ProxyFix"]),
    (maintenance, ["503", "maintenance", "leave a list at any time"]),
    (limited, ["429", "a rate limit"]),
    (failing, ["find_tenant fails with LookupError: no tenant"]),
    (failing_teardown, ["OSError: gone in the teardown function hang_up (", "after the answer was made"]),
    (failing_app_teardown, ["OSError: gone in the teardown function lock_up ("]),
]


@pytest.mark.parametrize(("build", "texts"), WALLS, ids=[build.__name__ for build, _ in WALLS])
def test_each_wall_is_told_apart(make_site: MakeSite, build: Callable[[Flask], None], texts: list[str]) -> None:
    """s50: the finding names the kind of wall, the host's function, and the cure."""
    site = make_site(PROPAGATE_EXCEPTIONS=False, MAILTRACK_FRONT_DOOR=False)
    app = site.app
    build(app)
    code, line = check(site)
    app.teardown_request_funcs.clear()
    app.teardown_appcontext_funcs[:] = [f for f in app.teardown_appcontext_funcs if f.__name__ != "lock_up"]
    assert code == 1
    assert [text for text in texts if text not in line] == []


def no_wall(app: Flask) -> None:
    """Everything that lets us pass."""
    CSRFProtect(app)
    Talisman(app)
    LoginManager(app).user_loader(lambda identifier: None)
    app.before_request(lambda: None if request.blueprint == "mailtrack" else abort(403))


def test_what_lets_us_pass_is_no_wall(make_site: MakeSite) -> None:
    """CSRFProtect, Talisman, and a login that follows the advice are no finding."""
    site = make_site(MAILTRACK_FRONT_DOOR=False)
    no_wall(site.app)
    assert check(site) == (0, "ok      C41  a one-click POST comes through")


def test_an_answer_that_no_hook_gave_is_still_a_finding(make_site: MakeSite) -> None:
    """Where an after_request replaces the answer, nobody can be named; the status is told all the same."""
    site = make_site(MAILTRACK_FRONT_DOOR=False)
    site.app.after_request(lambda response: Response("own page", 418))
    code, line = check(site)
    assert code == 1
    assert line.endswith("a one-click POST is answered 418 before its token is read")
