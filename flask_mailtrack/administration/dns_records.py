"""The DNS records of a tracking domain. Only this module imports dnspython."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flask_mailtrack.errors import ConfigError
from flask_mailtrack.outside import is_public
from flask_mailtrack.phrases import NOTHING, Phrase

_LACKING = find_spec("dns") is None
if TYPE_CHECKING or not _LACKING:  # without the extra "domains", nothing here is called before require() has said so
    import dns.exception
    import dns.name
    import dns.nameserver
    import dns.resolver

LONGEST_CHAIN = 8
TRY_SECONDS, ALL_SECONDS = 2.0, 5.0


class RecordState(StrEnum):
    """The result of a look-up."""

    RIGHT = "right"
    """The name leads to the target, by CNAME or by the same addresses."""
    MISSING = "missing"
    """The name has no record at all."""
    WRONG = "wrong"
    """The name leads elsewhere."""
    UNSURE = "unsure"
    """Nobody answered, or the answer was a failure, so nothing is known."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one name.

    :param text: the finding, as a sentence.
    :param cure: the cure; empty if the records are right.
    :param addresses: the addresses of the name in the end.
    """

    found: RecordState
    text: Phrase
    cure: Phrase = NOTHING
    addresses: tuple[str, ...] = ()


def installed() -> bool:
    """Say whether dnspython is installed."""
    return not _LACKING


def require() -> None:
    """Raise unless dnspython is installed.

    :raises ConfigError: it is not installed; the text says how to install it.
    """
    if not installed():
        cure = "Write: pip install 'flask-mailtrack[domains]'."
        raise ConfigError("E200", "domains", "need the package dnspython.", cure)


class Names:
    """Asks the domain name system.

    :param servers: ``["127.0.0.1:5300"]``: the servers to ask, also for the authoritative answer; empty: the
        system's resolver, and the zone's own servers if the resolver's answer is old.
    :param allow_private: ask servers with private addresses, too.
    """

    def __init__(self, servers: Sequence[str] = (), *, allow_private: bool = False) -> None:
        require()
        self._servers = tuple(servers)
        self._allow_private = allow_private

    def look_up(self, host: str, target: str) -> Records:
        """Return the records of *host*, compared with *target*.

        :param host: in A-labels, without the last dot; likewise *target*.
        """
        try:
            resolver = self._resolver()
        except dns.resolver.NoResolverConfiguration:
            cure = Phrase("Set MAILTRACK_DNS_SERVERS to the address of a resolver.")
            return Records(RecordState.UNSURE, Phrase("This machine has no resolver."), cure)
        found = _Walk(resolver, host, target).records()
        if found.found in (RecordState.MISSING, RecordState.WRONG) and not self._servers:
            fresh = self._authoritative(resolver, host, target)
            if fresh is not None and fresh.found == RecordState.RIGHT:
                text = Phrase("%(what)s Resolvers still have an older answer, for some minutes.", what=fresh.text)
                return Records(RecordState.RIGHT, text, NOTHING, fresh.addresses)
        return found

    def texts(self, name: str) -> list[str] | None:
        """Return the TXT records of *name*; ``None`` if nobody answered."""
        try:
            answer = self._resolver().resolve(name, "TXT", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except dns.exception.DNSException:
            return None
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer.rrset or ()]

    def exists(self, name: str) -> bool | None:
        """Say whether *name* exists, with records or with names below it; ``None`` if nobody answered."""
        try:
            self._resolver().resolve(name, "TXT", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return False
        except dns.exception.DNSException:
            return None
        return True

    def _resolver(self) -> Any:
        resolver = dns.resolver.Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers = [_server(each) for each in self._servers]
        resolver.timeout, resolver.lifetime = TRY_SECONDS, ALL_SECONDS
        resolver.cache = None
        return resolver

    def _authoritative(self, resolver: Any, host: str, target: str) -> Records | None:
        """Ask the zone's own servers, because their answer comes from no cache."""
        with suppress(dns.exception.DNSException, OSError, ValueError):
            zone = dns.resolver.zone_for_name(host, resolver=resolver, lifetime=ALL_SECONDS)
            names = [record.target for record in resolver.resolve(zone, "NS")][:4]
            addresses = [str(record) for name in names for record in _quietly(resolver, name, "A")]
            allowed = [each for each in addresses if self._allow_private or is_public(each)]
            if allowed:
                fresh = dns.resolver.Resolver(configure=False)
                fresh.nameservers, fresh.cache = allowed, None
                fresh.timeout, fresh.lifetime = TRY_SECONDS, ALL_SECONDS
                return _Walk(resolver, host, target, first=fresh).records()
        return None


class _Walk:
    """One look-up, from name to name.

    :param first: the resolver for the name's own record; *resolver* is asked for the rest.
    """

    def __init__(self, resolver: Any, host: str, target: str, first: Any = None) -> None:
        self._resolver = resolver
        self._first = first or resolver
        self._host = host
        self._target = dns.name.from_text(target)

    def records(self) -> Records:
        try:
            return self._follow()
        except dns.exception.Timeout:
            return self._unsure(Phrase("the name servers did not answer in time"))
        except dns.resolver.NoNameservers as error:
            codes = sorted({str(each[3]) for each in error.kwargs.get("errors", ())})
            said = codes or Phrase("nothing useful")
            return self._unsure(Phrase("the name servers answered %(codes)s", codes=said))
        except dns.exception.DNSException as error:
            return self._unsure(Phrase("the look-up ended in %(error)s", error=type(error).__name__))

    def _follow(self) -> Records:
        name: Any = dns.name.from_text(self._host)
        seen: list[Any] = []
        for hop in range(LONGEST_CHAIN):
            found = self._cname(name, self._resolver if hop else self._first)
            if found is None:
                return self._at_end(name, seen)
            seen.append(found)
            if found == self._target:
                return Records(RecordState.RIGHT, self._led(seen), NOTHING, tuple(self._addresses(found)))
            name = found
        text = Phrase("%(host)s leads through more than %(most)s CNAME records.", host=self._host, most=LONGEST_CHAIN)
        return self._wrong(text)

    def _led(self, seen: list[Any]) -> Phrase:
        target, through = _written(self._target), [_written(each) for each in seen[:-1]]
        if not through:
            return Phrase("%(host)s is a CNAME to %(target)s.", host=self._host, target=target)
        return Phrase(
            "%(host)s is a CNAME through %(names)s to %(target)s.", host=self._host, names=through, target=target
        )

    def _cname(self, name: Any, resolver: Any) -> Any:
        found = _quietly(resolver, name, "CNAME")
        return found[0].target if found else None

    def _at_end(self, name: Any, seen: list[Any]) -> Records:
        """Handle a chain that ended without the target. The name is wrong, but the addresses may be the same."""
        theirs, ours = set(self._addresses(name)), set(self._addresses(self._target))
        if theirs and theirs & ours:
            text = Phrase(
                "%(host)s has the same address as %(target)s.", host=self._host, target=_written(self._target)
            )
            return Records(RecordState.RIGHT, text, NOTHING, tuple(sorted(theirs)))
        if seen:
            return self._elsewhere(seen)
        if not theirs:
            text = Phrase("%(host)s has no record.", host=self._host)
            cure = Phrase("Set the record: %(record)s", record=self._wanted())
            return Records(RecordState.MISSING, text, cure)
        text = Phrase(
            "%(host)s has the address %(addresses)s, which is not that of %(target)s.",
            host=self._host,
            addresses=sorted(theirs),
            target=_written(self._target),
        )
        return self._wrong(text, tuple(sorted(theirs)))

    def _elsewhere(self, seen: list[Any]) -> Records:
        found = _written(seen[-1] if len(seen) == 1 else seen[0])
        if found.startswith(f"{_written(self._target)}."):
            text = Phrase(
                "%(host)s is a CNAME to %(name)s: the zone's own name was added to the target.",
                host=self._host,
                name=found,
            )
            cure = Phrase("Write the target with a dot at its end: %(record)s", record=self._wanted())
            return Records(RecordState.WRONG, text, cure)
        target = _written(self._target)
        text = Phrase("%(host)s is a CNAME to %(name)s, not to %(target)s.", host=self._host, name=found, target=target)
        return self._wrong(text)

    def _wrong(self, text: Phrase, addresses: tuple[str, ...] = ()) -> Records:
        cure = Phrase("Change the record to: %(record)s", record=self._wanted())
        return Records(RecordState.WRONG, text, cure, addresses)

    def _unsure(self, why: Phrase) -> Records:
        text = Phrase("%(host)s could not be looked up: %(why)s.", host=self._host, why=why)
        cure = Phrase("Wait, and check again; if it lasts, look at the zone's name servers.")
        return Records(RecordState.UNSURE, text, cure)

    def _wanted(self) -> str:
        return f"{self._host}. CNAME {_written(self._target)}."

    def _addresses(self, name: Any) -> Iterator[str]:
        for kind in ("A", "AAAA"):
            yield from (str(record) for record in _quietly(self._resolver, name, kind))


def _quietly(resolver: Any, name: Any, kind: str) -> list[Any]:
    """Return the records of a name; empty if the name does not exist. A failure to answer is raised."""
    try:
        answer = resolver.resolve(name, kind, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return []
    return list(answer.rrset or ())


def _server(written: str) -> Any:
    """Return the name server of ``127.0.0.1:5300``, ``[::1]:5300``, or an address alone."""
    if written.startswith("["):
        host, _, port = written[1:].partition("]")
    elif written.count(":") == 1:
        host, _, port = written.partition(":")
    else:
        host, port = written, ""
    return dns.nameserver.Do53Nameserver(host, int(port.lstrip(":") or 53))


def _written(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()
