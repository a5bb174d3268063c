"""The certificate of a host: whether mail clients accept it, and its end."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask_mailtrack.outside import connected
from flask_mailtrack.phrases import NOTHING, Phrase

# OpenSSL's numbers, as in SSLCertVerificationError.verify_code.
_EXPIRED, _NOT_YET, _SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _UNVERIFIED_LEAF, _HOST, _ADDRESS = (
    *(10, 9, 18, 19, 20, 21, 62, 64),
)
_PUBLIC = Phrase("Install a certificate of a public authority.")
_FULL_CHAIN = Phrase("Serve the full chain: with certbot that is fullchain.pem.")
_OTHER_NAME = (Phrase("is for another name"), Phrase("Install a certificate that names this host."))
_WRONG: dict[int, tuple[Phrase, Phrase]] = {
    _EXPIRED: (Phrase("has expired"), Phrase("Renew the certificate.")),
    _NOT_YET: (Phrase("is not valid yet"), Phrase("Look at the server's clock, or wait.")),
    _SELF_SIGNED: (Phrase("is signed by itself"), _PUBLIC),
    _SELF_SIGNED_IN_CHAIN: (Phrase("is of an authority that nobody knows"), _PUBLIC),
    _NO_ISSUER: (
        Phrase("comes with an incomplete chain, or is of an authority that nobody knows"),
        _FULL_CHAIN,
    ),
    _UNVERIFIED_LEAF: (Phrase("comes with an incomplete chain"), _FULL_CHAIN),
    _HOST: _OTHER_NAME,
    _ADDRESS: _OTHER_NAME,
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
    text: Phrase
    cure: Phrase = NOTHING
    ends: datetime | None = None


def look_at(host: str, address: str, port: int = 443, context: ssl.SSLContext | None = None) -> Certificate:
    """Return the certificate that *address* shows for *host*.

    :param host: in A-labels, without the last dot.
    :param address: in text. The connection goes to this address, even if the name resolves to another one meanwhile.
    :param context: default: the system's authorities.
    """
    context = context or ssl.create_default_context()
    where = {"host": host, "port": str(port)}  # a port is no number that one counts
    try:
        with connected(address, port) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
            ends = _ends(secure.getpeercert() or {})
            return Certificate(True, True, _good(host, ends), NOTHING, ends)
    except ssl.SSLCertVerificationError as error:
        return _bad(host, error, _ends_of_bad(host, address, port))
    except ssl.SSLError as error:
        why = error.reason or Phrase("no reason given")
        text = Phrase("%(host)s does not speak TLS 1.2 or newer on port %(port)s (%(why)s).", **where, why=why)
        return Certificate(False, True, text, Phrase("Serve the host over TLS, with a certificate for its name."))
    except ConnectionRefusedError:
        text = Phrase("Nobody listens for %(host)s on port %(port)s of %(address)s.", **where, address=address)
        return Certificate(False, True, text, Phrase("Start the web server for this host, and open the port."))
    except OSError as error:
        text = Phrase(
            "%(address)s did not answer for %(host)s on port %(port)s (%(error)s).",
            **where,
            address=address,
            error=type(error).__name__,
        )
        return Certificate(False, False, text, Phrase("Look at the firewall, and check again."))


def _good(host: str, ends: datetime | None) -> Phrase:
    if ends is None:
        return Phrase("The certificate of %(host)s is good.", host=host)
    return Phrase("The certificate of %(host)s is good until %(day)s.", host=host, day=ends.date())


def _bad(host: str, error: ssl.SSLCertVerificationError, ends: datetime | None) -> Certificate:
    refused = (Phrase("is refused: %(problem)s", problem=error.verify_message), Phrase("Install another one."))
    what, cure = _WRONG.get(error.verify_code, refused)
    if ends and error.verify_code == _EXPIRED:
        what = Phrase("has expired (%(day)s)", day=ends.date())
    return Certificate(False, True, Phrase("The certificate of %(host)s %(what)s.", host=host, what=what), cure, ends)


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
