"""The table of kept bodies: one row per distinct body and subject of a campaign, for all mails with it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from .columns import CHARSET, NAME, Keyed, an_id, for_checkers_only, moment, text, word

_PACKED = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
"""MariaDB's usual kind takes 65,535 bytes."""


@for_checkers_only
class ArchivedBody(Keyed):
    """The HTML of a mail as its author wrote it, with placeholders for what is the recipient's own.

    A message points to its body by ``body_id``. The row goes with the last message that points to it.
    """

    __tablename__ = "mailtrack_body"
    _mailtrack_key = ("id",)

    id: Mapped[uuid.UUID] = an_id("Hash of tag, subject and HTML.")
    tag: Mapped[str] = word(NAME, "The tag of the mail.")
    subject: Mapped[str] = text("Subject header.")
    created_at: Mapped[datetime] = moment("When a mail with this body was first sent.", nullable=False)
    content: Mapped[bytes] = mapped_column(
        _PACKED, nullable=False, doc="Compressed JSON: the HTML, and the places of links and placeholders."
    )

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        return (Index(None, "tag", "created_at"), CHARSET)
