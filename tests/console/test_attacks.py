"""The console under attack. The number in each name is that of the case in the list of attacks."""

from __future__ import annotations

import csv
import io
import re
from itertools import product
from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import ALL, Visitor
from werkzeug.test import TestResponse

from flask_mailtrack.console.console import ROUTES
from flask_mailtrack.events import first_id, now
from flask_mailtrack.scope import Scope
from flask_mailtrack.testing import BROWSER, Reader

PAGES = [route.rule for route in ROUTES if route.methods == ("GET",) and "<" not in route.rule]
SCRIPT = "<script>alert(1)</script>"
NASTY = f"""{SCRIPT}"'><img src=x onerror=alert(1)>{{{{7*7}}}}%s\u202e"""
ADDRESS = "ada@secret.example"


def asked(seen: Visitor, path: str, **query: Any) -> TestResponse:
    """Return the answer to a page with something behind the question mark."""
    answer = seen.client.get(f"/mt{path}", query_string=query)
    answer.get_data()  # a file is written while it is read
    return answer


def test_s72_without_an_access_function_nothing_is_there(make_site: MakeSite) -> None:
    """No page, form, file or table, also in debug; each subset and each way to fail is in test_access."""
    site = make_site()
    site.app.debug = True
    site.app.register_blueprint(site.mailtrack.console(), url_prefix="/mt")
    client = site.app.test_client()
    for path in (*PAGES, "/static/console.js", "/static/console.css", "/messages?format=csv"):
        for method in ("GET", "POST", "OPTIONS"):
            assert client.open(f"/mt{path}", method=method).status_code == 404


def test_s73_only_a_set_of_permissions_opens_the_console(site: Site) -> None:
    """What a function answers by mistake is a no."""
    answers: list[Any] = [None]
    seen = Visitor(site, access=lambda: answers[0])
    for answers[0] in (None, 1, "no", "view", True, object(), ["view", "root"], {"view": 1}, [], ("manage",)):
        seen.get("/domains", status=404)
    answers[0] = ["view"]
    seen.get("/domains")


def test_s74_a_tenant_gets_no_message_of_another(site: Site) -> None:
    """The id of somebody else's message is the id of nothing."""
    site.send(to=ADDRESS, sender="a@two.example", subject="Theirs")
    key = site.rows("Message")[0].id
    seen = Visitor(site)
    seen.scope = Scope(sender_domains={"one.example"})
    theirs, nothing = (asked(seen, f"/messages/{each}") for each in (key, first_id(now())))
    assert (theirs.status_code, theirs.data) == (nothing.status_code, nothing.data.replace(b"", b""))
    for path in PAGES:
        text = asked(seen, path).text
        assert "Theirs" not in text, path
        assert "two.example" not in text, path


WORSE = (
    "id;drop table x",
    "' or 1=1 --",
    "1e9",
    "-1",
    "NaN",
    str(2**63),
    "\0",
    "x" * 10_000,
    "\ud800",
    "٣",
    "%00",
    "[]",
)


def test_s75_no_value_breaks_a_page(site: Site) -> None:
    """A strange value of any parameter narrows nothing, is refused in words, or fits nothing, but no page fails."""
    site.send(tag="welcome")
    seen = Visitor(site)
    names = ("sort", "step", "page", "period", "who", "from", "to", "tag", "q", "until", "activity", "status")
    for path, value in product(PAGES, WORSE):
        for chosen in (names, ("page",)):
            answer = asked(seen, path, **dict.fromkeys(chosen, value.encode("utf-8", "surrogatepass")))
            assert answer.status_code in (200, 302, 303, 400, 404), (path, value[:20], chosen)
            assert answer.status_code < 400 or "<main" in answer.text


def test_s76_nothing_that_was_written_becomes_markup(site: Site) -> None:
    """Subject, tag, link, list, name of a link, agent, comment and operator are text on every page."""
    html = f'<a href="https://example.net/?x={SCRIPT}" data-mailtrack-name="&lt;script>alert(1)&lt;/script>">x</a>'
    printable = NASTY.replace("\u202e", "")
    sent = site.send(html, to=ADDRESS, subject=NASTY, tag=printable, list_id="news<b>")
    strange = {**BROWSER, "User-Agent": f"{BROWSER['User-Agent']} {SCRIPT}", "Referer": f"https://x/{SCRIPT}"}
    reader = Reader(site.app.test_client(), sent, strange)
    reader.open()
    reader.click("x")
    reader.unsubscribe()
    site.mailtrack.settings.set("opens", False, domain="example.org", by=NASTY)
    site.mailtrack.tags.add(printable)
    seen = Visitor(site, name=NASTY)
    key = site.rows("Message")[0].id
    for path in (f"/messages/{key}", f"/people/{key}", *PAGES):
        for query in ({}, {"tag": printable}):
            text = asked(seen, path, **query).text
            assert SCRIPT not in text, path
            assert "<img src=x" not in text, path
            assert "news<b>" not in text, path


def test_s77_a_destination_that_is_no_web_address_is_no_link(site: Site) -> None:
    """Nothing that a mail named is the target of a link or a form of a page, unless it is http or https."""
    site.send('<a href="javascript:alert(1)">x</a><a href="data:text/html,x">y</a>', tag="welcome", to=ADDRESS)
    seen = Visitor(site)
    key = site.rows("Message")[0].id
    for path in (f"/messages/{key}", "/campaign?tag=welcome", *PAGES):
        text = seen.client.get(f"/mt{path}").text
        for target in re.findall(r'(?:href|src|action|formaction)="([^"]*)"', text):
            assert target.startswith(("/mt", "#", "http://", "https://")) or target == "data:,", (path, target)


def test_s78_no_stored_mail_is_shown_outside_a_sandbox(site: Site) -> None:
    """No page holds the HTML of a mail, but in a frame that may run nothing."""
    site.send("<p id=of-the-mail>Hello</p>", tag="welcome", to=ADDRESS)
    seen = Visitor(site)
    key = site.rows("Message")[0].id
    for path in (f"/messages/{key}", "/campaign?tag=welcome", *PAGES):
        answer = seen.client.get(f"/mt{path}")
        if "of-the-mail" in answer.text:
            assert "sandbox" in answer.headers["Content-Security-Policy"]
        for frame in re.findall(r"<iframe[^>]*>", answer.text):
            assert "sandbox" in frame
            assert "allow-scripts" not in frame
            assert "allow-same-origin" not in frame


def test_s79_nothing_is_changed_by_a_get_or_a_foreign_form(site: Site) -> None:
    """Every route that changes something takes a POST alone, and none without a token for this very route."""
    site.send()
    seen = Visitor(site, name="mara")
    before = state_of(site)
    some = seen.fields("/settings", "/settings")["form_token"]
    adapter = site.app.url_map.bind("localhost")
    for route in ROUTES:
        if "POST" not in route.methods:
            continue
        values = {name: VALUES[name] for name in re.findall(r"<(?:\w+:)?(\w+)>", route.rule)}
        path = adapter.build(f"mailtrack_console.{route.name}", values, method="POST")
        fields = {"prefix": "click", "primary": "example.org", "sure": "pause", "tag": "x", "address": ADDRESS}
        for token in ("", "x", some if route.name != "settings_save" else ""):
            assert seen.client.post(path, data=fields | {"form_token": token}).status_code == 400, path
            assert seen.client.get(path, query_string=fields | {"form_token": token}).status_code in (
                200,
                302,
                404,
                405,
            )
    assert state_of(site) == before


def state_of(site: Site) -> tuple[Any, ...]:
    """Return what forms could have changed."""
    hosts = [domain.host for domain in site.mailtrack.domains.list()]
    return hosts, site.mailtrack.settings.history(), site.mailtrack.tags.list(), len(site.rows("OptOut"))


VALUES = {"host": "links.example.com", "key": first_id(now())}


def test_s80_a_thousand_years_are_few_steps(site: Site) -> None:
    """The widest period that can be asked for is answered from sums, with a bounded page."""
    site.send()
    seen = Visitor(site)
    for path in PAGES:
        answer = asked(seen, path, **{"from": "1990-01-01", "to": "2999-12-31", "step": "hour"})
        assert answer.status_code in (200, 302, 303, 404), path
        assert len(answer.data) <= 60_000, path


def cells(text: str) -> list[str]:
    """Return each cell of a file."""
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]


def test_s81_no_cell_is_a_formula(site: Site) -> None:
    """What others have written is a text for a spreadsheet, in each file of the console."""
    starts = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
    for start in starts:
        text = f"{start}cmd|' /C calc'!A0"
        site.mailtrack.tags.add(text, by=text)
        site.send(subject=text, tag=text, to=ADDRESS)
    seen = Visitor(site)
    found = 0
    for path in PAGES:
        answer = asked(seen, path, format="csv")
        if answer.mimetype == "text/csv":
            found += answer.text.count("cmd|")
            assert not [cell for cell in cells(answer.text) if cell.startswith(starts) and "cmd" in cell], path
    assert found


def test_s82_a_file_is_valid_whatever_is_in_it(site: Site) -> None:
    """A file is UTF-8 without NUL, and has as many columns in each row as in its head."""
    site.send(subject="é\ufeff" + "x" * 900, tag='a,b"c;d', to=ADDRESS)
    seen = Visitor(site)
    for path in PAGES:
        answer = asked(seen, path, format="csv")
        if answer.mimetype == "text/csv":
            rows = list(csv.reader(io.StringIO(answer.data.decode("utf-8"))))
            assert len({len(row) for row in rows}) <= 1, path
            assert "\0" not in answer.text


def test_s83_the_name_of_a_file_is_ours(site: Site) -> None:
    """Nothing that is asked for stands in the name of a file or in any header."""
    seen = Visitor(site)
    for path in PAGES:
        answer = asked(seen, path, format="csv", tag='../../x"\r\nX-Evil: 1', **{"from": "\r\nX-Evil: 1"})
        if answer.mimetype == "text/csv":
            said = answer.headers["Content-Disposition"]
            assert re.fullmatch(r'attachment; filename="[a-z_]+_\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d\.csv"', said)
        assert "X-Evil" not in str(answer.headers)


def test_s84_a_file_needs_its_permission_each_time(site: Site) -> None:
    """A link to a file that somebody was given earlier opens nothing once the permission is gone."""
    site.send(to=ADDRESS)
    seen = Visitor(site)
    files = [path for path in PAGES if asked(seen, path, format="csv").mimetype == "text/csv"]
    assert {"/", "/domains", "/settings", "/machines"} <= set(files)
    seen.permissions = ("view", "addresses", "manage")
    assert {asked(seen, path, format="csv").status_code for path in files} == {404}


def test_s85_a_file_has_no_address_for_who_may_not_see_any(site: Site) -> None:
    """Without the permission for addresses, files are masked as pages are, and so are senders and operators."""
    site.send(to=ADDRESS, list_id="news")
    site.mailtrack.suppress(ADDRESS)
    site.mailtrack.settings.set("opens", False, sender=ADDRESS, by=ADDRESS)
    seen = Visitor(site, ("view", "export", "manage"))
    key = site.rows("Message")[0].id
    for path in (f"/messages/{key}", f"/people/{key}", *PAGES):
        for query in ({}, {"format": "csv"}):
            assert ADDRESS not in asked(seen, path, **query).text, (path, query)


def test_s86_no_address_stands_in_any_url(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """No link or form of a page has an address in it, so that none gets into a log or a history of a browser."""
    site.send(to=ADDRESS, list_id="news")
    site.mailtrack.suppress(ADDRESS)
    site.mailtrack.settings.set("opens", False, sender=ADDRESS)
    Reader(
        site.client, site.send(to="eve@secret.example", tag="welcome", list_id="news", subject=f"For {ADDRESS}")
    ).unsubscribe()
    site.send(to=ADDRESS, list_id="news", tag="welcome", subject="The first")
    tagged = Reader(site.client, site.send(to="bob@secret.example", tag=f"order of {ADDRESS}", list_id="news"))
    tagged.unsubscribe()
    seen = Visitor(site, ALL)
    keys = [row.id for row in site.rows("Message")]
    each = [f"/{page}/{key}" for page in ("messages", "people") for key in keys]
    for path in (*each, "/campaign?tag=welcome", *PAGES):
        for target in re.findall(r'(?:href|src|action|option value)="([^"]*)"', seen.client.get(f"/mt{path}").text):
            assert "secret.example" not in target, (path, target)
            assert "%40" not in target, (path, target)
            assert "@" not in target.removeprefix("mailto:"), (path, target)
    assert f"order of {ADDRESS}" in seen.get("/campaigns")
    searched = seen.submit("/messages", "/messages/search", tag=f"order of {ADDRESS}", list="news")
    assert searched.endswith("/messages?list=news")


def test_s87_the_log_takes_no_line_of_a_stranger(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What is asked for stands in no line of the log."""
    seen = Visitor(site)
    for path in PAGES:
        asked(seen, path, tag="x\r\nCRITICAL forged\u2028line", q="x\r\nCRITICAL forged")
    seen.client.get("/mt/domains/x%0d%0aCRITICAL forged", headers={"User-Agent": "x CRITICAL forged"})
    assert "forged" not in caplog.text
