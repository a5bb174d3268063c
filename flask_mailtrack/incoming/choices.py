"""What people can ask for on the pages, and mail clients in their name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from werkzeug.datastructures import MultiDict

from flask_mailtrack.events import EVERYTHING, EventType, Kind, Standing

from .hits import OptOutRequest

ASKED = "ask"
"""The state of a page on which nothing has been chosen yet; else it is the name of the button."""
UNCHANGED = "unchanged"
"""The state of a page that was saved as it was."""
OWN = ""
"""The value of the box for the list of the message, where the configuration does not describe it."""
BY_MACHINE = ("one_click", "post")
"""Methods of a mail client, which wants no page."""
REASONS = {
    "too_often": "Too many mails",
    "not_relevant": "Not relevant to me",
    "never_signed_up": "I never signed up",
    "wrong_person": "This is not my address",
    "other": "Another reason",
}
_BUTTONS = {
    "unsubscribe": (EventType.UNSUBSCRIBED, OWN),
    "undo": (EventType.SUBSCRIBED, OWN),
    "unsubscribe_all": (EventType.UNSUBSCRIBED, EVERYTHING),
    "undo_all": (EventType.SUBSCRIBED, EVERYTHING),
    "decline": (EventType.DECLINED, OWN),
    "accept": (EventType.ACCEPTED, OWN),
}
MOST_SHOWN = 1_024
"""Ids of refusals that one form may name."""
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_METHODS = {Kind.UNSUBSCRIBE: "page", Kind.PREFERENCES: "preferences"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What one POST asks for."""

    state: str = ASKED
    """What the page that answers is about."""
    choices: tuple[OptOutRequest, ...] = ()
    strange: bool = False
    """Something was sent that this page does not offer; it was left out."""

    @property
    def by_machine(self) -> bool:
        """Whether a mail client asked, not a page."""
        return any(choice.method in BY_MACHINE for choice in self.choices)

    @property
    def lifting(self) -> bool:
        """Whether refusals are taken back."""
        return any(choice.lifting for choice in self.choices)

    def naming(self, lifts: Iterable[str]) -> Wish:
        """Return the same wish, in which what is taken back is taken back of the refusals *lifts* only."""
        named = tuple(sorted(set(lifts)))
        choices = (dataclasses.replace(each, lifts=named) if each.lifting else each for each in self.choices)
        return dataclasses.replace(self, choices=tuple(choices))


def shown_on(form: MultiDict[str, str]) -> list[str] | None:
    """Return the ids of the refusals that the page of *form* showed; ``None`` if it does not say."""
    if "shown" not in form:
        return None
    return [name for name in form["shown"].split()[:MOST_SHOWN] if _ID.fullmatch(name)]


def wished(kind: Kind, form: MultiDict[str, str], lists: Collection[str]) -> Wish:
    """Return what a POST asks for: a button of the pages, or else what its URL is for.

    A mail client may post anything, or nothing, to an unsubscribe URL: the token is what counts. To a
    preferences URL nobody but the page posts, so what is no button there changes nothing.

    :param lists: the lists that the page offers.
    """
    action = form.get("action", "")
    method = _METHODS[kind]
    if action in _BUTTONS:
        event, list_id = _BUTTONS[action]
        return Wish(action, (OptOutRequest(event, method, list_id),))
    if kind == Kind.PREFERENCES:
        return _saved(form, lists) if action == "save" else Wish(strange=bool(form))
    if action == "reason":
        reason = form.get("reason", "")
        why = OptOutRequest(
            EventType.UNSUBSCRIBED,
            method,
            reason=reason if reason in REASONS else "other",
            comment=form.get("comment", ""),
        )
        return Wish(action, (why,))
    one_click = form.get("List-Unsubscribe") == "One-Click"
    return Wish("unsubscribe", (OptOutRequest(EventType.UNSUBSCRIBED, "one_click" if one_click else "post"),))


def _saved(form: MultiDict[str, str], lists: Collection[str]) -> Wish:
    """Return the difference between what the page showed and what came back.

    An empty box sends nothing, so the page names in ``on`` and ``off`` what it showed. The difference
    to that is what the person did; the database may be a moment behind, and is not asked.
    """
    on, off, ticked = (set(form.getlist(name)) for name in ("on", "off", "list"))
    offered = {OWN, *lists} - {EVERYTHING}
    choices = (*_changed(sorted(offered), on, off, ticked), *_measuring(form))
    strange = bool((on | off | ticked) - offered or ticked - on - off)
    return Wish("save" if choices else UNCHANGED, choices, strange)


def _changed(offered: Iterable[str], on: set[str], off: set[str], ticked: set[str]) -> Iterator[OptOutRequest]:
    method = _METHODS[Kind.PREFERENCES]
    for name in offered:
        if name in on and name not in ticked:
            yield OptOutRequest(EventType.UNSUBSCRIBED, method, name)
        elif name in off and name in ticked:
            yield OptOutRequest(EventType.SUBSCRIBED, method, name)


def _measuring(form: MultiDict[str, str]) -> Iterator[OptOutRequest]:
    method = _METHODS[Kind.PREFERENCES]
    was, wanted = form.get("measured"), "measure" in form
    if was == "on" and not wanted:
        yield OptOutRequest(EventType.DECLINED, method)
    elif was == "off" and wanted:
        yield OptOutRequest(EventType.ACCEPTED, method)


def after(standing: Standing, choices: Iterable[OptOutRequest]) -> Standing:
    """Return what holds after the refusals among *choices*: they are on disk, whatever can be read of them.

    What takes a refusal back is believed only when it has been read that nothing stands.
    """
    for choice in choices:
        if choice.lifting:
            continue
        if choice.type == EventType.DECLINED:
            standing = dataclasses.replace(standing, measured=False)
            continue
        # A mail of no list: leaving it is leaving everything.
        about = {"" if choice.list_id == EVERYTHING else choice.list_id or standing.list_id}
        standing = dataclasses.replace(standing, left=standing.left | about)
    return standing


def doubtful(standing: Standing, choices: Iterable[OptOutRequest]) -> bool:
    """Say whether something that *choices* take back may still stand, as it has been read."""
    for choice in filter(lambda choice: choice.lifting, choices):
        if not standing.sure:
            return True
        about = "" if choice.list_id == EVERYTHING else choice.list_id or standing.list_id
        if not standing.measured if choice.type == EventType.ACCEPTED else standing.left & {about, ""}:
            return True
    return False
