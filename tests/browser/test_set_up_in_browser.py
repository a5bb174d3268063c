"""The set-up pages of the console in a real browser: tracking domains, settings, machines, health and live."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme
from administration.test_domain_check import app as domain_app
from administration.test_domain_check import checker, context_of
from chromium import RULES, Axe, Browser, Page, expect
from conftest import MakeSite, Site
from dns_server import name_server
from thorough import share
from tls_server import web_server
from werkzeug.serving import make_server

from flask_mailtrack.administration.tracking_domains import CONFIGURED
from flask_mailtrack.console.access import Viewer
from flask_mailtrack.testing import APPLE, Reader

WIDER = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth)
    .map(e => e.outerHTML.slice(0, 120))"""
"""What sticks out to the right, if anything makes the page wider than the window."""
HOST = "click.customer.test"
MAIL = '<a href="https://example.net/">Read</a>'
ALL = {"view", "addresses", "export", "manage"}


@dataclass
class Office:
    """A host with the console on a real server, and an operator at a browser."""

    site: Site
    address: str
    page: Page
    permissions: set[str] = field(default_factory=lambda: set(ALL))
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Go to a page of the console."""
        self.page.goto(f"{self.address}/mt{path}")
        return self.page

    def press(self, name: str, *, exact: bool = True) -> None:
        """Press a button, and wait for the page that follows."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name, exact=exact).click()


@pytest.fixture(name="office")
def _office(make_site: MakeSite, browser: Browser) -> Iterator[Office]:
    site = make_site(MAIL_DEFAULT_SENDER="news@customer.test")
    context = browser.new_context()
    context.set_default_timeout(10_000)
    office = Office(site, "", context.new_page())
    context.on("console", lambda message: office.complaints.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: office.complaints.append(str(error.error)))
    console = site.mailtrack.console(access=lambda: Viewer(office.permissions, "mara@customer.test"))
    site.app.register_blueprint(console, url_prefix="/mt")
    server = make_server("127.0.0.1", 0, site.app, threaded=True)
    office.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield office
    context.close()
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def world(site: Site) -> Iterator[Any]:
    """Yield a name server, and have domains checked in its world, over real TLS."""
    authority = trustme.CA()
    with name_server() as server, web_server(domain_app, context_of(authority.issue_cert(HOST))) as port:
        site.mailtrack.domains._checker = checker(server, authority, port)
        yield server


VENDOR = {"vendor.test": "track IN A 127.0.0.1\n"}


def test_the_life_of_a_tracking_domain(office: Office) -> None:
    """A bad prefix is told, a good one makes a domain; it is verified, used, and removed once nothing needs it."""
    office.site.send(MAIL)
    with world(office.site) as server:
        server.serve({"customer.test": "", **VENDOR})
        page = office.go("/domains")
        prefix = page.get_by_label("Prefix")
        prefix.fill("-click")
        expect(page.get_by_text("This prefix is fine")).to_be_hidden()
        page.get_by_role("button", name="Add domain").click()
        assert page.evaluate("document.activeElement.name") == "prefix"  # the browser has not sent the form
        page.locator("form").evaluate_all("all => all.forEach(form => form.noValidate = true)")
        office.press("Add domain")
        expect(page.get_by_text("must not begin or end with a hyphen")).to_be_visible()
        expect(prefix).to_have_value("-click")
        expect(prefix).to_be_focused()
        office.complaints.clear()  # Chromium complains of each page with the status 422
        prefix.fill("click")
        expect(page.get_by_text("This prefix is fine")).to_be_visible()
        office.press("Add domain")
        expect(page.get_by_role("status").first).to_contain_text("Set the DNS record below")
        expect(page.get_by_role("status").first).to_be_focused()

        office.press("Check now")
        expect(page.get_by_role("main")).to_contain_text("✕ Not verified")
        server.serve({"customer.test": "click IN CNAME track.vendor.test.\n", **VENDOR})
        office.press("Check now")
        expect(page.get_by_role("main")).to_contain_text("✓ Verified")
        expect(page.get_by_role("main")).to_contain_text(f"{HOST} reaches this app.")
        assert f"https://{HOST}/m/c/" in office.site.send(MAIL).html
        page.get_by_role("link", name="Tracking domains").click()
        expect(page.get_by_role("row", name=HOST)).to_contain_text("customer.test")

        page.get_by_role("link", name=HOST).click()
        expect(page.get_by_text("The button appears when both are done.")).to_be_visible()
        assert page.get_by_role("button", name="Remove for good").count() == 0
        office.press("Stop using it")
        assert f"https://{HOST}/m/c/" not in office.site.send(MAIL).html
        server.serve({"customer.test": "", **VENDOR})
        office.site.mailtrack.domains._table.change(HOST, status="not_verified")
        page.reload()
        server.serve({"customer.test": "click IN CNAME track.vendor.test.\n", **VENDOR})
        office.press("Remove for good")
        expect(page.get_by_role("alert")).to_contain_text("still has a DNS record")
        office.complaints.clear()
        server.serve({"customer.test": "", **VENDOR})
        office.press("Remove for good")
        expect(page.get_by_role("status").first).to_contain_text("is removed")
        assert HOST not in page.get_by_role("main").inner_text()
    assert office.complaints == []


def test_opens_are_switched_off_for_one_sender_domain(office: Office) -> None:
    """The next mail of that domain has no pixel, that of others has one, and the log says who did it."""
    site = office.site
    site.send(MAIL)
    site.send(MAIL, sender="me@other.test")
    page = office.go("/settings")
    page.get_by_label("Opens, customer.test").select_option("Off")
    office.press("Save exceptions")
    assert "/m/o/" not in site.send(MAIL).html
    assert "/m/o/" in site.send(MAIL, sender="me@other.test").html
    expect(page.get_by_role("row", name="mara@customer.test")).to_contain_text("Opens for customer.test")
    assert office.complaints == []


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on the field or button of this name, and see that the focus shows."""
    script = "() => { const e = document.activeElement; return e.name || e.textContent.trim() }"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(script) == name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"Tab does not lead to {name}")


def test_the_keyboard_alone_adds_a_domain_and_switches_clicks_off(office: Office) -> None:
    """Tab, Space, Enter and letters do it all, and the focus is always seen."""
    office.site.send(MAIL)
    page = office.go("/domains")
    tab_to(page, "prefix")
    page.keyboard.type("click")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOST)
    office.go("/settings")
    tab_to(page, "clicks")
    page.keyboard.press("Space")
    tab_to(page, "Save")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Saved.")
    assert office.site.mailtrack.settings.get("clicks") is False
    assert office.complaints == []


def test_a_pause_is_asked_for_twice(office: Office) -> None:
    """The first press asks, the second one pauses, and every page says so until somebody goes on."""
    page = office.go("/settings")
    office.press("Pause measuring …")
    expect(page.get_by_role("heading", level=1)).to_have_text("Pause all measuring?")
    office.press("Pause measuring")
    for path in ("/domains", "/machines", "/health"):
        expect(office.go(path).get_by_role("main")).to_contain_text("Measuring is paused.")
    office.go("/settings")
    office.press("Go on measuring")
    assert "Measuring is paused." not in office.go("/health").get_by_role("main").inner_text()
    assert office.complaints == []


def test_the_script_adds_a_theme_and_copies(office: Office) -> None:
    """A theme stays in the browser, and a button copies the record."""
    office.site.send(MAIL)
    office.site.mailtrack.domains.create("customer.test", "click", by=CONFIGURED)
    office.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = office.go(f"/domains/{HOST}")
    page.get_by_label("Theme").select_option("Dark")
    assert office.go(f"/domains/{HOST}").evaluate("document.documentElement.dataset.theme") == "dark"
    record = page.get_by_role("region", name="DNS record")
    record.get_by_role("button", name="Copy").first.click()
    expect(record.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{HOST}."
    assert office.complaints == []


def test_news_come_without_a_reload(office: Office) -> None:
    """The live page shows what has just happened while somebody looks at it, and says how much is new."""
    sent = office.site.send(MAIL)
    page = office.go("/live")
    expect(page.get_by_text("Nothing has happened yet.")).to_be_visible()
    page.evaluate("window.same = true")
    Reader(office.site.app.test_client(), sent).open()
    expect(page.get_by_role("row")).to_have_count(2, timeout=10_000)
    expect(page.get_by_text("New: 1")).to_be_visible()
    assert page.evaluate("window.same")
    assert office.complaints == []


def test_all_works_without_a_script(office: Office, browser: Browser) -> None:
    """A browser that runs no script shows the same pages, and the live page goes on by itself."""
    office.site.send(MAIL)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{office.address}/mt/settings")
    page.get_by_role("switch", name="Opens").uncheck()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("Saved.")
    page.goto(f"{office.address}/mt/live")
    page.wait_for_url("**/live?until=*")
    context.close()


def states(office: Office) -> Iterator[str]:
    """Go through the set-up pages, empty, full, wrong and denied, and say where we are."""
    site = office.site
    for path in ("/domains", "/settings", "/machines", "/live"):
        office.go(path)
        yield f"empty {path}"
    sent = site.send(MAIL, tag="welcome")
    Reader(site.app.test_client(), sent).open()
    Reader(site.app.test_client(), sent, APPLE).open()
    site.send(MAIL, sender=f"me@{'long' * 15}.{'name' * 15}.test")
    site.mailtrack.domains.create("customer.test", "click")
    site.mailtrack.domains._table.change(HOST, status="pending", checked_at=sent and site.rows("Message")[0].created_at)
    site.mailtrack.settings.set("opens", False, sender="boss@customer.test", by="mara")
    site.mailtrack.tags.add("welcome")
    site.mailtrack.tags.add("x" * 200)
    for path in ("/domains", f"/domains/{HOST}", "/settings", "/machines", "/health", "/live"):
        office.go(path).locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
        yield path
    page = office.go("/domains")
    page.locator("form").evaluate_all("all => all.forEach(form => form.noValidate = true)")
    page.get_by_label("Prefix").fill("-")
    office.press("Add domain")
    yield "error"
    office.go("/settings")
    page.get_by_role("switch", name="Unsubscribe").uncheck()
    office.press("Save")
    yield "sure"
    office.go("/domains/none.test")
    yield "not found"
    office.go("/live?until=1")
    yield "stopped"
    office.permissions = {"view"}
    for path in ("/domains", f"/domains/{HOST}", "/settings"):
        office.go(path)
        yield f"denied {path}"


LOOKS = (("light", 320), ("dark", 390), ("light", 1280), ("dark", 1280))


def test_no_page_breaks_a_rule(office: Office) -> None:
    """Each state, light and dark, on two phones and a desktop: axe finds nothing, and nothing is cut off."""
    page = office.page
    for where in states(office):
        page.evaluate(Axe().axe_script)
        for scheme, width in share(LOOKS, 3):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(WIDER) == [], (where, width)
            found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
            told = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]
            assert told == [], (where, scheme, width)
