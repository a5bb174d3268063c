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

from flask_mailtrack.outgoing.headers import RELAYS, headers_for, take_switches

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
        ({"X-AliDM-Trace": f"{ALIDM[:20]}\r\n {ALIDM[20:]}"}, {"opens": False, "clicks": True, "tag": "spring"}),
        ({"X-AliDM-Trace": base64.b64encode(b'{"LinkTrace": 0}').decode()}, {"clicks": False}),
        ({"X-AliDM-Trace": base64.b64encode(b'{"OpenTrace": "1"}').decode()}, {"opens": True}),
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


@pytest.mark.parametrize(
    ("relay", "theirs", "merged"),
    [
        (
            "sendgrid",
            {"x-smtpapi": '{"category": "news",\r\n "filters": {"clicktrack": {"settings": {"enable_text": 1}}}}'},
            {
                "category": "news",
                "filters": {
                    "clicktrack": {"settings": {"enable_text": 1, "enable": 0}},
                    "opentrack": {"settings": {"enable": 0}},
                },
            },
        ),
        (
            "sparkpost",
            {"X-MSYS-API": '{"campaign_id": "c", "options": {"click_tracking": true, "ip_pool": "p"}}'},
            {"campaign_id": "c", "options": {"click_tracking": False, "open_tracking": False, "ip_pool": "p"}},
        ),
    ],
)
def test_json_of_the_author_is_kept_and_completed(relay: str, theirs: dict[str, str], merged: dict[str, Any]) -> None:
    """A campaign in the relay's own header stays, and beside it stands that the links are left alone."""
    found = headers_for(relay, theirs)
    assert list(found) == list(theirs)
    assert [json.loads(value) for value in found.values()] == [merged]


@pytest.mark.parametrize("value", ["[]", "1", "{", "[" * 100_000])
def test_what_is_no_object_is_the_authors(value: str) -> None:
    """A header that cannot be merged goes out as it was written."""
    assert headers_for("sendgrid", {"X-SMTPAPI": value}) == {}


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
