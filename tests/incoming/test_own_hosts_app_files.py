"""A phone may open an app from a tracked link: the files its system asks for, and the links it matches."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import BASE_URL, MakeSite, Site

AASA = {"applinks": {"details": [{"appIDs": ["TEAM.org.example.app"], "components": [{"/": "/m/a/*"}]}]}}
LINKS = [{"relation": ["delegate_permission/common.handle_all_urls"], "target": {"namespace": "android_app"}}]


@pytest.fixture(name="app_site")
def _app_site(make_site: MakeSite) -> Site:
    return make_site(
        MAILTRACK_APPLE_APP_SITE_ASSOCIATION=AASA,
        MAILTRACK_ASSETLINKS=LINKS,
        MAILTRACK_SENDER_DOMAINS={"shop.example": {"base_url": "https://l.shop.example"}},
    )


@pytest.mark.parametrize(("name", "content"), [("apple-app-site-association", AASA), ("assetlinks.json", LINKS)])
@pytest.mark.parametrize("host", [BASE_URL, "https://l.shop.example", "https://l.shop.example:443"])
def test_a_tracking_host_says_which_links_an_app_opens(app_site: Site, name: str, content: Any, host: str) -> None:
    """Each tracking host serves the file as JSON, at once and without a redirect."""
    answer = app_site.client.get(f"/.well-known/{name}", base_url=host)
    assert (answer.status_code, answer.mimetype, answer.json) == (200, "application/json", content)


def test_other_hosts_keep_their_own_files(app_site: Site) -> None:
    """On the app's own host the same path is not ours."""
    answer = app_site.client.get("/.well-known/assetlinks.json", base_url="https://www.example.com")
    assert answer.status_code == 404


def test_without_configuration_nothing_is_served(site: Site) -> None:
    """A host that has no app has no such files."""
    assert site.client.get("/.well-known/assetlinks.json", base_url=BASE_URL).status_code == 404


def test_links_of_a_sender_domain_are_on_its_host_and_work_on_every_host(make_site: MakeSite) -> None:
    """A sender's links are built on that sender's address, and answer wherever they still reach the app."""
    site = make_site(MAILTRACK_SENDER_DOMAINS={"shop.example": {"base_url": "https://l.shop.example/"}})
    sent = site.send('<a href="https://example.com/">x</a>', sender="Shop <hello@Shop.example>")
    assert 'href="https://l.shop.example/m/c/' in sent.html
    assert 'src="https://l.shop.example/m/o/' in sent.html
    path = sent.html.split('href="https://l.shop.example')[1].split('"')[0]
    for host in ("https://l.shop.example", BASE_URL, "http://old.example:8080"):
        assert site.client.get(path, base_url=host).location == "https://example.com/"


def test_a_link_for_the_app_is_under_a_path_of_its_own(site: Site) -> None:
    """Only a link that the author marked is one that the app's file can claim; it redirects like any other."""
    sent = site.send(
        '<a data-mailtrack-app href="https://example.com/order/1">a</a> <a href="https://example.com/order/1">b</a>'
    )
    assert "data-mailtrack-app" not in sent.html
    first, second = (piece.split('"')[0] for piece in sent.html.split(f'href="{BASE_URL}')[1:])
    assert first.startswith("/m/a/")
    assert second.startswith("/m/c/")
    for path in (first, second):
        assert site.client.get(path).location == "https://example.com/order/1"
    assert [event.type for event in site.rows("Event")] == ["clicked", "clicked"]
