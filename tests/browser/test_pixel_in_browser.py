"""The pixel in a real browser: one pixel large, whatever the author's style sheet says of images."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Page, chromium

from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.links import Links
from flask_mailtrack.outgoing.rewriting.rewrite import compile
from flask_mailtrack.tokens import Signer

CORPUS = Path(os.environ.get("MAILTRACK_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
PIXEL = Links("https://links.example.com/m", Signer(["k" * 32]).message(uuid.UUID(int=7)), "a" * 16).pixel()
BOX = """() => {
    const image = document.querySelector('img[src^="https://links.example.com/"]'), style = getComputedStyle(image)
    return [image.offsetWidth, image.offsetHeight, style.margin, style.padding, style.borderStyle, style.display]
}"""
SMALL = [1, 1, "0px", "0px", "none", "block"]
RULES = [
    "img{width:100%!important}",
    "img{width:100%!important;height:auto!important;max-width:100%!important}",
    "img{min-width:300px!important;min-height:300px!important}",
    "img{margin:20px!important;padding:20px!important;border:5px solid red!important}",
    "body img[width]{display:inline-block!important;width:50vw!important;height:50vw!important}",
    "*{padding:9px!important;margin:9px!important}",
    "@media (max-width:600px){img{width:100%!important;height:auto!important}}",
]


@pytest.fixture(name="phone", scope="module")
def _phone() -> Iterator[Page]:
    """A page as wide as a phone that asks nobody for anything."""
    with chromium() as browser:
        page = browser.new_context(viewport={"width": 375, "height": 700}, java_script_enabled=True).new_page()
        page.route("**/*", lambda route: route.abort())
        yield page


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_for_images_makes_the_pixel_larger(phone: Page, rule: str) -> None:
    """What an author says of all images, importantly or not, leaves no blank square in the mail."""
    phone.set_content(f"<style>{rule}</style><body><p>Hello</p>{PIXEL}</body>", wait_until="commit")
    assert phone.evaluate(BOX) == SMALL


@pytest.mark.skipif(not (CORPUS / "MANIFEST.tsv").is_file(), reason="needs a folder of real mails")
def test_the_pixel_is_one_pixel_in_real_templates(phone: Page) -> None:
    """In templates that size all their images importantly, the pixel is as small as in any other."""
    looked = 0
    with (CORPUS / "MANIFEST.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    for row in rows:
        html = (CORPUS / row["path"]).read_bytes().decode(row["charset"])
        if row["kind"] != "template" or "img" not in html or "!important" not in html or looked == 40:
            continue
        try:
            template = compile(html, refuse=lambda url: "not_now")
        except RewriteError:
            continue
        if not template.pixel or template.starts:
            continue
        phone.set_content(template.render([], {"end": PIXEL}), wait_until="commit")
        assert phone.evaluate(BOX) == SMALL, row["path"]
        looked += 1
    assert looked > 20
