"""The claims: each address gets the mail of a send key once, whoever sends it, and however often.

A claim is committed before its mail goes to SMTP, on a connection of our own, so that no rollback of the host takes it
back. It is kept as a keyed hash of key and address. Its fate follows when the server has answered. A claim without a
fate may have been sent, or not: it is never taken twice, unless the host asks for that.
"""

from __future__ import annotations

import logging
import uuid
from base64 import b32decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.exc import DBAPIError

from flask_mailtrack.errors import KeyNotClaimed
from flask_mailtrack.events import Status, born, new_id, now
from flask_mailtrack.modes import NOT_TURNED, Mode, marked
from flask_mailtrack.storage.records import batched
from flask_mailtrack.tokens import Signer

from .database import Database, chunked

log: logging.Logger = logging.getLogger("flask_mailtrack.send")
T = TypeVar("T")

IN_FLIGHT = timedelta(minutes=10)
"""How long a claim without a fate counts as being sent. No SMTP dialogue lasts longer (RFC 5321, section 4.5.3.2)."""
_TRIES = 3
_AT_ONCE = 50
_HEAD = 80
_LOW = NOT_TURNED - 1
_SHAPE = 8 << 76 | 2 << 62 | NOT_TURNED
"""Of a UUIDv8."""
_CURE = "Commit your own transaction, and end open queries, first; or try again."
_COLUMNS = ("id", "message_id", "status")


class Claim(NamedTuple):
    """The claim in force of one address."""

    message_id: uuid.UUID
    status: Status

    def is_free(self, retry: bool) -> bool:
        """Say whether another call may take the claim over.

        :param retry: whether a copy may be sent again of which nobody knows whether it was sent.
        """
        return self.status in (Status.FAILED, Status.SUPPRESSED) or (retry and self.status == Status.UNKNOWN)


Fates = Mapping[uuid.UUID, Status]


class Held:
    """The claims of one send call. Without a send key there are none, and each address may be sent to.

    :param mine: the ids of the messages that this call sends, by address; ``None``: there is no send key.
    :param others: the claims of earlier calls, by address.
    :param write: keeps fates, by the ids of the messages.
    """

    def __init__(
        self,
        mine: Mapping[str, uuid.UUID] | None = None,
        others: Mapping[str, Claim] | None = None,
        write: Callable[[Fates], object] = lambda fates: None,
    ) -> None:
        self._is_keyed = mine is not None
        self._mine: Mapping[str, uuid.UUID] = mine or {}
        self.others: Mapping[str, Claim] = others or {}
        self._write = write
        self._waiting: dict[str, uuid.UUID] = dict(mine or {})
        self._fates: dict[uuid.UUID, Status] = {}

    def has(self, address: str) -> bool:
        """Say whether this call may send to *address*."""
        return not self._is_keyed or address in self._mine

    def id_for(self, address: str) -> uuid.UUID:
        """Return the id of the message to *address*."""
        return self._mine[address] if self._is_keyed else new_id()

    def begin(self, addresses: Iterable[str]) -> None:
        """Note that a copy goes to SMTP now. From here on nobody knows, until :meth:`tell` is called."""
        for address in addresses if self._mine else ():
            self._fates[self._mine[address]] = Status.UNKNOWN
            self._waiting.pop(address, None)

    def tell(self, addresses: Iterable[str], status: Status, refused: Collection[str] = ()) -> None:
        """Note the fate of a copy.

        :param refused: the addresses that the server did not take.
        """
        for address in addresses if self._mine else ():
            self._waiting.pop(address, None)
            self._fates[self._mine[address]] = Status.FAILED if address in refused else status
        if len(self._fates) >= _AT_ONCE:
            self.keep()

    def keep(self) -> None:
        """Write the fates."""
        if self._fates:
            fates, self._fates = self._fates, {}
            self._write(fates)

    def close(self) -> None:
        """Write the fates, and give back what was never handed to SMTP."""
        self._fates |= dict.fromkeys(self._waiting.values(), Status.FAILED)
        self._waiting.clear()
        self.keep()


class Claims:
    """Takes claims, and settles them."""

    def __init__(self, database: Database, signer: Signer) -> None:
        self._database = database
        self._refs = signer.claim_refs

    def hold(self, key: str, wanted: Mapping[str, bool], retry: bool = False) -> Held:
        """Take the claims of a send call.

        :param wanted: the addresses, normalised; of each, whether the mail goes out, or is suppressed.
        :param retry: see :meth:`Claim.is_free`.
        :raises KeyNotClaimed: nothing could be written, and nobody may be written to.
        """
        ahead = _ahead.get()
        ready, write = ({}, self.settle) if ahead is None or ahead.key != key else (ahead.ready, ahead.fates.update)
        with _told(key):
            taken = {each: ready.pop(each) for each in wanted if each in ready}  # once: a second try claims anew
            ids = {each: taken[each][0] if each in taken else new_id() for each in wanted}
            more = {each: ids[each] for each in wanted if each not in taken}
            found = {each: claim for each, (_, claim) in taken.items()} | (self._take(key, more) if more else {})
            others = {address: claim for address, claim in found.items() if claim.message_id != ids[address]}
        if others:
            others = self._learnt(others)
            mine = self._taken_over({each: own for each, own in others.items() if wanted[each] and own.is_free(retry)})
            ids, others = {**ids, **mine}, {each: claim for each, claim in others.items() if each not in mine}
        return Held({each: ids[each] for each in found if each not in others}, others, write)

    @contextmanager
    def ahead(
        self, key: str, addresses: Collection[str], fates: dict[uuid.UUID, Status]
    ) -> Iterator[Mapping[str, Claim]]:
        """Take many claims in one transaction, in which *fates* of earlier ones are settled, too.

        Inside, :meth:`hold` finds them taken. What it is told comes into *fates*, which the next call settles.

        :return: the claims of earlier calls, by address.
        :raises KeyNotClaimed: nothing could be written.
        """
        ids = {address: new_id() for address in addresses}
        with _told(key):
            found = self._take(key, ids, fates)
        found |= self._learnt({address: claim for address, claim in found.items() if claim.message_id != ids[address]})
        fates.clear()
        ready = {address: (ids[address], claim) for address, claim in found.items()}
        before = _ahead.set(_Ahead(key, ready, fates))
        try:
            yield {address: claim for address, (mine, claim) in ready.items() if claim.message_id != mine}
        finally:
            _ahead.reset(before)
            # What was not asked for is given back.
            fates |= {mine: Status.FAILED for mine, claim in ready.values() if claim.message_id == mine}

    def settle(self, fates: Fates) -> None:
        """Write *fates*. An error is logged: the mails are out, and without a fate they are not sent again."""
        try:
            self._written(lambda connection: self._settle(connection, fates))
        except Exception:
            log.exception("the fate of %d keyed mails is not kept: a retry finds them unknown", len(fates))

    def _take(self, key: str, ids: Mapping[str, uuid.UUID], fates: Fates = MappingProxyType({})) -> dict[str, Claim]:
        """Write claims where there are none, and return those in force, by address."""
        owners: dict[uuid.UUID, str] = {}
        older: dict[uuid.UUID, str] = {}
        for address in ids:
            newest, *others = self._ids(key, address)
            owners[newest] = address
            older |= dict.fromkeys(others, address)
        rows = [(each, ids[address], Status.SENDING.value) for each, address in owners.items()]

        def take(connection: Connection) -> dict[str, Claim]:
            self._settle(connection, fates)
            # The insert comes first: a transaction that has read may not write in SQLite when another one has written.
            found, missing = dict[str, Claim](), rows
            for _ in range(_TRIES):
                for some in batched(missing, 10 * _AT_ONCE):
                    self._database.pour(connection, self._table, _COLUMNS, some)
                found |= {owners[key]: claim for key, claim in self._read(connection, [row[0] for row in missing])}
                # A claim that was there when ours was inserted may be given back before it is read.
                if not (missing := [row for row in missing if owners[row[0]] not in found]):
                    break
            else:
                raise LookupError("other processes give claims back at this moment")
            before = {older[each]: claim for each, claim in self._read(connection, older)}
            self._settle(connection, {ids[address]: Status.FAILED for address in before})
            return found | before

        return self._written(take)

    def _written(self, work: Callable[[Connection], T]) -> T:
        """Do *work* in a transaction of our own, once more if another one was in its way."""
        for tries in range(_TRIES):
            try:
                with self._database.transaction() as connection:
                    return work(connection)
            except DBAPIError as error:
                if tries + 1 == _TRIES or not self._database.is_clash(error):
                    raise
        raise AssertionError  # the last try returns or raises

    def _read(self, connection: Connection, ids: Collection[uuid.UUID]) -> Iterator[tuple[uuid.UUID, Claim]]:
        table, late = self._table, now() - IN_FLIGHT
        for some in chunked(ids):
            query = select(table.c.id, table.c.message_id, table.c.status).where(table.c.id.in_(some))
            for key, message_id, status in connection.execute(query):
                lost = status == Status.SENDING and born(message_id) < late
                yield key, Claim(message_id, Status.UNKNOWN if lost else Status(status))

    def _learnt(self, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        """Return *claims* with fates that only the rows of their messages know: those of a process that died."""
        unsure = {a: each for a, each in claims.items() if each.status in (Status.SENDING, Status.UNKNOWN)}
        rows = {form: a for a, each in unsure.items() for form in _forms(each.message_id)}
        message = self._database.message
        known: dict[str, Claim] = {}
        try:
            for some in chunked(rows):
                told = message.c.status.in_([Status.SENT, Status.FAILED, Status.UNKNOWN])
                query = select(message.c.id, message.c.status).where(message.c.id.in_(some), told)
                for key, status in self._database.rows(query):
                    known[rows[key]] = unsure[rows[key]]._replace(status=Status(status))
        except Exception:  # they stay as they are, and are not sent to
            log.exception("what became of %d keyed mails cannot be read", len(unsure))
        if sent := {each.message_id: each.status for each in known.values() if each.status == Status.SENT}:
            self.settle(sent)
        return {**claims, **known}

    def _taken_over(self, free: Mapping[str, Claim]) -> dict[str, uuid.UUID]:
        """Take claims over, and return the new ids of those that nobody else has taken over meanwhile."""
        table, mine = self._table, {address: new_id() for address in free}

        def take(connection: Connection) -> dict[str, uuid.UUID]:
            taken = {}
            for address, claim in sorted(free.items()):
                # Only one of several that try finds the id that they have all read.
                still = (table.c.message_id == claim.message_id, table.c.status != Status.SENT)
                change = update(table).where(*still).values(message_id=mine[address], status=Status.SENDING.value)
                if connection.execute(change).rowcount:
                    taken[address] = mine[address]
            return taken

        try:
            return self._written(take) if free else {}
        except Exception:  # they stay as they are, and are not sent to
            log.exception("the claims of %d keyed mails cannot be taken over", len(free))
            return {}

    def _settle(self, connection: Connection, fates: Fates) -> None:
        table = self._table
        for status in sorted(set(fates.values())):
            for some in chunked(each for each, fate in fates.items() if fate == status):
                mine = table.c.message_id.in_(some)
                gone = status == Status.FAILED
                connection.execute(
                    table.delete().where(mine) if gone else update(table).where(mine).values(status=status.value)
                )

    def _ids(self, key: str, address: str) -> Iterator[uuid.UUID]:
        """Yield the ids of a pair under each signing key, newest first. Those of one key stand side by side."""
        for of_key, of_pair in zip(self._refs(key), self._refs(key, address), strict=True):
            yield uuid.UUID(int=_number(of_key) >> 32 << _HEAD | _spread(_number(of_pair)) | _SHAPE)

    @property
    def _table(self) -> Table:
        return self._database.claim


class _Ahead(NamedTuple):
    """The claims that were taken for what is sent next."""

    key: str
    ready: dict[str, tuple[uuid.UUID, Claim]]
    """Of each address the id that was to be claimed, and the claim in force."""
    fates: dict[uuid.UUID, Status]


_ahead: ContextVar[_Ahead | None] = ContextVar("mailtrack_claims", default=None)


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Raise the one error of ours."""
    try:
        yield
    except Exception as error:
        said = str(getattr(error, "orig", None) or error)
        missing = any(word in said for word in ("no such table", "exist"))
        cure = "Run db.create_all() or a migration." if missing else _CURE
        raise KeyNotClaimed(key, said, cure) from error


def _forms(claimed: uuid.UUID) -> tuple[uuid.UUID, ...]:
    """Return the ids that the row of a message may have, which name its mode."""
    return claimed, marked(claimed, Mode.DELIVERABILITY)


def _number(ref: str) -> int:
    return int.from_bytes(b32decode(ref.upper()))


def _spread(pair: int) -> int:
    """Return the lowest bits of a number in the places that a UUID leaves free."""
    return (pair >> 61 & 0xFFF) << 64 | pair & _LOW
