"""The types of our columns, where SQLAlchemy's own say less than ours have to.

A class has the name and module of SQLAlchemy's own, so that a migration says ``sa.Uuid()`` and imports nothing of ours.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime as AnyDateTime
from sqlalchemy import TypeDecorator
from sqlalchemy import Uuid as AnyUuid
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine


class UUIDType:
    """A class of SQLAlchemy-Utils by its name: what Flask-Admin makes a form field for UUIDs from."""

    __module__ = "sqlalchemy_utils.types.uuid"


class Uuid(TypeDecorator[uuid.UUID], UUIDType):
    """A UUID, which every database takes as text too: ``session.get(Message, "0198…")``."""

    __module__ = AnyUuid.__module__
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = AnyUuid
    cache_ok: bool | None = True

    @property
    def python_type(self) -> type[uuid.UUID]:
        """The type of values, for tools that make forms or schemas."""
        return uuid.UUID

    def process_bind_param(self, value: Any, dialect: Any) -> uuid.UUID | None:
        """Read text; one that is no UUID raises ValueError."""
        return uuid.UUID(value) if isinstance(value, str) else value

    def __reduce__(self) -> Any:
        return _uuid, ()  # by its name, pickle would find SQLAlchemy's


def _uuid() -> Uuid:
    return Uuid()


UUIDS = (Uuid, AnyUuid)
"""Our type, and SQLAlchemy's own, which the key of a host may have."""


class DateTime(TypeDecorator[datetime]):
    """A moment in UTC. Each database gives it with its time zone; a naive one that is written or compared is UTC."""

    __module__ = AnyDateTime.__module__
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = AnyDateTime
    cache_ok: bool | None = True

    def __init__(self, **about: Any) -> None:
        super().__init__(**(about or {"timezone": True}))

    @property
    def python_type(self) -> type[datetime]:
        """The type of values, for tools that make forms or schemas."""
        return datetime

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Convert to UTC."""
        if value is None:
            return None
        if value.tzinfo is not UTC:
            value = _in_utc(value)
        # Where the database keeps no zones, a driver might make something of the one that it is given.
        return value.replace(tzinfo=None) if dialect.name in _WITHOUT_ZONES else value

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        """Say that it is UTC; PostgreSQL gives it in the zone of the session."""
        return None if value is None else _in_utc(value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Return this type for moments; what is added to one or taken from it has a type of its own."""
        return self if isinstance(value, datetime) else self.impl_instance.coerce_compared_value(op, value)

    def __reduce__(self) -> Any:
        return _moment, ()


class DATETIME(DateTime):
    """The same on MySQL and MariaDB, whose own default keeps whole seconds only."""

    __module__ = "sqlalchemy.dialects.mysql"
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = mysql.DATETIME
    cache_ok: bool | None = True

    def __init__(self) -> None:
        super().__init__(fsp=6)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_WITHOUT_ZONES = ("sqlite", "mysql", "mariadb")


def _moment() -> DateTime:
    return DateTime().with_variant(DATETIME(), "mysql", "mariadb")


MOMENT = _moment()
"""The type of each of our moments. A migration says it whole, so that one written on SQLite does for MariaDB."""
