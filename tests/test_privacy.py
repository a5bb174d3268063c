"""What is kept of people is cut before it is written down."""

from __future__ import annotations

import ipaddress
import re
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_mailtrack.privacy import clean, keep_ip, mask, normalise

DAY, SALT = date(2024, 2, 29), b"salt"


@pytest.mark.parametrize(
    ("address", "truncated", "full"),
    [
        ("203.0.113.77", "203.0.113.0", "203.0.113.77"),
        ("255.255.255.255", "255.255.255.0", "255.255.255.255"),
        ("0.0.0.0", "0.0.0.0", "0.0.0.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::", "2001:db8:1:2:3:4:5:6"),
        ("2001:0DB8:0001:ffff::1", "2001:db8:1::", "2001:db8:1:ffff::1"),
        ("::1", "::", "::1"),
        ("::ffff:203.0.113.77", "203.0.113.0", "203.0.113.77"),
        ("::FFFF:cb00:714d", "203.0.113.0", "203.0.113.77"),
        ("2002:cb00:714d:1::1", "203.0.113.0", "2002:cb00:714d:1::1"),
        ("fe80::1%eth0", "fe80::", "fe80::1"),
        ("fe80::1%<script>", "fe80::", "fe80::1"),
        ("::ffff:203.0.113.77%x", "203.0.113.0", "203.0.113.77"),
    ],
)
def test_an_address_is_truncated(address: str, truncated: str, full: str) -> None:
    """The /24 of IPv4 and the /48 of IPv6 are kept, also of IPv4 inside IPv6; or all, if asked."""
    assert keep_ip(address, "truncate", SALT, DAY) == truncated
    assert keep_ip(address, "full", SALT, DAY) == full
    assert keep_ip(address, "none", SALT, DAY) == ""


JUNK = [
    None,
    "",
    "unknown",
    "_hidden",
    "203.0.113.77:4711",
    "[2001:db8::1]",
    "[2001:db8::1]:80",
    "203.0.113.77, 198.51.100.1",
    ", ".join(["203.0.113.77"] * 1_000),
    "203.0.113.077",
    "203.0.113.256",
    "203.0.113.0/24",
    "203.0.113.77\r\nx",
    " 203.0.113.77",
    "٢٠٣.0.113.77",
    "for=203.0.113.77",
    "1" * 100_000,
    "<script>",
    "127.1",
    "fe80::1%",
    "\ud800",
]


@pytest.mark.parametrize("address", JUNK, ids=range(len(JUNK)))
def test_what_is_no_address_is_not_kept(address: str | None) -> None:
    """Attacks 42 and 43: forged headers with lists, ports and words leave nothing behind."""
    for mode in ("truncate", "full", "hash", "none"):
        assert keep_ip(address, mode, SALT, DAY) == ""


@given(st.text(st.characters()))
def test_any_address_is_kept_or_not(address: str) -> None:
    """Whatever the server takes for an address gives an address or nothing."""
    assert re.fullmatch(r"[0-9a-f.:]*", keep_ip(address, "truncate", SALT, DAY))


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_a_hash_tells_people_apart_for_a_day(one: object, other: object) -> None:
    """On one day equal addresses have equal hashes and different ones do not."""
    hashes = [keep_ip(str(address), "hash", SALT, DAY) for address in (one, one, other)]
    assert hashes[0] == hashes[1]
    assert (hashes[1] == hashes[2]) == (str(one) == str(other))
    assert all(re.fullmatch("[0-9a-f]{24}", value) for value in hashes)


def test_a_hash_is_bound_to_day_and_key() -> None:
    """Nobody can follow an address from day to day, or from site to site."""
    cases = [(SALT, DAY), (SALT, date(2024, 3, 1)), (b"other", DAY), (b"", DAY), (b"x" * 100, DAY)]
    assert len({keep_ip("203.0.113.77", "hash", salt, day) for salt, day in cases}) == len(cases)


def test_a_mapped_address_has_one_hash() -> None:
    """The same visitor behind a dual-stack server has the same hash."""
    assert keep_ip("::ffff:203.0.113.77", "hash", SALT, DAY) == keep_ip("203.0.113.77", "hash", SALT, DAY)


def test_an_unknown_mode_keeps_the_least() -> None:
    """A mode that does not exist truncates rather than keeps."""
    assert keep_ip("203.0.113.77", "everything", SALT, DAY) == "203.0.113.0"


@given(text=st.text(st.characters()), limit=st.integers(0, 50))
@example(text="\ud83d\ude00\0" * 9, limit=20)
def test_clean_text_fits_any_database(text: str, limit: int) -> None:
    """Text of any origin can be encoded, has no NUL and is as short as asked."""
    cleaned = clean(text, limit)
    assert "\0" not in cleaned
    assert len(cleaned) <= limit
    assert cleaned.encode().decode() == cleaned


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("naïve 😀", 20, "naïve 😀"), ("a\0b", 20, "ab"), ("abcdef", 3, "abc"), ("x\ud800y", 9, "x?y"), ("", 5, "")],
)
def test_clean_text_is_otherwise_the_same(text: str, limit: int, expected: str) -> None:
    """Only what a database cannot keep is changed."""
    assert clean(text, limit) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("  ada@example.com\t", "ada@example.com"),
        ("Ada Lovelace <ADA@example.com>", "ada@example.com"),
        ('"Lovelace, Ada" <ada@example.com>', "ada@example.com"),
        ("Lovelace, Ada <ada@example.com>", "ada@example.com"),
        ("bob@example.org <ada@example.com>", "ada@example.com"),
        ("ada@example.com <ada@example.com>", "ada@example.com"),
        ("Ada <x> <ada@example.com> ", "ada@example.com"),
        ("<ada@example.com>", "ada@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("Ada <ADA@BÜCHER.example>", "ada@xn--bcher-kva.example"),
        ("ada@例え。テスト", "ada@xn--r8jz45g.xn--zckzah"),
        ("ÄDA@example.com", "äda@example.com"),
        ('"a b"@example.com', '"a b"@example.com'),
        ("ada+tag@example.com", "ada+tag@example.com"),
        ("", ""),
        ("<>", "<>"),
        ("ada", "ada"),
        ("@", "@"),
        ("a@b@c.example", "a@b@c.example"),
        ("ada@" + "ü" * 64 + ".example", "ada@" + "ü" * 64 + ".example"),
        ("ada@ü..example", "ada@ü..example"),
    ],
)
def test_an_address_has_one_spelling(address: str, expected: str) -> None:
    """Somebody who unsubscribes under one spelling of an address is known under every other."""
    assert normalise(address) == expected
    assert normalise(expected) == expected


@given(
    st.text(st.characters())
    | st.lists(st.sampled_from(["a", "@", "<", ">", '"', "ü", ".", " ", ",", "(", ")", "\\"])).map("".join)
)
def test_any_text_can_be_normalised(address: str) -> None:
    """What a host passes as an address may be anything, and never stops a mail."""
    assert isinstance(normalise(address), str)


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("ada@example.org", "a•••@e•••.org"),
        ("ada@mail.example.co.uk", "a•••@m•••.uk"),
        ("a@example.org", "•••@e•••.org"),
        ("ada@x.org", "a•••@•••.org"),
        ("ada@localhost", "a•••@l•••"),
        ("a@b", "•••@•••"),
        ("ada@.org", "a•••@.•••"),
        ("ada@example.", "a•••@e•••"),
        ("ada", "•••"),
        ("", "•••"),
        ("@", "•••@•••"),
    ],
)
def test_an_address_is_masked(address: str, masked: str) -> None:
    """A page shows as much of an address as its owner needs to know it."""
    assert mask(address) == masked


@given(local=st.text(min_size=1), domain=st.text(min_size=1).filter(lambda text: "@" not in text))
def test_a_mask_never_shows_a_whole_part(local: str, domain: str) -> None:
    """Neither what is before the at-sign nor what is behind it can be read from a masked address."""
    shown_local, _, shown_domain = mask(f"{local}@{domain}").rpartition("@")
    assert shown_local.removesuffix("•••") in ("", local[0])
    assert shown_local.removesuffix("•••") != local
    assert "•••" in shown_domain
    assert shown_domain.replace("•••", "") != domain


@given(st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n))) | st.from_regex(r"[0-9.]{1,16}"))
def test_the_short_way_to_cut_an_address_is_the_long_one(address: str) -> None:
    """Cutting IPv4 by its text gives the network that the library gives, and nothing where that finds no address."""
    try:
        expected = str(ipaddress.ip_network(f"{ipaddress.IPv4Address(address)}/24", strict=False).network_address)
    except ValueError:
        expected = ""
    assert keep_ip(address, "truncate", SALT, DAY) == expected
