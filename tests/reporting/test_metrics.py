"""What Prometheus reads of an app."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from flask import Response
from prometheus_client.parser import text_string_to_metric_families

from flask_mailtrack.errors import ConfigError
from flask_mailtrack.reporting import metrics
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.testing import SCANNER, Reader


def told(text: str) -> dict[tuple[str, ...], float]:
    """The samples of an answer, by name and values of labels."""
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_a_scrape_tells_what_became_of_mail_and_of_whose_it_does_not(site: Site) -> None:
    """Sends, hits, unsubscribes and opt-outs are right, and no address, tag or list is named."""
    html = '<a href="https://example.com/hidden">go</a>'
    mail = site.send(html, "ada@example.com", tag="hidden", list_id="hidden")
    Reader(site.client, mail).open()
    Reader(site.client, mail, SCANNER).click()
    Reader(site.client, mail).unsubscribe()
    site.mailtrack.suppress("bob@example.com", tracking=True)
    site.send(html, list_id="hidden")  # to somebody who has left

    @site.app.get("/metrics")
    def scraped() -> Response:
        return Response(site.mailtrack.metrics(), mimetype="text/plain")

    answer = site.client.get("/metrics")
    found = told(answer.text)
    assert answer.content_type == "text/plain; charset=utf-8"
    assert found["mailtrack_up",] == found["mailtrack_healthy",] == 1
    assert found["mailtrack_messages", "sent"] == found["mailtrack_messages", "suppressed"] == 1
    assert (found["mailtrack_hits", "opened", "human"], found["mailtrack_hits", "clicked", "scanner"]) == (1, 1)
    assert found["mailtrack_hits", "opened", "scanner"] == 0
    assert found["mailtrack_unsubscribes",] == 1
    assert found["mailtrack_optouts", "unsubscribe"] == found["mailtrack_optouts", "tracking"] == 1
    assert found["mailtrack_journal_records",] == found["mailtrack_drain_failing",] == 0
    assert [word for word in ("hidden", "example", "@") if word in answer.text] == []


def test_without_the_database_a_scrape_tells_of_the_journal(lasting: MakeSite) -> None:
    """A database that fails breaks no scrape: its figures are left out, and those of this machine are told."""
    site = lasting(tables=False)
    site.send()
    found = told(site.mailtrack.metrics())
    assert found["mailtrack_up",] == 0
    assert found["mailtrack_journal_records",] > 0
    assert ("mailtrack_messages", "sent") not in found


def test_a_database_that_hangs_holds_no_scrape(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape waits for a limited time, and the next one asks no second time meanwhile."""
    release, asked = threading.Event(), []

    def rows(*_: object) -> list[tuple[int]]:
        asked.append(1)
        release.wait(30)
        return [(0,)]

    monkeypatch.setattr(metrics, "SECONDS", 0.01)
    monkeypatch.setattr(Database, "rows", rows)
    assert [told(site.mailtrack.metrics())["mailtrack_up",] for _ in range(2)] == [0, 0]
    release.set()
    for thread in [each for each in threading.enumerate() if "metrics" in each.name]:
        thread.join()
    assert asked == [1]


def test_old_mail_is_not_counted_row_by_row(site: Site) -> None:
    """Where a rebuild has not entered old mail in the sums, a scrape reads no million rows, and says what to do."""
    site.send()
    site.db.session.execute(sa.update(site.mailtrack.models.Message).values(cohort_id=None))
    site.db.session.commit()
    text = site.mailtrack.metrics()
    assert told(text)["mailtrack_up",] == 0
    assert "flask mailtrack rebuild" in text
    site.app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
    assert told(site.mailtrack.metrics())["mailtrack_messages", "sent"] == 1


def test_the_extra_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prometheus-client, the call says what to install."""
    monkeypatch.setattr(metrics, "_LACKING", True)
    with pytest.raises(ConfigError, match=r"flask-mailtrack\[metrics\]"):
        site.mailtrack.metrics()
