"""What needs attention, remembered for a minute: to find it, a year of mail is compared."""

from __future__ import annotations

from time import monotonic

from flask import current_app

from flask_mailtrack.reporting.attention import Concern

from .desk import Desk

SECONDS = 60
_MOST = 50
"""Periods, senders and tenants that are remembered."""
_KEY = "mailtrack_console_concerns"

_Remembered = dict[object, tuple[float, tuple[Concern, ...]]]


def concerns_of(desk: Desk) -> tuple[Concern, ...]:
    """Return what needs attention in the period, the worst first, as it was at most a minute ago.

    Under ``TESTING`` nothing is remembered.
    """
    about = desk.reports.selection(desk.look.sent)  # with the scope of the viewer
    known: _Remembered = current_app.extensions.setdefault(_KEY, {})
    at, found = known.get(about, (0.0, ()))
    if current_app.testing or about not in known or monotonic() - at > SECONDS:
        found = desk.reports.attention(about)
        if len(known) >= _MOST:
            known.clear()
        known[about] = monotonic(), found
    return found
