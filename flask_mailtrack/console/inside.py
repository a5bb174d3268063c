"""Machines of the console."""

from __future__ import annotations

from typing import Any

from flask.typing import ResponseReturnValue

from .desk import Desk
from .route import Route


def machines(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Machines")


def health(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Health")


def live(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Live")


ROUTES = (
    Route("/machines", "machines", "view", machines),
    Route("/health", "health", "view", health),
    Route("/live", "live", "view", live),
)
