"""The documentation as it is built: every link inside leads somewhere, and every public name has its place."""

from __future__ import annotations

import importlib
import os
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

BUILT = os.environ.get("MAILTRACK_DOCS", "")
MODULES = ("", ".consent", ".errors", ".events", ".models", ".pytest_plugin", ".signals", ".testing")
pytestmark = pytest.mark.skipif(not BUILT, reason="MAILTRACK_DOCS names no built documentation; .ci/run builds it")


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {each for each in (given.get("id"), given.get("name")) if each}
        self.links += [each for each in (given.get("href"), given.get("src")) if each]


def test_every_link_inside_leads_somewhere() -> None:
    """Each relative address of each page is a file of the documentation, and its anchor is on that page."""
    root = Path(BUILT)
    pages = {path.resolve(): Page(path) for path in root.rglob("*.html")}
    assert len(pages) > 50
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors | {""}):
                dead.append((path.name, link))
    assert dead == []


def test_every_public_name_has_its_place() -> None:
    """Each name of each public module is in the index of the reference, as is each method of the extension."""
    inventory = Path(BUILT, "objects.inv").read_bytes().split(b"\n", 4)[4]
    names = {line.split(" py:")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    lost = []
    for suffix in MODULES:
        module = importlib.import_module(f"flask_mailtrack{suffix}")
        lost += [n for n in module.__all__ if f"{module.__name__}.{n}" not in names and not found(module, n, names)]
    assert lost == []
    extension = importlib.import_module("flask_mailtrack").Mailtrack
    methods = [name for name in dir(extension) if not name.startswith("_") and name not in ("console", "mailbox")]
    assert [name for name in methods if f"flask_mailtrack.Mailtrack.{name}" not in names] == []


def found(module: object, name: str, names: set[str]) -> bool:
    """Say whether a name has its place under the module in which it was made."""
    return f"{getattr(getattr(module, name), '__module__', '')}.{name}" in names
