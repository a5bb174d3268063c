"""Whose network an address is in."""

from __future__ import annotations

import ipaddress
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.networks import NOWHERE, Block, Network, Networks


def networks(*ranges: tuple[str, str, str]) -> Networks:
    """Networks of kind, provider and CIDR block."""
    return Networks((kind, provider, Block.read(block)) for kind, provider, block in ranges)


SOME = networks(
    ("apple", "apple", "198.51.100.0/24"),
    ("certain", "barracuda", "198.51.100.64/26"),
    ("probable", "proofpoint", "198.51.100.0/25"),
    ("certain", "microsoft", "203.0.113.0/25"),
    ("certain", "inner", "203.0.113.64/26"),
    ("certain", "last", "255.255.255.255/32"),
    ("certain", "six", "2001:db8::/32"),
)


@pytest.mark.parametrize(
    ("address", "kind", "provider"),
    [
        ("203.0.113.0", "certain", "microsoft"),
        ("203.0.113.127", "certain", "microsoft"),
        ("203.0.113.128", "", ""),
        ("203.0.112.255", "", ""),
        ("198.51.100.63", "probable", "proofpoint"),
        ("198.51.100.64", "certain", "barracuda"),
        ("198.51.100.128", "apple", "apple"),
        ("255.255.255.255", "certain", "last"),
        ("0.0.0.0", "", ""),
        ("::ffff:203.0.113.7", "certain", "microsoft"),
        ("2001:db8::1", "certain", "six"),
        ("2001:DB8:ffff:ffff:ffff:ffff:ffff:ffff", "certain", "six"),
        ("2001:db9::", "", ""),
        ("2001:db8::1%eth0", "certain", "six"),
        # The same number as an IPv4 address of the list, in the other family.
        ("::cb00:7107", "", ""),
    ],
)
def test_an_address_is_found(address: str, kind: str, provider: str) -> None:
    """First and last address of a block are in it, the next is not, and the strongest kind counts."""
    assert SOME.find(address) == Network(kind, provider)


@pytest.mark.parametrize("address", [None, "", "unknown", "203.0.113.7:80", "203.0.113.7, 1.2.3.4", "1" * 9_999, "\0"])
def test_what_is_no_address_is_nowhere(address: str | None) -> None:
    """Whatever a server takes for an address, the look-up does not fail."""
    assert SOME.find(address) == NOWHERE


@given(st.text())
def test_any_text_can_be_looked_up(text: str) -> None:
    """No text makes the look-up fail."""
    assert SOME.find(text).kind in ("", "certain", "probable", "apple")


blocks = st.tuples(
    st.sampled_from(["certain", "probable", "apple"]), st.integers(0, 255), st.integers(0, 255), st.integers(8, 32)
)


@given(st.lists(blocks, max_size=12), st.integers(0, 255), st.integers(0, 255))
def test_bisection_agrees_with_looking_at_each(
    drawn: list[tuple[str, int, int, int]], second: int, fourth: int
) -> None:
    """However blocks lie inside and beside each other, the answer is that of the slow way."""
    named = [(kind, ipaddress.ip_network(f"10.{b}.0.{d}/{size}", strict=False)) for kind, b, d, size in drawn]
    address = ipaddress.ip_address(f"10.{second}.0.{fourth}")
    inside = {kind for kind, block in named if address in block}
    strongest = next((kind for kind in ("certain", "probable", "apple") if kind in inside), "")
    found = Networks((kind, "x", Block.read(str(block))) for kind, block in named).find(str(address))
    assert found.kind == strongest


def test_many_ranges_cost_no_more_than_few() -> None:
    """A list of fifty thousand blocks is searched by halving it, not by walking it."""

    class Counted(int):
        compared = 0

        def __gt__(self, other: int) -> bool:
            Counted.compared += 1
            return int(self) > int(other)

    some = random.Random(1)
    many = Networks(("apple", "apple", Block(6, some.getrandbits(96) << 32, 96)) for _ in range(50_000))
    (ranges,) = many._families[6]
    ranges._starts = [Counted(start) for start in ranges._starts]
    assert many.find("2001:db8::1") == NOWHERE
    assert 0 < Counted.compared < 40


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_block_is_read_as_the_standard_library_reads_it(address: object, size: int) -> None:
    """Our quicker reading of a block refuses and accepts the same, and writes it the same."""
    text = f"{address}/{size}"
    try:
        expected = ipaddress.ip_network(text)
    except ValueError:
        with pytest.raises(ValueError, match=re.escape(text)):
            Block.read(text)
        return
    block = Block.read(text)
    assert (str(block), block.last) == (str(expected), int(expected.broadcast_address))


@given(st.text())
def test_any_text_is_a_block_or_refused(text: str) -> None:
    """A line that is no block is refused with a text that says so."""
    try:
        block = Block.read(text)
    except ValueError:
        return
    assert ipaddress.ip_network(str(block)).prefixlen == block.size
