"""The checks of settings, one for each kind of value. Each check returns the value in its final form.

:raises ConfigError: with the key, the cure, and the value unless the value may be a secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from .destination import same_host, same_url
from .errors import ConfigError
from .lists import folded
from .modes import Mode
from .thresholds import Thresholds
from .time_zones import zone_of

_BASE_URL = re.compile(
    r"(?P<origin>https?://(?:[a-z0-9._-]*[a-z0-9][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?)"
    r"(?P<path>(?:/[a-z0-9._~%-]+)*)/*",
    re.IGNORECASE | re.ASCII,
)
# RFC 5321, sections 4.1.2 and 4.5.3.1: a dot-string of at most 64 octets at a domain.
_MAILBOX = re.compile(
    r"(?=.{1,64}@.{1,189}\Z)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@"
    r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+",
    re.IGNORECASE | re.ASCII,
)
_UTM = re.compile(r"[A-Za-z0-9_]{1,64}")
_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+", re.ASCII)
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = re.compile(
    r"(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)_(?:PROTO|PORT|ADDR))"
)
_SERVICE_URL = re.compile(r"(?:[A-Z0-9_]+_)?PORT(?:_[0-9]+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://\S+")
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)

Check = Callable[[str, Any], Any]


class Prefix(str):
    """The prefix of new links. It also knows the prefixes of older links."""

    older: tuple[str, ...] = ()

    @property
    def every(self) -> tuple[str, ...]:
        """All prefixes, the newest first."""
        return (str(self), *self.older)


def bad(code: str, key: str, problem: str, cure: str) -> ConfigError:
    """Return the error, for the caller to raise."""
    return ConfigError(code, key, problem, cure)


def is_service_link(name: str, value: Any) -> bool:
    """Say whether Kubernetes or Docker set a key, for a service with the name of this package.

    For a service ``flask-mailtrack``, each container gets ``FLASK_MAILTRACK_PORT=tcp://…`` and more.
    ``app.config.from_prefixed_env()`` takes these variables for settings.
    """
    return bool(_SERVICE_LINK.fullmatch(name) or _SERVICE_URL.fullmatch(f"{name}={value}"))


def boolean(key: str, value: Any) -> bool:
    """True or False; other values that count as true or false are refused."""
    if not isinstance(value, bool):
        raise bad("E101", key, f"is {value!r}.", "Write True or False.")
    return value


def text(key: str, value: Any) -> str:
    """A printable string."""
    if not isinstance(value, str) or not value.isprintable():
        raise bad("E102", key, f"is {value!r}.", "Write a string of printable characters.")
    return value


def time_zone(key: str, value: Any) -> str:
    """The name of a time zone that this machine knows."""
    try:
        zone_of(text(key, value))
    except ValueError:
        raise bad("E120", key, f"is {value!r}.", "Write a name such as 'Europe/Berlin', or install tzdata.") from None
    return str(value)


def directory(key: str, value: Any) -> str:
    """A path, as a string or a ``Path``."""
    return text(key, os.fspath(value) if isinstance(value, os.PathLike) else value)


def with_extra(check: Check, module: str, extra: str) -> Check:
    """Return a check that also wants *module* installed if the key is set."""

    def checked(key: str, value: Any) -> Any:
        if (good := check(key, value)) and find_spec(module) is None:
            raise bad("E117", key, f"needs the package {module}.", f"Write: pip install 'flask-mailtrack[{extra}]'.")
        return good

    return checked


def one_of(*words: str) -> Check:
    """One of *words*."""

    def check(key: str, value: Any) -> str:
        if value not in words:
            raise bad("E103", key, f"is {value!r}.", f"Write one of: {', '.join(words)}.")
        return str(value)

    return check


def number(low: float, high: float) -> Check:
    """A number from *low* to *high*."""

    def check(key: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise bad("E104", key, f"is {value!r}.", f"Write a number from {low:g} to {high:g}.")
        return value

    return check


def integer(low: int, high: int) -> Check:
    """A whole number from *low* to *high*."""

    def check(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise bad("E104", key, f"is {value!r}.", f"Write a whole number from {low} to {high}.")
        return value

    return check


def thresholds(key: str, value: Any) -> dict[str, float]:
    """Some of :class:`~.thresholds.Thresholds` by name. The others keep their defaults."""
    known = [field.name for field in fields(Thresholds)]
    if not isinstance(value, Mapping):
        raise bad("E116", key, f"is {value!r}.", "Write {'burst': 5, 'shadow': 0}.")
    for name in value:
        if name not in known:
            raise bad("E116", key, f"has {name!r}.", f"Known: {', '.join(known)}.")
    return {name: number(0, 86_400)(f"{key}[{name!r}]", given) for name, given in value.items()}


def url_path(key: str, value: Any) -> str:
    """A path of at least one segment."""
    path = text(key, value).rstrip("/")
    if not _PATH.fullmatch(path):
        cure = "Write a path of its own such as '/m', of ASCII letters, digits, '-' and '_'."
        raise bad("E105", key, f"is {value!r}.", cure)
    return path


def prefix(key: str, value: Any) -> Prefix:
    """One path, or several paths: the newest first, each once."""
    if not isinstance(value, list | tuple):
        return Prefix(url_path(key, value))
    if not value:
        raise bad("E185", key, "is an empty list.", "Write the prefix of new links first, then those of older ones.")
    newest, *older = dict.fromkeys(url_path(key, path) for path in value)
    found = Prefix(newest)
    found.older = tuple(older)
    return found


def base_url(key: str, value: Any) -> str:
    """An http(s) address without query, fragment or user, normalised."""
    cure = "Write the https address under which readers reach this app, such as 'https://links.example.com'."
    if not value:
        raise bad("E106", key, "is missing: links cannot be built from a request.", cure)
    if "@" in str(value):  # a password may stand before the '@', so the value is not shown
        raise bad("E107", key, "has a user name or an '@'.", cure)
    match = _BASE_URL.fullmatch(text(key, value))
    if not match or int(match["port"] or 0) > 65535:
        raise bad("E107", key, f"is {value!r}.", cure)
    return match["origin"].lower() + match["path"]


def sender_domains(key: str, value: Any) -> dict[str, dict[str, Any]]:
    """Options by sender domain."""
    rules: dict[str, Check] = dict.fromkeys(("opens", "clicks", "unsubscribe"), boolean)
    rules |= {"mode": one_of(*Mode), "base_url": base_url}
    if not isinstance(value, Mapping) or not all(isinstance(options, Mapping) for options in value.values()):
        raise bad("E108", key, f"is {value!r}.", "Write {'news.example.com': {'opens': False}}.")
    checked: dict[str, dict[str, Any]] = {}
    for domain, options in value.items():
        for name in options:
            if name not in rules:
                raise bad("E108", f"{key}[{domain!r}]", f"has {name!r}.", f"Known: {', '.join(rules)}.")
        checked[sender_domain(key, domain)] = {n: rules[n](f"{key}[{domain!r}][{n!r}]", v) for n, v in options.items()}
    return checked


def sender_domain(key: str, value: Any) -> str:
    """Return a sender's domain in the spelling that the send looks up."""
    try:
        domain = text(key, value).lower()
        domain = domain if domain.isascii() else domain.encode("idna").decode()
    except UnicodeError:
        domain = ""
    if not _DOMAIN.fullmatch(domain):
        raise bad("E108", key, f"has {value!r}.", "Write the part behind the '@', such as 'news.example.com'.")
    return domain


def mailbox(key: str, value: Any) -> str:
    """A bare address, or nothing."""
    if value != "" and not (isinstance(value, str) and _MAILBOX.fullmatch(value)):
        raise bad("E119", key, f"is {value!r}.", "Write a bare address such as 'leave@example.com', in ASCII.")
    return str(value)


def mailing_lists(key: str, value: Any) -> dict[str, dict[str, str]]:
    """Title and description by list."""
    cure = "Write {'news': {'title': 'News', 'description': '…'}}."
    if not isinstance(value, Mapping):
        raise bad("E109", key, f"is {value!r}.", cure)
    for name, about in value.items():
        good = isinstance(name, str) and isinstance(about, Mapping) and "title" in about
        if not good or not all(n in ("title", "description") and isinstance(v, str) for n, v in about.items()):
            raise bad("E109", f"{key}[{name!r}]", f"is {about!r}.", cure)
    spelled: dict[str, str] = {}
    for name in value:
        if other := spelled.get(folded(name)):
            raise bad("E165", key, f"has {other!r} and {name!r}, which are one list.", "Remove one of them.")
        spelled[folded(name)] = name
    return {name: dict(about) for name, about in value.items()}


def tag_list(key: str, value: Any) -> tuple[str, ...]:
    """Tags, each as mail carries it."""
    cure = "Write a list such as ['welcome', 'receipt'], of up to 255 printable characters each."
    if not isinstance(value, list | tuple):
        raise bad("E199", key, f"is {value!r}.", cure)
    for each in value:
        if not isinstance(each, str) or not each.strip() or not each.isprintable() or len(each) > 255:
            raise bad("E199", key, f"has {each!r}.", cure)
    return tuple(dict.fromkeys(value))


def utm_parameters(key: str, value: Any) -> dict[str, str]:
    """Names without the prefix ``utm_``, and values."""
    good = isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())
    if not good or not all(_UTM.fullmatch(k) and v.isprintable() and 0 < len(v) < 256 for k, v in value.items()):
        raise bad("E113", key, f"is {value!r}.", "Write {'source': 'mail'}, without the prefix utm_.")
    return dict(value)


def sink(key: str, value: Any) -> str:
    """The URL of a Redis, or nothing."""
    if value == "":
        return ""
    good = isinstance(value, str) and value.isprintable()
    try:
        parts = urlsplit(value if good else "")
        place = parts.path if parts.scheme == "unix" else parts.hostname
        good = parts.scheme in ("redis", "rediss", "unix") and bool(place) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        # A password may stand before an '@'.
        problem = "is not the URL of a Redis." if "@" in str(value) else f"is {value!r}."
        raise bad("E150", key, problem, "Write redis://host:6379/0, rediss://host:6379/0 or unix:///path.")
    return str(value)


def keeping(key: str, value: Any) -> dict[str, float]:
    """Days by table."""
    cure = "Write {'events': 365, 'messages': 730}. Omitted tables are kept, except events of deleted messages."
    if not isinstance(value, Mapping) or not set(value) <= {"events", "messages"}:
        raise bad("E140", key, f"is {value!r}.", cure)
    return {name: number(1, 36_500)(f"{key}[{name!r}]", days) for name, days in value.items()}


def pattern(key: str, value: Any) -> str:
    """A regular expression."""
    try:
        re.compile(text(key, value))
    except (re.error, RecursionError, OverflowError) as error:
        raise bad("E114", key, f"is {value!r}: {error}.", "Write a regular expression.") from None
    return str(value)


def json_object(key: str, value: Any) -> dict[str, Any]:
    """A dict that JSON can hold."""
    if not isinstance(value, dict) or not _is_json(value):
        raise bad("E115", key, f"is {value!r}.", "Write the content of the file as a dict.")
    return value


def json_list(key: str, value: Any) -> list[Any]:
    """A list that JSON can hold."""
    if not isinstance(value, list | tuple) or not _is_json(value):
        raise bad("E115", key, f"is {value!r}.", "Write the content of the file as a list.")
    return list(value)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def secret_list(key: str, value: Any) -> tuple[str | bytes, ...]:
    """A list of signing keys."""
    if not isinstance(value, list | tuple) or not all(map(is_secret, value)):
        raise bad("E110", key, "is not a list of strings, none of them empty.", "Write a list, newest key first.")
    return tuple(value)


def is_secret(value: Any) -> bool:
    """Say whether *value* can be a signing key."""
    return isinstance(value, str | bytes) and size_of(value) > 0


def size_of(secret: str | bytes) -> int:
    """Return the number of bytes of a secret; 0 if half an emoji in it makes the secret useless."""
    try:
        return len(secret if isinstance(secret, bytes) else secret.encode())
    except UnicodeEncodeError:
        return 0


def network_list(key: str, value: Any) -> tuple[str, ...]:
    """A list of networks, or of single addresses."""
    cure = "Write a list such as ['203.0.113.0/24', '2001:db8::/32']."
    if not isinstance(value, list | tuple):
        raise bad("E196", key, f"is {value!r}.", cure)
    for each in value:
        try:
            ip_network(each if isinstance(each, str) and "%" not in each else "")
        except ValueError:
            raise bad("E196", key, f"has {each!r}, which is no network.", cure) from None
    return tuple(str(ip_network(each)) for each in value)


def blocked_list(key: str, value: Any) -> tuple[str, ...]:
    """Hosts, URLs and ids of messages, each in the spelling in which they are compared."""
    if not isinstance(value, list | tuple):
        raise bad("E151", key, f"is {value!r}.", "Write a list of hosts, URLs or ids of messages.")
    return tuple(_blocked(key, each) for each in value)


def _blocked(key: str, value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    entry = text(key, value)
    with suppress(ValueError):
        return str(UUID(entry))
    try:
        return same_url(entry) if "://" in entry else same_host(entry)
    except ValueError:
        cure = "Write a host such as 'evil.example', a URL such as 'https://evil.example/page', or the id of a message."
        raise bad("E195", key, f"has {value!r}.", cure) from None


def host(key: str, value: Any) -> str:
    """A host name without scheme, port and path, or nothing."""
    if value == "":
        return ""
    if not isinstance(value, str) or not _DOMAIN.fullmatch(value.lower().rstrip(".")):
        raise bad("E197", key, f"is {value!r}.", "Write a host name such as 'links.example.com'.")
    return value.lower().rstrip(".")


def servers(key: str, value: Any) -> tuple[str, ...]:
    """Addresses of name servers, each with or without a port."""
    good = isinstance(value, list | tuple) and all(isinstance(v, str) and _is_server(v) for v in value)
    if not good:
        raise bad("E198", key, f"is {value!r}.", "Write a list of addresses such as ['127.0.0.1:5300', '[::1]:53'].")
    return tuple(value)


def _is_server(written: str) -> bool:
    bracketed = re.fullmatch(r"\[(?P<host>[0-9a-fA-F:.]+)\](?::(?P<port>[0-9]{1,5}))?", written)
    plain = re.fullmatch(r"(?P<host>[0-9.]+)(?::(?P<port>[0-9]{1,5}))?", written)
    found = bracketed or plain
    try:
        ip_address(found["host"] if found else written)
    except ValueError:
        return False
    return 0 < int(found["port"] or 53 if found else 53) < 65_536
