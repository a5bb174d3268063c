"""The stream: Redis between the journals of many machines and one database. The only place that speaks to Redis.

Four keys that hold lines of the journal. ``events`` is a Redis Stream, read by a consumer group, so that
drainers share the work. ``optouts`` is a hash by event id, of copies: the machine that was told of an opt-out
moves it to the database as ever, and until then every other machine can read it here, whole, so that nobody,
slow or dead, keeps one to himself. ``bad`` is a stream of what no database takes, with the reason; opt-outs
among it are in the hash ``refused``, too, where every machine looks before it sends.
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

from .records import decode, encode

EVENTS, OPTOUTS, BAD, REFUSED = "events", "optouts", "bad", "refused"
CLAIM_SECONDS = 60
HURRY_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
_CONNECT_SECONDS = 1.0
_TRUST_SECONDS = 30.0
_GROUP = "mailtrack"
# All drainers read under one name: what is abandoned is known by its age, not by who took it, and a name
# for each process would stay in Redis for ever.
_READER = "drain"
_LINE, _REASON = b"r", b"why"

Lines = Mapping[str | bytes, bytes]
"""Lines of opt-outs, by event id."""
_NONE: Lines = MappingProxyType({})

Entry = tuple[bytes, bytes]
"""The id of an entry, and its line."""

Refused = tuple[bytes, str]
"""A line that no database takes, and why."""


class Stream:
    """The streams of one app and one database.

    :param url: ``redis://``, ``rediss://`` or ``unix://``. Needs Redis 6.2 or newer; no Cluster.
    :param name: what the keys begin with; the same on each machine, and another for each database.
    :param limit: entries of ``events`` from which on :meth:`add` refuses more.
    :param volatile: take a Redis that may forget: without an append-only file, or evicting keys.
    :param former: the name in earlier versions, under which rows may still wait, or come from other machines.
    :param marks: of our signing keys; lines that bear others only are another app's.
    :param database: the name of the database alone: machines may reach it under different addresses.
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
        """Where rows of earlier versions are; only ever emptied."""
        if former:
            self.former = copy(self)
            self.former.name = f"mailtrack:{former}"

    def line(self, body: Mapping[str, Any]) -> bytes:
        """Return the line of a record, with what says whose it is."""
        return encode({**body, "by": self._marks, "db": self._database} if self._marks else body)

    def owns(self, body: Mapping[str, Any]) -> bool:
        """Say whether a record is for our database; one of an earlier version does not say whose it is."""
        return self._signed(body) and body.get("db", self._database) == self._database

    def is_for_us(self, line: bytes) -> bool:
        """Say the same of a line; one that cannot be read is as good as ours, so that somebody is told of it."""
        try:
            return self.owns(decode(line))
        except ValueError:
            return True

    def is_ours(self, line: bytes) -> bool:
        """Say whether a line that was put aside bears a key of ours, or none: our database may have moved meanwhile."""
        try:
            return self._signed(decode(line))
        except ValueError:
            return True

    def _signed(self, body: Mapping[str, Any]) -> bool:
        by = body.get("by")
        return not isinstance(by, list) or not self._marks or any(mark in self._marks for mark in by)

    def add(self, lines: Sequence[bytes]) -> None:
        """Append *lines* to ``events``, in one round trip.

        :raises StreamFull: it is longer than the limit.
        :raises StreamError: Redis is away, or may forget what it is given. Some may be in the stream all
            the same; a line that is added again does no harm.
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
        """Put copies of opt-outs, by event id, where other machines look; in 100 ms or so, or not at all.

        :raises StreamError: it was not possible.
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
        """Return what :meth:`told` does, without ids, and the opt-outs that the database has refused.

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
        """Tell the next send of any machine of choices that a journal holds here, in 100 ms at most. Never raises."""
        with suppress(StreamError):
            self.tell({str(record["id"]): self.line(record) for record in records if "id" in record})

    def untell(self, event_ids: Iterable[str | bytes], bad: Sequence[Refused] = (), refused: Lines = _NONE) -> None:
        """Forget copies of opt-outs, as they are in the database, and keep those that are *bad*.

        :param refused: those, by event id, that the database does not take: each machine honours them all the same.
        """
        if ids := list(event_ids):
            stored = [i for i in ids if i not in refused]
            with self._errors():
                pipeline = self._putting_aside(bad)
                if refused:  # first, so that there is no moment at which nobody knows of them
                    pipeline.hset(self._key(REFUSED), mapping=refused)
                for stream in self._both():
                    pipeline.hdel(stream._key(OPTOUTS), *ids)
                if stored:
                    pipeline.hdel(self._key(REFUSED), *stored)
                pipeline.execute()

    def waiting(self) -> tuple[int, float, int, int]:
        """Return the entries of ``events``, the age of the oldest in seconds, the bad ones, and the refused opt-outs.

        In 100 ms or so, or not at all.

        :raises StreamError: it was not possible, or Redis takes nothing.
        """
        with self._errors():
            pipeline = self._hurried.pipeline(transaction=False)
            pipeline.xlen(self._key(EVENTS)).xrange(self._key(EVENTS), count=1).xlen(self._key(BAD))
            pipeline.hlen(self._key(REFUSED)).time().hlen(self._key(OPTOUTS)).info("replication")
            rows, first, bad, refused, (seconds, _), _, replication = pipeline.execute()
        if reason := _replica(replication):
            raise StreamError(f"Redis at {self.where} {reason}")
        begun = int(first[0][0].partition(b"-")[0]) / 1e3 if first else seconds
        return rows, max(0.0, seconds - begun), bad, refused

    def bad(self) -> list[Entry]:
        """Return what no database took.

        :raises StreamError: Redis is away.
        """
        with self._errors():
            return [_entry(entry_id, fields) for entry_id, fields in self._patient.xrange(self._key(BAD))]

    def drop(self, entries: Sequence[Entry]) -> None:
        """Delete some of what no database took: one has."""
        if entries:
            with self._errors():
                self._patient.xdel(self._key(BAD), *(entry_id for entry_id, _ in entries))

    def forget(self, named: re.Pattern[str], left: Callable[[bytes], bytes]) -> int:
        """Delete what is bad, and copies of opt-outs, in which *named* is found, and return how much it was.

        :param left: returns what stays of a line: a refusal that no database took stands until one has.
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

    def refusal(self) -> str:
        """Say why this Redis must not be trusted with rows that are nowhere else; empty if it may.

        Asks ``INFO``, which a managed Redis allows where it forbids ``CONFIG``.

        :raises StreamError: Redis is away.
        """
        if self._volatile:
            return ""
        with self._errors():
            kept, memory = self._patient.info("persistence"), self._patient.info("memory")
            replication = self._patient.info("replication")
        if reason := _replica(replication):
            return reason
        if not kept.get("aof_enabled"):
            return "has no append-only file (appendonly yes, or MAILTRACK_SINK_VOLATILE = True)"
        policy = str(memory.get("maxmemory_policy", ""))
        if memory.get("maxmemory") and policy.startswith("allkeys"):
            return f"evicts keys when it is full (maxmemory-policy {policy}; noeviction would do)"
        return ""

    def try_to_write(self) -> None:
        """Write something that is gone in a second.

        :raises StreamError: Redis takes nothing: it is a replica, or full, or does not let us.
        """
        with self._errors():
            self._patient.set(self._key("check"), b"", px=1_000)

    def busy(self) -> bool:
        """Say whether there is anything to move, or it cannot be known."""
        try:
            return any(each.length(key) > 0 for each in self._both() for key in (EVENTS, OPTOUTS))
        except StreamError:
            return True

    def length(self, stream: str) -> int:
        """Return the number of entries of a key, those that somebody is working on included."""
        with self._errors():
            key = self._key(stream)
            return int(self._patient.hlen(key) if stream in (OPTOUTS, REFUSED) else self._patient.xlen(key))

    def take(self, count: int) -> list[Entry]:
        """Return up to *count* entries of ``events`` that are nobody else's now; abandoned ones first."""
        key = self._key(EVENTS)
        with self._errors():
            try:
                idle = CLAIM_SECONDS * 1_000
                claimed = self._patient.xautoclaim(key, _GROUP, _READER, idle, "0-0", count=count)[1]
                found = claimed or self._patient.xreadgroup(_GROUP, _READER, {key: ">"}, count=count)
            except self._library.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._make_group(key)  # the first run ever, or Redis was emptied
                claimed = []
                found = self._patient.xreadgroup(_GROUP, _READER, {key: ">"}, count=count)
        entries = found if claimed or not found else found[0][1]
        return [_entry(entry_id, fields) for entry_id, fields in entries if entry_id is not None]

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Have *entries* taken again at once, by anybody. If that fails, they are abandoned soon."""
        ids = [entry_id for entry_id, _ in entries]
        try:
            with self._errors():
                key, idle = self._key(EVENTS), CLAIM_SECONDS * 1_000
                self._patient.xclaim(key, _GROUP, _READER, 0, ids, idle=idle, justid=True)
        except StreamError:
            return

    def done(self, entries: Sequence[Entry], bad: Sequence[Refused]) -> list[bool]:
        """Forget *entries*, and keep those that are *bad* with the reason.

        :return: of each entry, whether it was us who deleted it: one that was claimed again is deleted by another.
        """
        key, ids = self._key(EVENTS), [entry_id for entry_id, _ in entries]
        with self._errors():
            pipeline = self._putting_aside(bad)
            for entry_id in ids:  # first, for what is deleted, but not acknowledged, is claimed by nobody
                pipeline.xdel(key, entry_id)
            pipeline.xack(key, _GROUP, *ids)
            answers = pipeline.execute()
        return [bool(deleted) for deleted in answers[len(bad) : -1]]

    def _putting_aside(self, bad: Sequence[Refused]) -> Any:
        # A Redis that is out of memory refuses all transactions, also one that would free some.
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
            if not str(error).startswith("BUSYGROUP"):  # somebody else has just made it
                raise

    def _client(self, url: str, seconds: float) -> Any:
        """Return a client that waits for an answer no longer than *seconds*, and does not ask twice."""
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
            self._trusted_until = 0.0  # it may come back as another one
            _, quoting, problem = str(error).rpartition("caused error: ")
            if quoting:  # what stands before is the command, and so people's addresses: not for the chain, either
                error.args = (problem,)
            problem = problem or type(error).__name__
            raise StreamError(f"Redis at {self.where}: {problem}") from error


def _replica(replication: Mapping[str, Any]) -> str:
    read_only = replication.get("role") == "slave" and replication.get("slave_read_only", 1)
    return "is a read-only replica: give MAILTRACK_SINK the address of the one that takes writes" if read_only else ""


def _entry(entry_id: bytes, fields: Any) -> Entry:
    """What is not ours has no line, and is put aside as such."""
    return entry_id, (fields or {}).get(_LINE, b"")
