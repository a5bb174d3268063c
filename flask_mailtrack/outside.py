"""How this package asks others over the network: public addresses only, and in a limited time.

The caller resolves a name once, and hands over the address, so that a name cannot lead elsewhere in between. Redirects
are not followed, proxies of the environment are not used, and only the beginning of an answer is read.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection

CONNECT_SECONDS = 5.0
ALL_SECONDS = 8.0
LONGEST_ANSWER = 4_096

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


def is_public(address: str) -> bool:
    """Say whether *address*, in text as a resolver returns it, belongs to the public network.

    Text that is no address, or an address that wraps another one, does not.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is not None:
        found = mapped
    if found.is_multicast or not found.is_global:
        return False
    return not any(found.version == net.version and found in net for net in _NOT_PUBLIC)


def has_route(address: str) -> bool:
    """Say whether this machine has a route to *address*. Many machines have IPv4 only. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 443))
    except OSError:
        return False
    return True


def reachable(addresses: Sequence[str], most: int) -> list[str]:
    """Return the first of the addresses to which this machine has a route; of all, if it has a route to none."""
    return ([each for each in addresses if has_route(each)] or list(addresses))[:most]


def connected(address: str, port: int, seconds: float = CONNECT_SECONDS) -> socket.socket:
    """Return a connection to *address* itself. Every later wait on it ends after *seconds*, too."""
    return socket.create_connection((address, port), timeout=seconds)


def fetch(
    host: str,
    address: str,
    port: int,
    path: str,
    context: ssl.SSLContext | None,
    longest: int = LONGEST_ANSWER,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = ALL_SECONDS,
) -> tuple[int, dict[str, str], str]:
    """Return status, headers and the beginning of the body, in a limited time. Redirects are not followed.

    :param context: of TLS; ``None``: plain HTTP.
    :param longest: octets of the body that are read.
    :param body: what is posted; ``None``: nothing, by GET.
    :param headers: of the request.
    :param seconds: for all after the connection, which takes at most :data:`CONNECT_SECONDS`.
    :raises OSError: nobody answered in time, or the certificate is bad.
    :raises HTTPException: the answer is not HTTP.
    """
    given = {"User-Agent": "flask-mailtrack", "Connection": "close", **(headers or {})}
    plain = connected(address, port)
    with _secured(plain, host, context) if context else plain as connection:
        # The socket limits each wait, but not all of them together, and a server may send single bytes.
        late = threading.Event()
        end = threading.Timer(seconds, _cut, [connection, late])
        end.daemon = True
        end.start()
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            if body is not None:  # who takes something in may work before the answer
                connection.settimeout(seconds)
            talk = HTTPConnection(host, port)
            talk.sock = connection
            talk.request("GET" if body is None else "POST", path, body, given)
            response = talk.getresponse()
            text = response.read(longest).decode("latin-1")
        except OSError as error:
            if late.is_set():  # what TLS says of the cut is no finding about the host
                raise TimeoutError("the answer did not come to its end") from error
            raise
        finally:
            end.cancel()
        if late.is_set():
            raise TimeoutError("the answer did not come to its end")
        return response.status, {name.lower(): value for name, value in response.getheaders()}, text


def _secured(plain: socket.socket, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection before its handshake, which may be as slow as any answer."""
    try:
        return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise


def _cut(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
