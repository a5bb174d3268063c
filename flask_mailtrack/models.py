"""The tables: mixins for the host's own models, and default models on the host's ``db``.

A host that wants columns or relationships of its own subclasses the mixins with its own
``db.Model`` and passes the classes to :class:`~flask_mailtrack.Mailtrack`. Columns may be added,
not removed. Times are UTC. There is no foreign key from event to message: the two may arrive in
either order, and an event outlives a purged message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Date,
    DateTime,
    FromClause,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    or_,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import MappedColumn, declared_attr, mapped_column

from .column_types import UUIDS, Uuid
from .errors import ConfigError
from .events import Verdict, new_id

ADDRESS = 320  # RFC 3696, erratum 1690: 64 + "@" + 255
NAME = 255
REF = 16  # characters of a keyed hash, as in a token

# MySQL's own default keeps whole seconds only.
_Time = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
# Keys are compared byte by byte, also where the server's default would take "ö" for "o".
_CHARSET = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def _text(length: int) -> Any:
    return mapped_column(String(length), nullable=False, default="")


KEY = "mailtrack_key"
"""In the ``info`` of a table: see :func:`key_of`."""


class _Keyed:
    """A table whose rows are told apart by columns of ours, whatever key the host's base class brings."""

    _mailtrack_key: ClassVar[tuple[str, ...]]

    @classmethod
    def __table_cls__(cls, name: str, metadata: MetaData, *args: Any, **kwargs: Any) -> Any:
        """Make the table; a key of the host's takes the place of ours, which becomes a unique constraint."""
        columns = [arg for arg in args if isinstance(arg, Column)]
        if any(column.primary_key and column.name not in cls._mailtrack_key for column in columns):
            for column in columns:
                column.primary_key = column.primary_key and column.name not in cls._mailtrack_key
            args = (*args, UniqueConstraint(*cls._mailtrack_key))
        # Flask-SQLAlchemy has one, too, on the base or on its metaclass.
        usual = getattr(super(), "__table_cls__", None)
        if usual is None and (of_meta := getattr(type(cls), "__table_cls__", None)) is not None:
            usual = partial(of_meta, cls)
        table = (usual or Table)(name, metadata, *args, **kwargs)
        if table is not None:
            table.info[KEY] = cls._mailtrack_key
        return table


class MessageMixin(_Keyed):
    """One row per recipient's copy, and one per counter of the aggregate mode.

    The last six columns are kept by the drain from the events; ``seen_on`` too, but there are none to tell
    it again. ``mode`` is NULL in rows of before there were modes, which are ``individual``.
    """

    __tablename__ = "mailtrack_message"
    _mailtrack_key = ("id",)

    id = mapped_column(Uuid, primary_key=True, default=new_id)
    batch_id = mapped_column(Uuid, nullable=False, default=new_id)
    recipient = _text(ADDRESS)
    sender = _text(ADDRESS)
    subject = mapped_column(Text, nullable=False, default="")
    message_id = mapped_column(Text, nullable=False, default="")
    tag = _text(NAME)
    list_id = _text(NAME)
    details = mapped_column(JSON, nullable=False, default=dict)
    status = _text(16)
    error = mapped_column(Text, nullable=False, default="")
    created_at = mapped_column(_Time, nullable=False)
    sent_at = mapped_column(_Time)
    opens = mapped_column(Boolean, nullable=False, default=False)
    clicks = mapped_column(Boolean, nullable=False, default=False)
    links = mapped_column(Integer)
    shared = mapped_column(Boolean, nullable=False, default=False)
    mode = mapped_column(String(16))
    seen_on = mapped_column(Date)
    opened_at = mapped_column(_Time)
    clicked_at = mapped_column(_Time)
    unsubscribed_at = mapped_column(_Time)
    open_count = mapped_column(Integer, nullable=False, default=0)
    click_count = mapped_column(Integer, nullable=False, default=0)
    machine_count = mapped_column(Integer, nullable=False, default=0)

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (
            Index(None, "recipient"),
            Index(None, "tag", "created_at"),
            Index(None, "list_id", "created_at"),
            _CHARSET,
        )


class EventMixin(_Keyed):
    """One row per hit, with its verdict; nothing is ever dropped for being a machine's.

    ``first_verdict`` and ``first_reasons`` are set where the verdict was corrected by what came later.
    """

    __tablename__ = "mailtrack_event"
    _mailtrack_key = ("id",)

    id = mapped_column(Uuid, primary_key=True, default=new_id)
    message_id = mapped_column(Uuid, nullable=False)
    type = _text(16)
    occurred_at = mapped_column(_Time, nullable=False)
    url = mapped_column(Text, nullable=False, default="")
    link = mapped_column(Integer)
    link_name = _text(NAME)
    part = _text(8)
    ip = _text(64)
    user_agent = _text(512)
    client = _text(64)
    os = _text(64)
    device = _text(16)
    country = _text(2)
    verdict = _text(16)
    reasons = mapped_column(JSON, nullable=False, default=list)
    first_verdict = mapped_column(String(16))
    first_reasons = mapped_column(JSON(none_as_null=True))
    provider = _text(32)
    list_id = _text(NAME)
    method = _text(16)
    reason = _text(32)
    comment = mapped_column(Text, nullable=False, default="")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "message_id", "type", "occurred_at"), _CHARSET)


class OptOutMixin(_Keyed):
    """A standing refusal. ``list_id`` empty: everything. ``kind``: ``unsubscribe`` or ``tracking``.

    ``ref`` is the recipient's reference in the links they got: with it a link can undo what stands
    under the address, also when the row of its message is gone. ``refusals`` holds the way of each refusal
    that makes the row stand, by its id: the row goes when all of them are lifted. It is NULL in rows of
    before there were ids.
    """

    __tablename__ = "mailtrack_optout"
    _mailtrack_key = ("recipient", "list_id", "kind")

    recipient = mapped_column(String(ADDRESS), primary_key=True)
    list_id = mapped_column(String(NAME), primary_key=True)
    kind = mapped_column(String(16), primary_key=True)
    method = _text(16)
    reason = _text(32)
    comment = mapped_column(Text, nullable=False, default="")
    message_id = mapped_column(Uuid)
    created_at = mapped_column(_Time, nullable=False)
    ref = mapped_column(String(REF))
    refusals = mapped_column(JSON(none_as_null=True))

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        # Has anybody declined at all? Whose is this reference? Both among millions.
        return (Index(None, "kind", "ref"), _CHARSET)


class LinkMixin(_Keyed):
    """What the reference inside a click token stands for, once for all mails that carry the link.

    Read only for a link whose destination was damaged on the way, and for the name of a link.
    """

    __tablename__ = "mailtrack_link"
    _mailtrack_key = ("ref",)

    ref = mapped_column(String(16), primary_key=True)
    url = mapped_column(Text, nullable=False)
    name = _text(NAME)
    part = _text(8)

    __table_args__ = (_CHARSET,)


class AuditMixin(_Keyed):
    """One row per change of an opt-out: the proof of who asked for what, when, and how.

    It names nobody: ``ref`` is a keyed hash of the address, so a row may outlive an erasure. Rows
    are only ever added.
    """

    __tablename__ = "mailtrack_audit"
    _mailtrack_key = ("id",)

    id = mapped_column(Uuid, primary_key=True, default=new_id)
    ref = mapped_column(String(REF), nullable=False)
    change = _text(16)
    list_id = _text(NAME)
    method = _text(16)
    source = mapped_column(Text, nullable=False, default="")
    wording = mapped_column(Text, nullable=False, default="")
    occurred_at = mapped_column(_Time, nullable=False)

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "ref"), _CHARSET)


class SettingMixin:
    """One row per change that an operator made to a setting; the newest of each is in force.

    ``scope`` is ``account``, ``domain``, ``sender`` or ``tag``, and ``subject`` the domain, address or tag,
    empty for the account. A tag that is ``off`` is retired.
    ``value`` is ``on`` or ``off``, or a word; empty: unset. ``replaced_at`` is NULL as long as the row is in force.
    """

    __tablename__ = "mailtrack_setting"

    id = mapped_column(Uuid, primary_key=True, default=new_id)
    scope = _text(16)
    subject = _text(ADDRESS)
    key = _text(32)
    value = _text(16)
    changed_by = _text(ADDRESS)
    changed_at = mapped_column(_Time, nullable=False)
    replaced_at = mapped_column(_Time)

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "replaced_at"), _CHARSET)


class DomainMixin:
    """A tracking domain: a host name of a customer's own under which links may stand.

    ``sender_domains`` are those whose mail carries links on the host; ``account_default`` has it carry the links of
    all other mail. ``status`` is ``not_verified``, ``pending`` or ``verified``. While a verified host does not pass
    its check, ``failing_since`` is set, and ``definite_since`` where that is certain. ``lease_until`` keeps a second
    machine from the check that the first one makes.
    """

    __tablename__ = "mailtrack_domain"

    host = mapped_column(String(253), primary_key=True)
    sender_domains = mapped_column(JSON, nullable=False, default=list)
    account_default = mapped_column(Boolean, nullable=False, default=False)
    target = mapped_column(String(253), nullable=False, default="")
    status = _text(16)
    status_reason = mapped_column(Text, nullable=False, default="")
    status_since = mapped_column(_Time, nullable=False)
    findings = mapped_column(JSON, nullable=False, default=list)
    certificate_ends = mapped_column(_Time)
    failing_since = mapped_column(_Time)
    definite_since = mapped_column(_Time)
    checked_at = mapped_column(_Time)
    check_at = mapped_column(_Time)
    lease_until = mapped_column(_Time)
    created_by = _text(ADDRESS)
    created_at = mapped_column(_Time, nullable=False)

    __table_args__ = (_CHARSET,)


@dataclass(frozen=True, slots=True)
class Models:
    """The model classes that one Mailtrack object uses."""

    Message: Any
    Event: Any
    OptOut: Any
    Link: Any
    Audit: Any
    Setting: Any
    Domain: Any

    def __iter__(self) -> Iterator[Any]:
        return iter((self.Message, self.Event, self.OptOut, self.Link, self.Audit, self.Setting, self.Domain))


_MIXINS = {
    "Message": MessageMixin,
    "Event": EventMixin,
    "OptOut": OptOutMixin,
    "Link": LinkMixin,
    "Audit": AuditMixin,
    "Setting": SettingMixin,
    "Domain": DomainMixin,
}


def models_for(db: SQLAlchemy, bind_key: str | None = None, **own: Any) -> Models:
    """Return the models on a host's ``db``, making the default ones that the host did not bring.

    :param db: the host's Flask-SQLAlchemy object.
    :param bind_key: the ``SQLALCHEMY_BINDS`` entry for the default tables.
    :param own: the host's classes, by ``Message``, ``Event`` and so on; ``None`` for the default.
    """
    # On the db itself: the classes refer to it, so no weak dictionary would ever let it go.
    made: dict[str, Any] = vars(db).setdefault("_mailtrack_models", {}).setdefault(bind_key, {})
    for name, mixin in _MIXINS.items():
        if own.get(name) is None and name not in made:
            body = {"__module__": __name__} | ({} if bind_key is None else {"__bind_key__": bind_key})
            made[name] = type(f"Mailtrack{name}{bind_key or ''}", (mixin, db.Model), body)
    models = Models(**{name: own.get(name) or made[name] for name in _MIXINS})
    if not all(isinstance(model.__table__.c.id.type, UUIDS) for model in (models.Message, models.Event, models.Audit)):
        cure = "Name the mixin before the base class: class Mailing(MessageMixin, Base)."
        raise ConfigError("E180", "message_model", "or another one has the id of its base class, no UUID.", cure)
    return models


def key_of(table: Table) -> tuple[str, ...]:
    """Return the columns of ours that tell the rows of *table* apart: its key, or a unique constraint."""
    key: tuple[str, ...] | None = table.info.get(KEY)
    return key or tuple(column.name for column in table.primary_key.columns)


def own_columns(model: Any) -> list[Column[Any]]:
    """Return the columns of a model that the host has added."""
    mixin = next(each for each in _MIXINS.values() if issubclass(model, each))
    ours = {name for name, value in vars(mixin).items() if isinstance(value, MappedColumn)}
    return [column for column in model.__table__.columns if column.name not in ours]


def by_people(event: FromClause) -> ColumnElement[bool]:
    """Return the condition that an event was a person's: theirs, or a proxy that fetched it for them.

    Apple's proxy is left out: it fetches every image whether or not somebody reads the mail.
    """
    through_proxy = and_(event.c.verdict == Verdict.PROXY, event.c.provider != "apple")
    return or_(event.c.verdict == Verdict.HUMAN, through_proxy)


def by_a_person(verdict: str, provider: str) -> bool:
    """Say of one hit what :func:`by_people` asks of events in the table."""
    return verdict == Verdict.HUMAN or (verdict == Verdict.PROXY and provider != "apple")
