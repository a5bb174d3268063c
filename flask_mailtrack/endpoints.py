"""The endpoints of webhooks: who is told of which events, as ``MAILTRACK_WEBHOOKS`` says."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import SplitResult, urlsplit

from .checks import bad, boolean
from .events import EventType, Status

SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
"""Standard Webhooks 1.0.0: from 24 to 64 random bytes."""
LONGEST_URL = 2_048
_OPTIONS = ("secret", "events", "allow_http", "allow_private")
OPEN = (Status.SENDING, Status.COUNTER)
"""The statuses of which nobody is told: nothing has become of the mail yet, or the row is no mail."""
SUPPRESSED, RELEASED = "recipient.suppressed", "recipient.released"
TEST = "mailtrack.test"


def type_of(word: str) -> str:
    """Return the type of an event about a message, for a word of its status or of an event."""
    return f"message.{word}"


TYPES: tuple[str, ...] = (
    *(type_of(status.value) for status in Status if status not in OPEN),
    *(type_of(kind.value) for kind in EventType),
    SUPPRESSED,
    RELEASED,
)
"""All types that an endpoint can ask for."""


@dataclass(frozen=True)
class Endpoint:
    """One receiver.

    :param url: where events are posted.
    :param secrets: the newest first; each of them signs.
    :param events: the wanted types.
    :param allow_http: the URL is not https.
    :param allow_private: addresses of the network inside are allowed.
    """

    url: str
    secrets: tuple[str, ...]
    events: frozenset[str]
    allow_http: bool = False
    allow_private: bool = False

    @cached_property
    def key(self) -> str:
        """The name of the endpoint in the table. A URL may hold a secret, so it is not stored."""
        return blake2b(self.url.encode(), digest_size=8).hexdigest()

    @cached_property
    def parts(self) -> SplitResult:
        """The URL in parts."""
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The host name, in lower case."""
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        """The port, also the usual one."""
        return self.parts.port or (443 if self.secure else 80)

    @property
    def secure(self) -> bool:
        """Whether the URL is https."""
        return self.parts.scheme == "https"

    @property
    def target(self) -> str:
        """Path and query."""
        return (self.parts.path or "/") + (f"?{self.parts.query}" if self.parts.query else "")

    def __repr__(self) -> str:  # never shows a secret, not even on an error page
        return f"<Endpoint {self.key} at {self.host}>"


def webhooks(key: str, value: Any) -> dict[str, Endpoint]:
    """Secret and events by URL."""
    if not isinstance(value, Mapping):
        cure = "Write {'https://example.com/hook': {'secret': 'whsec_…', 'events': ['message.clicked']}}."
        raise bad("E122", key, "is no dict.", cure)
    return {url: _endpoint(f"{key}[{number}]", url, options) for number, (url, options) in enumerate(value.items())}


def _endpoint(key: str, url: Any, options: Any) -> Endpoint:
    """Return the checked endpoint. *key* has a number in place of the URL, which may hold a secret."""
    known = f"Known: {', '.join(_OPTIONS)}."
    if not isinstance(options, Mapping):
        raise bad("E122", key, "has no dict of options.", known)
    if wrong := [name for name in options if name not in _OPTIONS]:
        raise bad("E122", key, f"has {wrong[0]!r}.", known)
    flags = {name: boolean(f"{key}[{name!r}]", options.get(name, False)) for name in _OPTIONS[2:]}
    return Endpoint(_url(key, url, flags["allow_http"]), _secrets(key, options), _events(key, options), **flags)


def _url(key: str, value: Any, allow_http: bool) -> str:
    cure = "Write an https URL in ASCII, without user name and fragment, such as 'https://example.com/hook'."
    try:
        good = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
        parts = urlsplit(value if good else "")
        good = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and "#" not in value
    except ValueError:  # a port that is no number, or a bracket
        good, parts = False, urlsplit("")
    if not good or parts.scheme not in ("http", "https") or len(value) > LONGEST_URL:
        raise bad("E123", key, "has a URL that cannot be asked.", cure)
    if parts.scheme == "http" and not allow_http:
        text = f"is about {parts.hostname}, which would be told over plain HTTP."
        raise bad("E123", key, text, "Write an https URL, or set 'allow_http' of this endpoint.")
    return str(value)


def _secrets(key: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    given = options.get("secret")
    every: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
    if not every or not all(map(_is_secret, every)):
        make = "import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())"
        cure = f'Set it to the output of: python -c "{make}". A list, newest first, is for a change of secrets.'
        raise bad("E124", f"{key}['secret']", "is no secret of Standard Webhooks.", cure)
    return tuple(every)


def _is_secret(value: Any) -> bool:
    if not isinstance(value, str) or not value.startswith(SECRET_PREFIX):
        return False
    try:
        return len(base64.b64decode(value.removeprefix(SECRET_PREFIX), validate=True)) in SECRET_BYTES
    except (binascii.Error, ValueError):
        return False


def _events(key: str, options: Mapping[str, Any]) -> frozenset[str]:
    given = options.get("events", TYPES)
    if not isinstance(given, list | tuple | set | frozenset) or not given:
        raise bad("E125", f"{key}['events']", f"is {given!r}.", f"Write a list of: {', '.join(TYPES)}.")
    for each in given:
        if each not in TYPES:
            raise bad("E125", f"{key}['events']", f"has {each!r}.", f"Known: {', '.join(TYPES)}.")
    return frozenset(given)
