"""Messages of the console."""

from __future__ import annotations

from typing import Any

from flask.typing import ResponseReturnValue

from .desk import Desk
from .route import Route


def messages(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Messages")


def message(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Message")


ROUTES = (
    Route("/messages", "messages", "view", messages),
    Route("/messages/<uuid:key>", "message", "view", message),
)
