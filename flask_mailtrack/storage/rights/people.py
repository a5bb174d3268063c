"""What the host does about one person: suppress, look up, hand over, forget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask_mailtrack.events import OptOutKind, Suppression, new_id, now
from flask_mailtrack.lists import folded
from flask_mailtrack.privacy import clean, normalise
from flask_mailtrack.storage.database import Database
from flask_mailtrack.storage.disk.journal import Journal
from flask_mailtrack.storage.drain import Drain
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.storage.references import References
from flask_mailtrack.storage.sink.stream import Stream

from . import dossier, erasure
from .erasure import Erased


class People:
    """Acts on people by their address.

    :param refs: returns the references of an address under each signing key, newest first.
    :param journals: of events, and of choices.
    :param chosen: told when a choice is in its spool.
    :param named: returns the ids of what stands against somebody, by address, list and kind.
    :param stream: where the rows of many machines meet.
    :param references: what this process and machine remember of long links.
    """

    def __init__(
        self,
        database: Database,
        refs: Callable[[str], Sequence[str]],
        journals: Sequence[Journal],
        drain: Drain,
        chosen: Callable[[], None],
        named: Callable[[str, str, OptOutKind], tuple[str, ...]],
        stream: Stream | None = None,
        references: References | None = None,
    ) -> None:
        self.database = database
        self._refs = refs
        self._journals = journals
        self._drain = drain
        self._chosen = chosen
        self._named = named
        self._stream = stream
        self._references = references

    def change(self, address: str, *, out: bool, list_id: str, kind: OptOutKind, reason: str, method: str) -> None:
        """Write down that a refusal stands, or stands no more; on disk before this returns.

        It goes the way of all choices, through the spool: the caller may be in the middle of a
        transaction that our own would have to wait for. What is lifted is what stands at this moment, by its
        ids: a refusal that comes meanwhile stays, whatever the clocks of the machines say.

        :raises ValueError: what is no address, or cannot be stored.
        :raises OptOutsUnavailable: it is to be lifted, and what stands cannot be read.
        :raises SpoolError: it could not be written.
        """
        change = self.suppression(address, out=out, list_id=list_id, kind=kind, reason=reason, method=method)
        if not out:
            lifts = self._named(change.recipient, change.list_id, kind)
            if not lifts:  # nothing changes, so there is nothing to tell
                return
            change = change._replace(lifts=lifts)
        self._journals[-1].append(to_json(change), sync=True)
        self._chosen()

    def suppression(self, address: str, *, method: str, **about: Any) -> Suppression:
        """Return the record of a change.

        :raises ValueError: what is no address, or cannot be stored.
        """
        recipient = normalise(address)
        if problem := unmailable(recipient):
            raise ValueError(f"{address!r} {problem}")
        list_id, reason = about.pop("list_id", ""), about.pop("reason", "")
        list_id, given = folded(list_id), list_id
        if len(list_id) > 255 or not given.isprintable():
            raise ValueError(f"list {given!r} is longer than 255 characters, or not printable")
        if given and not list_id:
            raise ValueError(f"list {given!r} is blank: leave it out, if all lists are meant")
        if not method or len(method) > 16:
            raise ValueError(f"method {method!r} is empty, or longer than 16 characters")
        return Suppression(
            id=new_id(),
            recipient=recipient,
            occurred_at=now(),
            refs=tuple(self._refs(recipient)),
            list_id=list_id,
            reason=clean(reason, 32),
            method=method,
            source=about.pop("source", method),
            **about,
        )

    def export(self, address: str) -> dict[str, Any]:
        """Return all that is kept about somebody, what is still in the spool included, fit for JSON.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        recipient = normalise(address)
        return dossier.about(self.database, recipient, self._refs(recipient))

    def audit(self, address: str) -> list[dict[str, Any]]:
        """Return the changes of somebody's opt-outs, oldest first, fit for JSON.

        :raises SQLAlchemyError: the database cannot be asked.
        """
        self._drain.settle()
        return dossier.audit_trail(self.database, self._refs(normalise(address)))

    def erase(self, address: str) -> Erased:
        """Forget somebody, in the spool, Redis, what was put aside, and the database. Twice is as good as once.

        :raises StreamError: Redis cannot be asked.
        :raises SQLAlchemyError: the database could not do it now; what is left is done by the next call.
        """
        self._drain.settle()
        recipient = normalise(address)
        spools = [spool for journal in self._journals for spool in journal.spools]
        if self._references is not None:
            self._references.forget(erasure.named(recipient))
        return erasure.erase(self.database, spools, recipient, self._refs(recipient), self._stream)


def unmailable(recipient: str) -> str:
    """Say what keeps a normalised address from being one; empty if nothing does."""
    local, at, domain = recipient.rpartition("@")
    if not at or not local or not domain or local == "*":
        return "is not an address"
    if len(recipient) > 320 or not recipient.isprintable() or any(c.isspace() for c in recipient):
        return "is too long, or has spaces or control characters"
    return ""
