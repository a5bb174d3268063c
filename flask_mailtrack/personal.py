"""What a host does about one person: the part of :class:`~flask_mailtrack.Mailtrack` that takes an address."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .events import PATHS, Kind, OptOutKind
from .outgoing.options import check_list
from .state import State
from .storage.people.erasure import Erased


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
        :param list_id: the list; empty: all lists, and mail without a list that carries a way out. Other mail
            without a list goes out all the same, as a password reset must.
        :param tracking: instead, do not measure them: no pixel, no tracked links, no hits.
        :param reason: a word, such as ``complaint`` or ``bounce``; cut to 32 characters.
        :param method: how it came, for the audit; at most 16 characters.
        :raises ValueError: it is no address, or a value cannot be stored.
        :raises SpoolError: it could not be written.
        """
        kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
        self.state().people.change(address, out=True, list_id=list_id, kind=kind, reason=reason, method=method)

    def unsuppress(self, address: str, list_id: str = "", *, tracking: bool = False, method: str = "api") -> None:
        """Lift what stands against somebody at this moment, by whomever it was set. Signal: ``suppression_lifted``.

        A refusal that comes meanwhile, on another machine too, stays: no clock decides between the two.

        :param list_id: exactly this list; empty lifts what stands against all lists, not each of them.
        :raises ValueError: it is no address, or a value cannot be stored.
        :raises OptOutsUnavailable: what stands cannot be read, so nothing is lifted.
        :raises SpoolError: it could not be written.
        """
        kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
        self.state().people.change(address, out=False, list_id=list_id, kind=kind, reason="", method=method)

    def unsubscribe_url(self, address: str, list_id: str | None = None) -> str:
        """Return a link by which somebody leaves a list, for a page or a mail that Mailtrack does not send.

        The link works for ever and without a mail; it names neither the person nor asks for a login. Show it to
        nobody else: whoever has it can unsubscribe them.

        :param address: as somebody writes it.
        :param list_id: the list; left out: everything.
        :raises ValueError: it is no address, or no name of a list.
        :raises UnknownList: a list that is not in ``MAILTRACK_LISTS``, if that is set.
        """
        check_list(self.state().settings.lists, list_id)
        return self._link(Kind.UNSUBSCRIBE, address, list_id or "")

    def preferences_url(self, address: str) -> str:
        """Return a link to somebody's preferences; see :meth:`unsubscribe_url`.

        :param address: as somebody writes it.
        :raises ValueError: it is no address.
        """
        return self._link(Kind.PREFERENCES, address, "")

    def _link(self, kind: Kind, address: str, list_id: str) -> str:
        state = self.state()
        about = state.people.suppression(address, list_id=list_id, method="api")  # checks both
        path = state.signer.without_mail(kind, about.recipient, about.list_id)
        return f"{state.settings.base_url}{state.settings.url_prefix}/{PATHS[kind]}/{path}"

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
