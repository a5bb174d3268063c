"""Switches that an operator turns: which one decides, what is kept of a change, and how soon it is in force."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site, Told
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.administration.operator_settings import OperatorSettings
from flask_mailtrack.errors import SettingError
from flask_mailtrack.events import SettingChange, now
from flask_mailtrack.storage.tables.snapshot import FRESH_SECONDS
from flask_mailtrack.storage.tables.switches import Dimension, InForce, Scope, Switch, Switches


@dataclasses.dataclass
class Desk:
    """The settings of a site, with what was announced."""

    settings: OperatorSettings
    switches: Switches
    announced: list[SettingChange]

    def decide(self, key: str, sender: str) -> bool | None:
        return self.switches.now().decide(key, sender).value


def desk(site: Site) -> Desk:
    """Return the settings of *site*, read anew at each question."""
    state = site.mailtrack._state()
    switches, told = Switches(state.database), Told()
    return Desk(OperatorSettings(switches, state.settings, told), switches, told.changes)  # type: ignore[arg-type]


SENDER = "ada@news.example.com"


def in_force(dimension: str, said: dict[tuple[str, str], str]) -> InForce:
    """Return settings of opens as given by scope and subject."""
    switches = {
        (scope, subject, "opens"): Switch(Scope(scope), subject, "opens", value, "ops", now())
        for (scope, subject), value in said.items()
    }
    key = ("account", "", "dimension")
    return InForce(switches | {key: Switch(Scope.ACCOUNT, "", "dimension", dimension, "ops", now())})


ACCOUNT, DOMAIN, PARENT = ("account", ""), ("domain", "news.example.com"), ("domain", "example.com")
ONE = ("sender", SENDER)
TABLE: list[tuple[str, dict[tuple[str, str], str], bool | None]] = [
    ("both", {}, None),
    ("both", {ACCOUNT: "off"}, False),
    ("both", {ACCOUNT: "off", PARENT: "on"}, True),
    ("both", {ACCOUNT: "on", PARENT: "on", DOMAIN: "off"}, False),
    ("both", {DOMAIN: "off", ONE: "on"}, True),
    ("both", {("domain", "other.example.com"): "off"}, None),
    ("both", {("domain", "ews.example.com"): "off"}, None),
    ("both", {("sender", "bob@news.example.com"): "off"}, None),
    ("account", {DOMAIN: "off", ONE: "off"}, None),
    ("account", {ACCOUNT: "on", ONE: "off"}, True),
    ("domain", {}, False),
    ("domain", {ACCOUNT: "on"}, False),
    ("domain", {ACCOUNT: "off", PARENT: "on"}, True),
    ("domain", {ONE: "on"}, True),
]


@pytest.mark.parametrize(("dimension", "said", "decision"), TABLE)
def test_the_narrowest_setting_that_the_dimension_admits_decides(
    dimension: str, said: dict[tuple[str, str], str], decision: bool | None
) -> None:
    """Sender, then nearest domain, then account; ``None`` leaves the question to the configuration."""
    assert in_force(dimension, said).decide("opens", SENDER).value is decision


def test_the_dimension_domain_leaves_the_way_out_alone() -> None:
    """Only opens and clicks are tracking: list mail without a setting keeps its unsubscribe headers."""
    assert in_force("domain", {}).decide("unsubscribe", SENDER).value is None


@given(st.dictionaries(st.sampled_from([ACCOUNT, PARENT, DOMAIN, ONE]), st.sampled_from(["on", "off"])))
def test_a_setting_of_a_sender_always_decides_but_in_the_account_dimension(said: dict[tuple[str, str], str]) -> None:
    """Whatever wider scopes say, the sender's own setting holds."""
    for dimension in (Dimension.BOTH, Dimension.DOMAIN):
        decided = in_force(dimension, said | {ONE: "off"}).decide("opens", SENDER)
        assert decided.value is False
        assert decided.switch
        assert decided.switch.scope == Scope.SENDER


def test_a_change_is_a_row_a_signal_and_in_force(site: Site) -> None:
    """Who, when and what it was before stand in the table, and the change holds at once where it was made."""
    at = desk(site)
    at.settings.set("opens", True, domain="News.Example.com", by="ops@example.com")
    at.settings.set("opens", False, domain="news.example.com", by="ops@example.com")
    assert at.decide("opens", SENDER) is False
    assert at.settings.get("opens", domain="news.example.com") is False
    assert [(change.value, change.before) for change in at.announced] == [("on", ""), ("off", "on")]
    newest, oldest = at.settings.history(domain="news.example.com")
    assert (newest.value, newest.before, newest.changed_by) == ("off", "on", "ops@example.com")
    assert (oldest.value, oldest.before) == ("on", "")
    at.settings.unset("opens", domain="news.example.com", by="ops")
    assert at.decide("opens", SENDER) is None
    assert at.settings.get("opens", domain="news.example.com") is None
    assert [change.value for change in at.settings.history(key="opens")] == ["", "off", "on"]
    assert len(site.rows("Setting")) == 3


def test_unsetting_what_is_not_set_is_no_change(site: Site) -> None:
    """The history has no rows of nothing."""
    at = desk(site)
    at.settings.unset("clicks")
    assert (at.announced, site.rows("Setting")) == ([], [])


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_another_process_obeys_within_five_seconds(
    make_site: MakeSite, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one process sets, another reads after some seconds, with one query in between at most."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    here, there = desk(site), desk(site)
    clock = [0.0]
    monkeypatch.setattr("flask_mailtrack.storage.tables.snapshot.time.monotonic", lambda: clock[0])
    queries: list[str] = []
    sa.event.listen(site.db.engine, "before_cursor_execute", lambda *a: queries.append(a[2]))
    assert there.decide("clicks", SENDER) is None
    here.settings.set("clicks", False, by="ops")
    queries.clear()
    for tick in range(50):
        clock[0] = tick * FRESH_SECONDS / 50
        assert there.decide("clicks", SENDER) is None
    assert [query for query in queries if "mailtrack_setting" in query] == []
    clock[0] = FRESH_SECONDS
    assert FRESH_SECONDS < 5
    assert there.decide("clicks", SENDER) is False
    assert len([query for query in queries if "mailtrack_setting" in query]) == 1


def test_a_database_that_is_away_changes_nothing(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known last holds; what was never known leaves the configuration; nothing is raised."""
    bare = desk(make_site(tables=False))
    assert bare.decide("opens", SENDER) is None
    assert bare.switches.snapshot.error
    at = desk(make_site())
    at.settings.set("opens", False, by="ops")
    assert at.decide("opens", SENDER) is False
    monkeypatch.setattr(at.switches, "_rows", lambda: (_ for _ in ()).throw(OSError("away")))
    at.switches.snapshot.forget()
    assert at.decide("opens", SENDER) is False
    assert at.switches.snapshot.error == "OSError"


def test_pause_stops_what_is_tracked_and_nothing_else(site: Site) -> None:
    """The kill switch overrules every setting of opens and clicks, and leaves the way out alone."""
    at = desk(site)
    at.settings.set("opens", True, sender=SENDER, by="ops")
    at.settings.set("pause", True, by="ops")
    assert (at.decide("opens", SENDER), at.decide("clicks", SENDER), at.decide("unsubscribe", SENDER)) == (
        *(False, False, None),
    )
    assert at.settings.paused
    assert "paused for the account" in at.settings.status()[0].text
    at.settings.set("pause", False, by="ops")
    assert at.decide("opens", SENDER) is True


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("open", {"value": True}, "Did you mean 'opens'"),
    ("opens", {"value": "yes"}, "True or False"),
    ("opens", {"value": 1}, "True or False"),
    ("opens", {"value": True, "domain": "a.example", "sender": "b@a.example"}, "Name one of them"),
    ("opens", {"value": True, "domain": "not a domain"}, "not a domain name"),
    ("opens", {"value": True, "domain": "127.0.0.1"}, "an address"),
    ("opens", {"value": True, "sender": "nobody"}, "not an address"),
    ("pause", {"value": True, "domain": "a.example"}, "for the account"),
    ("xyzzy", {"value": True}, "Write one of: opens, clicks, unsubscribe, pause"),
]


@pytest.mark.parametrize(("key", "given", "text"), WRONG)
def test_a_wrong_setting_names_the_right_one(site: Site, key: str, given: dict[str, Any], text: str) -> None:
    """Key, value and scope are checked, and nothing is stored."""
    with pytest.raises(SettingError, match=text):
        desk(site).settings.set(key, **given)
    assert site.rows("Setting") == []


def test_a_wrong_dimension_names_the_right_one(site: Site) -> None:
    """The three words are checked; the default is both."""
    at = desk(site)
    assert at.settings.dimension == "both"
    with pytest.raises(SettingError, match="Did you mean 'domain'"):
        at.settings.dimension = "domains"
    at.settings.dimension = "domain"
    assert at.settings.dimension == "domain"
    assert at.announced[0].key == "dimension"


def test_the_status_says_why(make_site: MakeSite) -> None:
    """Each switch of a scope is Enabled or Not enabled, with the setting or the key that says so."""
    at = desk(make_site(MAILTRACK_CLICKS=False, MAILTRACK_SENDER_DOMAINS={"b.example": {"clicks": True}}))
    at.settings.set("opens", False, domain="a.example", by="ops@example.com")
    opens, clicks, unsubscribe = at.settings.status(domain="sub.a.example")
    assert opens.text.startswith("Not enabled: off for a.example since 20")
    assert opens.text.endswith("by ops@example.com")
    assert clicks.text == "Not enabled: by the configuration (MAILTRACK_CLICKS)"
    assert (unsubscribe.enabled, unsubscribe.text) == (True, "Enabled: by the configuration (MAILTRACK_UNSUBSCRIBE)")
    assert at.settings.status(domain="b.example")[1].text.endswith("(MAILTRACK_SENDER_DOMAINS['b.example'])")
    at.settings.dimension = "domain"
    assert "dimension 'domain'" in at.settings.status(sender="x@c.example")[0].text
