"""The preferences page: lists, everything, and whether one is measured. ``sNN``: security.md, attack NN."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import MakeSite, Site
from flask import render_template_string

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.storage.spool import Spool
from flask_mailtrack.testing import BROWSER

PAGE = '<p><a href="{{ preferences_url() }}">choose</a> <a href="https://example.com/">go</a></p>'
LISTS = {"news": {"title": "The News", "description": "Each Monday."}}


def send(site: Site, **options: Any) -> Any:
    """Send a mail with a link to the preferences to ada; ``None`` if it was suppressed."""
    copies = site.send(render_template_string(PAGE), to=["ada@example.com"], **options)
    return copies[0] if copies else None


def preferences_path(message: Any) -> str:
    """Return the path of the preferences link in a mail."""
    return str(re.findall(r'href="https://[^/]+(/m/p/[^"]+)"', message.html)[0])


def press(site: Site, path: str, action: str, **fields: str) -> str:
    """Press a button of the page and return the next page."""
    response = site.client.post(path, data={"action": action, **fields}, headers=BROWSER)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    return response.text


def buttons(page: str) -> list[str]:
    """Return what the buttons of a page do."""
    return re.findall(r'<button[^>]* value="(\w+)"', page)


def opt_outs(site: Site) -> list[tuple[str, str, str]]:
    """Return list, kind and method of every opt-out."""
    return [(row.list_id, row.kind, row.method) for row in site.rows("OptOut")]


def tracked(message: Any) -> tuple[bool, bool]:
    """Say whether a mail has a pixel, and tracked links."""
    return "/m/o/" in message.html, "/m/c/" in message.html


@pytest.fixture(name="site")
def _site(make_site: MakeSite) -> Site:
    """A site with one described list."""
    return make_site(MAILTRACK_LISTS=LISTS)


@pytest.fixture(name="path")
def _path(site: Site) -> str:
    """The preferences path of a mail to ada on the list ``news``."""
    return preferences_path(send(site, list_id="news"))


def test_the_page_offers_every_choice(site: Site, path: str) -> None:
    """The person sees the list, everything, and measuring, each with one button; the address is masked."""
    response = site.client.get(path)
    assert response.status_code == 200
    assert buttons(response.text) == ["unsubscribe", "unsubscribe_all", "decline"]
    assert "The News" in response.text
    assert "Each Monday." in response.text
    assert "a•••@e•••.com" in response.text
    assert "ada@example.com" not in response.text
    assert "Saved." not in response.text


def test_a_mail_of_no_list_offers_everything_and_measuring(site: Site) -> None:
    """Where there is no list to leave, none is shown."""
    path = preferences_path(send(site))
    assert buttons(site.client.get(path).text) == ["unsubscribe_all", "decline"]


def test_declining_stops_the_measuring(site: Site, path: str) -> None:
    """Later mails to that person have no pixel and no tracked links; everybody else's do, and mail still comes."""
    page = press(site, path, "decline")
    assert "Saved." in page
    assert buttons(page)[-1] == "accept"
    assert opt_outs(site) == [("", "tracking", "preferences")]
    assert tracked(send(site, list_id="news")) == (False, False)
    assert tracked(send(site)) == (False, False)
    (row,) = site.rows("Message")[-1:]
    assert (row.status, row.opens, row.clicks) == ("sent", False, False)
    assert tracked(site.send(PAGE, to="bob@example.com", list_id="news")) == (True, True)


def test_accepting_takes_it_back(site: Site, path: str) -> None:
    """Whoever allows measuring again gets tracked mail again, and both choices are events."""
    press(site, path, "decline")
    assert buttons(press(site, path, "accept"))[-1] == "decline"
    assert opt_outs(site) == []
    assert tracked(send(site, list_id="news")) == (True, True)
    assert [event.type for event in site.rows("Event")] == ["declined", "accepted"]


def test_declining_is_no_unsubscribe(site: Site, path: str) -> None:
    """The two choices do not touch each other."""
    press(site, path, "decline")
    press(site, path, "unsubscribe")
    assert opt_outs(site) == [("", "tracking", "preferences"), ("news", "unsubscribe", "preferences")]
    page = press(site, path, "undo")
    assert opt_outs(site) == [("", "tracking", "preferences")]
    assert buttons(page) == ["unsubscribe", "unsubscribe_all", "accept"]


def test_a_list_can_be_left_and_joined_again(site: Site, path: str) -> None:
    """The list's button says what it would do now, and the next send keeps to it."""
    assert buttons(press(site, path, "unsubscribe")) == ["undo", "unsubscribe_all", "decline"]
    assert send(site, list_id="news") is None
    assert buttons(press(site, path, "undo")) == ["unsubscribe", "unsubscribe_all", "decline"]
    assert send(site, list_id="news") is not None


def test_everything_can_be_left_and_joined_again(site: Site, path: str) -> None:
    """Leaving everything holds for every list, and taking it back lifts only that."""
    press(site, path, "unsubscribe")
    assert buttons(press(site, path, "unsubscribe_all")) == ["undo", "undo_all", "decline"]
    assert send(site, list_id="another") is None
    press(site, path, "undo_all")
    assert send(site, list_id="another") is not None
    assert send(site, list_id="news") is None


def test_the_page_is_ahead_of_the_database(make_site: MakeSite) -> None:
    """What was just chosen is shown before it has been drained."""
    site = make_site(MAILTRACK_LISTS=LISTS, MAILTRACK_DRAIN="manual")
    path = preferences_path(send(site, list_id="news"))
    site.mailtrack.flush()
    for action, then in {
        "unsubscribe": "undo",
        "undo": "unsubscribe",
        "unsubscribe_all": "undo_all",
        "undo_all": "unsubscribe_all",
        "decline": "accept",
        "accept": "decline",
    }.items():
        assert then in buttons(press(site, path, action))
        site.mailtrack.flush()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_changes_nothing(site: Site, path: str, method: str) -> None:
    """P6: whoever opens the page, with whatever parameters, has chosen nothing."""
    for action in ("unsubscribe_all", "decline"):
        assert site.client.open(f"{path}?action={action}", method=method).status_code == 200
    site.mailtrack.flush()
    assert (site.rows("OptOut"), site.rows("Event")) == ([], [])


OTHER: list[dict[str, str]] = [
    {},
    {"action": ""},
    {"action": "explode"},
    {"action": "reason", "reason": "other"},
    {"List-Unsubscribe": "One-Click"},
    {"list": "secret", "kind": "tracking"},
]


@pytest.mark.parametrize("data", OTHER, ids=repr)
def test_what_is_no_button_changes_nothing(site: Site, path: str, data: dict[str, str]) -> None:
    """s71: this URL is in no List-Unsubscribe header, so only the page's own buttons mean anything here."""
    response = site.client.post(path, data=data)
    assert response.status_code == 200
    assert "Saved." not in response.text
    assert site.rows("OptOut") == []


def test_other_fields_mean_nothing(site: Site, path: str) -> None:
    """s58, s71: whose choice it is, and about which list, is in the token alone."""
    press(
        site, path, "unsubscribe", email="bob@example.com", list_id="secret", is_admin="1", recipient="bob@example.com"
    )
    (row,) = site.rows("OptOut")
    assert (row.recipient, row.list_id) == ("ada@example.com", "news")


def test_an_unsubscribe_link_does_not_open_the_preferences(site: Site, path: str) -> None:
    """s60: the kinds of token are kept apart, in both directions."""
    leave = urlsplit(str(send(site, list_id="news").extra_headers["List-Unsubscribe"]).strip("<>")).path
    for other in (leave.replace("/u/", "/p/"), path.replace("/p/", "/u/"), "/m/p/" + "a" * 68, "/m/p/", "/m/p"):
        assert site.client.get(other).status_code == 404
        assert site.client.post(other, data={"action": "unsubscribe_all"}).status_code == 404
    assert site.rows("OptOut") == []


def test_a_big_body_is_refused(site: Site, path: str) -> None:
    """s67: 8 KB are enough for a choice."""
    assert site.client.post(path, data={"action": "decline", "x": "x" * 9_000}).status_code == 413
    assert site.rows("OptOut") == []


def test_a_full_disk_is_no_choice(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is not claimed."""

    def full(*_: Any, **__: Any) -> None:
        raise SpoolError("disk full")

    monkeypatch.setattr(Spool, "append", full)
    response = site.client.post(path, data={"action": "decline"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
    assert b"Saved" not in response.data


def test_the_page_works_without_the_database(site: Site, path: str) -> None:
    """With the database gone the page still offers what needs no list, and takes the choice."""
    site.db.drop_all()
    assert buttons(site.client.get(path).text) == ["unsubscribe_all", "decline"]
    assert buttons(press(site, path, "decline")) == ["unsubscribe_all", "accept"]
    site.db.create_all()
    site.mailtrack.flush()
    assert [(row.kind, row.list_id) for row in site.rows("OptOut")] == [("tracking", "")]
