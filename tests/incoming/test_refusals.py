"""Links that are not ours cost a line a minute in the log, however many come."""

from __future__ import annotations

import logging
import threading

import pytest
from conftest import Site

from flask_mailtrack.errors import TokenError
from flask_mailtrack.incoming.views import Refusals


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged."""
    return [record.getMessage() for record in caplog.records if record.name == "flask_mailtrack.hit"]


def test_a_flood_of_bad_links_is_one_line(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand forged clicks and pixels are all refused, and the log has one line."""
    caplog.set_level(logging.INFO)
    for number in range(950):
        assert site.client.get(f"/m/o/{number}.gif").status_code == 200
        if number < 50:  # a page each, which is slower
            assert site.client.get(f"/m/c/{number}").status_code == 404
    assert len(lines(caplog)) == 1


def test_a_minute_later_their_number_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What was not logged is counted, and said with the first one after a minute."""
    caplog.set_level(logging.INFO)
    now = 1_000.0
    refusals = Refusals(lambda: now)
    for _ in range(100):
        refusals.add(TokenError("short"))
    now += 60
    refusals.add(TokenError("signature"))
    assert [line.split()[2] for line in lines(caplog)] == ["1", "100"]
    assert "signature" in lines(caplog)[1]


def test_threads_lose_no_count(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals of several threads at once are all in the count."""
    caplog.set_level(logging.INFO)
    now = 0.0
    refusals = Refusals(lambda: now)

    def add() -> None:
        for _ in range(1_000):
            refusals.add(TokenError("short"))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = 60.0
    refusals.add(TokenError("short"))
    assert sum(int(line.split()[2]) for line in lines(caplog)) == 4_001


def test_at_debug_each_refusal_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Who looks for a reason sees each refusal at level DEBUG."""
    caplog.set_level(logging.DEBUG)
    refusals = Refusals(lambda: 0.0)
    for _ in range(3):
        refusals.add(TokenError("version"))
    assert sum(line.startswith("link refused") for line in lines(caplog)) == 3
