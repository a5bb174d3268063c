"""The cohorts that mail is summed by."""

from __future__ import annotations

import pytest
from conftest import MakeSite

HTML = '<p><a href="https://example.com/">One</a></p>'


@pytest.mark.parametrize("again", ["messages alone", "all tables"])
def test_new_tables_have_sums_again(make_site: MakeSite, again: str) -> None:
    """A process that has met a campaign before counts it also in tables that are new, or from an older backup."""
    site = make_site()
    site.send(HTML, tag="news")
    assert site.mailtrack.reports.totals(tag="news").out == 1
    if again == "all tables":
        site.db.session.remove()
        site.db.drop_all()
        site.db.create_all()
    else:  # what a backup of before the first mail of the campaign has
        for table in ("cohort", "figure", "breakdown", "message"):
            site.db.session.execute(site.db.text(f"DELETE FROM mailtrack_{table}"))
        site.db.session.commit()
    site.send(HTML, tag="news")
    assert site.mailtrack.reports.totals(tag="news").out == 1
    assert [line.name for line in site.mailtrack.reports.campaigns().lines] == ["news"]
