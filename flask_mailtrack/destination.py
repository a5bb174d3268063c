"""Where a tracked link may lead, and how that is written in a ``Location`` header.

Both sides ask the same question: the send side before it wraps a link, the hit side before it
redirects. What is not certain to mean the same thing to every browser is never wrapped, so the
author's link stays as it was written.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import quote, unquote
from uuid import UUID

MAX_LENGTH = 1_400
"""Bytes of UTF-8. Longer URLs are left alone: wrapped they pass the 2,083 characters at which Outlook cuts links."""

# Everything that ends an authority in a browser, or that browsers and libraries read differently there.
_DESTINATION = re.compile(
    r"""https?://
        (?P<host>\[[0-9a-f:.]+\]|[^\s/?\#@\\:\[\]%<>"^`{|}]+)  # the latter: _NOT_IN_HOST
        (?::(?P<port>[0-9]{1,5}))?
        (?P<rest>[/?\#].*)?""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NOT_IN_HOST = re.compile(r"""[\s/?#@\\:\[\]%<>"^`{|}]""")
_NOT_WRITTEN = re.compile(r"%(?![0-9A-Fa-f]{2})|[<>\"|^{}`\\ ]")
# RFC 6761 and 6762, and the names that home and office networks use.
_NOT_PUBLIC = (".localhost", ".local", ".internal", ".invalid", ".test", ".lan", ".home.arpa", ".localdomain")
_LONGEST_LABEL = 63  # RFC 1035, section 2.3.4
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\u3000]")
_TEMPLATE_LEFTOVERS = re.compile(r"\{\{|\}\}|\{%|<%|%%|\*\||\[\[|\[%|\$\{|://\$")
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


@lru_cache(1_024)
def refusal(url: str) -> str | None:
    """Say why *url* must not be a destination, or ``None`` if it may be one.

    :param url: a URL as a browser reads it from an attribute: entities decoded, stripped.
    :return: ``not_http``, ``placeholder`` (a template variable that somebody else fills in),
        ``too_long`` (over :data:`MAX_LENGTH` bytes) or ``unsafe`` (control characters,
        backslashes, userinfo, a host that is not one).
    """
    if not url[:8].lower().startswith(("http://", "https://")):
        return "not_http"
    if _TEMPLATE_LEFTOVERS.search(url):
        return "placeholder"
    try:
        length = len(url.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return "unsafe"
    if length > MAX_LENGTH:
        return "too_long"
    match = _DESTINATION.fullmatch(url)
    if not match or _UNSAFE.search(url) or int(match["port"] or 0) > 65535:
        return "unsafe"
    return None if _is_host(match["host"]) else "unsafe"


def host_of(url: str) -> str:
    """Return the lower-case host of *url*, or ``""`` if it is not an http(s) URL with a certain one."""
    match = _DESTINATION.fullmatch(url)
    return match["host"].lower() if match else ""


def is_well_formed(url: str) -> bool:
    """Say whether *url* is written as RFC 3986 has it, but for letters that are not ASCII, which RFC 3987 adds.

    A percent escape must be one, and together they must be UTF-8.
    """
    if _NOT_WRITTEN.search(url) or url.count("#") > 1 or not url.isprintable():
        return False
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def is_public(host: str) -> bool:
    """Say whether the public can reach *host*, as far as its name tells.

    :param host: of :func:`host_of`; empty, nobody knows.
    """
    name = host.strip("[]").removesuffix(".")
    try:
        return ip_address(name).is_global
    except ValueError:
        return not name or ("." in name and not name.endswith(_NOT_PUBLIC))


@lru_cache(1_024)
def location(url: str) -> str:
    """Return *url* for a ``Location`` header: pure ASCII, and to a browser the same address.

    :param url: one that :func:`refusal` lets pass.

    Only what ASCII cannot hold is percent-encoded, as UTF-8, the host too: the URL standard has a
    browser decode a host before it applies IDNA, so it ends where the author's link would have
    ended, whichever version of IDNA that browser follows.
    """
    return quote(url, safe=_PRINTABLE)


class Blocked:
    """Where links lead no more, by the host's word.

    :param entries: hosts, each with all that is below it; whole URLs; ids of messages.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(entries)

    def __call__(self, message_id: UUID, url: str) -> bool:
        """Say whether the link of a message to *url* is among them."""
        if not self._entries:
            return False
        labels = host_of(url).split(".")
        hosts = {".".join(labels[place:]) for place in range(len(labels))}
        return not self._entries.isdisjoint({url, str(message_id), *hosts})


def _is_host(host: str) -> bool:
    if host.startswith("["):
        try:
            return IPv6Address(host[1:-1]) is not None
        except ValueError:
            return False
    # Werkzeug measures each label of a Location, percent signs and all, and raises where one is too long.
    if not all(0 < len(quote(label)) <= _LONGEST_LABEL for label in host.removesuffix(".").split(".")):
        return False
    # A browser folds "℀" to "a/c", and then there is no such host.
    return not _NOT_IN_HOST.search(unicodedata.normalize("NFKC", host))
