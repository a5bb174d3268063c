"""The types of our columns, where SQLAlchemy's own say less than ours have to."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import TypeDecorator
from sqlalchemy import Uuid as AnyUuid


class UUIDType:
    """A class of SQLAlchemy-Utils by its name: what Flask-Admin makes a form field for UUIDs from."""

    __module__ = "sqlalchemy_utils.types.uuid"


class Uuid(TypeDecorator[uuid.UUID], UUIDType):
    """A UUID, which every database takes as text too: ``session.get(Message, "0198…")``.

    The class has the name of SQLAlchemy's own, so that a migration says ``sa.Uuid()`` and imports nothing of ours.
    """

    __module__ = AnyUuid.__module__
    impl = AnyUuid
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> uuid.UUID | None:
        """Read text; one that is no UUID raises ValueError."""
        return uuid.UUID(value) if isinstance(value, str) else value

    def __reduce__(self) -> Any:
        return _uuid, ()  # by its name, pickle would find SQLAlchemy's


def _uuid() -> Uuid:
    return Uuid()


UUIDS = (Uuid, AnyUuid)
"""Our type, and SQLAlchemy's own, which the key of a host may have."""
