"""Questions about our own host names: whether a name reaches this app, and whom a web server may serve.

Neither names anybody, and neither is recorded. Both are answered from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

from flask_mailtrack.destination import host_of

from . import answer
from .answer import Answer

ASK = "ask"


class OwnHosts:
    """Answers both.

    :param proof: says what only this app can say; see :meth:`.Signer.host_proof`.
    :param known: says whether a name is one of ours; must not wait for anything.
    :param secret: lets a web server on another machine ask; empty: only one on this machine may.
    """

    def __init__(self, proof: Callable[[str, str], str | None], known: Callable[[str], bool], secret: str) -> None:
        self._proof = proof
        self._known = known
        self._secret = secret

    def answer(self, environ: Mapping[str, Any], path: str) -> Answer:
        """Return the proof, or 200 for a name that is ours, else 404."""
        asked = path.strip("/")
        if asked.lower() == ASK:
            return self._allowed(environ)
        said = self._proof(host_of(f"http://{environ.get('HTTP_HOST', '')}"), asked.lower())
        return answer.text(f"{said}\n", 200) if said else answer.text("There is nothing here.\n", 404)

    def _allowed(self, environ: Mapping[str, Any]) -> Answer:
        given = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=10)
        secret, names = given.get("secret", [""])[0], given.get("domain", [])
        may_ask = compare_digest(secret.encode(), self._secret.encode()) if self._secret else _is_near(environ)
        good = may_ask and len(names) == 1 and self._known(names[0].lower().rstrip("."))
        return answer.text("Yes.\n", 200) if good else answer.text("No.\n", 404)


def _is_near(environ: Mapping[str, Any]) -> bool:
    """Say whether a request is of this machine, and not passed on for somebody else."""
    try:
        near = ip_address(environ.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    return near and "HTTP_X_FORWARDED_FOR" not in environ and "HTTP_FORWARDED" not in environ
