"""The copies of one message: made one by one, written down before they leave, built as Flask-Mail builds them."""

from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import MakeSite, Site
from flask_mail import Message, email_dispatched
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack import signals
from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.outgoing import links, prepare
from flask_mailtrack.outgoing.headers import MAX_LINE
from flask_mailtrack.outgoing.mail import TrackedCopy, _lines_fit

HTML = '<a href="https://example.com/">x</a>'
FIVE = [f"reader{n}@example.com" for n in range(5)]


def test_a_newsletter_is_never_in_memory_as_a_whole(make_site: MakeSite) -> None:
    """A send to many holds one copy at a time: 300 copies of 100 KB need no 30 MB."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual")
    html = f"<p>{'x' * 100_000}</p>{HTML}"
    site.mail.send(Message("Hi", recipients=FIVE, html=html))
    tracemalloc.start()
    try:
        site.mail.send(Message("Hi", bcc=[f"reader{n}@example.com" for n in range(300)], html=html))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"list_id": "news"},
    ],
)
def test_a_send_to_ten_thousand_asks_the_database_in_few_questions(
    make_site: MakeSite, options: dict[str, Any]
) -> None:
    """Who has refused what is asked for all recipients at once, and nothing else is asked for each of them."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual")
    asked: list[str] = []
    sa.event.listen(
        site.db.engine, "before_cursor_execute", lambda c, cursor, statement, *rest: asked.append(statement)
    )
    message = Message("Hi", bcc=[f"reader{n}@example.com" for n in range(10_000)], html=HTML)
    site.mail.send(site.mailtrack.track(message, **options) if options else message)
    about = [query for query in asked if "mailtrack_" in query]
    # What the operator has set is asked for again every few seconds, however many copies there are.
    of_operator = [query for query in about if "mailtrack_setting" in query or "mailtrack_domain" in query]
    assert 0 < len(about) - len(of_operator) <= 10


def test_rows_sort_in_the_order_of_the_recipients(site: Site) -> None:
    """Whoever reads the rows of one send by their ids reads them as the author wrote the addresses."""
    site.send(HTML, to=[*FIVE, "ada@example.com"], list_id="news")
    assert [row.recipient for row in site.rows("Message")] == [*FIVE, "ada@example.com"]


def test_each_row_is_in_the_spool_before_its_copy_leaves(make_site: MakeSite) -> None:
    """When a copy is handed over, its row says "sending", and the fate of the one before is known."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual")
    seen: list[list[str]] = []

    def listener(app: object, message: Message) -> None:
        site.mailtrack.flush()
        seen.append([f"{row.recipient[6]} {row.status}" for row in site.rows("Message")])

    with email_dispatched.connected_to(listener):
        site.mail.send(Message("Hi", recipients=FIVE[:3], html=HTML))
    assert seen == [["0 sending"], ["0 sent", "1 sending"], ["0 sent", "1 sent", "2 sending"]]
    site.mailtrack.flush()
    assert [row.status for row in site.rows("Message")] == ["sent", "sent", "sent"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_killed_process_leaves_what_it_did_not_live_to_see_as_sending(make_site: MakeSite, tmp_path: Path) -> None:
    """Of a process that dies after handing over the second copy, the first is sent, the second perhaps."""
    site = make_site(MAIL_SUPPRESS_SEND=True, MAILTRACK_DRAIN="manual", MAILTRACK_SPOOL_DIR=str(tmp_path / "spool"))

    def listener(app: object, message: Message) -> None:
        if message.send_to == {FIVE[1]}:
            os._exit(9)

    if not (child := os.fork()):
        try:
            with email_dispatched.connected_to(listener):
                site.mail.send(Message("Hi", recipients=FIVE[:3], html=HTML))
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    site.mailtrack.flush()
    assert [(row.recipient, row.status) for row in site.rows("Message")] == [(FIVE[0], "sent"), (FIVE[1], "sending")]


def test_a_bug_in_the_middle_costs_the_tracking_of_the_rest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the third of five copies cannot be made, it and the rest go out as written, and each row says what is true."""
    pixel, made, told = links.Links.pixel, [], []

    def broken(self: links.Links) -> str:
        made.append(self)
        return pixel(self) if len(made) < 3 else 1 / 0

    monkeypatch.setattr(links.Links, "pixel", broken)

    def receiver(app: object, *, reason: str, error: Exception) -> None:
        told.append(reason)

    with signals.tracking_failed.connected_to(receiver):
        sent = site.send(HTML, to=FIVE)
    assert [copy.html == HTML for copy in sent] == [False, False, True, True, True]
    rows = site.rows("Message")
    assert [(row.status, row.tracks_opens, row.tracks_clicks) for row in rows[:2]] == [("sent", True, True)] * 2
    assert [(row.status, row.tracks_opens, row.tracks_clicks) for row in rows[2:]] == [("sent", False, False)] * 3
    assert [row.error for row in rows] == ["", "", *["untracked: prepare"] * 3]
    assert told == ["prepare"]
    assert len(made) == 3


def test_what_goes_wrong_for_all_comes_up_before_anything_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even a plain copy can be made, a mail leaves as the author wrote it, and a list mail not at all."""
    monkeypatch.setattr(prepare._Work, "_links", lambda *args: 1 / 0)
    assert site.send(HTML).html == HTML
    with site.mail.record_messages() as outbox, pytest.raises(OptOutsUnavailable):
        site.mail.send(site.mailtrack.track(Message("Hi", recipients=FIVE, html=HTML), list_id="news"))
    assert outbox == []
    assert site.rows("Message") == []


BOUNDARY = re.compile(rb"=_[0-9a-f]{32}|={15}\d{19}==")


@pytest.mark.parametrize(
    "parts",
    [
        {"body": "x"},
        {"html": HTML},
        {"html": "Größe\r\n" * 50, "body": "Größe", "charset": "iso-8859-1"},
        {"html": "<p>いろは</p>", "alts": {"x-amp-html": "<html ⚡4email></html>"}, "body": "いろは"},
        {"body": "x", "attachments": True},
        {"html": HTML, "body": "x", "attachments": True},
    ],
)
def test_a_copy_is_what_flask_mail_makes_of_it_but_for_the_boundary(site: Site, parts: dict[str, Any]) -> None:
    """The bytes that leave are those of a plain Flask-Mail message; only what separates the parts is ours."""
    attached = parts.pop("attachments", False)
    message = Message("Hi", recipients=["ada@example.com"], **parts)
    if attached:
        message.attach("a.txt", "text/plain", b"attached")
    message.date = 0.0
    with site.mail.record_messages() as outbox:
        site.mail.send(site.mailtrack.track(message, opens=False, clicks=False))
    ours, theirs = outbox[0].as_bytes(), message.as_bytes()
    assert type(outbox[0]) is TrackedCopy
    names = [{found: b"%d" % n for n, found in enumerate(dict.fromkeys(BOUNDARY.findall(b)))} for b in (ours, theirs)]
    plain = [BOUNDARY.sub(lambda m, n=n: n[m[0]], b) for n, b in zip(names, (ours, theirs), strict=True)]
    # Where a line of a header ends depends on the length of the boundary.
    assert plain[0].replace(b";\r\n b", b"; b") == plain[1].replace(b";\r\n b", b"; b")
    assert len(names[0]) == len(names[1]) == ours.count(b"boundary=")


LINES = st.lists(st.sampled_from([b"x" * 997, b"x" * 998, b"x" * 499, b"x", b"\n", b"\r", b"\r\n", b""]), max_size=12)


@given(LINES.map(b"".join))
def test_long_lines_are_found(octets: bytes) -> None:
    """A line too long for SMTP is found wherever it stands, whatever ends it, and no other is."""
    assert _lines_fit(octets) == (max(map(len, octets.splitlines()), default=0) <= MAX_LINE)


def test_the_message_of_the_host_knows_when_it_was_sent(site: Site) -> None:
    """After the send the object of the author has the date of its copies, as without us, and keeps one that it had."""
    message = Message("Hello", recipients=["ada@example.com", "bob@example.com"], html="<p>Hello</p>")
    with site.mail.record_messages() as outbox:
        site.mail.send(message)
    assert message.date is not None
    assert [each.date for each in outbox] == [message.date, message.date]
    message.date = 5.0
    site.mail.send(message)
    assert message.date == 5.0
