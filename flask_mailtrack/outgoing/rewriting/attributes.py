"""What an HTML attribute value means: to a browser, and to an author who wants a link left alone."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Mapping
from html import entities
from string import ascii_lowercase, ascii_uppercase

NAME = "data-mailtrack-name"
"""What the author calls a link."""

UTM = "data-mailtrack-utm"
"""Campaign parameters of one link."""

NO_UTM = "none"
"""What an empty one says."""

APP = "data-mailtrack-app"
"""The link may be opened by an app instead of a browser."""

OWN = frozenset({"data-mailtrack", NAME, UTM, APP})
"""Our own attributes: they speak to this package, not to the reader, so they are taken out."""

NO = frozenset({"0", "false", "no", "off"})
"""The words by which the attributes below say no."""

SWITCHES = frozenset(
    {
        "autotrack",  # MessageGears
        "clicktracking",  # SendGrid
        "data-mailtrack",
        "data-msys-clicktrack",  # SparkPost
    }
)
"""Attributes that switch tracking: the link is left alone where the value is one of :data:`NO`."""

BANS = frozenset(
    {
        "cm_dontconvertlink",  # Campaign Monitor
        "data-as-no-track",
        "data-alidm-traceoff",  # Alibaba DirectMail
        "data-disable-tracking",  # ahoy_email before 2.0, OneSignal
        "data-mautic-disable-tracking",
        "data-msys-unsubscribe",  # SparkPost replaces this link itself
        "data-pm-no-track",  # Postmark
        "data-skip-click",  # ahoy_email
        "data-smtpd-no-track",
        "disable-tracking",  # Mailgun
        "mautic:disable-tracking",
        "mb_dontconvertlink",  # MailBuild
        "mc:disable-tracking",  # Mandrill
        "nottracked",
        "ses:no-track",  # Amazon SES
    }
)
"""Attributes that forbid tracking: bare or with any value, except one of :data:`NO`."""

BAN_CLASSES = frozenset(
    {
        "inf-track-no",  # Infusionsoft, Keap
        "mktnotrack",  # Marketo
        "nottracked",
        "untracked",  # Customer.io
    }
)
"""Words in ``class``, in lower case, that forbid tracking."""

TELLING = OWN | SWITCHES | BANS | {"class"}
"""All attributes that say something to this package."""

LEGACY = frozenset(name for name in entities.html5 if not name.endswith(";"))
"""Names of the character references that may lack their semicolon."""

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_REFERENCE = re.compile("&(?:#([xX][0-9a-fA-F]+|[0-9]+);?|([a-zA-Z][a-zA-Z0-9]*)(;?))")
_LEGACY_LENGTH = max(map(len, LEGACY))
_DIGITS = len(str(0x10FFFF))
_NEWLINES_AND_TABS = str.maketrans("", "", "\t\n\r")
_LONGEST_REMEMBERED = 2_000
_C0_AND_SPACE = "".join(map(chr, range(0x21)))


def lower(name: str) -> str:
    """Fold a name as HTML does: only ASCII, so the Kelvin sign never becomes a ``k``."""
    return name.lower() if name.isascii() else name.translate(_LOWER)


def decode(value: str) -> str:
    """Resolve the character references of an attribute value.

    Inside an attribute a reference without semicolon stays literal before ``=`` or an
    alphanumeric (HTML Standard, 13.2.5.73), so ``?a=1&copy=2`` is no copyright sign.
    """
    value = value.replace("\0", "\ufffd")
    if "&" not in value:
        return value
    if value.count("&") == value.count("&amp;"):  # nothing else, as in most addresses
        return value.replace("&amp;", "&")
    return _REFERENCE.sub(_decode_reference, value)


def _decode_reference(match: re.Match[str]) -> str:
    number, name, semicolon = match.groups()
    if number:
        return _decode_number(number)
    if semicolon and f"{name};" in entities.html5:
        return entities.html5[f"{name};"]
    for length in range(min(len(name), _LEGACY_LENGTH), 1, -1):
        if name[:length] in LEGACY:
            whole = length == len(name)
            literal = not whole or (not semicolon and match.string.startswith("=", match.end()))
            return match[0] if literal else entities.html5[name] + semicolon
    return match[0]


def _decode_number(number: str) -> str:
    hexadecimal = number[0] in "xX"
    digits = (number[1:] if hexadecimal else number).lstrip("0") or "0"
    if len(digits) > _DIGITS:
        return "\ufffd"
    reference = f"&#{'x' if hexadecimal else ''}{digits};"
    # The library drops control characters and non-characters; the standard keeps them.
    return html.unescape(reference) or chr(int(digits, 16 if hexadecimal else 10))


def strip_url(decoded: str) -> str:
    """Drop what a browser drops from a URL: newlines, tabs, and blank ends (URL Standard, 4.4)."""
    stripped = decoded.strip(_C0_AND_SPACE)
    return stripped if stripped.isprintable() else decoded.translate(_NEWLINES_AND_TABS).strip(_C0_AND_SPACE)


def browser_url(value: str) -> str:
    """Read the source text of a ``href`` as a browser does."""
    return _remembered_url(value) if len(value) <= _LONGEST_REMEMBERED else strip_url(decode(value))


@functools.lru_cache(1_024)  # the links of a newsletter are the same in all its bodies
def _remembered_url(value: str) -> str:
    return strip_url(decode(value))


def opts_out(attributes: Mapping[str, str]) -> bool:
    """Tell whether the author asks, in any dialect we know, that this link be left alone.

    :param attributes: decoded values by lower-case name; a bare attribute has the value ``""``.
    """
    for name, value in attributes.items():
        if name in SWITCHES and _says_no(value):
            return True
        if name in BANS and not _says_no(value):
            return True
        if name == "class" and not BAN_CLASSES.isdisjoint(lower(value).split()):
            return True
    return False


def _says_no(value: str) -> bool:
    return lower(value.strip()) in NO
