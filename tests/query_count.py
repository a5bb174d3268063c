"""The queries that a page asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from conftest import Site

MOST = 8
"""Of a page of the console."""


@contextmanager
def queries(site: Site) -> Iterator[list[str]]:
    """Collect the statements that the database of a site gets, without those about the connection."""
    asked: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if not statement.startswith("PRAGMA"):
            asked.append(statement)

    engine = site.mailtrack._state_of(site.app).database.engine
    sa.event.listen(engine, "before_cursor_execute", hear)
    yield asked
    sa.event.remove(engine, "before_cursor_execute", hear)
