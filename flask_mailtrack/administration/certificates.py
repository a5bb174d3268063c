"""The certificate of a host: whether mail clients accept it, and its end."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

CONNECT_SECONDS = 5.0

# OpenSSL's numbers, as in SSLCertVerificationError.verify_code.
_EXPIRED, _NOT_YET, _SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _UNVERIFIED_LEAF, _HOST, _ADDRESS = (
    *(10, 9, 18, 19, 20, 21, 62, 64),
)
_WRONG: dict[int, tuple[str, str]] = {
    _EXPIRED: ("has expired", "Renew the certificate."),
    _NOT_YET: ("is not valid yet", "Look at the server's clock, or wait."),
    _SELF_SIGNED: ("is signed by itself", "Install a certificate of a public authority."),
    _SELF_SIGNED_IN_CHAIN: ("is of an authority that nobody knows", "Install a certificate of a public authority."),
    _NO_ISSUER: (
        "comes with an incomplete chain, or is of an authority that nobody knows",
        "Serve the full chain: with certbot that is fullchain.pem.",
    ),
    _UNVERIFIED_LEAF: (
        "comes with an incomplete chain",
        "Serve the full chain: with certbot that is fullchain.pem.",
    ),
    _HOST: ("is for another name", "Install a certificate that names this host."),
    _ADDRESS: ("is for another name", "Install a certificate that names this host."),
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate that one address showed for a name.

    :param good: mail clients accept the certificate.
    :param definite: the answer is certain; a time-out is not.
    :param text: the finding, as a sentence.
    :param cure: the cure; empty if the certificate is good.
    :param ends: the end of the certificate, also of a bad one; ``None`` if no certificate was seen.
    """

    good: bool
    definite: bool
    text: str
    cure: str = ""
    ends: datetime | None = None


def look_at(host: str, address: str, port: int = 443, context: ssl.SSLContext | None = None) -> Certificate:
    """Return the certificate that *address* shows for *host*.

    :param host: in A-labels, without the last dot.
    :param address: in text. The connection goes to this address, even if the name resolves to another one meanwhile.
    :param context: default: the system's authorities.
    """
    context = context or ssl.create_default_context()
    try:
        with connected(address, port) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
            ends = _ends(secure.getpeercert() or {})
            until = f" until {ends:%Y-%m-%d}" if ends else ""
            return Certificate(True, True, f"The certificate of {host} is good{until}.", "", ends)
    except ssl.SSLCertVerificationError as error:
        what, cure = _WRONG.get(error.verify_code, (f"is refused: {error.verify_message}", "Install another one."))
        ends = _ends_of_bad(host, address, port)
        on = f" ({ends:%Y-%m-%d})" if ends and error.verify_code == _EXPIRED else ""
        return Certificate(False, True, f"The certificate of {host} {what}{on}.", cure, ends)
    except ssl.SSLError as error:
        text = f"{host} does not speak TLS 1.2 or newer on port {port} ({error.reason or 'no reason given'})."
        return Certificate(False, True, text, "Serve the host over TLS, with a certificate for its name.")
    except ConnectionRefusedError:
        text = f"Nobody listens for {host} on port {port} of {address}."
        return Certificate(False, True, text, "Start the web server for this host, and open the port.")
    except OSError as error:
        text = f"{address} did not answer for {host} on port {port} ({type(error).__name__})."
        return Certificate(False, False, text, "Look at the firewall, and check again.")


def connected(address: str, port: int, seconds: float = CONNECT_SECONDS) -> socket.socket:
    """Return a connection to *address* itself. Every later wait on it ends after *seconds*, too."""
    return socket.create_connection((address, port), timeout=seconds)


def _ends(shown: Any) -> datetime | None:
    said = shown.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(said), UTC) if said else None


def _ends_of_bad(host: str, address: str, port: int) -> datetime | None:
    """Return the end of a certificate that could not be verified. Nothing else is read from the connection."""
    try:
        from cryptography import x509
    except ImportError:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with connected(address, port) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
            octets = secure.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(octets).not_valid_after_utc if octets else None
    except (OSError, ValueError):
        return None
