"""The plain-text part gets its placeholders filled and its footer, and is otherwise the author's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.placeholders import Placeholders, Slots
from flask_mailtrack.outgoing.text import AsWritten, with_footer

PLACEHOLDERS = Placeholders(lambda word: ["a" * 26])
UNSUBSCRIBE, PREFERENCES = PLACEHOLDERS.urls["unsubscribe"], PLACEHOLDERS.urls["preferences"]
SLOTS = Slots(PLACEHOLDERS, True, str)
FILL = {
    "unsubscribe": "https://a.example/u/x",
    "foreign": "https://a.example/u/x",
    "preferences": "https://a.example/p/x",
}


def filled(body: str, *, foreign: bool = True) -> str:
    """Return the text of one recipient."""
    return AsWritten(body, SLOTS.in_text(body, foreign)).render(None, FILL)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Hello", "Hello"),
        (f"Leave: {UNSUBSCRIBE}\n", "Leave: https://a.example/u/x\n"),
        (f"{UNSUBSCRIBE} {PREFERENCES}", "https://a.example/u/x https://a.example/p/x"),
        ("Leave: %unsubscribe_url%", "Leave: https://a.example/u/x"),
        (f"a{PLACEHOLDERS.pixel}b", "ab"),
        ("https://example.com/?a=1", "https://example.com/?a=1"),
        ("  two  spaces \r\n-- \r\nAda\r\n\r\n", "  two  spaces \r\n-- \r\nAda\r\n\r\n"),
        ("", ""),
    ],
)
def test_placeholders_are_filled(body: str, expected: str) -> None:
    """Every placeholder becomes the recipient's own link, a pixel nothing, and links stay the author's."""
    assert filled(body) == expected


def test_placeholders_of_others_can_be_left() -> None:
    """Where those of other services are not resolved they stay as they are."""
    assert filled("%unsubscribe_url%", foreign=False) == "%unsubscribe_url%"


@pytest.mark.parametrize("body", ["Hello", "Hello\n", "Hello \r\n\r\n"])
def test_the_footer_stands_alone(body: str) -> None:
    """The footer follows after one blank line, however the text ends."""
    assert with_footer(body, "Leave: x\n") == "Hello\n\nLeave: x\n"


def test_a_filled_link_is_not_searched_again() -> None:
    """What is put in may look like anything, also like a placeholder or a group of a pattern."""
    body = AsWritten("%unsubscribe_url%", SLOTS.in_text("%unsubscribe_url%", True))
    assert body.render(None, {"foreign": r"\1 \g<0> %unsubscribe_url%"}) == r"\1 \g<0> %unsubscribe_url%"


@given(before=st.text(), after=st.text())
def test_the_rest_is_untouched(before: str, after: str) -> None:
    """Whatever stands around a placeholder comes out as it went in."""
    assert filled(f"{before} {UNSUBSCRIBE} {after}") == f"{before} https://a.example/u/x {after}"
