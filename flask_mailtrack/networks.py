"""The list of known networks: reads and writes the list, and looks up an address by one bisection.

The package's own format is lines of text in sections. Each section has a date and a source:

.. code-block:: text

    [certain] 2026-11-21 https://example.com/where/it/comes/from
    microsoft 40.92.0.0/15
    # A remark.

Apple's (https://mask-api.icloud.com/egress-ip-ranges.csv) has ``cidr,country,region,city,`` on each line.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_BITS = {4: 32, 6: 128}
_MAPPED = 0xFFFF

KINDS = ("certain", "probable", "apple")
"""The kinds of network, the strongest first.

``certain``: only filters mail. ``probable``: filters mail, and shows people web pages as well. ``apple``:
fetches images for Apple's mail programs, and carries its users' browsing.
"""
OWN = "own"
"""The kind of the sender's own networks, which is stronger than all others."""


class Network(NamedTuple):
    """The facts about the network of an address."""

    kind: str = ""
    """One of :data:`KINDS`, or :data:`OWN`; empty: unknown."""
    provider: str = ""


NOWHERE = Network()


class Block(NamedTuple):
    """A CIDR block. The standard library's class takes ten times as long, and lists have a hundred thousand blocks."""

    version: int
    first: int
    size: int
    """The number of bits that all addresses share."""

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
        # CIDR blocks are disjoint or nested, so an inner block comes right after a block that ends no earlier.
        for start, end, network in sorted(ranges, key=lambda found: (found[0], -found[1])):
            if not self._ends or end > self._ends[-1]:
                self._starts.append(start)
                self._ends.append(end)
                self._networks.append(network)

    def find(self, address: int) -> Network:
        at = bisect_right(self._starts, address) - 1
        return self._networks[at] if at >= 0 and address <= self._ends[at] else NOWHERE


class Networks:
    """Ranges of IPv4 and IPv6 addresses, with their kinds.

    :param ranges: kind, provider and CIDR block. Of nested blocks of one kind the outer one counts. Of several
        kinds the strongest counts.
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
        """Return the network of *address*. Never fails, and keeps nothing of the address.

        :param address: ``request.remote_addr``, whole. Text that is no address has no network. IPv4 inside IPv6
            (``::ffff:…``) counts as IPv4.
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


BUNDLED = Path(__file__).with_name("networks.txt")
APPLE = "https://mask-api.icloud.com/egress-ip-ranges.csv"

# No company has a wider block for one purpose, so a line with one is a mistake, and a costly one.
_WIDEST = {4: 8, 6: 20}
_SECTION = re.compile(r"\[(\w+)\]\s+(\S+)\s*(.*)")
_PROVIDER = re.compile(r"[a-z0-9-]{1,32}")


class BadNetworks(ValueError):
    """A list that cannot be used.

    :param problems: number, from 1, and problem of each bad line.
    """

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        super().__init__(f"line {problems[0][0]}: {problems[0][1]}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Section:
    """The networks of one kind."""

    day: date
    """The day on which the networks were right."""
    source: str
    blocks: tuple[tuple[str, Block], ...]
    """Provider and CIDR block."""


Sections = Mapping[str, Section]
"""Sections by their kind."""


def load(path: str) -> Sections:
    """Return the host's own list if there is one, else the package's.

    :param path: ``MAILTRACK_NETWORKS``; the file may not be there yet.
    :raises BadNetworks: the file is no list.
    :raises OSError: it cannot be read.
    """
    own = path and Path(path).exists()
    return read((Path(path) if own else BUNDLED).read_text("utf-8", "replace"))


def networks_of(sections: Sections, own: Iterable[str] = ()) -> Networks:
    """Return *sections* in the form for looking up addresses.

    :param own: the sender's own networks.
    """
    known = ((kind, provider, block) for kind, part in sections.items() for provider, block in part.blocks)
    return Networks(chain(((OWN, "", Block.read(text)) for text in own), known))


def oldest(sections: Sections) -> tuple[str, date]:
    """Return the kind with the oldest date, and the date."""
    return min(((kind, part.day) for kind, part in sections.items()), key=lambda found: found[1])


def read(text: str) -> Sections:
    """Read a list in the package's own format.

    :raises BadNetworks: with every line that is wrong.
    """
    heads: dict[str, tuple[date, str]] = {}
    blocks: dict[str, list[tuple[str, Block]]] = {}
    current: list[tuple[str, Block]] | None = None

    def take(line: str) -> None:
        nonlocal current
        if line.startswith("["):
            kind, day, source = _section(line)
            if kind in heads:
                raise ValueError(f"a second section [{kind}]")
            heads[kind] = day, source
            current = blocks.setdefault(kind, [])
            return
        provider, _, cidr = line.partition(" ")
        if current is None:
            raise ValueError("stands before the first section, such as [certain] 2026-11-21 https://…")
        if not _PROVIDER.fullmatch(provider):
            raise ValueError(f"{provider!r} is no provider: write lower-case letters, digits and '-'")
        current.append((provider, _block(cidr.strip())))

    _each_line(text, take)
    if not heads:
        raise BadNetworks([(1, "there is no section, such as [certain] 2026-11-21 https://…")])
    return {kind: Section(*heads[kind], tuple(found)) for kind, found in blocks.items()}


def read_apple(text: str, day: date) -> Section:
    """Read Apple's list. Adjacent blocks become one, because their places in the world are not kept.

    :param day: the day of the download.
    :raises BadNetworks: with every line that is wrong.
    """
    found: list[Block] = []
    _each_line(text, lambda line: found.append(_block(line.partition(",")[0].strip())))
    if not found:
        raise BadNetworks([(1, "there is nothing in it")])
    return Section(day, APPLE, tuple(("apple", block) for block in _joined(found)))


def merged(present: Sections, text: str, day: date) -> Sections:
    """Return the list that results from a downloaded file.

    Apple's list is of one kind, so it replaces that kind. A list in the package's own format replaces everything.

    :param present: the list so far.
    :param day: today.
    :raises BadNetworks: with every line that is wrong.
    """
    first = next((line for _, line in _lines(text)), "")
    if "," in first and not first.startswith("["):
        return {**present, "apple": read_apple(text, day)}
    return {kind: Section(day, part.source, part.blocks) for kind, part in read(text).items()}


def write(path: Path, sections: Sections) -> None:
    """Write a list. A reader sees the whole old list or the whole new one.

    :raises OSError: the list cannot be written; the old one stays.
    """
    lines = ["# Networks of machines that touch mail. Written by: flask mailtrack networks update"]
    for kind in (k for k in KINDS if k in sections):
        part = sections[kind]
        lines += ["", f"[{kind}] {part.day} {part.source}".rstrip(), *(f"{p} {block}" for p, block in part.blocks)]
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # the list holds no secret, and workers may run as another user
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if (said := line.strip()) and not said.startswith("#"):
            yield number, said


def _each_line(text: str, take: Callable[[str], object]) -> None:
    problems: list[tuple[int, str]] = []
    for number, line in _lines(text):
        try:
            take(line)
        except ValueError as error:
            problems.append((number, str(error)))
    if problems:
        raise BadNetworks(problems)


def _section(line: str) -> tuple[str, date, str]:
    match = _SECTION.fullmatch(line)
    if not match or match[1] not in KINDS:
        raise ValueError(f"{line[:80]!r} is no section: write [{'|'.join(KINDS)}], a date and a source")
    try:
        return match[1], date.fromisoformat(match[2]), match[3]
    except ValueError:
        raise ValueError(f"{match[2][:80]!r} is no date: write 2026-11-21") from None


def _joined(blocks: list[Block]) -> Iterator[Block]:
    """Yield the smallest number of blocks that cover the same addresses."""
    done: list[Block] = []
    for block in sorted(blocks):
        if done and done[-1].version == block.version and block.last <= done[-1].last:
            continue
        while done and (whole := _whole(done[-1], block)):
            done.pop()
            block = whole
        done.append(block)
    return iter(done)


def _whole(one: Block, other: Block) -> Block | None:
    """Return the block of two halves, if the two blocks are halves of one."""
    if (one.version, one.size, one.last + 1) != (other.version, other.size, other.first):
        return None
    whole = Block(one.version, one.first, one.size - 1)
    return whole if whole.last == other.last else None


def _block(cidr: str) -> Block:
    block = Block.read(cidr)
    if block.size < _WIDEST[block.version]:
        raise ValueError(f"{block} is wider than any network of this kind")
    return block
