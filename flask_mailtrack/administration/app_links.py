"""Whether phones can open an app from links on a host: they ask the host itself for the files that say so."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException

from .domain_check import Reached, fetch

LONGEST_FILE = 131_072
"""Octets that Apple reads of such a file; what is longer is none."""
_BROWSER = "Until then links there open in the browser."


def look_at(
    files: Mapping[str, bytes], host: str, address: str, *, port: int, context: ssl.SSLContext | None
) -> Reached:
    """Return what *host* at *address* makes of the files; the first that is wrong is told of.

    :param files: as they must be, by path; at least one.
    :param context: of TLS; ``None``: plain HTTP.
    """
    for path, wanted in files.items():
        found = _one(path, wanted, host, address, port, context)
        if not found.good:
            return found
    return Reached(True, True, f"{host} says which links an app opens.")


def _one(path: str, wanted: bytes, host: str, address: str, port: int, context: ssl.SSLContext | None) -> Reached:
    serve = f"Have the web server pass {path} on {host} to this app. {_BROWSER}"
    try:
        status, headers, body = fetch(host, address, port, path, context, LONGEST_FILE)
    except (OSError, HTTPException, ValueError) as error:
        text = f"{host} did not answer for {path} ({type(error).__name__})."
        return Reached(False, False, text, f"Look at the web server and the firewall, and check again. {_BROWSER}")
    if 300 <= status < 400:
        text = f"{host} redirects {path} to {headers.get('location', '')[:200]}, which phones do not follow."
        return Reached(False, True, text, serve)
    if status != 200:
        return Reached(False, True, f"{host} answers {status} for {path}.", serve)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return Reached(
            False, True, f"{host} serves {path} as {kind[:80] or 'nothing'}, not as application/json.", serve
        )
    if not _same(body, wanted):
        return Reached(False, True, f"{host} serves another {path} than this app: a cache, or a file there.", serve)
    return Reached(True, True, f"{host} serves {path}.")


def _same(body: str, wanted: bytes) -> bool:
    """Compare what the files say, as something on the way may have written them otherwise."""
    try:
        said = json.loads(body.encode("latin-1"))
    except (ValueError, RecursionError):
        return False
    return bool(said == json.loads(wanted))
