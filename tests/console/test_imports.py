"""Imports of suppressions in the console."""

from __future__ import annotations

import io
import re
import threading

import pytest
from conftest import Site
from console_visitor import Visitor, words
from query_count import MOST, queries

from flask_mailtrack.console.imports import GONE
from flask_mailtrack.storage.people import import_jobs
from flask_mailtrack.storage.people.import_jobs import ImportJob

LIST = "email,reason\nada@example.com,bounce\nbob@example.com,=1+1\n<script>alert(1)</script>,\n"


def bring(seen: Visitor, content: str = LIST, name: str = "../../<b>list.csv", status: int = 303) -> str:
    """Send a file with the form, wait for who counts it, and return where the answer leads."""
    sent = seen.fields("/suppressions/import", "/import")
    path = sent.pop("@action")
    answer = seen.client.post(path, data=sent | {"file": (io.BytesIO(content.encode()), name)})
    assert answer.status_code == status, words(answer.get_data(as_text=True))
    wait()
    return answer.headers.get("Location", "").removeprefix(seen.prefix) or answer.get_data(as_text=True)


def wait() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("mailtrack-import"):
            thread.join()


def test_a_file_is_counted_then_confirmed_then_imported(site: Site) -> None:
    """Somebody sees what would change before anything does, presses twice, and it is done once, in their name."""
    seen = Visitor(site, name="mara")
    page = bring(seen)
    text = seen.get(page)
    assert "New: 2. Known: 0. Bad lines: 1." in words(text)
    assert "Line 4 is not an address" in words(text)
    assert "<script>alert" not in text
    assert not site.rows("OptOut")
    for _ in range(2):
        if "Throw the file away" in seen.get(page):
            seen.submit(page, "/start")
        wait()
    answer = seen.client.get(seen.prefix + page)
    assert "Done 2 added." in words(answer.get_data(as_text=True))
    assert "Refresh" not in answer.headers
    assert [(row.actor, row.method) for row in site.rows("Audit")] == [("mara", "import")] * 2
    assert "<script>" in seen.get(f"{page}/rejected")
    assert "2" in words(seen.get("/suppressions/import")).partition("Imports of the last days")[2]
    seen.permissions = ("view", "manage")
    seen.get(f"{page}/rejected", 404)
    with queries(site) as asked:
        seen.get(page)
    assert len(asked) <= MOST
    assert seen.submit(page, "/drop").endswith("done=import_dropped")
    assert GONE in words(seen.get(page, 404))


def test_the_page_reloads_itself_only_while_something_happens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At work there is a bar and a reload; where the process has died, the page says so and offers to go on."""
    seen = Visitor(site, name="mara")
    monkeypatch.setattr(ImportJob, "_work", lambda job: None)
    monkeypatch.setattr(import_jobs, "START_SECONDS", -1.0)
    page = bring(seen)
    stopped = seen.client.get(seen.prefix + page)
    assert "The process that did this has ended." in words(stopped.get_data(as_text=True))
    assert "Refresh" not in stopped.headers
    with monkeypatch.context() as patched:
        patched.setattr(import_jobs, "START_SECONDS", 60.0)
        answer = seen.client.get(seen.prefix + page)
    assert answer.headers["Refresh"] == "5"
    assert "<progress" in answer.get_data(as_text=True)
    assert seen.submit(page, "/cancel").endswith("done=import_cancelled")
    assert "Cancelled" in words(seen.get(page))


def test_a_file_that_cannot_be_taken_is_refused_in_a_sentence(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, a file that is too large, and one without addresses each get their sentence."""
    seen = Visitor(site)
    assert "Choose a file." in words(bring(seen, name="", status=400))
    kind = "multipart/form-data; boundary=x"
    asked = {"CONTENT_LENGTH": "30000000"}
    long = seen.client.post("/mt/suppressions/import", data=b"--x", content_type=kind, environ_overrides=asked)
    assert long.status_code == 413
    assert "at most 20 MB" in words(long.get_data(as_text=True))
    monkeypatch.setattr(import_jobs, "MOST_BYTES", 100)
    assert "Split it" in words(bring(seen, "x" * 200, status=413))
    failed = bring(seen, "name\nAda\n")
    assert "has no column with addresses" in words(seen.get(failed))
    assert re.search(r"import/[0-9a-f-]{36}$", failed)
