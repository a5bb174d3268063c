"""How HTML is written: the tokens of the HTML Standard, 13.2.5, as regular expressions.

None of them goes back, hence no input makes one slow: a character repeats possessively (``*+``), and a
group repeats inside an atomic one (``(?>(?:...)*)``), for Python before 3.11.5 matches possessive groups
wrongly (CPython issue 106052).
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import NamedTuple

from .attributes import lower

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
    rf"(?>(?:{_S}++[a-zA-Z-]++=\"[^\"]*+\"|[ \t\n\f\r/]|(?=[^ \t\n\f\r/>]){_NAME}"
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
