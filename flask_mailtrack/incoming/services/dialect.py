"""What a call of a service is, and what all services have in common in saying what became of a mail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest, digest
from math import isfinite
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from flask_mailtrack.events import EventType
from flask_mailtrack.services import Service
from flask_mailtrack.storage.records import DEEPEST, is_deeper

_MILLISECONDS_FROM = 100_000_000_000
"""A greater number counts milliseconds: as seconds it would lie in the year 5138."""
_FIELDS = 1_000


class Notification(NamedTuple):
    """What a service tells of one copy."""

    type: EventType
    copy: str
    """The token of the copy, or a text that holds it; empty: the service does not name the copy."""
    key: str
    """What the service says the same of only if it tells the same again."""
    occurred_at: datetime | None
    reason: str = ""
    """Of a bounce: ``hard``, only if the service calls it so, or ``soft``."""
    comment: str = ""
    """What the server of the recipient, or the service, has said."""


class Call(NamedTuple):
    """A call, as it came."""

    body: bytes
    headers: Mapping[str, str]
    """By lower-case name."""
    url: str = ""
    """The address that the service was given."""

    def json(self) -> Any:
        """Return the body as JSON, whatever its content type says.

        :raises ValueError: the body is no JSON, or is nested too deeply.
        """
        return parsed(self.body)

    def form(self) -> dict[str, str]:
        """Return the fields of a form.

        :raises ValueError: the body is no form.
        """
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, max_num_fields=_FIELDS))


def parsed(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    :raises ValueError: it is no JSON, or is nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if is_deeper(value, DEEPEST):
        raise ValueError("nested too deeply")
    return value


def each(call: Call) -> list[Any]:
    """Return the items of a call that is a list, or a single item."""
    told = call.json()
    return told if isinstance(told, list) else [told]


def by_address(call: Call, service: Service) -> bool:
    """Say yes: the service signs nothing, so the secret in the address is all there is."""
    return True


def by_token(timestamp: str, token: str, signature: str, service: Service) -> bool:
    """Say whether a key of the service has signed *timestamp* and *token*: HMAC-SHA256, in hexadecimal digits."""
    said = (timestamp + token).encode()
    good = [digest(key.encode(), said, "sha256").hex() for key in service.keys]
    return bool(timestamp and token) and among(good, signature.lower())


def among(good: Iterable[str], given: str) -> bool:
    """Say whether *given* is one of *good*. The time does not tell how near it is."""
    asked = given.encode("utf-8", "replace")
    return sum(compare_digest(each.encode(), asked) for each in good) > 0


class Dialect(NamedTuple):
    """The language of one service."""

    read: Callable[[Mapping[str, Any]], Notification | None]
    """Returns what an item says; ``None`` if it is about nothing that is kept, such as an open.

    An item that is damaged raises ``ValueError``."""
    proves: Callable[[Call, Service], bool] = by_address
    """Says whether the service itself has made the call. The secret of the address has been compared before."""
    items: Callable[[Call], list[Any]] = each
    """Returns the items of a call, and raises ``ValueError`` for a call that cannot be read."""


def at(item: Any, *path: str) -> Any:
    """Return a value inside *item*; ``None`` if it is not there."""
    for name in path:
        item = item.get(name) if isinstance(item, Mapping) else None
    return item


def said(item: Any, *path: str) -> str:
    """Return a text or a number inside *item* as text; empty if it is not there. Numbers may be long ids."""
    value = at(item, *path)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def header(listed: Any, name: str) -> str:
    """Return a header among *listed*: a list of names and values, or a dict."""
    if isinstance(listed, Mapping):
        listed = [{"name": name_, "value": value} for name_, value in listed.items()]
    found = (said(one, "value") for one in listed or () if said(one, "name").lower() == name.lower())
    return next(found, "") if isinstance(listed, list) else ""


def moment(value: Any) -> datetime | None:
    """Return a moment in UTC, of seconds or milliseconds since 1970 or of ISO 8601; ``None`` if it cannot be read."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    try:
        if isfinite(number):
            return datetime.fromtimestamp(number / 1000 if number > _MILLISECONDS_FROM else number, UTC)
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def told_of(*parts: str) -> str:
    """Return the key of a notification of a service that gives it none."""
    return sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
