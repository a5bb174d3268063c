"""P9: whatever goes wrong with us, the mail goes out; only unreadable opt-outs of a list stop it."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import UNSUBSCRIBE, MakeSite, Site
from flask_mail import BadHeaderError, Message

from flask_mailtrack import signals
from flask_mailtrack.errors import OptOutsUnavailable, RewriteError, SpoolError
from flask_mailtrack.outgoing import links, prepare
from flask_mailtrack.outgoing.rewriting import rewrite
from flask_mailtrack.storage.journal.spool import Spool

HTML = '<p>Dear Ada, <a href="https://example.com/">read on</a></p>'


@pytest.fixture(name="failures")
def _failures() -> Any:
    """What ``tracking_failed`` has told."""
    told: list[str] = []

    def receiver(app: object, *, reason: str, error: Exception) -> None:
        told.append(reason)

    with signals.tracking_failed.connected_to(receiver):
        yield told


def test_html_that_cannot_be_judged_goes_out_as_written(site: Site, failures: list[str]) -> None:
    """A body that two parsers read differently is sent byte for byte, and the row says why it is untracked."""
    html = "<p>x<select><a href='https://example.com/'>y</a>"
    assert site.send(html).html == html
    (row,) = site.rows("Message")
    assert (row.status, row.tracks_opens, row.tracks_clicks, row.error) == (
        "sent",
        False,
        False,
        "untracked: unverified",
    )
    assert failures == ["rewrite"]


def test_placeholders_are_filled_in_html_that_cannot_be_tracked(site: Site) -> None:
    """A link to leave works also in a mail whose HTML is otherwise left alone."""
    sent = site.send(f"<p>x<select><a href='{UNSUBSCRIBE}'>leave</a>", list_id="news")
    assert "invalid" not in sent.html
    assert "https://links.example.com/m/u/" in sent.html


def test_a_bug_of_ours_does_not_reach_who_has_left(
    site: Site, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the copies cannot be made, the list still goes out as written, and still not to who unsubscribed."""
    first = site.send(HTML, list_id="news")
    link = first.extra_headers["List-Unsubscribe"].strip("<>")
    site.client.post(link.removeprefix("https://links.example.com"))

    def broken(*args: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(links.Links, "pixel", broken)
    sent = site.send(HTML, to=["ada@example.com", "bob@example.com"], list_id="news")
    assert [copy.send_to for copy in sent] == [{"bob@example.com"}]
    assert sent[0].html == HTML
    assert failures == ["prepare"]
    rows = {(row.recipient, row.status): row.error for row in site.rows("Message")}
    assert rows[("bob@example.com", "sent")] == "untracked: prepare"
    assert ("ada@example.com", "suppressed") in rows


def test_a_bug_of_ours_costs_the_tracking_not_the_mail(
    site: Site, failures: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If preparing a mail raises what nobody foresaw, the mail leaves as the author wrote it, with a log line."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(prepare._Work, "batch", broken)
    sent = site.send(HTML, extra_headers={"X-Mailtrack": "tag=a", "X-Other": "kept"})
    assert sent.html == HTML
    assert sent.extra_headers == {"X-Other": "kept"}
    assert failures == ["prepare"]
    assert "ZeroDivisionError" in caplog.text


def test_a_spool_that_cannot_be_written_costs_the_row_not_the_mail(
    site: Site, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk the mail goes out tracked; the row is lost, and that is said aloud."""

    def full(*args: object, **kwargs: object) -> None:
        raise SpoolError("disk full")

    monkeypatch.setattr(Spool, "append", full)
    assert "/m/c/" in site.send(HTML).html
    assert failures == ["spool", "spool", "spool"]  # its link, its beginning, its fate


def test_a_list_whose_opt_outs_cannot_be_read_is_not_sent(make_site: MakeSite) -> None:
    """Nobody who has left is mailed on hope: without the table the list message raises, and nothing leaves."""
    site = make_site(tables=False)
    with site.mail.record_messages() as outbox, pytest.raises(OptOutsUnavailable):
        site.mail.send(site.mailtrack.track(Message("Hi", recipients=["ada@example.com"], html=HTML), list_id="news"))
    assert outbox == []


def test_transactional_mail_goes_out_untracked_when_opt_outs_cannot_be_read(make_site: MakeSite) -> None:
    """A password reset is sent also while the database is away, but nobody is recorded who might not want it."""
    assert make_site(tables=False).send(HTML).html == HTML


@pytest.mark.parametrize("value", ["a\r\nBcc: x@example.com", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_breaks_out_of_its_line_is_refused_before_smtp(site: Site, value: str) -> None:
    """Flask-Mail would write a second header; we raise its own error for bad headers instead."""
    message = Message("Hi", recipients=["ada@example.com"], body="x", extra_headers={"X-Thing": value})
    with site.mail.record_messages() as outbox, pytest.raises(BadHeaderError, match="X-Thing"):
        site.mail.send(message)
    assert outbox == []


def test_flask_mails_own_complaints_come_first(site: Site) -> None:
    """A message without recipients fails as it does without us, and leaves no row."""
    with pytest.raises(AssertionError, match="No recipients"):
        site.mail.send(Message("Hi", body="x"))
    assert site.rows("Message") == []


def test_a_body_is_compiled_once_for_all_recipients(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newsletter is judged once, not once for each reader."""
    calls: list[str] = []
    compile_ = rewrite.compile

    def counted(html: str, **options: Any) -> rewrite.Template:
        calls.append(html)
        return compile_(html, **options)

    monkeypatch.setattr(rewrite, "compile", counted)
    site.send(HTML, to=[f"reader{n}@example.com" for n in range(20)])
    site.send(HTML)
    assert calls == [HTML]


def test_a_refused_body_is_remembered_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be tracked is not tried again for each reader."""
    calls: list[str] = []

    def refused(html: str, **options: Any) -> rewrite.Template:
        calls.append(html)
        raise RewriteError("unverified")

    monkeypatch.setattr(rewrite, "compile", refused)
    site.send(HTML, to=["a@example.com", "b@example.com"])
    site.send(HTML)
    assert len(calls) == 1


def test_links_to_ourselves_are_not_wrapped_again(site: Site) -> None:
    """A tracked link that an author pasted into a new mail leads where it led, without a second redirect."""
    first = site.send(HTML)
    tracked = first.html.split('href="')[1].split('"')[0]
    again = site.send(f'<a href="{tracked}">x</a>')
    assert f'href="{tracked}"' in again.html


def test_switched_off_everything_is_as_without_us(site: Site) -> None:
    """With opens and clicks off the HTML is the author's, and the row still says that it was sent."""
    assert site.send(HTML, opens=False, clicks=False).html == HTML
    (row,) = site.rows("Message")
    assert (row.status, row.tracks_opens, row.tracks_clicks) == ("sent", False, False)


def test_missing_tables_are_one_line_with_the_cure(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """Before the tables are made, mail goes out untracked and list mail not at all, and both say what to run."""
    site = make_site(tables=False)
    with caplog.at_level("INFO", "flask_mailtrack.send"):
        site.send("<p>Hello</p>")
    (line,) = [record for record in caplog.records if record.name == "flask_mailtrack.send"]
    assert "no table mailtrack_message" in line.getMessage()
    assert "run db.create_all() or a migration" in line.getMessage()
    assert line.exc_info is None
    with pytest.raises(OptOutsUnavailable, match=r"no table .*; run db\.create_all\(\)"):
        site.send("<p>Hello</p>", list_id="news")
