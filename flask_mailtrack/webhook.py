"""The table of the outbox: one row per event and endpoint, from the event until some days after delivery."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, Integer, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from .columns import CHARSET, Keyed, an_id, count, for_checkers_only, moment, word

_LONG = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
"""MariaDB's usual kind takes 65,535 bytes."""


class DeliveryState(StrEnum):
    """The state of one delivery."""

    WAITING = "waiting"
    """The delivery is due, or will be, or a process has it."""
    DELIVERED = "delivered"
    """The endpoint took it."""
    DEAD = "dead"
    """Every attempt failed, and none is made any more."""


@for_checkers_only
class WebhookDelivery(Keyed):
    """One event for one endpoint. The row is written in the transaction of the event.

    ``body`` is what each attempt posts, byte for byte, and empty after delivery. ``about`` is the id of the message, or
    the keyed hash of an address, by which an erasure finds the row.
    """

    __tablename__ = "mailtrack_webhook_delivery"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("Made of the id of the event and the endpoint.")
    endpoint: Mapped[str] = word(16, "Hash of the URL in MAILTRACK_WEBHOOKS.")
    webhook_id: Mapped[str] = word(64, "The header webhook-id, the same in each attempt and for each endpoint.")
    type: Mapped[str] = word(64, "Type of the event, such as message.clicked.")
    about: Mapped[str] = word(64, "The id of the message, or the keyed hash of an address.")
    body: Mapped[str] = mapped_column(_LONG, nullable=False, default="", doc="JSON; empty after delivery.")
    state: Mapped[str] = word(16, "waiting, delivered or dead.")
    attempts: Mapped[int] = count("Number of attempts.")
    due_at: Mapped[datetime] = moment("When the next attempt is due, or the claim ends.", nullable=False)
    claimed_by: Mapped[str] = mapped_column(String(16), nullable=False, default="", doc="The claim; empty: nobody's.")
    status: Mapped[int | None] = mapped_column(
        Integer, doc="HTTP status of the last failure; NULL: there was no answer."
    )
    error: Mapped[str] = word(255, "Why the last attempt failed.")
    created_at: Mapped[datetime] = moment("When the event was stored.", nullable=False)
    ends_at: Mapped[datetime] = moment("When the last attempt is due; after it, when the row goes.", nullable=False)

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        due, over = Index(None, "endpoint", "state", "due_at"), Index(None, "state", "ends_at")
        return (due, over, Index(None, "about"), CHARSET)
