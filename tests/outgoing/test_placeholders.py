"""What stands for a personal link is filled in wherever an author can put it, and nothing else is."""

from __future__ import annotations

import html
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.placeholders import LEADS_OUT, WORDS, Placeholders, Slot, Slots
from flask_mailtrack.tokens import Signer

SIGNER = Signer(["the newest key, long enough", "an older key, long enough"], app_id="shop")
OURS = Placeholders(SIGNER.labels)
SLOTS = Slots(OURS, True, lambda slot: f"[{slot}]")
UNSUBSCRIBE = OURS.urls["unsubscribe"]
KINDS = ("unsubscribe", "preferences", "optout")
FOREIGN = {
    "SendGrid": [
        "<%asm_group_unsubscribe_raw_url%>",
        "<%asm_global_unsubscribe_raw_url%>",
        "<%asm_group_unsubscribe_url%>",
        "<% asm_group_unsubscribe_url %>",
        "{{{unsubscribe}}}",
        "[unsubscribe]",
    ],
    "Resend": ["{{{RESEND_UNSUBSCRIBE_URL}}}", "{{{ RESEND_UNSUBSCRIBE_URL }}}"],
    "listmonk": ["{{ UnsubscribeURL }}", "{{ UnsubscribeURL . }}"],
    "Mautic": ["{unsubscribe_url}", "{unsubscribe_text}"],
    "Mailtrain": ["[LINK_UNSUBSCRIBE]"],
    "phpList": ["[UNSUBSCRIBEURL]", "[UNSUBSCRIBE]"],
    "Mailgun": ["%unsubscribe_url%", "%tag_unsubscribe_url%", "%mailing_list_unsubscribe_url%"],
    "Amazon SES": ["{{amazonSESUnsubscribeUrl}}"],
    "Postmark": ["{{{ pm:unsubscribe }}}", "{{{pm:unsubscribe}}}"],
    "SendCloud": ["%%user_defined_unsubscribe_link%%"],
    "Mailjet": ["[[UNSUB_LINK_EN]]", "[[UNSUB_LINK_FR]]"],
    "Mailchimp": ["*|UNSUB|*"],
    "Brevo": ["{{ unsubscribe }}", "{{unsubscribe}}"],
    "Klaviyo": ["{% unsubscribe_link %}"],
    "Customer.io": ["{% unsubscribe_url %}"],
    "Iterable": ["{{unsubscribeUrl}}", "{{ unsubscribeUrl }}"],
    "Braze": ["{{${set_user_to_unsubscribed_url}}}"],
    "HubSpot": ["{{ unsubscribe_link }}"],
    "Marketo": ["{{system.unsubscribeLink}}"],
    "MailerLite": ["{$unsubscribe}"],
    "ActiveCampaign": ["%UNSUBSCRIBELINK%"],
    "OneSignal": ["[unsubscribe_url]"],
    "Netcore": ["[%UNSUB%]"],
    "dotdigital": ["https://$UNSUB$"],
}
TOKENS = [token for tokens in FOREIGN.values() for token in tokens]
PLACES = [
    '<p><a href="{}">Leave</a></p>',
    "<a href='{}'>x</a>",
    '<a href=" {}\n">x</a>',
    "Leave: {}",
    "Leave ({}).",
    "Leave:&nbsp;{}&nbsp;",
    "<p>{}</p>",
    "{}",
    "{}, {}!",
    "a\n{}\nb",
    "<!--[if mso]><v:rect href='{}'>x</v:rect><![endif]-->",
    "<html ⚡4email><body><a href='{}'>x</a></body></html>",
]


def found(body: str, *, foreign: bool = True) -> list[tuple[str, str]]:
    """Name and source of every slot of an HTML body that is filled in."""
    return [(slot.name, body[slot.start : slot.end]) for slot in SLOTS.in_html(body, foreign) if slot.name]


def found_in_text(body: str) -> list[tuple[str, str]]:
    """The same of a plain text."""
    return [(slot.name, body[slot.start : slot.end]) for slot in SLOTS.in_text(body, True) if slot.name]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("foreign", [True, False])
def test_ours_are_filled_in(kind: str, place: str, foreign: bool) -> None:
    """Each of ours is found whole, in attributes and text, as it is and in capitals, also where no list is named."""
    for text in (OURS.urls[kind], OURS.urls[kind].upper(), OURS.urls[kind].replace("/", "&#x2F;")):
        assert found(place.replace("{}", text), foreign=foreign) == [(kind, text)] * place.count("{}")


@pytest.mark.parametrize(
    "place", ["Leave: {}", "({})", "<{}>", "{}.", '"{}"', "*{}*", "退订：{}。", "[x]({}) y", "{}\n{}"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_ours_are_filled_in_in_text(kind: str, place: str) -> None:
    """A whole word of a plain text is filled in, whatever punctuation stands around it."""
    assert found_in_text(place.replace("{}", OURS.urls[kind])) == [(kind, OURS.urls[kind])] * place.count("{}")


def test_a_placeholder_is_a_kind_and_a_key() -> None:
    """Each kind has a host of its own, with 26 characters that only the app can write."""
    for slot, word in WORDS.items():
        host = OURS.urls[slot].removeprefix("https://").removesuffix("/")
        label, domain = host.split(".", 1)
        assert (label[: len(word) + 1], domain) == (f"{word}-", "mailtrack.invalid")
        assert len(label) - len(word) - 1 == 26
        assert set(label[len(word) + 1 :]) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert len({url.split("-")[-1] for url in OURS.urls.values()}) == len(WORDS)


def test_templates_that_were_rendered_before_go_on_working() -> None:
    """A placeholder of each key of the list is filled in, one of another key or another app is not."""
    older = Placeholders(Signer(["an older key, long enough"], app_id="shop").labels).urls["unsubscribe"]
    assert found(f'<a href="{older}">x</a>') == [("unsubscribe", older)]
    for stranger in (Signer(["another key, long enough"], app_id="shop"), Signer(["the newest key, long enough"])):
        url = Placeholders(stranger.labels).urls["unsubscribe"]
        assert found(f'<a href="{url}">x</a> {url}') == []


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?u={}",
        "https://evil.example/?u={}&v",
        "https://evil.example/{}",
        "https://evil.example/#{}",
        "//evil.example/?{}",
        "evil.example/?u=({})",
        "https://evil.example/?u= {}",
        "{}?u=1",
        "{}x",
        "{}@evil.example/",
        "{}:8080",
        "mailto:a@evil.example?body={}",
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_url_gets_no_token(url: str, kind: str) -> None:
    """A URL that merely holds a placeholder leads a reader, and with the reader the token, to somebody else."""
    for placeholder in (OURS.urls[kind], OURS.urls[kind].rstrip("/")):
        written = url.replace("{}", placeholder)
        if "://evil" in url and url.endswith(" {}"):
            pass
        else:
            assert found_in_text(f"a {written} b") == []
            assert found(f"<p>a {html.escape(written)} b</p>") == []
        for place in ('<a href="{}">x</a>', "<img src='{}'>", "<td background='{}'>", "<form action='{}'>"):
            assert found(place.replace("{}", html.escape(written))) == []
    assert found(f'<a href="{quote(OURS.urls[kind])}">x</a>') == []


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("place", PLACES)
def test_the_placeholders_of_others_are_filled_in(token: str, place: str) -> None:
    """A template written for another service gets a link by which its reader can leave."""
    whole = place.replace("{}", token)
    assert found(whole) == [("foreign", token)] * place.count("{}")
    assert found(whole, foreign=False) == []


@pytest.mark.parametrize("token", TOKENS)
def test_an_inliner_does_not_hide_the_placeholders_of_others(token: str) -> None:
    """Tools that inline CSS write a placeholder percent-encoded, or with entities, or put a scheme before it."""
    scheme = "" if token.startswith("https") else "http://"
    for written in (
        quote(token, safe=""),
        quote(token, safe="*"),
        quote(token, safe="<%>[]") if "%" not in token else token,
        html.escape(token),
        "".join(c if c.isalnum() else f"&#{ord(c)};" for c in token),
        "".join(c if c.isalnum() else f"&#x{ord(c):X};" for c in token),
        scheme + token,
        scheme + quote(token, safe=""),
    ):
        assert found(f'<a href="{written}">x</a>') == [("foreign", written)]
    assert found(f"<p>{html.escape(token)}</p>") == [("foreign", html.escape(token))]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("place", ["https://evil.example/?u={}", "x{}", "{}x", "{}/y", "evil.example/{}", "a={}"])
def test_a_word_that_only_holds_it_is_no_placeholder_of_others(token: str, place: str) -> None:
    """What a stranger can write, too, is filled in only as a whole href or a whole word."""
    whole = place.replace("{}", token)
    assert found_in_text(f"a {whole} b") == []
    assert found(f'<a href="{whole}">x</a><p>a {html.escape(whole)} b</p>') == []
    assert found(f'<img src="{token}"><td title="{token}">') == []


@pytest.mark.parametrize("variant", [UNSUBSCRIBE.rstrip("/"), UNSUBSCRIBE.replace("https", "http")])
def test_a_mangled_placeholder_is_found(variant: str) -> None:
    """An editor that drops the closing slash or the s of https breaks nothing."""
    assert found(f'<a href="{variant}">x</a>') == [("unsubscribe", variant)]
    assert found(f"Leave at {variant}.") == [("unsubscribe", variant)]


def test_the_pixel_is_found_with_any_attributes() -> None:
    """An editor may change the attributes of the pixel; no other image is taken for it."""
    url = OURS.urls["pixel"]
    for pixel in (OURS.pixel, html.escape(OURS.pixel), f"<IMG alt='' class=x src='{url}'/>", f"<img src={url}>"):
        assert found(f'<img src="a.png">{pixel}<img src="b.png">') == [("pixel", pixel)]
        assert found_in_text(f"a{pixel}b") == [("pixel", pixel)]
    for other in (f'<img src="https://evil.example/?u={url}">', f'<td background="{url}">', f"<p>{url}</p>", url):
        assert found(other) == found_in_text(other) == []


ORDINARY = [
    "To unsubscribe, click the link. 100% free, 50% off: unsubscribe_url",
    "https://example.com/unsubscribe?u=1&unsubscribe_url=%2Fx%20y%",
    "https://unsubscribe.example.com/ https://mailtrack.invalid/ unsubscribe.mailtrack.invalid",
    "https://unsubscribe.mailtrack.invalid/ https://preferences.mailtrack.invalid/",
    f"https://unsubscribe-{'a' * 26}.mailtrack.invalid/ https://unsubscribe-.mailtrack.invalid/",
    f"{UNSUBSCRIBE.rstrip('/')}.example.com/ {UNSUBSCRIBE.rstrip('/')}ity.example/",
    f"{UNSUBSCRIBE.replace('https', 'ftp')} {UNSUBSCRIBE.replace('//', '//x')}",
    "%%unsubscribe_url%% [[unsubscribe_url]] {{{{unsubscribe}}}} [[%UNSUB%]]",
    "{{ user.unsubscribe }} {{ unsubscribed }} {% unsubscribe %} {{ name }} {%url%} *|FNAME|* %recipient.name%",
    "<%asm_preferences_raw_url%> *|UPDATE_PROFILE|* [[UNSUB_LINK_E]] [[UNSUB_LINK_ENG]]",
    "xhttps://$UNSUB$ https://$UNSUB$$ https://$UNSUB $UNSUB$",
    "[unsubscribe](https://example.com/)",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Text that only looks similar is not touched."""
    assert found(text) == found_in_text(text) == []


@given(st.text())
def test_any_other_text_is_left_alone(text: str) -> None:
    """Text without a placeholder has none found in it."""
    assert found(text) == found_in_text(text) == []


def test_only_what_a_reader_can_follow_leads_out() -> None:
    """A link with something to click leads out of a list; what is hidden, or no link at all, does not."""

    def leads_out(body: str) -> bool:
        return any(slot.leads_out for slot in SLOTS.in_html(body, True))

    for url in (UNSUBSCRIBE, OURS.urls["preferences"], "*|UNSUB|*"):
        assert leads_out(f'<a href="{url}">x</a>')
        assert leads_out(f'<a href="{url}"><img src="x.png" alt=""></a>')
        assert leads_out(f'<map><area href="{url}"></map>')
        for hidden in (
            f'<!-- <a href="{url}">x</a> -->',
            f"<!-- {url} -->",
            f"<style>a {{ background: url({url}) }}</style>",
            f'<p style="background:url({url})">x</p>',
            f'<!--[if mso]><a href="{url}">x</a><![endif]-->',
            f'<a href="{url}"></a>',
            f'<a href="{url}"> &nbsp;<b></b></a>',
            f'<a href="{url}" style="display: none">x</a>',
            f'<a href="{url}" hidden>x</a>',
            f'<img src="{url}">',
            f'<link href="{url}">',
            f"<p>{url}</p>",
            f'<a href="https://example.com/" title="{url}">x</a>',
            f"<title>{url}</title>",
            f'<textarea><a href="{url}">x</a></textarea>',
            f'<a href="https://example.com/?u={url}">x</a>',
        ):
            assert not leads_out(hidden)
        assert any(slot.leads_out for slot in SLOTS.in_text(f"Leave: {url}", True))
    assert set(KINDS) - LEADS_OUT == {"optout"}
    assert not leads_out(f'<a href="{OURS.urls["optout"]}">x</a>')


def test_what_stays_is_named() -> None:
    """A placeholder that stays is told as its author wrote it, and one of ours without its key."""
    url = OURS.urls["preferences"]
    stays = {slot.said for slot in SLOTS.in_html(f'<a href="https://x.test/?u={url}">x</a> *|UNSUB|*', False)}
    assert stays == {"[preferences]", "*|UNSUB|*"}
    assert SLOTS.in_text("see [unsubscribe](https://example.com/)", True) == [Slot(4, 17, "")]
    (slot,) = Slots(OURS, False, str).in_text(f"*|UNSUB|* {UNSUBSCRIBE}", True)
    assert slot.name == "unsubscribe"


@pytest.mark.parametrize(
    "piece",
    [
        "<img ",
        "&lt;img ",
        "<img https://pixel-",
        "<img src=https://pixel-",
        "&lt;img src=",
        "https://",
        "<a href=",
        "{{ ",
        "{{" + " " * 99,
        "%20",
        "{{%20",
        "unsub ",
        "[unsubscribe]",
        "&#x5b;",
    ],
)
def test_looking_is_cheap(piece: str) -> None:
    """A body of 200 KB made to be slow is searched in a moment."""
    text = f"unsub {piece * (200_000 // len(piece))}"
    start = time.process_time()
    found(text)
    found_in_text(text)
    assert time.process_time() - start < 6
