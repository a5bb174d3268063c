"""What services and servers tell of a mail: kept, counted, shown, and announced."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import Visitor

from flask_mailtrack import signals
from flask_mailtrack.events import EventType, Hit, new_id, now
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
