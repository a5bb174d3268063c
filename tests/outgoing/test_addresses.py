"""Addresses: as Flask-Mail reads them, and as they are compared."""

from __future__ import annotations

from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.outgoing.delivery import compared, is_bare, name_and_address
from flask_mailtrack.privacy import normalise

PIECES = [
    "ada",
    "Ada",
    "example",
    "com",
    "@",
    ".",
    "..",
    "-",
    "+",
    "_",
    "<",
    ">",
    '"',
    " ",
    ",",
    ":",
    "(",
    ")",
    "ü",
    "\n",
]
WRITTEN = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.emails() | st.text(max_size=20)


@given(WRITTEN)
def test_what_need_not_be_parsed_is_read_as_if_it_were(written: str) -> None:
    """A usual address is taken as it stands only where the parser would take it as it stands."""
    assert name_and_address(written) == parseaddr(written)
    if is_bare(written):
        assert compared(written) == normalise(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Ada.Lovelace+news@Example.COM", "ada.lovelace+news@example.com"),
        ("Ada <ADA@example.com>", "ada@example.com"),
        (("Ada", "ADA@example.com"), "ada@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("root@localhost", "root@localhost"),
        (("Nobody", ""), "('nobody', '')"),
        (None, ""),
    ],
)
def test_an_address_is_compared_in_one_spelling(written: Any, expected: str) -> None:
    """Who is asked for, and who has a row, does not depend on how the author writes an address."""
    assert compared(written) == expected


@pytest.mark.parametrize("written", ["ada@example.com", "a.b-c_d+e@mail.example.co.uk", "1@2.3"])
def test_usual_addresses_are_not_parsed(written: str) -> None:
    """The common case is the cheap one."""
    assert is_bare(written)


@pytest.mark.parametrize("written", ["ada@example.com\n", "ada@localhost", ".a@b.c", "a@b..c", ("", "ada@example.com")])
def test_the_rest_is_parsed(written: Any) -> None:
    """What is the least unusual goes to the parser."""
    assert not is_bare(written)
