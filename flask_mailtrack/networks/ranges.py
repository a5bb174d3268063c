"""Looks an address up among known ranges: one bisection, however many there are."""

from __future__ import annotations

import ipaddress
import socket
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

_BITS = {4: 32, 6: 128}
_MAPPED = 0xFFFF

KINDS = ("certain", "probable", "apple")
"""The kinds of network, the strongest first.

``certain``: only filters mail. ``probable``: filters mail, and shows people web pages as well. ``apple``:
fetches images for Apple's mail programs, and carries its users' browsing.
"""
OWN = "own"
"""The kind of the sender's own networks, which stands before all of them."""


class Network(NamedTuple):
    """What is known of the network of an address."""

    kind: str = ""
    """One of :data:`KINDS`, or :data:`OWN`; empty: nothing is known."""
    provider: str = ""


NOWHERE = Network()


class Block(NamedTuple):
    """A CIDR block. The standard library's takes ten times as long to make, and lists have a hundred thousand."""

    version: int
    first: int
    size: int
    """Bits that its addresses have in common."""

    @classmethod
    def read(cls, text: str) -> Block:
        """Read ``203.0.113.0/24``, ``2001:db8::/32``, or a single address.

        :raises ValueError: it is something else, or has bits behind its size.
        """
        address, slash, size = text.partition("/")
        bits = int(size) if size.isascii() and size.isdigit() and len(size) < 4 else -1
        try:
            version, first = _number(address)
        except (OSError, ValueError):
            raise ValueError(f"{text[:80]!r} is no network, such as 203.0.113.0/24") from None
        bits = bits if slash else _BITS[version]
        if not 0 <= bits <= _BITS[version]:
            raise ValueError(f"{text[:80]!r} has no size from 0 to {_BITS[version]} behind the '/'")
        block = cls(version, first, bits)
        if first >> _BITS[version] - bits << _BITS[version] - bits != first:
            raise ValueError(f"{text[:80]!r} has host bits set")
        return block

    @property
    def last(self) -> int:
        """The last address."""
        return self.first | (1 << _BITS[self.version] - self.size) - 1

    def __str__(self) -> str:
        made = ipaddress.IPv4Network if self.version == 4 else ipaddress.IPv6Network
        return str(made((self.first, self.size)))


def _number(address: str) -> tuple[int, int]:
    """Return the family and the number of an address.

    :raises OSError: it is none.
    :raises ValueError: it is none.
    """
    if ":" in address:
        return 6, int.from_bytes(socket.inet_pton(socket.AF_INET6, address))
    return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, address))


class _Ranges:
    """Disjoint ranges of one family of addresses, in order."""

    def __init__(self, ranges: Iterable[tuple[int, int, Network]]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._networks: list[Network] = []
        # CIDR blocks are disjoint or nested, so an inner one comes right after one that ends no earlier.
        for start, end, network in sorted(ranges, key=lambda found: (found[0], -found[1])):
            if not self._ends or end > self._ends[-1]:
                self._starts.append(start)
                self._ends.append(end)
                self._networks.append(network)

    def find(self, address: int) -> Network:
        at = bisect_right(self._starts, address) - 1
        return self._networks[at] if at >= 0 and address <= self._ends[at] else NOWHERE


class Networks:
    """Ranges of addresses and what they are, IPv4 and IPv6.

    :param ranges: kind, provider and CIDR block. Blocks of one kind may be nested: the outer one counts.
        Of several kinds the strongest counts.
    """

    def __init__(self, ranges: Iterable[tuple[str, str, Block]] = ()) -> None:
        found: dict[tuple[int, str], list[tuple[int, int, Network]]] = {}
        known: dict[tuple[str, str], Network] = {}
        for kind, provider, block in ranges:
            whose = known.setdefault((kind, provider), Network(kind, provider))
            found.setdefault((block.version, kind), []).append((block.first, block.last, whose))
        order = sorted(found, key=lambda key: (OWN, *KINDS).index(key[1]))
        self._families = {v: [_Ranges(found[key]) for key in order if key[0] == v] for v in (4, 6)}

    def find(self, address: str | None) -> Network:
        """Return the network of *address*; never fails, and keeps nothing of it.

        :param address: ``request.remote_addr``, whole. What is no address is nowhere; IPv4 inside IPv6
            (``::ffff:…``) is IPv4.
        """
        try:
            version, number = _number((address or "").partition("%")[0])  # a zone is a name inside one machine
        except (OSError, ValueError):
            return NOWHERE
        if version == 6 and number >> 32 == _MAPPED:
            version, number = 4, number & 0xFFFF_FFFF
        for ranges in self._families[version]:
            if (network := ranges.find(number)) is not NOWHERE:
                return network
        return NOWHERE
