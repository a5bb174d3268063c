"""The parts of an address and of a user agent that are kept, decided before anything touches the disk."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from datetime import date
from email.utils import parseaddr
from functools import lru_cache
from hashlib import blake2b

MAX_USER_AGENT = 512

_IPV4 = re.compile(r"((?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3})(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)", re.ASCII)
_ROUTE = re.compile(r"@[^\s:,@\"]+(?:,@[^\s:,@\"]+)*:(?=.*@)", re.DOTALL)
_COMMENT = re.compile(r"[()]")
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_DOT_STRING = re.compile(r"[^\s\"(),:;<>@\[\]\\\x00-\x1f.]+(?:\.[^\s\"(),:;<>@\[\]\\\x00-\x1f.]+)*")
_ANGLE_ADDRESS = re.compile(r"<([^<>]+)>\s*\Z")


def bare_ip(address: str | None) -> str | None:
    """Return *address* without the port that some gateways add: ``203.0.113.7:51234``, ``[2001:db8::1]:443``.

    :param address: ``REMOTE_ADDR``. ProxyFix takes it from the header of such gateways as it is.
    """
    if not address or ":" not in address:
        return address
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, rest = address.partition(":")
    return address if ":" in rest else host


def keep_ip(address: str | None, mode: str, salt: bytes, day: date) -> str:
    """Return the part of an IP address that may be stored.

    :param address: ``request.remote_addr``; anything that is not an IP address gives ``""``.
    :param mode: ``truncate`` keeps the /24 of IPv4 and the /48 of IPv6; ``full`` keeps all;
        ``hash`` keeps a keyed hash that cannot be compared across days; ``none`` keeps nothing.
    :param salt: the key of ``hash``.
    :param day: the day to which ``hash`` is bound.
    """
    if mode == "none" or not address:
        return ""
    if mode == "truncate" and (found := _IPV4.fullmatch(address)):  # the same result as below, without objects
        return f"{found[1]}0"
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        # A zone is a name inside one machine. In a forged header it could be any text.
        ip = ip.ipv4_mapped or ipaddress.IPv6Address(int(ip))
    if mode == "full":
        return str(ip)
    if mode == "hash":
        return blake2b(f"{day}/{ip}".encode(), key=salt[:64], digest_size=12).hexdigest()
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.sixtofour or ip  # the first 48 bits of 6to4 hold a whole IPv4 address
    host_bits = 8 if ip.version == 4 else 80
    return str(type(ip)(int(ip) >> host_bits << host_bits))


def clean(text: str, limit: int) -> str:
    """Return *text* for any database: no NUL, which PostgreSQL refuses, no lone surrogates, cut to *limit*."""
    return text[:limit].replace("\0", "").encode("utf-8", "replace").decode()


def legible(said: bytes | str, limit: int) -> str:
    """Return another machine's answer as one line of at most *limit* characters, without control characters."""
    text = said[: 4 * limit].decode("utf-8", "replace") if isinstance(said, bytes) else said[: 4 * limit]
    return clean(" ".join("".join(c if c.isprintable() else " " for c in text).split()), limit)


@lru_cache(1_024)
def normalise(address: str) -> str:
    """Return the spelling of an address for comparisons: one for each mailbox, however the address is written.

    The result is bare, in lower case and NFC, without needless quotes, route and comments. Its domain is in IDNA and
    has no last dot. Of a text that is no address, only case, form and blank ends change.

    The local part is lower-cased, too. RFC 5321, section 2.4, lets a server tell the cases apart, but hardly any
    server does. A mail to somebody who has unsubscribed would be the worse mistake.
    """
    written = unicodedata.normalize("NFC", address)
    # The address is in the angle brackets, even if the name before them looks like an address. The parser would take
    # the name, or, since Python 3.13, nothing.
    angle = _ANGLE_ADDRESS.search(written)
    bare = angle[1] if angle else written
    # A route is obsolete, and must be ignored (RFC 5321, section 4.1.1.3).
    bare = _ROUTE.sub("", bare.strip())
    if not angle or _COMMENT.search(bare):
        bare = _parsed(bare) or bare
    local, at, domain = bare.strip().lower().rpartition("@")
    if not at:
        return domain
    return f"{_unquoted(local.strip())}@{_domain(domain.strip())}"


def _parsed(written: str) -> str:
    """Return the address that the library's parser finds; empty if there is none, or the parser gives up."""
    try:
        return parseaddr(written)[1]
    except (RecursionError, ValueError, IndexError, TypeError):  # thousands of brackets and other broken input
        return ""


def _unquoted(local: str) -> str:
    """Return a local part without quotes, if it means the same without them: RFC 5321, section 4.1.2."""
    if len(local) < 2 or local[0] != '"' or local[-1] != '"':
        return local
    plain = _PAIR.sub(r"\1", local[1:-1])
    if _DOT_STRING.fullmatch(plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _domain(domain: str) -> str:
    """Return a domain in the spelling for comparisons."""
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode().lower()
        except UnicodeError:
            return domain
    return domain.rstrip(".")


def mask(address: str) -> str:
    """Return an address that its owner recognises and a stranger does not: ``a•••@e•••.org``.

    One letter is shown of a part with at least two, and the top-level domain if there is one.
    """
    local, at, domain = address.rpartition("@")
    if not at:
        return "•••"
    name, _, top = domain.rpartition(".")
    return f"{_first(local)}•••@{_first(name)}•••.{top}" if name and top else f"{_first(local)}•••@{_first(domain)}•••"


def _first(text: str) -> str:
    return text[0] if len(text) > 1 and text[0] != "•" else ""  # what is masked already stays as it is
