"""A link that no person sees tells which clicks were a machine's, where a host wants that."""

from __future__ import annotations

import re

import pytest
from conftest import MakeSite, Site

from flask_mailtrack.testing import Reader

HTML = '<body><p><a href="https://example.com/">a</a></p></body>'
TRAP = re.compile(r'<a href="https://links\.example\.com(/m/h/[a-z2-7]+)"([^>]*)></a>')


@pytest.fixture(name="trapping")
def _trapping(make_site: MakeSite) -> Site:
    """A site with a honeypot."""
    return make_site(MAILTRACK_HONEYPOT=True)


def test_no_honeypot_unless_asked_for(site: Site) -> None:
    """Hidden text can cost a mail its good name, so it is never in one by default."""
    assert "/m/h/" not in site.send(HTML).html


@pytest.mark.parametrize("options", [{"clicks": False}, {"opens": False, "clicks": False}, {"transactional": True}])
def test_no_honeypot_without_tracked_links(options: dict[str, bool], trapping: Site) -> None:
    """Where clicks are not tracked there is nothing to tell apart."""
    assert "/m/h/" not in trapping.send(HTML, **options).html


def test_nobody_finds_it_by_accident(trapping: Site) -> None:
    """It has no text, takes no room, is not read out, is not reached by the tab key, and is no link of a Reader's."""
    sent = trapping.send(HTML)
    found = TRAP.search(sent.html)
    assert found
    for attribute in ('aria-hidden="true"', 'tabindex="-1"', 'style="display:none"'):
        assert attribute in found[2]
    assert [link.text for link in Reader(trapping.client, sent).links] == ["a"]


@pytest.mark.parametrize("first", ["click", "trap"])
def test_what_was_clicked_beside_it_was_a_machines(first: str, trapping: Site) -> None:
    """A click just before or after the hidden link is a scanner's, and the message row knows."""
    sent = trapping.send(HTML)
    reader, trap = Reader(trapping.client, sent), TRAP.search(sent.html)
    assert trap
    if first == "click":
        reader.click()
        (message,) = trapping.rows("Message")
        assert (message.click_count, message.machine_count) == (1, 0)
    answer = trapping.client.get(trap[1])
    if first == "trap":
        reader.click()
    assert (answer.status_code, answer.data, "Set-Cookie" in answer.headers) == (204, b"", False)
    events = {event.type: event for event in trapping.rows("Event")}
    assert (events["trapped"].verdict, events["trapped"].verdict_reasons) == ("scanner", ["honeypot"])
    assert (events["clicked"].verdict, events["clicked"].verdict_reasons) == ("scanner", ["honeypot"])
    assert (events["clicked"].first_verdict, events["clicked"].first_verdict_reasons) == ("human", ["ua_browser"])
    (message,) = trapping.rows("Message")
    assert (message.clicked_at, message.click_count, message.machine_count) == (None, 0, 1)


def test_old_honeypots_answer_for_ever(make_site: MakeSite) -> None:
    """A honeypot in an old mail answers the same when the setting is off, and so does a forged one."""
    trap = TRAP.search(make_site(MAILTRACK_HONEYPOT=True).send(HTML).html)
    site = make_site()
    assert trap
    assert site.client.get(trap[1]).status_code == 204
    assert [event.type for event in site.rows("Event")] == ["trapped"]
    assert site.client.get("/m/h/" + "a" * 68).status_code == 204
    assert len(site.rows("Event")) == 1


def test_a_click_is_no_honeypot(trapping: Site) -> None:
    """The token of one kind is noise to the reader of another."""
    sent = trapping.send(HTML)
    click = re.search(r"/m/c/([a-z2-7]{68})", sent.html)
    assert click
    trapping.client.get(f"/m/h/{click[1]}")
    assert trapping.rows("Event") == []
