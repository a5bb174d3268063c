"""Hosts with a Jinja of their own: our pages and footers are read as they are written."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor, words
from flask import Flask, Response, session
from flask.signals import template_rendered
from flask_babel import Babel
from jinja2 import DictLoader, StrictUndefined

from flask_mailtrack.console.console import ROUTES
from flask_mailtrack.testing import Reader

SCRIPT = "<script>alert(1)</script>"
PAGES = [route.rule for route in ROUTES if route.methods == ("GET",) and "<" not in route.rule]
HOSTS: dict[str, dict[str, Any]] = {
    "delimiters": {"variable_start_string": "[[", "variable_end_string": "]]", "block_start_string": "[%"},
    "lines": {"line_statement_prefix": "<", "line_comment_prefix": "##"},
    "strict": {"undefined": StrictUndefined},
    "unescaped": {"autoescape": False},
    "trimmed": {"trim_blocks": True, "lstrip_blocks": True},
    "final": {"finalize": lambda value: f"[{value}]"},
}


def changed(app: Flask, options: dict[str, Any]) -> None:
    for name, value in options.items():
        setattr(app.jinja_env, name, value)


def read(site: Site) -> dict[str, str]:
    """Return how each page of the console and the mailbox begins, without its numbers."""
    site.send(subject=SCRIPT, tag="welcome", list_id="news", to="ada@example.net")
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/mailbox")
    client = Visitor(site).client
    answers = [
        client.get(path) for path in (*(f"/mt{path}" for path in PAGES), "/mt/campaign?tag=welcome", "/mailbox/")
    ]
    assert not [answer.request.path for answer in answers if answer.status_code not in (200, 302, 404)]
    assert not [answer.request.path for answer in answers if SCRIPT in answer.text]
    return {answer.request.path: re.sub(r"\d+", "", words(answer.text or "x"))[:400] for answer in answers}


def test_every_page_is_the_same_in_a_host_with_another_jinja(make_site: MakeSite) -> None:
    """Delimiters, escaping and strictness of a host change nothing of the console and the mailbox."""
    usual = read(make_site())
    for options in HOSTS.values():
        site = make_site()
        changed(site.app, options)
        assert read(site) == usual, options


@pytest.mark.parametrize("host", HOSTS)
def test_footers_and_pages_for_readers_are_the_same_in_a_host_with_another_jinja(
    make_site: MakeSite, host: str
) -> None:
    """A mail gets its footer with the link, and the page behind the link asks what it always asks."""
    site = make_site()
    changed(site.app, HOSTS[host])
    sent = site.send(list_id="news", body="Hello", to="ada@example.net")
    assert 'href="https://links.example.com/m/u/' in sent.html
    assert "https://links.example.com/m/u/" in sent.body
    for part in (sent.html, sent.body):
        assert "{{" not in part
        assert "[[" not in part
    page = site.client.get(re.search(r"/m/u/[\w-]+", sent.body)[0]).text  # type: ignore[index]
    assert "<button" in page
    assert "{{" not in page
    assert Reader(site.client, sent).unsubscribe().status_code == 200


def test_a_footer_in_plain_text_escapes_nothing(site: Site) -> None:
    """Text is no HTML, also in a template that an app puts in the place of ours."""
    site.app.jinja_loader = DictLoader({"mailtrack/footer.txt": "{{ company }}: {{ unsubscribe_url }}"})
    site.app.jinja_env.globals["company"] = "Salt & Pepper"
    assert "Salt & Pepper: https://links.example.com/m/u/" in site.send(list_id="news", body="Hello").body


def test_a_page_of_ours_is_one_of_the_hosts(site: Site) -> None:
    """Context processors and signals of the host work with a page as with its own."""
    told: list[str] = []

    def hear(sender: Any, template: Any, context: dict[str, Any], **_: Any) -> None:
        told.append(f"{template.name} {context['shop']}")

    site.app.context_processor(lambda: {"shop": "Tea"})
    seen = Visitor(site)
    with template_rendered.connected_to(hear, site.app):
        seen.get("/settings")
    assert told == ["mailtrack/console/settings.html Tea"]


def test_a_page_says_that_it_is_html(make_site: MakeSite) -> None:
    """In a host whose answers are usually JSON, a page is HTML all the same."""

    class Json(Response):
        default_mimetype = "application/json"

    site = make_site()
    site.app.response_class = Json
    assert Visitor(site).client.get("/mt/settings").mimetype == "text/html"


def test_a_locale_selector_that_fails_is_told_once(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """A selector that writes to the session, as Flask-AppBuilder's does, fails for each reader, and fills no log."""
    site = make_site()

    def choose() -> str:
        session["locale"] = "de"
        return "de"

    Babel(site.app, locale_selector=choose)
    path = re.search(r"/m/u/[\w-]+", site.send(list_id="news", body="Hello").body)[0]  # type: ignore[index]
    for _ in range(3):
        assert "Unsubscribe" in site.client.get(path).text
    assert len([each for each in caplog.records if "Flask-Babel" in each.getMessage()]) == 1
