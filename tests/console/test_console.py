"""What every page of the console has in common: headers, templates, weight, and what a host can do to it."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from console_visitor import Visitor, words
from flask import Response
from flask_talisman import Talisman

from flask_mailtrack.console.console import _FILES, _STATIC, ROUTES
from flask_mailtrack.seal import POLICY

TEMPLATES = sorted((_STATIC.parent / "templates" / "mailtrack" / "console").glob("*.html"))
PAGES = [route.rule for route in ROUTES if route.methods == ("GET",) and "<" not in route.rule]
OF_A_FRAME = {"/campaign/mail", "/campaign/map"}
"""Mail of the host, in a frame with a policy of its own, for which its own tests stand."""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_has_style_or_script_in_it(template: Path) -> None:
    """The policy of the pages allows neither, so neither is there."""
    text = template.read_text(encoding="utf-8")
    for wrong in (r"\sstyle\s*=", r"<style", r"<script(?![^>]*\ssrc=)", r"\son\w+\s*=", r"javascript:", r"\|\s*safe\b"):
        assert not re.search(wrong, text, re.IGNORECASE), wrong
    assert "https://" not in text
    assert "http://" not in text


def test_the_files_are_small_and_nothing_comes_from_outside() -> None:
    """One style sheet of at most 14 KB and one script of at most 6 KB, both without an address in them."""
    for name, most in (("console.css", 14_336), ("console.js", 6_144)):
        text = (_STATIC / name).read_text(encoding="utf-8")
        assert len(text.encode()) <= most
        assert "//" not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        assert "url(" not in text
        assert "innerHTML" not in text


def test_no_header_of_the_host_weakens_a_page(make_site: MakeSite) -> None:
    """The policy and the rest are the console's, whatever the host sets for its own pages, and only once each."""
    site = make_site()
    Talisman(site.app, force_https=False, content_security_policy={"default-src": "*"})

    @site.app.after_request
    def weaken(response: Response) -> Response:
        response.headers["Content-Security-Policy-Report-Only"] = "default-src *"
        response.headers.add("Content-Security-Policy", "script-src 'unsafe-inline'")
        response.headers["X-Frame-Options"] = "ALLOWALL"
        response.headers["Cache-Control"] = "public, max-age=3600"
        response.headers["Referrer-Policy"] = "unsafe-url"
        return response

    seen = Visitor(site)
    for path, method in product(PAGES, ("GET", "HEAD")):
        headers = seen.client.open(f"/mt{path}", method=method).headers
        if path not in OF_A_FRAME:
            assert headers.getlist("Content-Security-Policy") == [POLICY]
            assert headers["X-Frame-Options"] == "DENY"
        assert "Content-Security-Policy-Report-Only" not in headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
    other = seen.client.get("/nothing").headers
    assert other.getlist("Content-Security-Policy") != [POLICY]  # the host's own pages are the host's


def test_the_files_are_behind_the_same_gate(site: Site) -> None:
    """Style sheet and script come with the right type and headers to viewers, and nothing else comes from there."""
    seen = Visitor(site)
    for name, kind in _FILES.items():
        answer = seen.client.get(f"/mt/static/{name}")
        assert answer.mimetype == kind
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.data == (_STATIC / name).read_bytes()
    for wrong in ("mailtrack.css", "../models.py", "..%2fmodels.py", "", "console.css/", "console.css%00"):
        assert seen.client.get(f"/mt/static/{wrong}").status_code == 404


def test_a_page_that_fails_is_told_without_details(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database is away, the page says that mail is sent and hits are kept, and the log has the cause."""
    seen = Visitor(site)
    site.db.session.execute(sa.text("DROP TABLE mailtrack_domain"))
    site.db.session.commit()
    page = seen.get("/domains", status=503)
    assert "The figures are not available now." in page
    assert "mailtrack_domain" not in page
    assert 'href="/mt/health"' in page
    seen.get("/health")


def test_a_page_is_light_and_asks_little(site: Site) -> None:
    """A page takes at most eight questions of the database and 60 KB, also with mail in it."""
    for number in range(3):
        site.send(to=f"ada{number}@example.com", list_id=None, tag="welcome")
    seen = Visitor(site)
    engine = site.mailtrack._state_of(site.app).database.engine
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("PRAGMA"):
            asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    for path in PAGES:
        asked.clear()
        answer = seen.client.get(f"/mt{path}")
        assert len(answer.data) <= 60_000
        if path not in ("/health", "/"):  # the one tries whether each table takes rows; the other has tests of its own
            assert len(asked) <= 8, (path, asked)
    sa.event.remove(engine, "before_cursor_execute", note)


def test_a_brand_of_the_host(make_site: MakeSite) -> None:
    """Name, logo and style sheet are the host's own, and a template of the host takes the place of ours."""
    site = make_site()
    seen = Visitor(site, logo="/logo.svg", stylesheet="/own.css")
    page = seen.get("/domains")
    assert '<img src="/logo.svg" alt="" height="28">' in page
    assert page.index("/static/console.css") < page.index('href="/own.css"')
    assert "Not found" in words(seen.get("/domains/none.example", status=404))


def test_a_way_back_to_the_app(make_site: MakeSite) -> None:
    """The console links to the first page of the app where there is one, below the path at which the app is."""
    without, with_one = make_site(), make_site()
    assert "To the app" not in Visitor(without).get("/")
    with_one.app.add_url_rule("/", "first", lambda: "Welcome")
    page = Visitor(with_one).get("/", environ_overrides={"SCRIPT_NAME": "/shop"})
    assert '<a href="/shop/">To the app</a>' in page
