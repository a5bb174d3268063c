"""What a browser makes of a mail, by html5lib: no code of the package has a say in it."""

from __future__ import annotations

import email
import email.policy
import re
import unicodedata
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import html5lib

_CONDITIONAL = re.compile(r"<!--\[if [^\]]*\]>(?!<!--)(.*?)<!\[endif\]-->", re.DOTALL)


def html_of(content: bytes) -> str:
    """Return the HTML part of a message as it came over the wire."""
    message = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.SMTP)
    part = message.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def hrefs(html: str) -> list[str]:
    """Return the href of each a and area, as a browser reads it."""
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    found = [e.get("href") for e in tree.iter() if e.tag in ("a", "area") and e.get("href") is not None]
    return [re.sub("[\t\n\r]", "", href).strip("\0 \f") for href in found]


def outlook_hrefs(html: str) -> list[str]:
    """Return the href of each element that only Outlook sees."""
    found = []
    for inner in _CONDITIONAL.findall(html):
        tree = html5lib.parse(inner, namespaceHTMLElements=False)
        found += [e.get("href") for e in tree.iter() if e.get("href") is not None]
    return found


def pixels(html: str, base_url: str) -> list[str]:
    """Return the src of each image of ours."""
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    sources = [e.get("src", "") for e in tree.iter("img")]
    return [src for src in sources if src.startswith(base_url)]


def same_destination(location: str, url: str) -> bool:
    """Say whether a ``Location`` header leads a browser to *url*: what ASCII cannot hold is encoded."""
    if url.isascii():
        return location == url
    decoded = "".join(unquote(piece) if not piece.isascii() or "%" in piece else piece for piece in [location])
    return unicodedata.normalize("NFC", decoded) == unicodedata.normalize("NFC", unquote(url))


def path_of(url: str) -> str:
    """Return what a test client requests for *url*."""
    return urlsplit(url).path


def normal_newlines(text: str) -> str:
    """Mail has one kind of line end: what SMTP does to the others is not damage."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
