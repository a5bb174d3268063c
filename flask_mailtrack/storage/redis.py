"""The stream: Redis between the journals of many machines and one database. Only this module speaks to Redis.

Four keys hold lines of the journal. ``events`` is a Redis Stream with a consumer group, so that drainers share the
work. ``optouts`` is a hash of copies, by event id. The machine that got an opt-out moves it to the database as usual;
until then all other machines read the copy, even if that machine is slow or dead. ``bad`` is a stream of lines that no
database takes, with the reasons. Opt-outs among them are in the hash ``refused``, too, and every machine looks there
before it sends.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from importlib import import_module
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from flask_mailtrack.errors import ConfigError, StreamError, StreamFull
from flask_mailtrack.phrases import NOTHING, Phrase

from .records import decode, encode

EVENTS, OPTOUTS, BAD, REFUSED = "events", "optouts", "bad", "refused"
CLAIM_SECONDS = 60
HURRY_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
_CONNECT_SECONDS = 1.0
_TRUST_SECONDS = 30.0
_GROUP = "mailtrack"
# All drainers read under one name. An abandoned entry is known by its age, and not by its consumer; and a name for
# each process would stay in Redis for ever.
_READER = "drain"
_REPLICA = Phrase("is a read-only replica: give MAILTRACK_SINK the address of the one that takes writes")
_LINE, _REASON = b"r", b"why"

Lines = Mapping[str | bytes, bytes]
"""Lines of opt-outs, by event id."""
_NONE: Lines = MappingProxyType({})

Entry = tuple[bytes, bytes]
"""The id of an entry, and its line."""

Refused = tuple[bytes, str]
"""A line that no database takes, and the reason."""


class Stream:
    """The streams of one app and one database.

    :param url: ``redis://``, ``rediss://`` or ``unix://``. Needs Redis 6.2 or newer; no Cluster.
    :param name: the beginning of the keys; the same on each machine, and different for each database.
    :param limit: the number of entries of ``events`` at which :meth:`add` refuses more.
    :param volatile: accept a Redis that may forget: without an append-only file, or one that evicts keys.
    :param former: the name in earlier versions. Rows may still wait under it, or come from other machines.
    :param marks: of the signing keys; lines with other marks only are another app's.
    :param database: only the name of the database, because machines may reach it under different addresses.
    :raises ConfigError: redis-py is not installed, or cannot read the URL.
    """

    def __init__(
        self,
        url: str,
        name: str,
        limit: int = 1_000_000,
        volatile: bool = False,
        former: str = "",
        marks: Sequence[str] = (),
        database: str = "",
    ) -> None:
        try:
            self._library: Any = import_module("redis")
        except ImportError:
            cure = "pip install 'flask-mailtrack[redis]'."
            raise ConfigError("E208", "MAILTRACK_SINK", "needs redis-py, which is not installed.", cure) from None
        self.name: str = f"mailtrack:{name}"
        self._marks = list(marks)
        self._database = database
        parts = urlsplit(url)
        self.where: str = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
        self._limit = limit
        self._volatile = volatile
        self._patient = self._client(url, PATIENCE_SECONDS)
        self._hurried = self._client(url, HURRY_SECONDS)
        self._full = False
        self._trusted_until = 0.0
        self.former: Stream | None = None
        """The keys of earlier versions. They are only emptied."""
        if former:
            self.former = copy(self)
            self.former.name = f"mailtrack:{former}"

    def line(self, body: Mapping[str, Any]) -> bytes:
        """Return the line of a record, with the marks of its owner."""
        return encode({**body, "by": self._marks, "db": self._database} if self._marks else body)

    def owns(self, body: Mapping[str, Any]) -> bool:
        """Say whether a record is for our database. Records of earlier versions have no owner, and count as ours."""
        return self._signed(body) and body.get("db", self._database) == self._database

    def is_for_us(self, line: bytes) -> bool:
        """Say the same of a line. A line that cannot be read counts as ours, so that somebody is told of it."""
        try:
            return self.owns(decode(line))
        except ValueError:
            return True

    def is_ours(self, line: bytes) -> bool:
        """Say whether a bad line has a mark of our keys, or none. The database is not compared: it may have moved."""
        try:
            return self._signed(decode(line))
        except ValueError:
            return True

    def _signed(self, body: Mapping[str, Any]) -> bool:
        by = body.get("by")
        return not isinstance(by, list) or not self._marks or any(mark in self._marks for mark in by)

    def add(self, lines: Sequence[bytes]) -> None:
        """Append *lines* to ``events`` in one round trip.

        :raises StreamFull: the stream is longer than the limit.
        :raises StreamError: Redis is away, or may forget lines. Some lines may be in the stream already; a line that
            is added again does no harm.
        """
        if time.monotonic() >= self._trusted_until:
            if reason := self.refusal():
                raise StreamError(f"Redis at {self.where} {reason}")
            self._trusted_until = time.monotonic() + _TRUST_SECONDS
        if self._full and self.length(EVENTS) >= self._limit:
            raise StreamFull(f"Redis at {self.where} holds {self._limit} entries (MAILTRACK_SINK_MAX)")
        with self._errors():
            pipeline = self._patient.pipeline(transaction=False)
            for line in lines:
                pipeline.xadd(self._key(EVENTS), {_LINE: line})
            pipeline.xlen(self._key(EVENTS))
            self._full = pipeline.execute()[-1] >= self._limit

    def tell(self, lines: Mapping[str, bytes]) -> None:
        """Put copies of opt-outs, by event id, into Redis for other machines, in about 100 ms or not at all.

        :raises StreamError: Redis did not take the copies.
        """
        with self._errors():
            self._hurried.hset(self._key(OPTOUTS), mapping=lines)

    def told(self, hurried: bool = False) -> dict[bytes, bytes]:
        """Return all copies of opt-outs, by event id, oldest first.

        :param hurried: in 100 ms or so, or not at all.
        :raises StreamError: Redis is away.
        """
        client = self._hurried if hurried else self._patient
        with self._errors():
            pipeline = client.pipeline(transaction=False)
            for stream in self._both():
                pipeline.hgetall(stream._key(OPTOUTS))
            found = pipeline.execute()
        return self._merged(found)

    def choices(self, hurried: bool = False) -> tuple[list[bytes], list[bytes]]:
        """Return the opt-outs as :meth:`told` does, without ids, and the opt-outs that the database has refused.

        :param hurried: in 100 ms or so, or not at all.
        :raises StreamError: Redis is away.
        """
        with self._errors():
            pipeline = (self._hurried if hurried else self._patient).pipeline(transaction=False)
            pipeline.hgetall(self._key(REFUSED))
            for stream in self._both():
                pipeline.hgetall(stream._key(OPTOUTS))
            refused, *found = pipeline.execute()
        return list(self._merged(found).values()), list(filter(self.is_for_us, refused.values()))

    def copy(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Copy choices in a journal of this machine for the next send of any machine, in 100 ms. Never raises."""
        with suppress(StreamError):
            self.tell({str(record["id"]): self.line(record) for record in records if "id" in record})

    def untell(self, event_ids: Iterable[str | bytes], bad: Sequence[Refused] = (), refused: Lines = _NONE) -> None:
        """Forget copies of opt-outs that are in the database, and keep those that are *bad*.

        :param refused: opt-outs, by event id, that the database does not take. All machines obey them.
        """
        if ids := list(event_ids):
            stored = [i for i in ids if i not in refused]
            with self._errors():
                pipeline = self._putting_aside(bad)
                if refused:  # written first, so that the opt-outs are known at every moment
                    pipeline.hset(self._key(REFUSED), mapping=refused)
                for stream in self._both():
                    pipeline.hdel(stream._key(OPTOUTS), *ids)
                if stored:
                    pipeline.hdel(self._key(REFUSED), *stored)
                pipeline.execute()

    def waiting(self) -> tuple[int, float, int, int]:
        """Return the numbers of waiting, bad and refused records, and the age of the oldest in seconds.

        The call takes about 100 ms, or fails. The order: entries of ``events``, age, bad ones, refused opt-outs.

        :raises StreamError: Redis did not answer in time, or takes nothing.
        """
        with self._errors():
            pipeline = self._hurried.pipeline(transaction=False)
            pipeline.xlen(self._key(EVENTS)).xrange(self._key(EVENTS), count=1).xlen(self._key(BAD))
            pipeline.hlen(self._key(REFUSED)).time().hlen(self._key(OPTOUTS)).info("replication")
            rows, first, bad, refused, (seconds, _), _, replication = pipeline.execute()
        if _is_read_only(replication):
            raise StreamError(f"Redis at {self.where} {_REPLICA}")
        begun = int(first[0][0].partition(b"-")[0]) / 1e3 if first else seconds
        return rows, max(0.0, seconds - begun), bad, refused

    def bad(self) -> list[Entry]:
        """Return the entries that no database took.

        :raises StreamError: Redis is away.
        """
        with self._errors():
            return [_entry(entry_id, fields) for entry_id, fields in self._patient.xrange(self._key(BAD))]

    def drop(self, entries: Sequence[Entry]) -> None:
        """Delete bad entries that a database has taken now."""
        if entries:
            with self._errors():
                self._patient.xdel(self._key(BAD), *(entry_id for entry_id, _ in entries))

    def forget(self, named: re.Pattern[str], left: Callable[[bytes], bytes]) -> int:
        """Delete bad entries and copies of opt-outs in which *named* is found, and return their number.

        :param left: returns the part of a line that stays. A refusal that no database took holds until one takes it.
        :raises StreamError: Redis is away.
        """
        older = self.former.forget(named, left) if self.former else 0
        bad, optouts, refused = (self._key(name) for name in (BAD, OPTOUTS, REFUSED))

        def mine(*values: bytes) -> bool:
            return any(named.search(value.decode("utf-8", "replace")) for value in values)

        with self._errors():
            entries = [each for each in self._patient.xrange(bad) if mine(*each[1].values())]
            copies = {i: line for i, line in self._patient.hgetall(refused).items() if mine(line)}
            told = [i for i, line in self._patient.hgetall(optouts).items() if mine(line)]
            pipeline, gone = self._patient.pipeline(transaction=False), set(told)
            for i, line in copies.items():
                if (kept := left(line)) != line:
                    gone.add(i)
                    pipeline.hset(refused, i, kept) if kept else pipeline.hdel(refused, i)
            for entry_id, fields in entries:
                if (kept := left(fields.get(_LINE, b""))) and kept != fields.get(_LINE):
                    pipeline.xadd(bad, {_LINE: kept, _REASON: ""})
                if kept != fields.get(_LINE) or not kept:
                    pipeline.xdel(bad, entry_id)
                    gone.add(entry_id)
            if told:
                pipeline.hdel(optouts, *told)
            pipeline.execute()
        return older + len(gone)

    def refusal(self) -> Phrase:
        """Return the reason against trusting this Redis with rows that are nowhere else; empty if there is none.

        The method asks ``INFO``, because a managed Redis often forbids ``CONFIG``.

        :raises StreamError: Redis is away.
        """
        if self._volatile:
            return NOTHING
        with self._errors():
            kept, memory, replication = map(self._patient.info, ("persistence", "memory", "replication"))
        if _is_read_only(replication):
            return _REPLICA
        if not kept.get("aof_enabled"):
            return Phrase("has no append-only file (appendonly yes, or MAILTRACK_SINK_VOLATILE = True)")
        rule = str(memory.get("maxmemory_policy", ""))
        if memory.get("maxmemory") and rule.startswith("allkeys"):
            return Phrase("evicts keys when it is full (maxmemory-policy %(rule)s; noeviction would do)", rule=rule)
        return NOTHING

    def try_to_write(self) -> None:
        """Write a key that expires in a second.

        :raises StreamError: Redis takes nothing: it is a replica, or full, or forbids writing.
        """
        with self._errors():
            self._patient.set(self._key("check"), b"", px=1_000)

    def busy(self) -> bool:
        """Say whether there is anything to move, or whether that is unknown."""
        try:
            return any(each.length(key) > 0 for each in self._both() for key in (EVENTS, OPTOUTS))
        except StreamError:
            return True

    def length(self, stream: str) -> int:
        """Return the number of entries of a key, including those in work."""
        with self._errors():
            key = self._key(stream)
            return int(self._patient.hlen(key) if stream in (OPTOUTS, REFUSED) else self._patient.xlen(key))

    def take(self, count: int) -> list[Entry]:
        """Return up to *count* entries of ``events`` that no other consumer holds, abandoned ones first."""
        key = self._key(EVENTS)
        with self._errors():
            try:
                idle = CLAIM_SECONDS * 1_000
                claimed = self._patient.xautoclaim(key, _GROUP, _READER, idle, "0-0", count=count)[1]
                found = claimed or self._patient.xreadgroup(_GROUP, _READER, {key: ">"}, count=count)
            except self._library.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._make_group(key)  # this is the first run, or Redis was emptied
                claimed = []
                found = self._patient.xreadgroup(_GROUP, _READER, {key: ">"}, count=count)
        entries = found if claimed or not found else found[0][1]
        return [_entry(entry_id, fields) for entry_id, fields in entries if entry_id is not None]

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Let any consumer take *entries* again at once. If this fails, they count as abandoned soon."""
        ids = [entry_id for entry_id, _ in entries]
        try:
            with self._errors():
                key, idle = self._key(EVENTS), CLAIM_SECONDS * 1_000
                self._patient.xclaim(key, _GROUP, _READER, 0, ids, idle=idle, justid=True)
        except StreamError:
            return

    def done(self, entries: Sequence[Entry], bad: Sequence[Refused]) -> list[bool]:
        """Delete *entries*, and keep those that are *bad*, with the reason.

        :return: for each entry, whether this call deleted it. Another consumer deletes an entry that it has claimed.
        """
        key, ids = self._key(EVENTS), [entry_id for entry_id, _ in entries]
        with self._errors():
            pipeline = self._putting_aside(bad)
            for entry_id in ids:  # acknowledged first, because nobody can claim a deleted entry that is still pending
                pipeline.xdel(key, entry_id)
            pipeline.xack(key, _GROUP, *ids)
            answers = pipeline.execute()
        return [bool(deleted) for deleted in answers[len(bad) : -1]]

    def _putting_aside(self, bad: Sequence[Refused]) -> Any:
        # A Redis without free memory refuses all transactions, also those that would free memory.
        pipeline = self._patient.pipeline(transaction=bool(bad))
        for line, reason in bad:
            pipeline.xadd(self._key(BAD), {_LINE: line, _REASON: reason})
        return pipeline

    def _merged(self, found: Sequence[Mapping[bytes, bytes]]) -> dict[bytes, bytes]:
        copies = {event_id: line for each in reversed(found) for event_id, line in each.items()}
        return {event_id: line for event_id, line in sorted(copies.items()) if self.is_for_us(line)}

    def _both(self) -> list[Stream]:
        return [self, self.former] if self.former else [self]

    def _key(self, stream: str) -> str:
        return f"{self.name}:{stream}"

    def _make_group(self, key: str) -> None:
        try:
            self._patient.xgroup_create(key, _GROUP, id="0", mkstream=True)
        except self._library.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another process has just made the group
                raise

    def _client(self, url: str, seconds: float) -> Any:
        """Return a client that waits for an answer for at most *seconds*, and does not ask twice."""
        try:
            pool = self._library.ConnectionPool.from_url(url, protocol=2)
        except (ValueError, TypeError) as error:
            cure = "Write redis://host:6379/0, rediss://… or unix:///path."
            raise ConfigError("E150", "MAILTRACK_SINK", f"cannot be used: {error}.", cure) from None
        once = self._library.retry.Retry(self._library.backoff.NoBackoff(), 0)
        waits = {"socket_timeout": seconds, "socket_connect_timeout": min(seconds, _CONNECT_SECONDS)}
        pool.connection_kwargs.update(waits, retry=once, decode_responses=False, protocol=2)
        return self._library.Redis(connection_pool=pool)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._library.RedisError, OSError) as error:
            self._trusted_until = 0.0  # another Redis may come back at this address
            _, quoting, problem = str(error).rpartition("caused error: ")
            if quoting:  # the text before holds the command, and so addresses; the chained error would show them, too
                error.args = (problem,)
            problem = problem or type(error).__name__
            raise StreamError(f"Redis at {self.where}: {problem}") from error


def _is_read_only(replication: Mapping[str, Any]) -> bool:
    return bool(replication.get("role") == "slave" and replication.get("slave_read_only", 1))


def _entry(entry_id: bytes, fields: Any) -> Entry:
    """Return the line of an entry. A foreign entry has no line, and is put aside as such."""
    return entry_id, (fields or {}).get(_LINE, b"")
