"""The table of claims: one row per send key and address, committed before the mail goes to SMTP."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from .columns import CHARSET, Keyed, Uuid, an_id, for_checkers_only, word


@for_checkers_only
class SendClaim(Keyed):
    """A send key and an address, as one keyed hash, so that a row names nobody.

    Whoever has written the row may send the mail. A copy that was not sent takes its row with it, so that a later call
    may send. ``message_id`` tells when the row was written, too.
    """

    __tablename__ = "mailtrack_claim"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("Keyed hash of key and address.")
    message_id: Mapped[uuid.UUID] = mapped_column(Uuid, nullable=False, doc="The id of the message that it is for.")
    status: Mapped[str] = word(16, "sending, sent, unknown or suppressed; sending for over ten minutes is unknown.")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "message_id"), CHARSET)
