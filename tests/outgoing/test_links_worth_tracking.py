"""Which links are left alone, and why."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import BASE_URL, PREFERENCES, UNSUBSCRIBE, MakeSite, Site

from flask_mailtrack import signals
from flask_mailtrack.config import load
from flask_mailtrack.destination import MAX_LENGTH, MAX_LOCATION, refusal
from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.links import Policy
from flask_mailtrack.outgoing.rewriting import rewrite
from flask_mailtrack.syntax import _remembered_url, browser_url


def policy(**config: object) -> Policy:
    keys = {"SECRET_KEY": "k" * 40, "MAILTRACK_BASE_URL": BASE_URL} | {f"MAILTRACK_{k}": v for k, v in config.items()}
    return Policy(load(keys, instance_path="instance", testing=False))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.com/article", None),
        ("https://example.com/account/reset/9f86d081884c7d659a2f", "one_time"),
        ("https://example.com/verify?token=1", "one_time"),
        ("https://example.com/users/confirm", None),
        ("https://example.com/magic-link/1", "one_time"),
        ("https://example.com/sign-in", None),
        ("https://example.com/?action=activate&key=3", "one_time"),
        ("https://example.com/%recipient.id%", "placeholder"),
        ("https://example.com/?e=%DATE%", "placeholder"),
        ("https://example.com/?e={$email}", "placeholder"),
        ("https://example.com/?e={!email}", "placeholder"),
        ("https://example.com/%ad%20%E2%82%AC%20", None),
        ("https://example.com/a%zz", None),
        ("https://example.com/blog/how-to-confirmation-bias", None),
        ("https://example.com/magical-places", None),
        (f"{BASE_URL}/m/c/abc", "own_link"),
        ("https://LINKS.example.com/m/u/abc", "own_link"),
        (f"{BASE_URL}/other", None),
        ("mailto:a@example.com", "not_http"),
        ("https+notrack://example.com/", "opted_out"),
        ("HTTP+notrack://example.com/", "opted_out"),
    ],
)
def test_which_urls_are_left_alone(url: str, reason: str | None) -> None:
    """Links that work once, our own, and what is no web address stay as the author wrote them."""
    assert policy().refuse(url) == reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.com/".ljust(MAX_LOCATION, "a"), None),
        ("https://example.com/".ljust(MAX_LOCATION + 1, "a"), "too_long"),
        ("https://example.com/" + "é" * 580, None),
        ("https://example.com/" + "é" * 581, "too_long"),  # an answer writes each as %C3%A9
    ],
)
def test_a_url_that_no_answer_can_carry_is_left_alone(url: str, reason: str | None) -> None:
    """A proxy as it comes takes 4 KB of headers of an answer, so a longer link of ours would lead nowhere."""
    assert policy().refuse(url) == reason
    assert refusal(url) is None


def test_only_what_may_be_a_destination_is_remembered() -> None:
    """Large addresses, such as a picture written into a link, do not fill the memory of the host."""
    judge = policy()
    for url in ("https://example.com/", "https://example.com/" + "a" * MAX_LENGTH, "data:" + "a" * MAX_LENGTH):
        assert judge.refuse(url) == judge.refuse(url) == refusal(url)
    assert judge.refuse("https://example.com/".ljust(2_000, "a")) is None
    assert judge._remembered.cache_info().currsize == 1
    before = _remembered_url.cache_info().misses
    assert browser_url("data:" + "b" * 2_000) == "data:" + "b" * 2_000
    assert _remembered_url.cache_info().misses == before


def test_the_pattern_of_one_time_links_is_the_hosts_to_choose() -> None:
    """A host names its own one-time links, or switches the rule off."""
    assert policy(SKIP_LINKS="/t/").refuse("https://example.com/t/1") == "one_time"
    assert policy(SKIP_LINKS="").refuse("https://example.com/reset/1") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://shop.example/offer", "looks_elsewhere"),
        (" HTTP://shop.example ", "looks_elsewhere"),
        ("https://shop.example - our shop", "looks_elsewhere"),
        ("https://shop.example.com/", "looks_elsewhere"),
        ("https://notexample.com/", "looks_elsewhere"),
        ("https://com", "looks_elsewhere"),
        ("https://", "looks_elsewhere"),
        ("www.shop.example", None),
        ("shop.example", None),
        ("shop.example/offer", None),
        ("https://links.example.com/x", None),
        ("https://example.com", None),
        ("http://EXAMPLE.com./news", None),
        ("https://www.example.com/", None),
        ("Node.js", None),
        ("Read on", None),
        ("See https://shop.example for more", None),
        ("", None),
    ],
)
def test_a_link_that_would_look_like_a_scam_is_left_alone(text: str, reason: str | None) -> None:
    """Where the text begins with the scheme of another site, the link leads there and not through us."""
    assert policy().refuse_text("https://shop.example/offer", text) == reason
    assert policy(SCAM_GUARD=False).refuse_text("https://shop.example/offer", text) is None


def test_a_shown_address_stays_and_a_named_link_is_tracked(site: Site) -> None:
    """In one mail, the address in plain sight keeps its href while the button beside it is tracked."""
    url = "https://shop.example/offer"
    sent = site.send(f'<a href="{url}">{url}</a> <a href="{url}">Our offer</a>')
    assert f'<a href="{url}">{url}</a>' in sent.html
    assert re.search(r'<a href="https://links\.example\.com/m/c/[^"]+">Our offer</a>', sent.html)


def test_the_guard_asks_for_the_host_of_this_mail(make_site: MakeSite) -> None:
    """With a tracking host for each sender's domain, an address of the other one's site is left alone."""
    site = make_site(MAILTRACK_SENDER_DOMAINS={"shop.example": {"base_url": "https://l.shop.example"}})
    html = '<a href="https://example.com/">https://example.com</a> <a href="https://shop.example/">https://shop.example</a>'
    assert site.send(html).html.count('<a href="https://shop.example/">') == 1
    assert site.send(html, sender="a@shop.example").html.count('<a href="https://example.com/">') == 1
    assert site.send(html, sender="a@shop.example").html.count('<a href="https://l.shop.example/m/c/') == 1


def test_links_of_a_host_that_we_had_before_are_not_tracked_again(make_site: MakeSite) -> None:
    """A mail that quotes an older one keeps its links, our unsubscribe links above all, wherever they lead."""
    before = make_site(MAILTRACK_BASE_URL="https://old.example", MAILTRACK_URL_PREFIX="/t")
    quoted = before.send('<a href="https://example.com/">x</a><a href="https://unsubscribe.mailtrack.invalid/">u</a>')
    links = re.findall(r'href="(https://old\.example[^"]*)"', quoted.html)
    assert len(links) == 2
    for link in links:
        assert f'"{link}"' in make_site().send(f'<a href="{link}">y</a>').html
        forged = link.replace("/t/c/", "/t/u/")[:40] + link[40:].swapcase()
        assert (f'"{forged}"' in make_site().send(f'<a href="{forged}">y</a>').html) is ("/u/" in link)


def test_transactional_mail_keeps_its_links(site: Site) -> None:
    """A password reset is counted as opened, but its links are the author's and nothing can be unsubscribed."""
    html = '<a href="https://example.com/x">x</a>'
    with site.mailtrack.options(list_id="news"):
        sent = site.send(html, transactional=True)
    assert html in sent.html
    assert "/m/o/" in sent.html
    assert not sent.extra_headers


@pytest.mark.parametrize(("place", "count"), [("bottom", 1), ("top", 1), ("both", 2)])
def test_the_pixel_stands_where_it_is_asked_to(make_site: MakeSite, place: str, count: int) -> None:
    """The pixel is at the bottom, the top or both; the events it makes are the same."""
    sent = make_site(MAILTRACK_PIXEL=place).send("<html><body><p>Hello</p></body></html>")
    pixel = r'<img src="https://links\.example\.com/m/o/[a-z2-7]{68}\.gif" width="1" height="1" alt=""[^>]*>'
    assert len(re.findall(pixel, sent.html)) == count
    assert bool(re.search(f"<body>{pixel}", sent.html)) is (place != "bottom")
    assert bool(re.search(f"{pixel}</body>", sent.html)) is (place != "top")


def test_a_body_without_a_beginning_has_its_pixel_at_the_end(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the judge accepts no place at the top, the mail is tracked all the same, with the pixel below."""
    compile_ = rewrite.compile

    def picky(html: str, *, start: bool = False, **options: Any) -> rewrite.Template:
        if start:
            raise RewriteError("unverified")
        return compile_(html, **options)

    monkeypatch.setattr(rewrite, "compile", picky)
    sent = make_site(MAILTRACK_PIXEL="top").send('<p>Hello</p><a href="https://example.com/">x</a>')
    assert sent.html.count("/m/o/") == sent.html.count("/m/c/") == 1


def test_a_pixel_that_the_author_placed_is_the_only_one(make_site: MakeSite) -> None:
    """Where tracking_pixel() stands in a template, there the pixel is, once, whatever the setting says."""
    site = make_site(MAILTRACK_PIXEL="both")
    sent = site.send(site.app.jinja_env.from_string("<p>a</p>{{ tracking_pixel() }}<p>b</p>").render())
    assert sent.html.count("/m/o/") == 1
    assert sent.html.index("<p>a</p>") < sent.html.index("/m/o/") < sent.html.index("<p>b</p>")


def test_text_links_are_tracked_when_asked(make_site: MakeSite) -> None:
    """With MAILTRACK_TEXT_CLICKS the plain-text part has tracked links, and the row says which part it was."""
    body = "See https://example.com/a, or <https://example.com/b>.\n"
    assert make_site().send(None, body=body).body == body
    site = make_site(MAILTRACK_TEXT_CLICKS=True)
    sent = site.send(None, body=body)
    first, second = re.findall(r"https://links\.example\.com(/m/c/[a-z2-7/A-Z0-9_-]+)", sent.body)
    assert site.client.get(first).location == "https://example.com/a"
    assert site.client.get(second).location == "https://example.com/b"
    assert {event.part for event in site.rows("Event")} == {"text"}
    assert re.sub(r"https://links\S+?(?=[,>])", "URL", sent.body) == "See URL, or <URL>.\n"


def test_utm_comes_from_account_message_and_link(make_site: MakeSite) -> None:
    """A link gets the utm parameters of the account, of the message over them, and a link's own alone."""
    site = make_site(MAILTRACK_UTM={"source": "mail", "medium": "email"})
    sent = site.send(
        '<a href="https://example.com/#top">a</a><a href="https://example.com/?utm_source=x" '
        'data-mailtrack-utm="content=hero">b</a>',
        utm={"source": "spring"},
    )
    assert "data-mailtrack" not in sent.html
    first, second = re.findall(r"https://links\.example\.com(/m/c/[^\"]+)", sent.html)
    assert site.client.get(first).location == "https://example.com/?utm_medium=email&utm_source=spring#top"
    assert site.client.get(second).location == "https://example.com/?utm_source=x&utm_content=hero"


def test_a_link_may_ask_for_no_utm_and_for_its_name(make_site: MakeSite) -> None:
    """An empty data-mailtrack-utm means none, {name} is the link's name, and a signed URL stays as it was signed."""
    site = make_site(MAILTRACK_UTM={"content": "{name}"})
    sent = site.send(
        '<a href="https://example.com/1">Read on</a><a href="https://example.com/2" data-mailtrack-name="hero">x</a>'
        '<a href="https://example.com/3" data-mailtrack-utm="">y</a>'
        '<a href="https://example.com/4" data-mailtrack-utm>z</a>'
        '<a href="https://example.com/5?X-Amz-Signature=a">s</a><a href="https://example.com/6"></a>'
    )
    paths = re.findall(r"https://links\.example\.com(/m/c/[^\"]+)", sent.html)
    assert [site.client.get(path).location for path in paths] == [
        "https://example.com/1?utm_content=Read%20on",
        "https://example.com/2?utm_content=hero",
        "https://example.com/3",
        "https://example.com/4",
        "https://example.com/5?X-Amz-Signature=a",
        "https://example.com/6",
    ]


@pytest.mark.parametrize(
    ("charset", "location"),
    [
        (None, "https://example.com/%C3%BC?q=M%C3%BCnchen%20%E2%82%AC#%C3%BC"),
        ("utf-8", "https://example.com/%C3%BC?q=M%C3%BCnchen%20%E2%82%AC#%C3%BC"),
        ("iso-8859-1", "https://example.com/%C3%BC?q=M%FCnchen%20%80#%C3%BC"),
        ("iso-8859-15", "https://example.com/%C3%BC?q=M%FCnchen%20%A4#%C3%BC"),
    ],
)
def test_a_query_leads_where_a_browser_would_go(site: Site, charset: str | None, location: str) -> None:
    """Browsers write a query in the charset of the mail, and path and fragment in UTF-8: so does the redirect."""
    html = '<a href="https://example.com/ü?q=München%20&euro;#ü">x</a>'
    path = re.findall(r"https://links\.example\.com(/m/c/[^\"]+)", site.send(html, charset=charset).html)[0]
    assert site.client.get(path).location == location


@pytest.mark.parametrize("html", ["<p>{}</p><select><option>x", "<p>{}</p><svg><text>x", "<p>{}</p><math><mi>y"])
def test_links_are_tracked_where_no_pixel_can_be(site: Site, html: str) -> None:
    """A mail that ends where no image is shown has tracked links and no pixel, and the row says so."""
    written = html.format('<a href="https://example.com/">x</a>')
    sent = site.send(written).html
    assert re.sub(r"https://links[^\"]*/m/c/[^\"]*", "https://example.com/", sent) == written
    (row,) = site.rows("Message")
    assert (row.tracks_opens, row.tracks_clicks, row.error) == (False, True, "")


@pytest.mark.parametrize(
    ("html", "place"),
    [
        ('<body><p>a</p><a href="https://example.com/">x<p>y</p></body>', "<body>|<p>a"),
        ('<p>a</p><a href="https://example.com/">x<p>y</p>', "|<p>a"),
        ('<body><table><tr><td><a href="https://example.com/">x</table><p>y</p></body>', "y</p>|</body>"),
        ("<body><a name=top>x<p>y</p></body>", "y</p>|</body>"),
        ('<body><a href="https://example.com/">x</a><p>y</p></body>', "y</p>|</body>"),
    ],
)
def test_the_pixel_is_never_inside_a_link_that_was_not_closed(site: Site, html: str, place: str) -> None:
    """Where the author forgot to close a link, the pixel stands at the start, and else at the end as always."""
    sent = re.sub(r"<img [^>]*/m/o/[^>]*>", "|", site.send(html).html)
    assert sent.count("|") == 1
    assert place in sent


def test_html_that_gmail_would_cut_is_warned_of(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Over 102 KB Gmail hides the end of a mail, and the pixel with it: a signal and the log say so."""
    told: list[str] = []

    def receiver(app: object, *, reason: str, error: Exception) -> None:
        told.append(reason)

    with signals.tracking_failed.connected_to(receiver):
        assert "/m/o/" in site.send(f"<p>{'x ' * 60_000}</p>").html
        site.send("<p>short</p>")
    assert told == ["clipped"]
    assert "Gmail" in caplog.text


@pytest.mark.parametrize("kind", ["SIGNED MESSAGE", "MESSAGE"])
def test_a_signed_or_encrypted_text_is_not_touched(make_site: MakeSite, kind: str) -> None:
    """A text under PGP goes out byte for byte: a tracked link or a footer would break its seal."""
    body = f"-----BEGIN PGP {kind}-----\nHash: SHA256\n\nhttps://example.com/ {UNSUBSCRIBE}\n"
    assert make_site(MAILTRACK_TEXT_CLICKS=True).send(None, body=body, list_id="news").body == body


def test_who_declines_gets_the_mail_as_it_was_written(site: Site) -> None:
    """A mail to somebody who does not want to be measured is the author's, to the last ampersand."""
    html = "<p><a href='https://example.com/?a=1&amp;b=2'>x</a> <a href=https://example.com/c>y</a></p>"
    sent = site.send(f'<a href="{PREFERENCES}">choices</a>')
    path = sent.html.split('href="https://links.example.com')[1].split('"')[0]
    site.client.post(path, data={"action": "decline"})
    assert site.send(html).html == html.replace("=https://example.com/c>", '="https://example.com/c">')
    assert "/m/c/" in site.send(html, to="bob@example.com").html
