"""The alarm: a database that takes nothing is heard of, at a bearable rate, and is not knocked at all the time."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import pytest
from conftest import Told
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.storage.drain import drain as alarm_module
from flask_mailtrack.storage.drain.drain import Alarm, Backoff
from flask_mailtrack.storage.journal.backlog import Waiting


class Clock:
    """A clock that goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said, by its level."""
    return [record.levelname for record in caplog.records if record.name == "flask_mailtrack.drain"]


def test_waits_double_up_to_a_minute_and_begin_anew() -> None:
    """After each failure the wait is twice as long, never over a minute, and after a success as configured."""
    backoff = Backoff(2, spread=lambda: 1.0)
    assert [backoff.after(False) for _ in range(7)] == [4, 8, 16, 32, 60, 60, 60]
    assert backoff.after(True) == 2
    assert backoff.after(False) == 4


@given(st.floats(0.05, 3600), st.lists(st.booleans(), max_size=40), st.floats(0, 1))
def test_a_wait_is_always_between_the_interval_and_a_minute(seconds: float, runs: list[bool], chance: float) -> None:
    """Whatever happens, nobody knocks more often than configured, and rows never wait much longer than a minute."""
    backoff = Backoff(seconds, spread=lambda: chance)
    for went_well in runs:
        assert seconds <= backoff.after(went_well) <= max(60, seconds)


def test_a_day_without_a_database_is_told_in_proportion(caplog: pytest.LogCaptureFixture) -> None:
    """One WARNING, then an ERROR every five minutes with what waits, then one INFO; each failure told is signalled."""
    caplog.set_level(logging.DEBUG, "flask_mailtrack")
    clock, told = Clock(), Told()
    gauge = SimpleNamespace(read=lambda: Waiting(rows=12, bytes=9, oldest_seconds=77.4))
    alarm = Alarm(told, gauge, clock)  # type: ignore[arg-type]
    alarm.over()
    for _ in range(61):
        alarm.failed(ConnectionError("ada@example.com"))
        clock.now += 10
    assert levels(caplog) == ["WARNING", "ERROR", "ERROR"]
    assert [type(error) for error in told.failures] == [ConnectionError] * 3
    assert "12 rows wait, the oldest for 77 s" in caplog.text
    assert "ConnectionError" in caplog.text
    assert "ada@example.com" not in caplog.text
    alarm.over()
    alarm.over()
    assert levels(caplog)[3:] == ["INFO"]
    alarm.failed(ConnectionError())
    assert levels(caplog)[4:] == ["WARNING"]


def test_a_run_that_does_not_end_is_told_of(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that hangs raises the alarm while the run still waits for it, from another thread."""
    monkeypatch.setattr(alarm_module, "HUNG_SECONDS", 0.01)
    noticed = threading.Event()
    errors: list[Exception] = []

    class Noticing(Told):
        def failed(self, reason: str, error: Exception) -> None:
            errors.append(error)
            noticed.set()

    alarm = Alarm(Noticing(), SimpleNamespace(read=Waiting))  # type: ignore[arg-type]
    with alarm.watching():
        assert noticed.wait(10)
    assert type(errors[0]) is TimeoutError
    assert levels(caplog) == ["WARNING"]
    with alarm.watching():
        pass
