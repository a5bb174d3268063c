"""The readers: they request what was mailed to them, each request once, and remember every answer."""

from __future__ import annotations

import http.client
import itertools
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flask_mail import Message

from flask_mailtrack.testing import Reader

THREADS = 8
LIST = "news"
_PIXEL = re.compile(r'<img[^>]+src="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Letter:
    """What one recipient got, as paths: links with where they must lead, the pixel, the way out."""

    recipient: str
    links: dict[str, str]
    pixel: str
    unsubscribe: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what came back; ``status`` 0: nothing."""

    name: str
    """Sent as the User-Agent: it finds the row."""
    kind: str
    recipient: str
    expected: str
    began: float
    seconds: float
    status: int
    location: str


def send_letters(mail: Any, mailtrack: Any, count: int, alike: int = 50) -> list[Letter]:
    """Send a mail to each of *count* people and return what they got; the links of *alike* are the same."""
    letters = []
    for number in range(count):
        urls = [f"https://shop.example/{number // alike}/{n}?a=1&b=%20{n}" for n in range(4)]
        html = "".join(f'<a href="{url.replace("&", "&amp;")}">{n}</a> ' for n, url in enumerate(urls))
        person = f"reader{number}@example.com"
        with mail.record_messages() as outbox:
            mail.send(mailtrack.track(Message("News", recipients=[person], html=html), list_id=LIST))
        letters.append(_letter(outbox[0], person, urls))
    return letters


def _letter(message: Any, recipient: str, urls: list[str]) -> Letter:
    links = [urlsplit(link.url).path for link in Reader(None, message).links]  # type: ignore[arg-type]
    pixel = _PIXEL.search(message.html)
    if pixel is None:
        raise LookupError("the message has no pixel")
    way_out = str(message.extra_headers["List-Unsubscribe"]).strip("<>")
    to = dict(zip(links, urls, strict=False))  # the footer's link comes last
    return Letter(recipient, to, urlsplit(pixel[1]).path, urlsplit(way_out).path)


@dataclass
class Crowd:
    """Requests from several threads at a steady rate; what is late is made up for.

    :param rate: requests in a second, of all threads.
    """

    port: int
    letters: list[Letter]
    rate: float
    seed: int
    answers: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._leaving = iter(self.letters)

    def __enter__(self) -> Crowd:
        for number in range(THREADS):
            thread = threading.Thread(target=self._read, args=(random.Random(f"{self.seed}/{number}"),))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _read(self, draw: random.Random) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        due = time.monotonic() + draw.random() * THREADS / self.rate
        for request in self._requests(draw):
            if self._over.wait(max(0, due - time.monotonic())):
                break
            due += THREADS / self.rate
            self.answers.append(_ask(connection, *request))
        connection.close()

    def _requests(self, draw: random.Random) -> Iterator[tuple[str, str, str, str, str]]:
        while True:
            name = f"Mozilla/5.0 (X11; Linux x86_64; reader {next(self._numbers)}) Chrome/140.0.0.0 Safari/537.36"
            chance, letter = draw.random(), draw.choice(self.letters)
            if chance < 0.1 and (leaving := next(self._leaving, None)) is not None:
                yield name, "unsubscribed", leaving.recipient, leaving.unsubscribe, ""
            elif chance < 0.3:
                yield name, "opened", letter.recipient, letter.pixel, ""
            else:
                path, url = draw.choice(list(letter.links.items()))
                yield name, "clicked", letter.recipient, path, url


def _ask(
    connection: http.client.HTTPConnection, name: str, kind: str, recipient: str, path: str, expected: str
) -> Answer:
    body = b"List-Unsubscribe=One-Click" if kind == "unsubscribed" else None
    headers = {"User-Agent": name, "Accept-Language": "en"}
    if body:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    began, status, location = time.monotonic(), 0, ""
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        response = connection.getresponse()
        response.read()
        status, location = response.status, response.getheader("Location", "")
    except (OSError, http.client.HTTPException):
        connection.close()  # the next request opens it again
    return Answer(name, kind, recipient, expected, began, time.monotonic() - began, status, location)
