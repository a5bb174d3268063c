"""Domains of the console."""

from __future__ import annotations

from typing import Any

from flask.typing import ResponseReturnValue

from .desk import Desk
from .route import Route


def domains(desk: Desk, **values: Any) -> ResponseReturnValue:
    """Show the page."""
    return desk.page("coming.html", title="Domains")


ROUTES = (Route("/domains", "domains", "view", domains),)
