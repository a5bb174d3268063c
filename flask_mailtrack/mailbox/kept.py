"""A mail that the mailbox keeps: its file, and its parts as a mail client reads them.

Anything may stand in a mail, and a page that shows it must not fail. So each part is read as far as it can be.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from functools import cached_property
from typing import Any, NamedTuple

from flask_mailtrack.events import new_id, now
from flask_mailtrack.privacy import legible

LABEL_BYTES = 65_536
"""The longest first line of a file."""
_ADDRESS, _LINE = 320, 998
_CID = re.compile(r"cid:([^\s\"'<>()]+)", re.IGNORECASE)
_IMAGES, _IMAGE_BYTES = 50, 2_000_000


class MailLabel(NamedTuple):
    """What the list shows of a mail: the first line of its file."""

    id: uuid.UUID
    at: datetime
    recipient: str
    """The address of the envelope, in the spelling for comparisons."""
    sender: str
    subject: str
    row: uuid.UUID | None
    """The id of the message row; ``None``: there is none."""


class Attached(NamedTuple):
    """A part of a mail that is no body."""

    name: str
    kind: str
    size: int


@dataclass(frozen=True)
class KeptMail:
    """One mail to one recipient.

    :param raw: the mail as it left, byte for byte.
    :param written: the HTML and the text as the author wrote them; ``None``: Mailtrack did not prepare the mail.
    """

    label: MailLabel
    raw: bytes
    written: tuple[str | None, str | None] | None = None

    @classmethod
    def of(
        cls,
        raw: bytes,
        recipient: str,
        row: uuid.UUID | None,
        sender: str = "",
        subject: str = "",
        written: tuple[str | None, str | None] | None = None,
    ) -> KeptMail:
        """Return a mail that was sent just now."""
        shown = (legible(recipient, _ADDRESS), legible(sender, _ADDRESS), legible(subject, _LINE))
        return cls(MailLabel(new_id(), now(), *shown, row), raw, written)

    @classmethod
    def read(cls, content: bytes) -> KeptMail:
        """Return the mail of a file.

        :raises ValueError: the file is none of ours.
        """
        first, _, rest = content.partition(b"\n")
        told = _told(first)
        label, sizes = _label(told), told.get("written")
        if sizes is None:
            return cls(label, rest)
        parts, at = [], 0
        for size in sizes:
            part = None if size is None else rest[at : at + size].decode("utf-8", "surrogatepass")
            parts.append(part)
            at += size or 0
        return cls(label, rest[at:], (parts[0], parts[1]))

    def file(self) -> bytes:
        """Return the content of the file: a line of JSON, what the author wrote, the mail."""
        parts = [None if part is None else part.encode("utf-8", "surrogatepass") for part in self.written or ()]
        sizes = None if self.written is None else [None if part is None else len(part) for part in parts]
        label = {
            "id": self.label.id.hex,
            "at": self.label.at.isoformat(),
            "recipient": self.label.recipient,
            "sender": self.label.sender,
            "subject": self.label.subject,
            "row": self.label.row.hex if self.label.row else None,
            "written": sizes,
        }
        return b"".join([json.dumps(label).encode(), b"\n", *(part or b"" for part in parts), self.raw])

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """The names and the readable values of the headers, in order."""
        return [(str(name), _decoded(value)) for name, value in self._message.items()]

    def header(self, name: str) -> str:
        """Return the first header of that name; empty: there is none."""
        return next((value for given, value in self.headers if given.lower() == name.lower()), "")

    @property
    def html(self) -> str:
        """The HTML part; empty: there is none."""
        return self._body("text/html")

    @property
    def body(self) -> str:
        """The text part; empty: there is none."""
        return self._body("text/plain")

    @property
    def source(self) -> str:
        """The whole mail, for people to read."""
        return self.raw.decode("utf-8", "replace")

    @property
    def unsubscribe_url(self) -> str:
        """The web address in List-Unsubscribe; empty: there is none."""
        found = re.search(r"<(https?://[^<>\s]+)>", self.header("List-Unsubscribe"))
        return found[1] if found else ""

    @cached_property
    def attachments(self) -> list[Attached]:
        """The parts that are no body."""
        bodies = [self._part("text/html"), self._part("text/plain")]
        return [
            Attached(_name(part), _kind(part), len(_octets(part)))
            for part in self._leaves
            if not any(part is body for body in bodies)
        ]

    def with_inline_images(self, html: str) -> str:
        """Return *html* with the attached images that it shows, so that they need not be fetched."""

        def shown(found: re.Match[str]) -> str:
            part = images.get(found[1].lower())
            octets = _octets(part) if part else b""
            if not octets or len(octets) > _IMAGE_BYTES:
                return found[0]
            return f"data:{_kind(part)};base64,{base64.b64encode(octets).decode()}"

        images = {
            str(part["Content-ID"]).strip().strip("<>").lower(): part
            for part in self._leaves
            if part["Content-ID"] and re.fullmatch(r"image/[\w.+-]+", _kind(part))
        }
        return _CID.sub(shown, html, count=_IMAGES) if images else html

    @cached_property
    def _message(self) -> Message[str, str]:
        try:
            return message_from_bytes(self.raw)
        except Exception:  # parts within parts, a thousand deep
            return BytesHeaderParser().parsebytes(self.raw)

    @cached_property
    def _leaves(self) -> list[Message[str, str]]:
        try:
            return [part for part in self._message.walk() if not part.is_multipart()]
        except RecursionError:
            return []

    def _part(self, kind: str) -> Message[str, str] | None:
        return next((p for p in self._leaves if _kind(p) == kind and not _is_attached(p)), None)

    def _body(self, kind: str) -> str:
        part = self._part(kind)
        return "" if part is None else decoded(_octets(part), _charset(part))


def label_of(first_line: bytes) -> MailLabel:
    """Return the label in the first line of a file.

    :raises ValueError: the line is none of ours.
    """
    return _label(_told(first_line))


def decoded(octets: bytes, charset: str) -> str:
    """Return text in a charset that may not exist, or may not be the right one."""
    try:
        text = octets.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        text = octets.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode()


def _told(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except RecursionError:
        told = None
    if not isinstance(told, dict):
        raise ValueError("this is no mail of the mailbox")
    return told


def _label(told: dict[str, Any]) -> MailLabel:
    try:
        row = uuid.UUID(told["row"]) if told["row"] else None
        recipient, sender, subject = (str(told[name]) for name in ("recipient", "sender", "subject"))
        return MailLabel(uuid.UUID(told["id"]), datetime.fromisoformat(told["at"]), recipient, sender, subject, row)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("this is no mail of the mailbox") from error


def _decoded(value: object) -> str:
    written = str(value)
    try:
        return str(make_header(decode_header(written))).encode("utf-8", "replace").decode()
    except Exception:  # the parser has an error for each kind of broken header
        return written.encode("utf-8", "replace").decode()


def _kind(part: Message[str, str] | None) -> str:
    try:
        return part.get_content_type() if part is not None else ""
    except Exception:
        return "application/octet-stream"


def _charset(part: Message[str, str]) -> str:
    try:
        return part.get_content_charset() or ""
    except Exception:
        return ""


def _is_attached(part: Message[str, str]) -> bool:
    try:
        return part.get_content_disposition() == "attachment"
    except Exception:
        return True


def _name(part: Message[str, str]) -> str:
    try:
        return legible(part.get_filename() or "", 255)
    except Exception:
        return ""


def _octets(part: Message[str, str] | None) -> bytes:
    try:
        content = part.get_payload(decode=True) if part is not None else b""
    except Exception:
        return b""
    return content if isinstance(content, bytes) else b""


def newest_first(labels: Iterator[MailLabel]) -> list[MailLabel]:
    """Return labels in the order of a list of mails."""
    return sorted(labels, key=lambda label: label.id, reverse=True)
