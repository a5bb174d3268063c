"""What people can ask for on the pages, and mail clients in their name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flask_mailtrack.events import EventType, Kind, Standing

from .hits import Choice

ASKED = "ask"
"""The state of a page on which nothing has been chosen yet; else it is the name of the button."""
BY_MACHINE = ("one_click", "post")
"""Methods of a mail client, which wants no page."""
REASONS = {
    "too_often": "Too many mails",
    "not_relevant": "Not relevant to me",
    "never_signed_up": "I never signed up",
    "wrong_person": "This is not my address",
    "other": "Another reason",
}
_ACTIONS = {
    "unsubscribe": (EventType.UNSUBSCRIBED, False),
    "undo": (EventType.SUBSCRIBED, False),
    "unsubscribe_all": (EventType.UNSUBSCRIBED, True),
    "undo_all": (EventType.SUBSCRIBED, True),
    "decline": (EventType.DECLINED, False),
    "accept": (EventType.ACCEPTED, False),
}


def chosen(kind: Kind, form: Mapping[str, str]) -> Choice | None:
    """Return what a POST asks for: one of the pages' buttons, or else what its URL is for.

    A mail client may post anything, or nothing, to an unsubscribe URL: the token is what counts. To a
    preferences URL nobody but the page posts, so what is no button there changes nothing.
    """
    action = form.get("action", "")
    if action in _ACTIONS:
        kind_of, everything = _ACTIONS[action]
        return Choice(kind_of, "page" if kind == Kind.UNSUBSCRIBE else "preferences", everything)
    if kind != Kind.UNSUBSCRIBE:
        return None
    if action == "reason":
        reason = form.get("reason", "")
        return Choice(
            EventType.UNSUBSCRIBED,
            "page",
            reason=reason if reason in REASONS else "other",
            comment=form.get("comment", ""),
        )
    return Choice(EventType.UNSUBSCRIBED, "one_click" if form.get("List-Unsubscribe") == "One-Click" else "post")


def after(standing: Standing, state: str) -> Standing:
    """Return what holds after a choice; the database may be a moment behind."""
    changed: dict[str, Any] = {
        "unsubscribe": {"unsubscribed": True},
        "reason": {"unsubscribed": True},
        "undo": {"unsubscribed": False},
        "unsubscribe_all": {"everything": True},
        "undo_all": {"everything": False},
        "decline": {"measured": False},
        "accept": {"measured": True},
    }.get(state, {})
    if not standing.list_id and "measured" not in changed:  # a mail of no list: leaving it is leaving everything
        changed = {name: out for out in changed.values() for name in ("unsubscribed", "everything")}
    return dataclasses.replace(standing, **changed)
