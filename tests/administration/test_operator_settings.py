"""Switches that an operator turns: which one decides, what is kept of a change, and how soon it is in force."""

from __future__ import annotations

import dataclasses
from contextvars import Context
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site, Told
from flask_mail import Message
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack import signals
from flask_mailtrack.administration.operator_settings import OperatorSettings
from flask_mailtrack.errors import MailtrackError, SettingError, UnknownTag
from flask_mailtrack.events import SettingChange, now
from flask_mailtrack.storage.tables.snapshot import FRESH_SECONDS
from flask_mailtrack.storage.tables.switches import Dimension, InForce, SettingScope, Switch, Switches


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
        (scope, subject, "opens"): Switch(SettingScope(scope), subject, "opens", value, "ops", now())
        for (scope, subject), value in said.items()
    }
    key = ("account", "", "dimension")
    return InForce(switches | {key: Switch(SettingScope.ACCOUNT, "", "dimension", dimension, "ops", now())})


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
        assert decided.switch.scope == SettingScope.SENDER


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


def test_any_tag_goes_where_none_is_declared(site: Site) -> None:
    """Without a declaration nothing is asked of a tag."""
    site.send(tag="anything")
    assert [row.tag for row in site.rows("Message")] == ["anything"]


def test_an_unknown_tag_is_refused_at_track_with_the_nearest(make_site: MakeSite) -> None:
    """In code, in a block, and in the header, before anything is sent; mail without a tag goes."""
    site = make_site(MAILTRACK_TAGS=["welcome", "receipt"])
    message = Message("Hi", recipients=["ada@example.com"], html="<p>x</p>")
    with pytest.raises(UnknownTag, match="Did you mean 'welcome'") as caught:
        site.mailtrack.track(message, tag="wellcome")
    assert (caught.value.name, caught.value.nearest) == ("wellcome", "welcome")
    assert isinstance(caught.value, MailtrackError | ValueError)
    with pytest.raises(UnknownTag, match="'receipt'"), site.mailtrack.options(tag="Receipts"):
        pass
    with site.mail.record_messages() as outbox:
        for header in ("tag=recipe", "opens=on; tag=xyzzy"):
            with pytest.raises(UnknownTag):
                site.send(extra_headers={"X-Mailtrack": header}, to=["a@example.com", "b@example.com"])
    assert outbox == []
    assert site.rows("Message") == []
    site.send(tag="welcome")
    site.send(extra_headers={"X-Mailtrack": "tag=receipt"})
    site.send()
    assert [row.tag for row in site.rows("Message")] == ["welcome", "receipt", ""]


def test_outside_an_app_context_a_tag_is_refused_when_it_is_sent(make_site: MakeSite) -> None:
    """Nobody knows the app before."""
    site = make_site(MAILTRACK_TAGS=["welcome"])
    message = Message("Hi", recipients=["ada@example.com"], sender="a@example.org", html="<p>x</p>")
    Context().run(site.mailtrack.track, message, tag="wellcome")
    with pytest.raises(UnknownTag, match="'welcome'"):
        site.mail.send(message)
    assert site.rows("Message") == []


def test_an_operator_declares_and_retires_tags(site: Site) -> None:
    """Who and when are kept; a retired tag is refused with both, and may be declared again."""
    told: list[Any] = []

    def tell(app: Any, event: Any) -> None:
        told.append((event.scope, event.subject, event.value, event.before, event.changed_by))

    tags = site.mailtrack.tags
    with signals.settings_changed.connected_to(tell, site.app):
        tags.add("welcome", by="ops")
        tags.add("welcome", by="eve")  # in force already: no change
        tags.add("receipt", by="ops")
        tags.retire("welcome", by="eve")
    assert told == [
        ("tag", "welcome", "on", "", "ops"),
        ("tag", "receipt", "on", "", "ops"),
        ("tag", "welcome", "off", "on", "eve"),
    ]
    assert [(tag.name, tag.retired, tag.by, tag.configured) for tag in tags.list()] == [
        ("receipt", False, "ops", False),
        ("welcome", True, "eve", False),
    ]
    with pytest.raises(UnknownTag, match=r"'welcome' is a retired tag, since 20\d\d-.* by eve"):
        site.send(tag="welcome")
    with pytest.raises(UnknownTag, match="not a declared tag"):
        site.send(tag="offer")
    tags.add("welcome", by="ops")
    site.send(tag="welcome")
    assert [change.subject for change in site.mailtrack.settings.history()] == [
        "welcome",
        "welcome",
        "receipt",
        "welcome",
    ]


def test_the_last_tag_that_is_retired_leaves_all_others_free(site: Site) -> None:
    """Where none is declared any more, any tag goes but the retired ones."""
    site.mailtrack.tags.add("welcome", by="ops")
    site.mailtrack.tags.retire("welcome", by="ops")
    site.send(tag="offer")
    with pytest.raises(UnknownTag):
        site.send(tag="welcome")


def test_tags_of_the_configuration_may_be_retired(make_site: MakeSite) -> None:
    """What an operator says at run time overrules MAILTRACK_TAGS."""
    site = make_site(MAILTRACK_TAGS=["welcome", "receipt"])
    site.mailtrack.tags.retire("welcome", by="ops")
    with pytest.raises(UnknownTag, match="retired"):
        site.send(tag="welcome")
    assert [(tag.name, tag.configured, tag.retired) for tag in site.mailtrack.tags.list()] == [
        ("receipt", True, False),
        ("welcome", True, True),
    ]


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_another_process_knows_a_tag_within_five_seconds(
    make_site: MakeSite, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags are in force as switches are; upper and lower case are two tags in every database."""
    here = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    there = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_APP_ID="there")
    clock = [0.0]
    monkeypatch.setattr("flask_mailtrack.storage.tables.snapshot.time.monotonic", lambda: clock[0])
    there.send(tag="free")
    tags = here.mailtrack._state_of(here.app).administration.tags
    tags.add("Welcome", by="ops")
    there.send(tag="free")
    clock[0] = FRESH_SECONDS
    with pytest.raises(UnknownTag, match="Did you mean 'Welcome'"):
        there.send(tag="welcome")
    tags.add("welcome", by="ops")
    tags.retire("Welcome", by="ops")
    clock[0] = 2 * FRESH_SECONDS
    there.send(tag="welcome")


def test_a_database_that_is_away_refuses_no_tag(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known last holds; if nothing was ever known, the tag may be declared there, and the mail goes."""
    bare = make_site(tables=False, MAILTRACK_TAGS=["welcome"], MAILTRACK_DRAIN="manual")
    bare.mailtrack._state().office.preparer.operator.check_tag("declared-by-an-operator")
    site = make_site(MAILTRACK_TAGS=["welcome"])
    site.mailtrack.tags.add("offer", by="ops")
    switches = site.mailtrack._state().administration.switches
    switches.now()
    monkeypatch.setattr(switches.snapshot, "_ask", lambda: (_ for _ in ()).throw(OSError("away")))
    switches.snapshot.forget()
    site.send(tag="offer")
    with pytest.raises(UnknownTag):
        site.send(tag="other")


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "a\nb", None, 7])
def test_a_name_that_cannot_be_a_tag_is_refused(site: Site, name: Any) -> None:
    """The rules are those of a tag on a message."""
    with pytest.raises(SettingError, match="cannot be a tag"):
        site.mailtrack.tags.add(name, by="ops")
    assert site.rows("Setting") == []


def test_retiring_what_is_not_declared_names_the_nearest(site: Site) -> None:
    """A typing error retires nothing."""
    site.mailtrack.tags.add("welcome", by="ops")
    with pytest.raises(SettingError, match="Did you mean 'welcome'"):
        site.mailtrack.tags.retire("wellcome")
    with pytest.raises(SettingError, match="Declared: welcome"):
        site.mailtrack.tags.retire("xyzzy")
