"""``flask mailtrack …``: figures, checks, the spool, and what a link stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import sqlalchemy as sa
from click.testing import Result
from conftest import BASE_URL, SECRET, MakeSite, Site
from flask import Flask, abort, make_response, redirect, render_template_string, request
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect

from flask_mailtrack import Mailtrack
from flask_mailtrack.events import now
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/a?b=c">a</a> <a href="{{ preferences_url() }}">p</a></p>'
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


def send(site: Site, **options: Any) -> Reader:
    """Send a mail with all four kinds of links and return its reader."""
    return Reader(site.client, site.send(render_template_string(HTML), list_id="news", **options))


def test_stats_are_a_table(site: Site) -> None:
    """A person reads counts, and rates with what they are of."""
    reader = send(site)
    send(site)
    reader.open()
    reader.open()
    result = run(site, "stats")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert ["sent", "2"] in lines
    assert ["opened", "1", "50.0%", "of", "2,", "2", "in", "all"] in lines
    assert ["clicked", "0", "0.0%", "of", "2,", "0", "in", "all"] in lines


def test_stats_of_nothing_have_no_rate(site: Site) -> None:
    """Without mail there is no rate of 0 %."""
    result = run(site, "stats")
    assert result.exit_code == 0
    assert "opened                 0  no rate of 0, 0 in all" in result.output


def test_stats_are_json_for_machines(site: Site) -> None:
    """``--json`` prints one object with the names of :class:`Stats`."""
    send(site, tag="welcome").open()
    send(site, tag="other")
    result = run(site, "stats", "--json", "--tag", "welcome", "--list", "news", "--since", "2020-01-01")
    figures = json.loads(result.output)
    opened = {"total": 1, "unique": 1, "of": 1, "aggregate": 0, "aggregate_of": 0}
    assert (figures["sent"], figures["opened"]) == (1, opened)
    assert json.loads(run(site, "stats", "--json", "--until", "2020-01-01T00:00:00").output)["sent"] == 0


def test_a_wrong_date_is_refused(site: Site) -> None:
    """s75: a date that is none is a usage error, not a traceback."""
    result = run(site, "stats", "--since", "yesterday' or 1=1")
    assert result.exit_code == 2
    assert "Invalid value for '--since'" in result.output


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
    own = site.mailtrack.state().journals[0].directory
    own.mkdir(parents=True, exist_ok=True)
    own.chmod(0o755)
    (own / "bad-events.jsonl").write_text("{}")
    result = run(site, "check")
    assert result.exit_code == 0
    assert re.findall(r"^warning +(C\d\d)", result.output, re.MULTILINE) == ["C10", "C11", "C20", "C21"]
    assert "short" not in result.output


def links(site: Site) -> dict[str, str]:
    """Send a mail and return the URL of each kind."""
    reader = send(site, subject="Big news")
    header = str(reader.message.extra_headers["List-Unsubscribe"])[1:-1]
    found = [*(link.url for link in reader.links), reader._page.images[-1], header]
    letters = {"o": "open", "c": "click", "u": "unsubscribe", "p": "preferences"}
    return {letters[urlsplit(url).path.split("/")[2]]: url for url in found}


SHAPES: dict[str, Callable[[str], str]] = {
    "URL": lambda url: url,
    "path": lambda url: urlsplit(url).path,
    "with parameters": lambda url: f"{url}?utm_source=x",
    "with a slash": lambda url: f"{url}/",
    "upper case": lambda url: url.upper(),
    "with a full stop": lambda url: f"{url}.",
}


@pytest.mark.parametrize("kind", ["open", "click", "unsubscribe", "preferences"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_inspect_explains_a_link(site: Site, kind: str, shape: Callable[[str], str]) -> None:
    """A link as somebody reports it, whole or in part, is named with its kind, message and recipient."""
    result = run(site, "inspect", shape(links(site)[kind]))
    assert result.exit_code == 0, result.output
    said = dict(re.findall(r"^([\w ]+?): +(.*)$", result.output, re.MULTILINE))
    (message,) = site.rows("Message")
    assert said["kind"] == kind
    assert said["message"].startswith(str(message.id))
    assert (said["recipient"], said["subject"], said["status"]) == ("ada@example.com", "Big news", "sent")
    assert said["key"] == "the newest"
    assert said.get("leads to") == ("https://example.com/a?b=c" if kind == "click" else None)


def test_inspect_takes_a_bare_token(site: Site) -> None:
    """The token alone is enough; where it leads is then looked up."""
    token = urlsplit(links(site)["click"]).path.split("/")[3]
    result = run(site, "inspect", token)
    assert "leads to:   https://example.com/a?b=c" in result.output


def test_inspect_works_without_rows(site: Site) -> None:
    """What the token itself says is there when the database has forgotten, or cannot be asked."""
    found = links(site)
    for model in site.mailtrack.models:
        site.db.session.execute(sa.delete(model))
    site.db.session.commit()
    forgotten = run(site, "inspect", found["click"].rpartition("/")[0])
    assert forgotten.exit_code == 0
    assert "leads to:   nobody knows any more" in forgotten.output
    assert "recipient" not in forgotten.output
    site.db.drop_all()
    away = run(site, "inspect", found["click"])
    assert away.exit_code == 0
    assert "leads to:   https://example.com/a?b=c" in away.output
    assert "row:        the database cannot be asked: OperationalError" in away.output


def test_inspect_names_an_old_key(make_site: MakeSite) -> None:
    """After a rotation it says by which key a link was signed, and shows none."""
    url = links(make_site(SECRET_KEY=SECRET))["open"]
    site = make_site(SECRET_KEY=GOOD_SECRET, SECRET_KEY_FALLBACKS=[SECRET])
    result = run(site, "inspect", url)
    assert re.search(r"^key: +number 2 of 2$", result.output, re.MULTILINE)
    assert GOOD_SECRET not in result.output


@pytest.mark.parametrize("token", ["x", "a" * 68, "", "/", "..", f"{BASE_URL}/m/u/", "$(id)", "a" * 100_000])
def test_inspect_refuses_what_is_not_ours(site: Site, token: str) -> None:
    """s86: a token that we did not sign is an error in one line, with exit code 1."""
    result = run(site, "inspect", "--", token)
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: token refused: \w+\. Was it signed with another SECRET_KEY\?\n", result.output)


def test_inspect_refuses_a_foreign_token(make_site: MakeSite) -> None:
    """A link of another app is refused, and the likely reason named."""
    url = links(make_site(SECRET_KEY=SECRET))["unsubscribe"]
    result = run(make_site(SECRET_KEY=GOOD_SECRET), "inspect", url)
    assert result.exit_code == 1
    assert "Was it signed with another SECRET_KEY?" in result.output


def test_inspect_does_not_command_the_terminal(site: Site) -> None:
    """s86: what a mail says is printed without escape sequences."""
    reader = send(site, subject="plain")
    (message,) = site.rows("Message")
    message.subject = "\x1b[31mred\u202e\r\nkind: forged"
    site.db.session.commit()
    result = run(site, "inspect", reader.links[0].url)
    assert r"subject:    \x1b[31mred\u202e\r\nkind: forged" in result.output
    assert "\x1b" not in result.output


def test_the_group_explains_itself(site: Site) -> None:
    """``flask mailtrack --help`` lists every command with a sentence."""
    result = run(site, "--help")
    commands = dict(re.findall(r"^  (\w+) +(\S.*)$", result.output, re.MULTILINE))
    assert {"stats", "check", "drain", "inspect"} <= set(commands)
    assert all(commands.values())


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each command below one."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from walk(each, (*path, name))
    else:
        yield path


GIVEN = {
    "inspect": ["x"], "preview": ["-"], "classify": ["curl/8"], "export": ["a@example.com"], "audit": ["a@example.com"],
    "erase": ["a@example.com", "--yes"], "recover": ["-"], "add": ["a@example.com"], "remove": ["a@example.com"],
    "import": ["-"], "update": ["-"],
}  # fmt: skip


def test_every_command_makes_its_own_app_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands work where no context is pushed, as the Flask documentation has test runners do it."""
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(
        TESTING=True,
        SECRET_KEY="a secret that is long enough for anybody",
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'app.sqlite3'}",
        MAILTRACK_BASE_URL="https://links.example.com",
    )
    db, mail = SQLAlchemy(app), Mail(app)
    Mailtrack(app, mail=mail, db=db)
    with app.app_context():
        db.create_all()
    group = app.cli.commands["mailtrack"]
    paths = sorted(walk(group))
    assert ("suppress", "add") in paths
    for path in paths:
        result = app.test_cli_runner().invoke(args=["mailtrack", *path, *GIVEN.get(path[-1], [])])
        assert not isinstance(result.exception, RuntimeError), (path, result.exception)
    assert app.test_cli_runner().invoke(args=["mailtrack", "stats"]).exit_code == 0
    with app.app_context():
        db.engine.dispose()
