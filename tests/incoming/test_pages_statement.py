"""What a person is told about what is kept of them: it follows the settings in force, and their own choices."""

from __future__ import annotations

import dataclasses
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import MakeSite, Site
from flask import render_template_string

from flask_mailtrack.config import load
from flask_mailtrack.events import Standing
from flask_mailtrack.incoming.pages import statement

LISTS = {"news": {"title": "The News"}, "offers": {"title": "Offers"}}


def path_of(site: Site, **options: Any) -> str:
    """Send a mail to ada and return the path of her preferences."""
    sent = site.send(render_template_string('<a href="{{ preferences_url() }}">x</a>'), **options)
    return urlsplit(re.findall('href="([^"]+)"', sent.html)[0]).path


def told(site: Site, path: str) -> dict[str, str]:
    """Return what the statement says, by what it is about; of two the last."""
    page = site.client.get(f"{path}?statement")
    assert page.status_code == 200
    pairs = re.findall(r"<dt>(.*?)</dt>\s*<dd>(.*?)</dd>", page.text, re.DOTALL)
    return {re.sub("<.*?>", "", name): " ".join(re.sub("<.*?>", "", text).split()) for name, text in pairs}


def test_the_statement_is_one_link_away(make_site: MakeSite) -> None:
    """From the preferences and back, on the token that is in old mails already; and it asks for nothing."""
    site = make_site(MAILTRACK_LISTS=LISTS)
    path = path_of(site, list_id="news")
    assert 'href="?statement"' in site.client.get(path).text
    page = site.client.get(f"{path}?statement").text
    assert "<h1>What we keep about you</h1>" in page
    assert "a•••@e•••.com" in page
    assert 'href="?"' in page
    assert "<form" not in page
    assert site.client.get("/m/p/bad?statement").status_code == 404


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("truncate", "Only the first part, which many people share."),
        ("full", "The full address."),
        ("hash", "Only as a code that changes every day."),
        ("none", "Not kept."),
    ],
)
def test_it_says_what_is_kept_of_an_ip_address(make_site: MakeSite, mode: str, text: str) -> None:
    """MAILTRACK_IP in plain words."""
    site = make_site(MAILTRACK_IP=mode)
    assert told(site, path_of(site))["IP address"] == text


@pytest.mark.parametrize(
    ("mode", "text"),
    [("full", "Its name, version and system, as it states them."), ("family", "Only its name."), ("none", "Not kept.")],
)
def test_it_says_what_is_kept_of_a_user_agent(make_site: MakeSite, mode: str, text: str) -> None:
    """MAILTRACK_USER_AGENT in plain words."""
    site = make_site(MAILTRACK_USER_AGENT=mode)
    assert told(site, path_of(site))["Browser or email app"] == text


def test_it_says_whether_one_is_measured(make_site: MakeSite) -> None:
    """Opens and clicks, each if the settings have it, with the verdict and its purpose; nothing after a refusal."""
    both = measured(make_site())
    assert "When an email is opened. When a link is clicked, and which one." in both
    assert "a person or a program" in both
    assert "When a link" not in measured(make_site(MAILTRACK_CLICKS=False))
    assert "When an email" not in measured(make_site(MAILTRACK_OPENS=False))
    assert measured(make_site(MAILTRACK_OPENS=False, MAILTRACK_CLICKS=False)) == "Not recorded."
    site = make_site()
    site.client.post(path_of(site), data={"action": "decline"})
    assert measured(site) == "Not recorded."


def measured(site: Site) -> str:
    """What the statement says of opens and clicks."""
    page = site.client.get(f"{path_of(site)}?statement").text
    return " ".join(re.findall(r"<dt>Opens and clicks</dt>\s*<dd>(.*?)</dd>", page, re.DOTALL)[0].split())


def test_it_names_the_mode_in_force(make_site: MakeSite) -> None:
    """Counted together, or the last day only; where domains differ, what tells most; nothing is still nothing."""
    together = "Only as totals for all recipients. Nobody can tell which were yours."
    assert measured(make_site(MAILTRACK_MODE="aggregate")) == together
    assert measured(make_site(MAILTRACK_MODE="deliverability")).startswith("Only the date of your last open or click.")
    for mode, start in (("deliverability", "Only the date"), ("individual", "When an email is opened.")):
        domains = {"example.net": {"mode": mode}}
        assert measured(make_site(MAILTRACK_MODE="aggregate", MAILTRACK_SENDER_DOMAINS=domains)).startswith(start)
    off = make_site(MAILTRACK_MODE="aggregate", MAILTRACK_OPENS=False, MAILTRACK_CLICKS=False)
    assert measured(off) == "Not recorded."


def test_it_says_how_the_lists_stand(make_site: MakeSite) -> None:
    """Each list by its title, on or off; everything left is each list left."""
    site = make_site(MAILTRACK_LISTS=LISTS)
    path = path_of(site, list_id="news")
    assert (told(site, path)["The News"], told(site, path)["Offers"]) == ("Turned on", "Turned on")
    site.client.post(path, data={"action": "unsubscribe"})
    assert (told(site, path)["The News"], told(site, path)["Offers"]) == ("Turned off", "Turned on")
    site.client.post(path, data={"action": "unsubscribe_all"})
    assert (told(site, path)["The News"], told(site, path)["Offers"]) == ("Turned off", "Turned off")


def test_it_says_how_long_things_are_kept(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days for what has a period, and plainly that there is none for what has not."""
    site = make_site()
    path = path_of(site)
    names = ("Emails we sent you", "Opens and clicks", "Your email preferences")
    assert {told(site, path)[name] for name in names} == {"No set time limit"}

    def limited(*given: Any) -> Any:
        return dataclasses.replace(statement(*given), days={"events": 365})

    monkeypatch.setattr("flask_mailtrack.incoming.pages.statement", limited)
    after = told(site, path)
    assert (after["Emails we sent you"], after["Opens and clicks"]) == ("No set time limit", "365 days")


def test_it_can_be_made_without_a_page() -> None:
    """The facts alone, for a host's own page."""
    settings = load(
        {"SECRET_KEY": "x" * 40, "MAILTRACK_BASE_URL": "https://x.example", "MAILTRACK_OPENS": False},
        instance_path="x",
        testing=False,
    )
    made = statement(settings, Standing(measured=False))
    assert (made.opens, made.clicks, dict(made.days)) == (False, False, {})


def test_a_database_that_is_away_costs_no_statement(make_site: MakeSite) -> None:
    """What is kept follows from the settings; only the lists are left out."""
    site = make_site(MAILTRACK_LISTS=LISTS)
    path = path_of(site, list_id="news")
    site.db.drop_all()
    after = told(site, path)
    assert "The News" not in after
    assert after["IP address"] == "Only the first part, which many people share."
