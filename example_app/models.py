"""The extensions, and the one table of the example's own: the mails in its inbox."""

from __future__ import annotations

from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flask_mailtrack import Mailtrack
from flask_mailtrack.events import now

db = SQLAlchemy()
mail = Mail()
mailtrack = Mailtrack(mail=mail, db=db)


class Letter(db.Model):  # type: ignore[name-defined, misc]
    """A mail as its recipient got it, byte for byte."""

    id: Mapped[int] = mapped_column(primary_key=True)
    received_at: Mapped[datetime] = mapped_column(default=now)
    recipient: Mapped[str]
    header_message_id: Mapped[str]
    raw: Mapped[bytes]

    @property
    def parsed(self) -> EmailMessage:
        """The mail as Python reads it."""
        return cast("EmailMessage", message_from_bytes(self.raw, policy=cast("Any", policy.default)))

    @property
    def subject(self) -> str:
        """The Subject header."""
        return str(self.parsed["Subject"] or "")

    @property
    def sender(self) -> str:
        """The From header."""
        return str(self.parsed["From"])

    @property
    def html(self) -> str:
        """The HTML part, or nothing."""
        return self._part("html")

    @property
    def text(self) -> str:
        """The text part, or nothing."""
        return self._part("plain")

    @property
    def unsubscribe_url(self) -> str:
        """What stands in List-Unsubscribe, or nothing."""
        return str(self.parsed["List-Unsubscribe"] or "").strip("<>")

    def _part(self, kind: str) -> str:
        part = self.parsed.get_body((kind,))
        return str(part.get_content()) if part else ""
