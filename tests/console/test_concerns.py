"""What needs attention is looked for once a minute, for each viewer's mail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conftest import MakeSite
from console_visitor import Visitor, words
from written_rows import asked, message, summed

from flask_mailtrack import Scope
from flask_mailtrack.console import concerns
from flask_mailtrack.events import Status, now


def test_concerns_are_remembered_for_a_minute(lasting: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year of mail is not compared for each look, and no tenant sees what another one is told."""
    site = lasting()
    for number in range(60):
        status = Status.FAILED if number < 20 else Status.SENT
        message(site, now() - timedelta(days=2), tag="spring", status=status)
    summed(site)
    seen = Visitor(site)
    clock = [100.0]
    monkeypatch.setattr(concerns, "monotonic", lambda: clock[0])
    failed = "33.3% of 60 copies of “Hello” failed."
    questions: list[Any] = asked(site)
    assert failed in words(seen.get("/"))
    first = len(questions)
    questions.clear()
    assert failed in words(seen.get("/"))
    assert len(questions) < first
    seen.scope = Scope(tags={"other"})
    assert "Nothing needs you." in words(seen.get("/"))
    seen.scope = None
    site.db.session.execute(site.mailtrack.models.Figure.__table__.delete())
    site.db.session.commit()
    assert failed in words(seen.get("/"))
    clock[0] += concerns.SECONDS + 1
    assert failed not in words(seen.get("/"))
