"""For the tests of a host app: act as the person, or the machine, that a mail was sent to.

.. code-block:: python

    with mail.record_messages() as outbox:
        send_newsletter()
    reader = Reader(app.test_client(), outbox[0])
    reader.open()
    assert reader.click("Our offer").location == "https://shop.example/offer"
    assert reader.unsubscribe().status_code == 200
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept-Language": "en",
}
"""Headers of a person's browser. The verdict still knows that a hit right after sending is a machine's."""


@dataclass(frozen=True, slots=True)
class FoundLink:
    """A link as a mail client shows it."""

    url: str
    text: str
    """What a reader sees, or is told of an image."""


class Reader:
    """Reads one sent message.

    :param client: the app's test client.
    :param message: a ``flask_mail.Message``, such as ``mail.record_messages()`` yields.
    :param headers: of each request; a person's browser by default.
    """

    def __init__(self, client: FlaskClient, message: Any, headers: dict[str, str] | None = None) -> None:
        self.client = client
        self.message = message
        self.headers = BROWSER if headers is None else headers
        self._page = _Page(message.html or "")

    @property
    def links(self) -> list[FoundLink]:
        """The links of the HTML part, in order, that a reader can see: no honeypot."""
        return self._page.links

    def open(self) -> TestResponse:
        """Load the images: fetches the pixel.

        :raises LookupError: there is none.
        """
        pixels = [src for src in self._page.images if src.endswith(".gif") and "/o/" in src]
        if not pixels:
            raise LookupError("the message has no open pixel")
        return self.get(pixels[-1])

    def click(self, which: int | str = 0) -> TestResponse:
        """Follow a link, and return the answer without following it further.

        :param which: its position, or the text that a reader sees.
        :raises LookupError: there is no such link.
        """
        if isinstance(which, int):
            if not -len(self.links) <= which < len(self.links):
                raise LookupError(f"no link {which}; there are {len(self.links)}")
            return self.get(self.links[which].url)
        for link in self.links:
            if link.text == which:
                return self.get(link.url)
        raise LookupError(f"no link {which!r}; there are {[link.text for link in self.links]}")

    def unsubscribe(self) -> TestResponse:
        """Press the mail client's own button: a one-click POST (RFC 8058).

        :raises LookupError: the message does not offer it.
        """
        given = {name.lower(): str(value) for name, value in (self.message.extra_headers or {}).items()}
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


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[FoundLink] = []
        self.images: list[str] = []
        self._url: str | None = None
        self._text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a" and found.get("aria-hidden") != "true":
            self._url, self._text = found.get("href"), ""
        elif tag == "img":
            self.images.append(found.get("src") or "")
            self._text += found.get("alt") or ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._url is not None:
            self.links.append(FoundLink(self._url, " ".join(self._text.split())))
            self._url = None
