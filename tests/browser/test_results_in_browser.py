"""The results in a real browser: the overview, and campaigns with the clicks drawn on the mail."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from chromium import RULES, SLOWEST, Axe, Page, chromium, expect
from conftest import MakeSite
from thorough import share
from werkzeug.serving import make_server
from written_rows import mail, message, summed

from flask_mailtrack.events import Status, now
from flask_mailtrack.testing import Reader

TOO_WIDE = """() => [...document.querySelectorAll(".card, .tiles, table, h1, p")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
TOO_SMALL = """() => [...document.querySelectorAll("button, .btn, .t a, .seg a")]
    .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 23.5).map(e => e.outerHTML)"""
LONG = "حملة-الربيع-" + "x" * 80
HTML = '<h1>Tea</h1><p><a href="https://shop.example/tea">Tea</a> <a href="https://shop.example/kettle">Kettle</a></p>'


@pytest.fixture(name="page")
def _page(make_site: MakeSite) -> Iterator[Page]:
    """A browser at the console of a shop with mail of thirteen weeks, which nobody changes."""
    site = make_site(MAILTRACK_KEEP_BODIES=True)
    for week in range(12):
        mail(site, now() - timedelta(weeks=week, hours=9), f"week-{week}", 60, 20 + week, 5, subject=f"Week {week}")
    mail(site, now() - timedelta(days=3), LONG, 60, 3, 1, list_id="", subject="عرض الشاي " * 8)
    message(site, now() - timedelta(days=2), tag="week-0", status=Status.FAILED, list_id="news", subject="Week 0")
    message(site, now() - timedelta(seconds=9), tag="fresh", status=Status.SENDING)
    summed(site)
    for address in ("ada@example.com", "bob@example.com"):
        Reader(site.client, site.send(HTML, to=address, tag="spring", list_id="news")).click("Tea")
    console = site.mailtrack.console(access=lambda: {"view", "addresses", "export", "manage"})
    site.app.register_blueprint(console, url_prefix="/mt")
    server = make_server("127.0.0.1", 0, site.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    complaints: list[str] = []
    with chromium() as browser:
        context = browser.new_context(base_url=f"http://127.0.0.1:{server.server_port}")
        context.set_default_timeout(SLOWEST)
        # A frame with sandbox lets no script in, that of whoever drives the browser neither.
        ours = "Blocked script execution"
        context.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" and ours not in said.text else None,
        )
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        yield context.new_page()
    server.shutdown()
    thread.join()
    server.server_close()
    assert complaints == []


def flawless(page: Page, where: str) -> None:
    """Look at a page with all of it open, in every size and scheme, with axe."""
    page.goto(where)
    page.evaluate(Axe().axe_script)  # once for all looks, as it is half a megabyte
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for scheme, width in share(tuple(product(("light", "dark"), (320, 390, 1280)))):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (where, width)
        assert page.evaluate(TOO_WIDE) == [], (where, width)
        assert page.evaluate(TOO_SMALL) == [], (where, width)
        options: dict[str, Any] = {**RULES, "iframes": False}
        found = page.evaluate("rules => axe.run(document, rules)", options)["violations"]
        assert [(rule["id"], [n["html"] for n in rule["nodes"]]) for rule in found] == [], (where, scheme, width)


def test_a_marketer_reads_the_results(page: Page, tmp_path: Path) -> None:
    """The trend over thirteen weeks, the table as a file, and the reasons of those who left, without a script."""
    page.goto("/mt/")
    page.get_by_role("link", name="90 days").click()
    page.get_by_role("link", name="Week", exact=True).click()
    expect(page.get_by_role("heading", name="Opens and clicks a week")).to_be_visible()
    page.get_by_text("The same numbers as a table").click()
    weeks = page.get_by_role("table", name="Opens and clicks").get_by_role("row")
    assert weeks.count() in (14, 15)  # with the heading
    numbers = [int(cell) for cell in page.locator(".nt tbody td:nth-child(2)").all_inner_texts()]
    assert sum(numbers) == sum(range(20, 32)) + 3
    page.get_by_role("link", name="Sent", exact=True).click()
    expect(page.get_by_role("columnheader", name="Sent", exact=True).first).to_have_attribute("aria-sort", "descending")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    waiting.value.save_as(tmp_path / "table.csv")
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert {line["name"] for line in lines} == {*(f"week-{week}" for week in range(12)), LONG, "fresh", "spring"}
    page.goto("/mt/campaign?tag=week-1")
    expect(page.get_by_text("Usual on this list")).to_be_visible()
    page.get_by_role("link", name="See the reasons").click()
    assert "/mt/unsubscribes?" in page.url
    assert "tag=week-1" in page.url


def test_the_clicks_stand_on_the_mail(page: Page) -> None:
    """The mail stands in its frame with a badge at each link; a press on a link there leads nowhere."""
    page.goto("/mt/campaign/links?tag=spring")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Tea")).to_be_visible()
    assert [each.strip() for each in frame.locator("mt-badge").all_inner_texts()] == ["1 · 100% · 2", "2 · 0% · 0"]
    frame.get_by_text("Tea", exact=True).last.click()
    expect(frame.get_by_role("heading", name="Tea")).to_be_visible()
    page.get_by_role("link", name="Phone").click()
    expect(page.locator("iframe.narrow")).to_be_visible()


def test_no_page_of_results_breaks_a_rule(page: Page) -> None:
    """Each page and state, light and dark, on two phones and a desktop: axe finds nothing, nothing is cut off."""
    about_long = f"tag={LONG}"
    for where in (
        "/mt/?period=90d",
        "/mt/?from=2020-01-01&to=2020-01-02&who=machines",
        "/mt/campaigns?sender=example.org",
        "/mt/campaign?tag=week-1",
        "/mt/campaign?tag=fresh",
        f"/mt/campaign?{about_long}",
        "/mt/campaign/links?tag=spring",
        f"/mt/campaign/links?{about_long}",
        "/mt/campaign/clients?tag=week-1",
    ):
        flawless(page, where)
