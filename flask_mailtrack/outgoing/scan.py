"""Where things stand in an HTML text: a tokenizer after the HTML Standard, 13.2.5, in linear time.

It builds no tree. It walks from one ``<`` to the next and notes the exact position of the few
things a rewriter needs, so that everything else can be sent byte for byte as the author wrote it.
Every regular expression is possessive (``*+``): no backtracking, hence no input that makes it slow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .attributes import decode, lower

_S = r"[ \t\n\f\r]"
_NAME = r"=?[^ \t\n\f\r/>=]*+"
_QUOTED = r""""[^"]*+"|'[^']*+'"""
_ATTRIBUTES = (
    rf"(?:[ \t\n\f\r/]|(?=[^ \t\n\f\r/>]){_NAME}"
    rf"(?:{_S}*+={_S}*+(?:{_QUOTED}|[^ \t\n\f\r>\"'][^ \t\n\f\r>]*+|(?=>))|(?!{_S}*+=)))*+"
)
_TOKEN = re.compile(
    r"<(?:(?P<comment>!--)|(?P<bogus>[!?]|/(?![a-zA-Z]))"
    rf"|(?P<slash>/?)(?P<name>[a-zA-Z][^ \t\n\f\r/>]*+)(?P<attributes>{_ATTRIBUTES})(?P<end>>)?)"
)
# Runs only over text that _TOKEN has accepted, hence the simpler form of an unquoted value.
_ATTRIBUTE = re.compile(rf"(?=[^ \t\n\f\r/>])(?P<name>{_NAME})(?:{_S}*+={_S}*+(?P<value>{_QUOTED}|[^ \t\n\f\r>]*+))?")
_COMMENT_END = re.compile("--!?>")
CONDITION = re.compile(r"\[if\b[^\]>]*+\]>", re.I | re.A)
"""How the inside of a comment begins that Outlook reads on."""
_RAW_TEXT_END = {
    name: re.compile(rf"</{name}(?=[ \t\n\f\r/>])", re.I | re.A)
    for name in ("iframe", "noembed", "noframes", "style", "textarea", "title", "xmp")
}
_SCRIPT_STEP = re.compile(
    r"(?P<close></script(?=[ \t\n\f\r/>]))|(?P<nested><script(?=[ \t\n\f\r/>]))"
    r"|(?P<escape><!--)|(?P<unescape>-->)",
    re.I | re.A,
)
_AMP_MARKS = frozenset({"amp4email", "\u26a14email"})


@dataclass(frozen=True, slots=True)
class Attribute:
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


@dataclass(frozen=True, slots=True)
class LinkTag:
    """A start tag that may carry a link: ``a``, ``area`` or one of Outlook's ``v:`` shapes."""

    attributes: tuple[Attribute, ...]
    hidden: bool
    """Inside a conditional comment: Outlook reads it, an HTML parser does not."""

    @property
    def href(self) -> Attribute | None:
        """The first ``href``, the only one that counts, if it has a value."""
        for attribute in self.attributes:
            if attribute.name == "href":
                return attribute if attribute.value_start < attribute.value_end else None
        return None


@dataclass(frozen=True, slots=True)
class Page:
    """What :func:`scan` found."""

    text: str
    tags: tuple[LinkTag, ...]
    """In document order."""
    body_end: int | None
    """The last ``</body>``."""
    html_end: int | None
    """The last ``</html>``."""
    unclosed: int | None
    """Start of a tag, comment or raw text that the document ends in."""
    amp: bool
    """The page declares itself AMP for e-mail, where a plain ``<img>`` is not valid."""

    @property
    def pixel_point(self) -> int:
        """Where an image is shown last of all, without moving anything else."""
        for point in (self.body_end, self.html_end, self.unclosed):
            if point is not None:
                return point
        return len(self.text)

    def values(self, tag: LinkTag) -> dict[str, str]:
        """Return the decoded attributes of a tag; of two with one name the first counts."""
        values: dict[str, str] = {}
        for attribute in tag.attributes:
            values.setdefault(attribute.name, decode(self.text[attribute.value_start : attribute.value_end]))
        return values


def scan(text: str) -> Page:
    """Read a document once, from front to back."""
    scanner = _Scanner(text)
    unclosed = scanner.walk(0, len(text), hidden=False)
    return Page(
        text=text,
        tags=tuple(scanner.tags),
        body_end=scanner.last_end_tag.get("body"),
        html_end=scanner.last_end_tag.get("html"),
        unclosed=unclosed,
        amp=scanner.amp,
    )


def read_attributes(text: str, start: int, end: int) -> list[Attribute]:
    """Split the inside of an accepted tag, without its name and ``>``, into attributes."""
    found = []
    for match in _ATTRIBUTE.finditer(text, start, end):
        value_start, value_end = match.span("value")
        if value_start < 0:  # a bare attribute
            value_start = value_end = match.end()
        quoted = value_start < value_end and text[value_start] in "\"'"
        found.append(
            Attribute(
                name=lower(match["name"]),
                start=match.start(),
                end=match.end(),
                value_start=value_start + quoted,
                value_end=value_end - quoted,
                quoted=quoted,
            )
        )
    return found


class _UnclosedError(Exception):
    """The document ends inside the construct that starts at the current token."""


class _Scanner:
    """The state of one walk; every ``_after_*`` method returns where the next token may start."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tags: list[LinkTag] = []
        self.last_end_tag: dict[str, int] = {}
        self.amp = False

    def walk(self, position: int, end: int, *, hidden: bool) -> int | None:
        """Collect from a stretch of text; return the start of a construct that it cuts off."""
        while token := _TOKEN.search(self.text, position, end):
            try:
                position = self._after(token, end, hidden)
            except _UnclosedError:
                return token.start()
        return None

    def _after(self, token: re.Match[str], end: int, hidden: bool) -> int:
        if token["name"]:
            if not token["end"]:
                raise _UnclosedError
            if token["slash"]:
                return self._after_end_tag(token, hidden)
            return self._after_start_tag(token, end, hidden)
        if token["comment"]:
            return self._after_comment(token, end, hidden)
        return self._behind_next_bracket(token.start("bogus"), end)

    def _behind_next_bracket(self, position: int, end: int) -> int:
        bracket = self.text.find(">", position, end)
        if bracket < 0:
            raise _UnclosedError
        return bracket + 1

    def _after_comment(self, token: re.Match[str], end: int, hidden: bool) -> int:
        inside = token.end()
        if self.text.startswith((">", "->"), inside, end):  # <!--> and <!---> close themselves
            return self._behind_next_bracket(inside, end)
        closing = _COMMENT_END.search(self.text, inside, end)
        stop = closing.start() if closing else end
        # Outlook reads on behind the condition; conditional comments do not nest.
        if not hidden and (condition := CONDITION.match(self.text, inside, stop)):
            self.walk(condition.end(), stop, hidden=True)
        if not closing:
            raise _UnclosedError
        return closing.end()

    def _after_end_tag(self, token: re.Match[str], hidden: bool) -> int:
        if not hidden:
            self.last_end_tag[lower(token["name"])] = token.start()
        return token.end()

    def _after_start_tag(self, token: re.Match[str], end: int, hidden: bool) -> int:
        name = lower(token["name"])
        if name in ("a", "area") or name.startswith("v:"):
            self.tags.append(LinkTag(tuple(read_attributes(self.text, *token.span("attributes"))), hidden))
        elif name in _RAW_TEXT_END:
            closing = _RAW_TEXT_END[name].search(self.text, token.end(), end)
            if not closing:
                raise _UnclosedError
            return closing.start()
        elif name == "script":
            return self._script_end(token.end(), end)
        elif name == "plaintext":
            raise _UnclosedError
        elif name == "html" and not hidden:
            self.amp = self.amp or self._declares_amp(token)
        return token.end()

    def _declares_amp(self, token: re.Match[str]) -> bool:
        names = (attribute.name for attribute in read_attributes(self.text, *token.span("attributes")))
        # An emoji keyboard adds U+FE0F to the lightning sign.
        return any(name.replace("\ufe0f", "") in _AMP_MARKS for name in names)

    def _script_end(self, position: int, end: int) -> int:
        """Find ``</script>`` through the "script data escaped" states (HTML Standard, 13.2.5.15 to 31)."""
        state = "data"
        while step := _SCRIPT_STEP.search(self.text, position, end):
            position = step.end()
            match step.lastgroup, state:
                case "close", "data" | "escaped":
                    return step.start()
                case "close", _:
                    state = "escaped"
                case "escape", "data":
                    state = "escaped"
                    position -= 2  # <!--> closes itself
                case "nested", "escaped":
                    state = "double escaped"
                case "unescape", _:
                    state = "data"
        raise _UnclosedError
