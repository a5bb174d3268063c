"""Looks an address up among known ranges: one bisection, however many there are."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network

KINDS = ("certain", "probable", "apple")
"""The kinds of network, the strongest first.

``certain``: only filters mail. ``probable``: filters mail, and shows people web pages as well. ``apple``:
fetches images for Apple's mail programs, and carries its users' browsing.
"""


class Network(NamedTuple):
    """What is known of the network of an address."""

    kind: str = ""
    """One of :data:`KINDS`; empty: nothing is known."""
    provider: str = ""


NOWHERE = Network()


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

    def __init__(self, ranges: Iterable[tuple[str, str, Cidr]] = ()) -> None:
        found: dict[tuple[int, str], list[tuple[int, int, Network]]] = {}
        for kind, provider, block in ranges:
            first, last = int(block.network_address), int(block.broadcast_address)
            found.setdefault((block.version, kind), []).append((first, last, Network(kind, provider)))
        order = sorted(found, key=lambda key: KINDS.index(key[1]))
        self._families = {v: [_Ranges(found[key]) for key in order if key[0] == v] for v in (4, 6)}

    def find(self, address: str | None) -> Network:
        """Return the network of *address*; never fails, and keeps nothing of it.

        :param address: ``request.remote_addr``, whole. What is no address is nowhere; IPv4 inside IPv6
            (``::ffff:…``) is IPv4.
        """
        try:
            ip = ipaddress.ip_address(address or "")
        except ValueError:
            return NOWHERE
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        for ranges in self._families[ip.version]:
            if (network := ranges.find(int(ip))) is not NOWHERE:
                return network
        return NOWHERE
