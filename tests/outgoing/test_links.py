"""The addresses that go into a mail."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.destination import MAX_CARRIED, MAX_LOCATION, refusal
from flask_mailtrack.events import Kind
from flask_mailtrack.outgoing.links import PATHS, Links, with_utm
from flask_mailtrack.tokens import Signer

SIGNER = Signer(["a secret that is long enough for anybody"])
ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ROOT = "https://links.example.com/m"
REF = SIGNER.recipient_refs("ada@example.com")[0]
LINKS = Links(ROOT, SIGNER.message(ID), REF)
UTM = (("source", "news"),)


def test_the_paths_never_change() -> None:
    """Old mails hold these letters, so they are pinned."""
    assert {kind.value: letter for kind, letter in PATHS.items()} == {
        "open": "o",
        "click": "c",
        "unsubscribe": "u",
        "preferences": "p",
        "honeypot": "h",
        "online": "v",
    }


def test_each_address_has_its_token() -> None:
    """Unsubscribe, preferences and pixel lead to this copy, and the first two to its recipient."""
    for kind, url in ((Kind.UNSUBSCRIBE, LINKS.unsubscribe()), (Kind.PREFERENCES, LINKS.preferences())):
        token = SIGNER.read(kind, url.removeprefix(f"{ROOT}/{PATHS[kind]}/"))
        assert (token.message_id, token.ref) == (ID, REF)
    pixel = re.search(r'src="([^"]*)"', LINKS.pixel())
    assert pixel
    path = pixel[1].removeprefix(f"{ROOT}/o/")
    assert path.endswith(".gif")
    assert SIGNER.read(Kind.OPEN, path).message_id == ID


def test_the_pixel_is_silent() -> None:
    """The pixel has a size, an empty text and no look, so that neither eye nor ear meets it."""
    for part in ('width="1"', 'height="1"', 'alt=""', "display:block", "border:0"):
        assert part in LINKS.pixel()


def test_clicks_are_in_order() -> None:
    """Each link has its own tracked address, in the order of the links."""
    urls = [f"https://example.com/{n}" for n in range(3)]
    tracked = LINKS.clicks([SIGNER.stamp(n, url) for n, url in enumerate(urls)])
    read = [SIGNER.read_click(url.removeprefix(f"{ROOT}/c/")) for url in tracked]
    assert [(token.link, url) for token, url in read] == list(enumerate(urls))


def test_an_address_is_as_long_as_outlook_takes() -> None:
    """The longest destination, tracked, stays below 2,083 characters."""
    for url in ("https://x.com/" + "a" * (MAX_CARRIED - 14), "https://x.com/" + "é" * 293):
        assert refusal(url) is None
        (tracked,) = LINKS.clicks([SIGNER.stamp(0, url)])
        assert len(tracked) < 2_083
        assert SIGNER.read_click(tracked.removeprefix(f"{ROOT}/c/"))[1] == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://e.org", "https://e.org?utm_source=news"),
        ("https://e.org/", "https://e.org/?utm_source=news"),
        ("https://e.org/?", "https://e.org/?utm_source=news"),
        ("https://e.org/?a=1", "https://e.org/?a=1&utm_source=news"),
        ("https://e.org/?a=1&", "https://e.org/?a=1&utm_source=news"),
        ("https://e.org/#top", "https://e.org/?utm_source=news#top"),
        ("https://e.org/?a=1#top", "https://e.org/?a=1&utm_source=news#top"),
        ("https://e.org#top?b=2", "https://e.org?utm_source=news#top?b=2"),
        ("https://e.org/#", "https://e.org/?utm_source=news#"),
        ("https://e.org/?&", "https://e.org/?utm_source=news"),
        ("https://e.org/?foo=bar&baz[]=1&baz[]=2", "https://e.org/?foo=bar&baz[]=1&baz[]=2&utm_source=news"),
        ("https://e.org/?q=%20+%C3%A9;b&c", "https://e.org/?q=%20+%C3%A9;b&c&utm_source=news"),
        ("https://e.org/?u=https://x.y/?z=1", "https://e.org/?u=https://x.y/?z=1&utm_source=news"),
    ],
)
def test_parameters_go_before_the_fragment(url: str, expected: str) -> None:
    """Case 115: parameters join the query of any form of URL, and nothing else of it changes."""
    assert with_utm(url, UTM) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://e.org/?utm_source=own",
        "https://e.org/?a=1&UTM_Source=own#x",
        "https://e.org/?utm_source",
        "https://e.org/?utm_source=",
    ],
)
def test_the_authors_parameters_are_kept(url: str) -> None:
    """A link that has the parameter already keeps its own."""
    assert with_utm(url, UTM) == url
    assert with_utm(url, (("Source", "news"),)) == url


def test_only_what_is_missing_is_added() -> None:
    """Of several parameters those that a link has not are added, with values that need no trust."""
    utm = (("campaign", "Grüße & Küsse=1#?/+ %"), ("medium", ""), ("source", "news"))
    expected = "https://e.org/?utm_source=own&utm_campaign=Gr%C3%BC%C3%9Fe%20%26%20K%C3%BCsse%3D1%23%3F%2F%2B%20%25&utm_medium="
    assert with_utm("https://e.org/?utm_source=own", utm) == expected


def test_without_parameters_nothing_changes() -> None:
    """No parameters, no change."""
    assert with_utm("https://e.org/?&#", ()) == "https://e.org/?&#"


def test_a_link_is_never_made_too_long() -> None:
    """A link that the parameters would make too long to follow goes without them."""
    url = "https://e.org/" + "a" * (MAX_LOCATION - 20)
    assert with_utm(url, UTM) == url
    assert with_utm(url[:-20], UTM) == f"{url[:-20]}?utm_source=news"


@given(
    url=st.text(st.characters(codec="utf-8"), max_size=40).map("https://e.org".__add__),
    utm=st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.text(st.characters(codec="utf-8"))),
)
def test_a_destination_stays_one(url: str, utm: dict[str, str]) -> None:
    """Whatever the parameters are, a link that may be followed may still be followed."""
    if refusal(url) is None:
        longer = with_utm(url, tuple(utm.items()))
        assert refusal(longer) is None
        assert longer.partition("#")[2] == url.partition("#")[2]
        assert longer.startswith(url.partition("#")[0].rstrip("&"))
