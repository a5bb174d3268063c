"""The pages in a real browser: no rule of accessibility broken, no mouse, script or style sheet needed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest
from chromium import RULES, SLOWEST, Axe, Browser, BrowserContext, Page, expect
from conftest import SECRET
from flask import Flask, render_template_string
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from thorough import share
from werkzeug.serving import make_server

from flask_mailtrack import Mailtrack
from flask_mailtrack.events import Standing
from flask_mailtrack.storage.tables.optouts import OptOuts

LISTS = {
    "news": {"title": "The Monday News", "description": "What is new in the shop, every Monday morning."},
    "offers": {"title": "Sonderangebotsbenachrichtigungen", "description": "Twice a month."},
    "tea": {"title": "Tea school"},
}
LINKS = '<a href="{{ unsubscribe_url() }}">u</a><a href="{{ preferences_url() }}">p</a>'


@dataclass
class Shop:
    """A host on a real server."""

    address: str
    send: Callable[[], tuple[str, str]]
    """Send a list mail to somebody new; the addresses of its unsubscribe and preferences pages."""


@pytest.fixture(name="shop", scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A host with three lists."""
    folder = tmp_path_factory.mktemp("shop")
    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)
    address = f"http://127.0.0.1:{server.server_port}"
    app = Flask("shop", instance_path=str(folder))
    app.config.update(
        TESTING=True,
        SECRET_KEY=SECRET,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder / 'shop.sqlite3'}",
        MAIL_DEFAULT_SENDER="shop@example.com",
        MAILTRACK_BASE_URL=address,
        MAILTRACK_LISTS=LISTS,
    )
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db)
    people = iter(range(1_000))

    def send() -> tuple[str, str]:
        with app.app_context(), mail.record_messages() as outbox:
            message = Message("News", recipients=[f"ada{next(people)}@example.com"], html=render_template_string(LINKS))
            mail.send(mailtrack.track(message, list_id="news"))
        leave, choose = re.findall('href="([^"]+)"', outbox[0].html)
        return leave, choose

    with app.app_context():
        db.create_all()
    server.app = app
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Shop(address, send)
    server.shutdown()
    thread.join()
    server.server_close()
    with app.app_context():
        db.engine.dispose()


def visit(browser: Browser, **options: Any) -> BrowserContext:
    """Return a browser of somebody's own."""
    context = browser.new_context(**options)
    context.set_default_timeout(SLOWEST)
    return context


def press(page: Page, action: str) -> None:
    """Press a button, and wait for the page that answers."""
    with page.expect_navigation():
        page.locator(f"[name=action][value={action}]").click()


def states(page: Page, shop: Shop) -> Iterator[str]:
    """Go through every page and every state that it can be in, and say where we are."""
    leave, choose = shop.send()
    page.goto(leave)
    yield "ask"
    press(page, "unsubscribe")
    yield "done"
    page.locator("[value=too_often]").check()
    press(page, "reason")
    yield "reason given"
    press(page, "undo")
    yield "undone"
    page.goto(choose)
    yield "preferences"
    page.locator("[name=list][value=offers]").uncheck()
    press(page, "save")
    yield "saved"
    press(page, "save")
    yield "unchanged"
    page.goto(f"{choose}?statement")
    yield "statement"
    page.goto(choose)
    press(page, "unsubscribe_all")
    yield "none"
    page.goto(f"{shop.address}/m/u/bad")
    yield "bad link"


def look(page: Page, where: str) -> None:
    """Check what every page promises to the eye, the hand and the ear."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
    small = page.locator("button:visible, a:visible, label:visible, textarea:visible").evaluate_all(
        "all => all.filter(e => e.getBoundingClientRect().height < 24).map(e => e.outerHTML)"
    )
    assert small == [], where
    assert page.locator("main h1").count() == 1, where


LOOKS = tuple(product(("light", "dark"), (320, 390, 1280)))


def flawless(page: Page, where: str) -> None:
    """Look at a page in every size and scheme, with axe."""
    page.evaluate(Axe().axe_script)  # once for all looks, as it is half a megabyte
    for scheme, width in share(LOOKS, 5):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 800})
        look(page, f"{where}, {width}")
        found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == [], (where, scheme, width)


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_no_page_breaks_a_rule(browser: Browser, shop: Shop, language: str) -> None:
    """Each page and state, light and dark, on two phones and a desktop: axe finds nothing, nothing is cut off."""
    context = visit(browser, locale=language)
    page = context.new_page()
    titles = []
    for where in states(page, shop):
        assert page.evaluate("document.documentElement.lang") == language
        titles.append(page.title())
        flawless(page, where)
    assert len(set(titles)) == len(titles) - 1  # saved, and saved as it was, and everything left: two say "Saved."
    context.close()


def away(*_: Any) -> Standing:
    """Fail, as the database does when it is away."""
    raise OSError("away")


def locked(*_: Any) -> Standing:
    """Somebody whose address bounced."""
    return Standing("ada@example.com", "news", frozenset({"", "news"}), locked=True)


@pytest.mark.parametrize("standing", [away, locked])
def test_no_page_breaks_a_rule_on_a_bad_day(
    browser: Browser, shop: Shop, monkeypatch: pytest.MonkeyPatch, standing: Callable[..., Standing]
) -> None:
    """The same where the choices cannot be looked up, and where a link cannot undo what stands."""
    context = visit(browser)
    page = context.new_page()
    leave, choose = shop.send()
    monkeypatch.setattr(OptOuts, "standing", standing)
    for url in (leave, choose, f"{choose}?statement"):
        page.goto(url)
        flawless(page, url)
    context.close()


def test_three_keys_unsubscribe(browser: Browser, shop: Shop) -> None:
    """Without a mouse: Tab to the button, of which the ring is seen, and Enter; then Tab reaches the way back first."""
    context = visit(browser)
    page = context.new_page()
    page.goto(shop.send()[0])
    for _ in range(3):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.value") == "unsubscribe":
            break
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert ring == "3px"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("You have been unsubscribed")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are subscribed again")
    context.close()


def test_preferences_need_no_mouse(browser: Browser, shop: Shop) -> None:
    """Tab, Space and Enter alone switch a list off and save it."""
    context = visit(browser)
    page = context.new_page()
    page.goto(shop.send()[1])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # submits, as in any form
    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.get_by_label("Sonderangebotsbenachrichtigungen")).not_to_be_checked()
    expect(page.get_by_label("The Monday News")).to_be_checked()
    context.close()


@pytest.mark.parametrize("styled", [True, False])
def test_the_whole_way_without_script_or_style(browser: Browser, shop: Shop, styled: bool) -> None:
    """With scripts off, and with the style sheet kept out too, everything can be chosen, taken back and read."""
    context = visit(browser, java_script_enabled=False)
    if not styled:
        context.route("**/*.css", lambda route: route.abort())
    page = context.new_page()
    leave, choose = shop.send()
    page.goto(leave)
    heading = page.get_by_role("heading", level=1)
    page.get_by_role("button", name="Unsubscribe").click()
    expect(heading).to_have_text("You have been unsubscribed")
    page.get_by_label("Too many emails").check()
    page.get_by_label("Anything you would like to add?").fill("Daily!")
    page.get_by_role("button", name="Send answer").click()
    expect(heading).to_have_text("Thank you")
    page.get_by_role("button", name="Subscribe again").click()
    expect(heading).to_have_text("You are subscribed again")
    page.get_by_role("link", name="Choose which emails you receive").click()
    expect(heading).to_have_text("Your email preferences")
    expect(page.get_by_label("The Monday News")).to_be_checked()
    expect(page.get_by_label("Tea school")).to_have_count(0)  # a link to leave one list shows no other
    page.goto(choose)
    page.get_by_label("Tea school").uncheck()
    page.get_by_label("Record when").uncheck()
    page.get_by_role("button", name="Save preferences").click()
    expect(page.get_by_role("status")).to_have_text("Saved.")
    page.get_by_role("link", name="What we keep about you").click()
    expect(heading).to_have_text("What we keep about you")
    expect(page.get_by_text("Not recorded.")).to_be_visible()
    page.get_by_role("link", name="Back to your preferences").click()
    expect(page.get_by_label("Tea school")).not_to_be_checked()
    expect(page.get_by_label("The Monday News")).to_be_checked()
    assert urlsplit(page.url).path == urlsplit(choose).path
    page.get_by_role("button", name="Unsubscribe from all lists").click()
    page.get_by_role("button", name="Subscribe again and choose lists").click()
    expect(page.get_by_label("Tea school")).not_to_be_checked()
    context.close()


def test_nothing_is_asked_of_anybody_else(browser: Browser, shop: Shop) -> None:
    """No page asks for more than itself and its style sheet, 15 KB in all, leaves a cookie, or breaks its policy."""
    context = visit(browser)
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    weights: dict[str, int] = {}
    page.on("response", lambda response: weights.update({response.url: len(response.body())}))
    for where in states(page, shop):
        paths = {urlsplit(url).path.split("/")[2] for url in asked}
        assert paths <= {"u", "p", "static"}, where
        assert all(url.startswith(shop.address) for url in asked), where
    assert sum(weights.values()) > 0
    style = next(size for url, size in weights.items() if "static" in url)
    assert all(size + style <= 15_000 for size in weights.values())
    assert context.cookies() == []
    assert [text for text in complaints if "404" not in text] == []
    context.close()
