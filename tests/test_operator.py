"""What an operator decides at run time, seen in the mail that goes out and in what is kept of readers."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import BASE_URL, MakeSite, Site
from flask_mail import Message, email_dispatched

from flask_mailtrack import signals
from flask_mailtrack.administration.domain_check import DomainReport, DomainStatus
from flask_mailtrack.administration.tracking_domains import Domains
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/">go</a></p>'
DOMAIN = "example.org"


def seen(sent: Any) -> tuple[bool, bool, bool]:
    """Return whether a mail has a pixel, tracked links, and a way to leave in its headers."""
    return "/m/o/" in sent.html, "/m/c/" in sent.html, "List-Unsubscribe" in (sent.extra_headers or {})


def test_a_switch_turned_off_is_seen_in_the_next_mail(site: Site) -> None:
    """Opens off for one sender domain: its mail has no pixel and still tracked links; other mail has both."""
    site.mailtrack.settings.set("opens", False, domain=DOMAIN, by="ops")
    assert seen(site.send(HTML)) == (False, True, False)
    assert seen(site.send(HTML, sender="a@elsewhere.example")) == (True, True, False)
    assert [row.tracks_opens for row in site.rows("Message")] == [False, True]
    site.mailtrack.settings.unset("opens", domain=DOMAIN, by="ops")
    assert seen(site.send(HTML)) == (True, True, False)


def test_nothing_turns_on_what_the_operator_has_turned_off(make_site: MakeSite) -> None:
    """Code, header, block and sender domain of the configuration may say on: off is off."""
    site = make_site(MAILTRACK_SENDER_DOMAINS={DOMAIN: {"opens": True, "clicks": True, "unsubscribe": True}})
    for key in ("opens", "clicks", "unsubscribe"):
        site.mailtrack.settings.set(key, False, by="ops")
    header = {"X-Mailtrack": "opens=on; clicks=on; unsubscribe=on"}
    with site.mailtrack.options(opens=True, clicks=True):
        sent = site.send(HTML, opens=True, clicks=True, unsubscribe=True, list_id="news", extra_headers=header)
    assert seen(sent) == (False, False, False)


def test_what_is_on_replaces_the_configuration_and_a_message_may_say_off(make_site: MakeSite) -> None:
    """On overrules account and sender domain of the configuration, not the message."""
    site = make_site(MAILTRACK_OPENS=False, MAILTRACK_SENDER_DOMAINS={DOMAIN: {"clicks": False}})
    assert seen(site.send(HTML)) == (False, False, False)
    for key in ("opens", "clicks"):
        site.mailtrack.settings.set(key, True, by="ops")
    assert seen(site.send(HTML)) == (True, True, False)
    assert seen(site.send(HTML, opens=False)) == (False, True, False)
    assert seen(site.send(HTML, extra_headers={"X-Mailtrack": "clicks=off"})) == (True, False, False)


def test_unsubscribe_on_is_for_mail_that_names_a_list(make_site: MakeSite) -> None:
    """The switch stands for MAILTRACK_UNSUBSCRIBE: it puts no headers on mail without a list."""
    site = make_site(MAILTRACK_UNSUBSCRIBE=False)
    assert seen(site.send(HTML, list_id="news"))[2] is False
    site.mailtrack.settings.set("unsubscribe", True, by="ops")
    assert seen(site.send(HTML, list_id="news"))[2] is True
    assert seen(site.send(HTML))[2] is False


def test_the_dimension_domain_tracks_only_what_has_a_setting(site: Site) -> None:
    """Mail of a domain without a setting of its own goes out untracked."""
    site.mailtrack.settings.dimension = "domain"
    assert seen(site.send(HTML)) == (False, False, False)
    for key in ("opens", "clicks"):
        site.mailtrack.settings.set(key, True, domain=DOMAIN, by="ops")
    assert seen(site.send(HTML)) == (True, True, False)


def test_a_campaign_under_way_obeys(site: Site) -> None:
    """A switch turned while a message goes to many is in force for those who have not got theirs yet."""

    def turn(app: Any, message: Any) -> None:
        if message.send_to == {"b@example.com"}:
            site.mailtrack.settings.set("clicks", False, by="ops")

    with email_dispatched.connected_to(turn, site.app):
        sent = site.send(HTML, to=[f"{name}@example.com" for name in "abcd"])
    assert [seen(each)[1] for each in sent] == [True, True, False, False]
    assert [row.tracks_clicks for row in site.rows("Message")] == [True, True, False, False]


def test_a_pause_throws_hits_away_and_breaks_nothing(site: Site) -> None:
    """Links go on leading and people can leave; nothing else is kept until the pause is over."""
    reader = Reader(site.client, site.send(HTML, list_id="news"))
    reader.open()
    site.mailtrack.settings.set("pause", True, by="ops")
    reader.open()
    assert reader.click("go").location == "https://example.com/"
    assert seen(site.send(HTML, list_id="news"))[:2] == (False, False)
    assert reader.unsubscribe().status_code == 200
    assert [event.type for event in site.rows("Event")] == ["opened", "unsubscribed"]
    assert len(site.rows("OptOut")) == 1
    site.mailtrack.settings.set("pause", False, by="ops")
    reader.open()
    assert [event.type for event in site.rows("Event")] == ["opened", "unsubscribed", "opened"]


def test_links_that_are_out_work_whatever_is_switched(site: Site) -> None:
    """A switch concerns later mails: hits on earlier ones are kept."""
    reader = Reader(site.client, site.send(HTML))
    for key in ("opens", "clicks"):
        site.mailtrack.settings.set(key, False, by="ops")
    reader.open()
    assert reader.click("go").location == "https://example.com/"
    assert [event.type for event in site.rows("Event")] == ["opened", "clicked"]


def test_a_change_is_signalled_with_who_made_it(site: Site) -> None:
    """A host can log, or ask back."""
    told: list[Any] = []

    def tell(app: Any, event: Any) -> None:
        told.append(event)

    with signals.settings_changed.connected_to(tell, site.app):
        site.mailtrack.settings.set("opens", False, by="ops@example.com")
    assert [(event.key, event.value, event.before, event.changed_by) for event in told] == [
        ("opens", "off", "", "ops@example.com")
    ]


def verify(site: Site, monkeypatch: pytest.MonkeyPatch, status: DomainStatus = DomainStatus.VERIFIED) -> Domains:
    """Have every check of the site's domains end in *status*; the checks themselves have tests of their own."""
    report = DomainReport(status, True, ())
    monkeypatch.setattr("flask_mailtrack.administration.domain_check.DomainChecker.check", lambda *_: report)
    return site.mailtrack.domains


def test_mail_carries_the_verified_domain_of_its_sender(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the check, on the host after it, on the default again when it fails; old links go on leading."""
    domains = verify(site, monkeypatch)
    domains.create(DOMAIN, "click", by="ops")
    assert f"{BASE_URL}/m/c/" in site.send(HTML).html
    domains.check("click.example.org")
    sent = site.send(HTML, list_id="news")
    assert "https://click.example.org/m/c/" in sent.html
    assert "https://click.example.org/m/o/" in sent.html
    assert "https://click.example.org/m/u/" in str(sent.extra_headers["List-Unsubscribe"])
    assert f"{BASE_URL}/m/c/" in site.send(HTML, sender="a@elsewhere.example").html
    assert "https://click.example.org/" in site.send(HTML, sender="a@sub.example.org").html
    domains.detach("click.example.org", DOMAIN)
    assert f"{BASE_URL}/m/c/" in site.send(HTML).html
    path = sent.html.partition("https://click.example.org")[2].partition('"')[0]
    assert site.client.get(path, base_url="https://click.example.org").location == "https://example.com/"


def test_the_narrowest_host_that_works_is_used(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of the configuration stands below a verified one of the same domain, and above the account's default."""
    site = make_site(MAILTRACK_SENDER_DOMAINS={DOMAIN: {"base_url": "https://own.example.org"}})
    domains = verify(site, monkeypatch)
    assert "https://own.example.org/m/c/" in site.send(HTML).html
    domains.create(DOMAIN, "account", by="ops")
    domains.check("account.example.org")
    domains.detach("account.example.org", DOMAIN)
    domains.attach("account.example.org")
    assert "https://own.example.org/m/c/" in site.send(HTML).html
    assert "https://account.example.org/m/c/" in site.send(HTML, sender="a@elsewhere.example").html
    domains.create(DOMAIN, "click", by="ops")
    domains.check("click.example.org")
    assert "https://click.example.org/m/c/" in site.send(HTML).html


def test_a_domain_that_fails_is_told_of(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified and failed are signals, with the host."""
    told: list[tuple[str, str]] = []

    def good(app: Any, event: Any) -> None:
        told.append(("verified", event.host))

    domains = verify(site, monkeypatch)
    domains.create(DOMAIN, "click", by="ops")
    with signals.domain_verified.connected_to(good, site.app):
        domains.check("click.example.org")
    assert told == [("verified", "click.example.org")]


def test_a_missing_table_of_settings_stops_nothing(site: Site) -> None:
    """An app that has not migrated yet sends as configured."""
    for model in (site.mailtrack.models.Setting, site.mailtrack.models.Domain):
        model.__table__.drop(site.db.engine)
    assert seen(site.send(HTML)) == (True, True, False)


def test_a_message_of_the_host_may_be_sent_by_itself(site: Site) -> None:
    """The operator's word holds for what a library sends, too."""
    site.mailtrack.settings.set("clicks", False, sender="news@example.org", by="ops")
    with site.mail.record_messages() as outbox:
        site.app.extensions["mail"].send(Message("Hi", recipients=["ada@example.com"], html=HTML))
    assert seen(outbox[0]) == (True, False, False)
