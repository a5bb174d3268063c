"""Tags that are declared: which are taken, which are refused, and what an operator may do about them."""

from __future__ import annotations

from contextvars import Context
from typing import Any

import pytest
from conftest import MakeSite, Site
from flask_mail import Message

from flask_mailtrack import signals
from flask_mailtrack.errors import MailtrackError, SettingError, UnknownTag
from flask_mailtrack.storage.tables.snapshot import FRESH_SECONDS


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
