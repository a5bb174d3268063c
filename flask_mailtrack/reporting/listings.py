"""The reports that list rows, a page at a time, and those that lead from a row to its person and back."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Unpack

from sqlalchemy import select

from flask_mailtrack.errors import ReportError
from flask_mailtrack.privacy import normalise
from flask_mailtrack.scope import Scope
from flask_mailtrack.storage.tables.database import Database
from flask_mailtrack.storage.tables.tenants import messages_inside

from .departures import DeparturePage, departures_of, reasons_of_departures
from .feed import NewEvent, latest_of
from .messages import MessagePage, Messages, Person
from .rows import RowFigures
from .selection import Filters, Selection, text_of
from .suppressions import COUNTED, Number, SuppressionPage, handle_for, owner_of, suppressions_of
from .timeline import MessageLine, Timeline


class Listings:
    """The lists of one app, and of one scope. :class:`~.reports.Reports` adds the figures."""

    database: Database
    _rows: RowFigures
    _messages: Messages
    _within: Scope | None

    def selection(self, selection: Selection | None = None, **filters: Unpack[Filters]) -> Selection:
        """Return what a call is about, narrowed to the scope."""
        raise NotImplementedError

    def messages(
        self,
        selection: Selection | None = None,
        /,
        *,
        search: str = "",
        activity: str = "",
        order: str = "newest",
        page: str = "",
        size: int = 50,
        **filters: Unpack[Filters],
    ) -> MessagePage:
        """Return messages, a page at a time.

        :param search: a whole address of a recipient, or a part of the subject, whatever its case.
        :param activity: ``opened``, ``clicked``, ``unsubscribed``, ``delivered``, ``bounced``, ``complained``,
            ``rejected``, ``nothing``, ``machines`` or ``unmeasured``.
        :param order: ``newest`` or ``oldest`` first.
        :param page: ``next`` of the page before; empty: the first.
        :param size: rows of a page, from 1 to 1,000.
        :raises ReportError: another order or activity, a page of another list, or ``basis="happened"``.
        """
        about = self.selection(selection, **filters)
        return self._messages.page(about, search=search, activity=activity, order=order, page=page, size=size)

    def known(self, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, MessageLine]:
        """Return messages by their ids, as lists show them. One that is not stored is left out.

        :param ids: at most some hundred.
        """
        return self._messages.known(ids, self._within)

    def timeline(self, message_id: uuid.UUID | str) -> Timeline:
        """Return what happened to one message, each event with the sentence that explains its verdict.

        :raises ReportError: there is no such message, or its row is purged.
        """
        return self._messages.timeline(message_id, self._within)

    def person(self, address: str, *, page: str = "", size: int = 50) -> Person:
        """Return the mail that somebody got, what they did with it, and what stands against mail to them.

        :param address: as somebody writes it.
        """
        return self._messages.person(address, self._within, page=page, size=size)

    def count(
        self,
        selection: Selection | None = None,
        /,
        *,
        search: str = "",
        activity: str = "",
        **filters: Unpack[Filters],
    ) -> Number:
        """Return how many rows :meth:`messages` has, exactly to 10,000.

        :param search: as of :meth:`messages`.
        :param activity: likewise.
        """
        found = self._messages.count(self.selection(selection, **filters), search, activity, COUNTED + 1)
        return Number(min(found, COUNTED), found <= COUNTED)

    def departures(
        self,
        selection: Selection | None = None,
        /,
        *,
        reason: str = "",
        page: str = "",
        size: int = 50,
        **filters: Unpack[Filters],
    ) -> DeparturePage:
        """Return who left a list by a link of the selected mail, the newest first.

        :param reason: only those who gave this reason, a word; empty: all.
        :param page: ``next`` of the page before; empty: the first.
        :param size: rows of a page, from 1 to 1,000.
        :raises ReportError: a page of another list, or a size that is none.
        """
        about = self.selection(selection, **filters)
        mine = self._rows.conditions(about)
        return departures_of(self.database, mine, about, reason=reason, page=page, size=size)

    def departure_reasons(self, selection: Selection | None = None, /, **filters: Unpack[Filters]) -> dict[str, int]:
        """Return how many rows :meth:`departures` has of each reason; the empty word: of none."""
        about = self.selection(selection, **filters)
        return reasons_of_departures(self.database, self._rows.conditions(about), about)

    def suppressions(
        self, *, search: str = "", reason: str = "", own: bool = False, page: str = "", size: int = 50
    ) -> SuppressionPage:
        """Return the opt-outs that stand against mail and that no link can lift, the newest first.

        They are an operator's, or of a complaint, a bounce or an import.

        :param search: a whole address, or a part of one.
        :param reason: only those of this reason, a word; empty: all.
        :param own: also those that people have made by a link.
        :param page: ``next`` of the page before; empty: the first. It names nobody.
        :param size: rows of a page, from 1 to 1,000.
        :raises ReportError: a page of another list, or a size that is none.
        """
        about = {"search": search, "reason": reason, "page": page}
        return suppressions_of(self.database, self._within, own=own, size=size, **about)

    def latest(self, size: int = 50) -> tuple[NewEvent, ...]:
        """Return the newest events, the newest first.

        Inside a scope, they are those of the last day, and those among the newest 2,000 of all.

        :param size: how many at most, from 1 to 1,000.
        """
        return latest_of(self.database, self._within, size)

    def address_of(self, handle: uuid.UUID | str) -> str | None:
        """Return the address behind an id, so that no address has to stand in a URL; ``None``: there is none.

        :param handle: the id of a message, of an event, or of a suppression.
        :raises ReportError: it is no id.
        """
        try:
            key = handle if isinstance(handle, uuid.UUID) else uuid.UUID(handle)
        except (ValueError, AttributeError, TypeError):
            raise ReportError(f"handle is {handle!r}. Write the id of a message, an event or a suppression.") from None
        message, event = self.database.message, self.database.event
        inside = messages_inside(message, self._within)
        by_event = select(message.c.recipient).select_from(event.join(message, message.c.id == event.c.message_id))
        for query in (select(message.c.recipient).where(message.c.id == key), by_event.where(event.c.id == key)):
            if found := self.database.rows(query.where(*inside)):
                return found[0][0] or None
        return owner_of(self.database, key, self._within)

    def handle_of(self, address: str) -> uuid.UUID | None:
        """Return an id that stands for an address in a URL: of the newest message to it, else of an opt-out.

        :param address: as somebody writes it.
        :return: ``None`` if nothing is known of the address.
        """
        recipient, message = normalise(text_of("address", address)), self.database.message
        if "@" not in recipient:
            return None
        mine = (message.c.recipient == recipient, *messages_inside(message, self._within))
        newest = self.database.rows(select(message.c.id).where(*mine).order_by(message.c.id.desc()).limit(1))
        return newest[0][0] if newest else handle_for(self.database, recipient, self._within)
