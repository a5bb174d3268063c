"""The plain-text part gets its placeholders filled and its footer, and is otherwise the author's."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.placeholders import ALL, OWN, PIXEL, PREFERENCES, UNSUBSCRIBE
from flask_mailtrack.outgoing.text import fill_in, slots_in, with_footer

FILL = {
    "unsubscribe": "https://a.example/u/x",
    "foreign": "https://a.example/u/x",
    "preferences": "https://a.example/p/x",
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Hello", "Hello"),
        (f"Leave: {UNSUBSCRIBE}\n", "Leave: https://a.example/u/x\n"),
        (f"{UNSUBSCRIBE} {PREFERENCES}", "https://a.example/u/x https://a.example/p/x"),
        ("Leave: %unsubscribe_url%", "Leave: https://a.example/u/x"),
        (f"a{PIXEL}b", "ab"),
        ("https://example.com/?a=1", "https://example.com/?a=1"),
        ("  two  spaces \r\n-- \r\nAda\r\n\r\n", "  two  spaces \r\n-- \r\nAda\r\n\r\n"),
        ("", ""),
    ],
)
def test_placeholders_are_filled(body: str, expected: str) -> None:
    """Every placeholder becomes the recipient's own link, a pixel nothing, and links stay the author's."""
    assert fill_in(body, ALL, FILL) == expected


def test_placeholders_of_others_can_be_left() -> None:
    """Where those of other services are not resolved they stay as they are."""
    assert fill_in("%unsubscribe_url%", OWN, FILL) == "%unsubscribe_url%"


@pytest.mark.parametrize("body", ["Hello", "Hello\n", "Hello \r\n\r\n"])
def test_the_footer_stands_alone(body: str) -> None:
    """The footer follows after one blank line, however the text ends."""
    assert with_footer(body, "Leave: x\n") == "Hello\n\nLeave: x\n"


def test_a_filled_link_is_not_searched_again() -> None:
    """What is put in may look like anything, also like a placeholder or a group of a pattern."""
    assert (
        fill_in("%unsubscribe_url%", ALL, {"foreign": r"\1 \g<0> %unsubscribe_url%"}) == r"\1 \g<0> %unsubscribe_url%"
    )


def test_slots_are_named() -> None:
    """The names of what a text asks for are known before it is filled."""
    assert slots_in(f"{UNSUBSCRIBE} %unsubscribe_url% {UNSUBSCRIBE}", ALL) == {"unsubscribe", "foreign"}
    assert slots_in("Hello", ALL) == frozenset()


@given(before=st.text(), after=st.text())
def test_the_rest_is_untouched(before: str, after: str) -> None:
    """Whatever stands around a placeholder comes out as it went in."""
    assume(not ALL.search(before) and not ALL.search(after))  # words of our own source are drawn too
    assert fill_in(f"{before} {UNSUBSCRIBE} {after}", ALL, FILL) == f"{before} https://a.example/u/x {after}"
