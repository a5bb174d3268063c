"""Which bodies are kept: campaigns, once per distinct body, as the author wrote them, and nobody's secrets."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import MakeSite, Site, places

from flask_mailtrack.drawing import AuthoredBody
from flask_mailtrack.outgoing import archive

LINK = '<p>Hello</p><a href="https://example.com/a">Read on</a>'


@pytest.fixture(name="keeping")
def _keeping(make_site: MakeSite) -> Site:
    return make_site(MAILTRACK_KEEP_BODIES=True)


def bodies(site: Site) -> list[AuthoredBody]:
    return [AuthoredBody.unpacked(row.content) for row in site.rows("Body")]


def test_nothing_is_kept_by_default(site: Site) -> None:
    """A host that has not asked for it has no body in its database."""
    site.send(LINK, tag="spring")
    assert (site.rows("Body"), [m.body_id for m in site.rows("Message")]) == ([], [None])


def test_a_campaign_has_one_row_for_all_its_mails(keeping: Site) -> None:
    """Two sends to five people make one row, as the author wrote it, to which all messages point."""
    html = f'{LINK}<a href="{keeping.app.jinja_env.globals["unsubscribe_url"]()}">leave</a>'  # type: ignore[operator]
    keeping.send(html, ["a@example.com", "b@example.com", "c@example.com"], tag="spring", list_id="news")
    keeping.send(html, ["d@example.com", "e@example.com"], tag="spring", list_id="news")
    (row,) = keeping.rows("Body")
    assert (row.tag, row.subject) == ("spring", "Hello")
    assert {m.body_id for m in keeping.rows("Message")} == {row.id}
    (body,) = bodies(keeping)
    assert body.html == html
    assert [body.html[link.start : link.end] for link in body.links] == ["https://example.com/a"]
    assert [slot.name for slot in body.slots] == ["unsubscribe"]
    assert "@example.com" not in body.html


def test_a_row_is_for_one_subject_tag_and_html(keeping: Site) -> None:
    """Another subject, another tag or another text is another row; a later send of the first is not."""
    for subject, tag, html in (
        ("A", "x", LINK),
        ("B", "x", LINK),
        ("A", "y", LINK),
        ("A", "x", f"{LINK}!"),
        ("A", "x", LINK),
    ):
        keeping.send(html, subject=subject, tag=tag)
    assert len(keeping.rows("Body")) == 4


@pytest.mark.parametrize(
    ("html", "options"),
    [
        (LINK, {}),
        (LINK, {"tag": "x", "transactional": True}),
        (LINK, {"tag": "x", "store": False}),
        (f"{LINK}<a href='https://example.com/reset?token=abc'>reset</a>", {"tag": "x"}),
        (
            f"{LINK}<a href='https://example.com/reset?token=abc'>reset</a>",
            {"tag": "x", "opens": False, "clicks": False},
        ),
        ("<p>x</p>" * 80_000, {"tag": "x"}),
        (None, {"tag": "x", "body": "text"}),
    ],
    ids=["no campaign", "transactional", "not stored", "a secret", "a secret, untracked", "too long", "no HTML"],
)
def test_what_is_no_campaign_or_holds_a_secret_is_not_kept(
    keeping: Site, html: str | None, options: dict[str, Any]
) -> None:
    """A password reset is nobody's to keep, tracked or not, and neither is mail without tag and list."""
    keeping.send(html, **options)
    assert keeping.rows("Body") == []
    assert {m.body_id for m in keeping.rows("Message")} <= {None}


def test_a_host_that_writes_a_body_for_each_person_keeps_a_few(
    keeping: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is never one row per mail: a campaign has a few bodies a day, the log says so once, and all mail leaves."""
    monkeypatch.setattr(archive, "OF_A_CAMPAIGN", 3)
    with caplog.at_level(logging.WARNING):
        for number in range(6):
            assert keeping.send(f"<p>Dear {number}</p>", f"{number}@example.com", tag="spring") is not None
    assert {body.html for body in bodies(keeping)} == {f"<p>Dear {n}</p>" for n in range(3)}
    assert [m.body_id is None for m in keeping.rows("Message")] == [False] * 3 + [True] * 3
    assert [r for r in caplog.messages if "distinct bodies" in r] == [caplog.messages[0]]
    monkeypatch.setattr(archive, "IN_A_DAY", 4)
    for number in range(3):
        keeping.send("<p>Hello</p>", tag=f"for {number}")
    assert len(keeping.rows("Body")) == 4
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    monkeypatch.setattr(archive, "now", lambda: tomorrow)
    keeping.send("<p>Dear 5</p>", tag="spring")
    assert len(keeping.rows("Body")) == 5


def test_a_body_goes_through_the_journal_once_per_send_call(lasting: MakeSite) -> None:
    """A send call writes its body once, however many people get it; each message only names it."""
    site = lasting(MAILTRACK_KEEP_BODIES=True)
    site.send(LINK, [f"{number}@example.com" for number in range(5)], tag="spring")
    site.send(LINK, "5@example.com", tag="spring")
    lines = [
        line for place in places(site) for path in place.glob("*.jsonl") for line in path.read_bytes().splitlines()
    ]
    records = [json.loads(line[9:]) for line in lines]
    assert [record["k"] for record in records].count("body") == 2
    (body,) = {record["id"] for record in records if record["k"] == "body"}
    assert {record["body_id"] for record in records if record["k"] == "message"} == {body}
    site.mailtrack.flush()
    assert len(site.rows("Body")) == 1


def test_a_body_that_was_erased_is_kept_again(keeping: Site) -> None:
    """After the only reader of a body was forgotten, the next mail of the same day has the body again."""
    keeping.send(LINK, "ada@example.com", tag="spring")
    keeping.mailtrack.erase("ada@example.com")
    assert keeping.rows("Body") == []
    keeping.send(LINK, "bob@example.com", tag="spring")
    (row,) = keeping.rows("Body")
    assert [m.body_id for m in keeping.rows("Message")] == [None, row.id]


def test_a_body_that_cannot_be_kept_costs_no_mail(
    keeping: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If keeping fails, the mail leaves as ever, tracked, and the log says that its body is not kept."""
    monkeypatch.setattr(archive, "scan", lambda html: 1 / 0)
    sent = keeping.send(LINK, tag="spring")
    assert "/m/c/" in sent.html
    assert "the body of a message is not kept" in caplog.text
    assert keeping.rows("Body") == []


def test_half_an_emoji_is_kept_without_harm(keeping: Site) -> None:
    """A body that no database takes as text is kept all the same, because it is kept compressed."""
    keeping.send("<p>\ud83d</p>", tag="spring")
    assert [body.html for body in bodies(keeping)] == ["<p>\ud83d</p>"]
