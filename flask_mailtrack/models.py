"""The tables: mixins for the host's own models, and default models on the host's ``db``.

A host that wants columns or relationships of its own subclasses the mixins with its own
``db.Model`` and passes the classes to :class:`~flask_mailtrack.Mailtrack`. Columns may be added,
not removed. Times are UTC. There is no foreign key from event to message: the two may arrive in
either order, and an event outlives a purged message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    FromClause,
    Index,
    Integer,
    String,
    Text,
    Uuid,
    and_,
    or_,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import declared_attr, mapped_column

from .events import Verdict

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


class MessageMixin:
    """One row per recipient's copy, and one per counter of the aggregate mode.

    The last six columns are kept by the drain from the events; ``seen_on`` too, but there are none to tell
    it again. ``mode`` is NULL in rows of before there were modes, which are ``individual``.
    """

    __tablename__ = "mailtrack_message"

    id = mapped_column(Uuid, primary_key=True)
    batch_id = mapped_column(Uuid, nullable=False)
    recipient = _text(ADDRESS)
    sender = _text(ADDRESS)
    subject = mapped_column(Text, nullable=False, default="")
    message_id = mapped_column(Text, nullable=False, default="")
    tag = _text(NAME)
    list_id = _text(NAME)
    meta = mapped_column(JSON, nullable=False, default=dict)
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


class EventMixin:
    """One row per hit, with its verdict; nothing is ever dropped for being a machine's.

    ``first_verdict`` and ``first_reasons`` are set where the verdict was corrected by what came later.
    """

    __tablename__ = "mailtrack_event"

    id = mapped_column(Uuid, primary_key=True)
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
        return (Index(None, "message_id", "type"), _CHARSET)


class OptOutMixin:
    """A standing refusal. ``list_id`` empty: everything. ``kind``: ``unsubscribe`` or ``tracking``.

    ``ref`` is the recipient's reference in the links they got: with it a link can undo what stands
    under the address, also when the row of its message is gone.
    """

    __tablename__ = "mailtrack_optout"

    recipient = mapped_column(String(ADDRESS), primary_key=True)
    list_id = mapped_column(String(NAME), primary_key=True)
    kind = mapped_column(String(16), primary_key=True)
    method = _text(16)
    reason = _text(32)
    comment = mapped_column(Text, nullable=False, default="")
    message_id = mapped_column(Uuid)
    created_at = mapped_column(_Time, nullable=False)
    ref = mapped_column(String(REF))

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        # Has anybody declined at all? Whose is this reference? Both among millions.
        return (Index(None, "kind", "ref"), _CHARSET)


class LinkMixin:
    """What the reference inside a click token stands for, once for all mails that carry the link.

    Read only for a link whose destination was damaged on the way, and for the name of a link.
    """

    __tablename__ = "mailtrack_link"

    ref = mapped_column(String(16), primary_key=True)
    url = mapped_column(Text, nullable=False)
    name = _text(NAME)
    part = _text(8)

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (_CHARSET,)


class AuditMixin:
    """One row per change of an opt-out: the proof of who asked for what, when, and how.

    It names nobody: ``ref`` is a keyed hash of the address, so a row may outlive an erasure. Rows
    are only ever added.
    """

    __tablename__ = "mailtrack_audit"

    id = mapped_column(Uuid, primary_key=True)
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


@dataclass(frozen=True, slots=True)
class Models:
    """The five model classes that one Mailtrack object uses."""

    Message: Any
    Event: Any
    OptOut: Any
    Link: Any
    Audit: Any

    def __iter__(self) -> Iterator[Any]:
        return iter((self.Message, self.Event, self.OptOut, self.Link, self.Audit))


_MIXINS = {
    "Message": MessageMixin,
    "Event": EventMixin,
    "OptOut": OptOutMixin,
    "Link": LinkMixin,
    "Audit": AuditMixin,
}


def models_for(db: Any, bind_key: str | None = None, **own: Any) -> Models:
    """Return the models on a host's ``db``, making the default ones that the host did not bring.

    :param db: the host's Flask-SQLAlchemy object.
    :param bind_key: the ``SQLALCHEMY_BINDS`` entry for the default tables.
    :param own: the host's classes, by ``Message``, ``Event`` and so on; ``None`` for the default.
    """
    # On the db itself: the classes refer to it, so no weak dictionary would ever let it go.
    made: dict[str, Any] = vars(db).setdefault("_mailtrack_models", {}).setdefault(bind_key, {})
    for name, mixin in _MIXINS.items():
        if own.get(name) is None and name not in made:
            body: dict[str, Any] = {"__module__": __name__}
            if bind_key is not None:
                body["__bind_key__"] = bind_key
            made[name] = type(f"Mailtrack{name}{bind_key or ''}", (mixin, db.Model), body)
    return Models(**{name: own.get(name) or made[name] for name in _MIXINS})


def by_people(event: FromClause) -> ColumnElement[bool]:
    """Return the condition that an event was a person's: theirs, or a proxy that fetched it for them.

    Apple's proxy is left out: it fetches every image whether or not somebody reads the mail.
    """
    through_proxy = and_(event.c.verdict == Verdict.PROXY, event.c.provider != "apple")
    return or_(event.c.verdict == Verdict.HUMAN, through_proxy)


def by_a_person(verdict: str, provider: str) -> bool:
    """Say of one hit what :func:`by_people` asks of events in the table."""
    return verdict == Verdict.HUMAN or (verdict == Verdict.PROXY and provider != "apple")
