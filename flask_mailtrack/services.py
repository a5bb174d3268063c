"""The services that relay the mail and tell what became of it: their names, and the check of ``MAILTRACK_SERVICES``.

A secret stands in the address that a service calls. Some services also sign their calls, with a key that they show.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple

from .checks import bad, base_url

SERVICE_PATH = "in"
"""The first path segment of the address that a service calls."""

MARK = "mailtrack"
"""The name of the token of a copy, in the metadata of a service."""


class Carrier(NamedTuple):
    """The header in which a service takes the token of a copy, and gives it back in what it tells."""

    header: str
    path: tuple[str, ...] = ()
    """Where the token stands in the JSON of the header; empty: the token is all of the header."""


_OWN = Carrier("X-Mailtrack-Copy")
CARRIERS: dict[str, Carrier] = {
    "alidm": _OWN,
    "brevo": Carrier("X-Mailin-custom"),
    "mailgun": Carrier("X-Mailgun-Variables", (MARK,)),
    "mailjet": Carrier("X-MJ-CustomID"),
    "mandrill": Carrier("X-MC-Metadata", (MARK,)),
    "postmark": Carrier(f"X-PM-Metadata-{MARK}"),
    "resend": _OWN,
    "sendcloud": Carrier("SC-Custom-Mailtrack"),
    # SendGrid puts it among the other fields of an event.
    "sendgrid": Carrier("X-SMTPAPI", ("unique_args", MARK)),
    "ses": _OWN,
    "sparkpost": Carrier("X-MSYS-API", ("metadata", MARK)),
    "tencent": Carrier("X-Tencentcloudses-Cb-Custom"),
}

_SECRET = re.compile(r"[A-Za-z0-9_-]{16,200}", re.ASCII)
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}", re.ASCII)
_OPTIONS: dict[str, tuple[str, ...]] = {
    "alidm": (),
    "brevo": (),
    "mailgun": ("key",),
    "mailjet": (),
    "mandrill": ("key",),
    "postmark": (),
    "resend": ("key",),
    "sendcloud": ("key",),
    "sendgrid": ("key",),
    "ses": ("topics",),
    "sparkpost": (),
    "tencent": (),
}
"""The services whose calls are read, with the options that each needs besides its secret."""
# SubjectPublicKeyInfo (RFC 5480) of a point on P-256: always the same 26 octets, and then the point.
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_CURE = 'Write {"postmark": {"secret": "…"}}.'


@dataclass(frozen=True, slots=True)
class Service:
    """A service that may call, as the configuration describes it."""

    secrets: tuple[str, ...] = field(repr=False)
    """The secrets of the address; several while they are exchanged."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    """The keys by which the service signs; empty if it does not."""
    topics: tuple[str, ...] = ()
    """The topics of Amazon SNS that may call."""
    url: str = ""
    """The address that the service has been given, without the secret, if that is not the address of this app."""


def services(key: str, value: Any) -> dict[str, Service]:
    """Secret and keys by service."""
    if not isinstance(value, Mapping):
        raise bad("E152", key, "is not a dict.", _CURE)
    return {name: _service(key, name, about) for name, about in value.items()}


def _service(key: str, name: Any, about: Any) -> Service:
    if name not in _OPTIONS:
        raise bad("E152", key, f"has {name!r}.", f"Known: {', '.join(_OPTIONS)}.")
    here = f"{key}[{name!r}]"
    known = ("secret", *_OPTIONS[name], *(("url",) if name == "mandrill" else ()))
    if not isinstance(about, Mapping):
        raise bad("E152", here, "is not a dict.", _CURE)
    for option in about:
        if option not in known:
            raise bad("E152", here, f"has {option!r}.", f"Known: {', '.join(known)}.")
    secrets = _several(about.get("secret"))
    if not secrets or not all(map(_SECRET.fullmatch, secrets)):  # not shown, as they may be in use
        cure = "Write the output of: python -c 'import secrets; print(secrets.token_urlsafe())'"
        raise bad("E153", f"{here}['secret']", "is not 16 or more letters, digits, '-' and '_'.", cure)
    keys = _keys(name, here, about.get("key")) if "key" in known else ()
    topics = _several(about.get("topics"))
    if "topics" in known and not (topics and all(map(_TOPIC.fullmatch, topics))):
        raise bad("E154", f"{here}['topics']", "names no topic.", "Write ['arn:aws:sns:eu-west-1:111122223333:mail'].")
    url = base_url(f"{here}['url']", about["url"]) if "url" in about else ""
    return Service(secrets, keys, topics, url)


def _several(value: Any) -> tuple[str, ...]:
    """Return a secret, or a list of them, as a tuple; empty if one is not a string."""
    found = (value,) if isinstance(value, str) else value
    return tuple(found) if isinstance(found, list | tuple) and all(isinstance(each, str) for each in found) else ()


def _keys(name: str, here: str, value: Any) -> tuple[str, ...]:
    keys, cures = _several(value), {"sendgrid": "the verification key", "resend": "the signing secret, whsec_…,"}
    read = {"sendgrid": _is_point, "resend": _is_whsec}.get(name, bool)
    if not keys or not all(map(read, keys)):
        cure = f"Write {cures.get(name, 'the signing key')} that the service shows beside the address."
        raise bad("E154", f"{here}['key']", "is missing, or is no such key.", cure)
    if name == "sendgrid" and find_spec("cryptography") is None:
        cure = "Write: pip install 'flask-mailtrack[services]'."
        raise bad("E117", here, "needs the package cryptography.", cure)
    return keys


def octets(key: str) -> bytes:
    """Return the octets of a key in base64; empty if it is none."""
    try:
        return base64.b64decode(key.removeprefix("whsec_"), validate=True)
    except ValueError:
        return b""


def _is_point(key: str) -> bool:
    found = octets(key)
    return found.startswith(_P256) and len(found) == len(_P256) + 65


def _is_whsec(key: str) -> bool:
    return key.startswith("whsec_") and len(octets(key)) >= 16
