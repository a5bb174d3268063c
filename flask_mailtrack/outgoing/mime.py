"""A mail as bytes: its bodies are found, and each is written back in its place.

All other octets stay as they are: headers, their order and their folds, boundaries, attachments, and the bodies that
tracking does not change. So a mail that another program has written looks afterwards as that program wrote it.
"""

from __future__ import annotations

import base64
import logging
import re
from binascii import a2b_qp, b2a_qp
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import SMTP, compat32
from email.utils import getaddresses
from functools import cached_property
from itertools import islice

from flask_mailtrack.config import QUOTED_PRINTABLE

from .headers import MAX_LINE, unfolded

log: logging.Logger = logging.getLogger("flask_mailtrack.send")

_EOL = re.compile(rb"\r\n|\n|\r")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BASE64 = "base64"
_OF_8_BIT = ("8bit", "binary")
_CHARSET = "us-ascii"  # RFC 2046, section 4.1.2
_DEEPEST = 20
"""Levels of parts inside parts. No mail program writes as many."""
_MOST = 1000
"""Parts that are looked at."""
_MAX_SUBJECT = 4000
_SEALED = {"multipart/signed", "multipart/encrypted", "multipart/report", "multipart/digest"}
"""Parts whose content must not change, or that hold other mails: RFC 1847, RFC 3462, RFC 2046, section 5.1.5."""
_BINARY = re.compile(rb"^content-transfer-encoding[ \t]*:[ \t]*binary", re.I | re.M)
_WIDER = {
    **{"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "big5": "big5hkscs"},
    **{"euc-kr": "cp949", "ks_c_5601-1987": "cp949"},
}
"""The charsets that mail programs write under these names, with more letters than the names say."""
_SECRET = ("bcc", "resent-bcc")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text part of a mail."""

    subtype: str
    start: int
    """Where the headers of the part begin; for a mail of one part, the mail."""
    body: int
    end: int
    charset: str
    encoding: str
    text: str
    wrapped: bool
    """Whether the lines of the part end in CRLF, for which the text has LF."""


@dataclass(frozen=True, slots=True)
class _Entity:
    """Headers and body: the whole mail, or one of its parts."""

    head: Message
    start: int
    body: int
    end: int

    @property
    def subtype(self) -> str:
        return self.head.get_content_subtype()

    @property
    def is_attached(self) -> bool:
        return self.head.get_content_disposition() == "attachment" or bool(self.head.get_filename())


class Mime:
    """A mail that was handed in as bytes.

    :param raw: the mail, whose lines may end as the host likes: each ends in CRLF then, as SMTP wants.
    """

    def __init__(self, raw: bytes) -> None:
        # A part that is written as it is may have line ends that mean something.
        as_it_is = b"\r\n" in raw and _BINARY.search(raw)
        self.raw: bytes = raw if as_it_is else _EOL.sub(b"\r\n", raw)
        self._whole = _entity(self.raw, 0, len(self.raw))
        found: dict[str, TextPart] = {}
        unread: dict[str, str] = {}
        try:
            for part in _texts(self.raw, self._whole, unread):
                found.setdefault(part.subtype, part)
        except Exception:  # a header that the standard library cannot read: the mail goes out as it is
            log.exception("the bodies of a mail were not found")
            found = {}
        self.parts: Mapping[str, TextPart] = found
        """The first text part of each subtype that a reader sees, by its subtype, such as ``html`` and ``plain``."""
        self.unread: Mapping[str, str] = {kind: why for kind, why in unread.items() if kind not in found}
        """The causes for which parts go out as they are, by subtype."""

    @property
    def bodies(self) -> tuple[str | None, str | None]:
        """The page and the plain text."""
        html, plain = (self.parts[kind].text if kind in self.parts else None for kind in ("html", "plain"))
        return html, plain

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers, each on one line. Of a header that comes several times, the last one."""
        return {name: _line(value) for name, value in self._whole.head.raw_items()}

    def all(self, name: str) -> list[str]:
        """Return the values of all headers *name*, each on one line."""
        return [_line(value) for key, value in self._whole.head.raw_items() if key.lower() == name.lower()]

    def legible(self, name: str) -> str:
        """Return the header *name* with its RFC 2047 words decoded; empty: there is none."""
        value = next(iter(self.all(name)), "")
        try:
            return str(make_header(decode_header(value[:_MAX_SUBJECT])))
        except Exception:  # a word that is cut, or of an unknown charset, is shown as it stands
            return value

    def addresses(self, *names: str) -> list[str]:
        """Return the bare addresses in the headers *names*, each once."""
        try:
            pairs = getaddresses([value for name in names for value in self.all(name)])
        except RecursionError:  # thousands of brackets
            return []
        return list(dict.fromkeys(address for _, address in pairs if address))

    def written(self, texts: Mapping[str, str], headers: Mapping[str, str], encoding: str = "") -> bytes:
        """Return the mail with other bodies and headers, and without Bcc.

        :param texts: by subtype. A text that equals that of its part changes nothing.
        :param headers: all headers. One that is not there is taken out, and a new one is added at the end.
        :param encoding: for the parts that change; empty: their own, if the text fits into it.
        """
        raw, ahead = self.raw, self._whole.body
        for part in sorted(self.parts.values(), key=lambda part: part.start, reverse=True):
            if (text := texts.get(part.subtype, part.text)) != part.text:
                head, body = _encoded(raw[part.start : part.body], part, text, encoding)
                raw = raw[: part.start] + head + body + raw[part.end :]
                ahead += len(head) - (part.body - part.start) if part.start == 0 else 0
        return _with_headers(raw[:ahead], self.headers, headers) + raw[ahead:]


def _line(value: object) -> str:
    """Return the value of a header on one line. It is in UTF-8 if it is not ASCII: RFC 6532, section 3.2."""
    line = unfolded(value)
    try:
        return line.encode("ascii", "surrogateescape").decode()
    except UnicodeError:
        return line


def _entity(raw: bytes, start: int, end: int) -> _Entity:
    if raw.startswith(b"\r\n", start, end):
        body = start + 2
    else:
        blank = raw.find(b"\r\n\r\n", start, end)
        body = end if blank < 0 else blank + 4
    return _Entity(BytesHeaderParser(policy=compat32).parsebytes(raw[start:body]), start, body, end)


def _texts(raw: bytes, entity: _Entity, unread: dict[str, str], depth: int = 0) -> Iterator[TextPart]:
    """Yield the texts that a mail program shows, in their order, and note in *unread* why others cannot be read."""
    kind = entity.head.get_content_type()
    if depth > _DEEPEST or kind in _SEALED or entity.is_attached:
        return
    if kind.startswith("text/"):
        if entity.body == entity.end and not raw[entity.start : entity.end].endswith(b"\r\n\r\n"):
            return  # no line between the headers and a body
        try:
            yield _decoded(raw, entity)
        except _UnreadError as error:
            unread.setdefault(entity.subtype, str(error))
        return
    spans = islice(_spans(raw, entity), _MOST) if kind.startswith("multipart/") else ()
    inside: Iterable[_Entity] = (_entity(raw, *span) for span in spans)
    if entity.subtype == "alternative":
        for each in inside:
            yield from _texts(raw, each, unread, depth + 1)
        return
    if entity.subtype == "related":  # RFC 2387, section 3.2
        every, root = list(inside), str(entity.head.get_param("start", "")).strip(" <>")
        named = [each for each in every if root and str(each.head.get("Content-ID", "")).strip(" <>") == root]
        inside = named or every[:1]
    # Of other parts the first one with a text is the mail, and what follows is attached to it.
    yield from next(filter(None, (list(_texts(raw, each, unread, depth + 1)) for each in inside)), ())


def _spans(raw: bytes, entity: _Entity) -> Iterator[tuple[int, int]]:
    """Yield the beginning and the end of each part: RFC 2046, section 5.1.1."""
    boundary = entity.head.get_boundary()
    if not boundary:
        return
    line = re.compile(rb"\r\n--" + re.escape(boundary.encode("ascii", "surrogateescape")) + rb"(--)?[ \t]*(?:\r\n|\Z)")
    start, at = None, entity.body - 2  # the end of the headers may be the line end before the first boundary
    while found := line.search(raw, max(at, 0), entity.end):
        if start is not None:
            yield start, max(found.start(), start)
        if found[1]:
            return
        start = found.end()
        at = start - 2  # an empty part
    if start is not None:
        yield start, entity.end


class _UnreadError(Exception):
    """The octets of a part could not be made again from its text. The message is a sentence."""


def _decoded(raw: bytes, entity: _Entity) -> TextPart:
    """Return the text of a part.

    :raises _UnreadError: the octets of the part cannot be made again from it.
    """
    encoding = str(entity.head.get("Content-Transfer-Encoding", "")).strip().lower()
    charset = str(entity.head.get_content_charset(_CHARSET))
    if str(entity.head.get_param("delsp", "")).lower() == "yes":  # RFC 3676, section 4.1
        raise _UnreadError("with DelSp=yes, a space at the end of a line stands for nothing.")
    octets = raw[entity.body : entity.end]
    try:
        octets = _plain_octets(octets, encoding)
        charset, text = _read(octets, charset)
        again = text.encode(charset)
    except LookupError:
        raise _UnreadError(f"the charset {charset[:40]!r} is not known here.") from None
    except UnicodeError:
        raise _UnreadError(f"it has octets that are no letters of its charset, {charset[:40]!r}.") from None
    except ValueError:
        raise _UnreadError("its base64 is damaged.") from None
    if again != octets:  # an escape sequence, or a mark of the order of octets
        raise _UnreadError(f"it could not be written back in its charset, {charset[:40]!r}, as it was.")
    wrapped = "\r\n" in text and not _BARE.search(octets)
    text = text.replace("\r\n", "\n") if wrapped else text
    return TextPart(entity.subtype, entity.start, entity.body, entity.end, charset, encoding, text, wrapped)


def _plain_octets(octets: bytes, encoding: str) -> bytes:
    if encoding == _BASE64:
        return base64.b64decode(octets)
    if encoding == QUOTED_PRINTABLE:
        return a2b_qp(octets)
    if encoding not in ("", "7bit", "8bit", "binary"):
        raise _UnreadError(f"the encoding {encoding[:40]!r} is not known here.")
    return octets


def _read(octets: bytes, charset: str) -> tuple[str, str]:
    try:
        return charset, octets.decode(charset)
    except UnicodeError:
        return (wider := _WIDER.get(charset, charset)), octets.decode(wider)


def _encoded(head: bytes, part: TextPart, text: str, wanted: str) -> tuple[bytes, bytes]:
    """Return headers and body of a part with another text: in its own charset and encoding if these can say it."""
    text = text.replace("\n", "\r\n") if part.wrapped or "\n" not in part.text else text
    encoding = wanted or part.encoding
    try:
        octets = text.encode(part.charset, "xmlcharrefreplace" if part.subtype == "html" else "strict")
    except UnicodeError:
        octets = text.encode()
        head = _set(head, "Content-Type", _in_utf_8(head))
    lines = not _BARE.search(octets)
    as_is = lines and max(map(len, octets.split(b"\r\n"))) <= MAX_LINE and (octets.isascii() or encoding in _OF_8_BIT)
    if encoding not in (_BASE64, QUOTED_PRINTABLE) and not as_is:
        encoding = QUOTED_PRINTABLE
    if encoding != part.encoding:
        head = _set(head, "Content-Transfer-Encoding", encoding)
    if encoding == _BASE64:
        return head, _EOL.sub(b"\r\n", base64.encodebytes(octets)).removesuffix(b"\r\n")
    if encoding == QUOTED_PRINTABLE:
        return head, _EOL.sub(b"\r\n", b2a_qp(octets, istext=lines))
    return head, octets


def _in_utf_8(head: bytes) -> str:
    message = BytesHeaderParser(policy=compat32).parsebytes(head)
    if "Content-Type" not in message:
        message["Content-Type"] = "text/plain"
    message.set_param("charset", "utf-8")
    return unfolded(str(message["Content-Type"]))


def _field(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"^" + re.escape(name.encode()) + rb"[ \t]*:(?:[^\r\n]|\r\n[ \t])*(?:\r\n|\Z)", re.I | re.M)


def _set(head: bytes, name: str, value: str | None) -> bytes:
    """Return a block of headers with one header written anew, or without the header."""
    line = b"" if value is None else SMTP.fold(name, value).encode("utf-8", "surrogateescape")
    lines = [line]
    head, found = _field(name).subn(lambda _: lines.pop() if lines else b"", head)
    if found:
        return head
    if head.endswith(b"\r\n\r\n") or head == b"\r\n":
        return head[:-2] + line + b"\r\n"
    return head + (b"\r\n" if head and line and not head.endswith(b"\r\n") else b"") + line


def _with_headers(head: bytes, before: Mapping[str, str], after: Mapping[str, str]) -> bytes:
    gone: dict[str, None] = dict.fromkeys(name for name in before if name not in after or name.lower() in _SECRET)
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    # Also where the standard library sees no header any more, below a line that is none.
    for name, value in {**gone, **dict.fromkeys(_SECRET), **changed}.items():
        head = _set(head, name, value)
    return head
