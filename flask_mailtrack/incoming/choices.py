"""The choices that people make on the pages, and that mail clients make in their name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from werkzeug.datastructures import MultiDict

from flask_mailtrack.events import EVERYTHING, REASONS, EventType, Kind, Standing

from .hits import OptOutRequest

ASKED = "ask"
"""The state of a page without a choice. After a choice, the state is the name of the button."""
UNCHANGED = "unchanged"
"""The state of a page that was saved without a change."""
OWN = ""
"""The value of the box for the list of the message, if the configuration does not describe that list."""
BY_MACHINE = ("one_click", "post")
"""The methods of mail clients, which want no page."""
_BUTTONS = {
    "unsubscribe": (EventType.UNSUBSCRIBED, OWN),
    "undo": (EventType.SUBSCRIBED, OWN),
    "unsubscribe_all": (EventType.UNSUBSCRIBED, EVERYTHING),
    "undo_all": (EventType.SUBSCRIBED, EVERYTHING),
    "decline": (EventType.DECLINED, OWN),
    "accept": (EventType.ACCEPTED, OWN),
}
MOST_SHOWN = 1_024
"""The most ids of refusals in one form."""
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_METHODS = {Kind.UNSUBSCRIBE: "page", Kind.PREFERENCES: "preferences"}


@dataclass(frozen=True, slots=True)
class Wish:
    """The request of one POST."""

    state: str = ASKED
    """The state of the page that answers."""
    choices: tuple[OptOutRequest, ...] = ()
    strange: bool = False
    """The POST had a value that the page does not offer. The value was ignored."""

    @property
    def by_machine(self) -> bool:
        """Whether a mail client made the request, and not a page."""
        return any(choice.method in BY_MACHINE for choice in self.choices)

    @property
    def lifting(self) -> bool:
        """Whether the request lifts refusals."""
        return any(choice.lifting for choice in self.choices)

    def naming(self, lifts: Iterable[str]) -> Wish:
        """Return the same wish, limited to lifting the refusals *lifts*."""
        named = tuple(sorted(set(lifts)))
        choices = (dataclasses.replace(each, lifts=named) if each.lifting else each for each in self.choices)
        return dataclasses.replace(self, choices=tuple(choices))


def shown_on(form: MultiDict[str, str]) -> list[str] | None:
    """Return the ids of the refusals on the page of *form*; ``None`` if the form does not name them."""
    if "shown" not in form:
        return None
    return [name for name in form["shown"].split()[:MOST_SHOWN] if _ID.fullmatch(name)]


def wished(kind: Kind, form: MultiDict[str, str], lists: Collection[str]) -> Wish:
    """Return the request of a POST: a button of the pages, or else the purpose of its URL.

    A mail client may post anything, or nothing, to an unsubscribe URL, because only the token counts. Only the
    page posts to a preferences URL, so a POST without a button changes nothing there.

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
    """Return the difference between the page and the form that came back.

    An empty box sends nothing, so the page names its boxes in ``on`` and ``off``. The difference shows the
    action of the person. The database is not asked, because it may be a moment behind.
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
    """Return the standing after *choices*. Refusals are on disk, even if they cannot be read yet.

    A lifted refusal is believed only if a query has shown that nothing stands.
    """
    for choice in choices:
        if choice.lifting:
            continue
        if choice.type == EventType.DECLINED:
            standing = dataclasses.replace(standing, measured=False)
            continue
        # The mail names no list, so to leave it is to leave everything.
        about = {"" if choice.list_id == EVERYTHING else choice.list_id or standing.list_id}
        standing = dataclasses.replace(standing, left=standing.left | about)
    return standing


def doubtful(standing: Standing, choices: Iterable[OptOutRequest]) -> bool:
    """Say whether a refusal that *choices* lift may still stand, by the last reading."""
    for choice in filter(lambda choice: choice.lifting, choices):
        if not standing.sure:
            return True
        about = "" if choice.list_id == EVERYTHING else choice.list_id or standing.list_id
        if not standing.measured if choice.type == EventType.ACCEPTED else standing.left & {about, ""}:
            return True
    return False
