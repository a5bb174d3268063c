"""Helpers for the tests of your app: act as the person, or the machine, that got a mail.

.. code-block:: python

    with mail.record_messages() as outbox:
        send_newsletter()
    reader = Reader.of(outbox, "ada@example.com")
    reader.open()
    assert reader.click("Our offer").location == "https://shop.example/offer"
    assert reader.unsubscribe().status_code == 200
    reader.as_apple().open()  # the same mail, as Apple's proxy fetches it

``record_messages`` is Flask-Mail's. :func:`record_mails` has the mails of every other sender, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as MimeMessage
from email.utils import getaddresses
from functools import cached_property
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, current_app
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from .errors import NotInitialised, TokenError
from .outgoing.dispatched import Dispatched, listen
from .state import State, state_of

__all__ = ["APPLE", "BROWSER", "GMAIL", "SCANNER", "FoundLink", "Reader", "SentMail", "record_mails"]

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept-Language": "en",
}
"""Headers of a person's browser. A hit right after sending still counts as a machine's."""
APPLE = {"User-Agent": "Mozilla/5.0"}
"""Headers of Apple's privacy proxy, which sends no more than that."""
GMAIL = {"User-Agent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}
"""Headers of Gmail's image proxy. A person reads behind it."""
SCANNER = {"User-Agent": "Mozilla/5.0 (compatible; Barracuda Sentinel)"}
"""Headers of a security gateway. It follows links before the mail is delivered."""

_URL_IN_TEXT = re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?')\]}]")


@dataclass(frozen=True, slots=True)
class FoundLink:
    """A link as a mail client shows it."""

    url: str
    text: str
    """The visible text, or the alternative text of an image; in plain text, the address itself."""
    destination: str = ""
    """The destination of the author's link: behind the redirect if the link is tracked, else the address itself."""
    tracked: bool = False
    """Whether the link leads through the redirect."""


@dataclass(frozen=True)
class SentMail:
    """A mail as it has left the app, whatever has sent it."""

    content: bytes
    """The mail, byte for byte."""
    sender: str
    """The author: the header From."""
    subject: str
    recipients: list[str]
    """The bare addresses of the envelope, in lower case."""

    @property
    def html(self) -> str:
        """The page; empty: there is none."""
        return _bodies(self.mime)[0]

    @property
    def body(self) -> str:
        """The plain text; empty: there is none."""
        return _bodies(self.mime)[1]

    @cached_property
    def mime(self) -> MimeMessage:
        """The mail, as the standard library reads it."""
        return message_from_bytes(self.content)


@contextmanager
def record_mails(app: Flask | None = None) -> Iterator[list[SentMail]]:
    """Record the mails that leave an app inside the block, by Flask-Mail or any other way that is tracked.

    With ``MAILTRACK_ENABLED`` off, these are the mails of Flask-Mail only.

    :param app: default: the current app.
    """
    found: list[SentMail] = []

    def hear(mail: Dispatched) -> None:
        found.append(SentMail(mail.content, mail.sender, mail.subject, list(mail.rows)))

    held = listen(app or current_app._get_current_object(), lambda: True, hear)  # type: ignore[attr-defined]
    try:
        yield found
    finally:
        del held


class Reader:
    """Reads one sent message.

    :param client: the app's test client.
    :param message: a :class:`SentMail`; a ``flask_mail.Message`` from ``mail.record_messages()``; or an
        ``email.message.Message`` from an SMTP server.
    :param headers: of each request; a person's browser by default.
    """

    def __init__(self, client: FlaskClient, message: Any, headers: dict[str, str] | None = None) -> None:
        self.client = client
        self.message = message
        self.headers: dict[str, str] = BROWSER if headers is None else headers
        html, text = _bodies(message)
        self._page = _Page(html)
        self._text = text

    @classmethod
    def of(cls, outbox: Iterable[Any], address: str, client: FlaskClient | None = None) -> Reader:
        """Return the reader of the copy for *address*; of the last copy if there are several.

        :param outbox: messages, as for :class:`Reader`.
        :param address: an address of the message; case does not matter.
        :param client: the test client; default: a new test client of the current app.
        :raises LookupError: there is no such copy; the text names the addresses that got one.
        """
        messages = list(outbox)
        for message in reversed(messages):
            if address.lower() in _recipients(message):
                return cls(client or current_app.test_client(), message)
        known = sorted({each for message in messages for each in _recipients(message)})
        raise LookupError(f"no mail to {address!r}; there is mail to {known}")

    def as_apple(self) -> Reader:
        """Return a reader that acts as Apple's privacy proxy, which fetches each image even if nobody reads."""
        return Reader(self.client, self.message, APPLE)

    def as_gmail(self) -> Reader:
        """Return a reader that acts as Gmail's image proxy, which fetches images while a person reads."""
        return Reader(self.client, self.message, GMAIL)

    def as_scanner(self) -> Reader:
        """Return a reader that acts as a security gateway, which opens links before anybody reads."""
        return Reader(self.client, self.message, SCANNER)

    @property
    def links(self) -> list[FoundLink]:
        """The visible links of the HTML part, in order. The honeypot is not among them."""
        return [self._found(url, text) for url, text in self._page.links]

    @property
    def text_links(self) -> list[FoundLink]:
        """The web addresses in the plain-text part, in order."""
        return [self._found(url, url) for url in _URL_IN_TEXT.findall(self._text)]

    @property
    def has_pixel(self) -> bool:
        """Whether the message has an open pixel."""
        return bool(self._pixels)

    @property
    def _pixels(self) -> list[str]:
        return [src for src in self._page.images if src.endswith(".gif") and "/o/" in src]

    def open(self) -> TestResponse:
        """Load the images, and so fetch the pixel.

        :raises LookupError: the message has no pixel.
        """
        if not self.has_pixel:
            raise LookupError("the message has no open pixel")
        return self.get(self._pixels[-1])

    def click(self, which: int | str = 0) -> TestResponse:
        """Follow a tracked link, and return the answer without following the redirect.

        :param which: the position of the link in the HTML part, or its visible text. A text or a destination that
            no link of the HTML part has is looked for in the plain-text part.
        :raises LookupError: there is no such link; several links with that text lead to different places; or
            the link is not tracked, so that a click on it would never reach the app.
        """
        link = self._at(which) if isinstance(which, int) else self._named(which)
        if not link.tracked and not self._is_ours(link.url):
            raise LookupError(f"the link {link.text!r} is not tracked: it leads straight to {link.url}")
        return self.get(link.url)

    def unsubscribe(self) -> TestResponse:
        """Press the mail client's own button: a one-click POST (RFC 8058).

        :raises LookupError: the message does not offer one-click unsubscribe.
        """
        given = _headers(self.message)
        offered = re.search(r"<(https://[^<>]+)>", given.get("list-unsubscribe", ""))
        if offered is None or "list-unsubscribe-post" not in given:
            raise LookupError("the message offers no one-click unsubscribe")
        url = offered[1]
        return self.client.post(urlsplit(url).path, base_url=_origin(url), data={"List-Unsubscribe": "One-Click"})

    def get(self, url: str) -> TestResponse:
        """Request *url* as this reader."""
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return self.client.get(path, base_url=_origin(url), headers=self.headers)

    def _at(self, position: int) -> FoundLink:
        links = self.links
        if not -len(links) <= position < len(links):
            raise LookupError(f"no link {position}; there are {len(links)}")
        return links[position]

    def _named(self, text: str) -> FoundLink:
        links, in_text = self.links, self.text_links
        found = [link for link in links if link.text == text] or [
            link for link in (*links, *in_text) if text in (link.destination, link.url)
        ]
        if not found:
            raise LookupError(f"no link {text!r}; there are {[link.text for link in (*links, *in_text)]}")
        if len({link.destination for link in found}) > 1:
            places = ", ".join(f"{links.index(link)} to {link.destination}" for link in found)
            raise LookupError(f"{len(found)} links are called {text!r}: {places}; click one by its position")
        return found[0]

    def _found(self, url: str, text: str) -> FoundLink:
        destination = self._destination(url)
        return FoundLink(url, text, destination or url, bool(destination))

    def _destination(self, url: str) -> str:
        """Return the destination of a tracked link; empty if the link is not tracked."""
        state = self._state()
        root = next((root for root in self._roots() if url.startswith(root)), None)
        if state is None or root is None:
            return ""
        kind, _, path = url.removeprefix(root).partition("/")
        try:
            token, destination = state.signer.read_click(path) if kind in ("c", "a") else (None, "")
        except TokenError:
            return ""
        return destination or (state.references.url(token.ref, token.message_id) if token else None) or ""

    def _is_ours(self, url: str) -> bool:
        return self.client is None or url.startswith(tuple(self._roots()))

    def _roots(self) -> Iterator[str]:
        if state := self._state():
            for base in state.settings.base_urls():
                yield f"{base}{state.settings.url_prefix}/"

    def _state(self) -> State | None:
        app: Flask | None = getattr(self.client, "application", None)
        try:
            return state_of(app) if app else None
        except NotInitialised:
            return None


def _bodies(message: Any) -> tuple[str, str]:
    """Return the HTML and the plain text of a message; an absent part is empty."""
    if isinstance(message, SentMail):
        message = message.mime
    if not isinstance(message, MimeMessage):
        return str(message.html or ""), str(getattr(message, "body", None) or "")
    found = {"html": "", "plain": ""}
    for part in message.walk():
        kind = part.get_content_subtype()
        if (
            part.get_content_maintype() == "text"
            and part.get_content_disposition() != "attachment"
            and found.get(kind) == ""
        ):
            content = part.get_payload(decode=True)
            octets = content if isinstance(content, bytes) else b""
            found[kind] = octets.decode(part.get_content_charset() or "utf-8", "replace")
    return found["html"], found["plain"]


def _headers(message: Any) -> dict[str, str]:
    """Return the headers that the author or this package has added, by their names in lower case."""
    message = message.mime if isinstance(message, SentMail) else message
    given = message if isinstance(message, MimeMessage) else message.extra_headers or {}
    return {name.lower(): re.sub(r"\r?\n[ \t]", " ", str(value)) for name, value in given.items()}


def _recipients(message: Any) -> set[str]:
    """Return the recipients of a message: by its envelope, or by its headers, as bytes have no envelope."""
    if isinstance(message, SentMail):
        return set(message.recipients)
    if isinstance(message, MimeMessage):
        written = [str(value) for name in ("To", "Cc", "Bcc") for value in message.get_all(name, [])]
        return {address.lower() for _, address in getaddresses(written)}
    pairs = [each if isinstance(each, tuple) else ("", str(each)) for each in message.send_to]
    return {(getaddresses([written])[0][1] or written).lower() for _, written in pairs}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.images: list[str] = []
        self._url: str | None = None
        self._text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a" and found.get("aria-hidden") != "true":
            self._url, self._text = found.get("href"), ""
        elif tag == "area" and (url := found.get("href")):
            self.links.append((url, found.get("alt") or ""))
        elif tag == "img":
            self.images.append(found.get("src") or "")
            self._text += found.get("alt") or ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._url is not None:
            self.links.append((self._url, " ".join(self._text.split())))
            self._url = None
