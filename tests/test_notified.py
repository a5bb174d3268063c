"""What services and servers tell of a mail: kept, counted, shown, and announced."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor

from flask_mailtrack import signals
from flask_mailtrack.events import EventType, Hit, SentMessage, Status, first_id, new_id, now
from flask_mailtrack.reporting.attention import of_mails
from flask_mailtrack.reporting.selection import Selection
from flask_mailtrack.storage.records import to_json


def tell(site: Site, kind: EventType, **about: Any) -> None:
    """Have a service tell something of the newest mail."""
    state = site.mailtrack._state_of(site.app)
    message = site.rows("Message")[-1]
    state.journals[0].append(to_json(Hit(new_id(), message.id, kind, now(), method="webhook", **about)))
    state.drain.run()


@pytest.mark.parametrize(
    ("kind", "about", "sentence"),
    [
        (EventType.DELIVERED, {}, "Delivered."),
        (
            EventType.DEFERRED,
            {"comment": "451 4.7.1 Try again"},
            "Put off by the server of the recipient: “451 4.7.1 Try again”",
        ),
        (
            EventType.BOUNCED,
            {"reason": "hard", "comment": "550 No such user"},
            "Came back for good: “550 No such user”",
        ),
        (EventType.BOUNCED, {"reason": "soft"}, "Came back for now."),
        (EventType.COMPLAINED, {}, "Called spam by the recipient."),
        (EventType.REJECTED, {"comment": "Bounced Address"}, "Not sent on by the service: “Bounced Address”"),
    ],
)
def test_each_is_an_event_a_mark_a_figure_and_a_sentence(
    make_site: MakeSite, kind: EventType, about: dict[str, str], sentence: str
) -> None:
    """The row of the mail has the first moment, the report the number, and the timeline what the server said."""
    site = make_site()
    site.send(to="ada@example.com", tag="welcome")
    tell(site, kind, **about)
    tell(site, kind, **about)
    (message,) = site.rows("Message")
    first, _ = site.rows("Event")
    with site.app.app_context():
        reports = site.mailtrack.reports
        timeline = reports.timeline(message.id)
        totals = reports.totals(tag="welcome")
        listed = reports.messages(activity=kind.value).rows if kind != EventType.DEFERRED else None
    assert [str(event.text) for event in timeline.events] == [sentence, sentence]
    if kind == EventType.DEFERRED:
        assert {getattr(totals, each).unique for each in ("delivered", "bounced", "complained", "rejected")} == {0}
        return
    assert getattr(message, f"{kind}_at") == first.occurred_at
    assert (getattr(totals, kind).unique, getattr(totals, kind).of) == (1, 1)
    assert [row.id for row in listed or ()] == [message.id]


def test_who_may_not_see_addresses_sees_none_in_what_a_server_said(make_site: MakeSite) -> None:
    """Servers name the address that they refuse, and the live page and the timeline show what they said."""
    site = make_site()
    seen = Visitor(site)
    site.send(to="ada@example.com")
    tell(site, EventType.BOUNCED, reason="hard", comment="550 <ada@example.com>: no such user")
    key = site.rows("Message")[0].id
    seen.permissions = ("view",)
    for path in ("/live", f"/messages/{key}"):
        page = seen.get(path)
        assert "no such user" in page
        assert "ada@example.com" not in page
    seen.permissions = ("view", "addresses")
    assert page != seen.get(path)
    assert "550 &lt;ada@example.com&gt;" in seen.get(path)


def test_a_signal_tells_of_each(make_site: MakeSite) -> None:
    """A host hears of a bounce as soon as the row is committed."""
    site, heard = make_site(), []
    receive = lambda app, event: heard.append((event.reason, event.comment))  # noqa: E731
    with signals.message_bounced.connected_to(receive, site.app):
        site.send()
        tell(site, EventType.BOUNCED, reason="hard", comment="550")
    assert heard == [("hard", "550")]


def test_no_consent_is_asked_for_what_servers_tell(make_site: MakeSite) -> None:
    """Whoever declined measuring is not measured by a bounce: the mail came back, and that is kept."""
    site = make_site(mailtrack={"consent": lambda addresses, purpose: dict.fromkeys(addresses, False)})
    site.send()
    tell(site, EventType.OPENED)
    tell(site, EventType.BOUNCED, reason="hard")
    assert [event.type for event in site.rows("Event")] == ["bounced"]


def test_too_many_returns_need_attention(make_site: MakeSite) -> None:
    """Two of fifty copies that came back, and one that was called spam, are said with the mail behind them."""
    site = make_site()
    with site.app.app_context():
        site.send(to=[f"{number}@example.com" for number in range(50)], tag="news", subject="Hello")
    state = site.mailtrack._state_of(site.app)
    state.drain.run()
    kinds = [EventType.BOUNCED, EventType.BOUNCED, EventType.COMPLAINED]
    for message, kind in zip(site.rows("Message"), kinds, strict=False):
        state.journals[0].append(to_json(Hit(new_id(), message.id, kind, now())))
    state.drain.run()
    with site.app.app_context():
        found = of_mails(site.mailtrack.reports, Selection(since=now() - timedelta(days=1)), now())
    assert [(each.kind, str(each.text)) for each in found] == [
        ("bounced", "4.00% of “Hello” came back."),
        ("complained", "2.00% of “Hello” was called spam."),
    ]


def test_an_erasure_removes_what_servers_said(make_site: MakeSite) -> None:
    """Servers name the address in their answers, so the answer goes with the person."""
    site = make_site()
    site.send(to="ada@example.com")
    tell(site, EventType.BOUNCED, reason="hard", comment="550 <ada@example.com>: unknown")
    with site.app.app_context():
        site.mailtrack.erase("ada@example.com")
    assert "ada@" not in "".join(event.comment for event in site.rows("Event"))


@pytest.mark.parametrize(
    ("kind", "reason", "word"), [(EventType.COMPLAINED, "", "complaint"), (EventType.BOUNCED, "hard", "bounce")]
)
def test_a_complaint_and_a_hard_bounce_end_list_mail(
    make_site: MakeSite, kind: EventType, reason: str, word: str
) -> None:
    """The address is suppressed in the same moment, with its proof; who lifts that is not overruled by a replay."""
    site = make_site()
    site.send(to="ada@example.com", list_id="news")
    tell(site, kind, reason=reason)
    (refusal,) = site.rows("OptOut")
    assert (refusal.recipient, refusal.list_id, refusal.method, refusal.reason) == ("ada@example.com", "", word, word)
    assert site.send(to="ada@example.com", list_id="offers") == []
    (proof,) = site.rows("Audit")
    (event,) = site.rows("Event")
    assert (proof.change, proof.source) == ("unsubscribed", f"event:{event.id}")
    with site.app.app_context():
        site.mailtrack.unsuppress("ada@example.com")
    state = site.mailtrack._state_of(site.app)
    again = Hit(event.id, event.message_id, kind, event.occurred_at, method="webhook", reason=reason)
    state.journals[0].append(to_json(again))
    state.drain.run()
    assert site.rows("OptOut") == []
    assert site.send(to="ada@example.com", list_id="offers") != []


@pytest.mark.parametrize(
    ("config", "kind", "reason"),
    [
        ({"MAILTRACK_SUPPRESS_BOUNCES": False}, EventType.BOUNCED, "hard"),
        ({"MAILTRACK_SUPPRESS_COMPLAINTS": False}, EventType.COMPLAINED, ""),
        ({}, EventType.BOUNCED, "soft"),
        ({}, EventType.REJECTED, ""),
        ({}, EventType.DELIVERED, ""),
    ],
)
def test_nothing_else_suppresses(make_site: MakeSite, config: dict[str, Any], kind: EventType, reason: str) -> None:
    """A full mailbox, a service's own refusal, and what the host has switched off cost nobody a letter."""
    site = make_site(**config)
    site.send(to="ada@example.com", list_id="news")
    tell(site, kind, reason=reason)
    assert site.rows("OptOut") == []


def test_a_bounce_before_its_mail_suppresses_when_the_mail_comes(database_url: str, make_site: MakeSite) -> None:
    """Two machines drain in any order: the refusal follows as soon as it is known whose mail it was."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_DRAIN="manual")
    state = site.mailtrack._state_of(site.app)
    key, moment = new_id(), now()
    bounced = Hit(new_id(), key, EventType.BOUNCED, moment, method="webhook", reason="hard")
    state.journals[0].append(to_json(bounced))
    state.drain.run()
    assert site.rows("OptOut") == []
    about = ("ada@example.com", "a@example.org", "Hello", "<1@x>", moment, Status.SENT)
    state.journals[0].append(to_json(SentMessage(key, key, *about)))
    state.drain.run()
    assert [row.recipient for row in site.rows("OptOut")] == ["ada@example.com"]


def test_a_copy_that_several_got_suppresses_nobody(make_site: MakeSite) -> None:
    """Nobody knows whose mailbox it was."""
    site = make_site(MAILTRACK_SPLIT=False)
    site.send(to=["ada@example.com", "bob@example.com"], tag="both")
    assert site.rows("Message")[-1].shared
    tell(site, EventType.BOUNCED, reason="hard")
    assert site.rows("OptOut") == []


def test_a_complaint_about_an_old_mail_suppresses_and_leaves_its_figures(make_site: MakeSite) -> None:
    """Whoever calls a mail spam after its events were deleted gets no list mail, and the mail stays opened."""
    site = make_site(MAILTRACK_KEEP_DAYS={"events": 10})
    site.send(to="ada@example.com")
    state = site.mailtrack._state_of(site.app)
    moment = now() - timedelta(days=20)
    table, old = state.database.message, first_id(moment)
    with state.database.transaction() as connection:
        opened = {"id": old, "created_at": moment, "opened_at": moment, "open_count": 3}
        connection.execute(table.update().values(opened))
    for kind in (EventType.DELIVERED, EventType.COMPLAINED, EventType.COMPLAINED):
        tell(site, kind)
    assert [event.type for event in site.rows("Event")] == ["complained"] * 2
    assert [row.recipient for row in site.rows("OptOut")] == ["ada@example.com"]
    (message,) = site.rows("Message")
    assert (message.open_count, message.opened_at is None, message.complained_at is None) == (3, False, False)


def test_a_complaint_is_stronger_than_a_bounce(make_site: MakeSite) -> None:
    """A suppressed address about which a complaint comes stands as a complaint, with a proof, in either order."""
    for kinds in ([EventType.BOUNCED, EventType.COMPLAINED], [EventType.COMPLAINED, EventType.BOUNCED]):
        for together in (False, True):
            site = make_site(MAILTRACK_DRAIN="manual")
            site.send(to="ada@example.com")
            site.mailtrack.flush()
            state = site.mailtrack._state_of(site.app)
            (message,) = site.rows("Message")
            for kind in kinds:
                state.journals[0].append(to_json(Hit(new_id(), message.id, kind, now(), reason="hard")))
                if not together:
                    state.drain.run()
            state.drain.run()
            (row,) = site.rows("OptOut")
            assert (row.method, row.reason, len(row.refusals)) == ("complaint", "complaint", 2)
            assert len(site.rows("Audit")) == (2 if kinds[0] == EventType.BOUNCED else 1)
