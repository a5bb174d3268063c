"""The destinations of tracked links, and their form in a ``Location`` header.

Both sides ask the same question: the send side before it wraps a link, and the hit side before it redirects. A URL that
may mean different things to different browsers is never wrapped, so the author's link stays as it was written.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, unquote
from uuid import UUID

MAX_LENGTH = 8_000
"""Bytes of UTF-8. Links to longer URLs are not followed: Apache and nginx take no request line of more than 8 KB."""

MAX_LOCATION = 3_500
"""Characters of a ``Location`` header. Links to URLs that need more are left alone.

nginx reads the headers of an answer into 4,096 bytes, unless it is told otherwise, and answers 502 if they do not fit.
Our other headers take 250; the rest is for those that the host adds.
"""

MAX_CARRIED = 600
"""Bytes of UTF-8 that a link carries itself. A longer URL is looked up by reference.

nginx tells uWSGI the path twice, and uWSGI reads 4,096 bytes in all. With 600 bytes here a path has about 900
characters, which leaves 2 KB for the headers of a request. Such a link also stays under the 2,083 characters at
which Outlook cuts.
"""

# Everything that ends an authority in a browser, or that browsers and libraries read in different ways there.
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


def refusal(url: str) -> str | None:
    """Return the reason for which *url* must not be a destination, or ``None``.

    :param url: a URL as a browser reads it from an attribute: entities decoded, stripped.
    :return: ``not_http``, ``placeholder`` (a template variable that somebody else fills in),
        ``too_long`` (over :data:`MAX_LENGTH` bytes) or ``unsafe`` (control characters,
        backslashes, userinfo, a host that is not one).
    """
    # The memory must not grow with the text of a mail, so long URLs are not remembered.
    return _remembered(url) if is_carried(url) else _refusal(url)


def _refusal(url: str) -> str | None:
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


def is_carried(url: str) -> bool:
    """Say whether a link carries *url* itself; else the link goes by reference."""
    return len(url) <= MAX_CARRIED and len(url.encode("utf-8", "surrogatepass")) <= MAX_CARRIED


def can_be_answered(url: str) -> bool:
    """Say whether an answer with *url* gets through the proxies that stand before most apps."""
    return is_carried(url) or len(quote(url, safe=_PRINTABLE)) <= MAX_LOCATION


_remembered = lru_cache(1_024)(_refusal)


def host_of(url: str) -> str:
    """Return the lower-case host of *url*, or ``""`` if it is not an http(s) URL with a certain one."""
    match = _DESTINATION.fullmatch(url)
    return match["host"].lower() if match else ""


def is_well_formed(url: str) -> bool:
    """Say whether *url* is well-formed by RFC 3986, with letters that are not ASCII, which RFC 3987 adds.

    Each percent escape must be valid, and together they must be UTF-8.
    """
    if _NOT_WRITTEN.search(url) or url.count("#") > 1 or not url.isprintable():
        return False
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def is_public(host: str) -> bool:
    """Say whether the public can reach *host*, by its name.

    :param host: a result of :func:`host_of`; an empty host is not known.
    """
    name = host.strip("[]").removesuffix(".")
    try:
        return ip_address(name).is_global
    except ValueError:
        return not name or ("." in name and not name.endswith(_NOT_PUBLIC))


@lru_cache(1_024)
def location(url: str) -> str:
    """Return *url* for a ``Location`` header: pure ASCII, and the same address for a browser.

    :param url: a URL that :func:`refusal` lets pass.

    Only characters outside ASCII are percent-encoded, as UTF-8, also in the host. By the URL standard a browser
    decodes a host before it applies IDNA. So the redirect ends at the same place as the author's link, whichever
    version of IDNA the browser follows.
    """
    return quote(url, safe=_PRINTABLE)


class Blocked:
    """The blocked destinations of the configuration, in any spelling.

    :param entries: hosts, each with its sub-domains; whole URLs; ids of messages.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = frozenset(map(_entry, entries))

    def __call__(self, message_id: UUID, url: str) -> bool:
        """Say whether the link of a message to *url* is blocked."""
        if not self._entries:
            return False
        return str(message_id) in self._entries or not self._entries.isdisjoint(_targets(url))


def same_host(host: str) -> str:
    """Return one spelling for all spellings of a host: names as Unicode, addresses as numbers.

    :raises ValueError: it is none.
    """
    if host.startswith("["):
        address = IPv6Address(host[1:-1])
        return str(address.ipv4_mapped or f"[{address}]")
    # In the order of the URL standard: fold, drop invisible characters, and only then look at the dots.
    folded = "".join(letter for letter in unicodedata.normalize("NFKC", host) if letter not in _UNSEEN)
    folded = unicodedata.normalize("NFC", "".join(map(str.lower, folded)).translate(_DOTS)).removesuffix(".")
    labels = [_unicode(label) for label in folded.split(".")]
    if not all(labels) or _NOT_IN_HOST.search(folded):
        raise ValueError("no host")
    return _number(labels) or ".".join(labels)


def same_url(url: str) -> str:
    """Return one spelling for all spellings of an http(s) URL, without its fragment.

    :raises ValueError: it is none.
    """
    match = _DESTINATION.fullmatch(url)
    if match is None:
        raise ValueError("no http(s) URL")
    scheme = url.partition(":")[0].lower()
    port = str(int(match["port"])) if match["port"] else ""
    shown = "" if port in ("", _PORTS[scheme]) else f":{port}"
    path, _, query = (match["rest"] or "").partition("#")[0].partition("?")
    return f"{scheme}://{same_host(match['host'])}{shown}{_straight(_escapes(path))}?{_escapes(query)}"


_PORTS = {"http": "80", "https": "443"}
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff61", "."))
# Invisible characters that IDNA ignores (UTS 46).
_UNSEEN = frozenset("\u00ad\u034f\u180b\u180c\u180d\u200b\u2060\u2064\ufeff").union(map(chr, range(0xFE00, 0xFE10)))
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")


def _entry(entry: str) -> str:
    """Return an entry of the list in the spelling for comparisons. An entry that is not valid stays as it is."""
    try:
        return same_url(entry) if "://" in entry else same_host(entry)
    except ValueError:
        return entry


@lru_cache(1_024)
def _targets(url: str) -> frozenset[str]:
    """Return the entries that would block *url*: the URL, its host, and for a name all hosts above."""
    try:
        whole = same_url(url)
    except ValueError:
        return frozenset({url})
    host = same_host(_host(url))
    labels = host.split(".")
    above = [] if host.startswith("[") or labels[-1].isdigit() else labels
    return frozenset({whole, host, *(".".join(labels[place:]) for place in range(len(above)))})


def _host(url: str) -> str:
    match = _DESTINATION.fullmatch(url)
    return match["host"] if match else ""


def _unicode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return unicodedata.normalize("NFC", label[4:].encode("ascii").decode("punycode"))
    except (UnicodeError, ValueError, OverflowError):
        return label


def _number(labels: list[str]) -> str:
    """Read an IPv4 address as browsers do: one to four decimal, octal or hexadecimal numbers; empty if it is none.

    https://url.spec.whatwg.org/#concept-ipv4-parser
    """
    if not 0 < len(labels) <= 4 or not all(map(_NUMBER.fullmatch, labels)):
        return ""
    try:
        numbers = [_whole(label) for label in labels]
    except ValueError:
        return ""
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (5 - len(numbers)):
        return ""
    return str(IPv4Address(sum(head << 8 * (3 - place) for place, head in enumerate(heads)) + last))


def _whole(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if len(label) > 1 and label.startswith("0") else int(label)


def _escapes(text: str) -> str:
    """Write each escape in one way: only if needed, in upper case. Characters outside ASCII are escaped, too."""

    def once(found: re.Match[str]) -> str:
        letter = chr(int(found[1], 16))
        return letter if letter in _PLAIN else found[0].upper()

    return _ESCAPE.sub(once, quote(text, safe=_PRINTABLE))


def _straight(path: str) -> str:
    """Return a path without dot segments (RFC 3986, section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _is_host(host: str) -> bool:
    if host.startswith("["):
        try:
            return IPv6Address(host[1:-1]) is not None
        except ValueError:
            return False
    # Werkzeug measures each label of a Location with its percent signs, and raises if one is too long.
    if not all(0 < len(quote(label)) <= _LONGEST_LABEL for label in host.removesuffix(".").split(".")):
        return False
    # A browser folds "℀" to "a/c", which is no host.
    return not _NOT_IN_HOST.search(unicodedata.normalize("NFKC", host))
