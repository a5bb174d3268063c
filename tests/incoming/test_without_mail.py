"""Links for a person without a mail, and placeholders that were left in a page."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import pytest
from conftest import BASE_URL, SECRET, UNSUBSCRIBE, MakeSite, Site
from flask import Response, render_template_string, stream_with_context

from flask_mailtrack.errors import ConfigError, UnknownList

ADA, BOB = "ada@example.com", "bob@example.com"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
PAGE = "<p>{{ unsubscribe_link() }}</p>"


def path(url: str) -> str:
    """Return what a client asks for."""
    assert url.startswith(f"{BASE_URL}/m/")
    return urlsplit(url).path


def gets(site: Site, address: str, list_id: str) -> bool:
    """Say whether somebody gets mail of a list."""
    return site.send(to=[address], list_id=list_id) != []


@pytest.mark.parametrize("drained", [True, False])
def test_a_link_without_a_mail_unsubscribes_its_person(make_site: MakeSite, drained: bool) -> None:
    """A POST opts that address out of the named list, at once and without any message row; GET changes nothing."""
    site = make_site(MAILTRACK_DRAIN="manual")
    url = path(site.mailtrack.unsubscribe_url("Ada <ADA@example.com>", "news"))
    assert ADA not in url
    assert "unsubscribe" in site.client.get(url).text.lower()
    assert gets(site, ADA, "news")
    assert site.client.post(url, data=ONE_CLICK).status_code == 200
    if drained:
        site.mailtrack.flush()
    assert (gets(site, ADA, "news"), gets(site, ADA, "offers"), gets(site, BOB, "news")) == (False, True, True)
    site.client.post(url, data={"action": "undo"})
    if drained:
        site.mailtrack.flush()
    assert gets(site, ADA, "news")


@pytest.mark.parametrize("name", ["news", "Größe & mehr / ?", "n" * 255])
def test_a_link_without_a_mail_may_be_about_any_list(site: Site, name: str) -> None:
    """The name of the list is in the link, under its signature."""
    site.client.post(path(site.mailtrack.unsubscribe_url(ADA, name)), data=ONE_CLICK)
    assert [gets(site, ADA, each) for each in (name, "other")] == [False, True]


def test_a_link_is_about_a_list_that_is_known(make_site: MakeSite) -> None:
    """Any spelling of a configured list will do, but a name with a typo raises: nobody would have left anything."""
    site = make_site(MAILTRACK_LISTS={"News": {"title": "The News"}})
    site.client.post(path(site.mailtrack.unsubscribe_url(ADA, " NEWS")), data=ONE_CLICK)
    assert not gets(site, ADA, "news")
    with pytest.raises(UnknownList, match="News"):
        site.mailtrack.unsubscribe_url(ADA, "nwes")


def test_a_link_without_a_list_is_about_everything(site: Site) -> None:
    """Without a list an unsubscribe link leads out of all mail."""
    site.client.post(path(site.mailtrack.unsubscribe_url(ADA)), data=ONE_CLICK)
    assert [gets(site, ADA, each) for each in ("news", "other")] == [False, False]
    assert site.send(f'<a href="{UNSUBSCRIBE}">x</a>', to=[ADA]) == []


def test_nobody_can_put_another_list_into_a_link(site: Site) -> None:
    """A link with another list, or a damaged one, is about everything, to be safe."""
    token, _, news = path(site.mailtrack.unsubscribe_url(ADA, "news")).rpartition("/")
    offers = path(site.mailtrack.unsubscribe_url(ADA, "offers")).rpartition("/")[2]
    read = site.mailtrack._state().signer.read
    assert read("unsubscribe", f"{token}/{news}").list_id == "news"
    assert read("unsubscribe", f"{token}/{news}-").list_id == "news"
    for damaged in (f"{token}/{offers}", token, f"{token}/%"):
        assert read("unsubscribe", damaged).list_id == ""


def test_a_link_without_a_mail_survives_a_new_key(make_site: MakeSite) -> None:
    """A link of before the rotation opts out the same person of the same list, on each of its pages."""
    before = make_site()
    links = [path(before.mailtrack.unsubscribe_url(who, "news")) for who in (ADA, BOB)]
    site = make_site(SECRET_KEY="a newer secret that is long enough", SECRET_KEY_FALLBACKS=[SECRET])
    site.client.post(links[0], data=ONE_CLICK)
    page = site.client.get(links[1]).text
    preferences = page.partition('href="/m/p/')[2].partition('"')[0]
    assert 'name="on" value=""' in site.client.get(f"/m/p/{preferences}").text
    site.client.post(f"/m/p/{preferences}", data={"action": "save", "on": ""})
    for who in (ADA, BOB):
        assert (gets(site, who, "news"), gets(site, who, "offers")) == (False, True)


def test_preferences_without_a_mail(make_site: MakeSite) -> None:
    """A preferences link of the host switches lists and measuring of that person."""
    site = make_site(MAILTRACK_LISTS={"news": {"title": "The News"}, "offers": {"title": "Offers"}})
    url = path(site.mailtrack.preferences_url(ADA))
    assert "The News" in site.client.get(url).text
    site.client.post(url, data={"action": "save", "on": ["news", "offers"], "list": "offers", "measured": "on"})
    assert (gets(site, ADA, "news"), gets(site, ADA, "offers")) == (False, True)
    assert "/m/o/" not in site.send(to=ADA).html


@pytest.mark.parametrize("wrong", ["", "ada", "@", "a b@example.com"])
def test_what_is_no_address_gets_no_link(site: Site, wrong: str) -> None:
    """A link for nobody is a mistake of the programmer."""
    with pytest.raises(ValueError, match=r"address|spaces"):
        site.mailtrack.unsubscribe_url(wrong)


@pytest.mark.parametrize("config", [{"TESTING": True}, {"TESTING": False, "DEBUG": True}])
def test_a_page_with_a_placeholder_raises_while_it_is_made(make_site: MakeSite, config: dict[str, bool]) -> None:
    """A web view that shows a placeholder names the call that makes a working link."""
    site = make_site(**config)
    site.app.add_url_rule("/view", "view", lambda: render_template_string(PAGE))
    with pytest.raises(ConfigError, match=r"'view'.*mailtrack\.unsubscribe_url\(address, list_id\)") as raised:
        site.client.get("/view")
    assert raised.value.code == "E170"


def test_a_page_with_a_placeholder_is_logged_in_production(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader gets the page, and one line names its endpoint; pages without, files and streams are left alone."""
    site = make_site(TESTING=False)
    held = render_template_string(PAGE)
    site.app.add_url_rule("/view", "view", lambda: held)
    site.app.add_url_rule("/plain", "plain", lambda: "<p>mailtrack.invalid</p>")
    site.app.add_url_rule("/bytes", "bytes", lambda: Response(held, mimetype="application/octet-stream"))
    site.app.add_url_rule("/stream", "stream", lambda: Response(stream_with_context(iter([held]))))
    with caplog.at_level(logging.ERROR):
        assert [site.client.get(f"/{name}").text == held for name in ("view", "bytes", "stream")] == [True] * 3
        site.client.get("/plain")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "'view'" in said
