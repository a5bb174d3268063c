"""The proof that a host reaches this app, with this key: a question that nobody else can answer."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest
from http.client import HTTPConnection, HTTPException
from secrets import token_hex

from flask_mailtrack.events import DOMAIN_PATH
from flask_mailtrack.tokens import Signer

from .certificates import connected

ALL_SECONDS = 8.0
LONGEST_ANSWER = 4_096


@dataclass(frozen=True, slots=True)
class Reached:
    """What a host answered.

    :param good: the host reaches this app.
    :param definite: another app answered; a time-out is not definite.
    """

    good: bool
    definite: bool
    text: str
    cure: str = ""


def ask(signer: Signer, host: str, address: str, prefix: str, *, port: int, context: ssl.SSLContext | None) -> Reached:
    """Ask *host* at *address* for the proof.

    No redirect is followed, and no more than a few lines are read.

    :param prefix: the path under which the public routes live.
    :param context: of TLS; ``None``: plain HTTP.
    """
    nonce = token_hex(16)
    path = f"{prefix}/{DOMAIN_PATH}/{nonce}"
    try:
        status, headers, body = fetch(host, address, port, path, context)
    except ssl.SSLError as error:
        return Reached(
            False, True, f"{host} could not be asked over TLS ({error.reason}).", "Mend the certificate first."
        )
    except (OSError, HTTPException, ValueError) as error:
        text = f"{host} did not answer the question of this app ({type(error).__name__})."
        return Reached(False, False, text, "Look at the web server and the firewall, and check again.")
    wanted = signer.host_proof(host, nonce) or ""
    if status == 200 and compare_digest(body.strip().encode(), wanted.encode()):
        return Reached(True, True, f"{host} reaches this app.")
    return _otherwise(host, status, headers, body)


def _otherwise(host: str, status: int, headers: dict[str, str], body: str) -> Reached:
    """Say who answered instead."""
    where = headers.get("location", "")
    serve = f"Have the web server pass requests for {host} to this app, with the header Host as it came."
    if status in (301, 302, 303, 307, 308):
        login = " It looks like a login page." if re.search(r"log-?in|sign-?in|auth|sso", where, re.IGNORECASE) else ""
        return Reached(False, True, f"{host} redirects to {where[:200]}.{login}", serve)
    if status in (401, 403):
        return Reached(
            False, True, f"{host} asks for a login (status {status}).", "Let our paths pass without a login."
        )
    if status == 200 and re.fullmatch(r"[a-z2-7]{52}\s*", body):
        cure = "Give both the same MAILTRACK_SECRET_KEYS and MAILTRACK_APP_ID, and turn caches off for our paths."
        text = f"{host} reaches an app of this kind with another key or host name, or a cache answered."
        return Reached(False, True, text, cure)
    cached = " A cache answered." if {"age", "x-cache", "cf-cache-status"} & headers.keys() else ""
    return Reached(False, True, f"{host} reaches another app (status {status}).{cached}", serve)


def fetch(
    host: str, address: str, port: int, path: str, context: ssl.SSLContext | None, longest: int = LONGEST_ANSWER
) -> tuple[int, dict[str, str], str]:
    """Return status, headers and the beginning of the body, in a bounded time; no redirect is followed.

    :param context: of TLS; ``None``: plain HTTP.
    :param longest: octets of the body that are read.
    :raises OSError: nobody answered in time, or the certificate is bad.
    :raises HTTPException: what came is no answer.
    """
    plain = connected(address, port)
    with context.wrap_socket(plain, server_hostname=host) if context else plain as connection:
        # Each wait is bounded by the socket; all of them together are not, and a server may drip.
        late = threading.Event()
        end = threading.Timer(ALL_SECONDS, _cut, [connection, late])
        end.daemon = True
        end.start()
        try:
            talk = HTTPConnection(host, port)
            talk.sock = connection
            talk.request("GET", path, headers={"User-Agent": "flask-mailtrack domain check", "Connection": "close"})
            response = talk.getresponse()
            body = response.read(longest).decode("latin-1")
        finally:
            end.cancel()
        if late.is_set():
            raise TimeoutError("the answer did not come to its end")
        return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def _cut(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
