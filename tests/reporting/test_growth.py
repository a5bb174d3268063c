"""How a mail's opens came, hour by hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from conftest import MakeSite
from written_rows import asked, event, message, summed

from flask_mailtrack.events import Verdict, now
from flask_mailtrack.reporting.growth import HOURS, Sending, usual_curve
from flask_mailtrack.reporting.selection import Selection

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_opens_are_counted_since_the_mail_began(database_url: str, make_site: MakeSite) -> None:
    """A curve begins at nothing, rises when people open, and ends after three days; machines leave it as it is."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    keys = [message(site, NOON + timedelta(seconds=place), tag="a") for place in range(4)]
    event(site, keys[0], NOON + timedelta(minutes=10))
    event(site, keys[0], NOON + timedelta(hours=5))
    event(site, keys[1], NOON + timedelta(hours=2, minutes=20))
    event(site, keys[2], NOON + timedelta(hours=1), verdict=Verdict.SCANNER)
    event(site, keys[3], NOON + timedelta(hours=90))
    reports = site.mailtrack.reports
    begun = [Sending(Selection(tag="a"), NOON, 4), Sending(Selection(tag="b"), NOON, 0)]
    site.db.session.commit()
    assert reports.growth(begun) == [(), ()]
    summed(site)
    curve, nothing = reports.growth(begun)
    assert (len(curve), nothing) == (HOURS + 1, ())
    assert curve[:4] == (0, 0.25, 0.25, 0.5)
    assert curve[-1] == 0.5
    hourly = reports.series(tag="a", by="hour", basis="happened", since=NOON, until=NOON + timedelta(hours=HOURS))
    assert [point.totals.opened.unique / 4 for point in hourly.points[:3]] == [0.25, 0, 0.25]


def test_mail_whose_events_are_purged_is_in_the_sums_like_any_other(make_site: MakeSite) -> None:
    """Where messages are kept for ever, one from before there were sums would else keep all reports to the rows."""
    site = make_site(MAILTRACK_KEEP_DAYS={"events": 30})
    for at in (NOON, now() - timedelta(days=9)):
        event(site, message(site, at, tag="a"), at + timedelta(hours=1))
    summed(site)
    assert site.app.test_cli_runner().invoke(args=["mailtrack", "purge"]).exit_code == 0
    reports = site.mailtrack.reports
    assert (reports.totals(tag="a").sent, reports.totals(tag="a").opened.unique) == (2, 2)
    (curve,) = reports.growth([Sending(Selection(tag="a"), NOON, 1)])
    assert curve[-1] == 1


def test_the_usual_curve_is_the_median_as_far_as_all_go() -> None:
    """A mail that is younger than the others ends the usual curve."""
    assert usual_curve([(0, 0.1, 0.2), (0, 0.5), (0, 0.3, 0.4)]) == (0, 0.3)
    assert usual_curve([]) == ()


def test_a_page_asks_once_what_holds_for_all_its_questions(make_site: MakeSite) -> None:
    """Whether all mail is in the sums, and which subjects there are, is asked once for a page and anew for the next."""
    site = make_site()
    message(site, NOON, tag="a", subject="One")
    summed(site)
    questions = asked(site)
    for _ in range(2):
        questions.clear()
        reports = site.mailtrack.reports.briefly()
        for _ in range(2):
            assert reports.totals(tag="a").sent == 1
            assert reports.subjects_of_tags(Selection()) == {"a": ["One"]}
        assert len(questions) == 4


@pytest.mark.parametrize("tz", ["Europe/Berlin", "Asia/Kathmandu"])
def test_a_period_in_a_zone_is_one_question(make_site: MakeSite, tz: str) -> None:
    """However a period is cut into days and quarter hours, the sums are asked once for it."""
    site = make_site()
    event(site, message(site, NOON, tag="a"), NOON + timedelta(hours=1))
    summed(site)
    questions = asked(site)
    reports = site.mailtrack.reports.briefly()
    days = Selection(since="2026-04-20", until="2026-05-04", tz=tz)
    assert reports.totals(days).opened.unique == 1
    assert len(reports.series(days, by="day", basis="happened").points) == 14
    assert reports.domains(days).sent == 1
    assert len(questions) == 4
