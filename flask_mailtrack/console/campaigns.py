"""Campaigns of the console."""

from __future__ import annotations

from typing import Any

from flask.typing import ResponseReturnValue

from .desk import Desk
from .route import Route


def campaigns(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Campaigns")


def campaign(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Campaign")


ROUTES = (
    Route("/campaigns", "campaigns", "view", campaigns),
    Route("/campaign", "campaign", "view", campaign),
)
