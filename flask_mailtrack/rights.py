"""What a host does for one person: keep them off a list, give them a link, hand over what is kept, forget them."""

from __future__ import annotations

from typing import Any

from .events import PATHS, Kind, OptOutKind
from .installed import Installed
from .outgoing.options import check_list
from .scope import Scope
from .storage.people.erasure import Erased


class Rights(Installed):
    """The part of :class:`~flask_mailtrack.Mailtrack` that is about one person."""

    def suppress(
        self,
        address: str,
        list_id: str = "",
        *,
        tracking: bool = False,
        reason: str = "",
        method: str = "api",
        by: str = "",
    ) -> None:
        """Send a person no more mail of a list. This counts from the next send on, and no link can undo it.

        The suppression is on disk when this method returns. It does not touch ``db.session`` or wait for a transaction.
        Signal: ``recipient_suppressed``, after commit.

        :param address: an address as people write it; case and display name do not matter.
        :param list_id: the list; empty: all lists, and mail without a list that carries a way out. Other mail
            without a list, such as a password reset, still goes out.
        :param tracking: do not stop mail, but stop measuring: no pixel, no tracked links, no hits.
        :param reason: a word, such as ``complaint`` or ``bounce``; cut to 32 characters.
        :param method: the way of the request, for the audit; at most 16 characters.
        :param by: the operator who asked, for the audit; cut to 320 characters; default: nobody is named.
        :raises ValueError: *address* is not an address, or a value cannot be stored.
        :raises SpoolError: the suppression could not be written.
        """
        kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
        about = {"list_id": list_id, "reason": reason, "method": method, "by": by}
        self._state().people.change(address, out=True, kind=kind, **about)

    def unsuppress(
        self, address: str, list_id: str = "", *, tracking: bool = False, method: str = "api", by: str = ""
    ) -> None:
        """Lift the opt-outs of a person that stand at this moment, no matter who made them.

        A refusal that comes meanwhile stays, also one on another machine: no clock decides between the two.
        Signal: ``suppression_lifted``.

        :param list_id: exactly this list; empty lifts the opt-out from all lists, not those from single lists.
        :param by: the operator who asked, for the audit, as of :meth:`suppress`.
        :raises ValueError: *address* is not an address, or a value cannot be stored.
        :raises OptOutsUnavailable: the opt-outs cannot be read, so nothing is lifted.
        :raises SpoolError: the change could not be written.
        """
        kind = OptOutKind.TRACKING if tracking else OptOutKind.UNSUBSCRIBE
        about = {"list_id": list_id, "reason": "", "method": method, "by": by}
        self._state().people.change(address, out=False, kind=kind, **about)

    def unsubscribe_url(self, address: str, list_id: str | None = None) -> str:
        """Return a link by which a person leaves a list, for a page or a mail that Mailtrack does not send.

        The link works for ever and without a mail. It does not name the person, and it asks for no login. Show the
        link to nobody else: anybody who has it can unsubscribe the person.

        :param address: an address as people write it.
        :param list_id: the list; default: everything.
        :raises ValueError: *address* is not an address, or *list_id* cannot be the name of a list.
        :raises UnknownList: the list is not in ``MAILTRACK_LISTS``, if that is set.
        """
        check_list(self._state().settings.lists, list_id)
        return self._link(Kind.UNSUBSCRIBE, address, list_id or "")

    def preferences_url(self, address: str) -> str:
        """Return a link to the preferences of a person; see :meth:`unsubscribe_url`.

        :raises ValueError: *address* is not an address.
        """
        return self._link(Kind.PREFERENCES, address, "")

    def _link(self, kind: Kind, address: str, list_id: str) -> str:
        state = self._state()
        about = state.people.suppression(address, list_id=list_id, method="api")  # checks both
        path = state.signer.without_mail(kind, about.recipient, about.list_id)
        return f"{state.settings.base_url}{state.settings.url_prefix}/{PATHS[kind]}/{path}"

    def export(self, address: str, *, within: Scope | None = None) -> dict[str, Any]:
        """Return all rows about a person, ready for JSON: messages, events, opt-outs, audit.

        :param within: only rows inside a scope. Events whose message is purged are inside no scope.
        :raises StreamError: Redis is used, and cannot be asked.
        :raises sqlalchemy.exc.SQLAlchemyError: the database cannot be asked.
        """
        return self._state().people.export(address, within)

    def erase(self, address: str, *, within: Scope | None = None, by: str = "") -> Erased:
        """Forget a person: remove address, subjects, metadata, IP addresses, user agents and comments.

        Counts stay. Opt-outs stay, too, under a keyed hash of the address. Links go on working, and later hits
        through them are not stored. An audit row says when, and by whom; it names the person by the hash only.

        :param within: only rows inside a scope, so that the mail of other tenants stays. What belongs to no single mail
            is not searched then: stored destinations with the address, and the quarantine, but for lines of that mail.
        :param by: the operator who asked, for the audit, as of :meth:`suppress`.
        :return: the numbers of rows about the person; all 0 the second time.
        :raises StreamError: Redis is used, and cannot be asked; call the method again.
        :raises sqlalchemy.exc.SQLAlchemyError: the database cannot do it now; call the method again.
        """
        return self._state().people.erase(address, within, by)
