"""How HTML is written: the tokens of the HTML Standard, 13.2.5, as regular expressions.

None of them goes back, hence no input makes one slow: a character repeats possessively (``*+``), and a
group repeats inside an atomic one (``(?>(?:...)*)``), for Python before 3.11.5 matches possessive groups
wrongly (CPython issue 106052). An attribute value is read as a browser reads it, and for an author who wants a link
left alone. The stretches of a document say what is text, what is the value of an attribute, and what nobody sees.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterator, Mapping, Set
from html import entities, unescape
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

RAW_TEXT = frozenset({"iframe", "noembed", "noframes", "style", "textarea", "title", "xmp"})
"""Elements whose content is text, whatever it looks like; ``script`` has rules of its own."""


def _either_case(*names: str) -> str:
    # Spelled out, for the flag that ignores case costs several times as much and lets a Kelvin sign be a "k".
    spelled = ("".join(f"[{char}{char.upper()}]" for char in name) for name in names)
    return rf"(?:{'|'.join(spelled)})(?=[ \t\n\f\r/>])"


_S = r"[ \t\n\f\r]"
_NAME = r"=?+[^ \t\n\f\r/>=]*+"
_QUOTED = r""""[^"]*+"|'[^']*+'"""
_TAG_NAME = r"[a-zA-Z][^ \t\n\f\r/>]*+"
ATTRIBUTES = (
    # The first alternative is one case of those that follow, and by far the most frequent.
    rf"(?>(?:{_S}++[a-zA-Z-]++=\"[^\"]*+\"|[ \t\n\f\r/]++|(?=[^ \t\n\f\r/>]){_NAME}"
    rf"(?:{_S}*+={_S}*+(?:{_QUOTED}|[^ \t\n\f\r>\"'][^ \t\n\f\r>]*+|(?=>))|(?!{_S}*+=)))*)"
)
_TOKEN = (
    r"<(?:(?P<comment>!--)|(?P<bogus>[!?]|/(?![a-zA-Z]))"
    rf"|(?P<slash>/?)(?P<name>{_TAG_NAME})(?P<attributes>{ATTRIBUTES})(?P<end>>)?)"
)
TOKEN = re.compile(_TOKEN)
# The most frequent names come first: they need no look at those that tell something.
_DULL = r"t[dr]|table|span|br|img|p(?=[ \t\n\f\r/>])|[c-gj-moqruwyzC-GJ-MOQRUWYZ]"
_DULL_REST = rf"[^ \t\n\f\r/>]*+(?:>|{ATTRIBUTES}>)"
_DULL_END = rf"/(?:{_DULL}|(?!{_either_case('a', 'body', 'html')}|[vV]:)[a-zA-Z]){_DULL_REST}"
_TELLING = _either_case("a", "area", "body", "html", "plaintext", "script", *sorted(RAW_TEXT))
_DULL_START = rf"(?:{_DULL}|(?!{_TELLING}|[vV]:)[a-zA-Z]){_DULL_REST}"
# Nothing in it begins like a link, so that Outlook sees none either.
_DULL_COMMENT = r"!--(?!-?>)[^<-]*+(?>(?:(?:-(?!-!?>)|<(?![aAvV]))[^<-]*+)*)--!?>"
_DULL_BOGUS = r"(?:!(?!--)|\?|/(?![a-zA-Z]))[^>]*+>"
_DULL_MARKUP = rf"<(?:{_DULL_END}|{_DULL_START}|{_DULL_COMMENT}|{_DULL_BOGUS}|(?![a-zA-Z/!?]))"
STEP = re.compile(rf"[^<]*+(?>(?:{_DULL_MARKUP}[^<]*+){{0,1000}})(?:{_TOKEN})?")
"""Text and tags that hold nothing for a rewriter, up to a thousand in one go, and the next token, if it is near."""
CONTENT = re.compile(rf"[^<]*+(?>(?:{_DULL_MARKUP}[^<]*+){{0,20}})(?=</[aA]>)")
"""What stands in a short ``<a>`` with nothing but text and such tags in it, up to its end tag."""
COMMENT_END = re.compile("--!?>")
CONDITION = re.compile(r"\[if\b[^\]>]*+\]>", re.I | re.A)
"""How the inside of a comment begins that Outlook reads on."""

# These run only over text that TOKEN has accepted, hence the simpler form of an unquoted value.
_ATTRIBUTE = rf"(?=[^ \t\n\f\r/>])(?P<name>{_NAME})(?:{_S}*+={_S}*+(?P<value>{_QUOTED}|[^ \t\n\f\r>]*+))?"
_EACH_ATTRIBUTE = re.compile(_ATTRIBUTE)
_RAW_TEXT_END = {name: re.compile(f"</{_either_case(name)}") for name in RAW_TEXT}
_SCRIPT = _either_case("script")
_SCRIPT_STEP = re.compile(
    rf"(?P<close></{_SCRIPT})|(?P<nested><{_SCRIPT})|(?P<escape><!--)|(?P<unescape>-->)",
)


class Attribute(NamedTuple):
    """One attribute of a start tag; all positions count characters of the scanned text."""

    name: str
    """In lower case."""
    start: int
    end: int
    """Behind the value and its closing quote."""
    value_start: int
    value_end: int
    """The value without its quotes."""
    quoted: bool


def read_attributes(text: str, start: int, end: int) -> list[Attribute]:
    """Split the inside of an accepted tag, without its name and ``>``, into attributes."""
    return [_attribute(match) for match in _EACH_ATTRIBUTE.finditer(text, start, end)]


class Attributes:
    """Reads those attributes of accepted tags that bear certain names.

    :param names: in lower case.
    """

    def __init__(self, names: Set[str]) -> None:
        self._names = names
        # Names that are written in lower case and begin like none of these are passed over in one go.
        begin = "|".join(map(re.escape, sorted(names)))
        self._match = re.compile(rf"(?>(?:{_S}++(?!{begin})[a-z-]++=\"[^\"]*+\")*)[ \t\n\f\r/]*+{_ATTRIBUTE}").match

    def read(self, text: str, start: int, end: int) -> list[Attribute]:
        """Return them in the order in which they stand."""
        found = []
        while match := self._match(text, start, end):
            attribute = _attribute(match)
            if attribute.name in self._names:
                found.append(attribute)
            start = attribute.end
        return found


def _attribute(match: re.Match[str]) -> Attribute:
    (_, last), (first, name_end), (value_start, value_end) = match.regs
    name = lower(match.string[first:name_end])
    if value_start < 0:  # a bare attribute
        return Attribute(name, first, last, last, last, False)
    quoted = value_start < value_end and match.string[value_start] in "\"'"
    return Attribute(name, first, last, value_start + quoted, value_end - quoted, quoted)


def raw_text_end(name: str, text: str, position: int, end: int) -> int | None:
    """Return where the end tag of an element begins whose start tag ends at *position*, if it has one.

    :param name: ``script`` or one of :data:`RAW_TEXT`, in lower case.
    """
    if name == "script":
        return _script_end(text, position, end)
    closing = _RAW_TEXT_END[name].search(text, position, end)
    return closing.start() if closing else None


def _script_end(text: str, position: int, end: int) -> int | None:
    """Find ``</script>`` through the "script data escaped" states (HTML Standard, 13.2.5.15 to 31)."""
    state = "data"
    while step := _SCRIPT_STEP.search(text, position, end):
        position = step.end()
        match step.lastgroup, state:
            case "close", "data" | "escaped":
                return step.start()
            case "close", _:
                state = "escaped"
            case "escape", _:
                state = "escaped" if state == "data" else state
                position -= 2  # <!--> closes itself, and what it stands in
            case "nested", "escaped":
                state = "double escaped"
            case "unescape", _:
                state = "data"
    return None


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


_END_OF_LINK = re.compile(r"</?a(?=[ \t\n\f\r/>])", re.IGNORECASE)
_SEEN = re.compile(r"<(?:img|amp-img|svg|button|input)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


class Stretch(NamedTuple):
    """A stretch of the source that a placeholder may stand in."""

    start: int
    end: int
    attribute: str = ""
    """The name of the attribute whose value it is, in lower case; empty: it is not inside a tag."""
    tag: tuple[int, int] = (0, 0)
    """Where the tag of that attribute stands."""
    name: str = ""
    """The name of the tag."""
    followable: bool = False
    """Whether it is the address of a link that a reader sees."""


def stretches(text: str, start: int = 0, end: int | None = None, *, hidden: bool = False) -> Iterator[Stretch]:
    """Read a document once, in time that grows with its length.

    :param hidden: inside a conditional comment: Outlook reads it, nobody else does.
    """
    position, end = start, len(text) if end is None else end
    while token := TOKEN.search(text, position, end):
        if position < token.start():
            yield Stretch(position, token.start())
        if token["comment"]:
            inside, position = comment_span(text, token.end(), end)
            condition = None if hidden else CONDITION.match(text, token.end(), inside)
            if condition:
                yield from stretches(text, condition.end(), inside, hidden=True)
            else:
                yield Stretch(token.end(), inside)
        elif token["bogus"]:
            position = text.find(">", token.start(), end) + 1 or end
            yield Stretch(token.start(), position)
        elif not token["end"]:  # the document breaks off in a tag
            yield Stretch(token.start(), end)
            return
        else:
            position = token.end()
            if not token["slash"]:
                yield from _values(text, token, end, hidden)
                if raw := _raw_text(text, lower(token["name"]), position, end):
                    yield raw
                    position = raw.end
    if position < end:
        yield Stretch(position, end)


def comment_span(text: str, inside: int, end: int) -> tuple[int, int]:
    """Return where the inside of a comment ends, and where the comment ends."""
    if text.startswith((">", "->"), inside, end):
        return inside, text.index(">", inside) + 1
    closing = COMMENT_END.search(text, inside, end)
    return closing.span() if closing else (end, end)


def _raw_text(text: str, name: str, position: int, end: int) -> Stretch | None:
    if name == "plaintext":
        return Stretch(position, end)
    if name != "script" and name not in RAW_TEXT:
        return None
    closing = raw_text_end(name, text, position, end)
    return Stretch(position, end if closing is None else closing)


def _values(text: str, token: re.Match[str], end: int, hidden: bool) -> Iterator[Stretch]:
    name = lower(token["name"])
    attributes = read_attributes(text, *token.span("attributes"))
    href = next((a for a in attributes if a.name == "href"), None) if name in ("a", "area") and not hidden else None
    for attribute in attributes:
        if attribute.value_start < attribute.value_end:
            followable = attribute is href and _is_seen(text, name, attributes, token.end(), end)
            place = (attribute.value_start, attribute.value_end, attribute.name)
            yield Stretch(*place, token.span(), name, followable)


def _is_seen(text: str, name: str, attributes: list[Attribute], position: int, end: int) -> bool:
    """Say whether a link shows anything that can be clicked."""
    for attribute in attributes:
        value = text[attribute.value_start : attribute.value_end]
        if attribute.name == "hidden" or (attribute.name == "style" and _HIDDEN.search(value)):
            return False
    if name == "area":
        return True
    closing = _END_OF_LINK.search(text, position, end)
    inside = text[position : closing.start() if closing else end]
    return bool(_SEEN.search(inside) or unescape(_TAG.sub("", inside)).strip())
