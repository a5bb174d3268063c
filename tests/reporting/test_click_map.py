"""A click map: the kept mail of a campaign with a badge at each link, and nothing in it that acts."""

from __future__ import annotations

import re
from dataclasses import astuple

import pytest
from conftest import MakeSite, Site

from flask_mailtrack import Scope
from flask_mailtrack.errors import ReportError
from flask_mailtrack.events import new_id
from flask_mailtrack.testing import Reader

HTML = (
    '<body><a href="https://example.com/a">First</a> <a href="https://example.com/b">Second</a>'
    '<a href="https://example.com/a">First</a><img src="https://cdn.example.com/x.png"></body>'
)


@pytest.fixture(name="keeping")
def _keeping(make_site: MakeSite) -> Site:
    return make_site(MAILTRACK_KEEP_BODIES=True)


def test_the_map_of_a_campaign(database_url: str, make_site: MakeSite) -> None:
    """Badges carry number, share and count, as the table of links does; links and pictures are gone."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_KEEP_BODIES=True)
    leave = site.app.jinja_env.globals["unsubscribe_url"]()  # type: ignore[operator]
    html = HTML.replace("</body>", f'<a href="{leave}">{leave}</a></body>')
    ada, bob = site.send(html, ["ada@example.com", "bob@example.com"], tag="spring", list_id="news")
    reports = site.mailtrack.reports
    (line,) = reports.bodies("spring")
    assert (line.tag, line.subject, line.messages) == ("spring", "Hello", 2)
    (first, _) = site.rows("Message")
    assert line.first_at == first.created_at
    assert reports.body(first.id) == reports.body(str(first.id)) == line
    site.db.session.rollback()
    Reader(site.client, ada).click("Second")
    Reader(site.client, bob).click("Second")
    Reader(site.client, bob).click("First")
    found = reports.click_map("spring")
    assert found is not None
    assert found.body == line
    assert [astuple(link) for link in found.links] == [
        (1, "https://example.com/b", "Second", 1, 1, 2, 2, 2),
        (2, "https://example.com/a", "First", 0, 2, 1, 1, 2),
    ]
    badge = r'<mt-badge style="[^"]*"><b style="[^"]*">(\d) · (\d+%)<i style="all:unset"> · (\d)</i></b></mt-badge><a>'
    assert re.findall(badge, found.html) == [("2", "50%", "1"), ("1", "100%", "2"), ("2", "50%", "1")]
    assert re.search(r"http|/m/|invalid", found.html) is None
    assert "<a>…</a>" in found.html
    policy = dict(found.headers)["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert [link.unique for link in reports.click_map("spring", audience="machines").links] == [0, 0]  # type: ignore[union-attr]


def test_a_map_with_pictures_shows_them_from_there_alone(keeping: Site) -> None:
    """An operator may name where pictures come from; another host's are left out, and a strange name is refused."""
    keeping.send(HTML, tag="spring")
    click_map = keeping.mailtrack.reports.click_map
    one = click_map("spring", pictures=["https://cdn.example.com"])
    other = click_map("spring", pictures=["https://cdn.example"])
    assert one is not None
    assert other is not None
    assert '<img src="https://cdn.example.com/x.png">' in one.html
    assert "img-src data: https://cdn.example.com;" in dict(one.headers)["Content-Security-Policy"]
    assert "<img>" in other.html
    for strange in ("cdn.example.com", "https://a; script-src *", "https://a https://b"):
        with pytest.raises(ReportError, match="pictures has"):
            click_map("spring", pictures=[strange])


def test_a_campaign_with_several_bodies_and_one_without(keeping: Site) -> None:
    """The body that most messages have is drawn, unless one is named; without a kept body there is no map."""
    keeping.send(HTML, ["a@example.com", "b@example.com"], tag="spring")
    keeping.send(f"<h1>Variant</h1>{HTML}", "c@example.com", tag="spring")
    reports = keeping.mailtrack.reports
    newest, oldest = reports.bodies("spring")
    assert (newest.messages, oldest.messages) == (1, 2)
    assert [reports.click_map("spring", body_id=each).body for each in (None, newest.id, str(oldest.id))] == [  # type: ignore[union-attr]
        oldest,
        newest,
        oldest,
    ]
    assert reports.bodies("autumn") == ()
    assert reports.click_map("autumn") is reports.click_map("spring", body_id=new_id()) is None
    assert reports.body(new_id()) is None
    for wrong in ("x", 7):
        with pytest.raises(ReportError, match="Write an id"):
            reports.body(wrong)  # type: ignore[arg-type]


def test_a_tenant_sees_its_own_bodies_alone(keeping: Site) -> None:
    """Inside a scope there is no body of somebody else's mail, and one of both counts the tenant's own mail."""
    keeping.send(HTML, ["a@example.com", "b@example.com"], tag="spring", sender="one@one.example")
    keeping.send(HTML, "c@example.com", tag="spring", sender="two@two.example")
    keeping.send("<p>Only two</p>", "c@example.com", tag="spring", sender="two@two.example")
    reports = keeping.mailtrack.reports.within(Scope(sender_domains={"one.example"}))
    first, _, third, last = keeping.rows("Message")
    (line,) = reports.bodies("spring")
    assert (line.id, line.messages) == (first.body_id, 2)
    assert reports.body(first.id) == line
    assert reports.body(third.id) is reports.body(last.id) is reports.click_map("spring", body_id=last.body_id) is None
    found = reports.click_map("spring")
    assert found is not None
    assert found.body == line
