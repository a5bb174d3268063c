"""The tables: mixins for the host's own models, and default models on the host's ``db``.

A host that wants columns or relationships of its own subclasses the mixins with its own
``db.Model`` and passes the classes to :class:`~flask_mailtrack.Mailtrack`. Columns may be added,
not removed. Times are UTC. There is no foreign key from event to message: the two may arrive in
either order, and an event outlives a purged message.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Date,
    FromClause,
    Index,
    Integer,
    String,
    Text,
    and_,
    or_,
)
from sqlalchemy.orm import Mapped, MappedColumn, declared_attr, foreign, mapped_column, relationship

from .columns import UUIDS, Keyed, OnBase, Uuid, an_id, count, flag, for_checkers_only, moment, related, text, word
from .errors import ConfigError
from .events import Verdict, new_id

__all__ = [
    "AuditMixin",
    "DomainMixin",
    "EventMixin",
    "LinkMixin",
    "MessageMixin",
    "OptOutMixin",
    "SettingMixin",
    "by_people",
]

ADDRESS = 320  # RFC 3696, erratum 1690: 64 + "@" + 255
NAME = 255
REF = 16  # characters of a keyed hash, as in a token

# Keys are compared byte by byte, also where the server's default would take "ö" for "o".
_CHARSET = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


@for_checkers_only
class MessageMixin(Keyed):
    """One row per recipient's copy, and one per counter of the aggregate mode.

    The last six columns are kept by the drain from the events; ``seen_on`` too, but there are none to tell
    it again. ``mode`` is NULL in rows of before there were modes, which are ``individual``.
    """

    __tablename__ = "mailtrack_message"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("Names this copy in its links, and in its events.")
    batch_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, nullable=False, default=new_id, doc="The same for all copies of one send."
    )
    recipient: Mapped[str] = word(ADDRESS, "Address, normalised; empty after an erasure, and in a counter.")
    sender: Mapped[str] = word(ADDRESS, "Address in From.")
    subject: Mapped[str] = text("Subject header.")
    header_message_id: Mapped[str] = text("Message-ID header, the same for all copies of one send.")
    tag: Mapped[str] = word(NAME, "What the host has called mail of this kind.")
    list_id: Mapped[str] = word(NAME, "List that the recipient can leave, folded; empty: none.")
    details: Mapped[dict[str, Any]] = mapped_column(
        JSON, nullable=False, default=dict, doc="What the host has said with track(metadata=...)."
    )
    status: Mapped[str] = word(16, "sending, sent, failed, unknown, suppressed, or counter.")
    error: Mapped[str] = text("Why it failed, or went out untracked; what a server said, of 500 characters at most.")
    created_at: Mapped[datetime] = moment("When it was prepared.", nullable=False)
    sent_at: Mapped[datetime | None] = moment("When the mail server took it.")
    tracks_opens: Mapped[bool] = flag("Whether it went out with an open pixel.")
    tracks_clicks: Mapped[bool] = flag("Whether it went out with tracked links.")
    link_count: Mapped[int | None] = mapped_column(
        Integer, doc="Number of tracked links in its longest part; NULL: not known."
    )
    shared: Mapped[bool] = flag("Whether several people got this very copy, so that its events are nobody's own.")
    mode: Mapped[str | None] = mapped_column(String(16), doc="individual, aggregate or deliverability.")
    seen_on: Mapped[date | None] = mapped_column(Date, doc="Last day, in UTC, on which a person was seen.")
    opened_at: Mapped[datetime | None] = moment("First open by a person.")
    clicked_at: Mapped[datetime | None] = moment("First click by a person.")
    unsubscribed_at: Mapped[datetime | None] = moment("First unsubscribe by a link of this copy.")
    open_count: Mapped[int] = count("Number of opens by people.")
    click_count: Mapped[int] = count("Number of clicks by people.")
    machine_count: Mapped[int] = count("Number of opens and clicks by machines.")

    events: Mapped[list[EventMixin]] = related()
    """In order of time, to read only."""

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (
            Index(None, "recipient"),
            Index(None, "tag", "created_at"),
            Index(None, "list_id", "created_at"),
            _CHARSET,
        )


@for_checkers_only
class EventMixin(Keyed):
    """One row per hit, with its verdict; nothing is ever dropped for being a machine's.

    ``first_verdict`` and ``first_verdict_reasons`` are set where the verdict was corrected by what came later.
    """

    __tablename__ = "mailtrack_event"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("Names the event; the same in a signal.")
    message_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, nullable=False, doc="The id of the message, whose row may come later, or be gone."
    )
    type: Mapped[str] = word(16, "opened, clicked, unsubscribed, subscribed, declined, accepted or trapped.")
    occurred_at: Mapped[datetime] = moment("When the request came.", nullable=False)
    url: Mapped[str] = text("Of a click: where it led.")
    link: Mapped[int | None] = mapped_column(Integer, doc="Of a click: place of the link in the mail, from 0.")
    link_name: Mapped[str] = word(NAME, "Of a click: what data-mailtrack-name says.")
    part: Mapped[str] = word(8, "Of a click: html or text.")
    ip: Mapped[str] = word(64, "Address of the client, as far as MAILTRACK_IP has it kept.")
    user_agent: Mapped[str] = word(512, "User-Agent header, as far as MAILTRACK_USER_AGENT has it kept.")
    client: Mapped[str] = word(64, "Browser or mail client.")
    os: Mapped[str] = word(64, "Operating system.")
    device: Mapped[str] = word(16, "Kind of device, such as desktop.")
    country: Mapped[str] = word(2, "ISO 3166-1 code of the country.")
    verdict: Mapped[str] = word(16, "human, proxy, prefetch, scanner, bot or unknown.")
    verdict_reasons: Mapped[list[str]] = mapped_column(
        JSON, nullable=False, default=list, doc="Words for what the verdict rests on."
    )
    first_verdict: Mapped[str | None] = mapped_column(
        String(16), doc="What the request was taken for at first, if that was corrected."
    )
    first_verdict_reasons: Mapped[list[str] | None] = mapped_column(
        JSON(none_as_null=True), doc="What the first verdict rested on."
    )
    provider: Mapped[str] = word(32, "Whose machine it was, such as google; empty: not known, or a person's.")
    list_id: Mapped[str] = word(NAME, "Of an opt-out: the list, folded; empty: everything.")
    method: Mapped[str] = word(16, "Of an opt-out: how it came, such as one_click or page.")
    reason: Mapped[str] = word(32, "Of an unsubscribe: the word of the reason that was chosen.")
    comment: Mapped[str] = text("Of an unsubscribe: what the person has written.")

    message: Mapped[MessageMixin | None] = related()
    """To read only; none before its row has come, and after that was purged."""

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "message_id", "type", "occurred_at"), _CHARSET)


@for_checkers_only
class OptOutMixin(Keyed):
    """A standing refusal. ``list_id`` empty: everything. ``kind``: ``unsubscribe`` or ``tracking``.

    ``ref`` is the recipient's reference in the links they got: with it a link can undo what stands
    under the address, also when the row of its message is gone. ``refusals`` holds the way of each refusal
    that makes the row stand, by its id: the row goes when all of them are lifted. It is NULL in rows of
    before there were ids.
    """

    __tablename__ = "mailtrack_optout"
    _mailtrack_key = ("recipient", "list_id", "kind")

    recipient: Mapped[str] = mapped_column(
        String(ADDRESS), primary_key=True, doc="Address, normalised; or ref: and the hash of one that is not kept."
    )
    list_id: Mapped[str] = mapped_column(String(NAME), primary_key=True, doc="List, folded; empty: everything.")
    kind: Mapped[str] = mapped_column(String(16), primary_key=True, doc="unsubscribe or tracking.")
    method: Mapped[str] = word(16, "How it came, such as one_click, page, api or import.")
    reason: Mapped[str] = word(32, "Word of the reason that was chosen, or given.")
    comment: Mapped[str] = text("What the person has written.")
    message_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, doc="The id of the message whose link it was.")
    created_at: Mapped[datetime] = moment("When the person refused.", nullable=False)
    ref: Mapped[str | None] = mapped_column(String(REF), doc="Keyed hash of the address, as in links.")
    refusals: Mapped[dict[str, str] | None] = mapped_column(
        JSON(none_as_null=True), doc="How each refusal came that makes the row stand, by its id."
    )

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        # Has anybody declined at all? Whose is this reference? Both among millions.
        return (Index(None, "kind", "ref"), _CHARSET)


@for_checkers_only
class LinkMixin(Keyed):
    """What the reference inside a click token stands for, once for all mails that carry the link.

    Read only for a link whose destination was damaged on the way, and for the name of a link.
    """

    __tablename__ = "mailtrack_link"
    _mailtrack_key = ("ref",)

    ref: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Reference, as in click tokens.")
    url: Mapped[str] = mapped_column(Text, nullable=False, doc="Where the link leads.")
    name: Mapped[str] = word(NAME, "What data-mailtrack-name says.")
    part: Mapped[str] = word(8, "html or text.")

    __table_args__: Any = (_CHARSET,)


@for_checkers_only
class AuditMixin(Keyed):
    """One row per change of an opt-out: the proof of who asked for what, when, and how.

    It names nobody: ``ref`` is a keyed hash of the address, so a row may outlive an erasure. Rows
    are only ever added.
    """

    __tablename__ = "mailtrack_audit"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("Names the change: the id of its event, or of the host's record.")
    ref: Mapped[str] = mapped_column(String(REF), nullable=False, doc="Keyed hash of the address.")
    change: Mapped[str] = word(16, "unsubscribed, subscribed, declined or accepted; lifted: a mark of ours.")
    list_id: Mapped[str] = word(NAME, "List, folded; empty: everything.")
    method: Mapped[str] = word(16, "How it came, such as one_click, page or cli.")
    source: Mapped[str] = text("Where it came from: a message and its id, api, cli, or file and line of an import.")
    wording: Mapped[str] = text("Language and fingerprint of the text that the person was shown.")
    occurred_at: Mapped[datetime] = moment("When it was asked for.", nullable=False)

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "ref"), _CHARSET)


@for_checkers_only
class SettingMixin(OnBase):
    """One row per change that an operator made to a setting; the newest of each is in force.

    ``scope`` is ``account``, ``domain``, ``sender`` or ``tag``, and ``subject`` the domain, address or tag,
    empty for the account. A tag that is ``off`` is retired.
    ``value`` is ``on`` or ``off``, or a word; empty: unset. ``replaced_at`` is NULL as long as the row is in force.
    """

    __tablename__ = "mailtrack_setting"

    id: Mapped[uuid.UUID] = an_id("Names the change.")
    scope: Mapped[str] = word(16, "account, domain, sender or tag.")
    subject: Mapped[str] = word(ADDRESS, "The domain, address or tag; empty for the account.")
    key: Mapped[str] = word(32, "Name of the setting.")
    value: Mapped[str] = word(16, "on or off, or a word; empty: unset.")
    changed_by: Mapped[str] = word(ADDRESS, "Who has changed it.")
    changed_at: Mapped[datetime] = moment("When it was changed.", nullable=False)
    replaced_at: Mapped[datetime | None] = moment("When it was changed again.")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "replaced_at"), _CHARSET)


@for_checkers_only
class DomainMixin(OnBase):
    """A tracking domain: a host name of a customer's own under which links may stand.

    ``sender_domains`` are those whose mail carries links on the host; ``account_default`` has it carry the links of
    all other mail. ``status`` is ``not_verified``, ``pending`` or ``verified``. While a verified host does not pass
    its check, ``failing_since`` is set, and ``definite_since`` where that is certain. ``lease_until`` keeps a second
    machine from the check that the first one makes.
    """

    __tablename__ = "mailtrack_domain"

    host: Mapped[str] = mapped_column(String(253), primary_key=True, doc="Host name, in A-labels.")
    sender_domains: Mapped[list[str]] = mapped_column(
        JSON, nullable=False, default=list, doc="Sender domains whose mail carries links on the host."
    )
    account_default: Mapped[bool] = flag("Whether all other mail carries links on the host.")
    target: Mapped[str] = mapped_column(String(253), nullable=False, default="", doc="Where its CNAME record points.")
    status: Mapped[str] = word(16, "not_verified, pending or verified.")
    status_reason: Mapped[str] = text("The finding that changed the status, as a sentence.")
    status_since: Mapped[datetime] = moment("When the status changed.", nullable=False)
    findings: Mapped[list[dict[str, Any]]] = mapped_column(
        JSON, nullable=False, default=list, doc="What the last check has found."
    )
    certificate_ends: Mapped[datetime | None] = moment("When its certificate ends.")
    failing_since: Mapped[datetime | None] = moment("Since when a verified host has not passed its check.")
    definite_since: Mapped[datetime | None] = moment("Since when that is certain.")
    checked_at: Mapped[datetime | None] = moment("When it was checked last.")
    check_at: Mapped[datetime | None] = moment("When it is to be checked next.")
    lease_until: Mapped[datetime | None] = moment("Until when one machine has the check to itself.")
    created_by: Mapped[str] = word(ADDRESS, "Who has made it.")
    created_at: Mapped[datetime] = moment("When it was made.", nullable=False)

    __table_args__: Any = (_CHARSET,)


@dataclass(frozen=True, slots=True)
class Models:
    """The model classes that one Mailtrack object uses."""

    Message: type[MessageMixin]
    Event: type[EventMixin]
    OptOut: type[OptOutMixin]
    Link: type[LinkMixin]
    Audit: type[AuditMixin]
    Setting: type[SettingMixin]
    Domain: type[DomainMixin]

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
    _relate(models)
    return models


def _relate(models: Models) -> None:
    """Make the relationships, as only now it is known which class is whose other end."""
    message, event = models.Message, models.Event

    def joined() -> Any:
        return foreign(event.message_id) == message.id

    # Not by inspect(), which would look for classes that the host may name before it makes them.
    if not message.__mapper__.has_property("_events"):
        in_time = lambda: (event.occurred_at, event.id)  # noqa: E731
        events = relationship(event, primaryjoin=joined, order_by=in_time, viewonly=True)
        message.__mapper__.add_property("_events", events)
    if not event.__mapper__.has_property("_message"):
        event.__mapper__.add_property("_message", relationship(message, primaryjoin=joined, viewonly=True))


def own_columns(model: Any) -> list[Column[Any]]:
    """Return the columns of a model that the host has added."""
    mixin = next(each for each in _MIXINS.values() if issubclass(model, each))
    ours = {name for name, value in vars(mixin).items() if isinstance(value, MappedColumn)}
    return [column for column in model.__table__.columns if column.name not in ours]


def by_people(event: Any) -> ColumnElement[bool]:
    """Return the condition that an event was a person's: theirs, or a proxy that fetched it for them.

    Apple's proxy is left out: it fetches every image whether or not somebody reads the mail.

    :param event: the model, an alias of it, or its table: ``select(Event).where(by_people(Event))``.
    """
    columns = event.c if isinstance(event, FromClause) else event
    through_proxy = and_(columns.verdict == Verdict.PROXY, columns.provider != "apple")
    return or_(columns.verdict == Verdict.HUMAN, through_proxy)


def by_a_person(verdict: str, provider: str) -> bool:
    """Say of one hit what :func:`by_people` asks of events in the table."""
    return verdict == Verdict.HUMAN or (verdict == Verdict.PROXY and provider != "apple")
