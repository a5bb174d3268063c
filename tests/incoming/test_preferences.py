"""The preferences page: lists, everything, and whether one is measured. ``sNN``: security.md, attack NN."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import html5lib
import pytest
from conftest import MakeSite, Site
from flask import render_template_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import DictLoader
from thorough import some
from werkzeug.datastructures import MultiDict

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.events import EVERYTHING, Kind
from flask_mailtrack.incoming.choices import wished
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.testing import BROWSER

PAGE = '<p><a href="{{ preferences_url() }}">choose</a> <a href="https://example.com/">go</a></p>'
LISTS = {
    "news": {"title": "The News", "description": "Each Monday."},
    "offers": {"title": "Offers"},
    "tea & more": {"title": "Tea"},
}


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


def save(site: Site, page: str, path: str, *switches: str) -> str:
    """Use some switches of a page, by list or ``measure``, press Save as a browser would; the next page."""
    form = parse(page)
    for switch in switches:
        field = ("measure", "on") if switch == "measure" else ("list", switch)
        if field in form:
            form.remove(field)
        else:
            form.append(field)
    data: MultiDict[str, str] = MultiDict([*form, ("action", "save")])
    response = site.client.post(path, data=data, headers=BROWSER)
    assert response.status_code == 200
    return response.text


def parse(page: str) -> list[tuple[str, str]]:
    """Return what a browser sends of a page's first form, as it stands, by html5lib."""
    form = html5lib.parse(page, namespaceHTMLElements=False).find(".//form")
    assert form is not None
    fields = [e for e in form.iter("input") if e.get("type") == "hidden" or e.get("checked") is not None]
    return [(str(e.get("name")), e.get("value", "on")) for e in fields]


def switches(page: str) -> dict[str, bool]:
    """Return how the switches of a page stand."""
    tree = html5lib.parse(page, namespaceHTMLElements=False)
    boxes = [e for e in tree.iter("input") if e.get("type") == "checkbox"]
    return {e.get("value") or str(e.get("name")): e.get("checked") is not None for e in boxes}


def buttons(page: str) -> list[str]:
    """Return what the buttons of a page do."""
    return re.findall(r'<button[^>]* value="(\w+)"', page)


def opt_outs(site: Site) -> list[tuple[str, str, str]]:
    """Return list, kind and method of every opt-out."""
    return [(row.list_id, row.kind, row.method) for row in site.rows("OptOut")]


def events(site: Site) -> list[tuple[str, str]]:
    """Return type and list of every event; those of one moment have no order."""
    return sorted((row.type, row.list_id) for row in site.rows("Event"))


def tracked(message: Any) -> tuple[bool, bool]:
    """Say whether a mail has a pixel, and tracked links."""
    return "/m/o/" in message.html, "/m/c/" in message.html


@pytest.fixture(name="site")
def _site(make_site: MakeSite) -> Site:
    """A site with three described lists."""
    return make_site(MAILTRACK_LISTS=LISTS)


@pytest.fixture(name="path")
def _path(site: Site) -> str:
    """The preferences path of a mail to ada on the list ``news``."""
    return preferences_path(send(site, list_id="news"))


def test_the_page_offers_every_choice(site: Site, path: str) -> None:
    """The person sees a switch for each list and for measuring, and one button for everything; nobody's address."""
    response = site.client.get(path)
    assert response.status_code == 200
    assert switches(response.text) == {"news": True, "offers": True, "tea & more": True, "measure": True}
    assert buttons(response.text) == ["save", "unsubscribe_all"]
    assert "The News" in response.text
    assert "Each Monday." in response.text
    assert "a•••@e•••.com" in response.text
    assert "ada@example.com" not in response.text
    assert "Saved." not in response.text


def test_a_mail_of_no_list_offers_the_same(site: Site) -> None:
    """What can be chosen does not depend on the mail that one came from."""
    path = preferences_path(send(site))
    assert list(switches(site.client.get(path).text)) == ["news", "offers", "tea & more", "measure"]


def test_a_list_without_a_description_is_offered_in_its_own_mails(make_site: MakeSite) -> None:
    """s71: where the configuration names none, a list is shown to those who get it, and to nobody else."""
    site = make_site()
    path = preferences_path(send(site, list_id="staff"))
    page = site.client.get(path).text
    assert "staff" in page
    page = save(site, page, path, "")
    assert opt_outs(site) == [("staff", "unsubscribe", "preferences")]
    assert send(site, list_id="staff") is None
    save(site, page, path, "")
    assert opt_outs(site) == []
    assert "staff" not in site.client.get(preferences_path(send(site, list_id="news"))).text


def test_several_lists_are_changed_at_once(site: Site, path: str) -> None:
    """Each list that was switched is one event and one opt-out; what was left alone is none."""
    page = save(site, site.client.get(path).text, path, "offers", "tea & more")
    assert "Saved." in page
    assert switches(page) == {"news": True, "offers": False, "tea & more": False, "measure": True}
    assert opt_outs(site) == [(name, "unsubscribe", "preferences") for name in ("offers", "tea & more")]
    assert events(site) == [("unsubscribed", "offers"), ("unsubscribed", "tea & more")]
    assert send(site, list_id="offers") is None
    assert send(site, list_id="news") is not None
    page = save(site, page, path, "offers", "news")
    assert opt_outs(site) == [(name, "unsubscribe", "preferences") for name in ("news", "tea & more")]
    assert events(site) == [
        ("subscribed", "offers"),
        *(("unsubscribed", name) for name in ("news", "offers", "tea & more")),
    ]
    assert switches(site.client.get(path).text) == switches(page)


def test_saving_without_a_change_records_nothing(site: Site, path: str) -> None:
    """Whoever presses Save on a page as it stands has chosen nothing, and is told so."""
    page = save(site, site.client.get(path).text, path)
    assert "Nothing has changed." in page
    assert "Saved." not in page
    assert (opt_outs(site), events(site)) == ([], [])


STRANGE: dict[str, list[tuple[str, str]]] = {
    "s71 an unknown list": [("on", "news"), ("list", "news"), ("off", "secret"), ("list", "secret")],
    "s71 leaving an unknown list": [("on", "secret")],
    "s71 everything in disguise": [("on", "*")],
    "s71 a list that was not shown": [("list", "offers")],
}


@pytest.mark.parametrize("form", STRANGE.values(), ids=list(STRANGE))
def test_what_the_page_does_not_offer_is_left_out(site: Site, path: str, form: list[tuple[str, str]]) -> None:
    """A list that is not on the page cannot be chosen by sending its name, and the page says so."""
    response = site.client.post(path, data=MultiDict([*form, ("action", "save")]))
    assert response.status_code == 200
    assert "is not offered on this page and was ignored" in response.text
    assert (opt_outs(site), events(site)) == ([], [])


@given(st.lists(st.tuples(st.sampled_from(["on", "off", "list", "measured", "measure", "action", "x"]), st.text())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=some(200))
def test_any_form_gives_choices_about_offered_lists_only(form: list[tuple[str, str]]) -> None:
    """Whatever is posted, what comes of it names a list of the page, the mail's own, or everything by its button."""
    for kind in (Kind.UNSUBSCRIBE, Kind.PREFERENCES):
        wish = wished(kind, MultiDict(form), ["news", "offers"])
        for choice in wish.choices:
            assert choice.list_id in ("", "news", "offers", EVERYTHING)
            assert choice.list_id != EVERYTHING or wish.state.endswith("_all")


def test_declining_stops_the_measuring(site: Site, path: str) -> None:
    """Later mails to that person have no pixel and no tracked links; everybody else's do, and mail still comes."""
    page = save(site, site.client.get(path).text, path, "measure")
    assert "Saved." in page
    assert switches(page)["measure"] is False
    assert opt_outs(site) == [("", "tracking", "preferences")]
    assert tracked(send(site, list_id="news")) == (False, False)
    assert tracked(send(site)) == (False, False)
    (row,) = site.rows("Message")[-1:]
    assert (row.status, row.tracks_opens, row.tracks_clicks) == ("sent", False, False)
    assert tracked(site.send(PAGE, to="bob@example.com", list_id="news")) == (True, True)


def test_accepting_takes_it_back(site: Site, path: str) -> None:
    """Whoever allows measuring again gets tracked mail again, and both choices are events."""
    page = save(site, site.client.get(path).text, path, "measure")
    assert switches(save(site, page, path, "measure"))["measure"] is True
    assert opt_outs(site) == []
    assert tracked(send(site, list_id="news")) == (True, True)
    assert [event.type for event in site.rows("Event")] == ["declined", "accepted"]


def test_declining_is_no_unsubscribe(site: Site, path: str) -> None:
    """The two choices do not touch each other."""
    page = save(site, site.client.get(path).text, path, "measure")
    page = save(site, page, path, "news")
    assert opt_outs(site) == [("", "tracking", "preferences"), ("news", "unsubscribe", "preferences")]
    page = save(site, page, path, "news")
    assert opt_outs(site) == [("", "tracking", "preferences")]
    assert (switches(page)["news"], switches(page)["measure"]) == (True, False)


def test_everything_can_be_left_and_joined_again(site: Site, path: str) -> None:
    """Leaving everything holds for every list, and taking it back lifts only that."""
    save(site, site.client.get(path).text, path, "news")
    page = press(site, path, "unsubscribe_all")
    assert buttons(page) == ["save", "undo_all"]
    assert switches(page) == {"measure": True}
    assert send(site, list_id="offers") is None
    assert switches(press(site, path, "undo_all"))["news"] is False
    assert send(site, list_id="offers") is not None
    assert send(site, list_id="news") is None


BUTTONS = {
    "unsubscribe": [("news", "unsubscribe")],
    "unsubscribe_all": [("", "unsubscribe")],
    "decline": [("", "tracking")],
}


@pytest.mark.parametrize(("action", "stands"), BUTTONS.items())
def test_a_button_of_the_hosts_own_page_works(
    site: Site, path: str, action: str, stands: list[tuple[str, str]]
) -> None:
    """A host's own page may have one button for each choice instead of switches."""
    press(site, path, action)
    assert [(list_id, kind) for list_id, kind, _ in opt_outs(site)] == stands
    press(site, path, {"unsubscribe": "undo", "unsubscribe_all": "undo_all", "decline": "accept"}[action])
    assert opt_outs(site) == []


def test_the_page_is_ahead_of_the_database(make_site: MakeSite) -> None:
    """What was just chosen is shown before it has been drained, and can be taken back at once."""
    site = make_site(MAILTRACK_LISTS=LISTS, MAILTRACK_DRAIN="manual")
    path = preferences_path(send(site, list_id="news"))
    site.mailtrack.flush()
    page = save(site, site.client.get(path).text, path, "offers", "measure")
    assert (switches(page)["offers"], switches(page)["measure"]) == (False, False)
    page = save(site, page, path, "offers", "measure")
    assert (switches(page)["offers"], switches(page)["measure"]) == (True, True)
    site.mailtrack.flush()
    assert opt_outs(site) == []
    assert len(events(site)) == 4


def test_a_switch_that_was_shown_wrong_still_does_what_it_says(site: Site, path: str) -> None:
    """Two tabs: leaving what was left in the other tab is no second event, and undoes nothing."""
    old = site.client.get(path).text
    save(site, old, path, "offers")
    save(site, old, path, "offers", "news")
    assert [list_id for list_id, *_ in opt_outs(site)] == ["news", "offers"]
    assert len(events(site)) == 2


def test_each_choice_says_what_it_was_made_on(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the proof of a choice: the language and a fingerprint of the page's text; none for a mail client."""
    records: list[dict[str, Any]] = []
    append = Spool.append

    def watched(self: Spool, *given: Any, **options: Any) -> None:
        records.extend(given)
        append(self, *given, **options)

    def shown() -> str:
        return str(records.pop().get("wording"))

    monkeypatch.setattr(Spool, "append", watched)
    page = site.client.get(path, headers={"Accept-Language": "de"}).text
    data = MultiDict([*parse(page), ("action", "save")])
    data.poplist("measure")
    site.client.post(path, data=data, headers={"Accept-Language": "de"})
    german = shown()
    assert re.fullmatch(r"de\.[0-9a-f]{8}", german)
    press(site, path, "accept")
    english = shown()
    assert re.fullmatch(r"en\.[0-9a-f]{8}", english)
    leave = urlsplit(str(send(site, list_id="news").extra_headers["List-Unsubscribe"]).strip("<>")).path
    press(site, leave, "unsubscribe")
    assert shown() not in (english, german)
    own = '{% extends "flask_mailtrack/preferences.html" %}{# our own words #}'
    site.app.jinja_loader = DictLoader({"mailtrack/preferences.html": own})
    press(site, path, "decline")
    assert shown() != english
    site.client.post(leave, data={"List-Unsubscribe": "One-Click"})
    assert shown() == "None"


def test_many_lists_fit_into_one_form(make_site: MakeSite) -> None:
    """The limit of a body grows with the lists that the page names."""
    many = {f"list {number} with a rather long name of its own": {"title": f"L{number}"} for number in range(200)}
    site = make_site(MAILTRACK_LISTS=many)
    path = preferences_path(send(site))
    page = save(site, site.client.get(path).text, path, *many)
    assert not any(switches(page)[name] for name in many)
    assert len(opt_outs(site)) == 200


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
    assert buttons(site.client.get(path).text) == ["decline", "unsubscribe_all"]
    assert buttons(press(site, path, "decline")) == ["accept", "unsubscribe_all"]
    site.db.create_all()
    site.mailtrack.flush()
    assert [(row.kind, row.list_id) for row in site.rows("OptOut")] == [("tracking", "")]
