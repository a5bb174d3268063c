"""Consent as it stands in a column of the host's own table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from flask_mailtrack.consent import Answer, ConsentColumn
from flask_mailtrack.privacy import normalise

_CHUNK = 10_000


TEMPORARY: tuple[type[Exception], ...] = (SQLAlchemyError,)
"""What will pass when the database is back."""


def answers(
    column: ConsentColumn, rows_on: Callable[[str | None], Callable[[Select[Any]], list[tuple[Any, ...]]]]
) -> Callable[[Collection[str], str], Mapping[str, Answer]]:
    """Return the function that looks people up.

    :param rows_on: returns what runs a query on a bind.
    """
    rows = rows_on(column.email.expression.table.metadata.info.get("bind_key"))

    def ask(addresses: Collection[str], purpose: str) -> dict[str, Answer]:
        wanted = list(addresses)
        found: dict[str, Answer] = {}
        for start in range(0, len(wanted), _CHUNK):
            lower = func.lower(column.email)
            query = select(column.email, column.consent).where(lower.in_(wanted[start : start + _CHUNK]))
            for email, value in rows(query):
                address, answer = normalise(str(email)), _answer(value)
                if found.get(address) != Answer.DENIED:
                    found[address] = answer
        return found

    return ask


def _answer(value: Any) -> Answer:
    if value is None or value == "":
        return Answer.UNKNOWN
    return Answer(value) if isinstance(value, str) else (Answer.GRANTED if value else Answer.DENIED)
