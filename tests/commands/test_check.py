"""``flask mailtrack check``: what would keep tracking from working."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from conftest import SECRET, MakeSite, Site
from flask import abort, make_response, redirect, request
from flask_wtf import CSRFProtect

from flask_mailtrack.events import now

GOOD_SECRET = "a secret of at least thirty-two bytes"


def run(site: Site, *arguments: str) -> Result:
    """Run a command of the app."""
    result = site.app.test_cli_runner().invoke(args=["mailtrack", *arguments])
    assert SECRET not in result.output
    return result


@pytest.fixture(name="site")
def _site(make_site: MakeSite, tmp_path: Path) -> Site:
    """A site with a good secret, and networks that are of today whenever the tests run."""
    networks = tmp_path / "networks.txt"
    networks.write_text(f"[certain] {now().date()}\n")
    return make_site(SECRET_KEY=GOOD_SECRET, MAILTRACK_NETWORKS=str(networks))


def test_check_finds_nothing(site: Site) -> None:
    """A good set-up has a line for each thing that was looked at, and exit code 0."""
    result = run(site, "check")
    assert result.exit_code == 0, result.output
    assert re.findall(r"^(\w+) +(C\d\d)", result.output, re.MULTILINE) == [
        ("ok", "C10"),
        ("ok", "C11"),
        ("ok", "C12"),
        ("ok", "C13"),
        ("ok", "C20"),
        ("ok", "C30"),
        ("ok", "C40"),
        ("ok", "C41"),
        ("ok", "C42"),
        ("ok", "C43"),
        ("ok", "C50"),
        ("ok", "C63"),
    ]
    assert site.rows("Event") == []


def wall(site: Site) -> None:
    """Put a login before everything."""
    site.app.before_request(lambda: redirect("/login"))


def maintenance(site: Site) -> None:
    """Close the whole app."""
    site.app.before_request(lambda: abort(503))


def csrf_of_its_own(site: Site) -> None:
    """Protect forms by hand, so that we cannot know."""
    site.app.before_request(lambda: abort(400) if request.method == "POST" else None)


def cookies(site: Site) -> None:
    """Replace every answer, cookie included."""

    @site.app.after_request
    def replace(response: Any) -> Any:
        answer = make_response(b"GIF89a", 200)
        answer.mimetype = "image/gif"
        answer.set_cookie("a", "b")
        return answer


def no_tables(site: Site) -> None:
    """Forget to create the tables."""
    site.db.drop_all()


def broken_hook(site: Site) -> None:
    """Fail before each request."""
    site.app.before_request(lambda: 1 / 0)


BROKEN: list[tuple[Callable[[Site], None], set[str], str]] = [
    (wall, {"C40", "C41", "C43"}, "the pixel answers 302: something stands before the routes"),
    (maintenance, {"C40", "C41", "C43"}, "a one-click POST is answered 503 before its token is read"),
    (csrf_of_its_own, {"C41"}, "a one-click POST is answered 400 before its token is read"),
    (cookies, {"C40", "C41", "C43"}, "the pixel sets a cookie"),
    (no_tables, {"C30"}, "no table mailtrack_message, mailtrack_event, mailtrack_optout, mailtrack_link"),
    (broken_hook, {"C40", "C41", "C43"}, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("breaks", "codes", "text"), BROKEN, ids=[b[0].__name__ for b in BROKEN])
def test_check_finds_what_is_wrong(
    make_site: MakeSite, breaks: Callable[[Site], None], codes: set[str], text: str
) -> None:
    """s50: what keeps readers out, or rows from being kept, is an error with a code, and exit code 1."""
    site = make_site(SECRET_KEY=GOOD_SECRET, MAILTRACK_FRONT_DOOR=False)
    breaks(site)
    result = run(site, "check")
    assert result.exit_code == 1
    assert set(re.findall(r"^error +(C\d\d)", result.output, re.MULTILINE)) == codes
    assert text in result.output


@pytest.mark.parametrize("breaks", [wall, maintenance, csrf_of_its_own, cookies, broken_hook])
def test_what_stands_behind_the_front_door_is_in_nobodys_way(site: Site, breaks: Callable[[Site], None]) -> None:
    """With the front door, the same hooks of a host keep no reader out, so there is nothing to find."""
    breaks(site)
    result = run(site, "check")
    assert result.exit_code == 0, result.output


def test_check_says_what_must_be_signed(make_site: MakeSite) -> None:
    """Without a DKIM signature over them no provider shows the headers' button; without https there is none to show."""
    words = "DKIM must sign (in its h= tag): List-Unsubscribe, List-Unsubscribe-Post, List-Id"
    assert words in run(make_site(SECRET_KEY=GOOD_SECRET), "check").output
    for without in ({"MAILTRACK_UNSUBSCRIBE": False}, {"MAILTRACK_BASE_URL": "http://links.example.com"}):
        assert "DKIM" not in run(make_site(SECRET_KEY=GOOD_SECRET, **without), "check").output


def test_check_lets_csrf_protection_pass(site: Site) -> None:
    """Flask-WTF does not stand in the way, so there is nothing to find."""
    CSRFProtect(site.app)
    assert run(site, "check").exit_code == 0


def test_check_finds_a_spool_that_cannot_be_used(make_site: MakeSite, tmp_path: Path) -> None:
    """A journal that cannot be written is an error: without it nothing is recorded."""
    (tmp_path / "file").write_text("not a directory")
    result = run(make_site(MAILTRACK_SPOOL_DIR=str(tmp_path / "file")), "check")
    assert result.exit_code == 1
    assert re.search(r"^error +C20  the spool .*file/\w+ cannot be used", result.output, re.MULTILINE)


def test_check_finds_a_full_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions tell nothing of a full or read-only disk, so a file is written for a try."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    result = run(site, "check")
    assert result.exit_code == 1
    assert "No space left on device" in result.output


def test_check_warns(make_site: MakeSite, tmp_path: Path) -> None:
    """Warnings name what is weak but works: http links, a short key, a spool that others can read, kept records."""
    spool = tmp_path / "open"
    site = make_site(MAILTRACK_BASE_URL="http://localhost", SECRET_KEY="short", MAILTRACK_SPOOL_DIR=str(spool))
    own = site.mailtrack._state().journals[0].directory
    own.mkdir(parents=True, exist_ok=True)
    own.chmod(0o755)
    (own / "bad-events.jsonl").write_text("{}")
    result = run(site, "check")
    assert result.exit_code == 0
    assert re.findall(r"^warning +(C\d\d)", result.output, re.MULTILINE) == ["C10", "C11", "C20", "C21"]
    assert "short" not in result.output
