"""What tracking changed in a body: each place, as its author wrote it and as it left.

Only values of links change, and only whole pieces are added. So both texts are cut into tags and the text between them,
and are walked side by side. The time grows with the length of the body.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from flask_mailtrack.outgoing.bodies import Change
from flask_mailtrack.outgoing.explanation import preview_of
from flask_mailtrack.phrases import Phrase, foreign
from flask_mailtrack.state import State

from .addresses import OwnAddresses
from .kept import KeptMail

log: logging.Logger = logging.getLogger("flask_mailtrack.mailbox")

_TAGS = re.compile(r"<[^<>]*>|[^<]+|<")
_WORDS = re.compile(r"\S+|\s+")
_TAG = re.compile(r"<\s*([a-z][a-z0-9]*)", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_AHEAD = 64
"""Pieces that are looked through for the place where both texts go on alike."""
_SHOWN = 2_000
_COMPARED = 2_000_000
"""Characters that are compared; to compare more takes seconds."""
_ALONE = {
    "opted_out": Phrase("The author said so."),
    "has_slot": Phrase("A placeholder stands inside the address, where it is not filled in."),
    "not_http": Phrase("It is no web address."),
    "placeholder": Phrase("A variable stands in it that somebody else fills in."),
    "too_long": Phrase("It is too long for a redirect."),
    "unsafe": Phrase("Programs disagree about where it leads."),
    "own_link": Phrase("It is a link of this app’s own."),
    "one_time": Phrase("It works once, and a redirect could spend it."),
    "looks_elsewhere": Phrase("Its text shows an address of another site, and mail programs would warn of a scam."),
}
"""Why a link is left alone, by the word of the preview."""
_NAMES = {
    "unsubscribe": "unsubscribe_url",
    "preferences": "preferences_url",
    "optout": "tracking_optout_url",
    "pixel": "tracking_pixel",
}
"""What an author writes for a placeholder."""

KINDS = {
    "o": Phrase("The open pixel: whoever loads it has opened the mail."),
    "c": Phrase("The link leads through the redirect, which records the click and sends its reader on."),
    "a": Phrase("The link leads through the redirect, by a path that a phone may open with your app."),
    "u": Phrase("This person’s own unsubscribe link."),
    "p": Phrase("This person’s own link to their preferences."),
    "h": Phrase("The honeypot: a hidden link that only machines follow."),
}
"""What is said of an added address, by the segment of its path."""
_ADDED = Phrase("Added, and not by a rule that the mailbox knows.")
_GONE = Phrase("Removed, and not by a rule that the mailbox knows.")
_MARKS = re.compile(r"\sdata-mailtrack[\w-]*(?:\s{0,9}=\s{0,9}(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))?", re.IGNORECASE)


class Difference(NamedTuple):
    """One changed place."""

    line: int
    """The line of the author's text, counted from 1."""
    head: str
    """What stands before the change, unchanged."""
    before: str
    after: str
    tail: str
    reasons: tuple[Phrase, ...]


def differences(written: str, sent: str, segment_of: Callable[[str], str], html: bool = True) -> tuple[Difference, ...]:
    """Return the changed places of a body, in order.

    :param segment_of: returns the segment of the path of an address of ours, such as ``c``; empty: of somebody else.
    :param html: whether the body is HTML, else text.
    """
    pieces = (_TAGS if html else _WORDS).findall
    ends = [match.start() for match in re.finditer("\n", written)]
    found, at = [], 0
    for before, after in _walk(pieces(written), pieces(sent)):
        if before != after:
            found.append(_difference(before, after, bisect_right(ends, at - 1) + 1, segment_of))
        at += len(before)
    return tuple(found)


def _walk(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of pieces that stand for each other; an empty one: the other was added, or removed."""
    i = j = 0
    while i < len(old) or j < len(new):
        if i < len(old) and j < len(new) and (old[i] == new[j] or _is_changed(old, new, i, j)):
            yield old[i], new[j]
            i, j = i + 1, j + 1
            continue
        added = _ahead(old[i] if i < len(old) else None, new, j)
        removed = _ahead(new[j] if j < len(new) else None, old, i)
        if not added and not removed:  # neither goes on alike soon
            added, removed = min(1, len(new) - j), min(1, len(old) - i)
        elif added and removed:
            added, removed = (added, 0) if added <= removed else (0, removed)
        yield "".join(old[i : i + removed]), "".join(new[j : j + added])
        i, j = i + removed, j + added


def _is_changed(old: Sequence[str], new: Sequence[str], i: int, j: int) -> bool:
    """Say whether a piece has another value, and all goes on alike behind it."""
    tags = _TAG.match(old[i]), _TAG.match(new[j])
    if tags[0] and tags[1] and tags[0][1].lower() != tags[1][1].lower():
        return False
    behind = old[i + 1 : i + 2], new[j + 1 : j + 2]
    return bool(tags[0]) == bool(tags[1]) and behind[0] == behind[1]


def _ahead(piece: str | None, among: Sequence[str], start: int) -> int:
    """Return how far ahead *piece* stands; the rest, if there is no piece; 0: not near."""
    if piece is None:
        return len(among) - start
    near = among[start + 1 : start + 1 + _AHEAD]
    return near.index(piece) + 1 if piece in near else 0


def _difference(before: str, after: str, line: int, segment_of: Callable[[str], str]) -> Difference:
    marks = [mark.strip() for mark in _MARKS.findall(before)] if after else []
    plain = _MARKS.sub("", before) if marks else before
    segments = [segment_of(url) for url in _URL.findall(after)]
    reasons = [KINDS[segment] for segment in dict.fromkeys(segments) if segment in KINDS]
    if marks:
        reasons.append(Phrase("Removed, as it has done its work: %(marks)s", marks=marks))
    head, old, new, tail = _cut(plain, after) if plain != after else ("", "", "", after)
    return Difference(
        line, head[-_SHOWN:], old[:_SHOWN], new[:_SHOWN], tail[:_SHOWN], tuple(reasons or [_ADDED if new else _GONE])
    )


def _cut(before: str, after: str) -> tuple[str, str, str, str]:
    """Return what both have at the start, what each has alone, and what both have at the end."""
    shorter = min(len(before), len(after))
    start = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    # An address is shown as a whole, although each begins alike.
    for match in _URL.finditer(before):
        if match.start() < start < match.end() or start == match.end():
            start = match.start()
    rest = shorter - start
    end = next((n for n in range(rest) if before[-1 - n] != after[-1 - n]), rest)
    while end and before[len(before) - end] not in "\"'<> \t\r\n":
        end -= 1
    stop = (len(before) - end, len(after) - end)
    return before[:start], before[start : stop[0]], after[start : stop[1]], before[stop[0] :]


def changed(state: State | None, mail: KeptMail, own: OwnAddresses) -> dict[str, Any]:
    """Return the changed places of both bodies, and the links that were left alone."""
    if state is None or mail.written is None:
        return {"changes": None}
    html, text = mail.written
    placeholders = state.office.preparer.bodies.placeholders
    found: dict[str, tuple[Difference, ...]] = {}
    for name, written, sent in (("HTML", html, mail.html), ("Text", text, mail.body)):
        if written and len(written) + len(sent) <= _COMPARED:
            before, after = (placeholders.shown(_normal(each), _spelled) for each in (written, sent))
            found[name] = differences(before, after, own.segment_of, html=name == "HTML")
    big = [name for name, written in (("HTML", html), ("Text", text)) if written and name not in found]
    return {"changes": found, "big": big, "alone": _left_alone(state, mail, own), "unhtml": html is None}


def _normal(text: str) -> str:
    """Return *text* with the line ends that mail has."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def _spelled(slot: str) -> str:
    """Return what an author writes for a placeholder."""
    return f"{{{{{_NAMES.get(slot, slot)}()}}}}"


def _left_alone(state: State, mail: KeptMail, own: OwnAddresses) -> list[tuple[Change, Phrase]]:
    """Return the links that lead where the author wrote, each with the reason as a sentence."""
    html = (mail.written[0] if mail.written else "") or ""
    if len(html) > _COMPARED:
        return []
    try:
        preview = preview_of(state.office.preparer, html, None, mail.label.sender)
    except Exception:
        log.exception("the mailbox does not say which links were left alone")
        return []
    # A placeholder that is a whole link has been filled in.
    alone = [each for each in preview.changes if each.reason and not own.segment_of(each.before)]
    return [(each, _ALONE.get(each.reason, foreign(each.reason))) for each in alone]
