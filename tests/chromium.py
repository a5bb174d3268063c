"""Debian's Chromium, driven by playwright, and what is held against each page in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import missing

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
except ImportError:
    Axe = Browser = BrowserContext = Page = expect = sync_playwright = None  # type: ignore[assignment, misc]

__all__ = ["RULES", "SLOWEST", "Axe", "Browser", "BrowserContext", "Page", "chromium", "expect"]

PROGRAM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
RULES: dict[str, Any] = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
"""The rules of accessibility that each page keeps, by axe."""
SLOWEST = 10_000
"""Milliseconds that any one thing may take."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; where there is none, the test is skipped, or fails in CI."""
    if sync_playwright is None:
        missing("playwright with axe-playwright-python")
    if not PROGRAM.exists():
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(PROGRAM), args=ARGUMENTS.split())
        yield browser
        browser.close()
