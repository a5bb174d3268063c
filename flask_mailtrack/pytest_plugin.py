"""The plugin for pytest: fixtures for mails and for the clock, and assertions that say what happened instead.

Pytest finds the plugin by its entry point. The fixtures ask for your own fixture ``app``, which returns the Flask app.

.. code-block:: python

    def test_the_news_are_read(app, mailtrack_outbox):
        app.test_cli_runner().invoke(args=["send-news"])
        ada = mailtrack_outbox.to("ada@example.com")
        assert_tracked(ada)
        ada.click("Read on")
        assert_clicked("ada@example.com", "https://example.com/")

Fixtures: ``mailtrack_outbox``, an :class:`Outbox`, and ``mailtrack_clock``, a :class:`StandingClock`. The option
``--mailtrack-off`` runs a suite with ``MAILTRACK_ENABLED = False``; tests that use a fixture of the plugin are skipped.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, current_app, has_app_context

from . import events
from .extension import Mailtrack
from .installed import KEY
from .lists import folded
from .privacy import normalise
from .testing import Reader, SentMail, record_mails

if TYPE_CHECKING:
    from .reporting.messages import Person
    from .reporting.timeline import TimelineEvent

__all__ = ["Outbox", "StandingClock", "assert_clicked", "assert_opened", "assert_suppressed", "assert_tracked"]

_apps: list[Flask] = []
"""The apps of the fixtures in use, so that assertions need no app context of their own."""


class Outbox:
    """The mails that the app has sent since the fixture was made.

    :param app: the app, whose test client the readers use.
    :param messages: the recorded mails; the list grows.
    """

    def __init__(self, app: Flask, messages: list[SentMail]) -> None:
        self.app = app
        self.messages = messages
        """The copies, in the order of sending, whatever has sent them."""

    def to(self, address: str) -> Reader:
        """Return the reader of the last mail to *address*.

        :raises LookupError: there is no such mail; the text names the addresses that got one.
        """
        return Reader.of(self.messages, address, self.app.test_client())

    def clear(self) -> None:
        """Forget the mails so far."""
        self.messages.clear()

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[SentMail]:
        return iter(self.messages)


class StandingClock:
    """The clock of the package while a test runs. It stands until it is moved.

    :param now: the moment at which it stands; default: the present.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self.now: datetime = now or datetime.now(UTC)

    def move(self, **by: float) -> None:
        """Move the clock: ``move(hours=2)``.

        :param by: as for :class:`datetime.timedelta`; negative values move the clock back.
        """
        self.now += timedelta(**by)


def assert_tracked(mail: Reader | Any, *, opens: bool = True, clicks: bool = True) -> None:
    """Assert that a mail has a pixel, and at least one tracked link.

    :param mail: a :class:`~flask_mailtrack.testing.Reader`, or a recorded mail.
    :param opens: whether a pixel is expected; ``False``: there must be none.
    :param clicks: whether a tracked link is expected; ``False``: there must be none.
    :raises AssertionError: with the links of the mail, each with its destination.
    """
    __tracebackhide__ = True
    reader = mail if isinstance(mail, Reader) else Reader(_app().test_client(), mail)
    links = [*reader.links, *reader.text_links]
    problems = []
    if reader.has_pixel != opens:
        problems.append("there is no pixel" if opens else "there is a pixel")
    if any(link.tracked for link in links) != clicks:
        problems.append("no link is tracked" if clicks else "a link is tracked")
    if problems:
        seen = [
            f"  {'tracked' if link.tracked else 'as written'}: {link.text!r} -> {link.destination}" for link in links
        ]
        cure = "`mailtrack.preview(message)` has the reason for each link."
        raise AssertionError("\n".join([f"The mail is not as expected: {', and '.join(problems)}.", *seen, cure]))


def assert_opened(address: str) -> None:
    """Assert that a person has opened a mail; machines do not count.

    :param address: the address of the person, as people write it.
    :raises AssertionError: with the mails to the person, and what happened to them.
    """
    __tracebackhide__ = True
    person = _person(address)
    if not any(message.open_count for message in person.page.rows):
        raise AssertionError(_told(f"{address} has opened no mail.", person))


def assert_clicked(address: str, link: str = "") -> None:
    """Assert that a person has followed a link; machines do not count.

    :param address: the address of the person, as people write it.
    :param link: the destination, or the name, of the link; empty: any link.
    :raises AssertionError: with the mails to the person, and what happened to them.
    """
    __tracebackhide__ = True
    person = _person(address)
    clicks = [event for event in _happened(person) if event.type == events.EventType.CLICKED and event.by == "people"]
    if not any(not link or link in (click.url, click.link_name) for click in clicks):
        raise AssertionError(_told(f"{address} has not followed {link or 'any link'}.", person))


def assert_suppressed(address: str, list_id: str = "") -> None:
    """Assert that somebody gets no more mail of a list, by a choice of theirs or of the host.

    :param address: the address of the person, as people write it.
    :param list_id: the list; empty: all lists.
    :raises AssertionError: with the opt-outs of the person.
    """
    __tracebackhide__ = True
    app = _app()
    with app.app_context():
        extension: Mailtrack = app.extensions[KEY]
        extension.flush()
        state = extension._state_of(app)
        key = normalise(address)
        found = state.optouts.among([key], folded(list_id)).get(key, set())
        if events.OptOutKind.UNSUBSCRIBE not in found:
            rows = state.people.export(address)["optouts"]
            said = [f"  {row['kind']} of {row['list_id'] or 'everything'}, by {row['method']}" for row in rows]
            what = f"the list {list_id!r}" if list_id else "all lists"
            raise AssertionError(
                "\n".join([f"{address} still gets mail of {what}.", *(said or ["  No opt-out stands."])])
            )


def pytest_addoption(parser: Any) -> None:
    """Add ``--mailtrack-off``. Called by pytest."""
    text = "run with MAILTRACK_ENABLED off: mail leaves untracked, and nothing is served or stored"
    parser.getgroup("mailtrack").addoption("--mailtrack-off", action="store_true", help=text)


def pytest_configure(config: Any) -> None:
    """Switch Mailtrack off in all apps, if asked to. Called by pytest."""
    if not config.getoption("--mailtrack-off"):
        return
    patch, set_up = pytest.MonkeyPatch(), Mailtrack.init_app

    def init_app(self: Mailtrack, app: Flask) -> None:
        app.config["MAILTRACK_ENABLED"] = False
        set_up(self, app)

    patch.setattr(Mailtrack, "init_app", init_app)
    config.add_cleanup(patch.undo)


@pytest.fixture(name="mailtrack_outbox")
def _outbox(request: pytest.FixtureRequest) -> Iterator[Outbox]:
    """The mails that the app of the fixture ``app`` sends in this test."""
    _skip_if_off(request)
    app: Flask = request.getfixturevalue("app")
    _apps.append(app)
    try:
        with record_mails(app) as messages:
            yield Outbox(app, messages)
    finally:
        _apps.remove(app)


@pytest.fixture(name="mailtrack_clock")
def _clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    """The clock of the package. It stands, and the test moves it."""
    _skip_if_off(request)
    clock = StandingClock()

    class MovableDatetime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock.now.astimezone(tz)

    nanoseconds = types.SimpleNamespace(time_ns=lambda: int(clock.now.timestamp() * 1_000_000_000))
    monkeypatch.setattr(events, "datetime", MovableDatetime)
    monkeypatch.setattr(events, "time", nanoseconds)  # of which the ids are made
    return clock


def _skip_if_off(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--mailtrack-off"):
        pytest.skip("--mailtrack-off: nothing is tracked")


def _app() -> Flask:
    """Return the app in whose tables an assertion looks."""
    if has_app_context():
        return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]
    if not _apps:
        raise AssertionError("No app is known here: use the fixture mailtrack_outbox, or push an app context.")
    return _apps[-1]


def _person(address: str) -> Person:
    """Return what is known of somebody, with all that waits in the journal."""
    app = _app()
    with app.app_context():
        extension: Mailtrack = app.extensions[KEY]
        extension.flush()
        return extension.reports.person(address)


def _happened(person: Person) -> list[TimelineEvent]:
    """Return what happened to the mails of somebody."""
    app = _app()
    with app.app_context():
        extension: Mailtrack = app.extensions[KEY]
        return [event for row in person.page.rows for event in extension.reports.timeline(row.id).events]


def _told(problem: str, person: Person) -> str:
    """Return the text of a failure: the mails to somebody, and what happened to them."""
    if not person.page.rows:
        return f"{problem}\nThere is no mail to {person.address}."
    mails = [f"  {row.status}: {row.subject!r}, tag {row.tag!r}" for row in person.page.rows]
    happened = [f"  {event.text} {event.why}" for event in _happened(person)] or ["  Nothing."]
    return "\n".join([problem, "Mails:", *mails, "What happened:", *happened])
