"""The tasks of support in the console, in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from chromium import RULES, SLOWEST, Axe, Browser, Page, expect
from conftest import BASE_URL, SECRET, Site
from flask import Flask, request
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from thorough import share
from werkzeug.serving import make_server

from flask_mailtrack import Mailtrack
from flask_mailtrack.console.access import Viewer
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://shop.example.com/one">One</a> <a href="https://shop.example.com/two">Two</a></p>'
LONG = f"{'l' * 64}@{'d' * 60}.example.org"
RTL = "\u05d3\u05d5\u05d3@example.com"
ALL = "view-addresses-export-manage"


@pytest.fixture(name="host", scope="module")
def _host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A host with some mail, and its console, whose permissions a cookie names; the address of the console."""
    folder = tmp_path_factory.mktemp("host")
    app = Flask("host", instance_path=str(folder))
    app.config.update(
        TESTING=True,
        SECRET_KEY=SECRET,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder / 'app.sqlite3'}",
        MAILTRACK_BASE_URL=BASE_URL,
        MAIL_DEFAULT_SENDER="news@example.org",
        MAILTRACK_LISTS={"news": {"title": "The News", "description": "Each Monday."}},
    )
    db, mail = SQLAlchemy(app), Mail(app)
    site = Site(app, db, mail, Mailtrack(app, mail=mail, db=db))

    def access() -> Viewer:
        return Viewer(request.cookies.get("permissions", ALL).split("-"), "Mara Lindt")

    app.register_blueprint(site.mailtrack.console(access=access), url_prefix="/mt")
    with app.app_context():
        db.create_all()
        tell(site)
        db.session.remove()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/mt"
    server.shutdown()
    thread.join()
    server.server_close()
    with app.app_context():
        db.engine.dispose()


def tell(site: Site) -> None:
    """Send mails, and let people and machines react."""
    ada = Reader(site.client, site.send(HTML, subject="Winter blends", tag="winter", list_id="news"))
    ada.as_scanner().click(0)
    ada.as_scanner().click(1)
    ada.open()
    ada.click("One")
    for name, reason in (("bob", "too_often"), ("eve", ""), ("ann", "too_often")):
        sent = site.send(HTML, f"{name}@example.com", subject="Winter blends", tag="winter", list_id="news")
        (link,) = re.findall(r"<(https://[^>]+)>", sent.extra_headers["List-Unsubscribe"])
        site.client.post(urlsplit(link).path, data={"action": "unsubscribe"})
        if reason:
            site.client.post(urlsplit(link).path, data={"action": "reason", "reason": reason, "comment": "x" * 300})
    site.mailtrack.suppress("dina@example.com", tracking=True)
    site.send(HTML, "dina@example.com", subject="For Dina")
    site.send(HTML, "zoe@example.com", subject="For Zoe")
    site.send(HTML, LONG, subject="Donaudampfschifffahrtsgesellschaft" * 4, tag="t" * 100)
    site.send(HTML, RTL, subject="\u05e9\u05dc\u05d5\u05dd")
    site.mailtrack.suppress("away@example.com", reason="bounce")
    site.mailtrack.suppress("angry@example.com", reason="complaint")
    site.mailtrack.suppress(LONG, reason="bounce")


class Support:
    """Somebody at a browser; whatever the browser complains of is written down."""

    def __init__(self, browser: Browser, permissions: str = ALL, **options: Any) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(SLOWEST)
        self.context.on("console", lambda message: self.complaints.append(message.text))
        self.permissions = permissions
        self.page: Page = self.context.new_page()

    def go(self, address: str) -> Page:
        """Open a page."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        self.context.add_cookies([{"name": "permissions", "value": self.permissions, "url": origin}])
        self.page.goto(address)
        return self.page


@pytest.fixture(name="support")
def _support(browser: Browser) -> Iterator[Support]:
    found = Support(browser, java_script_enabled=False)
    yield found
    found.context.close()
    assert not found.complaints


def test_who_opened_one_mail_is_found(host: str, support: Support) -> None:
    """Support filters the messages by subject and activity, opens one, and reads when and how it was opened."""
    page = support.go(f"{host}/messages")
    page.get_by_label("Recipient or subject").fill("winter")
    page.get_by_label("Activity").select_option("Opened")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("1 message", exact=True)).to_be_visible()
    page.get_by_role("row").nth(1).get_by_role("link").click()
    expect(page.get_by_text("Opened by a person")).to_be_visible()
    expect(page.get_by_text("Clicked by a machine 2 times")).to_be_visible()
    assert "ada" not in page.url


def test_why_a_mail_was_not_opened_is_found(host: str, support: Support) -> None:
    """Support types the address, and the timeline says that the person has declined."""
    page = support.go(f"{host}/messages")
    page.get_by_label("Recipient or subject").fill("Dina@example.com")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("Not measured: declined")
    page.get_by_role("row").nth(1).get_by_role("link").click()
    expect(page.get_by_text("The person has declined measuring on")).to_be_visible()


def test_the_reasons_of_one_campaign_are_seen(host: str, support: Support) -> None:
    """Marketing narrows the unsubscribes to a campaign, and reads who gave the most frequent reason."""
    page = support.go(f"{host}/unsubscribes?tag=winter")
    expect(page.get_by_role("listitem").filter(has_text="Too many emails")).to_contain_text("2 of 3")
    page.get_by_role("link", name="Too many emails").click()
    who = page.get_by_role("table", name="Unsubscribes, newest first")
    expect(who.get_by_role("row")).to_have_count(3)
    expect(who).not_to_contain_text("eve")


def test_a_suppression_is_removed_by_its_typed_address(host: str, support: Support) -> None:
    """Support finds the address, is refused without the right address, and then removes it with a note."""
    page = support.go(f"{host}/suppressions")
    page.get_by_label("Address").first.fill("away@example.com")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Remove away").click()
    page.get_by_label("Type the address to confirm").fill("other@example.com")
    page.get_by_label("Why").fill("asked by phone")
    page.get_by_role("button", name="Allow mail again").click()
    expect(page.get_by_text("This is another address.")).to_be_visible()
    page.get_by_label("Type the address to confirm").fill("away@example.com")
    page.get_by_role("button", name="Allow mail again").click()
    expect(page.get_by_role("status").first).to_contain_text("Mail to this address goes out again.")
    expect(page.get_by_role("table")).not_to_contain_text("away")
    expect(page.get_by_role("row").filter(has_text="angry")).to_contain_text("Reported us as spam")
    support.complaints.clear()  # of the 400


def test_a_file_of_suppressions_is_imported(host: str, support: Support) -> None:
    """Support brings a file, sees what would change, and confirms; the page loads itself until it is done."""
    page = support.go(f"{host}/suppressions/import")
    content = b"email\nnew@example.com\nangry@example.com\nnobody\n"
    page.get_by_label("CSV file").set_input_files({"name": "old.csv", "mimeType": "text/csv", "buffer": content})
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_role("heading", name="New: 1. Known: 1. Bad lines: 1.")).to_be_visible(timeout=2 * SLOWEST)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("heading", name="Done")).to_be_visible(timeout=2 * SLOWEST)


def test_a_person_is_erased(host: str, support: Support) -> None:
    """Support types the address twice: to find the person, and to forget them."""
    page = support.go(f"{host}/people")
    page.get_by_label("Address").fill("zoe@example.com")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Erase").click()
    page.get_by_label("Type the address to confirm").fill("zoe@example.com")
    page.get_by_role("button", name="Erase for good").click()
    expect(page.get_by_role("status")).to_contain_text("The person is erased.")
    page.get_by_label("Address").fill("zoe@example.com")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_contain_text("We have no mail to this address")


def test_a_person_and_their_timeline_are_found_by_keyboard_alone(host: str, support: Support) -> None:
    """From the first page, with Tab, Enter and letters only."""
    page = support.go(f"{host}/messages")

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if name in page.locator(":focus").inner_text():
                return
        pytest.fail(f"Tab does not lead to {name}")

    tab_to("People")
    page.keyboard.press("Enter")
    page.wait_for_url("**/people*")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(":focus").get_attribute("name") == "q":
            break
    page.keyboard.type("ada@example.com")
    page.keyboard.press("Enter")
    page.wait_for_url("**/people/*")
    tab_to("Winter blends")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()


LOOKS = (("light", 1280), ("dark", 1280), ("dark", 320))
"""At 390 pixels nothing is laid out otherwise than at 320."""


def look_at(page: Page, path: str) -> None:
    """Look at a page with axe, with everything open, and at whether it fits."""
    page.evaluate(Axe().axe_script)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for scheme, width in share(LOOKS, 2):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
        assert not found, (path, scheme, width, [(each["id"], each["nodes"][0]["html"]) for each in found])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)


def test_everybody_can_read_the_pages_about_rows(browser: Browser, host: str) -> None:
    """Full, empty, wrong, masked, and with words that are too long: axe finds nothing, and nothing is cut off."""
    support = Support(browser)
    page = support.go(f"{host}/messages")
    keys = page.get_by_role("row").get_by_role("link").evaluate_all("all => all.map(each => each.href)")
    long, winter = keys[1].rpartition("/")[2], keys[-1].rpartition("/")[2]
    paths = ["messages", "messages?search=nothing", "messages/00000000-0000-7000-8000-000000000000"]
    paths += [f"messages/{winter}", f"people/{long}", f"people/{long}/erase", "people", "unsubscribes"]
    paths += ["suppressions", "suppressions/import"]
    for path in paths:
        look_at(support.go(f"{host}/{path}"), path)
    support.permissions = "view"
    for path in ("messages", f"messages/{long}", f"people/{winter}"):
        look_at(support.go(f"{host}/{path}"), path)
    support.context.close()
