"""What a host does about one person: the part of :class:`~flask_mailtrack.Mailtrack` that takes an address."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .events import OptOutKind
from .state import State
from .storage.rights.erasure import Erased


class Personal(ABC):
    """Suppress, hand over, forget."""

    @abstractmethod
    def state(self) -> State:
        """Return what the current app has."""

    def suppress(
        self, address: str, list_id: str = "", *, tracking: bool = False, reason: str = "", method: str = "api"
    ) -> None:
        """Send somebody no more mail of a list. It counts from the next send on, and no link can undo it.

        It is on disk when this returns, and does not touch ``db.session`` or wait for a transaction.
        Signal: ``recipient_suppressed``, after commit.

        :param address: as somebody writes it; case and display name do not matter.
        :param list_id: the list; empty: all lists. Mail that names no list goes out all the same, as a
            password reset must.
        :param tracking: instead, do not measure them: no pixel, no tracked links, no hits.
        :param reason: a word, such as ``complaint`` or ``bounce``; cut to 32 characters.
        :param method: how it came, for the audit; at most 16 characters.
        :raises ValueError: it is no address, or a value cannot be stored.
        :raises SpoolError: it could not be written.
        """
        kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
        self.state().people.change(address, out=True, list_id=list_id, kind=kind, reason=reason, method=method)

    def unsuppress(self, address: str, list_id: str = "", *, tracking: bool = False, method: str = "api") -> None:
        """Lift what stands against somebody, by whomever it was set. Signal: ``suppression_lifted``.

        :param list_id: exactly this list; empty lifts what stands against all lists, not each of them.
        :raises ValueError: it is no address, or a value cannot be stored.
        :raises SpoolError: it could not be written.
        """
        kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
        self.state().people.change(address, out=False, list_id=list_id, kind=kind, reason="", method=method)

    def export(self, address: str) -> dict[str, Any]:
        """Return all rows about somebody, as JSON takes them: messages, events, opt-outs, audit.

        :raises StreamError: Redis is used, and cannot be asked.
        :raises sqlalchemy.exc.SQLAlchemyError: the database cannot be asked.
        """
        return self.state().people.export(address)

    def erase(self, address: str) -> Erased:
        """Forget somebody: address, subjects, metadata, IP addresses, user agents and comments are gone.

        Counts stay, and so do opt-outs, under a keyed hash of the address. Links go on working; what
        happens through them afterwards is not stored.

        :return: how many rows were about them; all 0 the second time.
        :raises StreamError: Redis is used, and cannot be asked; call it again.
        :raises sqlalchemy.exc.SQLAlchemyError: the database could not do it now; call it again.
        """
        return self.state().people.erase(address)
