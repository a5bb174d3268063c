"""The list of networks is a file with a date in it."""

from __future__ import annotations

import ipaddress
import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack import networks
from flask_mailtrack.networks import Block, Network

DAY = date(2026, 11, 21)
APPLE = """172.224.226.0/31,GB,GB-EN,London,
172.224.226.2/31,GB,GB-EN,London,
2a02:26f7:d580:4000::/64,LS,LS-A,Maseru,
"""
OWN = """# Ours.
[certain] 2026-01-02 https://example.com/list
acme 203.0.113.0/24

[probable] 2026-03-04
acme 2001:db8::/32
"""


def test_the_bundled_list_is_good() -> None:
    """The list of the package is dated, names filters, and no whole cloud."""
    sections = networks.load("")
    known = networks.networks_of(sections)
    assert known.find("40.107.1.2") == Network("certain", "microsoft")
    assert known.find("209.222.82.9") == Network("certain", "barracuda")
    assert known.find("67.231.152.1") == Network("probable", "proofpoint")
    assert known.find("2a01:111:f403::1") == Network("certain", "microsoft")
    assert known.find("20.42.0.1") == Network()
    assert all(part.source for part in sections.values())
    assert networks.oldest(sections)[1] >= DAY


def test_our_own_format() -> None:
    """Each section has a kind, a date and a source, and each line a provider and a block."""
    sections = networks.read(OWN)
    assert sections["certain"] == networks.Section(
        date(2026, 1, 2), "https://example.com/list", (("acme", Block.read("203.0.113.0/24")),)
    )
    assert networks.oldest(sections) == ("certain", date(2026, 1, 2))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("acme 203.0.113.1/24", "host bits"),
        ("acme 203.0.113.0/33", "no size from 0 to 32"),
        ("acme", "'' is no network"),
        ("acme 0.0.0.0/0", "wider"),
        ("acme ::/0", "wider"),
        ("Acme! 203.0.113.0/24", "no provider"),
        ("[maybe] 2026-01-02", "no section"),
        ("[apple] yesterday", "no date"),
        ("[certain] 2026-01-02", "second section"),
        ("\ufffd\ufffd", "no provider"),
    ],
)
def test_a_bad_line_has_its_number(line: str, problem: str) -> None:
    """Each line that is wrong is told with its number, and what is wrong with it."""
    with pytest.raises(networks.BadNetworks, match="line 7") as caught:
        networks.read(f"{OWN}{line}\n\nacme nonsense")
    (number, text), *others = caught.value.problems
    assert number == 7
    assert problem in text
    assert [number for number, _ in others] == [9]


@pytest.mark.parametrize("text", ["", "# nothing", "acme 203.0.113.0/24"])
def test_a_list_without_a_date_is_refused(text: str) -> None:
    """A list that does not say how old it is is none."""
    with pytest.raises(networks.BadNetworks, match="section"):
        networks.read(text)


def test_apples_list() -> None:
    """Apple's CSV is read, and blocks that lie side by side become one."""
    section = networks.read_apple(APPLE, DAY)
    assert [str(block) for _, block in section.blocks] == ["172.224.226.0/30", "2a02:26f7:d580:4000::/64"]
    assert (section.day, section.source) == (DAY, networks.APPLE)


@pytest.mark.parametrize("text", ["<html>,</html>", "172.224.226.0/31,GB\nx,y", ",,,"])
def test_what_is_not_apples_list_is_refused(text: str) -> None:
    """An error page in the place of the list is not taken for one."""
    with pytest.raises(networks.BadNetworks):
        networks.read_apple(text, DAY)


def test_apples_list_replaces_its_section_only() -> None:
    """What is known of filters stays when Apple's list is renewed, with its own date."""
    merged = networks.merged(networks.read(OWN), APPLE, DAY)
    assert {kind: part.day for kind, part in merged.items()} == {
        "certain": date(2026, 1, 2),
        "probable": date(2026, 3, 4),
        "apple": DAY,
    }


def test_a_list_of_our_format_replaces_everything_and_is_of_today() -> None:
    """Whoever downloads a list of our format has looked after all of it, today."""
    merged = networks.merged(networks.read(OWN), "[apple] 2020-01-01 x\napple 192.0.2.0/24", DAY)
    assert {kind: part.day for kind, part in merged.items()} == {"apple": DAY}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A written list reads the same, and the host's file replaces the one of the package."""
    path = tmp_path / "networks.txt"
    assert networks.load(str(path)) == networks.load("")
    sections = networks.merged(networks.read(OWN), APPLE, DAY)
    networks.write(path, sections)
    assert networks.load(str(path)) == sections
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["networks.txt"]


def test_a_failed_write_leaves_the_old_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle leaves the list as it was, and nothing beside it."""
    path = tmp_path / "networks.txt"
    path.write_text(OWN)

    def full(handle: int) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        networks.write(path, networks.read(OWN + "acme 2001:db9::/32"))
    assert path.read_text() == OWN
    assert os.listdir(tmp_path) == ["networks.txt"]


words = st.sampled_from(["[certain]", "2026-01-02", "acme", "10.0.0.0/8", " ", "\n", ","])


@given(st.text() | st.lists(words).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever was downloaded is a list, or is refused with numbers of lines."""
    for reading in (networks.read, lambda text: networks.merged({}, text, DAY)):
        try:
            found: object = reading(text)
        except networks.BadNetworks as error:
            found = error.problems
        assert found


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 255), st.integers(22, 32)), min_size=1))
def test_joined_blocks_cover_the_same_addresses(drawn: list[tuple[int, int, int]]) -> None:
    """Nothing is lost or gained when blocks become one, and they are as few as the standard library finds."""
    blocks = [ipaddress.IPv4Network(f"203.0.{c}.{d}/{size}", strict=False) for c, d, size in drawn]
    section = networks.read_apple("".join(f"{block},,,," + chr(10) for block in blocks), DAY)
    assert [str(block) for _, block in section.blocks] == list(map(str, ipaddress.collapse_addresses(blocks)))
