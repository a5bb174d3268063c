"""What tracking changed, found by comparing what was written with what was sent."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.mailbox.addresses import OwnAddresses
from flask_mailtrack.mailbox.differences import differences

OWN = OwnAddresses(["https://l.example"], ["/m"])
PIXEL = '<img src="https://l.example/m/o/abc.gif">'


def told(written: str, sent: str, html: bool = True) -> list[tuple[int, str, str]]:
    return [(each.line, each.before, each.after) for each in differences(written, sent, OWN.segment_of, html)]


def test_each_changed_place_stands_by_itself() -> None:
    """A link, a pixel before a picture of the author's, and a removed mark are told apart, each with its line."""
    written = '<p>a</p>\n<a href="https://e.com/x">x</a>\n<a data-mailtrack=off href="#">t</a><img src="p.png"></body>'
    tracked = "https://l.example/m/c/abc/def"
    sent = f'<p>a</p>\n<a href="{tracked}">x</a>\n<a href="#">t</a>{PIXEL}<img src="p.png"></body>'
    found = differences(written, sent, OWN.segment_of)
    assert [(each.line, each.before, each.after) for each in found] == [
        (2, "https://e.com/x", tracked),
        (3, "", ""),
        (3, "", PIXEL),
    ]
    assert [each.reasons[0].partition(":")[0] for each in found] == [
        "The link leads through the redirect, which records the click and sends its reader on.",
        "Removed, as it has done its work",
        "The open pixel",
    ]


def test_texts_are_compared_by_words() -> None:
    """In text an address is one word, and a footer one addition."""
    written, sent = "Hi\nRead https://e.com/x now", "Hi\nRead https://l.example/m/c/a/b now\n\n-- \nBye"
    assert told(written, sent, html=False) == [
        (2, "https://e.com/x", "https://l.example/m/c/a/b"),
        (2, "", "\n\n-- \nBye"),
    ]


def test_an_unchanged_body_has_no_changed_place() -> None:
    """What was sent as it was written is said to be so."""
    assert told("<p>a<b>c", "<p>a<b>c") == []


PIECES = st.lists(st.sampled_from(["<a>", "</a>", "<p>", "x", " ", "\n", "<", ">", '"', PIXEL]), max_size=30).map(
    "".join
)


@given(PIECES, PIECES)
def test_nothing_is_left_out(written: str, sent: str) -> None:
    """Whatever the two are, they differ if and only if a place is shown, and each piece shown is theirs."""
    found = differences(written, sent, OWN.segment_of)
    assert bool(found) == (written != sent)
    for each in found:
        assert each.before in written
        assert each.after in sent
        assert 1 <= each.line <= written.count("\n") + 1


def test_a_long_body_takes_no_longer_than_its_length() -> None:
    """Ten times the body takes about ten times as long, also where nothing is alike."""
    took = []
    for length in (2_000, 20_000):
        written, sent = "<a href=1>x</a>" * length, "<b>y</b>" * length
        start = time.process_time()
        differences(written, sent, OWN.segment_of)
        took.append(time.process_time() - start)
    assert took[1] < 40 * max(took[0], 0.01)
