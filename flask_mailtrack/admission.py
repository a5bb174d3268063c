"""Who may hand mail to the relay, and where: its address, its users, and what another machine needs.

A password is made by a command, of 192 random bits. So a plain hash of it is enough: nobody guesses the password, and
a slow hash would let strangers keep the processor busy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from .checks import bad

_LISTEN = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})")
_HASH = re.compile(r"[0-9a-f]{64}")
_NOBODY = "0" * 64
"""The hash of no password."""


class Listen(str):
    """An address and a port at which mail is taken."""

    @property
    def host(self) -> str:
        """The IP address."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        return ip_address(self.host).is_loopback


def listen(key: str, value: Any) -> Listen:
    """An IP address with a port."""
    cure = "Write an IP address and a port, such as '127.0.0.1:2525' or '[::1]:2525'."
    found = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    try:
        ip_address((found["six"] or found["four"]) if found else "")
    except ValueError:
        found = None
    if found is None or not 0 < int(found["port"]) < 65_536:
        raise bad("E190", key, f"is {value!r}.", cure)
    return Listen(value)


def users(key: str, value: Any) -> dict[str, str]:
    """The SHA-256 of a password by the name of its user."""
    cure = "Write {'shop': '…'}, as `flask mailtrack relay --new-password shop` prints it."
    if not isinstance(value, Mapping):
        raise bad("E191", key, "is not a dict.", cure)
    for name, hashed in value.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            raise bad("E191", key, f"has the name {name!r}.", cure)
        if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):  # not shown, as it may be the password
            raise bad("E191", f"{key}[{name!r}]", "is not a hash of 64 hexadecimal digits.", cure)
    return dict(value)


def check(listen: Listen, users: Mapping[str, str], certificate: str, without_tls: bool) -> None:
    """Refuse a relay that is open to other machines.

    :raises ConfigError: other machines reach the relay, and may send without a password, or send it for all to read.
    """
    if listen.is_loopback:
        return
    problem = f"is {listen.host}, which other machines may reach."
    if not users:
        cure = "Set MAILTRACK_RELAY_USERS, or listen at 127.0.0.1."
        raise bad("E192", "MAILTRACK_RELAY_LISTEN", f"{problem} They could send to anybody.", cure)
    if not certificate and not without_tls:
        cure = "Set MAILTRACK_RELAY_CERTIFICATE; or, where nobody else is on the network, MAILTRACK_RELAY_WITHOUT_TLS."
        raise bad("E193", "MAILTRACK_RELAY_LISTEN", f"{problem} Passwords would be sent for all to read.", cure)


def new_password() -> tuple[str, str]:
    """Return a password, and what the configuration has of it."""
    password = secrets.token_urlsafe(24)
    return password, _hash(password.encode())


def admits(users: Mapping[str, str], name: bytes, password: bytes) -> bool:
    """Say whether *password* is that of the user *name*. The time tells nothing of either."""
    known = users.get(name.decode("utf-8", "replace"), _NOBODY)
    return hmac.compare_digest(known, _hash(password))


def _hash(password: bytes) -> str:
    return hashlib.sha256(password).hexdigest()
