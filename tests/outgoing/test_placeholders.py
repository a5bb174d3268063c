"""What stands for a personal link is found wherever an author can put it, and nothing else is."""

from __future__ import annotations

import html
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.placeholders import ALL, LEADS_OUT, OWN, PIXEL, PREFERENCES, TRACKING_OPTOUT, UNSUBSCRIBE
from flask_mailtrack.outgoing.text import fill_in, slots_in

OURS = {"unsubscribe": UNSUBSCRIBE, "preferences": PREFERENCES, "optout": TRACKING_OPTOUT, "pixel": PIXEL}
FOREIGN = {
    "SendGrid": ["<%asm_group_unsubscribe_raw_url%>", "<%asm_global_unsubscribe_raw_url%>"],
    "Mailgun": ["%unsubscribe_url%", "%tag_unsubscribe_url%", "%mailing_list_unsubscribe_url%"],
    "Amazon SES": ["{{amazonSESUnsubscribeUrl}}"],
    "Postmark": ["{{{ pm:unsubscribe }}}", "{{{pm:unsubscribe}}}"],
    "SendCloud": ["%%user_defined_unsubscribe_link%%"],
    "Mailjet": ["[[UNSUB_LINK_EN]]", "[[UNSUB_LINK_FR]]"],
    "Mailchimp": ["*|UNSUB|*"],
    "Brevo": ["{{ unsubscribe }}", "{{unsubscribe}}"],
    "Klaviyo": ["{% unsubscribe_link %}"],
    "Customer.io": ["{% unsubscribe_url %}"],
    "Iterable": ["{{unsubscribeUrl}}"],
    "Braze": ["{{${set_user_to_unsubscribed_url}}}"],
    "HubSpot": ["{{ unsubscribe_link }}"],
    "Marketo": ["{{system.unsubscribeLink}}"],
    "MailerLite": ["{$unsubscribe}"],
    "ActiveCampaign": ["%UNSUBSCRIBELINK%"],
    "OneSignal": ["[unsubscribe_url]"],
    "Netcore": ["[%UNSUB%]"],
    "dotdigital": ["https://$UNSUB$"],
}
PLACES = [
    '<p><a href="{}">Leave</a></p>',
    "<a href='{}'>x</a>",
    "Leave: {}",
    "Leave ({}).",
    "{}",
    "{}, {}!",
    "a\n{}\nb",
]


def found(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]]:
    """Name and text of every placeholder."""
    return [(match.lastgroup or "", match[0]) for match in pattern.finditer(text)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("pattern", [OWN, ALL], ids=["own", "all"])
def test_our_placeholders_are_found(name: str, place: str, pattern: re.Pattern[str]) -> None:
    """Each of ours is found whole, in HTML and text, as it is, escaped, and in capitals."""
    for text in (OURS[name], html.escape(OURS[name]), OURS[name].upper()):
        whole = place.replace("{}", text)
        assert found(pattern, whole) == [(name, text)] * place.count("{}")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("token", [token for tokens in FOREIGN.values() for token in tokens])
def test_the_placeholders_of_others_are_found(token: str, place: str) -> None:
    """A template written for another service gets a link by which its reader can leave."""
    whole = place.replace("{}", token)
    assert found(ALL, whole) == [("foreign", token)] * place.count("{}")
    assert found(OWN, whole) == []


@pytest.mark.parametrize("variant", [UNSUBSCRIBE.rstrip("/"), UNSUBSCRIBE.replace("https", "http")])
def test_a_mangled_placeholder_is_found(variant: str) -> None:
    """An editor that drops the closing slash or the s of https breaks nothing."""
    assert found(OWN, f'<a href="{variant}">') == [("unsubscribe", variant)]
    assert found(OWN, f"Leave at {variant}.") == [("unsubscribe", variant)]


def test_the_pixel_is_found_with_any_attributes() -> None:
    """An editor may change the attributes of the pixel; no other image is taken for it."""
    pixel = "<IMG alt='' class=x src='https://pixel.mailtrack.invalid/'/>"
    assert found(OWN, f'<img src="a.png">{pixel}<img src="b.png">') == [("pixel", pixel)]


ORDINARY = [
    "To unsubscribe, click the link. 100% free, 50% off: unsubscribe_url",
    "https://example.com/unsubscribe?u=1&unsubscribe_url=%2Fx%20y%",
    "https://unsubscribe.example.com/ https://mailtrack.invalid/ unsubscribe.mailtrack.invalid",
    "https://unsubscribe.mailtrack.invalid.example.com/ https://unsubscribe.mailtrack.invalidity.example/",
    "https://unsubscribe.mailtrack.invalid-x/ https://xunsubscribe.mailtrack.invalid/ ftp://unsubscribe.mailtrack.invalid",
    '<img src="https://pixel.mailtrack.invalid.example.com/">',
    '<img src="a.png"> https://pixel.mailtrack.invalid/ <br>',
    "&lt;img&gt; https://pixel.mailtrack.invalid/ &lt;br&gt;",
    "%%unsubscribe_url%% [[unsubscribe_url]] {{{unsubscribe}}} [[%UNSUB%]]",
    "{{ user.unsubscribe }} {{ unsubscribed }} {% unsubscribe %} {{ name }} {%url%} *|FNAME|* %recipient.name%",
    "<%asm_preferences_raw_url%> *|UPDATE_PROFILE|* [[UNSUB_LINK_E]] [[UNSUB_LINK_ENG]]",
    "xhttps://$UNSUB$ https://$UNSUB$$ https://$UNSUB $UNSUB$",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Text that only looks similar is not touched."""
    assert found(ALL, text) == []


@given(st.text())
def test_any_other_text_is_left_alone(text: str) -> None:
    """Text without a placeholder has none found in it."""
    assert found(ALL, text) == []
    assert fill_in(text, ALL, {}) == text


def test_every_slot_is_found_side_by_side() -> None:
    """Placeholders next to each other are told apart."""
    text = "".join(OURS.values()) + "{{ unsubscribe }}%unsubscribe_url%"
    assert [name for name, _ in found(ALL, text)] == [*OURS, "foreign", "foreign"]
    assert slots_in(text, ALL) == {*OURS, "foreign"}


def test_a_message_with_a_way_out_needs_no_footer() -> None:
    """Unsubscribe and preferences links lead out of a list; a pixel and a tracking opt-out do not."""
    assert set(OURS) - LEADS_OUT == {"pixel", "optout"}
    assert "foreign" in LEADS_OUT


@pytest.mark.parametrize(
    "piece",
    [
        "<img ",
        "&lt;img ",
        "<img https://pixel.",
        "&lt;img https://pixel.mailtrack.",
        "https://",
        "{{ ",
        "{{" + " " * 99,
    ],
)
def test_looking_is_cheap(piece: str) -> None:
    """A body of half a megabyte made to be slow is searched in a moment."""
    text = piece * (500_000 // len(piece))
    start = time.perf_counter()
    assert found(ALL, text) == []
    assert time.perf_counter() - start < 2
