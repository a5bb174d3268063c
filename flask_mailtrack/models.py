"""The tables: mixins for the host's own models, and default models on the host's ``db``.

To add columns or relationships, a host subclasses the mixins with its own ``db.Model``, and passes the classes to
:class:`~flask_mailtrack.Mailtrack`. Columns may be added, not removed. Times are UTC. No foreign key leads from event
to message: the two may arrive in either order, and an event outlives a purged message.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, MappedColumn, declared_attr, foreign, mapped_column, relationship

from .archived import ArchivedBody
from .audience import Judged, by_people
from .claimed import SendClaim
from .columns import (
    CHARSET,
    NAME,
    REF,
    UUIDS,
    Keyed,
    OnBase,
    Uuid,
    an_id,
    count,
    flag,
    for_checkers_only,
    moment,
    related,
    text,
    word,
)
from .errors import ConfigError
from .events import new_id
from .figures import Breakdown, Cohort, EarlyEvent, Figure
from .notified import Notified
from .webhook import WebhookDelivery

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

_PARTIAL = ("sqlite", "postgresql")
ADDRESS = 320  # RFC 3696, erratum 1690: 64 + "@" + 255


@for_checkers_only
class MessageMixin(Notified, Keyed):
    """One row per recipient's copy, and one per counter of the aggregate mode.

    The drain keeps the last six columns from the events. It keeps ``seen_on``, too, but no events tell that day
    again. ``mode`` is NULL in rows from before there were modes; these rows are ``individual``.
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
    tag: Mapped[str] = word(NAME, "The host's name for mail of this kind.")
    list_id: Mapped[str] = word(NAME, "List that the recipient can leave, folded; empty: none.")
    details: Mapped[dict[str, Any]] = mapped_column(
        sa.JSON, nullable=False, default=dict, doc="The value of track(metadata=...)."
    )
    status: Mapped[str] = word(16, "sending, sent, failed, unknown, suppressed, or counter.")
    error: Mapped[str] = text("Why the copy failed, or went out untracked; at most 500 characters of an answer.")
    created_at: Mapped[datetime] = moment("When the copy was prepared.", nullable=False)
    sent_at: Mapped[datetime | None] = moment("When the mail server took the copy.")
    tracks_opens: Mapped[bool] = flag("Whether the copy went out with an open pixel.")
    tracks_clicks: Mapped[bool] = flag("Whether the copy went out with tracked links.")
    link_count: Mapped[int | None] = mapped_column(
        sa.Integer, doc="Number of tracked links in the longest part; NULL: not known."
    )
    shared: Mapped[bool] = flag("Whether several people got this copy, so that its events belong to no single person.")
    mode: Mapped[str | None] = mapped_column(sa.String(16), doc="individual, aggregate or deliverability.")
    seen_on: Mapped[date | None] = mapped_column(sa.Date, doc="Last day, in UTC, on which a person was seen.")
    opened_at: Mapped[datetime | None] = moment("First open by a person.")
    clicked_at: Mapped[datetime | None] = moment("First click by a person.")
    unsubscribed_at: Mapped[datetime | None] = moment("First unsubscribe by a link of this copy.")
    open_count: Mapped[int] = count("Number of opens by people.")
    click_count: Mapped[int] = count("Number of clicks by people.")
    machine_count: Mapped[int] = count("Number of opens and clicks by machines.")
    cohort_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, doc="The id of the cohort that counts the message.")
    recipient_domain: Mapped[str] = word(64, "Domain of the address, if a large provider's; erasures leave it.")
    entered_by: Mapped[int | None] = mapped_column(sa.BigInteger, doc="Number of the transaction that counted the row.")
    body_id: Mapped[uuid.UUID | None] = mapped_column(
        Uuid, doc="The id of the kept body, if MAILTRACK_KEEP_BODIES is on."
    )

    events: Mapped[list[EventMixin]] = related()
    """The events of the message in order of time; read-only."""

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (
            sa.Index(None, "recipient"),
            sa.Index(None, "tag", "created_at"),
            sa.Index(None, "list_id", "created_at"),
            sa.Index(None, "cohort_id", "created_at"),
            sa.Index(None, "body_id", "created_at"),
            CHARSET,
        )


@for_checkers_only
class EventMixin(Judged, Keyed):
    """One row per hit, with its verdict. Hits of machines are kept, too.

    ``first_verdict`` and ``first_verdict_reasons`` are set if later hits have corrected the verdict.
    """

    __tablename__ = "mailtrack_event"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("The id of the event, the same in a signal.")
    message_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, nullable=False, doc="The id of the message, whose row may come later, or be gone."
    )
    type: Mapped[str] = word(16, "What happened, such as opened or bounced.")
    occurred_at: Mapped[datetime] = moment("When the request came.", nullable=False)
    url: Mapped[str] = text("Of a click: the destination.")
    link: Mapped[int | None] = mapped_column(sa.Integer, doc="Of a click: place of the link in the mail, from 0.")
    link_name: Mapped[str] = word(NAME, "Of a click: the name of the link, from data-mailtrack-name.")
    part: Mapped[str] = word(8, "Of a click: html or text.")
    ip: Mapped[str] = word(64, "Address of the client, as far as MAILTRACK_IP allows.")
    user_agent: Mapped[str] = word(512, "User-Agent header, as far as MAILTRACK_USER_AGENT allows.")
    client: Mapped[str] = word(64, "Browser or mail client.")
    os: Mapped[str] = word(64, "Operating system.")
    device: Mapped[str] = word(16, "Kind of device, such as desktop.")
    country: Mapped[str] = word(2, "ISO 3166-1 code of the country.")
    region: Mapped[str] = word(64, "Region of the country, in English, if MAILTRACK_GEO_DETAIL has it kept.")
    city: Mapped[str] = word(64, "City, likewise.")
    verdict: Mapped[str] = word(16, "human, proxy, prefetch, scanner, bot or unknown.")
    verdict_reasons: Mapped[list[str]] = mapped_column(
        sa.JSON, nullable=False, default=list, doc="The reasons of the verdict, a word each."
    )
    first_verdict: Mapped[str | None] = mapped_column(sa.String(16), doc="The first verdict, if it was corrected.")
    first_verdict_reasons: Mapped[list[str] | None] = mapped_column(
        sa.JSON(none_as_null=True), doc="The reasons of the first verdict."
    )
    provider: Mapped[str] = word(32, "Owner of the machine, such as google; empty: not known, or a person.")
    list_id: Mapped[str] = word(NAME, "Of an opt-out: the list, folded; empty: everything.")
    method: Mapped[str] = word(16, "Of an opt-out or a notification: its way, such as one_click or webhook.")
    reason: Mapped[str] = word(32, "Of an unsubscribe: the word of the chosen reason; of a bounce: hard or soft.")
    comment: Mapped[str] = text("Of an unsubscribe: what the person said; of a notification: what the server said.")

    message: Mapped[MessageMixin | None] = related()
    """The message of the event; read-only. ``None`` before its row has come, and after its row was purged."""

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        # What people have written who left is one event among thousands, and is asked for by its date.
        written: dict[str, Any] = {
            f"{kind}_where": sa.text("type = 'unsubscribed' AND comment <> ''") for kind in _PARTIAL
        }
        by_date = sa.Index(None, "type", "occurred_at", **written)
        return (sa.Index(None, "message_id", "type", "occurred_at"), by_date, CHARSET)


@for_checkers_only
class OptOutMixin(Keyed):
    """A standing refusal. ``list_id`` empty: everything. ``kind``: ``unsubscribe`` or ``tracking``.

    ``ref`` is the recipient's reference in links. By this reference a link can undo the opt-out of the address, even
    when the row of its message is gone. ``refusals`` holds the way of each refusal behind the row, by the id of the
    refusal; the row goes when all of them are lifted. ``refusals`` is NULL in rows from before there were ids.
    """

    __tablename__ = "mailtrack_optout"
    _mailtrack_key = ("recipient", "list_id", "kind")

    recipient: Mapped[str] = mapped_column(
        sa.String(ADDRESS), primary_key=True, doc="Address, normalised; or ref: and the hash of a forgotten address."
    )
    list_id: Mapped[str] = mapped_column(sa.String(NAME), primary_key=True, doc="List, folded; empty: everything.")
    kind: Mapped[str] = mapped_column(sa.String(16), primary_key=True, doc="unsubscribe or tracking.")
    method: Mapped[str] = word(16, "The way of the refusal, such as one_click, page, api or import.")
    reason: Mapped[str] = word(32, "Word of the chosen or given reason.")
    comment: Mapped[str] = text("The comment of the person.")
    message_id: Mapped[uuid.UUID | None] = mapped_column(Uuid, doc="The id of the message with the link.")
    created_at: Mapped[datetime] = moment("When the person refused.", nullable=False)
    ref: Mapped[str | None] = mapped_column(sa.String(REF), doc="Keyed hash of the address, as in links.")
    refusals: Mapped[dict[str, str] | None] = mapped_column(
        sa.JSON(none_as_null=True), doc="The way of each refusal behind the row, by the id of the refusal."
    )

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        # Quick among millions of rows must be: has anybody declined, whose is a reference, and who came last?
        return (sa.Index(None, "kind", "ref"), sa.Index(None, "created_at", "ref"), CHARSET)


@for_checkers_only
class LinkMixin(Keyed):
    """The meaning of the reference inside a click token: one row for all mails that carry the link.

    The row is read only for a link whose destination was damaged on the way, and for the name of a link.
    """

    __tablename__ = "mailtrack_link"
    _mailtrack_key = ("ref",)

    ref: Mapped[str] = mapped_column(sa.String(16), primary_key=True, doc="Reference, as in click tokens.")
    url: Mapped[str] = mapped_column(sa.Text, nullable=False, doc="Destination of the link.")
    name: Mapped[str] = word(NAME, "Name of the link, from data-mailtrack-name.")
    part: Mapped[str] = word(8, "html or text.")

    __table_args__: Any = (CHARSET,)


@for_checkers_only
class AuditMixin(Keyed):
    """One row per change of an opt-out, as its proof: person, request, time and way; and one per erasure.

    A row names no recipient: ``ref`` is a keyed hash of the address. So it may outlive an erasure. No row changes.
    """

    __tablename__ = "mailtrack_audit"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("The id of the change: that of its event, or of the host's record.")
    ref: Mapped[str] = mapped_column(sa.String(REF), nullable=False, doc="Keyed hash of the address.")
    change: Mapped[str] = word(16, "unsubscribed, subscribed, declined, accepted or erased; lifted: an internal mark.")
    list_id: Mapped[str] = word(NAME, "List, folded; empty: everything.")
    method: Mapped[str] = word(16, "The way of the change, such as one_click, page or cli.")
    source: Mapped[str] = text("The source: a message and its id, api, cli, or file and line of an import.")
    wording: Mapped[str] = text("Language and fingerprint of the text that the person saw.")
    occurred_at: Mapped[datetime] = moment("When the change was asked for.", nullable=False)
    actor: Mapped[str | None] = mapped_column(sa.String(ADDRESS), doc="Operator who made the change, if named.")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (sa.Index(None, "ref"), CHARSET)


@for_checkers_only
class SettingMixin(OnBase):
    """One row per change that an operator made to a setting. The newest row of a setting is in force.

    ``scope`` is ``account``, ``domain``, ``sender`` or ``tag``. ``subject`` is the domain, address or tag. A tag that
    is ``off`` is retired. ``value`` is ``on``, ``off`` or a word; empty: unset. In force, ``replaced_at`` is NULL.
    """

    __tablename__ = "mailtrack_setting"

    id: Mapped[uuid.UUID] = an_id("The id of the change.")
    scope: Mapped[str] = word(16, "account, domain, sender or tag.")
    subject: Mapped[str] = word(ADDRESS, "The domain, address or tag; empty for the account.")
    key: Mapped[str] = word(32, "Name of the setting.")
    value: Mapped[str] = word(16, "on or off, or a word; empty: unset.")
    changed_by: Mapped[str] = word(ADDRESS, "Author of the change.")
    changed_at: Mapped[datetime] = moment("When the setting was changed.", nullable=False)
    replaced_at: Mapped[datetime | None] = moment("When the setting was changed again.")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (sa.Index(None, "replaced_at"), CHARSET)


@for_checkers_only
class DomainMixin(OnBase):
    """A tracking domain: a host name of a customer for links.

    Mail of ``sender_domains`` carries links on the host. With ``account_default``, all other mail does, too.
    ``status`` is ``not_verified``, ``pending`` or ``verified``. ``failing_since`` is set while a verified host
    does not pass its check, and ``definite_since`` while it fails for certain. ``lease_until`` keeps a second
    machine from a check that the first machine makes.
    """

    __tablename__ = "mailtrack_domain"

    host: Mapped[str] = mapped_column(sa.String(253), primary_key=True, doc="Host name, in A-labels.")
    sender_domains: Mapped[list[str]] = mapped_column(
        sa.JSON, nullable=False, default=list, doc="Sender domains whose mail carries links on the host."
    )
    account_default: Mapped[bool] = flag("Whether all other mail carries links on the host.")
    target: Mapped[str] = mapped_column(sa.String(253), nullable=False, default="", doc="Target of its CNAME record.")
    status: Mapped[str] = word(16, "not_verified, pending or verified.")
    status_reason: Mapped[str] = text("The finding that changed the status: a sentence, and below it its making.")
    status_since: Mapped[datetime] = moment("When the status changed.", nullable=False)
    findings: Mapped[list[dict[str, Any]]] = mapped_column(
        sa.JSON, nullable=False, default=list, doc="The findings of the last check, their texts as in status_reason."
    )
    certificate_ends: Mapped[datetime | None] = moment("When its certificate ends.")
    failing_since: Mapped[datetime | None] = moment("Since when a verified host has not passed its check.")
    definite_since: Mapped[datetime | None] = moment("Since when the failure is certain.")
    checked_at: Mapped[datetime | None] = moment("When the host was checked last.")
    check_at: Mapped[datetime | None] = moment("When the next check is due.")
    lease_until: Mapped[datetime | None] = moment("Until when one machine has the check to itself.")
    created_by: Mapped[str] = word(ADDRESS, "Author of the domain.")
    created_at: Mapped[datetime] = moment("When the domain was made.", nullable=False)

    __table_args__: Any = (CHARSET,)


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
    Cohort: type[Cohort]
    Figure: type[Figure]
    Breakdown: type[Breakdown]
    EarlyEvent: type[EarlyEvent]
    Body: type[ArchivedBody]
    Claim: type[SendClaim]
    Delivery: type[WebhookDelivery]

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, each.name) for each in fields(self))


_MIXINS = {
    "Message": MessageMixin,
    "Event": EventMixin,
    "OptOut": OptOutMixin,
    "Link": LinkMixin,
    "Audit": AuditMixin,
    "Setting": SettingMixin,
    "Domain": DomainMixin,
    "Cohort": Cohort,
    "Figure": Figure,
    "Breakdown": Breakdown,
    "EarlyEvent": EarlyEvent,
    "Body": ArchivedBody,
    "Claim": SendClaim,
    "Delivery": WebhookDelivery,
}


def models_for(db: SQLAlchemy, bind_key: str | None = None, **own: Any) -> Models:
    """Return the models on a host's ``db``. Missing models are made from the mixins.

    :param db: the host's Flask-SQLAlchemy object.
    :param bind_key: the ``SQLALCHEMY_BINDS`` entry for the default tables.
    :param own: the host's classes, by ``Message``, ``Event`` and so on; ``None`` for the default.
    """
    # Kept on the db itself: the classes refer to the db, so a weak dictionary would never let it go.
    made: dict[str, Any] = vars(db).setdefault("_mailtrack_models", {}).setdefault(bind_key, {})
    for name, mixin in _MIXINS.items():
        if own.get(name) is None and name not in made:
            body = {"__module__": __name__} | ({} if bind_key is None else {"__bind_key__": bind_key})
            made[name] = type(f"Mailtrack{name}{bind_key or ''}", (mixin, db.Model), body)
    models = Models(**{name: own.get(name) or made[name] for name in _MIXINS})
    if not all(isinstance(model.__table__.c.id.type, UUIDS) for model in (models.Message, models.Event, models.Audit)):
        cure = "Name the mixin before the base class: class Mailing(MessageMixin, Base)."
        raise ConfigError("E180", "message_model", "or another model has the id of its base class, not a UUID.", cure)
    _relate(models)
    return models


def _relate(models: Models) -> None:
    """Make the relationships. Only now are the classes at both ends known."""
    message, event = models.Message, models.Event

    def joined() -> Any:
        return foreign(event.message_id) == message.id

    # inspect() would look for all classes, also those that the host names before it makes them.
    if not message.__mapper__.has_property("_events"):
        in_time = lambda: (event.occurred_at, event.id)  # noqa: E731
        message.__mapper__.add_property(
            "_events", relationship(event, primaryjoin=joined, order_by=in_time, viewonly=True)
        )
    if not event.__mapper__.has_property("_message"):
        event.__mapper__.add_property("_message", relationship(message, primaryjoin=joined, viewonly=True))


def own_columns(model: Any) -> list[sa.Column[Any]]:
    """Return the columns of a model that the host has added."""
    mixin = next(each for each in _MIXINS.values() if issubclass(model, each))
    of_mixin = (each for base in mixin.__mro__ for each in vars(base).items())
    ours = {name for name, value in of_mixin if isinstance(value, MappedColumn)}
    return [column for column in model.__table__.columns if column.name not in ours]
