"""The body of a mail as its author wrote it, kept to be drawn again: under a click map, or for its reader in a browser.

A kept body is a stranger's HTML. What is drawn is made of the author's text and of elements and attributes from a
list; nothing else of the markup is copied. So nothing in it acts, or asks anybody outside for anything, except that
pictures stay where the caller wants them. The answer around it needs a policy with ``sandbox`` all the same: style
sheets are cleaned of what they would load, but only as far as they say so plainly.
"""

from __future__ import annotations

import json
import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from types import MappingProxyType
from typing import NamedTuple

from .syntax import RAW_TEXT, TOKEN, Attribute, browser_url, comment_span, decode, lower, raw_text_end, read_attributes

LONGEST = 500_000
"""Characters of a body that is kept. Gmail shows a fifth of it."""
_LONGEST_PACKED = 16_000_000


class LinkPlace(NamedTuple):
    """A tracked link in a body; a link that occurs twice has two places."""

    start: int
    end: int
    """``html[start:end]`` is the value of its ``href``, without quotes."""
    position: int
    """As in the events of its clicks."""
    url: str
    """Where the link leads, with utm parameters."""
    name: str = ""
    app: bool = False
    """Whether an app may open it."""


class SlotPlace(NamedTuple):
    """A placeholder in a body."""

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class AuthoredBody:
    """The HTML of a mail before anything of a recipient's is put in."""

    html: str
    links: tuple[LinkPlace, ...] = ()
    slots: tuple[SlotPlace, ...] = ()
    """In order."""

    def packed(self) -> bytes:
        """Return the body as compressed JSON."""
        written = json.dumps([self.html, self.links, self.slots], separators=(",", ":"))
        return zlib.compress(written.encode(), 6)

    @classmethod
    def unpacked(cls, content: bytes) -> AuthoredBody:
        """Return what :meth:`packed` made.

        :raises ValueError: the content is damaged.
        """
        try:
            reader = zlib.decompressobj()
            html, links, slots = json.loads(reader.decompress(content, _LONGEST_PACKED))
            return cls(html, tuple(LinkPlace(*each) for each in links), tuple(SlotPlace(*each) for each in slots))
        except (zlib.error, TypeError) as error:
            raise ValueError("the body is damaged") from error


@dataclass(frozen=True, slots=True)
class Manner:
    """How a body is drawn."""

    pictures: Callable[[str], bool] = lambda url: False
    """Says of a picture outside the mail whether it stays."""
    link: Callable[[LinkPlace], str] | None = None
    """Returns where a tracked link leads; ``None``: no link leads anywhere."""
    slots: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What stands for placeholders, by name; without a value nothing does."""
    before: Callable[[LinkPlace], str] = lambda place: ""
    """Returns markup to stand before a tracked link."""
    head: str = ""
    """Markup to stand before all."""


def draw(body: AuthoredBody, manner: Manner) -> str:
    """Return an HTML page with the text and layout of *body*, in time that grows with its length."""
    return _Drawing(body, manner).page()


_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "wbr"})
_OTHERS = (
    "a abbr acronym address article aside b bdi bdo big blockquote body button caption center cite code colgroup dd del"
    " details dfn dir div dl dt em fieldset figcaption figure font footer h1 h2 h3 h4 h5 h6 head header hgroup html i"
    " ins kbd label legend li main map mark menu nav nobr ol optgroup option p pre q rp rt ruby s samp section select"
    " small span strike strong style sub summary sup table tbody td textarea tfoot th thead title tr tt u ul var"
)
_ELEMENTS = _VOID.union(_OTHERS.split())
_PLAIN = (
    "abbr align alink alt axis bgcolor border bordercolor bottommargin cellpadding cellspacing checked class clear"
    " color cols colspan compact coords dir disabled face frame headers height hidden hspace id label lang leftmargin"
    " link marginheight marginwidth media multiple name noshade nowrap open placeholder readonly reversed rightmargin"
    " role rows rowspan rules scope selected shape size span start summary text title topmargin type valign value vlink"
    " vspace width wrap"
)
_ATTRIBUTES = frozenset(_PLAIN.split())
_FREE = re.compile(r"(?:aria|data)-[a-z0-9-]+", re.ASCII)
_OURS = "data-mailtrack"
_PICTURES = {("img", "src"), *((element, "background") for element in ("body", "table", "tr", "td", "th"))}
_SCHEME = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE | re.ASCII)
_WEB = re.compile(r"https?://", re.IGNORECASE | re.ASCII)
_DATA = re.compile(r"data:image/[a-z0-9.+-]+[;,]", re.IGNORECASE | re.ASCII)
_DOCTYPE = re.compile(r"<!doctype(?=[\s>])[^<>]*>", re.IGNORECASE | re.ASCII)
_AT_RULE = re.compile(
    r"""@(?:import|charset|namespace)\b\s*(?:url\([^)]{0,2000}\)|"[^"]{0,2000}"|'[^']{0,2000}')?[^;]*;?""",
    re.IGNORECASE,
)
_CSS_URL = re.compile(
    r"""(?:url|src|image-set|-webkit-image-set)\(\s*("[^"]*"|'[^']*'|[^)"']*)[^)]*\)?""", re.IGNORECASE
)
_OLD_CSS = re.compile(r"expression\s*\(|behaviou?r\s*:|-moz-binding\s*:|(?:java|vb)script\s*:", re.IGNORECASE)
_COMMENT_SIGNS = re.compile("<!--|-->")


class _Drawing:
    """One walk over a body."""

    def __init__(self, body: AuthoredBody, manner: Manner) -> None:
        self._text = body.html
        self._slots = body.slots
        self._starts = [slot.start for slot in body.slots]
        self._links = {place.start: place for place in body.links}
        self._manner = manner
        self._written: list[str] = []
        self._begun = False
        """Whether it is too late for a document type."""

    def page(self) -> str:
        position = 0
        while token := TOKEN.search(self._text, position):
            self._write_text(position, token.start())
            position = self._after(token)
        self._write_text(position, len(self._text))
        written = "".join(self._written)
        doctype = _DOCTYPE.match(written)
        start = doctype.end() if doctype else 0
        return f"{written[:start]}{self._manner.head}{written[start:]}"

    def _after(self, token: re.Match[str]) -> int:
        """Write a token, and return the position behind it."""
        text, end = self._text, len(self._text)
        if token["comment"]:
            return comment_span(text, token.end(), end)[1]
        if token["bogus"]:
            if not self._begun and (doctype := _DOCTYPE.match(text, token.start())):
                self._written = [doctype[0]]
                self._begun = True
            return text.find(">", token.start()) + 1 or end
        if not token["end"]:  # the document breaks off in a tag
            return end
        name = lower(token["name"])
        if token["slash"]:
            if name in _ELEMENTS and name not in _VOID:
                self._written.append(f"</{name}>")
            return token.end()
        if not self._is_filled(token.start()):  # else it is the pixel
            self._write_tag(name, read_attributes(text, *token.span("attributes")))
        return self._after_raw_text(name, token.end())

    def _after_raw_text(self, name: str, start: int) -> int:
        """Write what looks like tags but is text to a parser."""
        if name == "plaintext":
            self._write_text(start, len(self._text))
            return len(self._text)
        if name != "script" and name not in RAW_TEXT:
            return start
        end = raw_text_end(name, self._text, start, len(self._text))
        if end is None:
            self._written.append(f"</{name}>" if name in _ELEMENTS else "")
            return len(self._text)
        if name == "style":
            self._written.append(_COMMENT_SIGNS.sub("", self._css(self._text[start:end])).replace("<", "\\3c "))
        elif name in ("title", "textarea", "xmp"):
            self._write_text(start, end)
        return end

    def _write_text(self, start: int, end: int) -> None:
        if start < end:
            # A sign that is text must not become markup when its neighbour is gone.
            text = self._filled(start, end).replace("<", "&lt;")
            self._begun = self._begun or not text.isspace()
            self._written.append(text)

    def _write_tag(self, name: str, attributes: Iterable[Attribute]) -> None:
        if name == "meta":
            self._write_viewport(attributes)
        if name not in _ELEMENTS:
            return
        self._begun = True
        seen: dict[str, str] = {}
        for attribute in attributes:
            if attribute.name in seen:
                continue
            if attribute.name == "href" and name == "a" and (place := self._links.get(attribute.value_start)):
                self._written.append(self._manner.before(place))
            seen[attribute.name] = self._kept(name, attribute)
        self._written.append(f"<{name}{''.join(seen.values())}>")

    def _kept(self, element: str, attribute: Attribute) -> str:
        """Return an attribute as it is written; empty: it is left out."""
        name = attribute.name
        source = self._filled(attribute.value_start, attribute.value_end)
        if name == "href" and element in ("a", "area"):
            return self._href(attribute, source)
        value = decode(source)
        if (element, name) in _PICTURES:
            url = browser_url(source)
            return _written(name, url) if self._is_shown(url) else ""
        if name == "usemap":
            return _written(name, value) if value.startswith("#") else ""
        if name == "style":
            return _written(name, self._css(value))
        known = name in _ATTRIBUTES or (_FREE.fullmatch(name) and not name.startswith(_OURS))
        return _written(name, value) if known else ""

    def _href(self, attribute: Attribute, source: str) -> str:
        if self._manner.link is None:
            return ""
        place = self._links.get(attribute.value_start)
        url = self._manner.link(place) if place else browser_url(source)
        return _written("rel", "noreferrer") + _written("href", url) if _SCHEME.match(url) else ""

    def _write_viewport(self, attributes: Iterable[Attribute]) -> None:
        """Keep how wide a phone shows the page. Nothing else that a ``meta`` says is kept."""
        said = {a.name: decode(self._text[a.value_start : a.value_end]) for a in reversed([*attributes])}
        if said.get("name", "").strip().lower() == "viewport" and "http-equiv" not in said:
            self._written.append(f'<meta name="viewport"{_written("content", said.get("content", ""))}>')

    def _css(self, text: str) -> str:
        def url(match: re.Match[str]) -> str:
            inside = match[1].strip("\"' \t\n\r\f")
            plain = match[0][:4].lower() == "url(" and "\\" not in match[0]
            return match[0] if plain and (inside.startswith("#") or self._is_shown(inside)) else "none"

        return _OLD_CSS.sub("-x-", _CSS_URL.sub(url, _AT_RULE.sub("", text)))

    def _is_shown(self, url: str) -> bool:
        return bool(_DATA.match(url)) or (_WEB.match(url) is not None and self._manner.pictures(url))

    def _is_filled(self, position: int) -> bool:
        number = bisect_right(self._starts, position) - 1
        return number >= 0 and position < self._slots[number].end

    def _filled(self, start: int, end: int) -> str:
        """Return a stretch of the source with what stands for the placeholders in it."""
        pieces: list[str] = []
        position = start
        for slot in self._slots[bisect_left(self._starts, start) : bisect_left(self._starts, end)]:
            pieces += (self._text[position : slot.start], escape(self._manner.slots.get(slot.name, "")))
            position = min(slot.end, end)
        return "".join([*pieces, self._text[position:end]])


def _written(name: str, value: str) -> str:
    return f' {name}="{escape(value)}"'
