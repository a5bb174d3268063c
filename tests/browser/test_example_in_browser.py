"""A newcomer's minute with the example app, in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from chromium import RULES, SLOWEST, Axe, Browser, BrowserContext, Page, expect
from thorough import THOROUGH
from werkzeug.serving import make_server

from example_app import create_app
from example_app.models import db

# Without a screen Chromium calls itself HeadlessChrome, which mailtrack rightly takes for a machine.
PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
OURS: dict[str, Any] = {**RULES, "iframes": False}  # a mail is its author's
MINUTE = 60


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example, served on a free port; its address."""
    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)
    address = f"http://127.0.0.1:{server.server_port}"
    # A browser that is driven opens a mail sooner than any hand could.
    config = {"MAILTRACK_BASE_URL": address, "MAILTRACK_THRESHOLDS": {"instant": 0}, "MAIL_SUPPRESS_SEND": True}
    app = create_app(config, instance_path=str(tmp_path_factory.mktemp("example")))
    server.app = app
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()
    with app.app_context():
        db.engine.dispose()


class Person:
    """Somebody at a browser; whatever the browser complains of is written down."""

    def __init__(self, browser: Browser, site: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=site, user_agent=PERSON, **options)
        self.context.set_default_timeout(SLOWEST)
        self.context.on("console", lambda message: self._complain(message.type, message.text))
        self.context.on("weberror", lambda error: self._complain("error", str(error.error)))
        # The browser fires this for each thing that a policy keeps out, also in frames.
        self.context.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('policy', e.violatedDirective))"
        )
        self.page: Page = self.context.new_page()

    def _complain(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def send(self, to: str) -> None:
        """Send the form as it stands, to somebody, and open the first copy in the mailbox."""
        self.page.goto("/compose")
        self.page.get_by_label("To", exact=True).fill(to)
        self.page.get_by_role("button", name="Send").click()
        self.page.get_by_role("link", name="Open in the mailbox").first.click()

    def follow(self, link: str) -> Page:
        """Follow a link of the mail, and return the tab it opens."""
        with self.context.expect_page() as opened:
            self.page.frame_locator("iframe").get_by_role("link", name=link).click()
        opened.value.wait_for_load_state()
        return opened.value

    def sees(self, *verbs: str) -> None:
        """Wait until the timeline tells just this, without being reloaded."""
        expect(self.page.locator(".tl .what strong")).to_have_text(list(verbs), timeout=SLOWEST)


@pytest.fixture(name="person")
def _person(browser: Browser, site: str) -> Iterator[Person]:
    person = Person(browser, site)
    yield person
    person.context.close()


OPENED = "Opened by a person, with Chrome on Linux."
CLICKED = "Clicked offer by a person, with Chrome on Linux."


def test_a_newcomers_minute(person: Person, site: str) -> None:
    """Send, open, click, land, unsubscribe, undo: the mailbox and the console tell each, and who left gets no mail."""
    page = person.page
    page.goto("/")
    started = page.evaluate("performance.timeOrigin")
    page.get_by_role("link", name="Send yourself a mail").first.click()
    page.get_by_role("button", name="Send").click()
    sent = page.url
    page.get_by_role("link", name="Open in the mailbox").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("First-flush Darjeeling, 20 % off until Sunday")
    person.sees("Sent")
    page.get_by_role("link", name="Show pictures").click()
    mail = page.url
    person.sees("Sent", OPENED)
    shop = person.follow("See the offer")
    assert shop.url == f"{site}/shop/first-flush?size=100g&code=SPRING20"
    shop.close()
    person.sees("Sent", OPENED, CLICKED)
    leaving = person.follow("Unsubscribe")
    assert leaving.url.startswith(f"{site}/m/u/")
    leaving.get_by_role("button", name="Unsubscribe").click()
    expect(leaving.get_by_role("heading", level=1)).to_have_text("You have been unsubscribed")
    person.sees("Sent", OPENED, CLICKED, "Unsubscribed from news.")
    assert page.url == mail
    page.goto("/compose")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status").first).to_contain_text("ada@example.com has unsubscribed from News")
    leaving.get_by_role("button", name="Subscribe again").click()
    # A tab that is closed while it loads may never close.
    expect(leaving.get_by_role("heading", level=1)).to_have_text("You are subscribed again")
    leaving.close()
    page.goto("/")
    page.get_by_role("link", name="Look at the console").click()
    expect(page.get_by_role("row", name="demo-offer").get_by_role("cell").first).to_be_visible()
    page.get_by_role("link", name="Live").click()
    told = page.locator("main tbody th").all_inner_texts()[:4]
    assert [text.lstrip("●□◌ ") for text in told] == [
        "Subscribed again.",
        "Unsubscribed from news.",
        CLICKED,
        OPENED,
    ]
    page.goto(sent)
    page.get_by_role("link", name="See in the console").click()
    done = page.locator("main .tl .what b").all_inner_texts()
    assert done[-4:] == [OPENED, CLICKED, "Unsubscribed from news.", "Subscribed again."]
    page.get_by_role("link", name="To the app").click()
    person.send("ada@example.com")
    person.sees("Sent")
    assert (page.evaluate("performance.timeOrigin") - started) / 1000 < MINUTE
    assert person.complaints == []


def test_the_minute_works_for_two_recipients(person: Person) -> None:
    """Two people get a copy each, and what one of them does is on that copy's timeline only."""
    page = person.page
    page.goto("/compose")
    page.get_by_label("To", exact=True).fill("first@example.com, second@example.com")
    page.get_by_role("button", name="Send").click()
    sent = page.url
    for name, events in (("first", [OPENED]), ("second", [])):
        page.goto(sent)
        page.get_by_role("link", name=f"Open in the mailbox as {name}@example.com").click()
        if events:
            page.get_by_role("link", name="Show pictures").click()
        person.sees("Sent", *events)
    assert person.complaints == []


def test_images_are_not_fetched_before_they_are_asked_for(person: Person) -> None:
    """Looking at a mail with its pictures hidden is no open, also in the width of a phone."""
    fetched: list[str] = []
    person.context.on("request", lambda request: fetched.append(request.url))
    person.send("hidden@example.com")
    expect(person.page.frame_locator("iframe").get_by_role("link", name="See the offer")).to_be_visible()
    with person.page.expect_response("**/timeline"):
        pass
    person.page.get_by_role("link", name="Phone").click()
    expect(person.page.frame_locator("iframe").get_by_role("link", name="See the offer")).to_be_visible()
    assert person.page.locator("iframe").bounding_box()["width"] < 400  # type: ignore[index]
    person.sees("Sent")
    assert not [url for url in fetched if "/m/o/" in url]
    assert person.complaints == []


def test_machines_appear_beside_people(person: Person) -> None:
    """The buttons that act as machines add machines' marks, and each says how it is known."""
    person.send("machines@example.com")
    person.page.get_by_role("button", name="Apple’s privacy proxy opens it").click()
    expect(person.page.get_by_role("status").first).to_contain_text("Nobody has read anything")
    person.sees("Sent", "Opened by a privacy proxy of apple.")
    person.page.get_by_text("How we know").click()
    expect(person.page.get_by_text("ua_apple_mpp")).to_be_visible()
    person.page.get_by_role("button", name="Unsubscribe with one click").click()
    person.sees("Sent", "Opened by a privacy proxy of apple.", "Unsubscribed from news.")
    assert person.complaints == []


def test_the_main_path_needs_no_mouse(person: Person) -> None:
    """From the first page, Tab and Enter alone send a mail and show its pictures."""
    page = person.page
    page.goto("/")
    tab_to(page, "Send yourself a mail")
    page.keyboard.press("Enter")
    expect(page).to_have_title("Compose a mail · flask_mailtrack")
    page.get_by_label("To", exact=True).fill("keys@example.com")
    tab_to(page, "Send")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sent/*")
    tab_to(page, "Open in the mailbox as keys@example.com")
    page.keyboard.press("Enter")
    page.wait_for_url("**/mailbox/*")
    tab_to(page, "Show pictures")
    page.keyboard.press("Enter")
    person.sees("Sent", OPENED)
    assert person.complaints == []


HOSTILE = """<body style="background:url(/static/tea.svg)"><h1>Look</h1><script>top.location = "/gone"</script>
<meta http-equiv="refresh" content="0;url=/gone"><form action="/compose" method="post"><button>Win</button></form>
<iframe src="/gone"></iframe><img src="https://elsewhere.example/spy.gif"><a href="javascript:alert(1)">Go</a></body>"""


def test_a_hostile_mail_does_nothing(person: Person) -> None:
    """Script, refresh, form and frame of a mail are dead, and nothing is fetched from outside."""
    page, asked, held = person.page, [], []
    person.context.on("requestfinished", lambda request: asked.append(request.url))
    person.context.on("requestfailed", lambda request: held.append((request.url, request.failure)))
    page.goto("/compose")
    page.get_by_label("My own").check()
    page.locator("#html").fill(HOSTILE)
    page.get_by_role("button", name="Send").click()
    page.get_by_role("link", name="Open in the mailbox").click()
    page.get_by_role("link", name="Show pictures").click()
    mail = page.url
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Look")).to_be_visible()
    frame.get_by_role("button", name="Win").click()
    frame.get_by_role("link", name="Go").click()
    with page.expect_response("**/timeline"):
        pass
    assert page.url == mail
    assert not [url for url in asked if "/gone" in url or "elsewhere" in url]
    assert ("https://elsewhere.example/spy.gif", "csp") in held


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on what has this *name*."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    pytest.fail(f"Tab does not reach {name!r}")


def test_every_page_fits_and_breaks_no_rule(person: Person) -> None:
    """On the narrowest phone and on a desktop, light and dark, no page scrolls sideways or is complained of."""
    page = person.page
    person.send("a.rather.long.address.for.a.phone@subdomain.example.com")
    mail = page.url
    text = page.context.request.get(f"{mail}/mail.eml").text()
    own = list(dict.fromkeys(re.findall(r"http\S+/m/[up]/[\w-]+", text)))[:2]
    assert len(own) == 2
    page.goto("/compose")
    page.get_by_label("To", exact=True).fill("one@example.com, two@example.com")
    page.get_by_role("button", name="Send").click()
    sent = page.url
    for what in ("A person opens it", "A security gateway scans it", "Unsubscribe with one click"):
        page.goto(mail)
        page.get_by_role("button", name=what).click()
    tabs = ("text", "headers", "raw", "changes", "timeline")
    views = [f"{mail}?images=1&phone=1", *(f"{mail}?view={tab}" for tab in tabs)]
    box = ["/mailbox/", "/mailbox/?q=nobody", GONE]
    paths = ["/", "/compose", *box, "/shop/tea", "/nothing-here", mail, sent, *views, *own]
    titles = set()
    for path in paths:
        page.goto(path)
        for closed in page.locator("details").all():
            closed.locator("summary").click()
        assert page.locator("main h1").count() == 1, path
        assert page.locator("html[lang=en]").count() == 1, path
        titles.add(page.title())
        _look(page, path)
        if path in (GONE, "/nothing-here"):
            assert "404" in person.complaints.pop()
    assert len(titles) == len(paths) - 1  # the mail with pictures, and without, is the same page
    assert person.complaints == []


GONE = "/mailbox/01a21ddd-b53d-732c-9515-80e33c9afd63"


SCHEMES = {320: ("light", "dark"), 1280: ("light", "dark")} if THOROUGH else {320: ("light",), 1280: ("dark",)}


def _look(page: Page, path: str) -> None:
    """Look at a page in every size and scheme, in the mailbox with axe."""
    in_mailbox = "/mailbox/" in path
    if in_mailbox:
        page.evaluate(Axe().axe_script)
    for width in (320, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
        small = page.locator("button:visible, .button:visible, nav a:visible, summary:visible").evaluate_all(
            "(all, least) => all.filter(e => e.getBoundingClientRect().height < least).map(e => e.textContent)",
            24 if in_mailbox else 44,
        )
        assert small == [], (path, width)
        for scheme in SCHEMES[width] if in_mailbox else ():
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate("rules => axe.run(document, rules)", OURS)["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], (path, width, scheme)


def test_everything_works_without_javascript(browser: Browser, site: str) -> None:
    """Without script, the timeline has a link to refresh it."""
    person = Person(browser, site, java_script_enabled=False)
    person.send("noscript@example.com")
    with person.page.expect_response("**/m/o/*"):
        person.page.get_by_role("link", name="Show pictures").click()
    person.page.get_by_role("link", name="Refresh").click()
    expect(person.page.locator(".tl")).to_contain_text("Opened by a person")
    person.context.close()


@pytest.mark.parametrize(
    ("language", "direction", "opens"), [("ar", "rtl", "شخص يفتحها"), ("de", "ltr", "Eine Person öffnet")]
)
def test_the_mailbox_fits_a_phone_in_the_readers_language(
    browser: Browser, site: str, person: Person, language: str, direction: str, opens: str
) -> None:
    """Long German words and Arabic from right to left go nowhere sideways, axe finds nothing, and the buttons work."""
    person.send("phone@example.com")
    mail = person.page.url
    reader = Person(browser, site, locale=language, viewport={"width": 320, "height": 800})
    page = reader.page
    page.goto(mail)
    page.get_by_role("button", name=opens).click()
    expect(page.locator("html")).to_have_attribute("dir", direction)
    for path in (
        "/mailbox/",
        *(f"{mail}?view={view}" for view in ("rendered", "text", "headers", "changes", "timeline")),
    ):
        page.goto(path)
        for closed in page.locator("details").all():
            closed.locator("summary").click()
        _look(page, path)
    assert reader.complaints == []
    reader.context.close()
