"""What services and servers tell of a mail after they have accepted it: types of events, and columns of messages."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped

from .columns import OnBase, for_checkers_only, moment
from .events import EventType

NOTIFIED = (EventType.DELIVERED, EventType.BOUNCED, EventType.COMPLAINED, EventType.REJECTED)
"""The types of which a message knows when each came first."""
ABOUT_MAIL = (*NOTIFIED, EventType.DEFERRED)
"""The types that are about a mail and its servers. They are no measure of a person, so no consent is asked."""

HARD, SOFT = "hard", "soft"
"""The reasons of a bounce. It is hard if the service says that no other try can mend it: there is no such mailbox."""
COMPLAINT, BOUNCE = "complaint", "bounce"
"""The reasons of a refusal that follows from what servers tell. The console lifts no complaint."""


@for_checkers_only
class Notified(OnBase):
    """When each kind of notification about a message came first: one column per type of event."""

    delivered_at: Mapped[datetime | None] = moment("When the server of the recipient accepted the mail.")
    bounced_at: Mapped[datetime | None] = moment("When the mail came back.")
    complained_at: Mapped[datetime | None] = moment("When the recipient called the mail spam.")
    rejected_at: Mapped[datetime | None] = moment("When the service refused to send the mail.")
