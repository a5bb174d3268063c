"""Other services: their switches are obeyed when asked, and they are told to leave our links alone."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from conftest import MakeSite
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.services import RELAYS, headers_for, take_switches

ALIDM = base64.b64encode(json.dumps({"OpenTrace": "0", "LinkTrace": "1", "TagName": "spring"}).encode()).decode()


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X-Mailgun-Track": "no"}, {"opens": False, "clicks": False}),
        ({"X-Mailgun-Track-Clicks": "htmlonly"}, {"clicks": True}),
        ({"x-mailgun-track-opens": "NO"}, {"opens": False}),
        ({"X-Mailgun-Tag": "spring"}, {"tag": "spring"}),
        ({"X-PM-TrackOpens": "true"}, {"opens": True}),
        ({"X-PM-TrackLinks": "None"}, {"clicks": False}),
        ({"X-PM-TrackLinks": "HtmlAndText"}, {"clicks": True}),
        ({"X-PM-TrackLinks": "TextOnly"}, {"clicks": False}),
        ({"X-PM-Tag": "spring"}, {"tag": "spring"}),
        ({"X-MC-Track": "opens, clicks_htmlonly"}, {"opens": True, "clicks": True}),
        ({"X-MC-Track": "none"}, {"opens": False, "clicks": False}),
        ({"X-AliDM-Trace": ALIDM}, {"opens": False, "clicks": True, "tag": "spring"}),
        ({"X-No-Track": "anything"}, {"opens": False, "clicks": False}),
    ],
)
def test_a_switch_of_another_service_is_read_and_removed(headers: dict[str, str], said: dict[str, Any]) -> None:
    """A template made for another service says here what it said there, and the header does not go out."""
    rest = dict(headers)
    assert take_switches(rest) == said
    assert rest == {}


@pytest.mark.parametrize(
    "headers",
    [{"X-Mailgun-Track": "perhaps"}, {"X-AliDM-Trace": "no base64!"}, {"X-AliDM-Trace": "e30="}, {"X-Other": "no"}],
)
def test_what_cannot_be_read_is_left_alone(headers: dict[str, str]) -> None:
    """A header that says nothing we know is the author's business."""
    rest = dict(headers)
    assert take_switches(rest) == {}
    assert rest == headers


@given(st.dictionaries(st.sampled_from(["X-AliDM-Trace", "X-MC-Track", "X-PM-TrackLinks", "X-Mailgun-Tag"]), st.text()))
def test_any_value_is_taken_or_left(headers: dict[str, str]) -> None:
    """No value of such a header can stop a mail."""
    rest = dict(headers)
    take_switches(rest)
    assert set(rest) <= set(headers)


@pytest.mark.parametrize("relay", sorted(RELAYS))
def test_a_header_of_the_author_is_stronger(relay: str) -> None:
    """Whoever sets a relay's header has a reason; ours is only added where there is none."""
    given_ = {name.upper(): "mine" for name in RELAYS[relay].headers}
    assert headers_for(relay, given_) == {}


@pytest.mark.parametrize("relay", sorted(set(RELAYS) - {""}))
def test_a_relay_is_told_not_to_wrap_our_links(relay: str, make_site: MakeSite) -> None:
    """Mail through another service carries its own no-track attribute on our links, and its headers."""
    sent = make_site(MAILTRACK_DOWNSTREAM=relay).send('<p><a class="b" href="https://example.com/">x</a></p>')
    tag = re.search(r"<a [^>]*>", sent.html)
    assert tag is not None
    attribute = RELAYS[relay].attribute
    assert f'<a class="b" {attribute}href="https://links.example.com/m/c/' in tag[0]
    for name, value in RELAYS[relay].headers.items():
        assert sent.extra_headers[name] == value


def test_foreign_switches_are_ours_only_when_asked(make_site: MakeSite) -> None:
    """Without MAILTRACK_FOREIGN_HEADERS another service's header passes through; with it, it is obeyed."""
    html, headers = "<p>x</p>", {"X-PM-TrackOpens": "false", "X-PM-Tag": "spring"}
    passing = make_site().send(html, extra_headers=headers)
    assert "/m/o/" in passing.html
    assert passing.extra_headers == headers
    site = make_site(MAILTRACK_FOREIGN_HEADERS=True)
    obeyed = site.send(html, extra_headers=headers)
    assert obeyed.html == html
    assert not obeyed.extra_headers
    assert site.rows("Message")[0].tag == "spring"
