"""What our models are made of: columns that say what they are, keys, and relationships."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, Text, UniqueConstraint
from sqlalchemy.orm import mapped_column

from .column_types import MOMENT, Uuid
from .events import new_id


def an_id(doc: str) -> Any:
    """Return a key that is a UUID of ours, or what the host gives."""
    return mapped_column(Uuid, primary_key=True, default=new_id, doc=doc)


def word(length: int, doc: str) -> Any:
    """Return a column of text of some *length* at most; empty unless it is given."""
    return mapped_column(String(length), nullable=False, default="", doc=doc)


def text(doc: str) -> Any:
    """Return a column of text; empty unless it is given."""
    return mapped_column(Text, nullable=False, default="", doc=doc)


def flag(doc: str) -> Any:
    """Return a column that says yes or no; no unless it is given."""
    return mapped_column(Boolean, nullable=False, default=False, doc=doc)


def count(doc: str) -> Any:
    """Return a column that counts from 0."""
    return mapped_column(Integer, nullable=False, default=0, doc=doc)


def moment(doc: str, nullable: bool = True) -> Any:
    """Return a column of moments in UTC."""
    return mapped_column(MOMENT, nullable=nullable, doc=doc)


class _Related:
    """Shows a relationship whose own name begins with an underscore.

    Flask-Admin makes no field for it then, which would offer all rows of the other table, and ask for one.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, row: Any, owner: type) -> Any:
        """Return what a relationship gives: on the class, what joins and options take; on a row, the related rows."""
        return getattr(owner if row is None else row, self._name)


def related() -> Any:
    """Return the place of a relationship, which is made when both ends are known."""
    return _Related()


_Mixin = TypeVar("_Mixin", bound=type[Any])


def for_checkers_only(mixin: _Mixin) -> _Mixin:
    """Take the annotations of a mixin away, which type checkers have read.

    Annotated columns become fields under ``MappedAsDataclass``, whose mixins must be dataclasses themselves as of
    SQLAlchemy 2.1; and such a mixin could not serve the other bases.
    """
    mixin.__annotations__ = {}
    return mixin


class OnBase:
    """What the base class of the host's gives a model, for type checkers."""

    if TYPE_CHECKING:
        __table__: ClassVar[Any]
        __mapper__: ClassVar[Any]

        def __init__(self, **columns: Any) -> None: ...


KEY = "mailtrack_key"
"""In the ``info`` of a table: see :func:`key_of`."""


class Keyed(OnBase):
    """A table whose rows are told apart by columns of ours, whatever key the host's base class brings."""

    _mailtrack_key: ClassVar[tuple[str, ...]]

    @classmethod
    def __table_cls__(cls, name: str, metadata: MetaData, *args: Any, **kwargs: Any) -> Any:
        """Make the table; a key of the host's takes the place of ours, which becomes a unique constraint.

        Where ours is the key there is none beside it: PostgreSQL makes one of both, and a migration would add
        the other for ever.
        """
        columns = [arg for arg in args if isinstance(arg, Column)]
        if theirs := [column for column in columns if column.primary_key and column.name not in cls._mailtrack_key]:
            alone = any(map(_numbers_rows, theirs))
            for column in columns:
                column.primary_key = column.primary_key and not (alone and column.name in cls._mailtrack_key)
            args = (*args, UniqueConstraint(*cls._mailtrack_key))
        # Flask-SQLAlchemy has one, too, on the base or on its metaclass.
        usual = getattr(super(), "__table_cls__", None)
        if usual is None and (of_meta := getattr(type(cls), "__table_cls__", None)) is not None:
            usual = partial(of_meta, cls)
        table = (usual or Table)(name, metadata, *args, **kwargs)
        if table is not None:
            table.info[KEY] = cls._mailtrack_key
        return table


def _numbers_rows(column: Column[Any]) -> bool:
    """Say whether a key of the host's tells rows apart by itself; else, like a tenant's, it is a part of a key."""
    if column.foreign_keys:
        return False
    if column.default is not None:
        return not column.default.is_scalar
    return column.server_default is not None or (isinstance(column.type, Integer) and column.autoincrement is not False)


def key_of(table: Table) -> tuple[str, ...]:
    """Return the columns of ours that tell the rows of *table* apart: its key, or a unique constraint."""
    key: tuple[str, ...] | None = table.info.get(KEY)
    return key or tuple(column.name for column in table.primary_key.columns)
