"""Which addresses a check may connect to."""

from __future__ import annotations

import pytest

from flask_mailtrack.outside import has_route, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "2a00::1", "::ffff:8.8.8.8"])
def test_public_addresses_may_be_asked(address: str) -> None:
    """What the whole network reaches is public."""
    assert is_public(address)


INSIDE = [
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "192.0.0.8", "192.88.99.1", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
    *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "fec0::1", "::127.0.0.1", "2001:0:1::1"),
    *("2001:db8::1", "127.1", "0x7f.1", "2130706433", "localhost", "fe80::1%eth0"),
]


@pytest.mark.parametrize("address", [*INSIDE, "", "8.8.8.8\n"])
def test_the_inside_is_never_asked(address: str) -> None:
    """Loopback, private, link-local, multicast and wrapped addresses are not public; nor is what is no address."""
    assert not is_public(address)


def test_an_address_of_this_machine_has_a_route() -> None:
    """Nothing is sent to find that out."""
    assert has_route("127.0.0.1")
