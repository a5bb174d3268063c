"""``flask mailtrack stats|inspect``: figures, and what a link stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from click.testing import Result
from conftest import BASE_URL, SECRET, MakeSite, Site
from flask import render_template_string

from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/a?b=c">a</a> <a href="{{ preferences_url() }}">p</a></p>'
GOOD_SECRET = "a secret of at least thirty-two bytes"


def run(site: Site, *arguments: str) -> Result:
    """Run a command of the app."""
    result = site.app.test_cli_runner().invoke(args=["mailtrack", *arguments])
    assert SECRET not in result.output
    return result


@pytest.fixture(name="site")
def _site(make_site: MakeSite) -> Site:
    """A site with a good secret."""
    return make_site(SECRET_KEY=GOOD_SECRET)


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
