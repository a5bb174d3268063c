"""The signals: what is sent, by whom, with what, and when."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from blinker import NamedSignal
from conftest import Inbox, MakeSite, Site
from flask import Flask, appcontext_pushed, current_app
from flask_mail import Message

from flask_mailtrack import signals
from flask_mailtrack.events import EventType, Hit, SentMessage, Status, Verdict, new_id, now
from flask_mailtrack.testing import BROWSER, Reader

HTML = '<p><a href="https://example.com/">go</a></p>'
ALL: list[NamedSignal] = [
    signals.message_sent,
    signals.message_failed,
    signals.message_opened,
    signals.link_clicked,
    signals.recipient_unsubscribed,
    signals.recipient_resubscribed,
    signals.tracking_failed,
]


@contextmanager
def recorded(app: Flask) -> Iterator[list[tuple[str, Any]]]:
    """Collect the name and the event of everything that *app* sends."""
    seen: list[tuple[str, Any]] = []

    def keeper(name: str) -> Callable[..., None]:
        def keep(sender: Flask, **details: Any) -> None:
            assert sender is app
            seen.append((name, details.get("event", details)))

        return keep

    with ExitStack() as stack:
        for signal in ALL:
            stack.enter_context(signal.connected_to(keeper(signal.name), app))
        yield seen


def test_the_names_do_not_change() -> None:
    """Hosts may connect by name: these are promised."""
    assert [signal.name for signal in ALL] == [
        "message-sent",
        "message-failed",
        "message-opened",
        "link-clicked",
        "recipient-unsubscribed",
        "recipient-resubscribed",
        "tracking-failed",
    ]


def test_the_life_of_a_mail(site: Site) -> None:
    """Sending, opening, clicking, leaving and coming back each send one signal, by the app, with a frozen record."""
    with recorded(site.app) as seen:
        reader = Reader(site.client, site.send(HTML, list_id="news", tag="welcome"))
        reader.open()
        reader.click("go")
        reader.unsubscribe()
        path = str(reader.message.extra_headers["List-Unsubscribe"])[1:-1].partition(".com")[2]
        site.client.post(path, data={"action": "undo"})
    assert [name for name, _ in seen] == [
        "message-sent",
        "message-opened",
        "link-clicked",
        "recipient-unsubscribed",
        "recipient-resubscribed",
    ]
    for _, event in seen:
        with pytest.raises(AttributeError):
            event.id = None
    (_, sent), (_, opened), (_, clicked), (_, left), (_, back) = seen
    assert isinstance(sent, SentMessage)
    assert (sent.recipient, sent.tag, sent.list_id, sent.status) == ("ada@example.com", "welcome", "news", Status.SENT)
    assert sent.sent_at is not None
    for event, kind in zip(
        (opened, clicked, left, back),
        (EventType.OPENED, EventType.CLICKED, EventType.UNSUBSCRIBED, EventType.SUBSCRIBED),
        strict=True,
    ):
        assert isinstance(event, Hit)
        assert (event.message_id, event.type) == (sent.id, kind)
    assert (opened.verdict, clicked.url) == (Verdict.HUMAN, "https://example.com/")
    assert (left.method, back.method) == ("one_click", "page")


def test_machines_send_signals_too(site: Site) -> None:
    """A prefetched image is announced as what it is, for the receiver to judge."""
    with recorded(site.app) as seen:
        Reader(site.client, site.send(HTML), {**BROWSER, "Sec-Purpose": "prefetch"}).open()
    assert [(name, event.verdict) for name, event in seen if name == "message-opened"] == [
        ("message-opened", Verdict.PREFETCH)
    ]


def test_what_changes_nothing_is_not_announced(site: Site) -> None:
    """A HEAD request, a bad link and a look at a page are no events, so there is no signal."""
    with recorded(site.app) as seen:
        reader = Reader(site.client, site.send(HTML, list_id="news"))
        for link in reader.links:
            assert site.client.head(link.url.partition(".com")[2]).status_code < 400
        reader.click("Unsubscribe")
        site.client.get("/m/c/bad")
        site.client.get("/m/o/bad")
    assert [name for name, _ in seen] == ["message-sent"]


ROWS = {
    "message-sent": "Message",
    "message-opened": "Event",
    "link-clicked": "Event",
    "recipient-unsubscribed": "OptOut",
}


@pytest.mark.parametrize("signal", [s for s in ALL if s.name in ROWS], ids=lambda s: s.name)
def test_a_receiver_finds_the_row(site: Site, signal: NamedSignal) -> None:
    """Signals are sent after the commit: a receiver sees the row over any connection."""
    found: list[int] = []
    table = getattr(site.mailtrack.models, ROWS[signal.name]).__table__

    def receive(app: Flask, event: Any) -> None:
        assert current_app == app
        engine = sa.create_engine(app.config["SQLALCHEMY_DATABASE_URI"], poolclass=sa.NullPool)
        with engine.connect() as connection:
            found.append(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)

    with signal.connected_to(receive, site.app):
        reader = Reader(site.client, site.send(HTML, list_id="news"))
        reader.open()
        reader.click("go")
        reader.unsubscribe()
    assert len(found) == 1
    assert found[0] >= 1


def test_a_receiver_may_use_the_hosts_session(site: Site) -> None:
    """A receiver has an app context of its own: what it commits is kept, and it disturbs nobody's session."""
    message = site.mailtrack.models.Message

    def receive(app: Flask, event: Hit) -> None:
        row = site.db.session.get(message, event.message_id)
        assert row is not None
        row.tag = "seen"
        site.db.session.commit()

    with signals.message_opened.connected_to(receive, site.app):
        Reader(site.client, site.send(HTML)).open()
    assert [row.tag for row in site.rows("Message")] == ["seen"]


@pytest.mark.parametrize("signal", ALL[:5], ids=lambda s: s.name)
def test_a_failing_receiver_stops_nobody(site: Site, signal: NamedSignal, caplog: pytest.LogCaptureFixture) -> None:
    """What one receiver raises is logged: the others are called, the mail goes out, the reader is served."""
    called: list[str] = []

    def broken(app: Flask, **_: Any) -> None:
        called.append("broken")
        raise RuntimeError("receiver")

    def works(app: Flask, **_: Any) -> None:
        called.append("works")

    with signal.connected_to(broken, site.app), signal.connected_to(works, site.app):
        if signal is signals.message_failed:
            signals.announce(site.app, a_copy()._replace(status=Status.FAILED))
        else:
            reader = Reader(site.client, site.send(HTML, list_id="news"))
            assert reader.open().status_code == 200
            assert reader.click("go").status_code == 302
            assert reader.unsubscribe().status_code == 200
    assert sorted(called) == ["broken", "works"]
    assert f"a receiver of {signal.name} failed" in caplog.text


def a_copy() -> SentMessage:
    """Return a record as the drain announces it."""
    return SentMessage(new_id(), new_id(), "ada@example.com", "a@b.example", "Hello", "<x>", now())


def test_other_apps_are_not_told(make_site: MakeSite) -> None:
    """Who connects to one app hears nothing of another."""
    one, two = make_site(), make_site()
    with recorded(one.app) as seen:
        two.send(HTML)
    assert seen == []


def test_a_refused_mail_is_announced_as_failed(make_site: MakeSite, smtp: Inbox) -> None:
    """When the server refuses a recipient, the signal and its record say so."""
    site = make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)

    def refuse(self: Any, *_: Any, **__: Any) -> None:
        raise smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"no such user")})

    with recorded(site.app) as seen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtplib.SMTP, "sendmail", refuse)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            site.mail.send(Message("Hello", recipients=["ada@example.com"], html=HTML))
    ((name, event),) = seen
    assert name == "message-failed"
    assert (event.recipient, event.status, event.error) == ("ada@example.com", Status.FAILED, "550 no such user")


def test_an_unknown_fate_is_announced_as_failed(site: Site) -> None:
    """A copy that may or may not have been accepted is for the receiver of ``message_failed``, with its status."""
    with recorded(site.app) as seen:
        record = a_copy()._replace(status=Status.UNKNOWN, error="connection lost after DATA")
        signals.announce(site.app, record)
    assert [(name, event.status) for name, event in seen] == [("message-failed", Status.UNKNOWN)]


@pytest.mark.parametrize("status", [Status.SENDING, Status.SUPPRESSED])
def test_what_was_not_sent_is_not_announced(site: Site, status: Status) -> None:
    """A copy that is under way, or was never sent, sends no signal."""
    with recorded(site.app) as seen:
        signals.announce(site.app, a_copy()._replace(status=status))
    assert seen == []


def test_an_untracked_mail_is_announced(site: Site) -> None:
    """A body that cannot be tracked safely goes out as written, and ``tracking_failed`` says why."""
    with recorded(site.app) as seen:
        sent = site.send("<p>" + "x" * 3_000_000)
    assert sent.html.endswith("xxx")
    details = dict(seen)["tracking-failed"]
    assert details["reason"] == "rewrite"
    assert isinstance(details["error"], Exception)


def test_a_commit_that_fails_announces_nothing(site: Site) -> None:
    """No event is announced that is not in the database, only that the database fails; it is announced once it is."""
    reader = Reader(site.client, site.send(HTML))
    site.db.drop_all()
    with recorded(site.app) as seen:
        reader.click("go")
        assert [(name, details["reason"]) for name, details in seen] == [("tracking-failed", "drain")]
        site.db.create_all()
        site.mailtrack.flush()
    assert [name for name, _ in seen] == ["tracking-failed", "link-clicked"]


def test_a_failing_teardown_function_holds_nothing_up(make_site: MakeSite) -> None:
    """s51: a host whose app contexts end with an error still gets every signal, and the drain finishes."""
    site = make_site(MAILTRACK_DRAIN="manual")
    ends: list[object] = []
    broken = True

    @site.app.teardown_appcontext
    def teardown(error: object) -> None:
        ends.append(error)
        if broken:
            raise RuntimeError("host")

    with recorded(site.app) as seen:
        site.send(HTML)
        site.send(HTML)
        site.mailtrack.flush()
    broken = False
    assert [name for name, _ in seen] == ["message-sent", "message-sent"]
    assert ends
    assert site.mailtrack.flush() == 0


def test_no_context_is_made_where_nobody_listens(make_site: MakeSite) -> None:
    """A drain of many rows pays for receivers only where there are some."""
    site = make_site(MAILTRACK_DRAIN="manual")
    drain = site.mailtrack._state_of(site.app).drain
    pushed: list[object] = []
    for listening in (False, True):
        Reader(site.client, site.send(HTML)).open()
        with ExitStack() as stack:
            if listening:
                stack.enter_context(signals.message_opened.connected_to(lambda sender, event: None, site.app))
            stack.enter_context(appcontext_pushed.connected_to(lambda sender, **_: pushed.append(sender), site.app))
            drain.run()
        assert bool(pushed) is listening
