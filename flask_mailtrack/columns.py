"""The parts of the models: column types, documented columns, keys and relationships.

Two types add behaviour to types of SQLAlchemy. Each of them has the name and module of SQLAlchemy's type, so that a
migration says ``sa.Uuid()`` and does not import this package.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, Text, TypeDecorator, UniqueConstraint
from sqlalchemy import DateTime as AnyDateTime
from sqlalchemy import Uuid as AnyUuid
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import mapped_column
from sqlalchemy.types import TypeEngine

from .events import new_id

NAME = 255
REF = 16  # characters of a keyed hash, as in a token

# Keys are compared byte by byte, also where the server's default would take "ö" for "o".
CHARSET = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


class UUIDType:
    """Stands for a class of SQLAlchemy-Utils. Flask-Admin knows it by name, and makes a form field for UUIDs."""

    __module__ = "sqlalchemy_utils.types.uuid"


class Uuid(TypeDecorator[uuid.UUID], UUIDType):
    """A UUID. Text is accepted on each database, too: ``session.get(Message, "0198…")``."""

    __module__ = AnyUuid.__module__
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = AnyUuid
    cache_ok: bool | None = True

    @property
    def python_type(self) -> type[uuid.UUID]:
        """The type of values, for tools that make forms or schemas."""
        return uuid.UUID

    def process_bind_param(self, value: Any, dialect: Any) -> uuid.UUID | None:
        """Read text. Text that is not a UUID raises ValueError."""
        return uuid.UUID(value) if isinstance(value, str) else value

    def bind_processor(self, dialect: Any) -> Any:
        """Return what writes a value. For SQLite, this takes about half of the time of two calls."""
        return _text_of_uuid if dialect.name == "sqlite" else super().bind_processor(dialect)

    def __reduce__(self) -> Any:
        return _uuid, ()  # pickle would find SQLAlchemy's class under this name


def _text_of_uuid(value: Any) -> str | None:
    if value is None:
        return None
    return (uuid.UUID(value) if isinstance(value, str) else value).hex


def _uuid() -> Uuid:
    return Uuid()


UUIDS = (Uuid, AnyUuid)
"""The type above, and SQLAlchemy's own, which the key of a host may have."""


class DateTime(TypeDecorator[datetime]):
    """A moment in UTC. Values that are read are aware on each database. A naive value counts as UTC."""

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
        # These databases keep no zones, and some drivers would convert a value that has one.
        return value.replace(tzinfo=None) if dialect.name in _WITHOUT_ZONES else value

    def bind_processor(self, dialect: Any) -> Any:
        """Return what writes a value. For SQLite, this takes about half of the time of SQLAlchemy's own format."""
        return _text_of_moment if dialect.name == "sqlite" else super().bind_processor(dialect)

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        """Return the moment in UTC. PostgreSQL gives it in the zone of the session."""
        return None if value is None else _in_utc(value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Return this type for moments. A value that is added or subtracted has a type of its own."""
        return self if isinstance(value, datetime) else self.impl_instance.coerce_compared_value(op, value)

    def __reduce__(self) -> Any:
        return _moment, ()


class DATETIME(DateTime):
    """The same on MySQL and MariaDB. Their own default keeps whole seconds only."""

    __module__ = "sqlalchemy.dialects.mysql"
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = mysql.DATETIME
    cache_ok: bool | None = True

    def __init__(self) -> None:
        super().__init__(fsp=6)


def _text_of_moment(value: Any) -> str | None:
    if value is None:
        return None
    moment: datetime = value if value.tzinfo is UTC else _in_utc(value)
    return moment.isoformat(" ", "microseconds")[:_WITHOUT_ZONE]


_WITHOUT_ZONE = len("2026-11-27 12:00:00.000000")


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_WITHOUT_ZONES = ("sqlite", "mysql", "mariadb")


def _moment() -> DateTime:
    return DateTime().with_variant(DATETIME(), "mysql", "mariadb")


MOMENT = _moment()
"""The type of all moments. A migration shows all of it, so that a migration made on SQLite also fits MariaDB."""


def an_id(doc: str) -> Any:
    """Return a key column of UUIDs; a new UUID unless one is given."""
    return mapped_column(Uuid, primary_key=True, default=new_id, doc=doc)


def word(length: int, doc: str) -> Any:
    """Return a column of text of at most *length* characters; empty by default."""
    return mapped_column(String(length), nullable=False, default="", doc=doc)


def text(doc: str) -> Any:
    """Return a column of text; empty by default."""
    return mapped_column(Text, nullable=False, default="", doc=doc)


def flag(doc: str) -> Any:
    """Return a column of yes or no; no by default."""
    return mapped_column(Boolean, nullable=False, default=False, doc=doc)


def count(doc: str) -> Any:
    """Return a column that counts from 0."""
    return mapped_column(Integer, nullable=False, default=0, doc=doc)


def moment(doc: str, nullable: bool = True) -> Any:
    """Return a column of moments in UTC."""
    return mapped_column(MOMENT, nullable=nullable, doc=doc)


class _Related:
    """Shows a relationship whose real name begins with an underscore.

    Flask-Admin makes no form field for such a name. The field would offer all rows of the other table.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, row: Any, owner: type) -> Any:
        """Return the relationship: on the class for joins and options, on a row the related rows."""
        return getattr(owner if row is None else row, self._name)


def related() -> Any:
    """Return the place of a relationship. The relationship is made when both ends are known."""
    return _Related()


_Mixin = TypeVar("_Mixin", bound=type[Any])


def for_checkers_only(mixin: _Mixin) -> _Mixin:
    """Remove the annotations of a mixin, which are for type checkers only.

    Annotated columns become fields under ``MappedAsDataclass``. SQLAlchemy 2.1 wants the mixins of such a base to be
    dataclasses, and a dataclass could not serve the other kinds of base.
    """
    mixin.__annotations__ = {}
    return mixin


class OnBase:
    """Stands for the host's base class, for type checkers."""

    if TYPE_CHECKING:
        __table__: ClassVar[Any]
        __mapper__: ClassVar[Any]

        def __init__(self, **columns: Any) -> None: ...


KEY = "mailtrack_key"
"""In the ``info`` of a table: see :func:`key_of`."""


class Keyed(OnBase):
    """A table whose rows are told apart by columns of this package, whatever key the host's base class brings."""

    _mailtrack_key: ClassVar[tuple[str, ...]]

    @classmethod
    def __table_cls__(cls, name: str, metadata: MetaData, *args: Any, **kwargs: Any) -> Any:
        """Make the table. If the host brings a key, the key of this package becomes a unique constraint.

        Without a key of the host there is no such constraint: PostgreSQL makes one index of both, and each new
        migration would add the other again.
        """
        columns = [arg for arg in args if isinstance(arg, Column)]
        if theirs := [column for column in columns if column.primary_key and column.name not in cls._mailtrack_key]:
            alone = any(map(_numbers_rows, theirs))
            for column in columns:
                column.primary_key = column.primary_key and not (alone and column.name in cls._mailtrack_key)
            args = (*args, UniqueConstraint(*cls._mailtrack_key))
        # Flask-SQLAlchemy has this hook, too, on the base or on its metaclass.
        usual = getattr(super(), "__table_cls__", None)
        if usual is None and (of_meta := getattr(type(cls), "__table_cls__", None)) is not None:
            usual = partial(of_meta, cls)
        table = (usual or Table)(name, metadata, *args, **kwargs)
        if table is not None:
            table.info[KEY] = cls._mailtrack_key
        return table


def _numbers_rows(column: Column[Any]) -> bool:
    """Say whether a key of the host tells rows apart by itself. A tenant's key, for example, is only a part of one."""
    if column.foreign_keys:
        return False
    if column.default is not None:
        return not column.default.is_scalar
    return column.server_default is not None or (isinstance(column.type, Integer) and column.autoincrement is not False)


def key_of(table: Table) -> tuple[str, ...]:
    """Return the columns that tell the rows of *table* apart: the key, or a unique constraint."""
    key: tuple[str, ...] | None = table.info.get(KEY)
    return key or tuple(column.name for column in table.primary_key.columns)
