"""Which addresses a check may connect to: those of the public network, so that no check probes the inside."""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Python 3.11 calls these global. NAT64 (RFC 6052, RFC 8215) and 6to4 (RFC 3056) carry an IPv4 address inside,
# which may be anybody's; site-local (RFC 3879) and the compatible form (RFC 4291, 2.5.5.1) are deprecated.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",
            "192.88.99.0/24",
            "::/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2001::/32",
            "2002::/16",
            "fec0::/10",
        ),
    )
)


def has_route(address: str) -> bool:
    """Say whether packets for *address* can leave this machine at all: many have IPv4 alone. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 443))
    except OSError:
        return False
    return True


def is_public(address: str) -> bool:
    """Say whether *address*, in text as a resolver returns it, belongs to the public network.

    Anything that is no address, or that wraps another one, is not.
    """
    try:
        found: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is not None:
        found = mapped
    if found.is_multicast or not found.is_global:
        return False
    return not any(found.version == net.version and found in net for net in _NOT_PUBLIC)
