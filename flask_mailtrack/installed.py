"""How the methods of :class:`~flask_mailtrack.Mailtrack` find the state of their app."""

from __future__ import annotations

from flask import Flask, current_app

from .errors import NotInitialised
from .state import State, state_of

KEY = "mailtrack"
"""Key in ``app.extensions`` of the object that has set up the app."""


class Installed:
    """An object that is installed in apps, of which each has a state."""

    def _state(self) -> State:
        """Return the state of the current app.

        :raises NotInitialised: it has not been set up.
        """
        return self._state_of(current_app._get_current_object())  # type: ignore[attr-defined]

    def _state_of(self, app: Flask) -> State:
        """Return the state of *app*, or raise ``NotInitialised``."""
        if app.extensions.get(KEY) is not self:
            raise NotInitialised.of(app)
        return state_of(app)
